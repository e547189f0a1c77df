/* What comes back from the member that works on a request, on its way to the owner. What breaks a rule of the
 * envelope never reaches an owner. */
#include "core/log.h"
#include "router/votes.h"
#include "router/votes_stream.h"

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
    route_held_join(rq);
    bool is_whole = !rq->has_gap && !rq->now->is_cut_short;
    bool is_good = rq->inbound->outcome == ENV_OUTCOME_OK && is_whole;
    route_dispatch_is_over(rq, rq->now);
    rq->calls += rq->inbound->upstream_calls;
    rq->upstream_us += rq->inbound->upstream_total_us;
    if (is_good) {
        route_note_end(rq, rq->now, rq->inbound, ERR_NONE);
        route_hedge_won(rq);
    }
    if (!is_good) {
        return ROUTE_STEP_JUDGE;
    }
    if (route_gate_is_wanted(rq, rq->inbound)) {
        return route_gate_end(rq);
    }
    return route_has_votes(rq, VOTE_AFTER_REQUEST) ? ROUTE_STEP_AFTER : ROUTE_STEP_REPLY;
}

/* From here on nothing can be sent again: the body may go, and a stream has no deadline any more. */
static void
answer_begins(struct route_request *rq)
{
    rq->begun = true;
    dyn_block_unref(&rq->request->body);
    json_places_fini(&rq->places); /* of that body */
    route_arm(rq);
}

void
route_look_at_chunk(struct route_request *rq, struct env *chunk)
{
    struct route_attempt *now = rq->now;
    size_t len = env_body_len(chunk);
    if (now->next_sequence == 0) {
        route_held_drop(rq); /* of an attempt that was lost */
        now->is_held = !chunk->stream && route_holds_answers(rq);
        rq->first_chunk_us = bus_loop_now_us(rq->router->loop);
        now->note->ttft_us = rq->first_chunk_us - now->started_us;
        now->status = chunk->status;
        now->is_stream = chunk->stream;
        route_name_answerer(rq, chunk);
        route_hedge_won(rq);
    }
    now->next_sequence++;
    now->window -= len;
}

void
route_count_passed(struct route_request *rq, size_t len)
{
    struct route_attempt *now = rq->now;
    now->passed += len;
    bool begins = now->is_stream ? len > 0 : now->passed > ENV_HELD_ANSWER_MAX;
    if (begins && !rq->begun) {
        answer_begins(rq);
    }
}

void
route_pass_chunk(struct route_request *rq, struct env **chunk_p)
{
    struct dyn_err err;
    route_count_passed(rq, env_body_len(*chunk_p));
    rq->window -= env_body_len(*chunk_p);
    if (route_pass_to_owner(rq, chunk_p, &err) != 0) {
        env_free(chunk_p);
        rq->has_gap = true;
        bool is_full = err.code == DYN_E_FULL;
        route_cancel(rq, is_full ? ERR_SATURATED : ERR_CLIENT_CLOSED, is_full ? "owner full" : "owner gone");
    }
}

enum route_step
route_step_stream(struct route_request *rq)
{
    struct env *chunk = rq->inbound;
    rq->inbound = NULL;
    if (rq->has_gap) {
        env_free(&chunk); /* what comes behind a gap would look like the answer */
        return ROUTE_STEP_WAIT;
    }
    if (route_gate_is_wanted(rq, chunk)) {
        return route_gate_chunk(rq, &chunk);
    }
    route_look_at_chunk(rq, chunk);
    if (rq->now->is_held || !dyn_list_is_empty(&rq->held)) {
        route_hold(rq, &chunk);
    } else {
        route_pass_chunk(rq, &chunk);
    }
    return ROUTE_STEP_WAIT;
}

/* ---- envelopes about it ---- */

/* NULL, or what is wrong with it: a peer that does this can't be relied on for anything. */
static const char *
broken_rule(const struct route_attempt *attempt, const struct env *answer)
{
    if (answer->kind == ENV_CHUNK && answer->sequence != attempt->next_sequence) {
        return "protocol";
    }
    if (answer->kind == ENV_CHUNK && env_body_len(answer) > attempt->window) {
        return "credit";
    }
    bool is_interim = answer->status > 0 && answer->status < 200; /* HTTP would read on for another head */
    return is_interim ? "protocol" : NULL;
}

static void
cut_off(struct route_request *rq, const char *rule)
{
    struct router *router = rq->router;
    if (rq->now->member->is_worker) {
        route_peer_cut(router, rq->now->member->addr, rule);
        return;
    }
    dyn_log(DYN_LOG_ERROR, "router.answer", "a provider of this process broke a rule of the envelope",
            DYN_LOG_STR("rule", rule));
    route_cancel(rq, ERR_INTERNAL, rule);
}

static struct route_attempt *
flight_of(struct route_request *rq, const struct env *env)
{
    for (size_t i = 0; i < ROUTE_FLIGHTS_MAX; i++) {
        struct route_attempt *flight = &rq->flights[i];
        if (flight->member != NULL && env->from == flight->member->addr && env->attempt == flight->number &&
            env->epoch == flight->epoch) {
            return flight;
        }
    }
    return NULL;
}

void
route_take_answer(struct route_request *rq, struct env **env_p)
{
    struct env *env = *env_p;
    struct route_attempt *flight = flight_of(rq, env);
    if (flight == NULL) {
        route_late(rq->router);
        return;
    }
    if (env->kind == ENV_DISPATCHED) {
        flight->is_sent = flight->is_sent || env->sent;
        return;
    }
    bool is_told = flight->is_loser || flight->cancelled_for != ERR_NONE;
    if (is_told && env->kind == ENV_CHUNK) { /* it crossed the CANCEL */
        flight->is_sent = true;
        flight->is_cut_short = true;
        return;
    }
    if (flight->is_loser) {
        rq->calls += env->upstream_calls;
        route_loser_is_over(rq, flight, env);
        return;
    }
    rq->now = flight;
    const char *rule = rq->has_gap ? NULL : broken_rule(flight, env);
    if (rule != NULL) {
        cut_off(rq, rule);
        return;
    }
    if (env->kind == ENV_END && route_held_waits(rq, env_p)) {
        return;
    }
    *env_p = NULL;
    rq->inbound = env;
    route_resume(rq, ROUTE_STEP_WAIT);
}
