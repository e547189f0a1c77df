/* What leaves the gate of a stream, and what follows when something has changed there: more is cleared, more
 * may come, a vote has ended it, all is through. */
#include "router/votes_stream_impl.h"

#include "router/votes.h"

#include <stdio.h>

/* So much is granted at once, so that the provider is not told of each event that left. */
enum { GRANT_BYTES = ROUTE_GATE_WINDOW / 4 };

/* ---- what leaves ---- */

static int
pass_block(struct route_request *rq, dyn_block_t *block, struct dyn_err *err)
{
    struct route_gated *gated = rq->gated;
    struct env *chunk = gated->head;
    gated->head = NULL;
    if (chunk == NULL) {
        chunk = env_new(ENV_CHUNK);
        chunk->id = rq->node.id;
    } else {
        route_votes_head(rq, chunk);
    }
    chunk->sequence = gated->next_sequence++;
    chunk->body = block;
    rq->window -= block->len;
    gated->left += block->len;
    int failed = route_pass_to_owner(rq, &chunk, err);
    env_free(&chunk);
    return failed;
}

/* false: the owner takes nothing any more. */
bool
route_gated_pass(struct route_request *rq, struct dyn_err *err)
{
    while (rq->window > 0 && !rq->has_gap) {
        size_t most = rq->window < ENV_CHUNK_MAX ? (size_t)rq->window : ENV_CHUNK_MAX;
        dyn_block_t *block = stream_gate_take(rq->gated->gate, most);
        if (block == NULL) {
            return true;
        }
        if (pass_block(rq, block, err) != 0) {
            rq->has_gap = true;
        }
    }
    return !rq->has_gap;
}

/* What the gate has room for. An event that has not ended takes no room: it could never end otherwise. */
static void
grant_room(struct route_request *rq)
{
    struct route_attempt *flight = rq->now;
    size_t taken = stream_gate_ready(rq->gated->gate) + stream_gate_held(rq->gated->gate);
    if (flight->member == NULL || flight->is_loser || flight->cancelled_for != ERR_NONE ||
        taken >= ROUTE_GATE_WINDOW) {
        return;
    }
    uint64_t room = ROUTE_GATE_WINDOW - taken;
    if (room >= flight->window + GRANT_BYTES || (flight->window == 0 && room > 0)) {
        route_grant(rq, flight, (uint32_t)(room - flight->window));
    }
}

/* ---- a stream that a vote ends ---- */

static void
say_why(struct route_request *rq, const struct dyn_slice *reason)
{
    struct route_gated *gated = rq->gated;
    enum stream_gate_state state = stream_gate_state(gated->gate);
    char *text = rq->error_text;
    size_t size = sizeof rq->error_text;
    if (state == STREAM_GATE_UNREADABLE) {
        (void)snprintf(text, size, "%s", stream_gate_why(gated->gate));
        rq->error = ERR_RESPONSE_REJECTED;
        return;
    }
    struct dyn_slice name = gated->plugins[stream_gate_who(gated->gate)].plugin->name;
    rq->votes->refused_by = name;
    if (state == STREAM_GATE_FAILED) {
        (void)snprintf(text, size, "plugin %.*s failed at during_stream", (int)name.len, name.data);
        rq->error = ERR_PLUGIN_ERROR;
        return;
    }
    (void)snprintf(text, size, "response rejected by plugin %.*s at during_stream%s%.*s", (int)name.len,
                   name.data, reason->len > 0 ? ": " : "", (int)reason->len,
                   reason->len > 0 ? reason->data : "");
    rq->error = ERR_RESPONSE_REJECTED;
}

/* The provider is told to stop; what it ends with then decides nothing any more. */
static enum route_step
end_stream(struct route_request *rq, struct dyn_slice reason, struct dyn_slice closing)
{
    struct route_gated *gated = rq->gated;
    enum err_code error;
    struct dyn_err err;
    gated->is_ended = true;
    say_why(rq, &reason);
    error = gated->error = rq->error;
    gated->is_closing = closing.data != NULL && stream_gate_close(gated->gate, closing);
    (void)route_gated_pass(rq, &err);
    rq->vote_until_us = 0;
    if (rq->now->member == NULL) { /* it has ended already */
        rq->inbound = gated->end;
        gated->end = NULL;
        return ROUTE_STEP_FAIL;
    }
    if (gated->is_closing) {
        route_stop_attempt(rq, rq->now, error, "rejected");
    } else {
        route_cancel(rq, error, "rejected");
    }
    return ROUTE_STEP_PARKED;
}

/* ---- whatever has changed ---- */

static enum route_step
finish(struct route_request *rq)
{
    struct route_gated *gated = rq->gated;
    rq->inbound = gated->end;
    gated->end = NULL;
    rq->inbound->body_bytes = gated->left;
    rq->vote_until_us = 0;
    for (size_t i = 0; i < gated->n_plugins; i++) {
        if (stream_gate_is_asked(gated->gate, i)) {
            route_gated_note(rq, i, VOTE_PASS, dyn_slice(NULL, 0));
        }
    }
    return ROUTE_STEP_REPLY;
}

/* PARKED, or what comes next. Never frees the request while something is in flight. */
enum route_step
route_gated_go_on(struct route_request *rq, struct dyn_slice reason, struct dyn_slice closing)
{
    struct route_gated *gated = rq->gated;
    struct dyn_err err = {0}; /* a gap that was there before says no more */
    struct env *cut = route_gated_ask(rq);
    if (!gated->is_ended && stream_gate_state(gated->gate) != STREAM_GATE_OPEN) {
        if (cut != NULL) {
            reason = cut->error_text;
            closing = vote_marks_closing(dyn_block_slice(cut->body));
        }
        enum route_step next = end_stream(rq, reason, closing);
        env_free(&cut);
        return next;
    }
    env_free(&cut);
    if (!route_gated_pass(rq, &err)) {
        bool is_full = err.code == DYN_E_FULL;
        rq->error = is_full ? ERR_SATURATED : ERR_CLIENT_CLOSED;
        if (rq->now->member == NULL) {
            return ROUTE_STEP_FAIL;
        }
        route_cancel(rq, rq->error, is_full ? "owner full" : "owner gone");
        return ROUTE_STEP_PARKED;
    }
    if (gated->end != NULL && stream_gate_is_drained(gated->gate)) {
        return finish(rq);
    }
    grant_room(rq);
    rq->vote_until_us = stream_gate_due_us(gated->gate);
    route_arm(rq);
    return ROUTE_STEP_PARKED;
}

/* From outside of the steps. The request may be gone afterwards. */
void
route_gated_resume(struct route_request *rq, struct dyn_slice reason, struct dyn_slice closing)
{
    enum route_step next = route_gated_go_on(rq, reason, closing);
    if (next != ROUTE_STEP_PARKED) {
        route_resume(rq, next);
    }
}
