#include "models/decimal.h"

/* 19 digits always fit, and no price needs more. */
enum { DIGITS_MAX = 19, EXPONENT_MAX = 10000 };

struct decimal {
    char digits[DIGITS_MAX + 1]; /* without leading zeros; one more to round by */
    int n;                       /* of them */
    int point;                   /* the value is 0.DIGITS * 10^point */
};

static bool
read_exponent(struct dyn_slice text, size_t at, int *exponent)
{
    bool negative = at < text.len && text.data[at] == '-';
    at += negative || (at < text.len && text.data[at] == '+');
    int sum = 0;
    bool any = false;
    for (; at < text.len && text.data[at] >= '0' && text.data[at] <= '9'; at++, any = true) {
        sum = sum < EXPONENT_MAX ? sum * 10 + (text.data[at] - '0') : sum;
    }
    *exponent = negative ? -sum : sum;
    return any && at == text.len;
}

static void
take_digit(struct decimal *decimal, char digit)
{
    if (decimal->n > 0 || digit != '0') {
        if (decimal->n < DIGITS_MAX + 1) {
            decimal->digits[decimal->n++] = digit;
        }
    }
}

static bool
read_decimal(struct dyn_slice text, struct decimal *decimal)
{
    bool after_point = false;
    bool any = false;
    size_t at = 0;
    for (; at < text.len; at++) {
        char c = text.data[at];
        if (c == '.' && !after_point) {
            after_point = true;
            continue;
        }
        if (c < '0' || c > '9') {
            break;
        }
        any = true;
        take_digit(decimal, c);
        /* A digit before the point moves it right once digits count, a zero behind it left until they do. */
        if (!after_point && decimal->n > 0) {
            decimal->point++;
        } else if (after_point && decimal->n == 0) {
            decimal->point--;
        }
    }
    int exponent = 0;
    if (at < text.len && ((text.data[at] | 0x20) != 'e' || !read_exponent(text, at + 1, &exponent))) {
        return false;
    }
    decimal->point += exponent;
    return any;
}

bool
catalogue_decimal(struct dyn_slice number, int scale, uint64_t *out)
{
    struct decimal decimal = {.n = 0};
    if (!read_decimal(number, &decimal)) {
        return false;
    }
    int whole = decimal.point + scale; /* digits in front of the point */
    if (decimal.n > 0 && whole > DIGITS_MAX) {
        return false;
    }
    uint64_t sum = 0;
    for (int i = 0; decimal.n > 0 && i < whole; i++) {
        sum = sum * 10 + (uint64_t)(i < decimal.n ? decimal.digits[i] - '0' : 0);
    }
    if (whole >= 0 && whole < decimal.n && decimal.digits[whole] >= '5') {
        sum++;
    }
    *out = sum == 0 && decimal.n > 0 ? 1 : sum;
    return true;
}

uint32_t
catalogue_day(struct dyn_slice text)
{
    static const char shape[] = "dddd-dd-dd";
    uint32_t day = 0;
    if (text.len < sizeof shape - 1) {
        return 0;
    }
    for (size_t i = 0; i < sizeof shape - 1; i++) {
        char c = text.data[i];
        if (shape[i] == 'd' ? c < '0' || c > '9' : c != shape[i]) {
            return 0;
        }
        day = shape[i] == 'd' ? day * 10 + (uint32_t)(c - '0') : day;
    }
    return day;
}
