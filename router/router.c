/* The router actor: finds the request an envelope belongs to and lets its steps go on. The steps
 * themselves are in steps.c, decisions in strategies/, candidates.c and admission.c. */
#include "router/router.h"

#include "core/log.h"
#include "models/memo.h"
#include "router/shared.h"
#include "router/votes.h"
#include "router/votes_stream.h"

#include <stdlib.h>

/* A burst leaves this many requests behind for the next one; beyond it memory is given back. */
enum { ROUTE_SPARE_MAX = 256 };
/* Of a drain's time: what is ended by then still reaches its owners. */
enum { ROUTE_DRAIN_PERCENT = 90 };

static const struct {
    const char *name;
    enum route_step (*run)(struct route_request *rq);
} route_steps[ROUTE_STEP_COUNT] = {
#define STEP(name, function) [ROUTE_STEP_##name] = {#name, route_step_##function},
#include "router/steps.def"
#undef STEP
};

/* A step returns the next one; it never calls it. */
/* What run_us is beside a time; no clock says so. */
enum { NOTHING_RUNS = 0, CLOCK_UNREAD = 1 };

/* Of runs within a run the outer one goes on as if there were none. */
void
route_run(struct route_request *rq)
{
    struct router *router = rq->router;
    router->run_us = CLOCK_UNREAD;
    for (enum route_step next = rq->step; next != ROUTE_STEP_PARKED;) {
        rq->step = next;
        next = route_steps[next].run(rq);
    }
    router->run_us = NOTHING_RUNS;
}

uint64_t
route_clock_us(struct router *router)
{
    if (router->run_us > CLOCK_UNREAD) {
        return router->run_us;
    }
    uint64_t now_us = dyn_mono_us(bus_loop_clock(router->loop));
    router->run_us = router->run_us == CLOCK_UNREAD ? now_us : NOTHING_RUNS;
    return now_us;
}

void
route_clock_forget(struct router *router)
{
    router->run_us = router->run_us != NOTHING_RUNS ? CLOCK_UNREAD : NOTHING_RUNS;
}

void
route_resume(struct route_request *rq, enum route_step step)
{
    rq->step = step;
    route_run(rq);
}

/* ---- requests ---- */

static struct route_request *
request_new(struct router *router)
{
    struct dyn_list *link = dyn_list_pop(&router->spare);
    if (link != NULL) {
        router->n_spare--;
        return DYN_CONTAINER_OF(link, struct route_request, link);
    }
    struct route_request *rq = dyn_zalloc(sizeof *rq);
    rq->timer.fire = route_timer_fired;
    return rq;
}

/* Takes the REQUEST. What the id and the loop know the object by stays as it is. */
static void
begin(struct router *router, struct route_request *rq, struct env **request_p)
{
    struct env *request = *request_p;
    struct bus_timer timer = rq->timer;
    struct env_map_node node = rq->node;
    *rq = (struct route_request){.router = router, .timer = timer, .node = node};
    rq->plan = route_plan_ref(router->options.plan);
    rq->now = &rq->flights[0];
    *request_p = NULL;
    dyn_list_init(&rq->link);
    dyn_list_init(&rq->parked_link);
    dyn_list_init(&rq->held);
    rq->owner = request->from;
    rq->request = request;
    rq->window = request->credit;
    rq->started_us = request->received_us ? request->received_us : bus_loop_now_us(router->loop);
}

static void
let_go(struct route_request *rq)
{
    route_unpark(rq);
    route_held_drop(rq);
    route_gate_fini(rq);
    route_shared_fini(rq);
    route_votes_fini(rq); /* before its memory, which is the request's */
    json_places_fini(&rq->places);
    env_free(&rq->request);
    env_free(&rq->inbound);
    env_free(&rq->failed);
    env_free(&rq->told);
    route_plan_unref(&rq->plan);
    key_view_unref(&rq->key_view);
    bus_timer_disarm(&rq->timer);
}

void
route_succeed(struct route_request *rq)
{
    struct env *successor = rq->successor;
    uint32_t calls = rq->calls;
    uint64_t upstream_us = rq->upstream_us;
    rq->successor = NULL;
    let_go(rq);
    begin(rq->router, rq, &successor);
    rq->calls = calls;
    rq->upstream_us = upstream_us;
}

static void
request_fini(struct route_request *rq)
{
    bus_timer_fini(&rq->timer);
    free(rq);
}

static void
free_spare(struct router *router)
{
    for (struct dyn_list *link; (link = dyn_list_pop(&router->spare)) != NULL;) {
        request_fini(DYN_CONTAINER_OF(link, struct route_request, link));
    }
    router->n_spare = 0;
}

static void
shed(struct bus_keeper *keeper)
{
    free_spare(DYN_CONTAINER_OF(keeper, struct router, spare_keeper));
}

