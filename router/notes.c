/* What is kept of each dispatch until the request has ended, for its event and for the counts of providers.
 * The first note, and mostly the only one, lies in the request. */
#include "router/cost.h"
#include "router/request.h"

static struct route_note *
new_note(struct route_request *rq)
{
    struct route_note *note = &rq->first_note;
    if (rq->n_notes > 0 && rq->n_notes < ROUTE_NOTES_MAX) {
        note = arena_alloc(&rq->request->arena, sizeof *note);
        rq->last_note->next = note;
    } else if (rq->n_notes > 0) {
        note = rq->last_note; /* as if the former one had not been */
    }
    *note = (struct route_note){.next = NULL};
    rq->last_note = note;
    rq->n_notes++;
    return note;
}

/* A configured name lives as long as the request's plan. */
static struct dyn_slice
kept(struct route_request *rq, struct dyn_slice name)
{
    bool is_of_plan = !rq->target->is_announced && rq->plan == rq->router->options.plan;
    return is_of_plan ? name : env_copy(rq->request, name);
}

void
route_note_begin(struct route_request *rq, const struct route_member *member)
{
    struct route_note *note = new_note(rq);
    rq->now->note = note;
    note->started_us = route_clock_us(rq->router);
    note->is_redelivery = rq->now->number <= rq->attempts;
    if (rq->target != NULL) {
        note->target = kept(rq, rq->target->name);
        note->provider = kept(rq, rq->target->provider);
    }
    if (member->is_worker) {
        note->worker = env_copy(rq->request, member->name);
    }
}

void
route_note_end(struct route_request *rq, struct route_attempt *attempt, const struct env *end,
               enum err_code error)
{
    struct route_note *note = attempt->note;
    note->error = error;
    note->total_us = route_clock_us(rq->router) - note->started_us;
    if (end == NULL) {
        note->calls = route_may_have_called(rq, attempt);
        return;
    }
    note->usage = end->usage;
    note->status = end->upstream_status != 0 ? end->upstream_status : end->status;
    note->calls = end->upstream_calls;
    if (note->ttft_us == 0 && error == ERR_NONE) {
        note->ttft_us = end->upstream_us;
    }
}

static struct event_attempt
told(const struct route_request *rq, const struct route_note *note)
{
    struct cost cost = route_cost_of_note(rq, note);
    bool is_later = note->started_us > rq->started_us;
    return (struct event_attempt){
        .target = note->target,
        .provider = note->provider,
        .worker = note->worker,
        .error = dyn_slice_str(note->error != ERR_NONE ? err_row(note->error)->name : NULL),
        .status = note->status,
        .started_us = is_later ? note->started_us - rq->started_us : 0,
        .ttft_us = note->ttft_us,
        .total_us = note->total_us,
        .upstream_calls = note->calls,
        .hedge = note->is_hedge,
        .lost_race = note->is_loser,
        .redelivery = note->is_redelivery,
        .estimated = note->usage.estimated,
        .tokens_in = note->usage.prompt_tokens,
        .tokens_out = note->usage.completion_tokens,
        .cost_usd = cost.known ? cost_usd(cost.total) : 0,
    };
}

size_t
route_notes_tell(const struct route_request *rq, struct event_attempt attempts[ROUTE_NOTES_MAX])
{
    size_t n = 0;
    const struct route_note *note = rq->last_note != NULL ? &rq->first_note : NULL;
    for (; note != NULL && n < ROUTE_NOTES_MAX; note = note->next) {
        attempts[n++] = told(rq, note);
    }
    return n;
}
