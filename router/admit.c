/* The step that lets requests in, and what a key's record allows: scopes, models, targets. */
#include "router/request.h"

/* ---- who it is ---- */

struct admission_verdict
route_judge(struct router *router, const struct env *request)
{
    struct admission_asker asker = {
        .credential = request->credential,
        .peer = request->peer,
        .now_us = bus_loop_now_us(router->loop),
        .wall_ms = router->keys.ring != NULL ? dyn_wall_us(bus_loop_clock(router->loop)) / 1000 : 0,
    };
    return admission_judge(&router->options.shared->admission, &router->keys, &asker);
}

/* A router that has just begun has yet to hear from the ledger which keys there are. */
static bool
may_still_hear(const struct route_request *rq, enum err_code refused)
{
    const struct router *router = rq->router;
    uint64_t until_us = router->started_us + router->options.worker_wait_ms * UINT64_C(1000);
    return refused == ERR_KEYS_UNAVAILABLE && !key_ring_has_table(router->keys.ring) &&
           bus_loop_now_us(router->loop) < until_us;
}

static enum route_step
refuse(struct route_request *rq, const struct admission_verdict *verdict)
{
    enum { HEAR_MS = 20 };
    if (may_still_hear(rq, verdict->refused)) {
        route_arm_deadline(rq);
        return route_park(rq, bus_loop_now_us(rq->router->loop) + HEAR_MS * UINT64_C(1000));
    }
    route_audit_refusal(rq, verdict->refused);
    rq->soonest_ms = verdict->retry_s * 1000;
    return route_fail(rq, verdict->refused,
                      verdict->refused == ERR_RATE_LIMITED
                          ? "too many requests with a wrong API key came from this address"
                          : NULL,
                      NULL);
}

/* ---- what it may do ---- */

static bool
is_change(struct dyn_slice question)
{
    static const struct dyn_slice get = DYN_SLICE_INIT("GET ");
    return question.len < get.len || memcmp(question.data, get.data, get.len) != 0;
}

/* Bodies hold what clients said: who may only look at figures may not read them. */
static bool
shows_bodies(struct dyn_slice question)
{
    return question.len > 0 && memmem(question.data, question.len, "bodies=", sizeof "bodies=" - 1) != NULL;
}

static uint32_t
scope_of(const struct env *request)
{
    switch ((int)request->surface) {
    case ENV_SURFACE_MODELS:
    case ENV_SURFACE_MODEL:
        return KEY_SCOPE_INFERENCE | KEY_SCOPE_READ; /* either */
    case ENV_SURFACE_METRICS:
    case ENV_SURFACE_EXPLAIN: /* which looks closer */
    case ENV_SURFACE_LEDGER:
        return KEY_SCOPE_READ;
    case ENV_SURFACE_ADMIN:
        return is_change(request->model) || shows_bodies(request->model) ? KEY_SCOPE_ADMIN : KEY_SCOPE_READ;
    default:
        return KEY_SCOPE_INFERENCE;
    }
}

/* Nobody administers without a key, not even where everybody may send requests. */
static enum err_code
judge_scope(const struct route_request *rq, const struct admission_verdict *verdict)
{
    const struct env *request = rq->request;
    bool is_admin = request->surface == ENV_SURFACE_ADMIN || request->surface == ENV_SURFACE_LEDGER;
    if (is_admin && dyn_slice_is(rq->key_id, "anonymous")) {
        return request->credential.len == 0 ? ERR_MISSING_API_KEY
               : verdict->retry_s > 0       ? ERR_RATE_LIMITED
                                            : ERR_INVALID_API_KEY;
    }
    return (rq->scopes & scope_of(request)) != 0 ? ERR_NONE : ERR_INSUFFICIENT_SCOPE;
}

static enum route_step
step_of_surface(struct route_request *rq)
{
    switch ((int)rq->request->surface) {
    case ENV_SURFACE_METRICS:
        return ROUTE_STEP_METRICS;
    case ENV_SURFACE_EXPLAIN:
        return ROUTE_STEP_EXPLAIN;
    case ENV_SURFACE_ADMIN:
        return ROUTE_STEP_ADMIN;
    case ENV_SURFACE_LEDGER:
        return ROUTE_STEP_LEDGER;
    case ENV_SURFACE_MODELS:
    case ENV_SURFACE_MODEL:
        rq->model = rq->request->model;
        return ROUTE_STEP_LOCAL;
    default:
        return ROUTE_STEP_READ;
    }
}

enum route_step
route_step_admit(struct route_request *rq)
{
    struct env *request = rq->request;
    rq->is_probe = request->surface == ENV_SURFACE_HEALTH || request->surface == ENV_SURFACE_READY;
    if (rq->is_probe) {
        return ROUTE_STEP_LOCAL;
    }
    route_unpark(rq);
    rq->has_waited = false; /* for a member, which is another wait */
    struct admission_verdict verdict = route_judge(rq->router, request);
    rq->key_id = verdict.key_id;
    rq->scopes = verdict.scopes;
    if (verdict.refused != ERR_NONE) {
        return refuse(rq, &verdict);
    }
    if (verdict.key != NULL) {
        rq->key = verdict.key;
        rq->key_view = key_view_ref(rq->router->keys.view);
    }
    if (request->refuse != ERR_NONE) {
        struct dyn_slice text = env_copy(request, request->refuse_text);
        return route_fail(rq, request->refuse, text.data, NULL);
    }
    verdict.refused = judge_scope(rq, &verdict);
    return verdict.refused == ERR_NONE ? step_of_surface(rq) : refuse(rq, &verdict);
}

/* ---- models and targets ---- */

bool
route_may_use_model(const struct route_request *rq)
{
    return rq->key == NULL || rq->key->models.n == 0 || key_may_use_model(rq->key, rq->asked_model) ||
           key_may_use_model(rq->key, route_plan_model(rq->plan, rq->asked_model));
}

bool
route_may_use_target(const struct route_request *rq, const struct route_target *target)
{
    return rq->key == NULL || key_list_has(&rq->key->targets, target->name);
}

void
route_bar_targets(struct route_request *rq, struct route_candidacy *found)
{
    const struct route_members *members = &rq->router->members;
    struct route_set all = found->set;
    found->set = (struct route_set){{0}};
    for (ROUTE_SET_EACH(i, &all)) {
        if (route_may_use_target(rq, &members->targets[i])) {
            route_set_add(&found->set, i);
        }
    }
    rq->is_barred = !route_set_is_empty(&all) && route_set_is_empty(&found->set);
}

enum err_code
route_facts_refusal(const struct dyn_err *err)
{
    return err->code == DYN_E_GONE    ? ERR_OVERRIDE_NOT_ALLOWED
           : err->code == DYN_E_LIMIT ? ERR_TARGET_NOT_ALLOWED
                                      : ERR_INVALID_REQUEST;
}
