/* What the wire tests share: the wires they run over, two actors with one of them in between, and the
 * table of tests. */
#pragma once

#include "tests/conformance/far.h"
#include "tests/unit/bus/keys.h"

#include <stdatomic.h>

/* Two actors, and the wire that connects them. */
struct wire_case {
    const char *name;
    bool inproc;          /* the option `bus.local: inproc` */
    bool two_loops;       /* the two actors are on loops of their own */
    const char *endpoint; /* the two actors are in buses of their own, as in two processes */
    bool curve;
};

static const struct wire_case wires[] = {
    {.name = "local"},
    {.name = "inproc on one loop", .inproc = true},
    {.name = "inproc between loops", .two_loops = true},
    {.name = "ipc", .endpoint = "ipc:///tmp/dynabus-wire-%d-%u"},
    {.name = "tcp", .endpoint = "tcp://127.0.0.1:0"},
    {.name = "tcp with CURVE", .endpoint = "tcp://127.0.0.1:0", .curve = true},
};

/* A test, and whether what it shows is true between processes too. */
struct wire_test {
    const char *name;
    CMUnitTestFunction run;
    bool one_process; /* addresses, memory or the order of starts are shared */
};
#define EVERYWHERE(test_)  {.name = #test_, .run = (test_)}
#define ONE_PROCESS(test_) {.name = #test_, .run = (test_), .one_process = true}

/* Of the wire with CURVE: a router and an edge that know each other. */
struct wire_keys {
    struct keys keys;
    bus_security_t *port, *link; /* with keys */
    bus_security_t *plain;
};
static struct wire_keys wire_keys;

static inline bus_security_t *
wire_security(const struct bus_security_options *options)
{
    struct dyn_err err;
    bus_security_t *security = bus_security_new(options, &err);
    assert_non_null(security);
    return security;
}

static inline int
wire_keys_open(void **state)
{
    struct bus_cert cert;
    struct keys *keys = &wire_keys.keys;
    (void)state;
    keys_open(keys);
    keys_make(keys, "router", BUS_ROLE_ROUTER, false, &cert);
    keys_make(keys, "edge", BUS_ROLE_EDGE, true, &cert);
    const char *router = keys_path(keys, "router.key");
    wire_keys.plain = wire_security(&(struct bus_security_options){.cert = NULL});
    wire_keys.port = wire_security(
        &(struct bus_security_options){.cert = router, .allowed = keys_path(keys, "allowed")});
    wire_keys.link = wire_security(&(struct bus_security_options){
        .cert = keys_path(keys, "edge.key"), .servers = &router, .n_servers = 1});
    return 0;
}

static inline int
wire_keys_close(void **state)
{
    (void)state;
    bus_security_free(&wire_keys.plain);
    bus_security_free(&wire_keys.port);
    bus_security_free(&wire_keys.link);
    keys_close(&wire_keys.keys);
    return 0;
}

