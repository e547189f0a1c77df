/* When an upstream says to come back, in all the ways in which upstreams say it. */
#include "actors/providers/retry_hint.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* Sun, 06 Nov 1994 08:49:30 GMT */
#define NOW_S  UINT64_C(784111770)
#define NOW_US (NOW_S * 1000000)

struct value_case {
    const char *value;
    uint32_t ms;
};

static void
a_retry_after_is_seconds_or_a_date(void **state)
{
    (void)state;
    static const struct value_case cases[] = {
        {"7", 7000},
        {" 7 ", 7000},
        {"0", 0},
        {"1.5", 1500},
        {"0.0004", 0},
        {"86400", RETRY_HINT_MAX_MS},
        {"86401", RETRY_HINT_MAX_MS},
        {"999999999", RETRY_HINT_MAX_MS},
        {"18446744073709551616", RETRY_HINT_MAX_MS},
        {"99999999999999999999999999999999999999999", RETRY_HINT_MAX_MS},
        {"Sun, 06 Nov 1994 08:49:37 GMT", 7000},
        {"Sun, 06 Nov 1994 08:49:30 GMT", 0},
        {"Sun, 06 Nov 1994 08:49:29 GMT", 0},
        {"Sun, 06 Nov 1999 08:49:29 GMT", RETRY_HINT_MAX_MS},
        {"Sun, 06 Now 1994 08:49:37 GMT", 0},
        {"Sun, 06 Nov 1994 08:49:37 CET", 0},
        {"Sun, 00 Nov 1994 08:49:37 GMT", 0},
        {"-3", 0},
        {"+3", 0},
        {"7s", 0},
        {"1.", 0},
        {".5", 0},
        {"", 0},
        {"soon", 0},
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(cases); i++) {
        assert_int_equal(retry_hint_after(dyn_slice_str(cases[i].value), NOW_US), cases[i].ms);
    }
}

static void
milliseconds_are_rounded_up(void **state)
{
    (void)state;
    static const struct value_case cases[] = {
        {"1", 1}, {"1500", 1500}, {"1500.2", 1501}, {"0", 0},
        {"x", 0}, {"", 0},        {"12 3", 0},      {"99999999999999999999", RETRY_HINT_MAX_MS}};
    for (size_t i = 0; i < DYN_ARRAY_LEN(cases); i++) {
        assert_int_equal(retry_hint_after_ms(dyn_slice_str(cases[i].value)), cases[i].ms);
    }
}

static void
a_reset_is_a_duration_or_a_time(void **state)
{
    (void)state;
    static const struct value_case cases[] = {
        {"30", 30000},
        {"0.25", 250},
        {"20ms", 20},
        {"1s", 1000},
        {"6m0s", 360000},
        {"1m26.4s", 86400},
        {"2h3m4.005s", 7384005},
        {"24h", RETRY_HINT_MAX_MS},
        {"24h1ms", 0},    /* more than a day is not believed */
        {"784111775", 0}, /* below a billion: a duration, and too long a one */
        {"1994-11-06T08:49:32Z", 2000},
        {"1994-11-06T08:49:32.871Z", 2000},
        {"1994-11-06T08:49:29Z", 0},
        {"1994-13-06T08:49:32Z", 0},
        {"1994-11-06T08:49:32+01:00", 0},
        {"5d", 0},
        {"s", 0},
        {"1s2", 0},
        {"99999999999999999999h99999999999999999999h", 0},
        {"", 0},
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(cases); i++) {
        assert_int_equal(retry_hint_reset(dyn_slice_str(cases[i].value), NOW_US), cases[i].ms);
    }
}

static void
a_large_number_is_a_time_since_1970(void **state)
{
    (void)state;
    uint64_t now_us = UINT64_C(1790000000) * 1000000;
    assert_int_equal(retry_hint_reset(DYN_SLICE("1790000060"), now_us), 60000);
    assert_int_equal(retry_hint_reset(DYN_SLICE("1790000060500"), now_us), 60500);
    assert_int_equal(retry_hint_reset(DYN_SLICE("1789999999"), now_us), 0);
    assert_int_equal(retry_hint_reset(DYN_SLICE("1790086401"), now_us), 0);
}

static uint32_t
hint_of(const char *const headers[][2], size_t n)
{
    struct retry_hint hint = {.after_ms = 0};
    for (size_t i = 0; i < n; i++) {
        retry_hint_header(&hint, dyn_slice_str(headers[i][0]), dyn_slice_str(headers[i][1]), NOW_US);
    }
    return retry_hint_ms(&hint);
}

#define HINT(...)                                                                                            \
    hint_of((const char *const[][2]){__VA_ARGS__},                                                           \
            sizeof((const char *[][2]){__VA_ARGS__}) / sizeof(const char *[2]))

static void
retry_after_goes_before_resets(void **state)
{
    (void)state;
    assert_int_equal(HINT({"x-ratelimit-reset", "60"}, {"retry-after", "2"}), 2000);
    assert_int_equal(HINT({"retry-after", "2"}, {"retry-after-ms", "1300"}), 1300);
    assert_int_equal(HINT({"retry-after-ms", "1300"}, {"retry-after", "2"}), 1300);
    assert_int_equal(HINT({"retry-after-ms", "x"}, {"retry-after", "2"}), 2000);
    assert_int_equal(HINT({"retry-after", "nonsense"}, {"x-ratelimit-reset", "60"}), 60000);
}

static void
of_several_limits_the_one_that_is_used_up_counts(void **state)
{
    (void)state;
    assert_int_equal(HINT({"x-ratelimit-reset-requests", "1s"}, {"x-ratelimit-reset-tokens", "6m0s"}),
                     360000);
    assert_int_equal(HINT({"x-ratelimit-remaining-requests", "0"}, {"x-ratelimit-reset-requests", "1s"},
                          {"x-ratelimit-remaining-tokens", "7"}, {"x-ratelimit-reset-tokens", "6m0s"}),
                     1000);
    assert_int_equal(HINT({"anthropic-ratelimit-input-tokens-reset", "1994-11-06T08:49:34Z"},
                          {"anthropic-ratelimit-input-tokens-remaining", "0"},
                          {"anthropic-ratelimit-requests-reset", "1994-11-06T08:50:30Z"},
                          {"anthropic-ratelimit-requests-remaining", "4"}),
                     4000);
    assert_int_equal(HINT({"ratelimit-reset", "9"}), 9000);
    assert_int_equal(HINT({"x-ratelimit-limit-requests", "9"}, {"x-ratelimit-resets", "9"}, {"date", "9"}),
                     0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_retry_after_is_seconds_or_a_date),
        cmocka_unit_test(milliseconds_are_rounded_up),
        cmocka_unit_test(a_reset_is_a_duration_or_a_time),
        cmocka_unit_test(a_large_number_is_a_time_since_1970),
        cmocka_unit_test(retry_after_goes_before_resets),
        cmocka_unit_test(of_several_limits_the_one_that_is_used_up_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
