/* Numbers by value: integers exact or refused, doubles correctly rounded in any locale. */
#include "core/buf.h"
#include "core/json_scan.h"
#include "core/rand.h"

#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct json_value
number(const char *text)
{
    struct json_value value;
    if (json_scan(dyn_slice_str(text), 1, &value, NULL) != 0) {
        fail_msg("%s", text);
    }
    return value;
}

static const struct {
    const char *text;
    int64_t value;
} integers[] = {
    {"0", 0},
    {"-0", 0},
    {"0.000", 0},
    {"0e99999999999999999999", 0},
    {"0e-99999999999999999999", 0},
    {"1", 1},
    {"-1", -1},
    {"7e0", 7},
    {"10", 10},
    {"1000000", 1000000},
    {"1.0", 1},
    {"1.000000000000000000000000000000", 1},
    {"1e3", 1000},
    {"1E+3", 1000},
    {"1.5e1", 15},
    {"1500e-2", 15},
    {"-1.25e2", -125},
    {"0.00001e5", 1},
    {"100000000000000000000000000e-26", 1},
    {"1e18", 1000000000000000000},
    {"9223372036854775807", INT64_MAX},
    {"9223372036854775807.0", INT64_MAX},
    {"-9223372036854775808", INT64_MIN},
    {"-9223372036854775807", -INT64_MAX},
    {"9007199254740993", 9007199254740993},
    {"92233720368547758.07e2", INT64_MAX},
};

static const char *const not_int64[] = {
    "0.5",
    "-0.5",
    "1e-1",
    "1.0000000000000000000000000000001",
    "9223372036854775808",
    "-9223372036854775809",
    "9223372036854775807.5",
    "18446744073709551615",
    "18446744073709551616",
    "10000000000000000000",
    "1e19",
    "1e99999999999999999999",
    "1e-99999999999999999999",
    "-1e300",
    "123456789012345678901234567890",
};

static void
integers_are_exact_or_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(integers); i++) {
        int64_t value = 12345;
        if (json_int64(number(integers[i].text), &value) != 0 || value != integers[i].value) {
            fail_msg("%s is %" PRId64, integers[i].text, value);
        }
    }
    for (size_t i = 0; i < DYN_ARRAY_LEN(not_int64); i++) {
        int64_t value = 12345;
        if (json_int64(number(not_int64[i]), &value) != -1 || value != 12345) {
            fail_msg("%s is %" PRId64, not_int64[i], value);
        }
    }
}

static void
random_integers_survive_every_spelling(void **state)
{
    (void)state;
    struct dyn_rng rng;
    dyn_rng_seed(&rng, 1);
    for (int i = 0; i < 100000; i++) {
        int64_t expected = (int64_t)(dyn_rng_next(&rng) >> dyn_rng_below(&rng, 63));
        int64_t value;
        char text[128];
        (void)snprintf(text, sizeof text, "%" PRId64, expected);
        assert_int_equal(json_int64(number(text), &value), 0);
        assert_int_equal(value, expected);
        if (expected == 0) {
            continue; /* zeros behind it would be leading ones */
        }
        (void)snprintf(text, sizeof text, "%" PRId64 "%.*se-%d", expected, i % 40,
                       "0000000000000000000000000000000000000000", i % 40);
        assert_int_equal(json_int64(number(text), &value), 0);
        assert_int_equal(value, expected);
    }
}

static void
other_values_are_not_numbers(void **state)
{
    (void)state;
    static const char *const texts[] = {"null", "true", "\"1\"", "[1]", "{}"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(texts); i++) {
        int64_t integer;
        double real;
        assert_int_equal(json_int64(number(texts[i]), &integer), -1);
        assert_int_equal(json_double(number(texts[i]), &real), -1);
    }
}

static void
assert_double(const char *text, double expected)
{
    double value;
    assert_int_equal(json_double(number(text), &value), 0);
    uint64_t bits, expected_bits;
    memcpy(&bits, &value, sizeof bits);
    memcpy(&expected_bits, &expected, sizeof expected_bits);
    if (bits != expected_bits) {
        fail_msg("%s is %.17g, not %.17g", text, value, expected);
    }
}