/* Returns how many failed. */
static inline int
run_over_all_wires(const struct wire_test *tests, size_t n_tests)
{
    int failed = 0;
    for (size_t i = 0; i < DYN_ARRAY_LEN(wires); i++) {
        struct CMUnitTest run[32] = {0};
        size_t n = 0;
        (void)printf("wire: %s\n", wires[i].name);
        for (size_t k = 0; k < n_tests; k++) {
            if (tests[k].one_process && wires[i].endpoint != NULL) {
                (void)printf("not between processes: %s\n", tests[k].name);
                continue;
            }
            run[n++] = (struct CMUnitTest){.name = tests[k].name,
                                           .test_func = tests[k].run,
                                           .initial_state = (void *)(uintptr_t)&wires[i]};
        }
        failed += _cmocka_run_group_tests(wires[i].name, run, n, wire_keys_open, wire_keys_close);
    }
    return failed;
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

/* Two actors and what is between them, as the case wants them: in one bus, or in two. */
struct pair {
    const struct wire_case *wire;
    bus_t *bus; /* a's */
    bus_t *other; /* b's, if it is not the same */
    bus_loop_t *loop_a, *loop_b;
    bus_addr_t a, b; /* in every bus */
    struct gate gate;
    struct far far_a, far_b; /* stand for a beside b, for b beside a */
    char endpoint[64];
};

/* Between two buses time goes by so much more slowly: how long a peer may be silent is looked at by other
 * tests, with clocks of their own; here nobody is given up because a machine with much to do gave a thread no
 * turn for two seconds. */
enum { WIRE_CLOCK_SLOWER = 5 };

static inline uint64_t
wire_mono_us(void *self)
{
    (void)self;
    return dyn_mono_us(&dyn_clock_system) / WIRE_CLOCK_SLOWER;
}

static inline uint64_t
wire_wall_us(void *self)
{
    (void)self;
    return dyn_wall_us(&dyn_clock_system);
}

static const struct dyn_clock wire_clock = {.mono_us = wire_mono_us, .wall_us = wire_wall_us};

static inline bus_t *
pair_bus(const struct wire_case *wire, size_t mailbox_bytes)
{
    struct bus_options options = {.inproc = wire->inproc, .mailbox_bytes = mailbox_bytes};
    struct dyn_err err;
    bus_t *bus = bus_new(&options, &err);
    CHECK(bus != NULL);
    return bus;
}

static inline void
pair_prepare_far(struct pair *pair)
{
    static unsigned number;
    bool curve = pair->wire->curve;
    /* clang-format off */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    (void)snprintf(pair->endpoint, sizeof pair->endpoint, pair->wire->endpoint, (int)getpid(), number++);
#pragma GCC diagnostic pop
    /* clang-format on */
    bus_process_init(&pair->far_a.process, curve ? wire_keys.port : wire_keys.plain);
    bus_process_init(&pair->far_b.process, curve ? wire_keys.link : wire_keys.plain);
    pair->far_a.endpoint = pair->endpoint;
    pair->far_b.to = &pair->far_a;
}

static inline struct pair *
pair_new(const struct wire_case *wire, size_t mailbox_bytes, unsigned openings)
{
    struct pair *pair = dyn_zalloc(sizeof *pair);
    gate_init(&pair->gate, openings);
    pair->wire = wire;
    pair->bus = pair_bus(wire, mailbox_bytes);
    pair->loop_a = bus_add_loop(pair->bus, "wire-a");
    pair->loop_b = wire->two_loops ? bus_add_loop(pair->bus, "wire-b") : pair->loop_a;
    if (wire->endpoint != NULL) {
        pair->other = pair_bus(wire, mailbox_bytes);
        pair->loop_b = bus_add_loop(pair->other, "wire-b");
        bus_loop_set_clock(pair->loop_a, &wire_clock);
        bus_loop_set_clock(pair->loop_b, &wire_clock);
        pair_prepare_far(pair);
    }
    return pair;
}

static inline void
pair_add(struct pair *pair, const struct bus_actor_ops *ops_a, void *a, const struct bus_actor_ops *ops_b,
         void *b)
{
    pair->a = bus_add_actor(pair->bus, pair->loop_a, ops_a, a);
    if (pair->other == NULL) {
        pair->b = bus_add_actor(pair->bus, pair->loop_b, ops_b, b);
        return;
    }
    pair->b = bus_add_actor(pair->bus, pair->loop_a, &far_ops, &pair->far_b);
    CHECK(bus_add_actor(pair->other, pair->loop_b, &far_ops, &pair->far_a) == pair->a);
    CHECK(bus_add_actor(pair->other, pair->loop_b, ops_b, b) == pair->b);
    pair->far_a.near = pair->b;
    pair->far_b.near = pair->a;
}

static inline void
pair_start(struct pair *pair)
{
    struct dyn_err err;
    CHECK(pair->other == NULL || bus_start(pair->other, &err) == 0); /* listens */
    CHECK(bus_start(pair->bus, &err) == 0);
}

static inline unsigned
pair_free(struct pair *pair, uint32_t timeout_ms)
{
    pair->far_a.is_over = pair->far_b.is_over = true;
    unsigned busy = bus_stop(pair->bus, timeout_ms);
    bus_free(&pair->bus);
    if (pair->other != NULL) {
        busy += bus_stop(pair->other, timeout_ms);
        bus_free(&pair->other);
    }
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
