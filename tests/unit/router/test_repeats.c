/* Repeats at one target, and what makes the walk go on: waits by the clock, credentials, refusals, budgets.
 */
#include "tests/unit/router/router_hear.h"

/* Target "one" is served here, "two" by worker A and "three" by worker B; each is tried up to three times. */
static struct world *
prepared(size_t n)
{
    struct world *world = world_new();
    world->n_targets = n;
    world->config.retry_budget = (struct route_retry_budget_config){.percent = 20, .min_per_second = 3};
    for (size_t i = 0; i < n; i++) {
        world->targets[i].retry = (struct route_retry){.attempts = 3, .base_ms = 100, .max_ms = 30000};
    }
    serve_here(world);
    walk_all_targets(world);
    return world;
}

static struct world *
started(struct world *world)
{
    static const char *const names[] = {"one", "two", "three"};
    world_start(world);
    for (size_t i = 1; i < world->n_targets; i++) {
        join_target(world, (enum who)(A + i - 1), names[i]);
    }
    return world;
}

static struct env *
refusal(const struct env *request, enum err_code code, uint16_t status, uint32_t retry_ms)
{
    struct env *end = error_of(request, code, 1);
    end->upstream_status = status;
    end->retry_ms = retry_ms;
    return end;
}

/* The next REQUEST that `who` gets is answered with that error. */
static void
fails(struct world *world, enum who who, enum err_code code, uint16_t status, uint32_t retry_ms)
{
    struct env *request = hear(world, who, ENV_REQUEST);
    say(world, who, refusal(request, code, status, retry_ms));
    env_free(&request);
}

static void
refuse(struct world *world, enum who who, enum err_code code, uint32_t retry_ms)
{
    struct env *request = hear(world, who, ENV_REQUEST);
    struct env *end = error_of(request, code, 0);
    end->retry_ms = retry_ms;
    say(world, who, end);
    env_free(&request);
}

static void
answer(struct world *world, enum who who, uint32_t attempt)
{
    struct env *request = hear(world, who, ENV_REQUEST);
    assert_int_equal(request->attempt, attempt);
    say(world, who, end_of(request, "hello"));
    env_free(&request);
}

static void
told(struct world *world, const char *target, uint32_t attempts, uint32_t calls)
{
    struct env *end = hear(world, OWNER, ENV_END);
    assert_int_equal(end->outcome, ENV_OUTCOME_OK);
    assert_true(dyn_slice_is(end->target, target));
    assert_int_equal(end->attempts, attempts);
    assert_int_equal(end->upstream_calls, calls);
    assert_int_equal(world->impl->requests.n, 0);
    env_free(&end);
}

/* 503, 503, 200 */
static void
a_target_that_recovers_answers(void **state)
{
    (void)state;
    struct world *world = started(prepared(2));
    (void)ask(world, OWNER, CHAT);
    fails(world, HERE, ERR_UPSTREAM_ERROR, 503, 0);
    pass_ms(world, 100);
    fails(world, HERE, ERR_UPSTREAM_ERROR, 503, 0);
    pass_ms(world, 200);
    answer(world, HERE, 3);
    told(world, "one", 3, 3);
    hear_nothing(world, A);
    world_free(world);
}

static void
when_its_tries_are_used_up_the_next_target_has_its_own(void **state)
{
    (void)state;
    struct world *world = started(prepared(2));
    (void)ask(world, OWNER, CHAT);
    for (unsigned i = 0; i < 3; i++) {
        fails(world, HERE, ERR_UPSTREAM_ERROR, 503, 0);
        pass_ms(world, 400);
    }
    hear_nothing(world, HERE);
    fails(world, A, ERR_UPSTREAM_ERROR, 500, 0);
    pass_ms(world, 400);
    answer(world, A, 5);
    told(world, "two", 5, 5);
    world_free(world);
}

