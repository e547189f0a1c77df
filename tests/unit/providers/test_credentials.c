/* Which credential a call takes, on a clock that the test moves. */
#include "actors/providers/credentials.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define SECOND UINT64_C(1000000)
#define START  (50 * SECOND)

enum { GPT = 1, MINI = 2 }; /* models */

static const struct credentials_outcome bad = {.error = ERR_UPSTREAM_AUTH, .status = 401};
static const struct credentials_outcome forbidden = {.error = ERR_UPSTREAM_AUTH, .status = 403};
static const struct credentials_outcome good = {.error = ERR_NONE, .status = 200};

static struct credentials_outcome
limited(uint32_t retry_ms)
{
    return (struct credentials_outcome){ERR_UPSTREAM_RATE_LIMIT, 429, retry_ms};
}

static bool
settle(struct credentials *credentials, size_t index, struct credentials_outcome outcome, uint64_t now_us)
{
    return credentials_settle(credentials, index, GPT, &outcome, now_us);
}

/* How often each was chosen in so many calls. */
static void
count(struct credentials *credentials, uint64_t model, uint64_t now_us, unsigned calls, unsigned *counts)
{
    for (unsigned i = 0; i < calls; i++) {
        struct credentials_choice choice;
        assert_int_equal(credentials_choose(credentials, model, now_us, &choice), 0);
        counts[choice.index]++;
    }
}

static struct credentials_choice
none(struct credentials *credentials, uint64_t model, uint64_t now_us)
{
    struct credentials_choice choice;
    assert_int_equal(credentials_choose(credentials, model, now_us, &choice), -1);
    return choice;
}

static void
they_take_turns(void **state)
{
    (void)state;
    struct credentials credentials;
    unsigned counts[3] = {0};
    credentials_init(&credentials, 3);
    count(&credentials, GPT, START, 300, counts);
    assert_int_equal(counts[0], 100);
    assert_int_equal(counts[1], 100);
    assert_int_equal(counts[2], 100);
    credentials_fini(&credentials);
}

/* Fair among those that are left, not twice as much for the one that comes after. */
static void
a_bad_one_is_set_aside_and_the_others_share_its_calls(void **state)
{
    (void)state;
    struct credentials credentials;
    struct credentials_state now;
    unsigned counts[3] = {0};
    credentials_init(&credentials, 3);
    assert_true(settle(&credentials, 1, bad, START));
    assert_int_equal(credentials_others(&credentials, 1, GPT, START), 2);
    count(&credentials, GPT, START, 300, counts);
    count(&credentials, MINI, START, 300, counts); /* for all models */
    assert_int_equal(counts[0], 300);
    assert_int_equal(counts[1], 0);
    assert_int_equal(counts[2], 300);
    credentials_state(&credentials, START, &now);
    assert_int_equal(now.n, 3);
    assert_int_equal(now.aside, 1);
    assert_int_equal(now.back_at_us, 0);
    credentials_fini(&credentials);
}

static void
a_limited_one_is_cooled_for_the_time_that_the_provider_names(void **state)
{
    (void)state;
    struct credentials credentials;
    unsigned counts[2] = {0};
    credentials_init(&credentials, 2);
    assert_true(settle(&credentials, 0, limited(7000), START));
    count(&credentials, GPT, START + 7 * SECOND - 1, 10, counts);
    assert_int_equal(counts[0], 0);
    count(&credentials, GPT, START + 7 * SECOND, 10, counts);
    assert_int_equal(counts[0], 5);
    credentials_fini(&credentials);
}

/* Providers count limits by model. */
static void
a_limit_of_one_model_keeps_no_other_away(void **state)
{
    (void)state;
    struct credentials credentials;
    unsigned counts[1] = {0};
    credentials_init(&credentials, 1);
    assert_true(settle(&credentials, 0, limited(5000), START));
    struct credentials_choice choice = none(&credentials, GPT, START + SECOND);
    assert_int_equal(choice.why, ERR_UPSTREAM_RATE_LIMIT);
    assert_int_equal(choice.retry_ms, 4000);
    count(&credentials, MINI, START + SECOND, 10, counts);
    assert_int_equal(counts[0], 10);
    credentials_fini(&credentials);
}

static void
a_model_that_one_may_not_use_is_no_reason_against_the_others(void **state)
{
    (void)state;
    struct credentials credentials;
    unsigned counts[2] = {0};
    credentials_init(&credentials, 2);
    (void)settle(&credentials, 0, forbidden, START);
    count(&credentials, GPT, START, 10, counts);
    assert_int_equal(counts[0], 0);
    count(&credentials, MINI, START, 10, counts);
    assert_int_equal(counts[0], 5);
    credentials_fini(&credentials);
}

