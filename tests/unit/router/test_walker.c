/* The walker over several targets: when it goes on, how long an attempt may take, what is told at the end. */
#include "tests/unit/router/router_hear.h"

/* Target "one" is served here, "two" by worker A and "three" by worker B. */
static struct world *
with_targets(size_t n)
{
    static const char *const names[] = {"one", "two", "three"};
    struct world *world = world_new();
    world->n_targets = n;
    serve_here(world);
    world_start(world);
    walk_all_targets(world);
    for (size_t i = 1; i < n; i++) {
        join_target(world, (enum who)(A + i - 1), names[i]);
    }
    return world;
}

static void
an_error_that_may_be_mended_leads_to_the_next_target(void **state)
{
    (void)state;
    struct world *world = with_targets(3);
    (void)ask(world, OWNER, CHAT);
    struct env *first = hear(world, HERE, ENV_REQUEST);
    assert_int_equal(first->attempts_left, 4);
    say(world, HERE, error_of(first, ERR_UPSTREAM_ERROR, 1));
    struct env *second = hear(world, A, ENV_REQUEST);
    assert_int_equal(second->attempt, 2);
    assert_int_equal(second->epoch, 0);
    assert_true(dyn_slice_is(second->target, "two"));
    say(world, A, error_of(second, ERR_UPSTREAM_TIMEOUT, 1));
    struct env *third = hear(world, B, ENV_REQUEST);
    assert_int_equal(third->attempt, 3);
    say(world, B, end_of(third, "hello"));
    struct env *end = hear(world, OWNER, ENV_END);
    assert_int_equal(end->outcome, ENV_OUTCOME_OK);
    assert_int_equal(end->attempts, 3);
    assert_int_equal(end->upstream_calls, 3);
    assert_int_equal(end->redelivered, 0);
    assert_true(dyn_slice_is(end->target, "three"));
    env_free(&end);
    env_free(&first);
    env_free(&second);
    env_free(&third);
    world_free(world);
}

static void
the_clients_own_mistake_is_not_tried_elsewhere(void **state)
{
    (void)state;
    struct world *world = with_targets(3);
    (void)ask(world, OWNER, CHAT);
    struct env *first = hear(world, HERE, ENV_REQUEST);
    say(world, HERE, error_of(first, ERR_UPSTREAM_INVALID, 1));
    hear_nothing(world, A);
    fails_with(world, OWNER, ERR_UPSTREAM_INVALID);
    env_free(&first);
    world_free(world);
}

/* ... whose own words they are, and how long to wait. */
static void
the_last_error_is_the_answer(void **state)
{
    (void)state;
    struct world *world = with_targets(2);
    (void)ask(world, OWNER, CHAT);
    struct env *first = hear(world, HERE, ENV_REQUEST);
    say(world, HERE, error_of(first, ERR_UPSTREAM_ERROR, 1));
    struct env *second = hear(world, A, ENV_REQUEST);
    struct env *error = error_of(second, ERR_UPSTREAM_RATE_LIMIT, 1);
    error->retry_after_s = 7;
    error->error_text = DYN_SLICE("slow down");
    say(world, A, error);
    struct env *end = hear_error(world, OWNER, ERR_UPSTREAM_RATE_LIMIT);
    assert_int_equal(end->retry_after_s, 7);
    assert_int_equal(end->upstream_calls, 2);
    assert_int_equal(end->attempts, 2);
    assert_true(dyn_slice_is(end->error_text, "slow down"));
    env_free(&end);
    env_free(&first);
    env_free(&second);
    world_free(world);
}

/* ... also when there was nobody at the others. */
static void
an_error_says_more_than_that_nobody_was_there(void **state)
{
    (void)state;
    struct world *world = with_targets(2);
    goodbye(world, A, "lost");
    (void)ask(world, OWNER, CHAT);
    struct env *first = hear(world, HERE, ENV_REQUEST);
    say(world, HERE, error_of(first, ERR_UPSTREAM_ERROR, 1));
    pass_ms(world, WAIT_MS);
    fails_with(world, OWNER, ERR_UPSTREAM_ERROR);
    env_free(&first);
    world_free(world);
}

