/* One small function a step; steps.def says what each needs and leaves. */
#include "core/log.h"
#include "router/cost.h"
#include "router/shared.h"
#include "router/votes.h"
#include "router/votes_stream.h"

#include <stdio.h>

/* Text of ours into a fixed field, cut where it does not fit. */
static void
copy_text(char *out, size_t size, const char *text)
{
    (void)snprintf(out, size, "%s", text ? text : "");
}

/* What is over now may have room in a moment. */
enum { ROUTE_SATURATED_RETRY_S = 1 };

enum route_step
route_fail(struct route_request *rq, enum err_code error, const char *text, const char *param)
{
    rq->error = error;
    copy_text(rq->error_text, sizeof rq->error_text, text);
    copy_text(rq->error_param, sizeof rq->error_param, param);
    return ROUTE_STEP_FAIL;
}

void
route_arm_deadline(struct route_request *rq)
{
    struct router *router = rq->router;
    uint64_t limit_ms = rq->plan->request_timeout_ms;
    uint64_t asked_ms = rq->request->deadline_ms;
    uint64_t timeout_ms = asked_ms > 0 && asked_ms < limit_ms ? asked_ms : limit_ms;
    rq->deadline_us = bus_loop_now_us(router->loop) + timeout_ms * 1000;
    route_arm(rq);
}

/* The owner learns that a stream is on its way, before its first byte: it keeps the client's connection
 * alive with comments from now on. */
static void
tell_owner_of_stream(struct route_request *rq)
{
    struct env *dispatched = env_new(ENV_DISPATCHED);
    dispatched->id = rq->node.id;
    dispatched->epoch = rq->request->epoch;
    dispatched->stream = true;
    if (bus_send(rq->router->me, rq->owner, &dispatched, NULL) != 0) {
        env_free(&dispatched);
    }
}

/* Where somebody will look at what is in the body it is noted where that is. */
static int
read_body(struct route_request *rq, struct dialect_problem *problem)
{
    struct arena *arena = &rq->request->arena;
    struct dyn_slice body = dyn_block_slice(rq->request->body);
    bool is_looked_at = rq->plan->needs != 0 || route_has_votes(rq, VOTE_BEFORE_REQUEST);
    rq->places.n = 0;
    return is_looked_at && rq->dialect->read_places != NULL
               ? rq->dialect->read_places(body, arena, &rq->facts, &rq->places, problem)
               : rq->dialect->read_request(body, arena, &rq->facts, problem);
}

enum route_step
route_step_read(struct route_request *rq)
{
    struct env *request = rq->request;
    rq->dialect = dialect_find(request->dialect);
    bool is_embeddings = request->surface == ENV_SURFACE_EMBEDDINGS;
    bool is_served = is_embeddings || request->surface == ENV_SURFACE_CHAT;
    if (rq->dialect == NULL || !is_served || is_embeddings != (rq->dialect == &dialect_openai_embeddings)) {
        return route_fail(rq, ERR_INVALID_REQUEST, "this surface or dialect is not known", NULL);
    }
    struct dialect_problem problem = {0};
    if (read_body(rq, &problem) != 0) {
        return route_fail(rq, ERR_INVALID_REQUEST, problem.message, problem.param);
    }
    if (request->model.len > 0 && !dyn_slice_eq(request->model, rq->facts.model)) {
        return route_fail(rq, ERR_INVALID_REQUEST, "the envelope and the body name different models",
                          "model");
    }
    rq->asked_model = env_copy(request, rq->facts.model); /* the body may go before the request does */
    rq->model = rq->asked_model;
    if (!route_may_use_model(rq)) {
        char text[200];
        (void)snprintf(text, sizeof text, "this key may not use the model '%.*s'", route_shown_len(rq->model),
                       rq->model.data);
        return route_fail(rq, ERR_MODEL_NOT_ALLOWED, text, "model");
    }
    route_arm_deadline(rq);
    if (rq->facts.stream && !request->track) { /* who tracks hears it with each dispatch */
        tell_owner_of_stream(rq);
    }
    bool has_votes = route_has_votes(rq, VOTE_BEFORE_REQUEST) || route_key_has_votes(rq);
    return has_votes ? ROUTE_STEP_BEFORE : ROUTE_STEP_RESOLVE;
}

/* Workers that bring a target of their own have yet to find a router that has just begun. */
static bool
may_still_join(const struct route_request *rq, uint64_t *until_us)
{
    const struct router *router = rq->router;
    *until_us = router->started_us + router->options.worker_wait_ms * UINT64_C(1000);
    return router->options.accepts_new_targets && !rq->has_waited &&
           bus_loop_now_us(router->loop) < *until_us;
}

