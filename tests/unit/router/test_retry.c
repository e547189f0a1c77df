/* What follows a failure, how long it waits, and what all requests together may spend. */
#include "router/retry.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { SECOND_US = 1000000 };

static const struct route_retry three_tries = {.attempts = 3, .base_ms = 100, .max_ms = 30000};

static struct route_failure
with_status(enum err_code error, uint16_t status)
{
    return (struct route_failure){.error = error, .upstream_status = status, .calls = 1};
}

static void
the_usual_statuses_are_tried_again(void **state)
{
    (void)state;
    static const struct {
        enum err_code error;
        uint16_t status;
        bool may_help;
    } cases[] = {
        {ERR_UPSTREAM_TIMEOUT, 408, true},    {ERR_UPSTREAM_RATE_LIMIT, 429, true},
        {ERR_UPSTREAM_ERROR, 500, true},      {ERR_UPSTREAM_ERROR, 503, true},
        {ERR_UPSTREAM_ERROR, 599, true},      {ERR_UPSTREAM_TIMEOUT, 504, true},
        {ERR_UPSTREAM_INVALID, 400, false},   {ERR_UPSTREAM_AUTH, 401, false},
        {ERR_UPSTREAM_AUTH, 403, false},      {ERR_UPSTREAM_NOT_FOUND, 404, false},
        {ERR_UPSTREAM_TOO_LARGE, 413, false}, {ERR_UPSTREAM_UNPROCESSABLE, 422, false},
        {ERR_UPSTREAM_ERROR, 302, false},     {ERR_UPSTREAM_ERROR, 409, false},
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(cases); i++) {
        struct route_failure failure = with_status(cases[i].error, cases[i].status);
        assert_int_equal(route_retry_may_help(&three_tries, &failure), cases[i].may_help);
    }
}

static void
without_a_status_transport_errors_are(void **state)
{
    (void)state;
    static const struct {
        enum err_code error;
        bool may_help;
    } cases[] = {{ERR_UPSTREAM_UNREACHABLE, true}, {ERR_UPSTREAM_TIMEOUT, true}, {ERR_UPSTREAM_CUT, true},
                 {ERR_UPSTREAM_TLS, false},        {ERR_GATEWAY_TIMEOUT, false}, {ERR_CLIENT_CLOSED, false}};
    for (size_t i = 0; i < DYN_ARRAY_LEN(cases); i++) {
        struct route_failure failure = with_status(cases[i].error, 0);
        assert_int_equal(route_retry_may_help(&three_tries, &failure), cases[i].may_help);
        failure.upstream_status = 200; /* it had begun, and broke off */
        assert_int_equal(route_retry_may_help(&three_tries, &failure), cases[i].may_help);
    }
}

static void
a_list_of_statuses_replaces_the_usual_ones(void **state)
{
    (void)state;
    static const int64_t list[] = {401, 503};
    struct route_retry retry = three_tries;
    retry.on_status = list;
    retry.n_on_status = DYN_ARRAY_LEN(list);
    struct route_failure auth = with_status(ERR_UPSTREAM_AUTH, 401);
    struct route_failure busy = with_status(ERR_UPSTREAM_ERROR, 503);
    struct route_failure broken = with_status(ERR_UPSTREAM_ERROR, 500);
    struct route_failure transport = with_status(ERR_UPSTREAM_UNREACHABLE, 0);
    assert_true(route_retry_may_help(&retry, &auth));
    assert_true(route_retry_may_help(&retry, &busy));
    assert_false(route_retry_may_help(&retry, &broken));
    assert_true(route_retry_may_help(&retry, &transport));
}

static void
who_refuses_is_not_asked_again(void **state)
{
    (void)state;
    struct route_failure open = {.error = ERR_UPSTREAM_UNAVAILABLE};
    struct route_failure full = {.error = ERR_PROVIDER_SATURATED};
    struct route_failure called = {.error = ERR_UPSTREAM_UNAVAILABLE, .calls = 1};
    assert_true(route_failure_is_refusal(&open));
    assert_true(route_failure_is_refusal(&full));
    assert_false(route_failure_is_refusal(&called));
    assert_false(route_retry_may_help(&three_tries, &open));
    assert_false(route_retry_may_help(&three_tries, &full));
}