static void
look_whether_idle(struct router *router)
{
    if (router->is_draining && router->requests.n == 0) {
        bus_timer_disarm(&router->drain);
        bus_actor_idle(router->me);
    }
}

void
route_request_free(struct route_request *rq)
{
    struct router *router = rq->router;
    env_map_remove(&router->requests, &rq->node);
    route_show(&router->options.counters->requests_in_flight, router->requests.n);
    let_go(rq);
    env_free(&rq->successor);
    if (router->n_spare < ROUTE_SPARE_MAX) {
        router->n_spare++;
        dyn_list_append(&router->spare, &rq->link);
    } else {
        request_fini(rq);
    }
    look_whether_idle(router);
}

/* Collected first: what is done with one may change the map. */
void
route_sweep(struct router *router, bool (*match)(const struct route_request *rq, const void *arg),
            void (*fn)(struct route_request *rq, const void *arg), const void *arg)
{
    struct dyn_list found;
    dyn_list_init(&found);
    for (size_t i = 0; i < router->requests.n_buckets; i++) {
        for (struct env_map_node *node = router->requests.buckets[i]; node != NULL; node = node->next) {
            struct route_request *rq = DYN_CONTAINER_OF(node, struct route_request, node);
            if (match(rq, arg)) {
                dyn_list_append(&found, &rq->link);
            }
        }
    }
    for (struct dyn_list *link; (link = dyn_list_pop(&found)) != NULL;) {
        fn(DYN_CONTAINER_OF(link, struct route_request, link), arg);
    }
}

/* ---- envelopes ---- */

void
route_late(struct router *router)
{
    (void)atomic_fetch_add_explicit(&router->options.shared->late_answers, 1, memory_order_relaxed);
}

static void
take_request(struct router *router, struct env **env_p)
{
    struct env *request = *env_p;
    if (request->credit > ENV_HELD_ANSWER_MAX) {
        route_peer_cut(router, request->from, "limit");
        return;
    }
    if (router->is_cut) {
        route_refuse(router, request, ERR_DRAINING);
        return;
    }
    struct env_map_node *node = env_map_find(&router->requests, &request->id);
    if (node != NULL) {
        route_repeated(DYN_CONTAINER_OF(node, struct route_request, node), env_p);
        return;
    }
    struct env_id id = request->id;
    struct route_request *rq = request_new(router);
    begin(router, rq, env_p);
    env_map_add(&router->requests, &rq->node, &id);
    route_show(&router->options.counters->requests_in_flight, router->requests.n);
    route_run(rq);
}

/* The owner of a request that is to follow the one in flight under the same id. */
static void
take_from_next_owner(struct route_request *rq, const struct env *env)
{
    if (env->kind == ENV_CREDIT && rq->successor->credit + env->credit <= ENV_HELD_ANSWER_MAX) {
        rq->successor->credit += env->credit;
    } else if (env->kind == ENV_CANCEL) {
        route_refuse(rq->router, rq->successor, ERR_CLIENT_CLOSED);
        env_free(&rq->successor);
    }
}

static void
take_about(struct route_request *rq, struct env **env_p)
{
    const struct env *env = *env_p;
    bool is_answer = env->kind == ENV_CHUNK || env->kind == ENV_END || env->kind == ENV_DISPATCHED;
    if (is_answer) {
        route_take_answer(rq, env_p);
    } else if (env->kind == ENV_VOTE) {
        route_take_vote(rq, env_p);
    } else if (env->kind == ENV_CREDIT && env->from == rq->owner) {
        route_take_credit(rq, env_p);
    } else if (env->kind == ENV_CANCEL && env->from == rq->owner) {
        if (!route_outlives_owner(rq)) {
            route_cancel(rq, ERR_CLIENT_CLOSED, "client");
        }
    } else if (env->kind == ENV_CANCEL && env->from == rq->router->options.plugins && route_is_orphan(rq)) {
        route_cancel(rq, ERR_CLIENT_CLOSED, "client");
    } else if (rq->successor != NULL && env->from == rq->successor->from) {
        take_from_next_owner(rq, env);
    } else {
        route_late(rq->router);
    }
}

static void
router_receive(void *self, struct env **env_p)
{
    struct router *router = self;
    struct env *env = *env_p;
    if (env->kind == ENV_REQUEST) {
        take_request(router, env_p);
    } else if (env->kind == ENV_READY) {
        route_peer_ready(router, env_p);
    } else if (env->kind == ENV_GOODBYE) {
        route_peer_goodbye(router, env);
    } else if (env->kind == ENV_HEARTBEAT) {
        route_peer_late(router, env);
    } else {
        struct env_map_node *node = env_map_find(&router->requests, &env->id);
        struct env_id id = env->id;
        if (node != NULL) {
            take_about(DYN_CONTAINER_OF(node, struct route_request, node), env_p);
        } else {
            route_late(router);
            if (env->kind == ENV_VOTE && env->charged) {
                route_votes_give_back(router, env);
            }
        }
        if (DYN_UNLIKELY(router->n_orphans > 0)) {
            route_orphans_grant(router, &id);
        }
    }
    env_free(env_p);
}

