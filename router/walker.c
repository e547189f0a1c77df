/* The walker: makes all attempts of a request, one loop whatever the reason. It goes through the order that
 * the strategy gave; at each target it dispatches to the member that has least to do.
 *
 *   attempt    one try at one target. One that fails before the answer has begun is followed by another one:
 *              at the same target when its retry policy says so (after a wait) or when it has another
 *              credential (at once), else at the next target when that may help.
 *   epoch      one dispatch of an attempt. A worker that is lost, drains or has no room is followed by
 *              another member of the same target: redelivery. It uses up no budget; the deadline bounds it,
 *              and ROUTE_LOSSES_MAX, since a request that kills whoever takes it must not kill a fleet.
 *   hedge      a second attempt while the first one is silent (hedge.c).
 *
 * Targets are bounded by max_attempts, repeats at a target by its policy and by the retry budget of all
 * requests together (retry.c), everything by the deadline. A target that refuses (its breaker is open, it is
 * full) was not tried. An order that names its target (`single`, and rules that matched) is not walked past a
 * failure: which provider sees a prompt is the operator's choice then.
 *
 * Specified in proto/01-ENVELOPE.md, "Delivery", and proto/02-WORKER.md; for users in docs/retries.md. */
#include "router/votes.h"

enum {
    ROUTE_LOSSES_MAX = 8,       /* the first and these: as often as an owner sends, docs/decisions/0019 */
    ROUTE_HANDED_BACK_MAX = 16, /* by workers that drain or are full: more are no fleet but a loop */
};
/* A router whose process was lost may have gone further than its owner heard. Its epochs are left behind by a
 * multiple of how often the owner sent; within one sending they never fall, whatever the attempt. */
enum { EPOCH_SHIFT = 16 };
/* An owner's word for how often it was tried is counted on from. No walk comes near it. */
enum { ROUTE_ATTEMPT_KNOWN_MAX = 1 << 16 };

/* ---- where it goes ---- */

static uint32_t
least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Which of the attempts before were repeats at one target is not known: there is always one target left. */
void
route_walk_begin(struct route_request *rq)
{
    const struct env *request = rq->request;
    uint32_t known = least(request->worker_attempt, ROUTE_ATTEMPT_KNOWN_MAX);
    rq->attempt = known > 0 ? known : 1;
    rq->targets_tried = least(rq->attempt, rq->plan->max_attempts > 0 ? rq->plan->max_attempts : 1) - 1;
    if (rq->has_walked) { /* it begins again under another plan, and was sent to nobody */
        return;
    }
    rq->has_walked = true;
    rq->epoch = request->epoch << EPOCH_SHIFT;
    if (known > 0 && rq->epoch <= request->worker_epoch) {
        rq->epoch = request->worker_epoch + 1;
    }
    route_budget_count(&rq->router->retries, bus_loop_now_us(rq->router->loop));
    route_budget_count(&rq->router->hedges, bus_loop_now_us(rq->router->loop));
}

void
route_walk_goes_on_with(struct route_request *rq, struct route_attempt *attempt)
{
    rq->now = attempt;
    rq->target = attempt->target;
    rq->attempt = attempt->number;
    rq->tries = attempt->tries;
    rq->credential_tries = attempt->credential_tries;
    rq->is_target_tried = true;
    if (rq->cancelled_for == ERR_NONE) {
        route_tell_owner(rq);
    }
    route_arm(rq);
}

/* Another attempt may be made; its number. What the request itself allows counts every one. */
static bool
next_attempt(const struct route_request *rq, uint32_t *number)
{
    uint32_t asked = rq->request->attempts_left;
    *number = rq->attempts >= rq->attempt ? rq->attempts + 1 : rq->attempt;
    return asked == 0 || *number <= asked;
}