static void
the_budget_ends_the_walk(void **state)
{
    (void)state;
    for (unsigned by_request = 0; by_request < 2; by_request++) {
        struct world *world = with_targets(3);
        struct env *request = request_of(CHAT);
        world->impl->options.plan->max_attempts = by_request ? 5 : 2;
        request->attempts_left = by_request ? 2 : 0;
        say(world, OWNER, request);
        struct env *first = hear(world, HERE, ENV_REQUEST);
        assert_int_equal(first->attempts_left, 1);
        say(world, HERE, error_of(first, ERR_UPSTREAM_ERROR, 1));
        struct env *second = hear(world, A, ENV_REQUEST);
        assert_int_equal(second->attempts_left, 0);
        say(world, A, error_of(second, ERR_UPSTREAM_ERROR, 1));
        hear_nothing(world, B);
        fails_with(world, OWNER, ERR_UPSTREAM_ERROR);
        env_free(&first);
        env_free(&second);
        world_free(world);
    }
}

/* A loss is nobody's failure: it uses up no attempt, and the walk goes on where it was. */
static void
a_lost_worker_uses_up_no_attempt(void **state)
{
    (void)state;
    struct world *world = with_targets(3);
    world->impl->options.plan->max_attempts = 2;
    (void)ask(world, OWNER, CHAT);
    struct env *first = hear(world, HERE, ENV_REQUEST);
    say(world, HERE, error_of(first, ERR_UPSTREAM_ERROR, 1));
    hear_and_drop(world, A, ENV_REQUEST);
    join_target(world, C, "two");
    goodbye(world, A, "lost");
    struct env *third = hear(world, C, ENV_REQUEST);
    assert_int_equal(third->attempt, 2);
    assert_int_equal(third->epoch, 1);
    say(world, C, end_of(third, "hello"));
    struct env *end = hear(world, OWNER, ENV_END);
    assert_int_equal(end->attempts, 2);
    assert_int_equal(end->upstream_calls, 3);
    assert_int_equal(end->redelivered, 1);
    env_free(&end);
    env_free(&first);
    env_free(&third);
    world_free(world);
}

/* A target that nobody serves is passed over after a wait, and was no attempt. */
static void
a_target_without_workers_is_passed_over(void **state)
{
    (void)state;
    struct world *world = world_new();
    world->n_targets = 2;
    world_start(world);
    walk_all_targets(world);
    join_target(world, A, "two");
    (void)ask(world, OWNER, CHAT);
    hear_nothing(world, A);
    pass_ms(world, WAIT_MS);
    struct env *request = hear(world, A, ENV_REQUEST);
    assert_int_equal(request->attempt, 1);
    env_free(&request);
    world_free(world);
}

/* Its owner's former router had repeated it at one target, more often than there may be targets; also a
 * number that is out of all reason is one target more. */
static void
who_was_tried_often_is_sent_once_more(void **state)
{
    (void)state;
    static const uint32_t tried[] = {6, 40, UINT32_MAX};
    for (size_t i = 0; i < DYN_ARRAY_LEN(tried); i++) {
        struct world *world = with_targets(3);
        struct env *request = request_of(CHAT);
        request->worker = DYN_SLICE("worker-x");
        request->worker_attempt = tried[i];
        say(world, OWNER, request);
        struct env *first = hear(world, HERE, ENV_REQUEST);
        assert_in_range(first->attempt, 6, tried[i]);
        say(world, HERE, error_of(first, ERR_UPSTREAM_ERROR, 1));
        hear_nothing(world, A);
        fails_with(world, OWNER, ERR_UPSTREAM_ERROR);
        env_free(&first);
        world_free(world);
    }
}

/* `single` names one target: nothing leads away from it. */
static void
single_stays_with_its_target(void **state)
{
    (void)state;
    struct world *world = with_targets(2);
    world->impl->options.plan->strategy = &route_strategy_single;
    (void)ask(world, OWNER, CHAT);
    struct env *first = hear(world, HERE, ENV_REQUEST);
    assert_int_equal(first->deadline_ms, TIMEOUT_MS);
    say(world, HERE, error_of(first, ERR_UPSTREAM_ERROR, 1));
    hear_nothing(world, A);
    fails_with(world, OWNER, ERR_UPSTREAM_ERROR);
    env_free(&first);
    world_free(world);
}

