/* What is kept of each dispatch until the request has ended, for its event and for the counts of providers.
 * The first note, and mostly the only one, lies in the request. */
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
    return rq->target->is_announced ? env_copy(rq->request, name) : name;
}

void
route_note_begin(struct route_request *rq, const struct route_member *member)
{
    struct route_note *note = new_note(rq);
    rq->now->note = note;
    note->started_us = rq->now->started_us - rq->started_us;
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
    uint64_t now_us = bus_loop_now_us(rq->router->loop);
    note->error = error;
    note->total_us = now_us - attempt->started_us;
    if (end == NULL) {
        note->calls = route_may_have_called(rq, attempt);
        return;
    }
    note->status = end->upstream_status != 0 ? end->upstream_status : end->status;
    note->calls = end->upstream_calls;
    if (note->ttft_us == 0 && error == ERR_NONE) {
        note->ttft_us = end->upstream_us;
    }
}