static void
a_hint_is_waited_for_to_the_millisecond(void **state)
{
    (void)state;
    struct world *world = started(prepared(1));
    (void)ask(world, OWNER, CHAT);
    fails(world, HERE, ERR_UPSTREAM_RATE_LIMIT, 429, 2000);
    pass_ms(world, 1999);
    hear_nothing(world, HERE);
    pass_ms(world, 1);
    answer(world, HERE, 2);
    told(world, "one", 2, 2);
    world_free(world);
}

static void
who_asks_for_too_long_is_left_at_once(void **state)
{
    (void)state;
    struct world *world = started(prepared(2));
    (void)ask(world, OWNER, CHAT);
    fails(world, HERE, ERR_UPSTREAM_RATE_LIMIT, 429, 31000);
    answer(world, A, 2);
    told(world, "two", 2, 2);
    world_free(world);
}

static void
a_wait_that_the_deadline_would_end_is_not_begun(void **state)
{
    (void)state;
    struct world *world = started(prepared(1));
    struct env *request = request_of(CHAT);
    request->deadline_ms = 5000;
    say(world, OWNER, request);
    fails(world, HERE, ERR_UPSTREAM_RATE_LIMIT, 429, 6000);
    fails_with(world, OWNER, ERR_UPSTREAM_RATE_LIMIT);
    world_free(world);
}

static void
a_refused_credential_is_not_tried_again_unless_listed(void **state)
{
    (void)state;
    static const int64_t list[] = {401};
    for (unsigned listed = 0; listed < 2; listed++) {
        struct world *world = prepared(1);
        world->targets[0].retry.on_status = list;
        world->targets[0].retry.n_on_status = listed;
        started(world);
        (void)ask(world, OWNER, CHAT);
        fails(world, HERE, ERR_UPSTREAM_AUTH, 401, 0);
        pass_ms(world, 100);
        if (listed) {
            answer(world, HERE, 2);
            told(world, "one", 2, 2);
        } else {
            fails_with(world, OWNER, ERR_UPSTREAM_AUTH);
        }
        world_free(world);
    }
}

/* A list replaces the usual statuses. */
static void
what_is_not_listed_is_not_repeated(void **state)
{
    (void)state;
    static const int64_t list[] = {401};
    struct world *world = prepared(1);
    world->targets[0].retry.on_status = list;
    world->targets[0].retry.n_on_status = 1;
    started(world);
    (void)ask(world, OWNER, CHAT);
    fails(world, HERE, ERR_UPSTREAM_ERROR, 503, 0);
    fails_with(world, OWNER, ERR_UPSTREAM_ERROR);
    world_free(world);
}

static void
cancel_ends_a_wait(void **state)
{
    (void)state;
    struct world *world = started(prepared(2));
    struct env_id id = ask(world, OWNER, CHAT);
    fails(world, HERE, ERR_UPSTREAM_RATE_LIMIT, 429, 5000);
    about(world, OWNER, ENV_CANCEL, id, 0);
    fails_with(world, OWNER, ERR_CLIENT_CLOSED);
    pass_ms(world, 6000);
    hear_nothing(world, HERE);
    hear_nothing(world, A);
    world_free(world);
}

/* ---- credentials ---- */

/* No wait, no retry budget, and none of the target's tries. */
static void
another_credential_is_tried_at_once(void **state)
{
    (void)state;
    struct world *world = prepared(2);
    world->config.retry_budget = (struct route_retry_budget_config){0};
    world->targets[0].retry.attempts = 1;
    started(world);
    (void)ask(world, OWNER, CHAT);
    static const enum err_code codes[] = {ERR_UPSTREAM_AUTH, ERR_UPSTREAM_RATE_LIMIT};
    for (uint32_t i = 0; i < 2; i++) {
        struct env *request = hear(world, HERE, ENV_REQUEST);
        struct env *end = refusal(request, codes[i], 429, 60000);
        assert_int_equal(request->attempt, i + 1);
        end->creds = 2 - i;
        say(world, HERE, end);
        env_free(&request);
    }
    fails(world, HERE, ERR_UPSTREAM_AUTH, 401, 0); /* the last one */
    answer(world, A, 4);
    told(world, "two", 4, 4);
    world_free(world);
}