/* ---- time ---- */

static void
an_attempt_has_its_share_of_the_time(void **state)
{
    (void)state;
    struct world *world = with_targets(3);
    (void)ask(world, OWNER, CHAT);
    struct env *first = hear(world, HERE, ENV_REQUEST);
    assert_int_equal(first->deadline_ms, TIMEOUT_MS / 3);
    pass_ms(world, TIMEOUT_MS / 3 - 1);
    hear_nothing(world, HERE);
    pass_ms(world, 1);
    hear_and_drop(world, HERE, ENV_CANCEL);
    struct env *cancelled = error_of(first, ERR_CLIENT_CLOSED, 1);
    cancelled->outcome = ENV_OUTCOME_CANCELLED;
    say(world, HERE, cancelled);
    struct env *second = hear(world, A, ENV_REQUEST);
    assert_int_equal(second->attempt, 2);
    assert_int_equal(second->deadline_ms, TIMEOUT_MS / 3);
    pass_ms(world, TIMEOUT_MS / 3);
    hear_and_drop(world, A, ENV_CANCEL);
    pass_ms(world, ROUTE_CANCEL_GRACE_MS + 1); /* it does not even answer that */
    struct env *third = hear(world, B, ENV_REQUEST);
    assert_in_range(third->deadline_ms, TIMEOUT_MS / 3 - ROUTE_CANCEL_GRACE_MS - 10, TIMEOUT_MS / 3);
    pass_ms(world, TIMEOUT_MS / 3);
    hear_and_drop(world, B, ENV_CANCEL);
    pass_ms(world, ROUTE_CANCEL_GRACE_MS + 1);
    struct env *end = hear_error(world, OWNER, ERR_GATEWAY_TIMEOUT);
    assert_int_equal(end->upstream_calls, 3);
    env_free(&end);
    env_free(&first);
    env_free(&second);
    env_free(&third);
    world_free(world);
}

static void
an_attempt_that_ran_out_of_time_says_so(void **state)
{
    (void)state;
    struct world *world = with_targets(2);
    world->impl->options.plan->max_attempts = 2;
    (void)ask(world, OWNER, CHAT);
    hear_and_drop(world, HERE, ENV_REQUEST);
    goodbye(world, A, "lost");
    pass_ms(world, TIMEOUT_MS / 2);
    hear_and_drop(world, HERE, ENV_CANCEL);
    pass_ms(world, ROUTE_CANCEL_GRACE_MS + 1);
    pass_ms(world, WAIT_MS + 1);
    fails_with(world, OWNER, ERR_UPSTREAM_TIMEOUT);
    world_free(world);
}

/* While an attempt that took too long is being ended, its CANCEL not answered yet. */
static struct world *
with_a_late_attempt(struct env_id *id, struct env **late)
{
    struct world *world = with_targets(2);
    *id = ask(world, OWNER, CHAT);
    *late = hear(world, HERE, ENV_REQUEST);
    pass_ms(world, TIMEOUT_MS / 2);
    hear_and_drop(world, HERE, ENV_CANCEL);
    return world;
}

/* The provider answers its CANCEL, and nobody else is asked. */
static void
nobody_else_is_asked(struct world *world, struct env **late_p)
{
    say(world, HERE, error_of(*late_p, ERR_CLIENT_CLOSED, 1));
    env_free(late_p);
    hear_nothing(world, A);
    assert_int_equal(world->impl->requests.n, 0);
}

static void
a_late_attempt_is_not_followed_when_the_client_leaves(void **state)
{
    (void)state;
    struct env_id id;
    struct env *late;
    struct world *world = with_a_late_attempt(&id, &late);
    struct env *cancel = env_new(ENV_CANCEL);
    cancel->id = id;
    say(world, OWNER, cancel);
    nobody_else_is_asked(world, &late);
    struct env *end = hear_error(world, OWNER, ERR_CLIENT_CLOSED);
    assert_int_equal(end->outcome, ENV_OUTCOME_CANCELLED);
    assert_int_equal(end->upstream_calls, 1);
    env_free(&end);
    world_free(world);
}

