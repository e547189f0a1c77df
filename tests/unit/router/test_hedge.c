/* A second attempt while the first one is silent: who wins, what becomes of the other, and what the faults
 * that may come in between lead to. */
#include "tests/unit/router/hedge_race.h"

/* ---- who wins ---- */

static void
the_first_one_wins(void **state)
{
    (void)state;
    struct race race = race_in(prepared(2), CHAT);
    struct world *world = race.world;
    say(world, A, end_of(race.first, "hello"));
    struct env *end = hear(world, OWNER, ENV_END);
    assert_true(dyn_slice_is(end->target, "one"));
    assert_int_equal(end->attempts, 2);
    assert_int_equal(end->upstream_calls, 2); /* the loser's counts, though it has not said so yet */
    told_to_stop(world, B, "hedged");
    assert_int_equal(world->impl->requests.n, 1);
    say(world, B, stopped(race.second));
    settled(world);
    env_free(&end);
    race_over(&race);
}

static void
the_second_one_wins(void **state)
{
    (void)state;
    struct race race = race_in(prepared(2), CHAT_STREAM);
    struct world *world = race.world;
    hear_and_drop(world, OWNER, ENV_DISPATCHED);
    say(world, B, chunk_of(race.second, 0, DYN_SLICE("data: 1\n\n")));
    struct env *chunk = hear(world, OWNER, ENV_CHUNK);
    assert_true(dyn_slice_is(chunk->target, "two"));
    told_to_stop(world, A, "hedged");
    say(world, A, chunk_of(race.first, 0, DYN_SLICE("data: late\n\n"))); /* it crossed the CANCEL */
    hear_nothing(world, OWNER);
    say(world, A, stopped(race.first));
    hear_nothing(world, OWNER);
    say(world, B, end_of(race.second, NULL));
    struct env *end = hear(world, OWNER, ENV_END);
    assert_int_equal(end->outcome, ENV_OUTCOME_OK);
    assert_int_equal(end->upstream_calls, 2);
    settled(world);
    env_free(&chunk);
    env_free(&end);
    race_over(&race);
}

/* It was done when it was told to stop. */
static void
a_loser_may_end_well(void **state)
{
    (void)state;
    struct race race = race_in(prepared(2), CHAT);
    say(race.world, B, end_of(race.second, "from two"));
    hear_answer(race.world, OWNER, "from two");
    told_to_stop(race.world, A, "hedged");
    say(race.world, A, end_of(race.first, "from one"));
    settled(race.world);
    race_over(&race);
}

static void
a_loser_that_says_nothing_is_not_waited_for(void **state)
{
    (void)state;
    struct race race = race_in(prepared(2), CHAT);
    say(race.world, B, end_of(race.second, "from two"));
    hear_answer(race.world, OWNER, "from two");
    told_to_stop(race.world, A, "hedged");
    pass_ms(race.world, ROUTE_CANCEL_GRACE_MS);
    settled(race.world);
    say(race.world, A, stopped(race.first)); /* much too late */
    settled(race.world);
    race_over(&race);
}

/* ---- failures ---- */

static void
one_that_fails_leaves_it_to_the_other(void **state)
{
    (void)state;
    for (unsigned second_fails = 0; second_fails < 2; second_fails++) {
        struct race race = race_in(prepared(3), CHAT);
        enum who bad = second_fails ? B : A;
        enum who good = second_fails ? A : B;
        say(race.world, bad, error_of(second_fails ? race.second : race.first, ERR_UPSTREAM_ERROR, 1));
        hear_nothing(race.world, OWNER);
        hear_nothing(race.world, C);
        say(race.world, good, end_of(second_fails ? race.first : race.second, "hello"));
        hear_answer(race.world, OWNER, "hello");
        hear_nothing(race.world, bad);
        settled(race.world);
        race_over(&race);
    }
}

