/* One bucket: what passes, what comes back, what a header would show; and over threads exactly that many. */
#include "core/rand.h"
#include "tests/unit/limits/limits_bench.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct limit_take
part(struct bucket *bucket, const struct limit_spec *spec, uint64_t n)
{
    return (struct limit_take){.bucket = bucket, .spec = spec, .n = n};
}

static bool
take(struct bucket *bucket, const struct limit_spec *spec, uint64_t n, uint64_t us)
{
    struct limit_take one = part(bucket, spec, n);
    return bucket_take(&one, at_us(us));
}

static uint64_t
taken_until_refused(struct bucket *bucket, const struct limit_spec *spec, uint64_t us)
{
    uint64_t n = 0;
    while (take(bucket, spec, 1, us)) {
        n++;
    }
    return n;
}

static void
a_rate_gives_its_burst_and_then_one_at_a_time(void **state)
{
    (void)state;
    struct limit_spec spec = spec_of(LIMIT_RATE, 60, MINUTE_US, 10);
    struct bucket bucket;
    bucket_init(&bucket, &spec, at_us(5 * MINUTE_US));
    uint64_t t0 = 5 * MINUTE_US;
    assert_int_equal(taken_until_refused(&bucket, &spec, t0), 10);
    assert_false(take(&bucket, &spec, 1, t0 + SECOND_US - 1));
    assert_int_equal(taken_until_refused(&bucket, &spec, t0 + SECOND_US), 1);
    assert_int_equal(taken_until_refused(&bucket, &spec, t0 + 4 * SECOND_US), 3);
    assert_int_equal(taken_until_refused(&bucket, &spec, t0 + 1000 * SECOND_US), 10);
    assert_false(take(&bucket, &spec, 11, t0 + 2000 * SECOND_US));
    assert_true(take(&bucket, &spec, 10, t0 + 2000 * SECOND_US));
}

static void
a_clock_that_is_behind_gives_nothing_extra(void **state)
{
    (void)state;
    struct limit_spec spec = spec_of(LIMIT_RATE, 10, SECOND_US, 0);
    struct bucket bucket;
    bucket_init(&bucket, &spec, at_us(100 * SECOND_US));
    assert_int_equal(taken_until_refused(&bucket, &spec, 100 * SECOND_US), 10);
    assert_int_equal(taken_until_refused(&bucket, &spec, 99 * SECOND_US), 0);
    assert_int_equal(taken_until_refused(&bucket, &spec, 100 * SECOND_US + SECOND_US / 2), 5);
}

static void
a_window_gives_its_amount_and_begins_with_the_calendar(void **state)
{
    (void)state;
    struct limit_spec spec = spec_of(LIMIT_WINDOW, 7, MINUTE_US, 0);
    struct bucket bucket;
    bucket_init(&bucket, &spec, at_us(10 * MINUTE_US + 1));
    assert_int_equal(taken_until_refused(&bucket, &spec, 10 * MINUTE_US + 1), 7);
    assert_int_equal(taken_until_refused(&bucket, &spec, 11 * MINUTE_US - 1), 0);
    assert_int_equal(taken_until_refused(&bucket, &spec, 11 * MINUTE_US), 7);
    assert_int_equal(taken_until_refused(&bucket, &spec, 10 * MINUTE_US),
                     0); /* set back: still the later one */
    struct bucket_level level = bucket_look(&bucket, &spec, 1, at_us(11 * MINUTE_US + 20 * SECOND_US));
    assert_int_equal(level.limit, 7);
    assert_int_equal(level.left, 0);
    assert_int_equal(level.reset_us, 40 * SECOND_US);
    assert_int_equal(level.wait_us, 40 * SECOND_US);
    level = bucket_look(&bucket, &spec, 8, at_us(11 * MINUTE_US + 20 * SECOND_US));
    assert_true(level.wait_us == LIMIT_NEVER);
}

static void
what_is_shown_is_what_is_there(void **state)
{
    (void)state;
    struct limit_spec spec = spec_of(LIMIT_RATE, 60, MINUTE_US, 0);
    struct bucket bucket;
    bucket_init(&bucket, &spec, at_us(MINUTE_US));
    struct bucket_level level = bucket_look(&bucket, &spec, 1, at_us(MINUTE_US));
    assert_int_equal(level.limit, 60);
    assert_int_equal(level.left, 60);
    assert_int_equal(level.reset_us, 0);
    assert_true(take(&bucket, &spec, 59, MINUTE_US));
    level = bucket_look(&bucket, &spec, 3, at_us(MINUTE_US + SECOND_US / 2));
    assert_int_equal(level.left, 1);
    assert_int_equal(level.reset_us, 58 * SECOND_US + SECOND_US / 2);
    assert_int_equal(level.wait_us, SECOND_US + SECOND_US / 2);
    assert_false(take(&bucket, &spec, 3, MINUTE_US + SECOND_US / 2 + level.wait_us - 1));
    assert_true(take(&bucket, &spec, 3, MINUTE_US + SECOND_US / 2 + level.wait_us));
}

