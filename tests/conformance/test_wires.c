/* One suite over every wire: what a sender and a receiver may rely on, whichever wire is between
 * them. Order, exactly once, full and gone mailboxes, and floods in both directions. */
#include "tests/conformance/wires.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { NEVER_WAITED_MS = 20000 };

static const struct wire_case wires[] = {
    {.name = "local"},
};

static void
send_or_die(bus_actor_t *me, bus_addr_t to, struct env *env)
{
    struct dyn_err err;
    CHECK(bus_send(me, to, &env, &err) == 0);
    CHECK(env == NULL);
}

static struct env *
chunk_number(uint32_t sequence)
{
    struct env *env = env_new(ENV_CHUNK);
    env->sequence = sequence;
    return env;
}

static void
stop_does_nothing(void *self)
{
    (void)self;
}

static int
start_does_nothing(void *self, bus_actor_t *me, struct dyn_err *err)
{
    (void)self;
    (void)me;
    (void)err;
    return 0;
}

/* ---- order, exactly once ---- */

enum { IN_ORDER = 20000 };

struct counting {
    struct pair *pair;
    uint32_t next;
};

static int
send_all_at_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct counting *counting = self;
    (void)err;
    for (uint32_t i = 0; i < IN_ORDER; i++) {
        send_or_die(me, counting->pair->b, chunk_number(i));
    }
    return 0;
}

static void
expect_next(void *self, struct env **env_p)
{
    struct counting *counting = self;
    CHECK((*env_p)->sequence == counting->next);
    CHECK((*env_p)->from == counting->pair->a);
    CHECK((*env_p)->to == counting->pair->b);
    if (++counting->next == IN_ORDER) {
        gate_open(&counting->pair->gate);
    }
    env_free(env_p);
}

static const struct bus_actor_ops send_all_ops = {
    .kind = "sender", .start = send_all_at_start, .receive = expect_next, .stop = stop_does_nothing};
static const struct bus_actor_ops expect_ops = {
    .kind = "receiver", .start = start_does_nothing, .receive = expect_next, .stop = stop_does_nothing};

static void
envelopes_arrive_in_order_and_once(void **state)
{
    struct counting counting = {.pair = pair_new(*state, 0, 1)};
    pair_add(counting.pair, &send_all_ops, &counting, &expect_ops, &counting);
    pair_start(counting.pair);
    gate_wait(&counting.pair->gate);
    assert_int_equal(bus_mailbox_bytes(counting.pair->bus, counting.pair->b), 0);
    assert_int_equal(pair_free(counting.pair, NEVER_WAITED_MS), 0);
    assert_int_equal(counting.next, IN_ORDER);
}

#define OVER(wire_, test_)                                                                                   \
    {                                                                                                        \
        .name = #test_, .test_func = (test_), .initial_state = (void *)(uintptr_t)&wires[wire_]              \
    }

int
main(void)
{
    int failed = 0;
    for (size_t i = 0; i < DYN_ARRAY_LEN(wires); i++) {
        const struct CMUnitTest tests[] = {
            OVER(i, envelopes_arrive_in_order_and_once),
        };
        (void)printf("wire: %s\n", wires[i].name);
        failed += _cmocka_run_group_tests(wires[i].name, tests, DYN_ARRAY_LEN(tests), NULL, NULL);
    }
    return failed;
}