static void
a_late_attempt_is_not_followed_when_the_owner_is_lost(void **state)
{
    (void)state;
    struct env_id id;
    struct env *late;
    struct world *world = with_a_late_attempt(&id, &late);
    goodbye(world, OWNER, "lost");
    nobody_else_is_asked(world, &late);
    world_free(world);
}

/* All of its answer crossed the CANCEL, in pieces that were dropped: what is left is none. */
static void
a_late_answer_in_pieces_is_not_taken(void **state)
{
    (void)state;
    struct world *world = with_targets(2);
    (void)ask(world, OWNER, CHAT_STREAM);
    struct env *first = hear(world, HERE, ENV_REQUEST);
    hear_and_drop(world, OWNER, ENV_DISPATCHED);
    pass_ms(world, TIMEOUT_MS / 2);
    hear_and_drop(world, HERE, ENV_CANCEL);
    say(world, HERE, chunk_of(first, 0, DYN_SLICE("data: x\n\n")));
    say(world, HERE, end_of(first, NULL));
    hear_nothing(world, OWNER);
    struct env *second = hear(world, A, ENV_REQUEST);
    say(world, A, chunk_of(second, 0, DYN_SLICE("data: y\n\n")));
    say(world, A, end_of(second, NULL));
    hear_and_drop(world, OWNER, ENV_CHUNK);
    struct env *end = hear(world, OWNER, ENV_END);
    assert_int_equal(end->outcome, ENV_OUTCOME_OK);
    assert_true(dyn_slice_is(end->target, "two"));
    assert_int_equal(end->upstream_calls, 2);
    env_free(&end);
    env_free(&first);
    env_free(&second);
    world_free(world);
}

/* ... one that came as a whole is. */
static void
a_late_answer_that_is_whole_is_taken(void **state)
{
    (void)state;
    struct env_id id;
    struct env *late;
    struct world *world = with_a_late_attempt(&id, &late);
    say(world, HERE, end_of(late, "hello"));
    hear_nothing(world, A);
    hear_answer(world, OWNER, "hello");
    env_free(&late);
    world_free(world);
}

/* The timer of a wait in vain was the request's only one. */
static void
a_deadline_holds_behind_a_wait_in_vain(void **state)
{
    (void)state;
    struct world *world = world_new();
    world->n_targets = 2;
    world_start(world);
    walk_all_targets(world);
    join_target(world, A, "two");
    (void)ask(world, OWNER, CHAT);
    pass_ms(world, WAIT_MS);
    hear_and_drop(world, A, ENV_REQUEST);
    pass_ms(world, TIMEOUT_MS - WAIT_MS + 1);
    struct env *cancel = hear(world, A, ENV_CANCEL);
    assert_true(dyn_slice_is(cancel->reason, "deadline"));
    pass_ms(world, ROUTE_CANCEL_GRACE_MS + 1);
    fails_with(world, OWNER, ERR_GATEWAY_TIMEOUT);
    env_free(&cancel);
    world_free(world);
}

static void
no_attempt_has_less_than_a_second(void **state)
{
    (void)state;
    struct world *world = with_targets(3);
    struct env *request = request_of(CHAT);
    request->deadline_ms = 1500;
    say(world, OWNER, request);
    struct env *first = hear(world, HERE, ENV_REQUEST);
    assert_int_equal(first->deadline_ms, 1000);
    env_free(&first);
    world_free(world);
}

/* A stream is bounded to its first content, a plain answer to its end. */
static void
a_begun_stream_has_all_the_time(void **state)
{
    (void)state;
    struct world *world = with_targets(2);
    (void)ask(world, OWNER, CHAT_STREAM);
    struct env *first = hear(world, HERE, ENV_REQUEST);
    say(world, HERE, chunk_of(first, 0, DYN_SLICE("data: x\n\n")));
    pass_ms(world, 10 * (uint64_t)TIMEOUT_MS);
    hear_nothing(world, HERE);
    say(world, HERE, end_of(first, NULL));
    hear_and_drop(world, OWNER, ENV_DISPATCHED);
    hear_and_drop(world, OWNER, ENV_CHUNK);
    struct env *end = hear(world, OWNER, ENV_END);
    assert_int_equal(end->outcome, ENV_OUTCOME_OK);
    assert_int_equal(end->status, 200);
    env_free(&end);
    env_free(&first);
    world_free(world);
}

