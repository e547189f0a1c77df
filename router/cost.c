/* The price is that of the model as the target was asked for it, at the target that answered. Both are looked
 * up in the plan that the request began under. */
#include "router/cost.h"

#include "models/memo.h"
#include "router/shared.h"

struct cost
route_cost(const struct route_request *rq, const struct env *end)
{
    return route_cost_at(rq, end, end->target, end->provider);
}

static bool
is_same_usage(const struct cost_usage *one, const struct cost_usage *other)
{
    return memcmp(one, other, offsetof(struct cost_usage, is_sold_otherwise)) == 0 &&
           one->is_sold_otherwise == other->is_sold_otherwise;
}

/* A request's cost is asked for several times: for its header, for who votes, for its attempt and its event.
 * The last one is remembered. */
static struct cost
cost_once(struct router *router, const catalogue_t *catalogue, const struct catalogue_model *model,
          const struct cost_usage *usage)
{
    struct route_last_cost *last = &router->last_cost;
    if (last->catalogue != catalogue || last->model != model || !is_same_usage(&last->usage, usage)) {
        *last = (struct route_last_cost){catalogue, model, *usage, cost_of(model, usage)};
    }
    return last->cost;
}

static struct cost
cost_for(const struct route_request *rq, const struct env_usage *used, struct dyn_slice target,
         struct dyn_slice provider)
{
    const struct route_plan *plan = rq->plan;
    if (plan == NULL || plan->catalogue == NULL || !used->known || target.len == 0) {
        return (struct cost){.known = false};
    }
    const struct catalogue_model *model =
        catalogue_memo_find(rq->router->prices, plan->catalogue, target, provider, rq->model);
    struct cost_usage usage = cost_usage_of(used);
    return cost_once(rq->router, plan->catalogue, model, &usage);
}

struct cost
route_cost_at(const struct route_request *rq, const struct env *end, struct dyn_slice target,
              struct dyn_slice provider)
{
    if (rq->votes != NULL && dyn_slice_is(route_cache_said(rq), "hit")) {
        return (struct cost){.known = true}; /* nothing was bought */
    }
    return cost_for(rq, &end->usage, target, provider);
}

struct cost
route_cost_of_note(const struct route_request *rq, const struct route_note *note)
{
    return cost_for(rq, &note->usage, note->target, note->provider);
}

static void
add_cost(struct cost *sum, const struct cost *more)
{
    sum->total += more->total;
    sum->input += more->input;
    sum->output += more->output;
    sum->cache_read += more->cache_read;
    sum->cache_write += more->cache_write;
    sum->reasoning += more->reasoning;
    sum->image += more->image;
    sum->audio += more->audio;
    sum->other += more->other;
}

/* The END speaks of the attempt of the moment, unless that one's own was given up. */
static bool
is_of_end(const struct route_request *rq, const struct route_note *note, const struct env *end)
{
    return note == rq->now->note && end->usage.known;
}

struct cost
route_cost_of_all(const struct route_request *rq, const struct env *end, struct dyn_slice target,
                  struct dyn_slice provider)
{
    struct cost sum = route_cost_at(rq, end, target, provider);
    const struct route_note *note = rq->last_note != NULL ? &rq->first_note : NULL;
    for (; note != NULL; note = note->next) {
        struct cost more = {.known = false};
        if (!is_of_end(rq, note, end)) {
            more = route_cost_of_note(rq, note);
        }
        if (more.known) {
            sum.known = sum.known || !end->usage.known;
            add_cost(&sum, &more);
        }
    }
    return sum;
}

static bool
is_estimated(const struct route_request *rq, const struct env *end)
{
    bool is = end->usage.estimated;
    const struct route_note *note = rq->last_note != NULL ? &rq->first_note : NULL;
    for (; note != NULL; note = note->next) {
        is = is || note->usage.estimated;
    }
    return is;
}

void
route_cost_tell(const struct route_request *rq, const struct env *end, struct event_record *record)
{
    struct cost cost = route_cost_of_all(rq, end, end->target, end->provider);
    record->estimated = is_estimated(rq, end);
    if (!cost.known) {
        return;
    }
    record->cost_model_found = true;
    record->cost_usd = cost_usd(cost.total);
    record->cost_input_usd = cost_usd(cost.input);
    record->cost_output_usd = cost_usd(cost.output);
    record->cost_cache_read_usd = cost_usd(cost.cache_read);
    record->cost_cache_write_usd = cost_usd(cost.cache_write);
    record->cost_reasoning_usd = cost_usd(cost.reasoning);
    record->cost_image_usd = cost_usd(cost.image);
    record->cost_audio_usd = cost_usd(cost.audio);
    record->cost_other_usd = cost_usd(cost.other);
}

void
route_cost_show(const struct route_request *rq, struct env *end)
{
    bool is_stream = end->stream || rq->now->is_stream;
    if (is_stream || end->outcome != ENV_OUTCOME_OK) {
        return;
    }
    struct cost cost = route_cost(rq, end);
    if (cost.known) {
        char text[COST_USD_TEXT_MAX];
        size_t len = cost_usd_text(cost.total, text);
        env_add_header(end, DYN_SLICE("x-dynabus-cost-usd"), dyn_slice(text, len));
    }
}