bool
route_next_target(struct route_request *rq)
{
    uint32_t number;
    bool is_held = rq->order.is_named && (rq->last_note != NULL || rq->is_full);
    if (rq->next_target >= rq->order.n || is_held || rq->targets_tried >= rq->plan->max_attempts ||
        !next_attempt(rq, &number)) {
        return false;
    }
    rq->attempt = number;
    rq->target = &rq->router->members.targets[rq->order.items[rq->next_target++]];
    rq->is_at_target = true;
    rq->is_target_tried = false;
    rq->tries = 0;
    rq->credential_tries = 0;
    rq->has_waited = false;
    rq->avoid = 0;
    return true;
}

/* Who had it is not asked (any more): for all that is known it has called an upstream. */
static void
forget_known_worker(struct route_request *rq)
{
    rq->calls += rq->request->worker.len > 0;
    rq->request->worker = dyn_slice(NULL, 0);
}

/* The last attempt's error says more than that nobody else was there. */
static enum route_step
out_of_targets(struct route_request *rq)
{
    forget_known_worker(rq);
    if (rq->failed != NULL) {
        rq->inbound = rq->failed;
        rq->failed = NULL;
        rq->error = rq->inbound->error;
        return ROUTE_STEP_FAIL;
    }
    return route_fail(rq, rq->is_full ? ERR_SATURATED : ERR_UPSTREAM_UNAVAILABLE, NULL, NULL);
}

/* A target that workers serve may get another one within moments: one that restarts, or has yet to find this
 * router. */
static bool
may_wait(const struct route_request *rq, const struct route_crew *crew)
{
    const struct router_options *options = &rq->router->options;
    bool has_own = crew->n > 0 && !crew->members[0]->is_worker;
    return options->accepts_workers && options->worker_wait_ms > 0 && !has_own && !rq->has_waited;
}

/* A request that was sent again is asked for where it was last, whatever that worker has to do. */
static struct route_member *
known_worker(struct route_request *rq)
{
    struct route_members *members = &rq->router->members;
    struct route_member *worker = route_members_named(members, rq->request->worker);
    for (size_t i = 0; worker != NULL && i < rq->order.n; i++) {
        size_t target = rq->order.items[i];
        if (route_set_has(&worker->serves, target)) {
            rq->next_target = i + 1;
            rq->target = &members->targets[target];
            rq->is_at_target = true;
            return worker;
        }
    }
    return NULL;
}

static bool
attach(struct route_request *rq)
{
    struct route_member *worker = known_worker(rq);
    if (worker == NULL) {
        return false;
    }
    rq->is_attached = true;
    int failed = route_dispatch(rq, worker, NULL);
    rq->is_attached = false;
    if (failed != 0) {
        rq->avoid = worker->addr;
        forget_known_worker(rq);
    }
    rq->request->worker = dyn_slice(NULL, 0);
    return failed == 0;
}

/* One try at the target of the moment. */
static enum route_pick
send_to_member(struct route_request *rq)
{
    struct route_crew *crew = route_crew_of(&rq->router->members, rq->target);
    struct route_wish wish = {rq->target->name, rq->model, env_body_len(rq->request), rq->avoid,
                              bus_loop_now_us(rq->router->loop)};
    struct dyn_err err;
    size_t index = 0;
    enum route_pick pick;
    while ((pick = route_member_pick(crew, &wish, &index)) == ROUTE_PICK_FOUND) {
        struct route_member *member = crew->members[index];
        crew->turn = index + 1;
        if (route_dispatch(rq, member, &err) == 0) {
            forget_known_worker(rq);
            break;
        }
        bool is_gone = err.code == DYN_E_GONE;
        if (!is_gone || !member->is_worker) {
            return is_gone ? ROUTE_PICK_NOBODY : ROUTE_PICK_FULL;
        }
        member->is_draining = true; /* its GOODBYE is on its way; until then it gets nothing new */
    }
    return pick;
}