static void
when_both_fail_the_next_target_has_its_turn(void **state)
{
    (void)state;
    for (unsigned second_first = 0; second_first < 2; second_first++) {
        struct race race = race_in(prepared(3), CHAT);
        for (unsigned i = 0; i < 2; i++) {
            bool is_second = second_first ^ (i == 1);
            say(race.world, is_second ? B : A,
                error_of(is_second ? race.second : race.first, ERR_UPSTREAM_ERROR, 1));
        }
        struct env *third = hear(race.world, C, ENV_REQUEST);
        assert_int_equal(third->attempt, 3);
        say(race.world, C, end_of(third, "hello"));
        hear_answer(race.world, OWNER, "hello");
        settled(race.world);
        env_free(&third);
        race_over(&race);
    }
}

static void
when_both_fail_and_nobody_is_left_the_last_error_is_told(void **state)
{
    (void)state;
    struct race race = race_in(prepared(2), CHAT);
    say(race.world, A, error_of(race.first, ERR_UPSTREAM_RATE_LIMIT, 1));
    say(race.world, B, error_of(race.second, ERR_UPSTREAM_TIMEOUT, 1));
    struct env *end = hear_error(race.world, OWNER, ERR_UPSTREAM_TIMEOUT);
    assert_int_equal(end->upstream_calls, 2);
    assert_true(dyn_slice_is(end->target, "two"));
    settled(race.world);
    env_free(&end);
    race_over(&race);
}

static void
what_is_wrong_anywhere_ends_both(void **state)
{
    (void)state;
    struct race race = race_in(prepared(3), CHAT);
    say(race.world, A, error_of(race.first, ERR_UPSTREAM_INVALID, 1));
    struct env *end = hear(race.world, OWNER, ENV_END);
    assert_int_equal(end->error, ERR_UPSTREAM_INVALID);
    told_to_stop(race.world, B, "hedged");
    say(race.world, B, stopped(race.second));
    hear_nothing(race.world, C);
    settled(race.world);
    env_free(&end);
    race_over(&race);
}

/* The first CHUNK of the one whose time was over crossed the CANCEL: that is no answer to wait for. */
static void
what_was_told_to_stop_does_not_win(void **state)
{
    (void)state;
    struct race race = race_in(prepared(2), CHAT_STREAM);
    struct world *world = race.world;
    hear_and_drop(world, OWNER, ENV_DISPATCHED);
    pass_ms(world, TIMEOUT_MS / 2);
    told_to_stop(world, A, "attempt");
    say(world, A, chunk_of(race.first, 0, DYN_SLICE("data: late\n\n")));
    hear_nothing(world, OWNER);
    hear_nothing(world, B);
    say(world, A, stopped(race.first));
    say(world, B, chunk_of(race.second, 0, DYN_SLICE("data: 1\n\n")));
    struct env *chunk = hear(world, OWNER, ENV_CHUNK);
    assert_true(dyn_slice_is(chunk->target, "two"));
    say(world, B, end_of(race.second, NULL));
    struct env *end = hear(world, OWNER, ENV_END);
    assert_int_equal(end->outcome, ENV_OUTCOME_OK);
    assert_int_equal(end->upstream_calls, 2);
    settled(world);
    env_free(&chunk);
    env_free(&end);
    race_over(&race);
}

/* ---- ends that come from outside ---- */

static void
cancel_ends_both(void **state)
{
    (void)state;
    struct race race = race_in(prepared(2), CHAT);
    about(race.world, OWNER, ENV_CANCEL, race.id, 0);
    told_to_stop(race.world, A, "client");
    told_to_stop(race.world, B, "client");
    say(race.world, B, stopped(race.second));
    hear_nothing(race.world, OWNER);
    say(race.world, A, stopped(race.first));
    struct env *end = hear_error(race.world, OWNER, ERR_CLIENT_CLOSED);
    assert_int_equal(end->upstream_calls, 2);
    settled(race.world);
    env_free(&end);
    race_over(&race);
}

