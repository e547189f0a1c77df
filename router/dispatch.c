/* One dispatch: what a member is sent, how long it may take, and what is counted while it is in flight. Who
 * gets it is the walker's business. */
#include "router/request.h"

enum { ROUTE_ATTEMPT_MIN_MS = 1000 }; /* less than this is no try */

/* ---- policy ---- */

enum route_redeliver
route_redeliver_of(const struct route_request *rq)
{
    static const struct {
        const char *word;
        enum route_redeliver policy;
    } words[] = {{"always", ROUTE_REDELIVER_ALWAYS},
                 {"unsent", ROUTE_REDELIVER_UNSENT},
                 {"never", ROUTE_REDELIVER_NEVER}};
    for (size_t i = 0; i < DYN_ARRAY_LEN(words) && rq->request->redeliver.len > 0; i++) {
        if (dyn_slice_is(rq->request->redeliver, words[i].word)) {
            return words[i].policy;
        }
    }
    return rq->target != NULL ? rq->target->redeliver : ROUTE_REDELIVER_ALWAYS;
}

bool
route_may_have_called(const struct route_request *rq)
{
    bool would_tell = route_redeliver_of(rq) == ROUTE_REDELIVER_UNSENT;
    return !would_tell || rq->is_sent || rq->next_sequence > 0;
}

bool
route_may_start_over(const struct route_request *rq)
{
    return !rq->begun && route_redeliver_of(rq) == ROUTE_REDELIVER_ALWAYS;
}

/* ---- time ---- */

void
route_arm(struct route_request *rq)
{
    uint64_t now_us = bus_loop_now_us(rq->router->loop);
    uint64_t next_us = rq->deadline_us;
    if (rq->attempt_until_us != 0 && rq->attempt_until_us < next_us) {
        next_us = rq->attempt_until_us;
    }
    if (rq->parked_until_us != 0 && rq->parked_until_us < next_us) {
        next_us = rq->parked_until_us;
    }
    uint64_t left_us = next_us > now_us ? next_us - now_us : 0;
    bus_timer_arm(rq->router->loop, &rq->timer, (left_us + 999) / 1000);
}

uint32_t
route_attempts_max(const struct route_request *rq)
{
    uint32_t configured = rq->plan->max_attempts;
    uint32_t asked = rq->request->attempts_left;
    return asked > 0 && asked < configured ? asked : configured;
}

/* Attempts that can still be made, the one that begins counted. */
static uint64_t
attempts_left(const struct route_request *rq)
{
    uint64_t targets = rq->order.n - rq->next_target + 1;
    uint64_t budget = route_attempts_max(rq) >= rq->attempt ? route_attempts_max(rq) - rq->attempt + 1 : 1;
    uint64_t left = targets < budget ? targets : budget;
    return left > 0 ? left : 1;
}

/* What is left, divided by the attempts left. The last attempt has all of it, and no timer of its own. */
static void
limit_attempt(struct route_request *rq, uint64_t now_us)
{
    uint64_t share_us = (rq->deadline_us - now_us) / attempts_left(rq);
    uint64_t least_us = (uint64_t)ROUTE_ATTEMPT_MIN_MS * 1000;
    uint64_t until_us = now_us + (share_us > least_us ? share_us : least_us);
    uint64_t before_us = rq->attempt_until_us;
    rq->attempt_until_us = until_us < rq->deadline_us ? until_us : 0;
    if (rq->attempt_until_us != before_us) {
        route_arm(rq);
    }
}

enum route_step
route_park(struct route_request *rq, uint64_t until_us)
{
    rq->parked_until_us = until_us;
    dyn_list_append(&rq->router->parked, &rq->parked_link);
    route_arm(rq);
    return ROUTE_STEP_PARKED;
}

void
route_unpark(struct route_request *rq)
{
    rq->parked_until_us = 0;
    if (dyn_list_is_linked(&rq->parked_link)) {
        dyn_list_remove(&rq->parked_link);
    }
}

/* ---- one dispatch ---- */

/* The owner hears it before the worker does, so that it never knows less than what may have happened. */
static void
tell_owner(struct route_request *rq, const struct route_member *member)
{
    struct env *dispatched = env_new(ENV_DISPATCHED);
    dispatched->id = rq->node.id;
    dispatched->stream = rq->facts.stream;
    dispatched->worker = env_copy(dispatched, member->name);
    dispatched->worker_attempt = rq->attempt;
    dispatched->worker_epoch = rq->epoch;
    if (route_pass_to_owner(rq, &dispatched, NULL) != 0) {
        env_free(&dispatched);
    }
}