static void
given_back_at_once_it_is_as_it_was(void **state)
{
    (void)state;
    struct hands hands = {MINUTE_US};
    struct dyn_clock clock = clock_of(&hands);
    for (int kind = LIMIT_RATE; kind <= LIMIT_WINDOW; kind++) {
        struct limit_spec spec = spec_of((enum limit_kind)kind, 60, MINUTE_US, 0);
        struct bucket bucket;
        bucket_init(&bucket, &spec, at_us(MINUTE_US));
        assert_true(take(&bucket, &spec, 13, MINUTE_US));
        uint64_t before = atomic_load(&bucket.word);
        struct limit_take one = part(&bucket, &spec, 5);
        assert_true(bucket_take(&one, at_us(MINUTE_US)));
        bucket_give_back(&one, &clock);
        assert_true(atomic_load(&bucket.word) == before);
        assert_true(bucket_take(&one, at_us(MINUTE_US)));
        assert_true(take(&bucket, &spec, 42, MINUTE_US));
        bucket_give_back(&one, &clock);
        assert_int_equal(taken_until_refused(&bucket, &spec, MINUTE_US), 5);
    }
}

/* What came back by itself in the meantime and was used by others does not come back a second time. */
static void
given_back_late_it_does_not_pass_twice(void **state)
{
    (void)state;
    struct hands hands = {MINUTE_US};
    struct dyn_clock clock = clock_of(&hands);
    struct limit_spec spec = spec_of(LIMIT_RATE, 60, MINUTE_US, 10);
    struct bucket bucket;
    bucket_init(&bucket, &spec, at_us(MINUTE_US));
    struct limit_take one = part(&bucket, &spec, 10);
    assert_true(bucket_take(&one, at_us(MINUTE_US)));
    uint64_t later = MINUTE_US + 20 * SECOND_US;
    assert_true(take(&bucket, &spec, 4, later));
    atomic_store(&hands.mono_us, later);
    bucket_give_back(&one, &clock);
    assert_int_equal(taken_until_refused(&bucket, &spec, later), 6);

    struct limit_spec window = spec_of(LIMIT_WINDOW, 10, MINUTE_US, 0);
    bucket_init(&bucket, &window, at_us(MINUTE_US));
    one = part(&bucket, &window, 10);
    assert_true(bucket_take(&one, at_us(MINUTE_US)));
    assert_true(take(&bucket, &window, 4, 2 * MINUTE_US));
    bucket_give_back(&one, &clock); /* of the window before */
    assert_int_equal(taken_until_refused(&bucket, &window, 2 * MINUTE_US), 6);
}

static void
an_estimate_is_settled_both_ways(void **state)
{
    (void)state;
    struct hands hands = {MINUTE_US};
    struct dyn_clock clock = clock_of(&hands);
    struct limit_spec spec = spec_of(LIMIT_WINDOW, 1000, MINUTE_US, 0);
    struct bucket bucket;
    bucket_init(&bucket, &spec, at_us(MINUTE_US));
    struct limit_take less = part(&bucket, &spec, 600), more = part(&bucket, &spec, 100);
    assert_true(bucket_take(&less, at_us(MINUTE_US)));
    assert_true(bucket_take(&more, at_us(MINUTE_US)));
    assert_int_equal(bucket_settle(&less, 50, &clock), 0);
    assert_int_equal(bucket_look(&bucket, &spec, 0, at_us(MINUTE_US)).left, 850);
    assert_int_equal(bucket_settle(&more, 2100, &clock), 0);
    assert_int_equal(bucket_look(&bucket, &spec, 0, at_us(MINUTE_US)).left, 0);
    assert_false(take(&bucket, &spec, 1, MINUTE_US));
    assert_int_equal(bucket_look(&bucket, &spec, 0, at_us(2 * MINUTE_US)).left, 1000);

    struct limit_spec rate = spec_of(LIMIT_RATE, 1000, SECOND_US, 0);
    bucket_init(&bucket, &rate, at_us(MINUTE_US));
    more = part(&bucket, &rate, 1000);
    assert_true(bucket_take(&more, at_us(MINUTE_US)));
    assert_int_equal(bucket_settle(&more, 3000, &clock), 0); /* two seconds in debt */
    assert_false(take(&bucket, &rate, 1, MINUTE_US + 2 * SECOND_US));
    assert_true(take(&bucket, &rate, 1, MINUTE_US + 2 * SECOND_US + 1000));
    assert_int_equal(bucket_settle(&more, UINT64_MAX, &clock), 0); /* absurd, and harmless */
    assert_false(take(&bucket, &rate, 1, MINUTE_US + 1000000 * SECOND_US));
}

