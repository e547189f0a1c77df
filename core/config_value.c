/* Scalars of the configuration, but for those with units (config_measure.c). Numbers are read by hand:
 * strtol and strtod accept too much (spaces, octal, hexadecimal) and strtod obeys the locale. */
#include "core/config_value.h"

#include "core/config_tree.h"
#include "core/json_scan.h"
#include "core/nearest.h"

#include <math.h>
#include <stdio.h>

#define SHOWN_BYTES 60 /* of a value, in a problem */

static struct config_name
shown(struct dyn_slice text)
{
    return config_name(text, SHOWN_BYTES);
}

static bool
is_one_of(struct dyn_slice text, const char *const *names)
{
    for (; *names != NULL; names++) {
        if (dyn_slice_is(text, *names)) {
            return true;
        }
    }
    return false;
}

/* The words that Go's YAML reader takes for a field that is a bool. */
int
config_read_bool(struct dyn_slice text, bool *out, struct dyn_err *err)
{
    static const char *const yes[] = {"true", "True", "TRUE", "yes", "Yes", "YES",
                                      "on",   "On",   "ON",   "y",   "Y",   NULL};
    static const char *const no[] = {"false", "False", "FALSE", "no", "No", "NO",
                                     "off",   "Off",   "OFF",   "n",  "N",  NULL};
    *out = is_one_of(text, yes);
    if (!*out && !is_one_of(text, no)) {
        return dyn_err_set(err, DYN_E_CONFIG, "must be true or false, not '%s'", shown(text).text);
    }
    return 0;
}

bool
config_read_digits(const char **at, const char *end, uint64_t *out)
{
    const char *from = *at;
    uint64_t value = 0;
    for (; *at < end; (*at)++) {
        if (**at == '_' && *at > from && *at + 1 < end && config_is_digit((*at)[1]) &&
            config_is_digit((*at)[-1])) {
            continue;
        }
        if (!config_is_digit(**at)) {
            break;
        }
        if (__builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(**at - '0'), &value)) {
            return false;
        }
    }
    *out = value;
    return *at > from;
}

bool
config_is_digits(const char *at, const char *end)
{
    for (; at < end; at++) {
        if (!config_is_digit(*at) && *at != '_') {
            return false;
        }
    }
    return true;
}

int
config_read_int(struct dyn_slice text, int64_t *out, struct dyn_err *err)
{
    const char *at = text.data;
    const char *end = text.data + text.len;
    bool is_negative = text.len > 0 && *at == '-';
    at += is_negative || (text.len > 0 && *at == '+') ? 1 : 0;
    if (end - at > 1 && at[0] == '0' && config_is_digits(at, end)) {
        return dyn_err_set(err, DYN_E_CONFIG,
                           "must be a whole number without leading zeros (which mean octal to some readers), "
                           "not '%s'",
                           shown(text).text);
    }
    const char *digits = at;
    uint64_t value = 0;
    bool fits = config_read_digits(&at, end, &value);
    uint64_t most = (uint64_t)INT64_MAX + (is_negative ? 1 : 0);
    if ((!fits || value > most) && at > digits && config_is_digits(digits, end)) {
        return dyn_err_set(err, DYN_E_CONFIG, "is out of range: '%s' does not fit 64 bits", shown(text).text);
    }
    if (!fits || at != end) {
        return dyn_err_set(err, DYN_E_CONFIG, "must be a whole number, not '%s'", shown(text).text);
    }
    *out = (int64_t)(is_negative ? 0 - value : value);
    return 0;
}

static bool
is_not_finite(struct dyn_slice text)
{
    static const char *const names[] = {"nan", "inf", "infinity", NULL};
    struct dyn_slice word = text;
    if (word.len > 0 && (word.data[0] == '-' || word.data[0] == '+')) {
        word = dyn_slice(word.data + 1, word.len - 1);
    }
    if (word.len > 0 && word.data[0] == '.') {
        word = dyn_slice(word.data + 1, word.len - 1);
    }
    for (const char *const *name = names; *name != NULL; name++) {
        if (dyn_slice_ieq(word, dyn_slice_str(*name))) {
            return true;
        }
    }
    return false;
}

/* YAML's spellings that JSON does not have (+1, .5, 5., 1_000) written as JSON does. */
static int
json_spelling(struct dyn_slice text, char *out, size_t room)
{
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        bool after_digit = i > 0 && config_is_digit(text.data[i - 1]);
        bool before_digit = i + 1 < text.len && config_is_digit(text.data[i + 1]);
        if (n + 2 >= room) {
            return -1;
        }
        if ((c == '+' && i == 0) || (c == '_' && after_digit && before_digit)) {
            continue;
        }
        if (c == '.' && !after_digit && before_digit) {
            out[n++] = '0';
        }
        if (c == '.' && after_digit && !before_digit) {
            continue;
        }
        out[n++] = c;
    }
    return (int)n;
}

