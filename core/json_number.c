/* Numbers of a scanned text. Integers are taken by value, so 1.0 and 1e3 are integers; doubles are
 * correctly rounded and do not depend on the process's locale. */
#include "core/json_scan.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

/* A number as sign * digits * 10^exponent. */
struct decimal {
    bool negative;
    bool exact;       /* `digits` holds them all */
    uint64_t digits;  /* the first 19 without leading zeros */
    int64_t exponent; /* clamped; beyond +-EXPONENT_CLAMP nothing differs */
};

enum { EXPONENT_CLAMP = 100000000, DIGITS_MAX = 19 };

static int64_t
read_exponent(const char *at, const char *end)
{
    bool negative = at < end && *at == '-';
    int64_t value = 0;
    for (at += at < end && (*at == '-' || *at == '+'); at < end; at++) {
        value = value * 10 + (*at - '0');
        if (value > EXPONENT_CLAMP) {
            value = EXPONENT_CLAMP;
        }
    }
    return negative ? -value : value;
}

/* Zeros at the end of the digits are not taken until a digit follows them: 1.000 has one digit. */
struct digit_reader {
    struct decimal *out;
    unsigned n_digits;
    int64_t zeros; /* seen behind the last digit that was taken */
};

static void
take_digit(struct digit_reader *reader, unsigned digit)
{
    struct decimal *out = reader->out;
    if (digit == 0) {
        reader->zeros += reader->n_digits > 0;
        return;
    }
    for (reader->zeros++; reader->zeros > 0; reader->zeros--) {
        if (reader->n_digits == DIGITS_MAX) {
            out->exact = false;
            return;
        }
        out->digits = out->digits * 10 + (reader->zeros == 1 ? digit : 0);
        reader->n_digits++;
    }
}

static void
read_decimal(struct dyn_slice raw, struct decimal *out)
{
    const char *at = raw.data;
    const char *end = raw.data + raw.len;
    *out = (struct decimal){.negative = *at == '-', .exact = true};
    struct digit_reader reader = {.out = out};
    bool in_fraction = false;
    int64_t exponent = 0;
    for (at += out->negative; at < end && (*at | 0x20) != 'e'; at++) {
        if (*at == '.') {
            in_fraction = true;
            continue;
        }
        exponent -= in_fraction;
        take_digit(&reader, (unsigned)(*at - '0'));
    }
    if (at < end) {
        exponent += read_exponent(at + 1, end);
    }
    out->exponent = exponent + reader.zeros;
}

int
json_int64(struct json_value number, int64_t *out)
{
    struct decimal decimal;
    if (number.type != JSON_NUMBER || number.raw.len == 0) {
        return -1;
    }
    read_decimal(number.raw, &decimal);
    if (!decimal.exact || (decimal.exponent < 0 && decimal.digits != 0)) {
        return -1;
    }
    uint64_t limit = decimal.negative ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX;
    uint64_t value = decimal.digits;
    for (int64_t i = 0; i < decimal.exponent && value != 0; i++) {
        if (value > limit / 10) {
            return -1;
        }
        value *= 10;
    }
    if (value > limit) {
        return -1;
    }
    *out = decimal.negative ? (int64_t)(0 - value) : (int64_t)value;
    return 0;
}

static locale_t c_locale;

static void
make_c_locale(void)
{
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    DYN_ASSERT(c_locale != (locale_t)0);
}

static double
parse_slowly(struct dyn_slice raw)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, make_c_locale);
    char short_text[64];
    char *text = raw.len < sizeof short_text ? short_text : dyn_alloc(raw.len + 1);
    memcpy(text, raw.data, raw.len);
    text[raw.len] = '\0';
    double value = strtod_l(text, NULL, c_locale);
    if (text != short_text) {
        free(text);
    }
    return value;
}

/* Up to 2^53 and 10^22 both factors are doubles exactly, so one operation rounds once (Clinger 1990).
 * That covers what people write for temperatures and probabilities. */
static bool
parse_fast(const struct decimal *decimal, double *out)
{
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    const int64_t largest = (int64_t)DYN_ARRAY_LEN(powers) - 1;
    if (FLT_EVAL_METHOD != 0 || !decimal->exact || decimal->digits > (uint64_t)1 << 53 ||
        decimal->exponent > largest || decimal->exponent < -largest) {
        return false;
    }
    double value = (double)decimal->digits;
    value = decimal->exponent < 0 ? value / powers[-decimal->exponent] : value * powers[decimal->exponent];
    *out = decimal->negative ? -value : value;
    return true;
}

int
json_double(struct json_value number, double *out)
{
    struct decimal decimal;
    if (number.type != JSON_NUMBER || number.raw.len == 0) {
        return -1;
    }
    read_decimal(number.raw, &decimal);
    double value;
    if (!parse_fast(&decimal, &value)) {
        value = parse_slowly(number.raw);
    }
    if (!isfinite(value)) {
        return -1;
    }
    *out = value;
    return 0;
}