enum route_step
route_step_send(struct route_request *rq)
{
    struct router *router = rq->router;
    uint64_t now_us = bus_loop_now_us(router->loop);
    uint64_t until_us = now_us + router->options.worker_wait_ms * UINT64_C(1000);
    if (rq->parked_until_us != 0) { /* who came was not the one: it goes on waiting */
        until_us = rq->parked_until_us;
    }
    route_unpark(rq);
    rq->backoff_until_us = 0;
    if (now_us >= rq->deadline_us) {
        return route_fail(rq, ERR_GATEWAY_TIMEOUT, NULL, NULL);
    }
    if (attach(rq)) {
        return ROUTE_STEP_WAIT;
    }
    while (rq->is_at_target || route_next_target(rq)) {
        enum route_pick pick = send_to_member(rq);
        if (pick == ROUTE_PICK_FOUND) {
            return ROUTE_STEP_WAIT;
        }
        struct route_crew *crew = route_crew_of(&router->members, rq->target);
        if (pick == ROUTE_PICK_NOBODY && may_wait(rq, crew)) {
            return route_park(rq, until_us);
        }
        rq->is_full = rq->is_full || pick == ROUTE_PICK_FULL;
        rq->is_at_target = false;
    }
    return out_of_targets(rq);
}

enum route_step
route_ask_metrics(struct route_request *rq)
{
    rq->attempt = 1;
    route_events_flush(rq->router); /* who reads the page has heard the answers that they are about */
    if (rq->router->metrics.addr == 0) {
        return route_fail(rq, ERR_NOT_FOUND, NULL, NULL);
    }
    if (route_dispatch(rq, &rq->router->metrics, NULL) != 0) {
        return route_fail(rq, ERR_SATURATED, NULL, NULL);
    }
    return ROUTE_STEP_WAIT;
}

/* Rows, keys and spend are the gateway's own: they are asked for by its actors, not over a router. Who
 * deletes does so over the surface `admin`, which leaves a row in the audit log. */
static bool
may_be_asked(const struct ledger_message *ask)
{
    static const char *const words[] = {"logs", "stats", "audit", "status"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(words); i++) {
        if (dyn_slice_is(ask->op, words[i])) {
            return true;
        }
    }
    return false;
}

enum route_step
route_ask_ledger(struct route_request *rq)
{
    struct ledger_message ask;
    struct dyn_err err;
    rq->attempt = 1;
    if (rq->router->ledger.addr == 0) {
        return route_fail(rq, ERR_NOT_FOUND, "this gateway has no store", NULL);
    }
    if (ledger_message_decode(dyn_block_slice(rq->request->body), &ask, &err) != 0) {
        return route_fail(rq, ERR_INVALID_REQUEST, err.text, NULL);
    }
    if (!may_be_asked(&ask)) {
        return route_fail(rq, ERR_INVALID_REQUEST, "the ledger is not asked that from outside", "op");
    }
    if (ask.bodies != 0 && (rq->scopes & KEY_SCOPE_ADMIN) == 0) {
        return route_fail(rq, ERR_INSUFFICIENT_SCOPE, NULL, NULL);
    }
    if (route_dispatch(rq, &rq->router->ledger, NULL) != 0) {
        return route_fail(rq, ERR_SATURATED, NULL, NULL);
    }
    return ROUTE_STEP_WAIT;
}

/* ---- what failed ---- */

static bool
may_redeliver(const struct route_request *rq)
{
    enum route_redeliver policy = route_redeliver_of(rq);
    return policy == ROUTE_REDELIVER_ALWAYS ||
           (policy == ROUTE_REDELIVER_UNSENT && !route_may_have_called(rq, rq->now));
}

/* A worker did not take it: it drains, or has less room than it said. Nobody is to blame. */
static bool
is_handed_back(const struct route_request *rq)
{
    const struct env *end = rq->inbound;
    bool is_unwilling = end != NULL && (end->error == ERR_DRAINING || end->error == ERR_SATURATED);
    if (!is_unwilling || rq->last_worker == 0 || rq->handed_back >= ROUTE_HANDED_BACK_MAX) {
        return false;
    }
    bool is_untouched = end->upstream_calls == 0 && rq->now->next_sequence == 0;
    return is_untouched || route_redeliver_of(rq) == ROUTE_REDELIVER_ALWAYS;
}

