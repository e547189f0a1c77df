/* One small function a step; steps.def says what each needs and leaves. */
#include "router/request.h"

#include <stdio.h>

/* Text of ours into a fixed field, cut where it does not fit. */
static void
copy_text(char *out, size_t size, const char *text)
{
    (void)snprintf(out, size, "%s", text ? text : "");
}

/* So much of a model's name is repeated to its client, in whole characters. */
enum { MODEL_SHOWN_MAX = 100 };

static int
shown_len(struct dyn_slice text)
{
    size_t len = text.len < MODEL_SHOWN_MAX ? text.len : MODEL_SHOWN_MAX;
    while (len > 0 && len < text.len && ((unsigned char)text.data[len] & 0xC0) == 0x80) {
        len--;
    }
    return (int)len;
}

enum route_step
route_fail(struct route_request *rq, enum err_code error, const char *text, const char *param)
{
    rq->error = error;
    copy_text(rq->error_text, sizeof rq->error_text, text);
    copy_text(rq->error_param, sizeof rq->error_param, param);
    return ROUTE_STEP_FAIL;
}

enum route_step
route_step_admit(struct route_request *rq)
{
    struct env *request = rq->request;
    rq->is_probe = request->surface == ENV_SURFACE_HEALTH || request->surface == ENV_SURFACE_READY;
    if (rq->is_probe) {
        return ROUTE_STEP_LOCAL;
    }
    struct admission_verdict verdict =
        admission_judge(&rq->router->options.shared->admission, request->credential);
    rq->key_id = verdict.key_id;
    if (verdict.refused != ERR_NONE) {
        return route_fail(rq, verdict.refused, NULL, NULL);
    }
    if (request->refuse != ERR_NONE) {
        struct dyn_slice text = env_copy(request, request->refuse_text);
        return route_fail(rq, request->refuse, text.data, NULL);
    }
    if (request->surface == ENV_SURFACE_MODELS || request->surface == ENV_SURFACE_MODEL) {
        rq->model = request->model;
        return ROUTE_STEP_LOCAL;
    }
    return ROUTE_STEP_READ;
}

