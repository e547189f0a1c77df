/* Timestamps against the C library's calendar; generators against their published definition. */
#include "core/clock.h"
#include "core/rand.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

static void
assert_timestamp(uint64_t wall_us, const char *expected)
{
    char text[DYN_TIMESTAMP_SIZE];
    dyn_timestamp(wall_us, text);
    assert_string_equal(text, expected);
}

static void
timestamps_of_known_instants(void **state)
{
    (void)state;
    assert_timestamp(0, "1970-01-01T00:00:00.000Z");
    assert_timestamp(999, "1970-01-01T00:00:00.000Z");
    assert_timestamp(951827696789012, "2000-02-29T12:34:56.789Z");
    assert_timestamp(4107542400000000, "2100-03-01T00:00:00.000Z"); /* 2100 has no leap day */
    assert_timestamp(253402300799999999, "9999-12-31T23:59:59.999Z");
    assert_timestamp(UINT64_MAX, "9999-12-31T23:59:59.999Z");
}

static void
timestamps_agree_with_the_calendar(void **state)
{
    (void)state;
    struct dyn_rng rng;
    dyn_rng_seed(&rng, 4711);
    for (int i = 0; i < 50000; i++) {
        time_t second = (time_t)dyn_rng_below(&rng, 253402300800);
        if (i < 2000) { /* every day around the year's turns and leap days of one cycle */
            second = (time_t)i * 86400 * 73 + 86399;
        }
        struct tm tm;
        assert_non_null(gmtime_r(&second, &tm));
        char expected[64];
        size_t len = strftime(expected, sizeof expected, "%Y-%m-%dT%H:%M:%S", &tm);
        (void)snprintf(expected + len, sizeof expected - len, ".%03dZ", i % 1000);
        assert_timestamp((uint64_t)second * 1000000 + (uint64_t)(i % 1000) * 1000 + 999, expected);
    }
}

static void
assert_reads(const char *text, uint64_t expected)
{
    uint64_t us = 0;
    assert_true(dyn_timestamp_read(dyn_slice_str(text), &us));
    assert_int_equal(us, expected);
}

static void
timestamps_are_read(void **state)
{
    static const char *const wrong[] = {
        "",
        "2026",
        "2026-01-01",
        "2026-01-01T00:00:00",
        "2026-02-29T00:00:00Z",
        "2100-02-29T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:00:00+2:00",
        "2026-01-01T00:00:00Zx",
        "1970-01-01T00:00:00+01:00",
        "1969-12-31T23:59:59Z",
    };
    (void)state;
    assert_reads("1970-01-01T00:00:00Z", 0);
    assert_reads("2000-02-29T12:34:56.789012Z", 951827696789012);
    assert_reads("2000-02-29 14:34:56.789012999+02:00", 951827696789012);
    assert_reads("2000-02-29t10:04:56-02:30", 951827696000000);
    for (size_t i = 0; i < DYN_ARRAY_LEN(wrong); i++) {
        uint64_t us;
        assert_false(dyn_timestamp_read(dyn_slice_str(wrong[i]), &us));
    }
}

/* What is written is read as the same instant, up to the milliseconds that are shown. */
static void
timestamps_come_back(void **state)
{
    struct dyn_rng rng;
    (void)state;
    dyn_rng_seed(&rng, 815);
    for (int i = 0; i < 20000; i++) {
        uint64_t us = dyn_rng_below(&rng, 253402300800) * 1000000 + dyn_rng_below(&rng, 1000) * 1000;
        char text[DYN_TIMESTAMP_SIZE];
        dyn_timestamp(us, text);
        assert_reads(text, us);
    }
}

static void
the_system_clocks_run(void **state)
{
    (void)state;
    uint64_t before = dyn_mono_us(&dyn_clock_system);
    assert_true(before > 0);
    assert_true(dyn_mono_us(&dyn_clock_system) >= before);
    uint64_t wall_s = dyn_wall_us(&dyn_clock_system) / 1000000;
    uint64_t libc_s = (uint64_t)time(NULL);
    assert_true(wall_s + 2 >= libc_s && wall_s <= libc_s + 2);
}

/* First outputs of xoshiro256** for the state that SplitMix64 makes of seed 0, computed from the
 * published recurrences with arbitrary-precision arithmetic. */
static void
draws_are_those_of_the_published_generator(void **state)
{
    (void)state;
    static const uint64_t expected[] = {
        0x99EC5F36CB75F2B4u, 0xBF6E1F784956452Au, 0x1A5F849D4933E6E0u,
        0x6AA594F1262D2D2Cu, 0xBBA5AD4A1F842E59u, 0xFFEF8375D9EBCACAu,
    };
    struct dyn_rng rng;
    dyn_rng_seed(&rng, 0);
    for (size_t i = 0; i < DYN_ARRAY_LEN(expected); i++) {
        assert_int_equal(dyn_rng_next(&rng), expected[i]);
    }
}