/* ---- life ---- */

static bool
is_any(const struct route_request *rq, const void *arg)
{
    (void)rq;
    (void)arg;
    return true;
}

static void
end_for_drain(struct route_request *rq, const void *arg)
{
    (void)arg;
    if (rq->successor != NULL) {
        route_refuse(rq->router, rq->successor, ERR_DRAINING);
        env_free(&rq->successor);
    }
    route_cancel(rq, ERR_DRAINING, "drain");
}

static void
cut_drain(struct bus_timer *timer)
{
    struct router *router = DYN_CONTAINER_OF(timer, struct router, drain);
    uint64_t now_us = bus_loop_now_us(router->loop);
    uint64_t left_ms = router->drain_until_us > now_us ? (router->drain_until_us - now_us) / 1000 : 0;
    router->grace_ms = left_ms / 2 < ROUTE_CANCEL_GRACE_MS ? (uint32_t)(left_ms / 2) : ROUTE_CANCEL_GRACE_MS;
    router->is_cut = true;
    route_sweep(router, is_any, end_for_drain, NULL);
}

/* Owners in this process are idle by now; those in others were told by the ports, and what they sent before
 * they heard it is still taken. */
static void
router_drain(void *self, uint64_t deadline_us)
{
    struct router *router = self;
    uint64_t now_us = bus_loop_now_us(router->loop);
    uint64_t left_ms = deadline_us > now_us ? (deadline_us - now_us) / 1000 : 0;
    router->is_draining = true;
    route_events_flush(router);
    router->drain_until_us = deadline_us;
    bus_timer_arm(router->loop, &router->drain, left_ms * ROUTE_DRAIN_PERCENT / 100);
    look_whether_idle(router);
}

void *
router_new(const struct router_options *options)
{
    struct router *router = dyn_zalloc(sizeof *router);
    router->options = *options;
    router->options.plan = route_plan_ref(options->plan);
    router->options.addrs = NULL;
    if (router->options.counters == NULL) {
        router->options.counters = &router->own_counters;
    }
    route_members_init(&router->members, options->plan->targets, options->addrs, options->plan->n_targets);
    router->members.catalogue = options->plan->catalogue;
    router->metrics.addr = options->metrics;
    router->keys_admin.addr = options->keys;
    router->logs_admin.addr = options->logs;
    key_cell_init(&router->keys, options->shared != NULL ? options->shared->admission.keys : NULL);
    router->ledger.addr = options->ledger;
    router->grace_ms = ROUTE_CANCEL_GRACE_MS;
    router->drain.fire = cut_drain;
    router->events_due.fire = route_events_due;
    router->memo = route_memo_new();
    env_map_init(&router->requests);
    dyn_list_init(&router->parked);
    dyn_list_init(&router->spare);
    bus_keeper_init(&router->spare_keeper, shed);
    uint64_t seed = options->seed;
    if (seed == 0) {
        dyn_random_bytes(&seed, sizeof seed);
    }
    dyn_rng_seed(&router->rng, seed);
    router->prices = catalogue_memo_new();
    return router;
}

static int
router_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    (void)err;
    struct router *router = self;
    router->me = me;
    router->loop = bus_actor_loop(me);
    router->started_us = bus_loop_now_us(router->loop);
    bus_keeper_add(router->loop, &router->spare_keeper);
    return 0;
}

static void
router_stop(void *self)
{
    struct router *router = self;
    router->is_draining = false; /* nothing is reported any more */
    for (struct env_map_node *node; (node = env_map_any(&router->requests)) != NULL;) {
        route_request_free(DYN_CONTAINER_OF(node, struct route_request, node));
    }
    free_spare(router);
    bus_keeper_remove(&router->spare_keeper);
    dyn_buf_fini(&router->events);
    dyn_buf_fini(&router->event_lists);
    bus_timer_fini(&router->events_due);
    bus_timer_fini(&router->drain);
    env_map_fini(&router->requests);
    route_members_fini(&router->members);
    route_voters_fini(&router->voters);
    route_memo_free(&router->memo);
    key_cell_fini(&router->keys);
    route_plan_unref(&router->options.plan);
    catalogue_memo_free(&router->prices);
    free(router);
}

const struct bus_actor_ops router_actor_ops = {
    .kind = "router",
    .start = router_start,
    .receive = router_receive,
    .drain = router_drain,
    .stop = router_stop,
};
