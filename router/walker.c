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
#include "core/log.h"
#include "router/request.h"

enum {
    ROUTE_LOSSES_MAX = 5,
    ROUTE_HANDED_BACK_MAX = 16,  /* by workers that drain or are full: more are no fleet but a loop */
    ROUTE_ATTEMPT_MIN_MS = 1000, /* less than this is no try */
};
/* A router whose process was lost may have gone further than its owner heard. Where the owner does not know
 * who had the request, its epochs are left behind by a multiple of how often the owner sent. */
enum { EPOCH_SHIFT = 16 };

/* ---- policy ---- */

static enum route_redeliver
redeliver_of(const struct route_request *rq)
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

static bool
may_have_reached_upstream(const struct route_request *rq)
{
    bool would_tell = redeliver_of(rq) == ROUTE_REDELIVER_UNSENT;
    return !would_tell || rq->is_sent || rq->next_sequence > 0;
}

static bool
may_redeliver(const struct route_request *rq)
{
    enum route_redeliver policy = redeliver_of(rq);
    return policy == ROUTE_REDELIVER_ALWAYS ||
           (policy == ROUTE_REDELIVER_UNSENT && !may_have_reached_upstream(rq));
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

static uint32_t
attempts_max(const struct route_request *rq)
{
    uint32_t configured = (uint32_t)rq->router->options.config->max_attempts;
    uint32_t asked = rq->request->attempts_left;
    return asked > 0 && asked < configured ? asked : configured;
}

/* Attempts that can still be made, the one that begins counted. */
static uint64_t
attempts_left(const struct route_request *rq)
{
    uint64_t targets = rq->order.n - rq->next_target + 1;
    uint64_t budget = attempts_max(rq) >= rq->attempt ? attempts_max(rq) - rq->attempt + 1 : 1;
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

void
route_walk_begin(struct route_request *rq)
{
    const struct env *request = rq->request;
    bool is_known = request->worker_attempt > 0;
    rq->attempt = is_known ? request->worker_attempt : 1;
    rq->epoch = is_known ? request->worker_epoch + 1 : request->epoch << EPOCH_SHIFT;
}

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
    attempt->attempts_left = attempts_max(rq) > rq->attempt ? attempts_max(rq) - rq->attempt : 0;
    attempt->worker = dyn_slice(NULL, 0);
    attempt->attach = rq->is_attached;
    attempt->stream = rq->facts.stream;
    attempt->credit = rq->window < UINT32_MAX ? (uint32_t)rq->window : UINT32_MAX;
    attempt->deadline_ms = (uint32_t)((until_us - now_us + 999) / 1000); /* 0 would mean none */
    if (rq->target != NULL) {
        /* A configured name outlives the envelope's journey in this process. */
        attempt->target = rq->target->is_announced ? env_copy(attempt, rq->target->name) : rq->target->name;
        attempt->model = env_copy(attempt, rq->model);
        attempt->facts = &rq->facts; /* kept until the attempt's END */
        attempt->redeliver =
            redeliver_of(rq) == ROUTE_REDELIVER_UNSENT ? DYN_SLICE("unsent") : dyn_slice(NULL, 0);
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
static void
dispatch_is_over(struct route_request *rq)
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
static int
dispatch(struct route_request *rq, struct route_member *member, struct dyn_err *err)
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

/* ---- SEND: which target, which member ---- */

static bool
next_target(struct route_request *rq)
{
    bool was_tried = rq->attempts == rq->attempt;
    if (rq->next_target >= rq->order.n || rq->attempt + was_tried > attempts_max(rq)) {
        return false;
    }
    if (was_tried) {
        rq->attempt++;
        rq->epoch = rq->request->epoch << EPOCH_SHIFT;
    }
    rq->target = &rq->router->members.targets[rq->order.items[rq->next_target++]];
    rq->is_at_target = true;
    rq->has_waited = false;
    rq->avoid = 0;
    return true;
}

/* The last attempt's error says more than that nobody else was there. */
static enum route_step
out_of_targets(struct route_request *rq)
{
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
    if (rq->request->worker.len == 0) {
        return NULL;
    }
    for (size_t i = 0; worker != NULL && i < rq->order.n; i++) {
        size_t target = rq->order.items[i];
        if ((worker->serves >> target) & 1) {
            rq->next_target = i + 1;
            rq->target = &members->targets[target];
            rq->is_at_target = true;
            return worker;
        }
    }
    rq->calls++;                              /* of who had it, for all that is known */
    rq->request->worker = dyn_slice(NULL, 0); /* asked for once */
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
    int failed = dispatch(rq, worker, NULL);
    rq->is_attached = false;
    if (failed != 0) {
        rq->calls++;
        rq->avoid = worker->addr;
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
        if (dispatch(rq, member, &err) == 0) {
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
    if (dispatch(rq, &rq->router->metrics, NULL) != 0) {
        return route_fail(rq, ERR_SATURATED, NULL, NULL);
    }
    return ROUTE_STEP_WAIT;
}

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
    dispatch_is_over(rq);
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

/* ---- what failed ---- */

/* A worker did not take it: it drains, or has less room than it said. Nobody is to blame. */
static bool
is_handed_back(const struct route_request *rq)
{
    const struct env *end = rq->inbound;
    bool is_unwilling = end != NULL && (end->error == ERR_DRAINING || end->error == ERR_SATURATED);
    if (!is_unwilling || rq->last_worker == 0 || rq->handed_back >= ROUTE_HANDED_BACK_MAX) {
        return false;
    }
    return end->upstream_calls == 0 || redeliver_of(rq) == ROUTE_REDELIVER_ALWAYS;
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
    rq->calls += may_have_reached_upstream(rq);
    rq->lost++;
    dispatch_is_over(rq);
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

void
route_cancel_attempt(struct route_request *rq, enum err_code why, const char *reason)
{
    struct router *router = rq->router;
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
route_timer_fired(struct bus_timer *timer)
{
    struct route_request *rq = DYN_CONTAINER_OF(timer, struct route_request, timer);
    uint64_t now_us = bus_loop_now_us(rq->router->loop);
    if (rq->cancelled_for != ERR_NONE) { /* the grace after a CANCEL is over */
        rq->calls += may_have_reached_upstream(rq);
        dispatch_is_over(rq);
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

void
route_tell_owner(struct route_request *rq)
{
    if (rq->request->track && rq->member != NULL) {
        tell_owner(rq, rq->member);
    }
}

bool
route_may_start_over(const struct route_request *rq)
{
    return !rq->begun && redeliver_of(rq) == ROUTE_REDELIVER_ALWAYS;
}