static void
with_all_aside_it_says_why_and_until_when(void **state)
{
    (void)state;
    struct credentials credentials;
    struct credentials_state now;
    credentials_init(&credentials, 2);
    (void)settle(&credentials, 0, bad, START);
    (void)settle(&credentials, 1, bad, START + SECOND);
    assert_int_equal(credentials_others(&credentials, 1, GPT, START + SECOND), 0);
    struct credentials_choice choice = none(&credentials, GPT, START + 2 * SECOND);
    assert_int_equal(choice.why, ERR_UPSTREAM_AUTH);
    assert_int_equal(choice.retry_ms, CREDENTIALS_REFUSED_MS - 2000);
    credentials_state(&credentials, START + 2 * SECOND, &now);
    assert_int_equal(now.aside, 2);
    assert_int_equal(now.back_at_us, START + CREDENTIALS_REFUSED_MS * UINT64_C(1000));
    (void)settle(&credentials, 1, limited(90000), START + 2 * SECOND);
    assert_int_equal(none(&credentials, GPT, START + 2 * SECOND).why, ERR_UPSTREAM_RATE_LIMIT);
    credentials_fini(&credentials);
}

/* Each time longer, until it has served a call. */
static void
who_fails_again_waits_longer(void **state)
{
    (void)state;
    struct credentials credentials;
    uint64_t now_us = START;
    uint32_t expected_ms = CREDENTIALS_REFUSED_MS;
    credentials_init(&credentials, 2);
    (void)settle(&credentials, 1, limited(0), now_us);
    for (int i = 0; i < 8; i++) {
        (void)settle(&credentials, 0, bad, now_us);
        (void)settle(&credentials, 0, bad, now_us + 1); /* was under way too */
        (void)settle(&credentials, 1, bad, now_us);
        assert_int_equal(none(&credentials, GPT, now_us).retry_ms, expected_ms);
        now_us += expected_ms * UINT64_C(1000);
        expected_ms =
            expected_ms * 2 < CREDENTIALS_REFUSED_MAX_MS ? expected_ms * 2 : CREDENTIALS_REFUSED_MAX_MS;
    }
    (void)settle(&credentials, 1, bad, now_us);
    (void)settle(&credentials, 0, good, now_us);
    (void)settle(&credentials, 0, bad, now_us);
    assert_int_equal(none(&credentials, GPT, now_us + 1).why, ERR_UPSTREAM_AUTH);
    assert_true(none(&credentials, GPT, now_us + 1).retry_ms <= CREDENTIALS_REFUSED_MS);
    credentials_fini(&credentials);
}

/* There is nobody else to ask: what the provider says then is the best answer there is. */
static void
the_only_one_is_kept(void **state)
{
    (void)state;
    struct credentials credentials;
    unsigned counts[1] = {0};
    credentials_init(&credentials, 1);
    assert_false(settle(&credentials, 0, bad, START));
    assert_false(settle(&credentials, 0, forbidden, START));
    assert_false(settle(&credentials, 0, limited(0), START));
    count(&credentials, GPT, START, 5, counts);
    assert_int_equal(credentials_others(&credentials, 0, GPT, START), 0);
    credentials_fini(&credentials);
}

/* A time that is wrong by a day costs a minute: then a call asks again. */
static void
the_only_one_is_never_away_for_long(void **state)
{
    (void)state;
    struct credentials credentials;
    unsigned counts[1] = {0};
    uint64_t minute_us = CREDENTIALS_SOLE_MAX_MS * UINT64_C(1000);
    credentials_init(&credentials, 1);
    assert_true(settle(&credentials, 0, limited(24 * 3600 * 1000), START));
    assert_int_equal(none(&credentials, GPT, START).retry_ms, CREDENTIALS_SOLE_MAX_MS);
    (void)none(&credentials, GPT, START + minute_us - 1);
    count(&credentials, GPT, START + minute_us, 1, counts);
    (void)settle(&credentials, 0, limited(24 * 3600 * 1000), START + minute_us);
    (void)none(&credentials, GPT, START + 2 * minute_us - 1);
    count(&credentials, GPT, START + 2 * minute_us, 1, counts);
    assert_int_equal(counts[0], 2);
    credentials_fini(&credentials);
}

/* Where there is another one it is away for as long as its provider says. */
static void
one_of_two_is_away_for_as_long_as_was_named(void **state)
{
    (void)state;
    struct credentials credentials;
    unsigned counts[2] = {0};
    credentials_init(&credentials, 2);
    (void)settle(&credentials, 0, limited(3600 * 1000), START);
    count(&credentials, GPT, START + 3599 * SECOND, 10, counts);
    assert_int_equal(counts[0], 0);
    credentials_fini(&credentials);
}

/* Calls look at pauses, with a lock, only as long as there is something to see. */
static void
nothing_is_looked_at_when_all_is_well_again(void **state)
{
    (void)state;
    struct credentials credentials;
    credentials_init(&credentials, 2);
    (void)settle(&credentials, 0, limited(1000), START);
    (void)settle(&credentials, 1, good, START);
    assert_true(atomic_load(&credentials.has_pauses)); /* it is on */
    (void)settle(&credentials, 1, good, START + SECOND);
    assert_true(atomic_load(&credentials.has_pauses)); /* over, and remembered: the next would be longer */
    (void)settle(&credentials, 0, good, START + SECOND);
    assert_false(atomic_load(&credentials.has_pauses));
    credentials_fini(&credentials);
}

