/* A router among owners and workers that the test plays, on one loop that the test turns and with a clock
 * that the test sets: what happens, happens in the order in which it is written down. */
#pragma once

#include "bus/bus_impl.h"
#include "core/buf.h"
#include "proto/ready.h"
#include "router/request.h"

#include <stdlib.h>

#define CHAT        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"
#define CHAT_STREAM "{\"model\":\"m\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"

enum { WAIT_MS = 2000, TIMEOUT_MS = 60000, START_US = 1000000 };
enum who { OWNER, OTHER, A, B, C, HERE, METRICS, N_PEERS };

struct peer {
    bus_actor_t *me;
    bus_addr_t addr;
    struct dyn_list received;
};

struct world {
    bus_t *bus;
    bus_loop_t *loop;
    uint64_t now_us;
    struct dyn_clock clock;
    struct peer peers[N_PEERS];
    struct router *impl;
    bus_addr_t router;
    struct router_shared shared;
    struct router_config config;
    struct route_target targets[3]; /* "one", "two", "three": all serve everything */
    size_t n_targets;
    bus_addr_t addrs[3];                       /* 0: nobody of this process */
    const struct route_strategy_ops *strategy; /* NULL: as the configuration has it */
    catalogue_t *catalogue;              /* NULL: no prices are known */
    struct router_options options;
};

/* ---- peers ---- */

static int
peer_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    (void)err;
    ((struct peer *)self)->me = me;
    return 0;
}

static void
peer_receive(void *self, struct env **env_p)
{
    dyn_list_append(&((struct peer *)self)->received, &(*env_p)->link);
    *env_p = NULL;
}

static void
peer_stop(void *self)
{
    struct peer *peer = self;
    for (struct dyn_list *link; (link = dyn_list_pop(&peer->received)) != NULL;) {
        struct env *env = DYN_CONTAINER_OF(link, struct env, link);
        env_free(&env);
    }
}

static const struct bus_actor_ops peer_ops = {
    .kind = "peer", .start = peer_start, .receive = peer_receive, .stop = peer_stop};

/* ---- the world ---- */

static uint64_t
world_us(void *self)
{
    return ((struct world *)self)->now_us;
}

/* What it leads to is over when nothing has happened for a turn; two envelopes lie between any two peers. */
static void
turn(struct world *world)
{
    for (unsigned i = 0; i < 6; i++) {
        bus_loop_run_once(world->loop, 0);
    }
}

static DYN_UNUSED void
pass_ms(struct world *world, uint64_t ms)
{
    world->now_us += ms * 1000;
    turn(world);
}

static struct world *
world_new(void)
{
    static const char *const names[] = {"one", "two", "three"};
    struct world *world = dyn_zalloc(sizeof *world);
    world->now_us = START_US;
    world->clock = (struct dyn_clock){.mono_us = world_us, .wall_us = world_us, .self = world};
    world->shared.admission.open = true;
    world->config = (struct router_config){.request_timeout_ms = TIMEOUT_MS, .max_attempts = 5};
    for (size_t i = 0; i < DYN_ARRAY_LEN(world->targets); i++) {
        world->targets[i] =
            (struct route_target){.name = dyn_slice_str(names[i]), .provider = DYN_SLICE("openai")};
    }
    world->n_targets = 1;
    world->options = (struct router_options){.shared = &world->shared,
                                             .addrs = world->addrs,
                                             .seed = 1,
                                             .accepts_workers = true,
                                             .worker_wait_ms = WAIT_MS};
    return world;
}

static void
start_actor(struct world *world, bus_addr_t addr)
{
    struct bus_actor *actor = bus_find(world->bus, addr);
    struct dyn_err err;
    DYN_ASSERT(actor->ops->start(actor->self, actor, &err) == 0);
}

/* After the options are set. */
static void
world_start(struct world *world)
{
    struct dyn_err err;
    world->bus = bus_new(NULL, &err);
    world->loop = bus_add_loop(world->bus, "router-test");
    bus_loop_set_clock(world->loop, &world->clock);
    for (size_t i = 0; i < N_PEERS; i++) {
        dyn_list_init(&world->peers[i].received);
        world->peers[i].addr = bus_add_actor(world->bus, world->loop, &peer_ops, &world->peers[i]);
        start_actor(world, world->peers[i].addr);
    }
    struct route_plan *plan =
        route_plan_new(&world->config, world->targets, world->n_targets, world->catalogue, &err);
    plan->strategy = world->strategy != NULL ? world->strategy : plan->strategy;
    world->options.plan = plan;
    world->impl = router_new(&world->options);
    route_plan_unref(&plan);
    world->router = bus_add_actor(world->bus, world->loop, &router_actor_ops, world->impl);
    start_actor(world, world->router);
}

static void
world_free(struct world *world)
{
    bus_free(&world->bus);
    free(world);
}

