/* What follows a second attempt that came to nothing, and the first one when there was a second: where the
 * walk goes on, which numbers are used, what the owner knows. */
#include "tests/unit/router/hedge_race.h"

/* What is planned for a silent attempt is not for one that waits to be made. */
static void
a_repeat_that_waits_is_not_hedged(void **state)
{
    (void)state;
    struct world *world = prepared(1);
    world->targets[0].retry.attempts = 2;
    world->config.retry_budget.min_per_second = 1;
    started(world);
    (void)ask(world, OWNER, CHAT);
    struct env *first = hear(world, A, ENV_REQUEST);
    pass_ms(world, AFTER_MS / 2);
    say(world, A, failed(first, 503, 1000));
    pass_ms(world, AFTER_MS);
    hear_nothing(world, A);
    pass_ms(world, 1000 - AFTER_MS + 1);
    struct env *second = again_at(world, A, 2, 0);
    say(world, A, end_of(second, "hello"));
    hear_answer(world, OWNER, "hello");
    settled(world);
    env_free(&first);
    env_free(&second);
    world_free(world);
}

static void
who_waits_for_a_member_is_not_hedged(void **state)
{
    (void)state;
    struct world *world = started(prepared(1));
    (void)ask(world, OWNER, CHAT);
    hear_and_drop(world, A, ENV_REQUEST);
    pass_ms(world, AFTER_MS / 2);
    goodbye(world, A, "lost");
    pass_ms(world, AFTER_MS);
    hear_nothing(world, OWNER);
    join_target(world, B, "one");
    struct env *again = again_at(world, B, 1, 1);
    say(world, B, end_of(again, "hello"));
    hear_answer(world, OWNER, "hello");
    settled(world);
    env_free(&again);
    world_free(world);
}

/* The second one's target did not even take it: the first one is repeated as if there had been none. */
static void
a_refused_second_one_leaves_the_repeats_of_the_first(void **state)
{
    (void)state;
    struct world *world = prepared(2);
    world->targets[0].retry.attempts = 3;
    world->config.max_attempts = 2;
    world->config.retry_budget.min_per_second = 1;
    struct race race = race_in(world, CHAT);
    say(world, B, error_of(race.second, ERR_UPSTREAM_UNAVAILABLE, 0));
    hear_nothing(world, OWNER);
    say(world, A, failed(race.first, 500, 0));
    struct env *again = again_at(world, A, 2, 1);
    hear_nothing(world, B);
    say(world, A, end_of(again, "hello"));
    struct env *end = hear(world, OWNER, ENV_END);
    assert_int_equal(end->outcome, ENV_OUTCOME_OK);
    assert_true(dyn_slice_is(end->target, "one"));
    assert_int_equal(end->attempts, 2);
    assert_int_equal(end->upstream_calls, 2);
    settled(world);
    env_free(&end);
    env_free(&again);
    race_over(&race);
}

static void
a_failed_second_one_leaves_the_repeats_of_the_first(void **state)
{
    (void)state;
    struct world *world = prepared(2);
    world->targets[0].retry.attempts = 2;
    world->config.retry_budget.min_per_second = 1;
    struct race race = race_in(world, CHAT);
    say(world, B, failed(race.second, 500, 0));
    say(world, A, failed(race.first, 500, 0));
    struct env *again = again_at(world, A, 3, 0);
    say(world, A, end_of(again, "hello"));
    hear_answer(world, OWNER, "hello");
    settled(world);
    env_free(&again);
    race_over(&race);
}

/* ... also when it had won, and broke off before its first content. */
static void
a_winner_that_fails_is_repeated(void **state)
{
    (void)state;
    struct world *world = prepared(2);
    world->targets[0].retry.attempts = 2;
    world->config.retry_budget.min_per_second = 1;
    struct race race = race_in(world, CHAT_STREAM);
    hear_and_drop(world, OWNER, ENV_DISPATCHED);
    say(world, A, chunk_of(race.first, 0, DYN_SLICE("")));
    hear_and_drop(world, OWNER, ENV_CHUNK);
    told_to_stop(world, B, "hedged");
    say(world, B, stopped(race.second));
    say(world, A, failed(race.first, 500, 0));
    struct env *again = again_at(world, A, 3, 0);
    say(world, A, chunk_of(again, 0, DYN_SLICE("data: 1\n\n")));
    say(world, A, end_of(again, NULL));
    hear_and_drop(world, OWNER, ENV_CHUNK);
    struct env *end = hear(world, OWNER, ENV_END);
    assert_int_equal(end->outcome, ENV_OUTCOME_OK);
    settled(world);
    env_free(&end);
    env_free(&again);
    race_over(&race);
}

/* Two tries at one target are two, wherever they were made. */
static void
a_second_one_at_the_same_target_counts_as_a_try(void **state)
{
    (void)state;
    struct world *world = prepared(1);
    world->targets[0].retry.attempts = 2;
    world->config.retry_budget.min_per_second = 1;
    started(world);
    (void)ask(world, OWNER, CHAT);
    struct env *first = hear(world, A, ENV_REQUEST);
    join_target(world, B, "one");
    pass_ms(world, AFTER_MS);
    struct env *second = again_at(world, B, 2, 0);
    say(world, B, failed(second, 500, 0));
    say(world, A, failed(first, 500, 0));
    hear_nothing(world, A);
    hear_nothing(world, B);
    fails_with(world, OWNER, ERR_UPSTREAM_ERROR);
    env_free(&first);
    env_free(&second);
    world_free(world);
}

