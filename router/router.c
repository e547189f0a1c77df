/* The router actor: finds the request an envelope belongs to and lets its steps go on. The steps
 * themselves are in steps.c, decisions in strategies/, candidates.c and admission.c. */
#include "router/router.h"

#include "core/log.h"
#include "router/request.h"

#include <stdlib.h>

/* A burst leaves this many requests behind for the next one; beyond it memory is given back. */
enum { ROUTE_SPARE_MAX = 256 };
/* After a CANCEL the provider answers within a turn; this is for one that does not. */
enum { ROUTE_CANCEL_GRACE_MS = 1000 };

static const struct {
    const char *name;
    enum route_step (*run)(struct route_request *rq);
} route_steps[ROUTE_STEP_COUNT] = {
#define STEP(name, function) [ROUTE_STEP_##name] = {#name, route_step_##function},
#include "router/steps.def"
#undef STEP
};

/* A step returns the next one; it never calls it. */
void
route_run(struct route_request *rq)
{
    for (enum route_step next = rq->step; next != ROUTE_STEP_PARKED;) {
        rq->step = next;
        next = route_steps[next].run(rq);
    }
}

static void
deadline_passed(struct bus_timer *timer)
{
    struct route_request *rq = DYN_CONTAINER_OF(timer, struct route_request, deadline);
    if (rq->cancelled_for != ERR_NONE) { /* the grace after a CANCEL is over too */
        rq->step = ROUTE_STEP_FAIL;
        rq->error = rq->cancelled_for;
        route_run(rq);
        return;
    }
    route_cancel_attempt(rq, ERR_GATEWAY_TIMEOUT, "deadline");
}

static struct route_request *
request_new(struct router *router)
{
    struct dyn_list *link = dyn_list_pop(&router->spare);
    struct route_request *rq;
    if (link != NULL) {
        rq = DYN_CONTAINER_OF(link, struct route_request, spare_link);
        router->n_spare--;
    } else {
        rq = dyn_zalloc(sizeof *rq);
        rq->deadline.fire = deadline_passed;
    }
    struct bus_timer deadline = rq->deadline;
    *rq = (struct route_request){.router = router, .deadline = deadline};
    dyn_list_init(&rq->spare_link);
    return rq;
}

void
route_request_free(struct route_request *rq)
{
    struct router *router = rq->router;
    env_map_remove(&router->requests, &rq->node);
    env_free(&rq->request);
    env_free(&rq->inbound);
    bus_timer_disarm(&rq->deadline);
    if (router->n_spare < ROUTE_SPARE_MAX) {
        router->n_spare++;
        dyn_list_append(&router->spare, &rq->spare_link);
    } else {
        bus_timer_fini(&rq->deadline);
        free(rq);
    }
}

void
route_cancel_attempt(struct route_request *rq, enum err_code why, const char *reason)
{
    struct router *router = rq->router;
    if (rq->cancelled_for != ERR_NONE) {
        return;
    }
    rq->cancelled_for = why;
    if (rq->target != NULL) {
        struct env *cancel = env_new(ENV_CANCEL);
        cancel->id = rq->node.id;
        cancel->attempt = rq->attempt;
        cancel->reason = env_copy(cancel, dyn_slice_str(reason));
        if (bus_send(router->me, rq->target->addr, &cancel, NULL) != 0) {
            env_free(&cancel); /* the provider is gone: the grace ends the request */
        }
    }
    bus_timer_arm(router->loop, &rq->deadline, ROUTE_CANCEL_GRACE_MS);
}

static void
take_request(struct router *router, struct env **env_p)
{
    struct env *request = *env_p;
    if (env_map_find(&router->requests, &request->id) != NULL) {
        dyn_log(DYN_LOG_WARN, "router.request.repeated",
                "a request id that is in flight came again; dropped");
        env_free(env_p);
        return;
    }
    struct route_request *rq = request_new(router);
    rq->owner = request->from;
    rq->request = request;
    *env_p = NULL;
    rq->credit = request->credit;
    rq->started_us = request->received_us ? request->received_us : bus_loop_now_us(router->loop);
    env_map_add(&router->requests, &rq->node, &request->id);
    route_run(rq);
}

static void
late(struct router *router)
{
    (void)atomic_fetch_add_explicit(&router->options.shared->late_answers, 1, memory_order_relaxed);
}

static void
take_answer(struct router *router, struct route_request *rq, struct env **env_p)
{
    struct env *env = *env_p;
    bool expected = rq->target != NULL && env->from == rq->target->addr && env->attempt == rq->attempt &&
                    rq->step == ROUTE_STEP_WAIT;
    if (!expected) {
        late(router);
        return;
    }
    *env_p = NULL;
    rq->inbound = env;
    route_run(rq);
}

static void
take_credit(struct router *router, struct route_request *rq, struct env **env_p)
{
    if (rq->target == NULL) {
        rq->credit += (*env_p)->credit;
        return;
    }
    (*env_p)->attempt = rq->attempt;
    if (bus_send(router->me, rq->target->addr, env_p, NULL) != 0) {
        late(router); /* the provider is gone; its END or the deadline tells the owner */
    }
}

static void
router_receive(void *self, struct env **env_p)
{
    struct router *router = self;
    struct env *env = *env_p;
    if (env->kind == ENV_REQUEST) {
        take_request(router, env_p);
        return;
    }
    struct env_map_node *node = env_map_find(&router->requests, &env->id);
    if (node == NULL) {
        late(router);
        env_free(env_p);
        return;
    }
    struct route_request *rq = DYN_CONTAINER_OF(node, struct route_request, node);
    bool from_owner = env->from == rq->owner;
    if (env->kind == ENV_CHUNK || env->kind == ENV_END) {
        take_answer(router, rq, env_p);
    } else if (env->kind == ENV_CREDIT && from_owner) {
        take_credit(router, rq, env_p);
    } else if (env->kind == ENV_CANCEL && from_owner) {
        route_cancel_attempt(rq, ERR_CLIENT_CLOSED, "client");
    } else {
        late(router);
    }
    env_free(env_p);
}

void *
router_new(const struct router_options *options)
{
    DYN_ASSERT(options->n_targets <= ROUTE_TARGETS_MAX);
    struct router *router = dyn_zalloc(sizeof *router);
    router->options = *options;
    router->strategy = &route_strategy_single;
    env_map_init(&router->requests);
    dyn_list_init(&router->spare);
    uint64_t seed = options->seed;
    if (seed == 0) {
        dyn_random_bytes(&seed, sizeof seed);
    }
    dyn_rng_seed(&router->rng, seed);
    return router;
}

static int
router_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    (void)err;
    struct router *router = self;
    router->me = me;
    router->loop = bus_actor_loop(me);
    return 0;
}

static void
router_stop(void *self)
{
    struct router *router = self;
    for (struct env_map_node *node; (node = env_map_any(&router->requests)) != NULL;) {
        route_request_free(DYN_CONTAINER_OF(node, struct route_request, node));
    }
    for (struct dyn_list *link; (link = dyn_list_pop(&router->spare)) != NULL;) {
        struct route_request *rq = DYN_CONTAINER_OF(link, struct route_request, spare_link);
        bus_timer_fini(&rq->deadline);
        free(rq);
    }
    env_map_fini(&router->requests);
    free(router);
}

/* No drain of its own: owners hold what is in flight, and a router answers until they have nothing left. */
const struct bus_actor_ops router_actor_ops = {
    .kind = "router",
    .start = router_start,
    .receive = router_receive,
    .stop = router_stop,
};