/* The provider of this process serves the first target. */
static DYN_UNUSED void
serve_here(struct world *world)
{
    bus_t *bus = bus_new(NULL, &(struct dyn_err){0}); /* addresses follow from the order of adding */
    bus_loop_t *loop = bus_add_loop(bus, "addresses");
    struct peer peers[N_PEERS];
    for (size_t i = 0; i < N_PEERS; i++) {
        dyn_list_init(&peers[i].received);
        peers[i].addr = bus_add_actor(bus, loop, &peer_ops, &peers[i]);
    }
    world->addrs[0] = peers[HERE].addr;
    world->options.metrics = peers[METRICS].addr;
    bus_free(&bus);
}

/* ---- saying ---- */

static void
say(struct world *world, enum who who, struct env *env)
{
    DYN_ASSERT(bus_send(world->peers[who].me, world->router, &env, NULL) == 0);
    turn(world);
}

static DYN_UNUSED struct env *
request_of(const char *body)
{
    struct env *request = env_new(ENV_REQUEST);
    request->id = env_id_random();
    request->surface = ENV_SURFACE_CHAT;
    request->dialect = DYN_SLICE("openai_chat");
    request->trace_id = DYN_SLICE("0123456789abcdef0123456789abcdef");
    request->credit = ENV_WINDOW_FIRST;
    request->body = dyn_block_copy(0, dyn_slice_str(body));
    return request;
}

static DYN_UNUSED struct env_id
ask(struct world *world, enum who owner, const char *body)
{
    struct env *request = request_of(body);
    struct env_id id = request->id;
    say(world, owner, request);
    return id;
}

static DYN_UNUSED struct env *
ready_of(const char *name, const struct ready_target *targets, size_t n)
{
    struct env *ready = env_new(ENV_READY);
    struct ready serves = {targets, n};
    struct dyn_buf body = DYN_BUF_INIT;
    ready_encode(&serves, &body);
    ready->role = DYN_SLICE("worker");
    ready->worker = env_copy(ready, dyn_slice_str(name));
    ready->body = dyn_block_copy(0, dyn_buf_slice(&body));
    dyn_buf_fini(&body);
    return ready;
}

static DYN_UNUSED const char *
name_of(enum who who)
{
    static const char *const names[N_PEERS] = {[A] = "worker-a", [B] = "worker-b", [C] = "worker-c"};
    return names[who];
}

/* A worker of one target, for any model. */
static DYN_UNUSED void
join_target(struct world *world, enum who who, const char *target)
{
    struct ready_target said = {.name = dyn_slice_str(target), .any_model = true};
    say(world, who, ready_of(name_of(who), &said, 1));
}

static DYN_UNUSED void
goodbye(struct world *world, enum who who, const char *reason)
{
    struct env *env = env_new(ENV_GOODBYE);
    env->reason = dyn_slice_str(reason);
    say(world, who, env);
}

static DYN_UNUSED void
about(struct world *world, enum who who, enum env_kind kind, struct env_id id, uint32_t credit)
{
    struct env *env = env_new(kind);
    env->id = id;
    env->credit = credit;
    say(world, who, env);
}

static DYN_UNUSED struct env *
chunk_of(const struct env *request, uint32_t sequence, struct dyn_slice bytes)
{
    struct env *chunk = env_about(ENV_CHUNK, request);
    chunk->sequence = sequence;
    chunk->stream = request->stream;
    chunk->status = sequence == 0 ? 200 : 0;
    chunk->body = dyn_block_copy(0, bytes);
    return chunk;
}

static DYN_UNUSED struct env *
end_of(const struct env *request, const char *body)
{
    struct env *end = env_about(ENV_END, request);
    end->outcome = ENV_OUTCOME_OK;
    end->status = body != NULL ? 200 : 0;
    end->upstream_calls = 1;
    end->body = body != NULL ? dyn_block_copy(0, dyn_slice_str(body)) : NULL;
    return end;
}

static DYN_UNUSED struct env *
error_of(const struct env *request, enum err_code code, uint32_t calls)
{
    struct env *end = env_about(ENV_END, request);
    end->outcome = ENV_OUTCOME_ERROR;
    end->error = code;
    end->upstream_calls = calls;
    return end;
}

/* What the walker does when a strategy gives several targets. */
static void
order_all(const void *state, const struct route_facts *facts, const struct route_view *view,
          struct dyn_rng *rng, struct route_order *order)
{
    (void)state;
    (void)facts;
    (void)rng;
    route_order_push_rest(order, view);
}

/* Before or after the world starts. */
static DYN_UNUSED void
walk_all_targets(struct world *world)
{
    static const struct route_strategy_ops all = {.name = "all", .order = order_all};
    world->strategy = &all;
    if (world->impl != NULL) {
        world->impl->options.plan->strategy = &all;
    }
}