/* The worker of the second one was lost, or did not take it: another one of its target has it when the first
 * one fails. */
static void
a_second_one_that_nobody_worked_on_has_its_turn_again(void **state)
{
    (void)state;
    for (unsigned lost = 0; lost < 2; lost++) {
        struct race race = race_in(prepared(2), CHAT);
        struct world *world = race.world;
        if (lost) {
            goodbye(world, B, "lost");
        } else {
            say(world, B, error_of(race.second, ERR_DRAINING, 0));
        }
        join_target(world, C, "two");
        hear_nothing(world, C);
        say(world, A, failed(race.first, 500, 0));
        struct env *again = again_at(world, C, 2, 1);
        say(world, C, end_of(again, "hello"));
        struct env *end = hear(world, OWNER, ENV_END);
        assert_true(dyn_slice_is(end->target, "two"));
        assert_int_equal(end->attempts, 2);
        assert_int_equal(end->upstream_calls, 2 + lost);
        settled(world);
        env_free(&end);
        env_free(&again);
        race_over(&race);
    }
}

/* Nobody serves the second target when the time has come. */
static void
a_target_that_was_skipped_still_has_its_turn(void **state)
{
    (void)state;
    struct world *world = prepared(3);
    world_start(world);
    join_target(world, A, "one");
    join_target(world, C, "three");
    (void)ask(world, OWNER, CHAT);
    struct env *first = hear(world, A, ENV_REQUEST);
    pass_ms(world, AFTER_MS);
    struct env *second = again_at(world, C, 2, 0);
    join_target(world, B, "two");
    say(world, A, failed(first, 500, 0));
    say(world, C, failed(second, 500, 0));
    struct env *third = again_at(world, B, 3, 0);
    say(world, B, end_of(third, "hello"));
    hear_answer(world, OWNER, "hello");
    settled(world);
    env_free(&first);
    env_free(&second);
    env_free(&third);
    world_free(world);
}

/* A number is used once: the first one is handed back when the second one has failed. */
static void
attempts_do_not_fall_back(void **state)
{
    (void)state;
    struct race race = race_in(prepared(3), CHAT);
    struct world *world = race.world;
    say(world, B, failed(race.second, 500, 0));
    say(world, A, error_of(race.first, ERR_DRAINING, 0));
    hear_nothing(world, C);
    goodbye(world, B, "close");
    join_target(world, B, "one");
    struct env *again = again_at(world, B, 1, 1);
    say(world, B, failed(again, 500, 0));
    struct env *third = again_at(world, C, 3, 1);
    say(world, C, end_of(third, "hello"));
    struct env *end = hear(world, OWNER, ENV_END);
    assert_int_equal(end->attempts, 3);
    settled(world);
    env_free(&end);
    env_free(&again);
    env_free(&third);
    race_over(&race);
}

/* An owner that loses its router sends to the worker that it heard of last. */
static void
the_owner_knows_who_goes_on(void **state)
{
    (void)state;
    for (unsigned lost = 0; lost < 2; lost++) {
        struct world *world = started(prepared(2));
        struct env *request = request_of(CHAT);
        request->track = true;
        say(world, OWNER, request);
        struct env *first = hear(world, A, ENV_REQUEST);
        pass_ms(world, AFTER_MS);
        struct env *second = hear(world, B, ENV_REQUEST);
        hear_and_drop(world, OWNER, ENV_DISPATCHED);
        hear_and_drop(world, OWNER, ENV_DISPATCHED);
        if (lost) {
            goodbye(world, B, "lost");
        } else {
            say(world, B, failed(second, 500, 0));
        }
        struct env *dispatched = hear(world, OWNER, ENV_DISPATCHED);
        assert_true(dyn_slice_is(dispatched->worker, name_of(A)));
        assert_int_equal(dispatched->worker_attempt, 1);
        say(world, A, end_of(first, "hello"));
        hear_answer(world, OWNER, "hello");
        settled(world);
        env_free(&dispatched);
        env_free(&first);
        env_free(&second);
        world_free(world);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_repeat_that_waits_is_not_hedged),
        cmocka_unit_test(who_waits_for_a_member_is_not_hedged),
        cmocka_unit_test(a_refused_second_one_leaves_the_repeats_of_the_first),
        cmocka_unit_test(a_failed_second_one_leaves_the_repeats_of_the_first),
        cmocka_unit_test(a_winner_that_fails_is_repeated),
        cmocka_unit_test(a_second_one_at_the_same_target_counts_as_a_try),
        cmocka_unit_test(a_second_one_that_nobody_worked_on_has_its_turn_again),
        cmocka_unit_test(a_target_that_was_skipped_still_has_its_turn),
        cmocka_unit_test(attempts_do_not_fall_back),
        cmocka_unit_test(the_owner_knows_who_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