int
config_read_number(struct dyn_slice text, double *out, struct dyn_err *err)
{
    char spelled[64];
    if (is_not_finite(text)) {
        return dyn_err_set(err, DYN_E_CONFIG, "must be a finite number, not '%s'", shown(text).text);
    }
    int len = json_spelling(text, spelled, sizeof spelled);
    struct json_value value;
    struct json_error error;
    bool is_number = len > 0 && json_scan(dyn_slice(spelled, (size_t)len), 1, &value, &error) == 0 &&
                     value.type == JSON_NUMBER && value.raw.len == (size_t)len;
    if (!is_number) {
        return dyn_err_set(err, DYN_E_CONFIG, "must be a number, not '%s'", shown(text).text);
    }
    if (json_double(value, out) != 0 || !isfinite(*out)) {
        return dyn_err_set(err, DYN_E_CONFIG, "is out of range: '%s' is too large", shown(text).text);
    }
    return 0;
}

const char *
config_nearest(struct dyn_slice typed, const char *const *names)
{
    size_t n = 0;
    while (names[n] != NULL) {
        n++;
    }
    const char *nearest = dyn_nearest(typed, names, n);
    char lower[64];
    if (nearest != NULL || typed.len > sizeof lower) {
        return nearest;
    }
    for (size_t i = 0; i < typed.len; i++) {
        bool is_capital = typed.data[i] >= 'A' && typed.data[i] <= 'Z';
        lower[i] = (char)(typed.data[i] + (is_capital ? 'a' - 'A' : 0));
    }
    return dyn_nearest(dyn_slice(lower, typed.len), names, n);
}

void
config_list_add(struct config_listed *listed, const char *name)
{
    size_t room = sizeof listed->text - listed->used;
    size_t needed = strlen(name) + 2 + sizeof ", ...";
    if (listed->is_full || needed > room) {
        if (!listed->is_full) {
            (void)snprintf(listed->text + listed->used, room, ", ...");
        }
        listed->is_full = true;
        return;
    }
    listed->used +=
        (size_t)snprintf(listed->text + listed->used, room, "%s%s", listed->used > 0 ? ", " : "", name);
}

int
config_read_enum(struct dyn_slice text, const struct config_key *key, int *out, struct dyn_err *err)
{
    struct config_listed listed = {0};
    for (int i = 0; key->names[i] != NULL; i++) {
        if (dyn_slice_is(text, key->names[i])) {
            *out = i;
            return 0;
        }
        config_list_add(&listed, key->names[i]);
    }
    const char *nearest = config_nearest(text, key->names);
    bool is_choice = key->names[0] != NULL && key->names[1] != NULL;
    return dyn_err_set(err, DYN_E_CONFIG, "must be %s%s, not '%s'%s%s%s", is_choice ? "one of " : "",
                       listed.text, shown(text).text, nearest ? "; did you mean '" : "",
                       nearest ? nearest : "", nearest ? "'?" : "");
}

int
config_check_range(const struct config_key *key, double value, struct dyn_slice text, struct dyn_err *err)
{
    bool is_unlimited = key->min == 0 && key->max == 0;
    bool has_upper = key->max >= key->min;
    if (is_unlimited || (value >= key->min && (!has_upper || value <= key->max))) {
        return 0;
    }
    return dyn_err_set(err, DYN_E_CONFIG, "must be %s%s, not %s", has_upper ? "from " : "",
                       config_range_text(key).text, shown(text).text);
}

const char *
config_type_wants(enum config_type type)
{
    switch (type) {
    case CONFIG_STRING:
    case CONFIG_SECRET:
        return "a text";
    case CONFIG_BOOL:
        return "true or false";
    case CONFIG_INT:
        return "a whole number";
    case CONFIG_NUMBER:
        return "a number";
    case CONFIG_SIZE:
        return "a size, like 64KiB";
    case CONFIG_DURATION:
        return "a duration, like 30s";
    case CONFIG_ENUM:
        return "one of its names";
    case CONFIG_STRING_LIST:
    case CONFIG_SECRET_LIST:
        return "a list of texts, like [a, b]";
    case CONFIG_INT_LIST:
        return "a list of whole numbers, like [1, 2]";
    case CONFIG_STRING_MAP:
        return "names and texts, like {name: text}";
    case CONFIG_SECTION:
    case CONFIG_VARIANT:
        return "a section with keys of its own";
    case CONFIG_SECTION_LIST:
        return "a list of sections, each with keys of its own";
    case CONFIG_UNSUPPORTED:
        return "anything";
    }
    return "anything";
}