/* ---- refusals ---- */

static void
an_open_breaker_uses_up_no_attempt(void **state)
{
    (void)state;
    struct world *world = prepared(2);
    world->config.max_attempts = 1;
    started(world);
    (void)ask(world, OWNER, CHAT);
    refuse(world, HERE, ERR_UPSTREAM_UNAVAILABLE, 12000);
    answer(world, A, 1);
    told(world, "two", 1, 1);
    world_free(world);
}

static void
when_all_breakers_are_open_the_soonest_probe_is_told(void **state)
{
    (void)state;
    struct world *world = started(prepared(3));
    (void)ask(world, OWNER, CHAT);
    refuse(world, HERE, ERR_UPSTREAM_UNAVAILABLE, 12000);
    refuse(world, A, ERR_UPSTREAM_UNAVAILABLE, 7300);
    refuse(world, B, ERR_UPSTREAM_UNAVAILABLE, 20000);
    struct env *end = hear_error(world, OWNER, ERR_UPSTREAM_UNAVAILABLE);
    assert_int_equal(end->retry_after_s, 8);
    assert_int_equal(end->attempts, 0);
    env_free(&end);
    world_free(world);
}

static void
when_all_targets_are_full_it_is_said(void **state)
{
    (void)state;
    struct world *world = started(prepared(2));
    (void)ask(world, OWNER, CHAT);
    refuse(world, HERE, ERR_PROVIDER_SATURATED, 0);
    refuse(world, A, ERR_PROVIDER_SATURATED, 0);
    struct env *end = hear_error(world, OWNER, ERR_PROVIDER_SATURATED);
    assert_int_equal(end->retry_after_s, 1);
    env_free(&end);
    world_free(world);
}

/* ---- where it does not go ---- */

static void
order_named(const void *state, const struct route_facts *facts, const struct route_view *view,
            struct dyn_rng *rng, struct route_order *order)
{
    (void)state;
    (void)facts;
    (void)rng;
    route_order_push_rest(order, view);
    order->is_named = true;
}

static void
a_named_target_is_not_walked_past(void **state)
{
    (void)state;
    static const struct route_strategy_ops named = {.name = "named", .order = order_named};
    struct world *world = prepared(2);
    world->strategy = &named;
    started(world);
    (void)ask(world, OWNER, CHAT);
    for (unsigned i = 0; i < 3; i++) { /* its own tries it has */
        fails(world, HERE, ERR_UPSTREAM_ERROR, 503, 0);
        pass_ms(world, 400);
    }
    hear_nothing(world, A);
    fails_with(world, OWNER, ERR_UPSTREAM_ERROR);
    (void)ask(world, OWNER, CHAT);
    refuse(world, HERE, ERR_UPSTREAM_UNAVAILABLE, 1000);
    hear_nothing(world, A);
    fails_with(world, OWNER, ERR_UPSTREAM_UNAVAILABLE);
    world_free(world);
}

static void
the_last_of_several_errors_is_told(void **state)
{
    (void)state;
    struct world *world = started(prepared(2));
    (void)ask(world, OWNER, CHAT);
    for (unsigned i = 0; i < 3; i++) {
        fails(world, HERE, ERR_UPSTREAM_ERROR, 500, 0);
        pass_ms(world, 400);
    }
    fails(world, A, ERR_UPSTREAM_NOT_FOUND, 404, 0);
    fails_with(world, OWNER, ERR_UPSTREAM_NOT_FOUND);
    world_free(world);
}

