/* When events of ended requests go, and what they say of the attempts. */
#include "proto/event.h"
#include "tests/unit/router/router_hear.h"

/* Target "one" is served here, "two" by worker A; METRICS takes events. */
static struct world *
listened_to(void)
{
    struct world *world = world_new();
    world->n_targets = 2;
    serve_here(world);
    walk_all_targets(world);
    world->options.events = world->options.metrics;
    atomic_store(&world->shared.wants_events, true);
    world_start(world);
    join_target(world, A, "two");
    return world;
}

static void
one_request(struct world *world)
{
    (void)ask(world, OWNER, CHAT);
    struct env *request = hear(world, HERE, ENV_REQUEST);
    say(world, HERE, end_of(request, "hello"));
    hear_and_drop(world, OWNER, ENV_END);
    env_free(&request);
}

static void
they_go_together_in_their_order(void **state)
{
    (void)state;
    struct world *world = listened_to();
    uint64_t last_us = 0;
    for (unsigned i = 0; i < 3; i++) {
        one_request(world);
        pass_ms(world, 1);
    }
    hear_nothing(world, METRICS);
    pass_ms(world, ROUTE_EVENTS_MS);
    struct told told = {.env = hear(world, METRICS, ENV_EVENT)};
    for (unsigned i = 0; i < 3; i++) {
        uint64_t now_us = told_next(&told).timestamp_us;
        assert_true(now_us > last_us);
        last_us = now_us;
    }
    assert_int_equal(told.at, told.env->body->len);
    env_free(&told.env);
    hear_nothing(world, METRICS);
    assert_int_equal(atomic_load(&world->shared.events_sent), 3);
    world_free(world);
}

static void
so_many_do_not_wait(void **state)
{
    (void)state;
    struct world *world = listened_to();
    for (unsigned i = 0; i < ROUTE_EVENTS_MAX; i++) {
        hear_nothing(world, METRICS);
        one_request(world);
    }
    hear_and_drop(world, METRICS, ENV_EVENT);
    pass_ms(world, 2 * ROUTE_EVENTS_MS);
    hear_nothing(world, METRICS);
    world_free(world);
}

/* A drain may end at any time. */
static void
in_a_drain_none_waits(void **state)
{
    (void)state;
    struct world *world = listened_to();
    one_request(world);
    (void)ask(world, OWNER, CHAT);
    struct env *request = hear(world, HERE, ENV_REQUEST);
    router_actor_ops.drain(world->impl, world->now_us + 10000000);
    turn(world);
    hear_and_drop(world, METRICS, ENV_EVENT);
    say(world, HERE, end_of(request, "hello"));
    hear_and_drop(world, METRICS, ENV_EVENT);
    env_free(&request);
    world_free(world);
}

static void
each_attempt_is_told(void **state)
{
    (void)state;
    struct world *world = listened_to();
    struct event_attempt attempts[4];
    (void)ask(world, OWNER, CHAT);
    struct env *first = hear(world, HERE, ENV_REQUEST);
    world->now_us += 7000;
    struct env *error = error_of(first, ERR_UPSTREAM_ERROR, 1);
    error->upstream_status = 503;
    say(world, HERE, error);
    struct env *second = hear(world, A, ENV_REQUEST);
    world->now_us += 2000;
    say(world, A, end_of(second, "hello"));
    pass_ms(world, ROUTE_EVENTS_MS);
    struct env *event = hear(world, METRICS, ENV_EVENT);
    struct event_record record = told_alone(event);
    assert_true(dyn_slice_is(record.strategy, "all"));
    assert_int_equal(event_attempts_decode(record.attempt_list, attempts, 4), 2);
    assert_true(dyn_slice_is(attempts[0].target, "one") && dyn_slice_is(attempts[0].error, "UPSTREAM_ERROR"));
    assert_int_equal(attempts[0].status, 503);
    assert_int_equal(attempts[0].total_us, 7000);
    assert_int_equal(attempts[0].upstream_calls, 1);
    assert_true(dyn_slice_is(attempts[1].target, "two") && dyn_slice_is(attempts[1].worker, "worker-a"));
    assert_null(attempts[1].error.data);
    assert_int_equal(attempts[1].started_us, 7000);
    assert_int_equal(attempts[1].total_us, 2000);
    assert_int_equal(attempts[1].status, 200);
    env_free(&event);
    env_free(&first);
    env_free(&second);
    world_free(world);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(they_go_together_in_their_order),
        cmocka_unit_test(so_many_do_not_wait),
        cmocka_unit_test(in_a_drain_none_waits),
        cmocka_unit_test(each_attempt_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
