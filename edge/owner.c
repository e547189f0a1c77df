/* The owner: who gets what comes in, how routers come and go, and its drain. See owner.h. */
#include "edge/owner_impl.h"

#include "core/log.h"

#include <stdlib.h>

/* ---- routers come and go ---- */

static struct owner_router *
router_joined(struct owner *owner, bus_addr_t peer, const struct env *ready)
{
    struct owner_router *router = dyn_zalloc(sizeof *router);
    router->addr = peer;
    dyn_list_init(&router->requests);
    dyn_list_append(&owner->routers, &router->link);
    dyn_log(DYN_LOG_INFO, "owner.router.up", "a router is there", DYN_LOG_SLICE("node", ready->node));
    return router;
}

static void
take_budget(struct owner_router *router, const struct env *ready)
{
    router->requests_max = ready->requests > 0 ? ready->requests : OWNER_REQUESTS_DEFAULT;
    router->bytes_max = ready->request_bytes > 0 ? ready->request_bytes : OWNER_REQUEST_BYTES_DEFAULT;
}

/* What a router says of itself it would say again, and break the same rule once more. Probes say little, and
 * are to hear of a router that is there. */
static bool
is_said_by_router(const struct owner_request *rq)
{
    enum env_surface surface = rq->request != NULL ? rq->request->surface : ENV_SURFACE_CHAT;
    bool calls_upstreams = surface == ENV_SURFACE_CHAT || surface == ENV_SURFACE_EMBEDDINGS;
    bool is_probe = surface == ENV_SURFACE_HEALTH || surface == ENV_SURFACE_READY;
    return !calls_upstreams && !is_probe;
}

/* What it had not begun to answer goes to another one. */
static void
router_lost(struct owner *owner, struct owner_router *router, const struct env *goodbye)
{
    struct dyn_list orphans;
    bool is_broken = dyn_slice_is(goodbye->reason, "protocol");
    dyn_list_init(&orphans);
    dyn_list_splice(&orphans, &router->requests);
    dyn_list_remove(&router->link);
    dyn_log(DYN_LOG_INFO, "owner.router.gone", "a router is gone", DYN_LOG_SLICE("reason", goodbye->reason),
            DYN_LOG_UINT("requests", router->n_requests));
    free(router);
    for (struct dyn_list *link; (link = dyn_list_pop(&orphans)) != NULL;) {
        struct owner_request *rq = DYN_CONTAINER_OF(link, struct owner_request, link);
        rq->router = NULL;
        if (is_broken && is_said_by_router(rq)) {
            owner_refuse(rq, ERR_ROUTER_LOST);
        } else {
            owner_send_again(rq);
        }
    }
    owner_send_waiting(owner);
}

struct owner_router *
owner_from_peer(struct owner *owner, struct owner_router *router, bus_addr_t peer, struct env **env_p)
{
    struct env *env = *env_p;
    if (env->kind == ENV_READY) {
        router = router != NULL ? router : router_joined(owner, peer, env);
        take_budget(router, env);
        owner_send_waiting(owner);
    } else if (router == NULL) {
        owner_count(&owner->options.counters->late_answers);
    } else if (env->kind == ENV_HEARTBEAT) {
        router->is_late = dyn_slice_is(env->reason, "late");
    } else if (env->kind != ENV_GOODBYE) {
        owner_take_answer(owner, router, env_p);
    } else if (dyn_slice_is(env->reason, "drain")) {
        router->is_draining = true;
    } else {
        router_lost(owner, router, env);
        router = NULL;
    }
    return router;
}

/* ---- envelopes of this process ---- */

/* What this process tells of itself goes to every router: each publishes it to those who listen there. */
static void
tell_routers(struct owner *owner, const struct env *event)
{
    for (struct dyn_list *link = owner->routers.next; link != &owner->routers; link = link->next) {
        const struct owner_router *router = DYN_CONTAINER_OF(link, struct owner_router, link);
        struct env *copy = env_clone_event(event);
        if (bus_send(owner->me, router->addr, &copy, NULL) != 0) {
            env_free(&copy);
        }
    }
}

void
owner_receive(void *self, struct env **env_p)
{
    struct owner *owner = self;
    struct env *env = *env_p;
    if (env->kind == ENV_REQUEST) {
        owner_take_request(owner, env_p);
        return;
    }
    if (env->kind == ENV_EVENT) {
        tell_routers(owner, env);
        return;
    }
    struct env_map_node *node = env_map_find(&owner->requests, &env->id);
    struct owner_request *rq = node != NULL ? DYN_CONTAINER_OF(node, struct owner_request, node) : NULL;
    if (rq == NULL || rq->asker != env->from) {
        return; /* its END is on its way to the asker */
    }
    if (env->kind == ENV_CREDIT) {
        owner_take_credit(rq, env_p);
    } else if (env->kind == ENV_CANCEL) {
        owner_take_cancel(rq, env_p);
    }
}

/* ---- life ---- */

static void
give_up(struct bus_timer *timer)
{
    struct owner *owner = DYN_CONTAINER_OF(timer, struct owner, give_up);
    for (struct env_map_node *node; (node = env_map_any(&owner->requests)) != NULL;) {
        owner_refuse(DYN_CONTAINER_OF(node, struct owner_request, node), ERR_DRAINING);
    }
}

void
owner_drain(void *self, uint64_t deadline_us)
{
    struct owner *owner = self;
    uint64_t now_us = bus_loop_now_us(owner->loop);
    uint64_t left_ms = deadline_us > now_us ? (deadline_us - now_us) / 1000 : 0;
    if (owner->requests.n == 0) {
        bus_actor_idle(owner->me);
        return;
    }
    owner->is_draining = true;
    bus_timer_arm(owner->loop, &owner->give_up, left_ms * OWNER_GIVE_UP_PERCENT / 100);
}

void
owner_init(struct owner *owner, const struct owner_options *options)
{
    *owner = (struct owner){.options = *options, .give_up = {.fire = give_up}};
    if (owner->options.counters == NULL) {
        owner->options.counters = &owner->own_counters;
    }
    env_map_init(&owner->requests);
    dyn_list_init(&owner->routers);
    dyn_list_init(&owner->waiting);
}

void
owner_started(struct owner *owner, bus_actor_t *me)
{
    owner->me = me;
    owner->loop = bus_actor_loop(me);
}

void
owner_fini(struct owner *owner)
{
    owner->is_draining = false;
    for (struct env_map_node *node; (node = env_map_any(&owner->requests)) != NULL;) {
        owner_request_free(DYN_CONTAINER_OF(node, struct owner_request, node));
    }
    for (struct dyn_list *link; (link = dyn_list_pop(&owner->routers)) != NULL;) {
        free(DYN_CONTAINER_OF(link, struct owner_router, link));
    }
    bus_timer_fini(&owner->give_up);
    env_map_fini(&owner->requests);
}
