/* The walker: makes all attempts of a request, one loop whatever the reason. It goes through the order that
 * the strategy gave; at each target it dispatches to the member that has least to do.
 *
 *   attempt    one try at one target; uses up the attempt budget. One that fails before the answer has begun,
 *              with an error that may be mended by trying again, is followed by one at the next target.
 *   epoch      one dispatch of an attempt. A worker that is lost, drains or has no room is followed by
 * another member of the same target: redelivery. It uses up no budget; the deadline bounds it, and
 *              ROUTE_LOSSES_MAX, since a request that kills whoever takes it must not kill a fleet.
 *
 * `single` gives one target, so it never walks on past a failure, and a request whose worker is lost goes to
 * another member of that target and nowhere else: which provider sees a prompt is the operator's choice.
 *
 * Specified in proto/01-ENVELOPE.md, "Delivery", and proto/02-WORKER.md. */
#include "router/request.h"

enum {
    ROUTE_LOSSES_MAX = 5,
    ROUTE_HANDED_BACK_MAX = 16, /* by workers that drain or are full: more are no fleet but a loop */
};
/* A router whose process was lost may have gone further than its owner heard. Its epochs are left behind by a
 * multiple of how often the owner sent; within one sending they never fall, whatever the attempt. */
enum { EPOCH_SHIFT = 16 };

/* ---- where it goes ---- */

void
route_walk_begin(struct route_request *rq)
{
    const struct env *request = rq->request;
    bool is_known = request->worker_attempt > 0;
    rq->attempt = is_known ? request->worker_attempt : 1;
    rq->epoch = request->epoch << EPOCH_SHIFT;
    if (is_known && rq->epoch <= request->worker_epoch) {
        rq->epoch = request->worker_epoch + 1;
    }
}

static bool
next_target(struct route_request *rq)
{
    bool was_tried = rq->attempts == rq->attempt;
    if (rq->next_target >= rq->order.n || rq->attempt + was_tried > route_attempts_max(rq)) {
        return false;
    }
    if (was_tried) {
        rq->attempt++;
    }
    rq->target = &rq->router->members.targets[rq->order.items[rq->next_target++]];
    rq->is_at_target = true;
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
    struct route_wish wish = {rq->target->name, rq->model, env_body_len(rq->request), rq->avoid};
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
    if (now_us >= rq->deadline_us) {
        return route_fail(rq, ERR_GATEWAY_TIMEOUT, NULL, NULL);
    }
    if (attach(rq)) {
        return ROUTE_STEP_WAIT;
    }
    while (rq->is_at_target || next_target(rq)) {
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
    if (rq->router->metrics.addr == 0) {
        return route_fail(rq, ERR_NOT_FOUND, NULL, NULL);
    }
    if (route_dispatch(rq, &rq->router->metrics, NULL) != 0) {
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
           (policy == ROUTE_REDELIVER_UNSENT && !route_may_have_called(rq));
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
    bool is_untouched = end->upstream_calls == 0 && rq->next_sequence == 0;
    return is_untouched || route_redeliver_of(rq) == ROUTE_REDELIVER_ALWAYS;
}

static enum route_step
give_to_another(struct route_request *rq)
{
    bool drains = rq->inbound->error == ERR_DRAINING;
    struct route_member *worker = route_members_find(&rq->router->members, rq->last_worker);
    if (worker != NULL && drains) {
        worker->is_draining = true;
    }
    rq->redelivered += rq->inbound->upstream_calls > 0;
    rq->is_full = rq->is_full || !drains;
    rq->has_waited = !drains; /* who has no room now won't have it because somebody waits */
    rq->handed_back++;
    rq->avoid = rq->last_worker;
    rq->epoch++;
    env_free(&rq->inbound);
    return ROUTE_STEP_SEND;
}

static enum route_step
try_next_target(struct route_request *rq)
{
    env_free(&rq->failed);
    rq->failed = rq->inbound;
    rq->inbound = NULL;
    if (rq->failed == NULL) { /* its time was over, and it did not even say so */
        rq->failed = env_new(ENV_END);
        rq->failed->id = rq->node.id;
    }
    rq->failed->error = rq->error;
    rq->is_at_target = false;
    rq->cancelled_for = ERR_NONE;
    return ROUTE_STEP_SEND;
}

enum route_step
route_step_judge(struct route_request *rq)
{
    const struct env *end = rq->inbound;
    bool is_late = rq->cancelled_for == ERR_UPSTREAM_TIMEOUT; /* the attempt, not the request */
    if (rq->cancelled_for != ERR_NONE) {
        rq->error = rq->cancelled_for;
    } else {
        rq->error = end != NULL && end->error != ERR_NONE ? end->error : ERR_INTERNAL;
    }
    bool is_over = rq->begun || rq->has_gap || (rq->cancelled_for != ERR_NONE && !is_late);
    if (is_over || rq->target == NULL) {
        return ROUTE_STEP_FAIL;
    }
    if (!is_late && is_handed_back(rq)) {
        return give_to_another(rq);
    }
    return err_row(rq->error)->retryable ? try_next_target(rq) : ROUTE_STEP_FAIL;
}

enum route_step
route_step_lost(struct route_request *rq)
{
    bool is_allowed = may_redeliver(rq) && rq->lost < ROUTE_LOSSES_MAX;
    rq->calls += route_may_have_called(rq);
    rq->lost++;
    route_dispatch_is_over(rq);
    if (rq->cancelled_for != ERR_NONE) {
        return ROUTE_STEP_JUDGE;
    }
    if (rq->begun || !is_allowed) {
        return route_fail(rq, ERR_WORKER_LOST, NULL, NULL);
    }
    rq->redelivered++;
    rq->epoch++;
    rq->avoid = 0;
    rq->has_waited = false;
    return ROUTE_STEP_SEND;
}

/* ---- time ---- */

void
route_timer_fired(struct bus_timer *timer)
{
    struct route_request *rq = DYN_CONTAINER_OF(timer, struct route_request, timer);
    uint64_t now_us = bus_loop_now_us(rq->router->loop);
    if (rq->cancelled_for != ERR_NONE) { /* the grace after a CANCEL is over */
        rq->calls += route_may_have_called(rq);
        route_dispatch_is_over(rq);
        route_resume(rq, ROUTE_STEP_JUDGE);
    } else if (now_us >= rq->deadline_us) {
        route_cancel_attempt(rq, ERR_GATEWAY_TIMEOUT, "deadline");
    } else if (rq->parked_until_us != 0 && now_us >= rq->parked_until_us) {
        rq->has_waited = true;
        route_run(rq);
    } else if (rq->attempt_until_us != 0 && now_us >= rq->attempt_until_us) {
        route_cancel_attempt(rq, ERR_UPSTREAM_TIMEOUT, "attempt");
    } else {
        route_arm(rq);
    }
}