/* ---- members of this process ---- */

/* Those of the target share the work with workers; a full one is no reason to fail. */
static void
a_target_may_be_served_here_and_elsewhere(void **state)
{
    (void)state;
    struct world *world = with_targets(1);
    join_target(world, A, "one");
    (void)ask(world, OWNER, CHAT);
    (void)ask(world, OWNER, CHAT);
    hear_and_drop(world, HERE, ENV_REQUEST);
    struct env *theirs = hear(world, A, ENV_REQUEST);
    goodbye(world, A, "lost");
    struct env *again = hear(world, HERE, ENV_REQUEST);
    assert_true(env_id_eq(&again->id, &theirs->id));
    env_free(&theirs);
    env_free(&again);
    world_free(world);
}

static void
metrics_are_asked_once_the_key_is_right(void **state)
{
    (void)state;
    struct world *world = world_new();
    serve_here(world);
    world->shared.admission = (struct admission){.master_key = DYN_SLICE("sk-right")};
    world_start(world);
    struct env *stranger = request_of("");
    stranger->surface = ENV_SURFACE_METRICS;
    say(world, OWNER, stranger);
    hear_nothing(world, METRICS);
    fails_with(world, OWNER, ERR_MISSING_API_KEY);
    struct env *request = request_of("");
    request->surface = ENV_SURFACE_METRICS;
    request->credential = DYN_SLICE("sk-right");
    say(world, OWNER, request);
    struct env *asked = hear(world, METRICS, ENV_REQUEST);
    assert_int_equal(asked->surface, ENV_SURFACE_METRICS);
    assert_null(asked->credential.data);
    say(world, METRICS, end_of(asked, "dynabus_up 1\n"));
    hear_answer(world, OWNER, "dynabus_up 1\n");
    env_free(&asked);
    world_free(world);
}

static void
where_nobody_counts_there_are_no_metrics(void **state)
{
    (void)state;
    struct world *world = world_new();
    world_start(world);
    struct env *request = request_of("");
    request->surface = ENV_SURFACE_METRICS;
    say(world, OWNER, request);
    fails_with(world, OWNER, ERR_NOT_FOUND);
    world_free(world);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_that_may_be_mended_leads_to_the_next_target),
        cmocka_unit_test(the_clients_own_mistake_is_not_tried_elsewhere),
        cmocka_unit_test(the_last_error_is_the_answer),
        cmocka_unit_test(an_error_says_more_than_that_nobody_was_there),
        cmocka_unit_test(the_budget_ends_the_walk),
        cmocka_unit_test(a_lost_worker_uses_up_no_attempt),
        cmocka_unit_test(a_target_without_workers_is_passed_over),
        cmocka_unit_test(who_was_tried_often_is_sent_once_more),
        cmocka_unit_test(single_stays_with_its_target),
        cmocka_unit_test(an_attempt_has_its_share_of_the_time),
        cmocka_unit_test(an_attempt_that_ran_out_of_time_says_so),
        cmocka_unit_test(a_late_attempt_is_not_followed_when_the_client_leaves),
        cmocka_unit_test(a_late_attempt_is_not_followed_when_the_owner_is_lost),
        cmocka_unit_test(a_late_answer_in_pieces_is_not_taken),
        cmocka_unit_test(a_late_answer_that_is_whole_is_taken),
        cmocka_unit_test(a_deadline_holds_behind_a_wait_in_vain),
        cmocka_unit_test(no_attempt_has_less_than_a_second),
        cmocka_unit_test(a_begun_stream_has_all_the_time),
        cmocka_unit_test(a_target_may_be_served_here_and_elsewhere),
        cmocka_unit_test(metrics_are_asked_once_the_key_is_right),
        cmocka_unit_test(where_nobody_counts_there_are_no_metrics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