enum route_step
route_step_resolve(struct route_request *rq)
{
    const struct route_members *members = &rq->router->members;
    struct route_candidacy found;
    uint64_t until_us;
    route_unpark(rq);
    rq->model = route_plan_model(rq->plan, rq->asked_model);
    route_find_candidates(rq, &found);
    if (route_set_is_empty(&found.set) && may_still_join(rq, &until_us)) {
        return route_park(rq, until_us);
    }
    if (route_set_is_empty(&found.set) && rq->is_barred) {
        return route_fail(rq, ERR_TARGET_NOT_ALLOWED, NULL, "model");
    }
    if (route_set_is_empty(&found.set)) {
        char text[256];
        route_refusal_text(rq->plan, members->targets, members->n_targets, &found, rq->model, text,
                           sizeof text);
        return route_fail(rq, ERR_MODEL_NOT_FOUND, text, "model");
    }
    return ROUTE_STEP_PICK;
}

/* Anybody may write such a text: at most once a second. */
static void
tell_of_limits(struct router *router, const struct route_order *order)
{
    uint64_t now_us = bus_loop_now_us(router->loop);
    if (order->n_limited > 0 && now_us - router->limit_told_us >= 1000000) {
        router->limit_told_us = now_us;
        dyn_log(DYN_LOG_WARN, "router.rule.limit",
                "the search of a content rule was given up at its limit: it does not hold",
                DYN_LOG_UINT("rules", order->n_limited));
    }
}

enum route_step
route_step_pick(struct route_request *rq)
{
    struct router *router = rq->router;
    struct route_candidacy found;
    struct route_facts facts;
    struct route_view view;
    struct route_decision decision;
    struct dyn_err err;
    char text[256];
    if (route_gather_facts(rq, &facts, &err) != 0) {
        (void)snprintf(text, sizeof text, "%.*s", (int)sizeof text - 1, err.text);
        return route_fail(rq, route_facts_refusal(&err), text, NULL);
    }
    route_find_candidates(rq, &found);
    route_look_around(rq, &found, &view);
    int failed = route_decide(rq->plan, &facts, &view, &router->rng, &decision);
    tell_of_limits(router, &decision.asked);
    if (failed) {
        bool is_model = decision.refused != ERR_UPSTREAM_UNAVAILABLE;
        rq->soonest_ms = decision.retry_ms;
        route_decision_text(&decision, &facts, text, sizeof text);
        return route_fail(rq, decision.refused, text, is_model ? "model" : NULL);
    }
    rq->order = decision.order;
    route_walk_begin(rq);
    return ROUTE_STEP_SEND;
}

enum route_step
route_step_metrics(struct route_request *rq)
{
    route_arm_deadline(rq);
    return route_ask_metrics(rq);
}

enum route_step
route_step_admin(struct route_request *rq)
{
    route_arm_deadline(rq);
    return route_ask_admin(rq);
}

enum route_step
route_step_ledger(struct route_request *rq)
{
    route_arm_deadline(rq);
    return route_ask_ledger(rq);
}

void
route_name_answerer(const struct route_request *rq, struct env *env)
{
    env->trace_id = env_copy(env, rq->request->trace_id);
    env->redelivered = rq->redelivered + rq->request->redelivered;
    env->attempts = 0;
    const struct route_target *target = rq->now->target != NULL ? rq->now->target : rq->target;
    if (target != NULL) {
        env->attempts = rq->attempts;
        env->provider = env_copy(env, target->provider);
        env->target = env_copy(env, target->name);
    } else if (rq->votes != NULL && dyn_slice_is(route_cache_said(rq), "hit")) {
        env->provider = DYN_SLICE("cache");
    }
    route_votes_head(rq, env);
}

int
route_pass_to_owner(struct route_request *rq, struct env **env_p, struct dyn_err *err)
{
    struct env *env = *env_p;
    env->attempt = 0;
    env->epoch = rq->request->epoch;
    if (rq->shared != NULL && !route_shared_passes(rq, env_p)) {
        return 0;
    }
    return bus_send(rq->router->me, rq->owner, env_p, err);
}

/* What a report needs of an END that its owner takes. */
static struct env *
without_body(const struct env *end)
{
    struct env *told = env_about(ENV_END, end);
    told->outcome = end->outcome;
    told->error = end->error;
    told->error_text = env_copy(told, end->error_text);
    told->status = end->status;
    told->usage = end->usage;
    told->upstream_us = end->upstream_us;
    told->degraded = env_copy(told, end->degraded);
    told->warnings = env_copy(told, end->warnings);
    told->provider = env_copy(told, end->provider);
    told->target = env_copy(told, end->target);
    told->redelivered = end->redelivered;
    told->attempts = end->attempts;
    return told;
}

static void
report(struct route_request *rq, const struct env *end)
{
    bool was_read = rq->asked_model.data != NULL; /* else there is nothing that plugins could be told of */
    if (was_read && route_voting_plan(rq)->n_plugins > 0) {
        route_votes_end(rq, end);
    }
    route_report(rq, end);
}

/* Reports first: the owner takes the envelope. With a loser in flight the owner has its answer at once, and
 * the report waits for what the loser has cost. */
