/* A second attempt while the first one is silent: who wins, what becomes of the other, and what the faults
 * that may come in between lead to. */
#include "tests/unit/router/router_hear.h"

enum { AFTER_MS = 100 };

/* Target "one" is served by worker A, "two" by B, "three" by C. */
static struct world *
prepared(size_t n)
{
    struct world *world = world_new();
    world->n_targets = n;
    for (size_t i = 0; i < n; i++) {
        world->targets[i].retry.attempts = 1;
        world->targets[i].hedge =
            (struct route_hedge){.is_on = true, .after_ms = AFTER_MS, .max_percent = 100};
    }
    walk_all_targets(world);
    return world;
}

static struct world *
started(struct world *world)
{
    static const char *const names[] = {"one", "two", "three"};
    world_start(world);
    for (size_t i = 0; i < world->n_targets; i++) {
        join_target(world, (enum who)(A + i), names[i]);
    }
    return world;
}

struct race {
    struct world *world;
    struct env_id id;
    struct env *first; /* that A got */
    struct env *second;
};

static struct race
race_in(struct world *world, const char *body)
{
    struct race race = {.world = started(world)};
    race.id = ask(world, OWNER, body);
    race.first = hear(world, A, ENV_REQUEST);
    pass_ms(world, AFTER_MS - 1);
    hear_nothing(world, B);
    pass_ms(world, 1);
    race.second = hear(world, B, ENV_REQUEST);
    assert_int_equal(race.first->attempt, 1);
    assert_int_equal(race.second->attempt, 2);
    return race;
}

static void
race_over(struct race *race)
{
    env_free(&race->first);
    env_free(&race->second);
    world_free(race->world);
}

static void
told_to_stop(struct world *world, enum who who, const char *reason)
{
    struct env *cancel = hear(world, who, ENV_CANCEL);
    assert_true(dyn_slice_is(cancel->reason, reason));
    env_free(&cancel);
}

static struct env *
stopped(const struct env *request)
{
    struct env *end = error_of(request, ERR_CLIENT_CLOSED, 1);
    end->outcome = ENV_OUTCOME_CANCELLED;
    end->usage = (struct env_usage){.known = true, .estimated = true, .prompt_tokens = 5};
    return end;
}

static void
settled(struct world *world)
{
    hear_nothing(world, OWNER);
    assert_int_equal(world->impl->requests.n, 0);
    for (size_t i = 0; i < world->impl->members.n_workers; i++) {
        assert_int_equal(world->impl->members.workers[i]->in_flight, 0);
        assert_int_equal(world->impl->members.workers[i]->bytes, 0);
    }
}

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

/* ---- what follows where ---- */

static struct env *
failed(const struct env *request, uint16_t status, uint32_t retry_ms)
{
    struct env *end = error_of(request, ERR_UPSTREAM_ERROR, 1);
    end->upstream_status = status;
    end->retry_ms = retry_ms;
    return end;
}

static struct env *
again_at(struct world *world, enum who who, uint32_t attempt, uint32_t epoch)
{
    struct env *request = hear(world, who, ENV_REQUEST);
    assert_int_equal(request->attempt, attempt);
    assert_int_equal(request->epoch, epoch);
    return request;
}

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