static void
what_is_wrong_anywhere_is_not_tried_elsewhere(void **state)
{
    (void)state;
    static const struct {
        enum err_code error;
        bool elsewhere;
    } cases[] = {
        {ERR_UPSTREAM_ERROR, true},          {ERR_UPSTREAM_RATE_LIMIT, true},
        {ERR_UPSTREAM_AUTH, true},           {ERR_UPSTREAM_TLS, true},
        {ERR_UPSTREAM_NOT_FOUND, true},      {ERR_UNSUPPORTED_PARAMETER, true},
        {ERR_UPSTREAM_UNAVAILABLE, true},    {ERR_PROVIDER_SATURATED, true},
        {ERR_UPSTREAM_INVALID, false},       {ERR_UPSTREAM_TOO_LARGE, false},
        {ERR_UPSTREAM_UNPROCESSABLE, false}, {ERR_CLIENT_CLOSED, false},
        {ERR_GATEWAY_TIMEOUT, false},
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(cases); i++) {
        struct route_failure failure = {.error = cases[i].error};
        assert_int_equal(route_failure_may_be_mended_elsewhere(&failure), cases[i].elsewhere);
    }
}

static void
a_bad_credential_is_followed_by_another_one(void **state)
{
    (void)state;
    struct route_failure failure = with_status(ERR_UPSTREAM_AUTH, 401);
    assert_false(route_failure_is_of_credential(&failure));
    failure.creds = 1;
    assert_true(route_failure_is_of_credential(&failure));
    failure.error = ERR_UPSTREAM_RATE_LIMIT;
    assert_true(route_failure_is_of_credential(&failure));
    failure.error = ERR_UPSTREAM_ERROR;
    assert_false(route_failure_is_of_credential(&failure));
}

/* Full jitter: uniform in [0, base * 2^(n - 1)), capped; the mean of 4,000 draws is within a twentieth. */
static void
waits_double_and_are_drawn_from_all_of_it(void **state)
{
    (void)state;
    static const struct {
        uint32_t tries;
        uint64_t below_ms;
    } cases[] = {{1, 100}, {2, 200}, {3, 400}, {9, 25600}, {10, 30000}, {40, 30000}, {4000000000u, 30000}};
    struct route_failure failure = with_status(ERR_UPSTREAM_ERROR, 503);
    struct dyn_rng rng;
    dyn_rng_seed(&rng, 7);
    for (size_t i = 0; i < DYN_ARRAY_LEN(cases); i++) {
        uint64_t sum = 0;
        for (unsigned draw = 0; draw < 4000; draw++) {
            uint64_t wait_ms;
            assert_true(route_retry_wait_ms(&three_tries, &failure, cases[i].tries, &rng, &wait_ms));
            assert_true(wait_ms < cases[i].below_ms);
            sum += wait_ms;
        }
        assert_in_range(sum / 4000, cases[i].below_ms * 19 / 40, cases[i].below_ms * 21 / 40);
    }
}

static void
nothing_to_draw_from_is_no_wait(void **state)
{
    (void)state;
    static const struct route_retry at_once = {.attempts = 2};
    struct route_failure failure = with_status(ERR_UPSTREAM_ERROR, 503);
    struct dyn_rng rng;
    uint64_t wait_ms = 9;
    dyn_rng_seed(&rng, 7);
    assert_true(route_retry_wait_ms(&at_once, &failure, 1, &rng, &wait_ms));
    assert_int_equal(wait_ms, 0);
}

static void
a_hint_is_waited_for_up_to_half_a_minute(void **state)
{
    (void)state;
    struct route_failure failure = with_status(ERR_UPSTREAM_RATE_LIMIT, 429);
    struct dyn_rng rng;
    uint64_t wait_ms = 0;
    dyn_rng_seed(&rng, 7);
    failure.retry_ms = 2000;
    assert_true(route_retry_wait_ms(&three_tries, &failure, 1, &rng, &wait_ms));
    assert_int_equal(wait_ms, 2000);
    failure.retry_ms = 30000;
    assert_true(route_retry_wait_ms(&three_tries, &failure, 1, &rng, &wait_ms));
    assert_int_equal(wait_ms, 30000);
    failure.retry_ms = 30001;
    assert_false(route_retry_wait_ms(&three_tries, &failure, 1, &rng, &wait_ms));
    failure.retry_ms = UINT32_MAX;
    assert_false(route_retry_wait_ms(&three_tries, &failure, 1, &rng, &wait_ms));
}

/* ---- the budget ---- */

static unsigned
spend_all(struct route_budget *budget, struct route_share share, uint64_t now_us)
{
    unsigned n = 0;
    while (n < 100000 && route_budget_spend(budget, share, now_us)) {
        n++;
    }
    return n;
}