/* The same attempt once more, to another member of its target. */
static void
send_same_again(struct route_request *rq)
{
    rq->target = rq->now->target;
    rq->attempt = rq->now->number;
    rq->is_at_target = true;
    rq->epoch++;
}

static void
mark_draining(struct route_request *rq)
{
    struct route_member *worker = route_members_find(&rq->router->members, rq->last_worker);
    if (worker != NULL && rq->inbound->error == ERR_DRAINING) {
        worker->is_draining = true;
    }
}

static enum route_step
give_to_another(struct route_request *rq)
{
    bool drains = rq->inbound->error == ERR_DRAINING;
    mark_draining(rq);
    rq->redelivered += rq->inbound->upstream_calls > 0;
    rq->is_full = rq->is_full || !drains;
    rq->has_waited = !drains; /* who has no room now won't have it because somebody waits */
    rq->handed_back++;
    rq->avoid = rq->last_worker;
    send_same_again(rq);
    env_free(&rq->inbound);
    return ROUTE_STEP_SEND;
}

static void
keep_failure(struct route_request *rq)
{
    env_free(&rq->failed);
    rq->failed = rq->inbound;
    rq->inbound = NULL;
    if (rq->failed == NULL) { /* its time was over, and it did not even say so */
        rq->failed = env_new(ENV_END);
        rq->failed->id = rq->node.id;
    }
    rq->failed->error = rq->error;
}

static enum route_step
try_next_target(struct route_request *rq)
{
    keep_failure(rq);
    rq->now->note->is_hidden = true;
    rq->is_at_target = false;
    return ROUTE_STEP_SEND;
}

/* Again at the same target, after so long. */
static enum route_step
try_again_here(struct route_request *rq, uint32_t number, uint64_t wait_ms)
{
    keep_failure(rq);
    rq->now->note->is_hidden = true;
    rq->target = rq->now->target;
    rq->attempt = number;
    rq->is_at_target = true;
    rq->has_waited = false;
    if (wait_ms == 0) {
        return ROUTE_STEP_SEND;
    }
    rq->backoff_until_us = bus_loop_now_us(rq->router->loop) + wait_ms * 1000;
    route_arm(rq);
    return ROUTE_STEP_PARKED;
}

/* The target did not take it: no attempt was used up. Its number is free again, its epoch is not. */
static void
take_back(struct route_request *rq)
{
    const struct route_attempt *now = rq->now;
    const struct route_attempt *other = route_other_flight(rq, now);
    bool is_only_one_there = other == NULL || other->target != now->target;
    rq->targets_tried -= is_only_one_there && now->tries + now->credential_tries == 0;
    if (now->number == rq->attempts) {
        rq->attempts--;
        rq->epoch++;
    }
}

static void
remember_hint(struct route_request *rq, const struct route_failure *failure)
{
    bool is_sooner = failure->retry_ms > 0 && (rq->soonest_ms == 0 || failure->retry_ms < rq->soonest_ms);
    rq->soonest_ms = is_sooner ? failure->retry_ms : rq->soonest_ms;
}

static enum route_step
pass_over(struct route_request *rq, const struct route_failure *failure)
{
    remember_hint(rq, failure);
    take_back(rq);
    return try_next_target(rq);
}

/* Nobody at the target of `now` worked on it: it has its turn when the other one has failed. */
static void
give_turn_back(struct route_request *rq, const struct route_attempt *other)
{
    const struct route_target *targets = rq->router->members.targets;
    bool is_last = rq->next_target > 0 && &targets[rq->order.items[rq->next_target - 1]] == rq->now->target;
    if (is_last && rq->now->target != other->target) {
        rq->next_target--;
    }
}