static void
a_target_that_does_not_know_the_model_is_passed(void **state)
{
    (void)state;
    struct world *world = started(prepared(2));
    (void)ask(world, OWNER, CHAT);
    fails(world, HERE, ERR_UPSTREAM_NOT_FOUND, 404, 0);
    answer(world, A, 2);
    told(world, "two", 2, 2);
    world_free(world);
}

static void
a_request_may_ask_for_fewer_attempts(void **state)
{
    (void)state;
    struct world *world = started(prepared(2));
    struct env *request = request_of(CHAT);
    request->attempts_left = 2;
    say(world, OWNER, request);
    fails(world, HERE, ERR_UPSTREAM_ERROR, 503, 0);
    pass_ms(world, 100);
    fails(world, HERE, ERR_UPSTREAM_ERROR, 503, 0);
    pass_ms(world, 400);
    hear_nothing(world, HERE);
    hear_nothing(world, A);
    fails_with(world, OWNER, ERR_UPSTREAM_ERROR);
    world_free(world);
}

/* ---- the budget of all requests ---- */

static void
repeats_are_a_share_of_requests(void **state)
{
    (void)state;
    struct world *world = prepared(1);
    world->config.retry_budget = (struct route_retry_budget_config){.percent = 20};
    started(world);
    unsigned repeated = 0;
    for (unsigned i = 0; i < 100; i++) {
        (void)ask(world, OWNER, CHAT);
        fails(world, HERE, ERR_UPSTREAM_ERROR, 503, 1); /* a hint of a millisecond: no draw */
        world->now_us += 1000;
        turn(world);
        struct env *again = heard(world, HERE);
        if (again != NULL) {
            repeated++;
            say(world, HERE, end_of(again, "hello"));
            env_free(&again);
        }
        hear_and_drop(world, OWNER, ENV_END);
    }
    assert_int_equal(repeated, 20);
    world_free(world);
}

/* In seconds it is the upstream's word, and may be any number: 4294968 s are not 704 ms. */
static void
a_hint_of_weeks_is_not_waited_for(void **state)
{
    (void)state;
    static const uint32_t seconds[] = {4294968, UINT32_MAX};
    for (size_t i = 0; i < DYN_ARRAY_LEN(seconds); i++) {
        struct world *world = started(prepared(2));
        (void)ask(world, OWNER, CHAT);
        struct env *request = hear(world, HERE, ENV_REQUEST);
        struct env *end = refusal(request, ERR_UPSTREAM_RATE_LIMIT, 429, 0);
        end->retry_after_s = seconds[i];
        say(world, HERE, end);
        answer(world, A, 2);
        told(world, "two", 2, 2);
        env_free(&request);
        world_free(world);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_target_that_recovers_answers),
        cmocka_unit_test(when_its_tries_are_used_up_the_next_target_has_its_own),
        cmocka_unit_test(a_hint_is_waited_for_to_the_millisecond),
        cmocka_unit_test(a_hint_of_weeks_is_not_waited_for),
        cmocka_unit_test(who_asks_for_too_long_is_left_at_once),
        cmocka_unit_test(a_wait_that_the_deadline_would_end_is_not_begun),
        cmocka_unit_test(a_refused_credential_is_not_tried_again_unless_listed),
        cmocka_unit_test(what_is_not_listed_is_not_repeated),
        cmocka_unit_test(cancel_ends_a_wait),
        cmocka_unit_test(another_credential_is_tried_at_once),
        cmocka_unit_test(an_open_breaker_uses_up_no_attempt),
        cmocka_unit_test(when_all_breakers_are_open_the_soonest_probe_is_told),
        cmocka_unit_test(when_all_targets_are_full_it_is_said),
        cmocka_unit_test(a_named_target_is_not_walked_past),
        cmocka_unit_test(the_last_of_several_errors_is_told),
        cmocka_unit_test(a_target_that_does_not_know_the_model_is_passed),
        cmocka_unit_test(a_request_may_ask_for_fewer_attempts),
        cmocka_unit_test(repeats_are_a_share_of_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