static void
the_deadline_ends_both(void **state)
{
    (void)state;
    struct race race = race_in(prepared(2), CHAT);
    pass_ms(race.world, TIMEOUT_MS);
    hear_and_drop(race.world, A, ENV_CANCEL);
    hear_and_drop(race.world, B, ENV_CANCEL);
    pass_ms(race.world, ROUTE_CANCEL_GRACE_MS);
    pass_ms(race.world, 1); /* the first one is not waited for any more ... */
    pass_ms(race.world, 1); /* ... and then the second one */
    struct env *end = hear_error(race.world, OWNER, ERR_GATEWAY_TIMEOUT);
    settled(race.world);
    env_free(&end);
    race_over(&race);
}

static void
an_owner_that_leaves_ends_both(void **state)
{
    (void)state;
    struct race race = race_in(prepared(2), CHAT);
    goodbye(race.world, OWNER, "lost");
    told_to_stop(race.world, A, "owner");
    told_to_stop(race.world, B, "owner");
    say(race.world, A, stopped(race.first));
    say(race.world, B, stopped(race.second));
    settled(race.world);
    race_over(&race);
}

/* ---- workers that are lost ---- */

static void
a_lost_worker_leaves_it_to_the_other(void **state)
{
    (void)state;
    for (unsigned second_lost = 0; second_lost < 2; second_lost++) {
        struct race race = race_in(prepared(3), CHAT);
        goodbye(race.world, second_lost ? B : A, "lost");
        hear_nothing(race.world, C);
        enum who left = second_lost ? A : B;
        say(race.world, left, end_of(second_lost ? race.first : race.second, "hello"));
        struct env *end = hear(race.world, OWNER, ENV_END);
        assert_int_equal(end->outcome, ENV_OUTCOME_OK);
        assert_int_equal(end->upstream_calls, 2);
        assert_int_equal(end->redelivered, 0);
        settled(race.world);
        env_free(&end);
        race_over(&race);
    }
}

static void
when_both_are_lost_it_is_sent_again(void **state)
{
    (void)state;
    struct race race = race_in(prepared(2), CHAT);
    goodbye(race.world, A, "lost");
    goodbye(race.world, B, "lost");
    join_target(race.world, C, "two");
    struct env *again = hear(race.world, C, ENV_REQUEST);
    assert_int_equal(again->attempt, 2);
    assert_int_equal(again->epoch, 1);
    say(race.world, C, end_of(again, "hello"));
    struct env *end = hear(race.world, OWNER, ENV_END);
    assert_int_equal(end->redelivered, 1);
    assert_int_equal(end->upstream_calls, 3);
    settled(race.world);
    env_free(&end);
    env_free(&again);
    race_over(&race);
}

static void
a_loser_that_is_lost_is_over(void **state)
{
    (void)state;
    struct race race = race_in(prepared(2), CHAT);
    say(race.world, B, end_of(race.second, "from two"));
    hear_answer(race.world, OWNER, "from two");
    goodbye(race.world, A, "lost");
    settled(race.world);
    race_over(&race);
}

/* The winner was lost before its first content, nobody else serves its target, and the loser has not ended
 * yet: the request waits for a member when its client leaves. */
static struct race
over_while_it_waits(void)
{
    struct race race = race_in(prepared(2), CHAT_STREAM);
    struct world *world = race.world;
    hear_and_drop(world, OWNER, ENV_DISPATCHED);
    say(world, B, chunk_of(race.second, 0, DYN_SLICE("")));
    hear_and_drop(world, OWNER, ENV_CHUNK);
    told_to_stop(world, A, "hedged");
    goodbye(world, B, "lost");
    hear_nothing(world, OWNER);
    about(world, OWNER, ENV_CANCEL, race.id, 0);
    struct env *end = hear(world, OWNER, ENV_END);
    assert_int_equal(end->error, ERR_CLIENT_CLOSED);
    assert_int_equal(world->impl->requests.n, 1);
    env_free(&end);
    return race;
}

