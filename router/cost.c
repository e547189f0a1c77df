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

struct cost
route_cost_at(const struct route_request *rq, const struct env *end, struct dyn_slice target,
              struct dyn_slice provider)
{
    const struct route_plan *plan = rq->plan;
    if (rq->votes != NULL && dyn_slice_is(route_cache_said(rq), "hit")) {
        return (struct cost){.known = true}; /* nothing was bought */
    }
    if (plan == NULL || plan->catalogue == NULL || !end->usage.known || target.len == 0) {
        return (struct cost){.known = false};
    }
    const struct catalogue_model *model =
        catalogue_memo_find(rq->router->prices, plan->catalogue, target, provider, rq->model);
    struct cost_usage usage = cost_usage_of(&end->usage);
    return cost_of(model, &usage);
}

void
route_cost_tell(const struct route_request *rq, const struct env *end, struct event_record *record)
{
    struct cost cost = route_cost(rq, end);
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
}

void
route_cost_show(const struct route_request *rq, struct env *end)
{
    bool is_whole = rq->now->next_sequence == 0 && !end->stream;
    if (!is_whole || end->outcome != ENV_OUTCOME_OK) {
        return;
    }
    struct cost cost = route_cost(rq, end);
    if (cost.known) {
        char text[COST_USD_TEXT_MAX];
        size_t len = cost_usd_text(cost.total, text);
        env_add_header(end, DYN_SLICE("x-dynabus-cost-usd"), dyn_slice(text, len));
    }
}
