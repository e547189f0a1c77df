/* What comes back from the member that works on a request, on its way to the owner. What breaks a rule of the
 * envelope never reaches an owner. */
#include "core/log.h"
#include "router/request.h"

/* ---- what comes back ---- */

enum route_step
route_step_wait(struct route_request *rq)
{
    if (rq->inbound == NULL) {
        return ROUTE_STEP_PARKED;
    }
    if (rq->inbound->kind == ENV_CHUNK) {
        return ROUTE_STEP_STREAM;
    }
    route_dispatch_is_over(rq);
    rq->calls += rq->inbound->upstream_calls;
    rq->upstream_us += rq->inbound->upstream_total_us;
    bool is_good = rq->inbound->outcome == ENV_OUTCOME_OK && !rq->has_gap;
    return is_good ? ROUTE_STEP_REPLY : ROUTE_STEP_JUDGE;
}

/* From here on nothing can be sent again: the body may go, and a stream has no deadline any more. */
static void
answer_begins(struct route_request *rq)
{
    rq->begun = true;
    dyn_block_unref(&rq->request->body);
    rq->attempt_until_us = 0;
    if (rq->cancelled_for != ERR_NONE) {
        return; /* the timer is that of the grace */
    }
    if (rq->is_stream) {
        bus_timer_disarm(&rq->timer);
    } else {
        route_arm(rq);
    }
}

static void
look_at_chunk(struct route_request *rq, struct env *chunk)
{
    size_t len = env_body_len(chunk);
    if (rq->next_sequence == 0) {
        rq->first_chunk_us = bus_loop_now_us(rq->router->loop);
        rq->status = chunk->status;
        rq->is_stream = chunk->stream;
        route_name_answerer(rq, chunk);
    }
    rq->next_sequence++;
    rq->window -= len;
    rq->passed += len;
    bool begins = rq->is_stream ? len > 0 : rq->passed > ENV_HELD_ANSWER_MAX;
    if (begins && !rq->begun) {
        answer_begins(rq);
    }
}

enum route_step
route_step_stream(struct route_request *rq)
{
    struct env *chunk = rq->inbound;
    struct dyn_err err;
    rq->inbound = NULL;
    if (rq->has_gap) {
        env_free(&chunk); /* what comes behind a gap would look like the answer */
        return ROUTE_STEP_WAIT;
    }
    look_at_chunk(rq, chunk);
    if (route_pass_to_owner(rq, &chunk, &err) != 0) {
        env_free(&chunk);
        rq->has_gap = true;
        bool is_full = err.code == DYN_E_FULL;
        route_cancel_attempt(rq, is_full ? ERR_SATURATED : ERR_CLIENT_CLOSED,
                             is_full ? "owner full" : "owner gone");
    }
    return ROUTE_STEP_WAIT;
}

/* ---- envelopes about it ---- */

/* NULL, or what is wrong with it: a peer that does this can't be relied on for anything. */
static const char *
broken_rule(const struct route_request *rq, const struct env *answer)
{
    if (answer->kind == ENV_CHUNK && answer->sequence != rq->next_sequence) {
        return "protocol";
    }
    if (answer->kind == ENV_CHUNK && env_body_len(answer) > rq->window) {
        return "credit";
    }
    bool is_interim = answer->status > 0 && answer->status < 200; /* HTTP would read on for another head */
    return is_interim ? "protocol" : NULL;
}

static void
cut_off(struct route_request *rq, const char *rule)
{
    struct router *router = rq->router;
    if (rq->member->is_worker) {
        route_peer_cut(router, rq->member->addr, rule);
        return;
    }
    dyn_log(DYN_LOG_ERROR, "router.answer", "a provider of this process broke a rule of the envelope",
            DYN_LOG_STR("rule", rule));
    route_cancel_attempt(rq, ERR_INTERNAL, rule);
}

void
route_take_answer(struct route_request *rq, struct env **env_p)
{
    struct env *env = *env_p;
    bool is_of_dispatch = rq->member != NULL && env->from == rq->member->addr &&
                          env->attempt == rq->attempt && env->epoch == rq->epoch;
    if (!is_of_dispatch) {
        route_late(rq->router);
        return;
    }
    if (env->kind == ENV_DISPATCHED) {
        rq->is_sent = rq->is_sent || env->sent;
        return;
    }
    const char *rule = rq->has_gap ? NULL : broken_rule(rq, env);
    if (rule != NULL) {
        cut_off(rq, rule);
        return;
    }
    *env_p = NULL;
    rq->inbound = env;
    route_run(rq);
}