static void
what_is_over_does_not_end_again_when_somebody_joins(void **state)
{
    (void)state;
    struct race race = over_while_it_waits();
    join_target(race.world, C, "two");
    hear_nothing(race.world, C);
    hear_nothing(race.world, OWNER);
    say(race.world, A, stopped(race.first));
    settled(race.world);
    race_over(&race);
}

static void
what_is_over_does_not_end_again_under_another_plan(void **state)
{
    (void)state;
    struct race race = over_while_it_waits();
    router_apply(race.world->impl, race.world->impl->options.plan, race.world->addrs);
    turn(race.world);
    hear_nothing(race.world, OWNER);
    say(race.world, A, stopped(race.first));
    settled(race.world);
    race_over(&race);
}

/* ---- credit ---- */

static void
what_the_owner_grants_both_may_use(void **state)
{
    (void)state;
    struct race race = race_in(prepared(2), CHAT_STREAM);
    about(race.world, OWNER, ENV_CREDIT, race.id, 1000);
    struct env *one = hear(race.world, A, ENV_CREDIT);
    struct env *two = hear(race.world, B, ENV_CREDIT);
    assert_int_equal(one->credit, 1000);
    assert_int_equal(one->attempt, 1);
    assert_int_equal(two->credit, 1000);
    assert_int_equal(two->attempt, 2);
    say(race.world, B, chunk_of(race.second, 0, DYN_SLICE("data: 1\n\n")));
    hear_and_drop(race.world, A, ENV_CANCEL);
    about(race.world, OWNER, ENV_CREDIT, race.id, 7);
    hear_nothing(race.world, A);
    hear_and_drop(race.world, B, ENV_CREDIT);
    env_free(&one);
    env_free(&two);
    race_over(&race);
}

/* ---- when there is none ---- */

static void
nobody_else_hears(struct world *world)
{
    (void)ask(world, OWNER, CHAT);
    hear_and_drop(world, A, ENV_REQUEST);
    pass_ms(world, 10 * AFTER_MS);
    hear_nothing(world, A);
    hear_nothing(world, B);
    hear_nothing(world, C);
    world_free(world);
}

static void
who_may_not_be_sent_again_is_not_sent_twice(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct world *world = prepared(2);
        world->targets[0].redeliver = i == 0 ? ROUTE_REDELIVER_NEVER : ROUTE_REDELIVER_UNSENT;
        nobody_else_hears(started(world));
    }
}

/* ... nor is it the second of two; who comes after it may be. */
static void
who_may_not_be_sent_again_is_no_second_one(void **state)
{
    (void)state;
    for (unsigned n = 2; n <= 3; n++) {
        struct world *world = prepared(n);
        world->targets[1].redeliver = n == 2 ? ROUTE_REDELIVER_NEVER : ROUTE_REDELIVER_UNSENT;
        if (n == 2) {
            nobody_else_hears(started(world));
            continue;
        }
        started(world);
        (void)ask(world, OWNER, CHAT);
        struct env *first = hear(world, A, ENV_REQUEST);
        pass_ms(world, AFTER_MS);
        hear_nothing(world, B);
        struct env *second = hear(world, C, ENV_REQUEST);
        say(world, C, failed(second, 500, 0));
        say(world, A, failed(first, 500, 0));
        hear_and_drop(world, B, ENV_REQUEST); /* alone it may have it */
        env_free(&first);
        env_free(&second);
        world_free(world);
    }
}

/* It knows a call by the request's id, and would end the first one for the second. */
static void
one_worker_does_not_get_it_twice(void **state)
{
    (void)state;
    struct world *world = prepared(2);
    struct ready_target both[] = {{.name = DYN_SLICE("one"), .any_model = true},
                                  {.name = DYN_SLICE("two"), .any_model = true}};
    world_start(world);
    say(world, A, ready_of("worker-a", both, 2));
    nobody_else_hears(world);
}

