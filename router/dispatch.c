/* One dispatch: what a member is sent, how long it may take, and what is counted while it is in flight. Who
 * gets it is the walker's business. */
#include "router/votes.h"
#include "router/votes_stream.h"

enum { ROUTE_ATTEMPT_MIN_MS = 1000 }; /* less than this is no try */

/* ---- policy ---- */

enum route_redeliver
route_redeliver_at(const struct route_request *rq, const struct route_target *target)
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
    return target != NULL ? target->redeliver : ROUTE_REDELIVER_ALWAYS;
}

enum route_redeliver
route_redeliver_of(const struct route_request *rq)
{
    return route_redeliver_at(rq, rq->now->target != NULL ? rq->now->target : rq->target);
}

bool
route_may_have_called(const struct route_request *rq, const struct route_attempt *attempt)
{
    bool would_tell = route_redeliver_at(rq, attempt->target) == ROUTE_REDELIVER_UNSENT;
    return !would_tell || attempt->is_sent || attempt->next_sequence > 0;
}

struct route_attempt *
route_other_flight(struct route_request *rq, const struct route_attempt *attempt)
{
    for (size_t i = 0; i < ROUTE_FLIGHTS_MAX; i++) {
        struct route_attempt *other = &rq->flights[i];
        if (other != attempt && other->member != NULL && !other->is_loser) {
            return other;
        }
    }
    return NULL;
}

struct route_attempt *
route_loser(struct route_request *rq)
{
    for (size_t i = 0; i < ROUTE_FLIGHTS_MAX; i++) {
        if (rq->flights[i].member != NULL && rq->flights[i].is_loser) {
            return &rq->flights[i];
        }
    }
    return NULL;
}

bool
route_may_start_over(const struct route_request *rq)
{
    return !rq->begun && route_redeliver_of(rq) == ROUTE_REDELIVER_ALWAYS;
}

/* ---- time ---- */

/* The earlier of two times; 0 is none. */
static uint64_t
sooner(uint64_t a_us, uint64_t b_us)
{
    if (a_us == 0 || b_us == 0) {
        return a_us | b_us;
    }
    return a_us < b_us ? a_us : b_us;
}

static uint64_t
next_time(const struct route_request *rq)
{
    uint64_t next_us = 0;
    bool goes_on = rq->cancelled_for == ERR_NONE && rq->told == NULL;
    for (size_t i = 0; i < ROUTE_FLIGHTS_MAX; i++) {
        const struct route_attempt *flight = &rq->flights[i];
        if (flight->member != NULL) {
            bool is_told = flight->grace_until_us != 0;
            next_us = sooner(next_us, is_told ? flight->grace_until_us : rq->begun ? 0 : flight->until_us);
        }
    }
    if (goes_on && !(rq->begun && rq->now->is_stream)) { /* a deadline bounds a stream to its first content */
        next_us = sooner(next_us, rq->deadline_us);
    }
    if (goes_on) {
        next_us = sooner(next_us, rq->parked_until_us);
        next_us = sooner(next_us, rq->backoff_until_us);
        next_us = sooner(next_us, rq->hedge_at_us);
        next_us = sooner(next_us, rq->vote_until_us);
    }
    return next_us;
}