static void
arm_deadline(struct route_request *rq)
{
    struct router *router = rq->router;
    uint64_t limit_ms = router->options.config->request_timeout_ms;
    uint64_t asked_ms = rq->request->deadline_ms;
    uint64_t timeout_ms = asked_ms > 0 && asked_ms < limit_ms ? asked_ms : limit_ms;
    rq->deadline_us = bus_loop_now_us(router->loop) + timeout_ms * 1000;
    bus_timer_arm(router->loop, &rq->deadline, timeout_ms);
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

enum route_step
route_step_read(struct route_request *rq)
{
    struct env *request = rq->request;
    rq->dialect = dialect_find(request->dialect);
    if (rq->dialect == NULL || request->surface != ENV_SURFACE_CHAT) {
        return route_fail(rq, ERR_INVALID_REQUEST, "this surface or dialect is not known", NULL);
    }
    struct dialect_problem problem = {0};
    struct dyn_slice body = dyn_block_slice(request->body);
    if (rq->dialect->read_request(body, &request->arena, &rq->facts, &problem) != 0) {
        return route_fail(rq, ERR_INVALID_REQUEST, problem.message, problem.param);
    }
    if (request->model.len > 0 && !dyn_slice_eq(request->model, rq->facts.model)) {
        return route_fail(rq, ERR_INVALID_REQUEST, "the envelope and the body name different models",
                          "model");
    }
    rq->model = env_copy(request, rq->facts.model); /* the body may go before the request does */
    arm_deadline(rq);
    if (rq->facts.stream) {
        tell_owner_of_stream(rq);
    }
    return ROUTE_STEP_RESOLVE;
}

enum route_step
route_step_resolve(struct route_request *rq)
{
    const struct router_options *options = &rq->router->options;
    rq->candidates = route_candidates(options->targets, options->n_targets, rq->model);
    if (rq->candidates == 0) {
        char text[200];
        (void)snprintf(text, sizeof text,
                       "no target serves the model '%.*s'; GET /v1/models lists what is served",
                       shown_len(rq->model), rq->model.data);
        return route_fail(rq, ERR_MODEL_NOT_FOUND, text, "model");
    }
    return ROUTE_STEP_PICK;
}

enum route_step
route_step_pick(struct route_request *rq)
{
    struct router *router = rq->router;
    struct route_facts facts = {rq->request->surface, rq->model, rq->facts.stream};
    struct route_view view = {router->options.targets, router->options.n_targets, rq->candidates};
    router->strategy->order(&facts, &view, &router->rng, &rq->order);
    return ROUTE_STEP_SEND;
}

enum route_step
route_step_send(struct route_request *rq)
{
    struct router *router = rq->router;
    uint64_t now_us = bus_loop_now_us(router->loop);
    if (rq->next_target >= rq->order.n) {
        return route_fail(rq, ERR_UPSTREAM_UNAVAILABLE, NULL, NULL);
    }
    if (now_us >= rq->deadline_us) {
        return route_fail(rq, ERR_GATEWAY_TIMEOUT, NULL, NULL);
    }
    rq->target = &router->options.targets[rq->order.items[rq->next_target++]];
    rq->attempt++;
    struct env *attempt = env_clone_request(rq->request);
    attempt->attempt = rq->attempt;
    attempt->attempts_left = (uint32_t)router->options.config->max_attempts - rq->attempt;
    attempt->target = rq->target->name; /* outlives the envelope's journey in this process */
    attempt->model = env_copy(attempt, rq->model);
    attempt->stream = rq->facts.stream;
    attempt->facts = &rq->facts; /* kept until the attempt's END */
    attempt->credit = rq->credit;
    attempt->deadline_ms = (uint32_t)((rq->deadline_us - now_us + 999) / 1000); /* 0 would mean none */
    if (bus_send(router->me, rq->target->addr, &attempt, NULL) != 0) {
        env_free(&attempt);
        rq->target = NULL;
        return route_fail(rq, ERR_SATURATED, NULL, NULL);
    }
    return ROUTE_STEP_WAIT;
}

static enum route_step
attempt_failed(struct route_request *rq)
{
    if (rq->cancelled_for != ERR_NONE) {
        rq->error = rq->cancelled_for;
    } else {
        rq->error = rq->inbound->error != ERR_NONE ? rq->inbound->error : ERR_INTERNAL;
    }
    return ROUTE_STEP_FAIL;
}

enum route_step
route_step_wait(struct route_request *rq)
{
    if (rq->inbound == NULL) {
        return ROUTE_STEP_PARKED;
    }
    if (rq->inbound->kind == ENV_CHUNK) {
        return ROUTE_STEP_STREAM;
    }
    bool is_good = rq->inbound->outcome == ENV_OUTCOME_OK && !rq->has_gap;
    return is_good ? ROUTE_STEP_REPLY : attempt_failed(rq);
}

/* What the owner may know of who answers. */
static void
name_answerer(const struct route_request *rq, struct env *env)
{
    env->attempts = rq->attempt;
    env->trace_id = env_copy(env, rq->request->trace_id);
    if (rq->target != NULL) {
        env->provider = rq->target->provider;
        env->target = rq->target->name;
    }
}

static int
pass_to_owner(struct route_request *rq, struct env **env_p, struct dyn_err *err)
{
    struct env *env = *env_p;
    env->attempt = 0;
    env->epoch = rq->request->epoch;
    return bus_send(rq->router->me, rq->owner, env_p, err);
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
    if (!rq->begun) {
        rq->begun = true;
        rq->first_chunk_us = bus_loop_now_us(rq->router->loop);
        rq->status = chunk->status;
        dyn_block_unref(&rq->request->body); /* from here on no other attempt can be made */
        name_answerer(rq, chunk);
        if (rq->facts.stream && rq->cancelled_for == ERR_NONE) { /* else it times the grace */
            bus_timer_disarm(&rq->deadline); /* a stream is bounded to its first content only */
        }
    }
    if (pass_to_owner(rq, &chunk, &err) != 0) {
        env_free(&chunk);
        rq->has_gap = true;
        bool is_full = err.code == DYN_E_FULL;
        route_cancel_attempt(rq, is_full ? ERR_SATURATED : ERR_CLIENT_CLOSED,
                             is_full ? "owner full" : "owner gone");
    }
    return ROUTE_STEP_WAIT;
}

/* Reports first: the owner takes the envelope. */
static enum route_step
finish(struct route_request *rq, struct env *end)
{
    name_answerer(rq, end);
    if (!rq->is_probe) {
        route_report(rq, end);
    }
    if (pass_to_owner(rq, &end, NULL) != 0) {
        env_free(&end);
    }
    return ROUTE_STEP_DONE;
}

enum route_step
route_step_reply(struct route_request *rq)
{
    struct env *end = rq->inbound;
    rq->inbound = NULL;
    end->status = end->status != 0 ? end->status : rq->status;
    return finish(rq, end);
}

enum route_step
route_step_local(struct route_request *rq)
{
    struct env *end = route_local_answer(rq);
    if (end == NULL) {
        char text[200];
        (void)snprintf(text, sizeof text, "the model '%.*s' is not served here", shown_len(rq->model),
                       rq->model.data);
        return route_fail(rq, ERR_MODEL_NOT_FOUND, text, "model");
    }
    return finish(rq, end);
}

/* The provider's END is kept where there is one: it says what was used and what was spent. */
enum route_step
route_step_fail(struct route_request *rq)
{
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
    end->outcome = rq->error == ERR_CLIENT_CLOSED ? ENV_OUTCOME_CANCELLED : ENV_OUTCOME_ERROR;
    end->error = rq->error;
    end->status = err_row(rq->error)->http; /* for an owner that has not written anything yet */
    end->stream = rq->facts.stream;
    dyn_block_unref(&end->body);
    return finish(rq, end);
}

enum route_step
route_step_done(struct route_request *rq)
{
    route_request_free(rq);
    return ROUTE_STEP_PARKED;
}