static void
numbers_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    struct limit_spec spec;
    struct dyn_err err;
    assert_int_equal(limit_spec_init(&spec, LIMIT_RATE, 0, SECOND_US, 0, &err), -1);
    assert_int_equal(limit_spec_init(&spec, LIMIT_RATE, 1, 0, 0, &err), -1);
    assert_int_equal(limit_spec_init(&spec, LIMIT_RATE, 1, 366 * 86400 * SECOND_US, 1000, &err), -1);
    assert_int_equal(limit_spec_init(&spec, LIMIT_WINDOW, 1, SECOND_US - 1, 0, &err), -1);
    assert_int_equal(limit_spec_init(&spec, LIMIT_WINDOW, UINT64_C(1) << 32, SECOND_US, 0, &err), -1);
    assert_int_equal(limit_spec_init(&spec, LIMIT_RATE, 1000000000, SECOND_US, 0, &err), 0);
    assert_int_equal(limit_spec_init(&spec, LIMIT_RATE, 100, SECOND_US, 250, &err), 0);
    assert_int_equal(spec.burst, 250);
}

/* Against a bucket of exact fractions, at random times: nothing passes that it refuses; what it lets pass is
 * refused at most for the rounding of one tick. */
static void
a_rate_is_that_of_the_exact_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct dyn_rng rng;
        dyn_rng_seed(&rng, seed);
        uint64_t amount = 1 + dyn_rng_below(&rng, 5000), period = 1000 + dyn_rng_below(&rng, 60 * SECOND_US);
        uint64_t burst = 1 + dyn_rng_below(&rng, 300), now = SECOND_US;
        struct limit_spec spec = spec_of(LIMIT_RATE, amount, period, burst);
        struct bucket bucket;
        bucket_init(&bucket, &spec, at_us(now));
        __uint128_t full = (__uint128_t)burst * period, level = full; /* in tokens times microseconds */
        for (int i = 0; i < 3000; i++) {
            uint64_t passes_us = dyn_rng_below(&rng, 2 * period / amount + 3), n = 1 + dyn_rng_below(&rng, 3);
            now += passes_us;
            level += (__uint128_t)passes_us * amount;
            level = level < full ? level : full;
            bool may = level >= (__uint128_t)n * period;
            bool did = take(&bucket, &spec, n, now);
            assert_true(may || !did);
            assert_true(did || !may || level < (__uint128_t)n * period + (uint64_t)(i + 1) * amount);
            level -= did ? (__uint128_t)n * period : 0;
        }
    }
}

struct crowd {
    struct bucket bucket;
    struct limit_spec spec;
    atomic_uint_fast64_t passed;
    uint64_t seed;
};

static void *
ask_often(void *self)
{
    struct crowd *crowd = self;
    struct hands hands = {MINUTE_US};
    struct dyn_clock clock = clock_of(&hands);
    struct dyn_rng rng;
    dyn_rng_seed(&rng, crowd->seed);
    uint64_t passed = 0;
    for (int i = 0; i < 3000; i++) {
        struct limit_take one = part(&crowd->bucket, &crowd->spec, 1 + dyn_rng_below(&rng, 3));
        if (!bucket_take(&one, at_us(MINUTE_US))) {
            continue;
        }
        if (dyn_rng_below(&rng, 4) == 0) {
            bucket_give_back(&one, &clock);
        } else {
            passed += one.n;
        }
    }
    while (take(&crowd->bucket, &crowd->spec, 1, MINUTE_US)) {
        passed++;
    }
    (void)atomic_fetch_add(&crowd->passed, passed);
    return NULL;
}

static void
threads_pass_exactly_the_limit(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        for (int kind = LIMIT_RATE; kind <= LIMIT_WINDOW; kind++) {
            pthread_t threads[4];
            size_t n_threads = 2 + seed % 3;
            uint64_t limit = 1000 + seed * 37;
            struct crowd crowd = {.spec = spec_of((enum limit_kind)kind, limit, MINUTE_US, 0), .seed = seed};
            bucket_init(&crowd.bucket, &crowd.spec, at_us(MINUTE_US));
            for (size_t i = 0; i < n_threads; i++) {
                assert_int_equal(pthread_create(&threads[i], NULL, ask_often, &crowd), 0);
            }
            for (size_t i = 0; i < n_threads; i++) {
                assert_int_equal(pthread_join(threads[i], NULL), 0);
            }
            assert_true(atomic_load(&crowd.passed) == limit);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rate_gives_its_burst_and_then_one_at_a_time),
        cmocka_unit_test(a_clock_that_is_behind_gives_nothing_extra),
        cmocka_unit_test(a_window_gives_its_amount_and_begins_with_the_calendar),
        cmocka_unit_test(what_is_shown_is_what_is_there),
        cmocka_unit_test(given_back_at_once_it_is_as_it_was),
        cmocka_unit_test(given_back_late_it_does_not_pass_twice),
        cmocka_unit_test(an_estimate_is_settled_both_ways),
        cmocka_unit_test(numbers_that_do_not_fit_are_refused),
        cmocka_unit_test(a_rate_is_that_of_the_exact_model),
        cmocka_unit_test(threads_pass_exactly_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
