/* From a router to the edge: what belongs to a request's last sending goes through, and is counted, so that
 * it is known what the edge has when the router is lost. */
#include "edge/owner_impl.h"

static void
cancel_at_router(struct owner_request *rq, const char *reason)
{
    struct env *cancel = env_new(ENV_CANCEL);
    cancel->id = rq->node.id;
    cancel->epoch = rq->epoch;
    cancel->reason = dyn_slice_str(reason);
    rq->is_cancelled = true;
    env_free(&rq->request);
    if (bus_send(rq->owner->me, rq->router->addr, &cancel, NULL) != 0) {
        env_free(&cancel); /* its GOODBYE is on the way, and ends the request */
    }
}

/* A router that goes on counting where we told it to has the larger number. */
static void
name_sendings(const struct owner_request *rq, struct env *env)
{
    uint32_t again = rq->sendings - 1;
    env->redelivered = env->redelivered > again ? env->redelivered : again;
}

/* 01-ENVELOPE, "When an answer has begun": both ends count the same bytes. */
static void
note_passed(struct owner_request *rq, struct env *chunk)
{
    size_t len = env_body_len(chunk);
    if (!rq->has_begun && chunk->sequence == 0) {
        rq->passed = 0;
        rq->is_stream = chunk->stream;
    }
    if (chunk->sequence == 0) {
        name_sendings(rq, chunk);
    }
    rq->has_chunks = true;
    rq->window = rq->window > len ? rq->window - len : 0; /* the asker looks for what is beyond it */
    rq->passed += len;
    if (rq->passed > (rq->is_stream ? 0 : ENV_HELD_ANSWER_MAX)) {
        rq->has_begun = true;
        env_free(&rq->request);
    }
}

static void
pass_chunk(struct owner_request *rq, struct env **env_p)
{
    struct owner *owner = rq->owner;
    struct dyn_err err;
    if (rq->has_begun && (*env_p)->sequence == 0) {
        cancel_at_router(rq, "protocol"); /* what has begun can't be taken back */
        owner_refuse(rq, ERR_INTERNAL);
        return;
    }
    note_passed(rq, *env_p);
    if (bus_send(owner->me, rq->asker, env_p, &err) == 0) {
        return;
    }
    bool is_full = err.code == DYN_E_FULL;
    cancel_at_router(rq, is_full ? "full" : "client");
    if (is_full) { /* what comes behind a gap would look like the answer */
        owner_refuse(rq, ERR_SATURATED);
    }
}

static void
pass_dispatched(struct owner_request *rq, struct env **env_p)
{
    const struct env *dispatched = *env_p;
    struct dyn_slice worker = dispatched->worker;
    if (dispatched->worker_attempt > 0 && worker.len <= sizeof rq->worker) {
        rq->was_dispatched = true;
        rq->worker_attempt = dispatched->worker_attempt;
        rq->worker_epoch = dispatched->worker_epoch;
        rq->worker_len = (uint8_t)worker.len;
        if (worker.len > 0) {
            memcpy(rq->worker, worker.data, worker.len);
        }
    }
    if (dispatched->stream && bus_send(rq->owner->me, rq->asker, env_p, NULL) != 0) {
        cancel_at_router(rq, "client"); /* nobody asks any more */
    }
}

/* A router that shuts down has not lost the request: another one may take it. */
static bool
is_handed_back(const struct owner_request *rq, const struct env *end)
{
    bool is_refused = end->outcome == ENV_OUTCOME_ERROR && end->error == ERR_DRAINING;
    return is_refused && !rq->has_begun && !rq->is_cancelled && rq->router->is_draining;
}

/* The asker holds the beginning of an answer whose router was lost, and this one has no bytes at all. A CHUNK
 * with the first number says that the former is to be forgotten. */
static void
start_over(const struct owner_request *rq, const struct env *end)
{
    struct env *first = env_about(ENV_CHUNK, end);
    first->status = end->status;
    first->content_type = env_copy(first, end->content_type);
    for (size_t i = 0; i < end->n_headers; i++) {
        env_add_header(first, end->headers[i].name, end->headers[i].value);
    }
    first->trace_id = env_copy(first, end->trace_id);
    first->provider = env_copy(first, end->provider);
    first->target = env_copy(first, end->target);
    first->attempts = end->attempts;
    first->redelivered = end->redelivered;
    name_sendings(rq, first);
    if (bus_send(rq->owner->me, rq->asker, &first, NULL) != 0) {
        env_free(&first);
    }
}

static bool
is_empty_after_another(const struct owner_request *rq, const struct env *end)
{
    bool is_empty = end->outcome == ENV_OUTCOME_OK && env_body_len(end) == 0 && !rq->has_chunks;
    return is_empty && rq->passed > 0 && !rq->has_begun && !rq->is_cancelled;
}

static void
pass_end(struct owner_request *rq, struct env **env_p)
{
    struct owner *owner = rq->owner;
    struct env *end = *env_p;
    if (is_handed_back(rq, end)) {
        owner_detach(rq);
        owner_send_again(rq);
        return;
    }
    if (is_empty_after_another(rq, end)) {
        start_over(rq, end);
    }
    name_sendings(rq, end);
    if (bus_send(owner->me, rq->asker, env_p, NULL) != 0) {
        owner_count(&owner->options.counters->late_answers);
    }
    owner_request_free(rq);
    if (!dyn_list_is_empty(&owner->waiting)) {
        owner_send_waiting(owner);
    }
}

void
owner_take_answer(struct owner *owner, struct owner_router *router, struct env **env_p)
{
    struct env *env = *env_p;
    struct env_map_node *node = env_map_find(&owner->requests, &env->id);
    struct owner_request *rq = node != NULL ? DYN_CONTAINER_OF(node, struct owner_request, node) : NULL;
    if (rq == NULL || rq->router != router || rq->epoch != env->epoch) {
        owner_count(&owner->options.counters->late_answers);
        return;
    }
    if (env->kind == ENV_END) {
        pass_end(rq, env_p);
    } else if (env->kind == ENV_CHUNK && !rq->is_cancelled) {
        pass_chunk(rq, env_p);
    } else if (env->kind == ENV_DISPATCHED && !rq->is_cancelled) {
        pass_dispatched(rq, env_p);
    }
}