/* One of two has failed, and the other one goes on. */
static enum route_step
leave_it_to(struct route_request *rq, struct route_attempt *other, const struct route_failure *failure)
{
    if (route_failure_is_refusal(failure)) {
        remember_hint(rq, failure);
        take_back(rq);
    } else if (rq->now->cancelled_for == ERR_NONE && is_handed_back(rq)) {
        mark_draining(rq);
        take_back(rq);
        give_turn_back(rq, other);
    } else if (other->target == rq->now->target) { /* which was tried twice, then */
        other->tries += !route_failure_is_of_credential(failure);
        other->credential_tries += route_failure_is_of_credential(failure);
    }
    keep_failure(rq);
    rq->now->note->is_hidden = true;
    route_walk_goes_on_with(rq, other);
    return ROUTE_STEP_PARKED;
}

static bool
may_wait_for(const struct route_request *rq, uint64_t wait_ms)
{
    return bus_loop_now_us(rq->router->loop) + wait_ms * 1000 < rq->deadline_us;
}

/* What follows a failure that leaves nothing in flight. */
static enum route_step
follow(struct route_request *rq, const struct route_failure *failure)
{
    struct router *router = rq->router;
    const struct route_retry *retry = &rq->now->target->retry;
    uint64_t now_us = bus_loop_now_us(router->loop);
    uint64_t wait_ms = 0;
    uint32_t number;
    if (route_failure_is_refusal(failure)) {
        return pass_over(rq, failure);
    }
    bool is_there = route_members_number(&router->members, rq->now->target) < ROUTE_TARGETS_MAX;
    bool may_repeat = is_there && next_attempt(rq, &number);
    if (may_repeat && route_failure_is_of_credential(failure) &&
        rq->credential_tries < ROUTE_CREDENTIAL_TRIES_MAX) {
        rq->credential_tries++;
        return try_again_here(rq, number, 0);
    }
    rq->tries++;
    if (may_repeat && rq->tries < retry->attempts && route_retry_may_help(retry, failure) &&
        route_retry_wait_ms(retry, failure, rq->tries, &router->rng, &wait_ms) && may_wait_for(rq, wait_ms) &&
        route_budget_spend(&router->retries, rq->plan->retry_share, now_us)) {
        return try_again_here(rq, number, wait_ms);
    }
    return route_failure_may_be_mended_elsewhere(failure) ? try_next_target(rq) : ROUTE_STEP_FAIL;
}

static enum err_code
why_it_failed(const struct route_request *rq)
{
    const struct env *end = rq->inbound;
    if (rq->cancelled_for != ERR_NONE) {
        return rq->cancelled_for;
    }
    if (rq->now->cancelled_for != ERR_NONE) {
        return rq->now->cancelled_for;
    }
    return end != NULL && end->error != ERR_NONE ? end->error : ERR_INTERNAL;
}

/* It is the upstream's word. */
static uint32_t
in_ms(uint32_t seconds)
{
    return seconds <= UINT32_MAX / 1000 ? seconds * 1000 : UINT32_MAX;
}

enum route_step
route_step_judge(struct route_request *rq)
{
    const struct env *end = rq->inbound;
    bool is_late = rq->now->cancelled_for != ERR_NONE; /* the attempt, not the request */
    struct route_failure failure = {.error = rq->error = why_it_failed(rq)};
    if (end != NULL && !is_late) {
        failure.upstream_status = end->upstream_status;
        failure.retry_ms = end->retry_ms != 0 ? end->retry_ms : in_ms(end->retry_after_s);
        failure.creds = end->creds;
        failure.calls = end->upstream_calls;
    }
    route_note_end(rq, rq->now, end, rq->error);
    bool is_over = rq->begun || rq->has_gap || rq->now->target == NULL;
    struct route_attempt *other = route_other_flight(rq, rq->now);
    bool goes_on_alone = other != NULL && !is_over &&
                         (rq->cancelled_for != ERR_NONE || route_failure_may_be_mended_elsewhere(&failure));
    if (goes_on_alone) {
        return leave_it_to(rq, other, &failure);
    }
    if (is_over || rq->cancelled_for != ERR_NONE) {
        return ROUTE_STEP_FAIL;
    }
    if (!is_late && is_handed_back(rq)) {
        return give_to_another(rq);
    }
    return follow(rq, &failure);
}