static void
an_answer_that_has_begun_is_not_raced(void **state)
{
    (void)state;
    struct world *world = started(prepared(2));
    (void)ask(world, OWNER, CHAT_STREAM);
    struct env *first = hear(world, A, ENV_REQUEST);
    say(world, A, chunk_of(first, 0, DYN_SLICE("data: 1\n\n")));
    pass_ms(world, 10 * AFTER_MS);
    hear_nothing(world, B);
    env_free(&first);
    world_free(world);
}

static void
hedges_are_a_share_of_requests(void **state)
{
    (void)state;
    struct world *world = prepared(2);
    world->targets[0].hedge.max_percent = 5;
    started(world);
    unsigned hedged = 0;
    for (unsigned i = 0; i < 40; i++) {
        (void)ask(world, OWNER, CHAT);
        struct env *first = hear(world, A, ENV_REQUEST);
        pass_ms(world, AFTER_MS);
        struct env *second = heard(world, B);
        say(world, A, end_of(first, "hello"));
        if (second != NULL) {
            hedged++;
            hear_and_drop(world, B, ENV_CANCEL);
            say(world, B, stopped(second));
        }
        hear_answer(world, OWNER, "hello");
        env_free(&first);
        env_free(&second);
    }
    assert_int_equal(hedged, 2);
    settled(world);
    world_free(world);
}

static void
another_member_of_the_only_target_will_do(void **state)
{
    (void)state;
    struct world *world = started(prepared(1));
    join_target(world, B, "one");
    (void)ask(world, OWNER, CHAT);
    enum who first_at = world->impl->members.workers[0]->in_flight > 0 ? A : B;
    enum who second_at = first_at == A ? B : A;
    struct env *first = hear(world, first_at, ENV_REQUEST);
    pass_ms(world, AFTER_MS);
    struct env *second = hear(world, second_at, ENV_REQUEST);
    assert_int_equal(second->attempt, 2);
    say(world, second_at, end_of(second, "hello"));
    hear_answer(world, OWNER, "hello");
    say(world, first_at, stopped(first));
    settled(world);
    env_free(&first);
    env_free(&second);
    world_free(world);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_one_wins),
        cmocka_unit_test(the_second_one_wins),
        cmocka_unit_test(a_loser_may_end_well),
        cmocka_unit_test(a_loser_that_says_nothing_is_not_waited_for),
        cmocka_unit_test(one_that_fails_leaves_it_to_the_other),
        cmocka_unit_test(when_both_fail_the_next_target_has_its_turn),
        cmocka_unit_test(when_both_fail_and_nobody_is_left_the_last_error_is_told),
        cmocka_unit_test(what_is_wrong_anywhere_ends_both),
        cmocka_unit_test(what_was_told_to_stop_does_not_win),
        cmocka_unit_test(cancel_ends_both),
        cmocka_unit_test(the_deadline_ends_both),
        cmocka_unit_test(an_owner_that_leaves_ends_both),
        cmocka_unit_test(a_lost_worker_leaves_it_to_the_other),
        cmocka_unit_test(when_both_are_lost_it_is_sent_again),
        cmocka_unit_test(a_loser_that_is_lost_is_over),
        cmocka_unit_test(what_is_over_does_not_end_again_when_somebody_joins),
        cmocka_unit_test(what_is_over_does_not_end_again_under_another_plan),
        cmocka_unit_test(what_the_owner_grants_both_may_use),
        cmocka_unit_test(who_may_not_be_sent_again_is_not_sent_twice),
        cmocka_unit_test(who_may_not_be_sent_again_is_no_second_one),
        cmocka_unit_test(one_worker_does_not_get_it_twice),
        cmocka_unit_test(an_answer_that_has_begun_is_not_raced),
        cmocka_unit_test(hedges_are_a_share_of_requests),
        cmocka_unit_test(another_member_of_the_only_target_will_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