static enum route_step
finish(struct route_request *rq, struct env *end)
{
    bool waits = route_loser(rq) != NULL;
    if (rq->shared != NULL) {
        route_shared_end(rq, end);
    }
    route_name_answerer(rq, end);
    route_cost_show(rq, end);
    end->upstream_calls = rq->calls + (waits ? 1 : 0);
    end->upstream_total_us = rq->upstream_us;
    if (waits) {
        rq->told = without_body(end);
    } else if (!rq->is_probe && rq->successor == NULL) { /* which goes on, and is told of when it ends */
        report(rq, end);
    }
    if (route_pass_to_owner(rq, &end, NULL) != 0) {
        env_free(&end);
    }
    if (waits) { /* for nothing else any more */
        route_unpark(rq);
        route_arm(rq);
        return ROUTE_STEP_PARKED;
    }
    return ROUTE_STEP_DONE;
}

enum route_step
route_step_settle(struct route_request *rq)
{
    rq->told->upstream_calls = rq->calls;
    rq->told->upstream_total_us = rq->upstream_us;
    report(rq, rq->told);
    env_free(&rq->told);
    return ROUTE_STEP_DONE;
}

/* The owner holds the beginning of an answer whose worker was lost, and this one came as a whole. A CHUNK
 * with the first number says that the former is to be forgotten. */
static int
start_over(struct route_request *rq, const struct env *end)
{
    struct env *first = env_new(ENV_CHUNK);
    first->id = rq->node.id;
    first->status = end->status;
    first->content_type = env_copy(first, end->content_type);
    for (size_t i = 0; i < end->n_headers; i++) {
        env_add_header(first, end->headers[i].name, end->headers[i].value);
    }
    route_name_answerer(rq, first);
    int failed = route_pass_to_owner(rq, &first, NULL);
    env_free(&first);
    return failed;
}

enum route_step
route_step_reply(struct route_request *rq)
{
    struct env *end = rq->inbound;
    bool came_whole = rq->has_leftovers && rq->now->next_sequence == 0 && !end->stream && !route_is_long(end);
    if (came_whole && start_over(rq, end) != 0) {
        rq->error = ERR_SATURATED;
        return ROUTE_STEP_FAIL;
    }
    if (route_replay(rq, end) != 0) {
        env_free(&rq->inbound);
        return route_fail(rq, ERR_PLUGIN_ERROR, "the answer that a plugin gave cannot be streamed", NULL);
    }
    end->status = end->status != 0 ? end->status : rq->now->status;
    if (end->status == 0) { /* a worker that leaves it out means that all is well */
        end->status = 200;
    }
    if (route_is_long(end)) {
        return route_tell_long(rq);
    }
    rq->inbound = NULL;
    return finish(rq, end);
}

enum route_step
route_step_local(struct route_request *rq)
{
    struct env *end = route_local_answer(rq);
    if (end == NULL) {
        char text[200];
        (void)snprintf(text, sizeof text, "the model '%.*s' is not served here", route_shown_len(rq->model),
                       rq->model.data);
        return route_fail(rq, ERR_MODEL_NOT_FOUND, text, "model");
    }
    rq->inbound = end;
    return ROUTE_STEP_REPLY;
}

/* The provider's END is kept where there is one: it says what was used and what was spent. */
enum route_step
route_step_fail(struct route_request *rq)
{
    enum route_step next;
    if (route_gate_fails(rq, &next)) {
        return next;
    }
    struct env *end = rq->inbound;
    rq->inbound = NULL;
    if (end == NULL) {
        end = env_new(ENV_END);
        end->id = rq->node.id;
        end->error_text = env_copy(end, dyn_slice_str(rq->error_text[0] ? rq->error_text : NULL));
        end->error_param = env_copy(end, dyn_slice_str(rq->error_param[0] ? rq->error_param : NULL));
    } else if (end->error != rq->error) {
        end->error_text = dyn_slice(NULL, 0); /* it speaks of the cancelled attempt, not of why */
    }
    bool is_short = rq->error == ERR_SATURATED || rq->error == ERR_PROVIDER_SATURATED;
    bool may_say_when = rq->error == ERR_UPSTREAM_UNAVAILABLE || rq->error == ERR_RATE_LIMITED ||
                        rq->error == ERR_KEYS_UNAVAILABLE;
    if (may_say_when && rq->soonest_ms > 0) {
        end->retry_after_s = (uint32_t)(((uint64_t)rq->soonest_ms + 999) / 1000);
    } else if (is_short && end->retry_after_s == 0) {
        end->retry_after_s = ROUTE_SATURATED_RETRY_S;
    }
    route_hedge_won(rq); /* nobody has: what is still in flight is of no use any more */
    end->outcome = rq->error == ERR_CLIENT_CLOSED ? ENV_OUTCOME_CANCELLED : ENV_OUTCOME_ERROR;
    end->error = rq->error;
    end->status = err_row(rq->error)->http; /* for an owner that has not written anything yet */
    end->stream = rq->facts.stream;
    dyn_block_unref(&end->body);
    route_votes_refusal(rq, end);
    return finish(rq, end);
}

enum route_step
route_step_done(struct route_request *rq)
{
    if (rq->successor != NULL) {
        route_succeed(rq);
        return ROUTE_STEP_ADMIT;
    }
    route_request_free(rq);
    return ROUTE_STEP_PARKED;
}