static void
a_seed_repeats_its_draws(void **state)
{
    (void)state;
    struct dyn_rng a, b, c;
    dyn_rng_seed(&a, 77);
    dyn_rng_seed(&b, 77);
    dyn_rng_seed(&c, 78);
    size_t same = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t draw = dyn_rng_next(&a);
        assert_int_equal(draw, dyn_rng_next(&b));
        same += draw == dyn_rng_next(&c);
    }
    assert_int_equal(same, 0);
}

static void
bounded_draws_are_even(void **state)
{
    (void)state;
    struct dyn_rng rng;
    dyn_rng_seed(&rng, 5);
    unsigned counts[7] = {0};
    for (int i = 0; i < 70000; i++) {
        counts[dyn_rng_below(&rng, 7)]++;
    }
    for (size_t i = 0; i < 7; i++) {
        assert_in_range(counts[i], 9500, 10500);
    }
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(dyn_rng_below(&rng, 1), 0);
        assert_true(dyn_rng_below(&rng, UINT64_MAX) < UINT64_MAX);
        assert_true(dyn_rng_below(&rng, ((uint64_t)1 << 63) + 1) <= (uint64_t)1 << 63);
    }
}

static void *
draw_bytes(void *out)
{
    dyn_random_bytes(out, 16);
    return NULL;
}

static void
random_bytes_do_not_repeat(void **state)
{
    (void)state;
    enum { IDS = 1000, BYTES = 16 };
    static uint8_t ids[IDS][BYTES]; /* more than one filling of the pool */
    for (size_t i = 0; i < IDS; i++) {
        dyn_random_bytes(ids[i], BYTES);
        for (size_t j = 0; j < i; j++) {
            assert_memory_not_equal(ids[i], ids[j], BYTES);
        }
    }
    uint8_t large[5000] = {0};
    dyn_random_bytes(large, sizeof large);
    unsigned bits = 0;
    for (size_t i = 0; i < sizeof large; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            bits += (unsigned)large[i] >> bit & 1u;
        }
    }
    assert_in_range(bits, 19000, 21000);
    dyn_random_bytes(NULL, 0);
    pthread_t thread;
    uint8_t other[BYTES];
    assert_int_equal(pthread_create(&thread, NULL, draw_bytes, other), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_memory_not_equal(other, ids[0], BYTES);
}

static void
hex_both_ways(void **state)
{
    (void)state;
    uint8_t bytes[256], back[256];
    char hex[512];
    for (size_t i = 0; i < 256; i++) {
        bytes[i] = (uint8_t)i;
    }
    dyn_hex_encode(hex, bytes, 256);
    assert_memory_equal(hex, "000102", 6);
    assert_memory_equal(hex + 506, "fdfeff", 6);
    assert_int_equal(dyn_hex_decode(back, 256, dyn_slice(hex, 512)), 0);
    assert_memory_equal(back, bytes, 256);
    assert_int_equal(dyn_hex_decode(back, 2, DYN_SLICE("aBCd")), 0);
    assert_int_equal(back[0], 0xAB);
    assert_int_equal(back[1], 0xCD);
    assert_int_equal(dyn_hex_decode(back, 2, DYN_SLICE("abc")), -1);
    assert_int_equal(dyn_hex_decode(back, 2, DYN_SLICE("abcde")), -1);
    assert_int_equal(dyn_hex_decode(back, 0, DYN_SLICE("")), 0);
    for (int c = 1; c < 256; c++) {
        char text[2] = {'0', (char)c};
        bool is_hex = strchr("0123456789abcdefABCDEF", c) != NULL;
        assert_int_equal(dyn_hex_decode(back, 1, dyn_slice(text, 2)), is_hex ? 0 : -1);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timestamps_of_known_instants),
        cmocka_unit_test(timestamps_agree_with_the_calendar),
        cmocka_unit_test(timestamps_are_read),
        cmocka_unit_test(timestamps_come_back),
        cmocka_unit_test(the_system_clocks_run),
        cmocka_unit_test(draws_are_those_of_the_published_generator),
        cmocka_unit_test(a_seed_repeats_its_draws),
        cmocka_unit_test(bounded_draws_are_even),
        cmocka_unit_test(random_bytes_do_not_repeat),
        cmocka_unit_test(hex_both_ways),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