void
route_arm(struct route_request *rq)
{
    uint64_t now_us = bus_loop_now_us(rq->router->loop);
    uint64_t next_us = next_time(rq);
    if (next_us == 0) {
        bus_timer_disarm(&rq->timer);
        return;
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
    uint64_t targets = rq->order.is_named ? 1 : rq->order.n - rq->next_target + 1;
    uint64_t max = route_attempts_max(rq);
    uint64_t before = rq->targets_tried - rq->is_target_tried;
    uint64_t budget = max > before ? max - before : 1;
    uint64_t left = targets < budget ? targets : budget;
    uint32_t tries = rq->target != NULL ? rq->target->retry.attempts : 0;
    left += tries > rq->tries + 1 ? tries - rq->tries - 1 : 0;
    return left > 0 ? left : 1;
}

/* What is left, divided by the attempts left. The last attempt has all of it, and no timer of its own. */
static uint64_t
attempt_until(const struct route_request *rq, uint64_t now_us)
{
    uint64_t share_us = (rq->deadline_us - now_us) / attempts_left(rq);
    uint64_t least_us = (uint64_t)ROUTE_ATTEMPT_MIN_MS * 1000;
    uint64_t until_us = now_us + (share_us > least_us ? share_us : least_us);
    return until_us < rq->deadline_us ? until_us : 0;
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
tell_owner(struct route_request *rq, const struct route_member *member, uint32_t attempt, uint32_t epoch)
{
    struct env *dispatched = env_new(ENV_DISPATCHED);
    dispatched->id = rq->node.id;
    dispatched->stream = rq->facts.stream;
    dispatched->worker = env_copy(dispatched, member->name);
    dispatched->worker_attempt = attempt;
    dispatched->worker_epoch = epoch;
    if (route_pass_to_owner(rq, &dispatched, NULL) != 0) {
        env_free(&dispatched);
    }
}

static struct env *
dispatch_envelope(struct route_request *rq, uint64_t until_us, uint64_t now_us)
{
    struct env *attempt = env_clone_request(rq->request);
    if (attempt->surface == ENV_SURFACE_ADMIN) {
        env_add_header(attempt, DYN_SLICE("x-dynabus-key"), rq->key_id);
    }
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
dispatch_begins(struct route_request *rq, struct route_member *member, uint64_t until_us, uint64_t now_us)
{
    *rq->now = (struct route_attempt){
        .member = member,
        .target = rq->target,
        .number = rq->attempt,
        .epoch = rq->epoch,
        .tries = rq->tries,
        .credential_tries = rq->credential_tries,
        .started_us = now_us,
        .until_us = until_us,
        .bytes = env_body_len(rq->request),
        .window = rq->window,
    };
    if (!rq->is_target_tried) {
        rq->is_target_tried = true;
        rq->targets_tried++;
    }
    route_note_begin(rq, member);
    rq->attempts = rq->attempt > rq->attempts ? rq->attempt : rq->attempts;
    rq->avoid = 0;
    member->in_flight++;
    member->bytes += rq->now->bytes;
}

void
route_dispatch_is_over(struct route_request *rq, struct route_attempt *attempt)
{
    struct route_member *member = attempt->member;
    attempt->member = NULL;
    rq->last_worker = member != NULL && member->is_worker ? member->addr : 0;
    if (member != NULL) {
        rq->has_leftovers = rq->has_leftovers || (attempt->next_sequence > 0 && !attempt->is_held);
        member->in_flight--;
        member->bytes -= attempt->bytes;
    }
}

int
route_dispatch(struct route_request *rq, struct route_member *member, struct dyn_err *err)
{
    uint64_t now_us = bus_loop_now_us(rq->router->loop);
    uint64_t until_us = attempt_until(rq, now_us);
    DYN_ASSERT(rq->now->member == NULL);
    rq->now->target = rq->target;
    if (rq->request->track) {
        tell_owner(rq, member, rq->attempt, rq->epoch);
    }
    struct env *attempt = dispatch_envelope(rq, until_us != 0 ? until_us : rq->deadline_us, now_us);
    if (bus_send(rq->router->me, member->addr, &attempt, err) != 0) {
        env_free(&attempt);
        return -1;
    }
    dispatch_begins(rq, member, until_us, now_us);
    route_hedge_plan(rq);
    route_arm(rq); /* also for the deadline alone: its timer is spent when it was a wait that ended */
    return 0;
}

void
route_tell_owner(struct route_request *rq)
{
    if (rq->request->track && rq->now->member != NULL) {
        tell_owner(rq, rq->now->member, rq->now->number, rq->now->epoch);
    }
}

/* ---- its end before its time ---- */

static void
say_cancel(struct route_request *rq, struct route_attempt *attempt, const char *reason)
{
    struct router *router = rq->router;
    struct env *cancel = env_new(ENV_CANCEL);
    cancel->id = rq->node.id;
    cancel->attempt = attempt->number;
    cancel->epoch = attempt->epoch;
    cancel->reason = env_copy(cancel, dyn_slice_str(reason));
    if (bus_send(router->me, attempt->member->addr, &cancel, NULL) != 0) {
        env_free(&cancel); /* it is gone: the grace ends the attempt */
    }
    attempt->grace_until_us = bus_loop_now_us(router->loop) + router->grace_ms * UINT64_C(1000);
}

void
route_stop_attempt(struct route_request *rq, struct route_attempt *attempt, enum err_code why,
                   const char *reason)
{
    if (attempt->grace_until_us == 0) {
        attempt->cancelled_for = why;
        say_cancel(rq, attempt, reason);
    }
    route_arm(rq);
}

/* What a loser has cost is not waited for any more. */
static void
settle_now(struct route_request *rq)
{
    for (struct route_attempt *loser; rq->told != NULL && (loser = route_loser(rq)) != NULL;) {
        rq->calls += route_may_have_called(rq, loser);
        route_loser_is_over(rq, loser, NULL);
        return; /* it was the only one */
    }
}

void
route_cancel(struct route_request *rq, enum err_code why, const char *reason)
{
    if (rq->told != NULL) {
        if (why == ERR_DRAINING) {
            settle_now(rq);
        }
        return;
    }
    if (rq->cancelled_for != ERR_NONE) {
        return;
    }
    rq->cancelled_for = why;
    if (route_other_flight(rq, NULL) == NULL) {
        rq->error = why;
        route_resume(rq, ROUTE_STEP_FAIL);
        return;
    }
    for (size_t i = 0; i < ROUTE_FLIGHTS_MAX; i++) {
        struct route_attempt *flight = &rq->flights[i];
        if (flight->member != NULL && flight->grace_until_us == 0) {
            say_cancel(rq, flight, reason);
        }
    }
    route_arm(rq);
}

static void
grant(struct route_request *rq, struct route_attempt *flight, uint32_t bytes)
{
    struct env *credit = env_new(ENV_CREDIT);
    credit->id = rq->node.id;
    credit->credit = bytes;
    credit->attempt = flight->number;
    credit->epoch = flight->epoch;
    if (bus_send(rq->router->me, flight->member->addr, &credit, NULL) != 0) {
        env_free(&credit);
        route_late(rq->router); /* who worked on it is gone; that is told in its own way */
    }
}

void
route_grant(struct route_request *rq, struct route_attempt *flight, uint32_t bytes)
{
    flight->window += bytes;
    grant(rq, flight, bytes);
}

void
route_take_credit(struct route_request *rq, struct env **credit_p)
{
    uint32_t bytes = (*credit_p)->credit;
    if (rq->window + bytes > ENV_HELD_ANSWER_MAX) {
        route_peer_cut(rq->router, rq->owner, "limit");
        return;
    }
    route_credit(rq, bytes);
}

void
route_credit(struct route_request *rq, uint32_t bytes)
{
    rq->window += bytes;
    if (route_long_waits(rq)) {
        route_run(rq);
        return;
    }
    if (rq->gated != NULL) {
        route_gate_credit(rq);
        return;
    }
    for (size_t i = 0; i < ROUTE_FLIGHTS_MAX; i++) {
        struct route_attempt *flight = &rq->flights[i];
        if (flight->member != NULL && !flight->is_loser) {
            route_grant(rq, flight, bytes);
        }
    }
    route_held_go_on(rq);
}