static void
a_fifth_of_the_requests_may_be_repeated(void **state)
{
    (void)state;
    struct route_budget budget = {0};
    struct route_share share = {.percent = 20};
    uint64_t now_us = 1000 * SECOND_US;
    for (unsigned i = 0; i < 1000; i++) {
        route_budget_count(&budget, now_us + i * 5000); /* in five seconds */
    }
    assert_int_equal(spend_all(&budget, share, now_us + 5 * SECOND_US), 200);
    assert_int_equal(spend_all(&budget, share, now_us + 9 * SECOND_US), 0);
}

static void
what_is_long_ago_does_not_count(void **state)
{
    (void)state;
    struct route_budget budget = {0};
    struct route_share share = {.percent = 20};
    uint64_t now_us = 1000 * SECOND_US;
    for (unsigned i = 0; i < 1000; i++) {
        route_budget_count(&budget, now_us);
    }
    assert_int_equal(spend_all(&budget, share, now_us + 5 * SECOND_US), 200);
    assert_int_equal(spend_all(&budget, share, now_us + 10 * SECOND_US),
                     0); /* spent, and no requests any more */
    for (unsigned i = 0; i < 100; i++) {
        route_budget_count(&budget, now_us + 15 * SECOND_US);
    }
    assert_int_equal(spend_all(&budget, share, now_us + 15 * SECOND_US), 20);
    assert_int_equal(spend_all(&budget, share, now_us + 100000 * (uint64_t)SECOND_US), 0);
    route_budget_count(&budget, now_us + 100001 * (uint64_t)SECOND_US);
    assert_int_equal(budget.all_requests, 1);
    assert_int_equal(budget.all_spent, 0);
}

static void
some_a_second_are_always_allowed(void **state)
{
    (void)state;
    struct route_budget budget = {0};
    struct route_share share = {.percent = 20, .min_per_second = 3};
    assert_int_equal(spend_all(&budget, share, 1000 * SECOND_US), 30);
    assert_int_equal(spend_all(&budget, share, 1009 * SECOND_US), 0);
    assert_int_equal(spend_all(&budget, share, 1010 * SECOND_US), 30);
}

static void
nothing_is_spent_when_nothing_is_allowed(void **state)
{
    (void)state;
    struct route_budget budget = {0};
    route_budget_count(&budget, 1000 * SECOND_US);
    assert_int_equal(spend_all(&budget, (struct route_share){0}, 1000 * SECOND_US), 0);
    assert_int_equal(spend_all(&budget, (struct route_share){.percent = 1}, 1000 * SECOND_US), 1);
}

/* A clock that stands still or a random walk of it never makes the sums wrong. */
static void
sums_are_those_of_the_buckets(void **state)
{
    (void)state;
    struct route_budget budget = {0};
    struct dyn_rng rng;
    uint64_t now_us = 5 * SECOND_US;
    dyn_rng_seed(&rng, 3);
    for (unsigned i = 0; i < 20000; i++) {
        now_us += dyn_rng_below(&rng, 4) == 0 ? dyn_rng_below(&rng, 15 * SECOND_US) : 0;
        if (dyn_rng_below(&rng, 3) > 0) {
            route_budget_count(&budget, now_us);
        } else {
            (void)route_budget_spend(&budget, (struct route_share){50, 1}, now_us);
        }
        uint64_t requests = 0;
        uint64_t spent = 0;
        for (size_t k = 0; k < ROUTE_BUDGET_WINDOW_S; k++) {
            requests += budget.requests[k];
            spent += budget.spent[k];
        }
        assert_int_equal(requests, budget.all_requests);
        assert_int_equal(spent, budget.all_spent);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_usual_statuses_are_tried_again),
        cmocka_unit_test(without_a_status_transport_errors_are),
        cmocka_unit_test(a_list_of_statuses_replaces_the_usual_ones),
        cmocka_unit_test(who_refuses_is_not_asked_again),
        cmocka_unit_test(what_is_wrong_anywhere_is_not_tried_elsewhere),
        cmocka_unit_test(a_bad_credential_is_followed_by_another_one),
        cmocka_unit_test(waits_double_and_are_drawn_from_all_of_it),
        cmocka_unit_test(nothing_to_draw_from_is_no_wait),
        cmocka_unit_test(a_hint_is_waited_for_up_to_half_a_minute),
        cmocka_unit_test(a_fifth_of_the_requests_may_be_repeated),
        cmocka_unit_test(what_is_long_ago_does_not_count),
        cmocka_unit_test(some_a_second_are_always_allowed),
        cmocka_unit_test(nothing_is_spent_when_nothing_is_allowed),
        cmocka_unit_test(sums_are_those_of_the_buckets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