static void
doubles_are_correctly_rounded(void **state)
{
    (void)state;
    assert_double("0", 0.0);
    assert_double("-0", -0.0);
    assert_double("-0.0e5", -0.0);
    assert_double("0e999", 0.0);
    assert_double("0.7", 0.7);
    assert_double("1.0", 1.0);
    assert_double("0.1", 0x1.999999999999ap-4);
    assert_double("123.456e-2", 1.23456);
    assert_double("9007199254740992", 0x1p53);
    assert_double("9007199254740993", 0x1p53); /* half way: to even */
    assert_double("9007199254740993.0000000000000000000000000000000000000000000000000000001",
                  9007199254740994.0);
    assert_double("1e22", 1e22);
    assert_double("1e23", 1e23);
    assert_double("8.5e22", 8.5e22);
    assert_double("2.2250738585072011e-308", 0x0.fffffffffffffp-1022);
    assert_double("4.9e-324", 0x1p-1074);
    assert_double("2.4703282292062327e-324", 0.0);
    assert_double("1e-400", 0.0);
    assert_double("-1e-99999999999999999999", -0.0);
    assert_double("1.7976931348623157e308", 0x1.fffffffffffffp1023);
    double value = 5;
    assert_int_equal(json_double(number("1e309"), &value), -1);
    assert_int_equal(json_double(number("-1e99999999999999999999"), &value), -1);
    assert_true(value > 4 && value < 6);
}

static void
random_doubles_agree_with_the_c_library(void **state)
{
    (void)state;
    struct dyn_rng rng;
    dyn_rng_seed(&rng, 2);
    for (int i = 0; i < 200000; i++) {
        char text[64];
        uint64_t digits = dyn_rng_next(&rng) >> dyn_rng_below(&rng, 64);
        int exponent = (int)dyn_rng_below(&rng, i % 4 == 0 ? 640 : 60) - (i % 4 == 0 ? 340 : 30);
        (void)snprintf(text, sizeof text, i % 2 ? "%" PRIu64 "e%d" : "0.%019" PRIu64 "e%d", digits, exponent);
        double expected = strtod(text, NULL);
        double value;
        bool finite = json_double(number(text), &value) == 0;
        assert_int_equal(finite, isfinite(expected) != 0);
        if (finite) {
            assert_double(text, expected);
        }
    }
}

static void
long_numbers_are_read_to_the_end(void **state)
{
    (void)state;
    struct dyn_buf text = DYN_BUF_INIT;
    dyn_buf_add_char(&text, '1');
    for (int i = 0; i < 5000; i++) {
        dyn_buf_add_char(&text, '0');
    }
    dyn_buf_add_str(&text, "e-5000");
    assert_double(dyn_buf_cstr(&text), 1.0);
    int64_t integer;
    assert_int_equal(json_int64(number(dyn_buf_cstr(&text)), &integer), 0);
    assert_int_equal(integer, 1);
    dyn_buf_clear(&text);
    dyn_buf_add_str(&text, "9007199254740993.");
    for (int i = 0; i < 2000; i++) {
        dyn_buf_add_char(&text, '0');
    }
    dyn_buf_add_char(&text, '1');
    assert_double(dyn_buf_cstr(&text), 9007199254740994.0);
    dyn_buf_fini(&text);
}

/* Any locale with a decimal comma shows it; where none is installed the C locale proves nothing new. */
static void
the_locale_does_not_matter(void **state)
{
    (void)state;
    static const char *const names[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE", "fr_FR", "pl_PL.UTF-8", "C"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(names) && setlocale(LC_ALL, names[i]) == NULL; i++) {
    }
    assert_double("0.5", 0.5);
    assert_double("1.2345678901234567890e-5", 0x1.9e409302678bap-17);
    assert_double("3.14159265358979323846264338327950288419716939937510582097494459230781",
                  0x1.921fb54442d18p+1);
    assert_non_null(setlocale(LC_ALL, "C"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_are_exact_or_refused),
        cmocka_unit_test(random_integers_survive_every_spelling),
        cmocka_unit_test(other_values_are_not_numbers),
        cmocka_unit_test(doubles_are_correctly_rounded),
        cmocka_unit_test(random_doubles_agree_with_the_c_library),
        cmocka_unit_test(long_numbers_are_read_to_the_end),
        cmocka_unit_test(the_locale_does_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