enum route_step
route_step_lost(struct route_request *rq)
{
    struct route_attempt *now = rq->now;
    bool is_allowed = may_redeliver(rq) && rq->lost < ROUTE_LOSSES_MAX;
    rq->calls += route_may_have_called(rq, now);
    rq->lost++;
    route_dispatch_is_over(rq, now);
    if (rq->cancelled_for != ERR_NONE || now->cancelled_for != ERR_NONE) {
        return ROUTE_STEP_JUDGE;
    }
    route_note_end(rq, now, NULL, ERR_WORKER_LOST);
    struct route_attempt *other = route_other_flight(rq, now);
    if (other != NULL) { /* which has the request as well */
        take_back(rq);
        give_turn_back(rq, other);
        route_walk_goes_on_with(rq, other);
        return ROUTE_STEP_PARKED;
    }
    if (rq->begun || !is_allowed) {
        return route_fail(rq, ERR_WORKER_LOST, NULL, NULL);
    }
    send_same_again(rq);
    rq->redelivered++;
    rq->avoid = 0;
    rq->has_waited = false;
    return ROUTE_STEP_SEND;
}

/* ---- time ---- */

/* A peer that was told to stop and has not said END in time is not waited for. */
static struct route_attempt *
overdue(struct route_request *rq, uint64_t now_us)
{
    for (size_t i = 0; i < ROUTE_FLIGHTS_MAX; i++) {
        struct route_attempt *flight = &rq->flights[i];
        if (flight->member != NULL && flight->grace_until_us != 0 && now_us >= flight->grace_until_us) {
            return flight;
        }
    }
    return NULL;
}

static void
give_up(struct route_request *rq, struct route_attempt *flight)
{
    rq->calls += route_may_have_called(rq, flight);
    if (flight->is_loser) {
        route_loser_is_over(rq, flight, NULL);
        return;
    }
    rq->now = flight;
    route_dispatch_is_over(rq, flight);
    route_resume(rq, ROUTE_STEP_JUDGE);
}

static struct route_attempt *
too_slow(struct route_request *rq, uint64_t now_us)
{
    for (size_t i = 0; i < ROUTE_FLIGHTS_MAX; i++) {
        struct route_attempt *flight = &rq->flights[i];
        bool is_timed = flight->member != NULL && flight->grace_until_us == 0 && flight->until_us != 0;
        if (is_timed && !rq->begun && now_us >= flight->until_us) {
            return flight;
        }
    }
    return NULL;
}

static bool
is_due(uint64_t at_us, uint64_t now_us)
{
    return at_us != 0 && now_us >= at_us;
}

void
route_timer_fired(struct bus_timer *timer)
{
    struct route_request *rq = DYN_CONTAINER_OF(timer, struct route_request, timer);
    uint64_t now_us = bus_loop_now_us(rq->router->loop);
    struct route_attempt *flight = overdue(rq, now_us);
    bool has_deadline = !(rq->begun && rq->now->is_stream);
    if (flight != NULL) {
        give_up(rq, flight);
    } else if (rq->cancelled_for != ERR_NONE || rq->told != NULL) {
        route_arm(rq);
    } else if (has_deadline && now_us >= rq->deadline_us) {
        route_cancel(rq, ERR_GATEWAY_TIMEOUT, "deadline");
    } else if (is_due(rq->parked_until_us, now_us)) {
        rq->has_waited = true;
        route_run(rq);
    } else if (is_due(rq->backoff_until_us, now_us)) {
        route_resume(rq, ROUTE_STEP_SEND);
    } else if (is_due(rq->vote_until_us, now_us)) {
        route_votes_late(rq);
    } else if ((flight = too_slow(rq, now_us)) != NULL) {
        route_stop_attempt(rq, flight, ERR_UPSTREAM_TIMEOUT, "attempt");
    } else if (is_due(rq->hedge_at_us, now_us)) {
        route_hedge(rq);
    } else {
        route_arm(rq);
    }
}