/* Of a model that nobody asks for any more. */
static void
what_is_long_over_is_forgotten(void **state)
{
    (void)state;
    struct credentials credentials;
    struct credentials_outcome outcome = limited(1000);
    uint64_t over_us = START + SECOND + CREDENTIALS_FORGET_MS * UINT64_C(1000);
    credentials_init(&credentials, 1);
    (void)credentials_settle(&credentials, 0, MINI, &outcome, START);
    (void)settle(&credentials, 0, good, over_us - 1);
    assert_true(atomic_load(&credentials.has_pauses));
    (void)settle(&credentials, 0, good, over_us);
    assert_false(atomic_load(&credentials.has_pauses));
    credentials_fini(&credentials);
}

static void
the_callers_mistakes_and_failures_are_not_the_credentials(void **state)
{
    (void)state;
    static const enum err_code innocent[] = {ERR_UPSTREAM_INVALID, ERR_UPSTREAM_NOT_FOUND,
                                             ERR_UPSTREAM_ERROR,   ERR_UPSTREAM_TIMEOUT,
                                             ERR_CLIENT_CLOSED,    ERR_UPSTREAM_TOO_LARGE};
    struct credentials credentials;
    unsigned counts[2] = {0};
    credentials_init(&credentials, 2);
    for (size_t i = 0; i < DYN_ARRAY_LEN(innocent); i++) {
        assert_false(settle(&credentials, 0, (struct credentials_outcome){.error = innocent[i]}, START));
    }
    count(&credentials, GPT, START, 10, counts);
    assert_int_equal(counts[0], 5);
    credentials_fini(&credentials);
}

/* More models than are kept apart: aside for all of them, never too little. */
static void
many_limited_models_are_all_models(void **state)
{
    (void)state;
    struct credentials credentials;
    struct credentials_outcome outcome = limited(5000);
    credentials_init(&credentials, 2);
    for (uint64_t model = 1; model <= CREDENTIALS_MODELS_MAX + 1; model++) {
        (void)credentials_settle(&credentials, 0, model, &outcome, START);
        (void)credentials_settle(&credentials, 1, model, &outcome, START);
    }
    assert_int_equal(none(&credentials, 1000, START).why, ERR_UPSTREAM_RATE_LIMIT);
    struct credentials_choice choice;
    assert_int_equal(credentials_choose(&credentials, 1000, START + 5 * SECOND, &choice), 0);
    credentials_fini(&credentials);
}

/* ---- two cells ---- */

static void *
run_cell(void *credentials_)
{
    struct credentials *credentials = credentials_;
    uint64_t now_us = START;
    for (unsigned i = 0; i < 20000; i++) {
        struct credentials_choice choice;
        now_us += SECOND / 100;
        if (credentials_choose(credentials, GPT, now_us, &choice) != 0) {
            assert_true(choice.retry_ms > 0);
            continue;
        }
        assert_true(choice.index < 3);
        (void)settle(credentials, choice.index, i % 5 == 0 ? bad : i % 5 == 1 ? limited(30) : good, now_us);
    }
    return NULL;
}

static void
two_cells_share_them(void **state)
{
    (void)state;
    struct credentials credentials;
    pthread_t other;
    credentials_init(&credentials, 3);
    assert_int_equal(pthread_create(&other, NULL, run_cell, &credentials), 0);
    (void)run_cell(&credentials);
    assert_int_equal(pthread_join(other, NULL), 0);
    unsigned counts[3] = {0};
    count(&credentials, GPT, START + 100000 * SECOND, 300, counts);
    assert_int_equal(counts[0], 100);
    assert_int_equal(counts[2], 100);
    credentials_fini(&credentials);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(they_take_turns),
        cmocka_unit_test(a_bad_one_is_set_aside_and_the_others_share_its_calls),
        cmocka_unit_test(a_limited_one_is_cooled_for_the_time_that_the_provider_names),
        cmocka_unit_test(a_limit_of_one_model_keeps_no_other_away),
        cmocka_unit_test(a_model_that_one_may_not_use_is_no_reason_against_the_others),
        cmocka_unit_test(with_all_aside_it_says_why_and_until_when),
        cmocka_unit_test(who_fails_again_waits_longer),
        cmocka_unit_test(the_only_one_is_kept),
        cmocka_unit_test(the_only_one_is_never_away_for_long),
        cmocka_unit_test(one_of_two_is_away_for_as_long_as_was_named),
        cmocka_unit_test(nothing_is_looked_at_when_all_is_well_again),
        cmocka_unit_test(what_is_long_over_is_forgotten),
        cmocka_unit_test(the_callers_mistakes_and_failures_are_not_the_credentials),
        cmocka_unit_test(many_limited_models_are_all_models),
        cmocka_unit_test(two_cells_share_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
