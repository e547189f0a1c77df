/* What the wire tests share: the wires they run over, a gate that a test waits at until an actor
 * opens it, and checks that are safe on a loop's thread (cmocka's asserts are for the main thread). */
#pragma once

#include "bus/bus.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define CHECK(cond) DYN_ASSERT(cond)

/* Two actors, and the wire that connects them. */
struct wire_case {
    const char *name;
    bool inproc;    /* the option `bus.local: inproc` */
    bool two_loops; /* the two actors are on loops of their own */
};

static const struct wire_case wires[] = {
    {.name = "local"},
    {.name = "inproc on one loop", .inproc = true},
    {.name = "inproc between loops", .two_loops = true},
};

/* A row of cmocka's table: the test over wires[wire_]. */
#define OVER(wire_, test_)                                                                                   \
    {                                                                                                        \
        .name = #test_, .test_func = (test_), .initial_state = (void *)(uintptr_t)&wires[wire_]              \
    }

/* With what the protocol asks of each kind. */
static inline struct env *
wire_envelope(enum env_kind kind)
{
    struct env *env = env_new(kind);
    env->id.bytes[0] = 1;
    env->surface = kind == ENV_REQUEST ? ENV_SURFACE_CHAT : ENV_SURFACE_NONE;
    env->outcome = kind == ENV_END ? ENV_OUTCOME_OK : 0;
    env->credit = kind == ENV_CREDIT ? 1 : 0;
    if (kind == ENV_EVENT) {
        env->topic = env_copy(env, DYN_SLICE("test"));
    }
    return env;
}

struct gate {
    pthread_mutex_t lock;
    pthread_cond_t opened;
    unsigned left; /* openings still to come */
};

static inline void
gate_init(struct gate *gate, unsigned openings)
{
    (void)pthread_mutex_init(&gate->lock, NULL);
    (void)pthread_cond_init(&gate->opened, NULL);
    gate->left = openings;
}

static inline void
gate_open(struct gate *gate)
{
    (void)pthread_mutex_lock(&gate->lock);
    CHECK(gate->left > 0);
    gate->left--;
    (void)pthread_cond_broadcast(&gate->opened);
    (void)pthread_mutex_unlock(&gate->lock);
}

static inline void
gate_wait(struct gate *gate)
{
    (void)pthread_mutex_lock(&gate->lock);
    while (gate->left > 0) {
        (void)pthread_cond_wait(&gate->opened, &gate->lock);
    }
    (void)pthread_mutex_unlock(&gate->lock);
}

/* A bus with two actors as the case wants them. */
struct pair {
    bus_t *bus;
    bus_loop_t *loop_a, *loop_b;
    bus_addr_t a, b;
    struct gate gate;
};

static inline struct pair *
pair_new(const struct wire_case *wire, size_t mailbox_bytes, unsigned openings)
{
    struct pair *pair = dyn_zalloc(sizeof *pair);
    struct bus_options options = {.inproc = wire->inproc, .mailbox_bytes = mailbox_bytes};
    struct dyn_err err;
    gate_init(&pair->gate, openings);
    pair->bus = bus_new(&options, &err);
    CHECK(pair->bus != NULL);
    pair->loop_a = bus_add_loop(pair->bus, "wire-a");
    pair->loop_b = wire->two_loops ? bus_add_loop(pair->bus, "wire-b") : pair->loop_a;
    return pair;
}

static inline void
pair_add(struct pair *pair, const struct bus_actor_ops *ops_a, void *a, const struct bus_actor_ops *ops_b,
         void *b)
{
    pair->a = bus_add_actor(pair->bus, pair->loop_a, ops_a, a);
    pair->b = bus_add_actor(pair->bus, pair->loop_b, ops_b, b);
}

static inline void
pair_start(struct pair *pair)
{
    struct dyn_err err;
    CHECK(bus_start(pair->bus, &err) == 0);
}

static inline unsigned
pair_free(struct pair *pair, uint32_t timeout_ms)
{
    unsigned busy = bus_stop(pair->bus, timeout_ms);
    bus_free(&pair->bus);
    free(pair);
    return busy;
}

/* Sanitizers make everything about ten times as slow. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define WIRES_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define WIRES_SANITIZED 1
#endif
#endif
#ifdef WIRES_SANITIZED
enum { WIRES_SLOWER = 20 };
#else
enum { WIRES_SLOWER = 1 };
#endif
