/* Sizes and durations: decimal numbers with units, read and written exactly. The fraction is a whole
 * number over a power of ten, never a double: 0.1s is 100 ms and 1.1KiB is refused. */
#include "core/config_value.h"

#include "core/config_tree.h"

#include <stdio.h>

/* Decimals after the point: with more the product with the largest unit would not fit 64 bits. */
#define FRACTION_DIGITS_MAX 6
#define SHOWN_BYTES         60

/* A unit and what it multiplies by. */
struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit size_units[] = {
    {"B", 1},
    {"KiB", 1ull << 10},
    {"MiB", 1ull << 20},
    {"GiB", 1ull << 30},
    {"TiB", 1ull << 40},
    {"KB", 1000},
    {"kB", 1000},
    {"MB", 1000 * 1000},
    {"GB", 1000 * 1000 * 1000},
    {"TB", 1000ull * 1000 * 1000 * 1000},
    {NULL, 0},
};

/* In nanoseconds, as Go counts; what is left below a millisecond is refused. */
static const struct unit duration_units[] = {
    {"ns", 1},
    {"us", 1000},
    {"\xC2\xB5s", 1000}, /* micro sign */
    {"\xCE\xBCs", 1000}, /* Greek mu */
    {"ms", 1000 * 1000},
    {"s", 1000 * 1000 * 1000},
    {"m", 60ull * 1000 * 1000 * 1000},
    {"h", 3600ull * 1000 * 1000 * 1000},
    {NULL, 0},
};
#define NS_PER_MS 1000000u

/* The unit that begins at `at`: the longest one, so that "ms" is not "m". */
static const struct unit *
unit_at(const struct unit *units, const char *at, const char *end)
{
    const struct unit *found = NULL;
    size_t found_len = 0;
    for (; units->name != NULL; units++) {
        size_t len = strlen(units->name);
        if (len > found_len && (size_t)(end - at) >= len && memcmp(at, units->name, len) == 0) {
            found = units;
            found_len = len;
        }
    }
    return found;
}

enum measure_fault { MEASURE_OK, MEASURE_MALFORMED, MEASURE_NO_UNIT, MEASURE_TOO_LARGE, MEASURE_TOO_FINE };

/* whole + fraction/scale times the unit, exactly. */
static enum measure_fault
scaled(uint64_t whole, uint64_t fraction, uint64_t scale, uint64_t factor, uint64_t *out)
{
    if (fraction * factor % scale != 0) { /* fits: FRACTION_DIGITS_MAX */
        return MEASURE_TOO_FINE;
    }
    if (__builtin_mul_overflow(whole, factor, out) ||
        __builtin_add_overflow(*out, fraction * factor / scale, out)) {
        return MEASURE_TOO_LARGE;
    }
    return MEASURE_OK;
}

/* One decimal number with its unit, from *at on. */
static enum measure_fault
read_measure(const struct unit *units, const char **at, const char *end, uint64_t *out)
{
    uint64_t whole = 0;
    uint64_t fraction = 0;
    uint64_t scale = 1;
    const char *from = *at;
    if (!config_read_digits(at, end, &whole)) {
        if (*at > from) {
            return MEASURE_TOO_LARGE;
        }
        if (*at == end || **at != '.') {
            return MEASURE_MALFORMED;
        }
    }
    if (*at < end && **at == '.') {
        const char *digits = ++*at;
        for (; *at < end && config_is_digit(**at); (*at)++) {
            if (*at - digits >= FRACTION_DIGITS_MAX) {
                return MEASURE_TOO_FINE;
            }
            fraction = fraction * 10 + (uint64_t)(**at - '0');
            scale *= 10;
        }
        if (*at == digits && digits - from == 1) { /* a point alone */
            return MEASURE_MALFORMED;
        }
    }
    if (*at == end) {
        return MEASURE_NO_UNIT;
    }
    const struct unit *unit = unit_at(units, *at, end);
    if (unit == NULL) {
        return MEASURE_MALFORMED;
    }
    *at += strlen(unit->name);
    return scaled(whole, fraction, scale, unit->factor, out);
}

int
config_read_size(struct dyn_slice text, uint64_t *out, struct dyn_err *err)
{
    const char *at = text.data;
    const char *end = text.data + text.len;
    if (config_is_digits(at, end) && config_read_digits(&at, end, out) && at == end) {
        return 0;
    }
    at = text.data;
    enum measure_fault fault = read_measure(size_units, &at, end, out);
    if (fault == MEASURE_OK && at != end) {
        fault = MEASURE_MALFORMED;
    }
    if (fault == MEASURE_OK) {
        return 0;
    }
    if (text.len > 1 && text.data[0] == '-' && config_is_digit(text.data[1])) {
        return dyn_err_set(err, DYN_E_CONFIG, "must not be negative, but is '%s'",
                           config_name(text, SHOWN_BYTES).text);
    }
    if (fault == MEASURE_TOO_LARGE) {
        return dyn_err_set(err, DYN_E_CONFIG, "is out of range: '%s' does not fit 64 bits",
                           config_name(text, SHOWN_BYTES).text);
    }
    if (fault == MEASURE_TOO_FINE) {
        return dyn_err_set(err, DYN_E_CONFIG, "must be a whole number of bytes, which '%s' is not",
                           config_name(text, SHOWN_BYTES).text);
    }
    return dyn_err_set(
        err, DYN_E_CONFIG,
        "must be a size: bytes, or a number with KiB, MiB, GiB, KB, MB or GB, like 64KiB; not '%s'",
        config_name(text, SHOWN_BYTES).text);
}