static struct env *
dispatch_envelope(struct route_request *rq, uint64_t now_us)
{
    struct env *attempt = env_clone_request(rq->request);
    uint64_t until_us = rq->attempt_until_us != 0 ? rq->attempt_until_us : rq->deadline_us;
    attempt->attempt = rq->attempt;
    attempt->epoch = rq->epoch;
    attempt->attempts_left = route_attempts_max(rq) > rq->attempt ? route_attempts_max(rq) - rq->attempt : 0;
    attempt->worker = dyn_slice(NULL, 0);
    attempt->attach = rq->is_attached;
    attempt->stream = rq->facts.stream;
    attempt->credit = rq->window < UINT32_MAX ? (uint32_t)rq->window : UINT32_MAX;
    attempt->deadline_ms = (uint32_t)((until_us - now_us + 999) / 1000); /* 0 would mean none */
    if (rq->target != NULL) {
        attempt->target = env_copy(attempt, rq->target->name);
        attempt->model = env_copy(attempt, rq->model);
        if (!dyn_slice_eq(rq->model, rq->asked_model)) { /* the body has the alias */
            attempt->upstream_model = attempt->model;
        }
        attempt->facts = &rq->facts; /* kept until the attempt's END */
        attempt->redeliver =
            route_redeliver_of(rq) == ROUTE_REDELIVER_UNSENT ? DYN_SLICE("unsent") : dyn_slice(NULL, 0);
    }
    return attempt;
}

static void
dispatch_begins(struct route_request *rq, struct route_member *member)
{
    rq->member = member;
    rq->attempts = rq->attempt;
    rq->has_leftovers = rq->has_leftovers || rq->next_sequence > 0;
    rq->passed = 0;
    rq->next_sequence = 0;
    rq->is_sent = false;
    rq->is_stream = false;
    rq->status = 0;
    rq->cancelled_for = ERR_NONE;
    rq->dispatched_bytes = env_body_len(rq->request);
    rq->avoid = 0;
    member->in_flight++;
    member->bytes += rq->dispatched_bytes;
    size_t shown = member->name.len < sizeof rq->worker - 1 ? member->name.len : sizeof rq->worker - 1;
    if (shown > 0) {
        memcpy(rq->worker, member->name.data, shown);
    }
    rq->worker[shown] = '\0';
}

/* Nobody works on it any more. */
void
route_dispatch_is_over(struct route_request *rq)
{
    struct route_member *member = rq->member;
    rq->member = NULL;
    rq->last_worker = member != NULL && member->is_worker ? member->addr : 0;
    if (member != NULL) {
        member->in_flight--;
        member->bytes -= rq->dispatched_bytes;
    }
}

/* 0, or -1 when the member takes nothing (any more). */
int
route_dispatch(struct route_request *rq, struct route_member *member, struct dyn_err *err)
{
    uint64_t now_us = bus_loop_now_us(rq->router->loop);
    limit_attempt(rq, now_us);
    if (rq->request->track) {
        tell_owner(rq, member);
    }
    struct env *attempt = dispatch_envelope(rq, now_us);
    if (bus_send(rq->router->me, member->addr, &attempt, err) != 0) {
        env_free(&attempt);
        return -1;
    }
    dispatch_begins(rq, member);
    return 0;
}

void
route_tell_owner(struct route_request *rq)
{
    if (rq->request->track && rq->member != NULL) {
        tell_owner(rq, rq->member);
    }
}

void
route_cancel_attempt(struct route_request *rq, enum err_code why, const char *reason)
{
    struct router *router = rq->router;
    if (rq->cancelled_for == ERR_UPSTREAM_TIMEOUT) {
        rq->cancelled_for = why; /* the attempt is being ended; now no other one shall follow it */
        return;
    }
    if (rq->cancelled_for != ERR_NONE) {
        return;
    }
    rq->cancelled_for = why;
    if (rq->member == NULL) {
        rq->error = why;
        route_resume(rq, ROUTE_STEP_FAIL);
        return;
    }
    struct env *cancel = env_new(ENV_CANCEL);
    cancel->id = rq->node.id;
    cancel->attempt = rq->attempt;
    cancel->epoch = rq->epoch;
    cancel->reason = env_copy(cancel, dyn_slice_str(reason));
    if (bus_send(router->me, rq->member->addr, &cancel, NULL) != 0) {
        env_free(&cancel); /* it is gone: the grace ends the attempt */
    }
    bus_timer_arm(router->loop, &rq->timer, router->grace_ms);
}

void
route_take_credit(struct route_request *rq, struct env **credit_p)
{
    struct env *credit = *credit_p;
    if (rq->window + credit->credit > ENV_HELD_ANSWER_MAX) {
        route_peer_cut(rq->router, rq->owner, "limit");
        return;
    }
    rq->window += credit->credit;
    if (rq->member == NULL) {
        return;
    }
    credit->attempt = rq->attempt;
    credit->epoch = rq->epoch;
    if (bus_send(rq->router->me, rq->member->addr, credit_p, NULL) != 0) {
        route_late(rq->router); /* who worked on it is gone; that is told in its own way */
    }
}