static int
duration_fault(enum measure_fault fault, struct dyn_slice text, struct dyn_err *err)
{
    if (text.len > 1 && text.data[0] == '-' && config_is_digit(text.data[1])) {
        return dyn_err_set(err, DYN_E_CONFIG, "must not be negative, but is '%s'",
                           config_name(text, SHOWN_BYTES).text);
    }
    if (fault == MEASURE_NO_UNIT) {
        return dyn_err_set(err, DYN_E_CONFIG, "is a duration and needs a unit: %ss or %sms?",
                           config_name(text, SHOWN_BYTES).text, config_name(text, SHOWN_BYTES).text);
    }
    if (fault == MEASURE_TOO_LARGE) {
        return dyn_err_set(err, DYN_E_CONFIG, "is out of range: '%s' is too long",
                           config_name(text, SHOWN_BYTES).text);
    }
    if (fault == MEASURE_TOO_FINE) {
        return dyn_err_set(err, DYN_E_CONFIG, "must be whole milliseconds, which '%s' is not",
                           config_name(text, SHOWN_BYTES).text);
    }
    return dyn_err_set(err, DYN_E_CONFIG, "must be a duration, like 300ms, 30s or 1h30m, not '%s'",
                       config_name(text, SHOWN_BYTES).text);
}

/* As Go writes durations: decimal numbers with units, the larger first or not. In whole milliseconds. */
int
config_read_duration(struct dyn_slice text, uint64_t *out_ms, struct dyn_err *err)
{
    const char *at = text.data;
    const char *end = text.data + text.len;
    uint64_t total_ns = 0;
    enum measure_fault fault = text.len > 0 ? MEASURE_OK : MEASURE_MALFORMED;
    if (dyn_slice_is(text, "0")) { /* the one duration that is the same in every unit */
        *out_ms = 0;
        return 0;
    }
    while (fault == MEASURE_OK && at < end) {
        bool is_first = at == text.data;
        uint64_t part_ns = 0;
        fault = read_measure(duration_units, &at, end, &part_ns);
        if (fault == MEASURE_NO_UNIT && !is_first) {
            fault = MEASURE_MALFORMED;
        }
        if (fault == MEASURE_OK && __builtin_add_overflow(total_ns, part_ns, &total_ns)) {
            fault = MEASURE_TOO_LARGE;
        }
    }
    if (fault == MEASURE_OK && total_ns % NS_PER_MS != 0) {
        fault = MEASURE_TOO_FINE;
    }
    if (fault != MEASURE_OK) {
        return duration_fault(fault, text, err);
    }
    *out_ms = total_ns / NS_PER_MS;
    return 0;
}

/* The largest unit that leaves a whole number, from a table in ascending order of factors. */
static void
add_measure(struct config_range *range, size_t *used, uint64_t value, const struct unit *units)
{
    const struct unit *best = units;
    for (const struct unit *unit = units; unit->name != NULL; unit++) {
        if (value != 0 && value % unit->factor == 0) {
            best = unit;
        }
    }
    *used += (size_t)snprintf(range->text + *used, sizeof range->text - *used, "%llu%s",
                              (unsigned long long)(value / best->factor), best->name);
}

static void
add_limit(struct config_range *range, size_t *used, enum config_type type, double value)
{
    static const struct unit shown_sizes[] = {{"", 1},           {"KiB", 1u << 10},   {"MiB", 1u << 20},
                                              {"GiB", 1u << 30}, {"TiB", 1ull << 40}, {NULL, 0}};
    static const struct unit shown_times[] = {
        {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {NULL, 0}};
    if (type == CONFIG_SIZE) {
        add_measure(range, used, (uint64_t)value, shown_sizes);
    } else if (type == CONFIG_DURATION) {
        add_measure(range, used, (uint64_t)value, shown_times);
    } else {
        *used += (size_t)snprintf(range->text + *used, sizeof range->text - *used, "%.15g", value);
    }
}

static void
add_words(struct config_range *range, size_t *used, const char *words)
{
    *used += (size_t)snprintf(range->text + *used, sizeof range->text - *used, "%s", words);
}

struct config_range
config_range_text(const struct config_key *key)
{
    struct config_range range = {""};
    size_t used = 0;
    if (key->min == 0 && key->max == 0) {
        return range;
    }
    bool has_upper = key->max >= key->min;
    if (!has_upper) {
        add_words(&range, &used, "at least ");
    }
    add_limit(&range, &used, key->type, key->min);
    if (has_upper) {
        add_words(&range, &used, " to ");
        add_limit(&range, &used, key->type, key->max);
    }
    return range;
}
