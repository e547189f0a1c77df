#include "actors/providers/retry_hint.h"

#include <string.h>
#include <time.h>

#define MS_PER_SECOND UINT64_C(1000)
#define US_PER_MS     UINT64_C(1000)
/* A plain number of a reset header above these is no duration but a time. */
#define EPOCH_SECONDS UINT64_C(1000000000)
#define EPOCH_MS      UINT64_C(1000000000000)
#define NUMBER_MAX    UINT64_C(1000000000000000) /* a second or millisecond count with room for a product */

/* ---- numbers ---- */

/* Digits, and perhaps a fraction, in thousandths; what follows stays in *text. Cut at NUMBER_MAX. */
static bool
take_thousandths(struct dyn_slice *text, uint64_t *out)
{
    uint64_t whole = 0;
    uint64_t part = 0;
    uint64_t unit = 100;
    size_t i = 0;
    for (; i < text->len && text->data[i] >= '0' && text->data[i] <= '9'; i++) {
        whole = whole < NUMBER_MAX ? whole * 10 + (uint64_t)(text->data[i] - '0') : NUMBER_MAX;
    }
    if (i == 0) {
        return false;
    }
    if (i + 1 < text->len && text->data[i] == '.' && text->data[i + 1] >= '0' && text->data[i + 1] <= '9') {
        for (i++; i < text->len && text->data[i] >= '0' && text->data[i] <= '9'; i++) {
            part += (uint64_t)(text->data[i] - '0') * unit;
            unit /= 10;
        }
    }
    whole = whole < NUMBER_MAX ? whole : NUMBER_MAX;
    *out = whole * MS_PER_SECOND + part;
    text->data += i;
    text->len -= i;
    return true;
}

static uint32_t
limited(uint64_t ms)
{
    return ms < RETRY_HINT_MAX_MS ? (uint32_t)ms : (uint32_t)RETRY_HINT_MAX_MS;
}

/* ---- dates ---- */

static int
digits(const char *at, size_t len)
{
    int number = 0;
    for (size_t i = 0; i < len; i++) {
        if (at[i] < '0' || at[i] > '9') {
            return -1;
        }
        number = number * 10 + (at[i] - '0');
    }
    return number;
}

static int
month_index(const char *name)
{
    static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    for (int i = 0; i < 12; i++) {
        if (memcmp(name, names + (ptrdiff_t)i * 3, 3) == 0) {
            return i;
        }
    }
    return -1;
}

/* Milliseconds since 1970; 0: it is no date. */
static uint64_t
epoch_ms(struct tm when)
{
    bool is_date = when.tm_mday > 0 && when.tm_mon >= 0 && when.tm_mon < 12 && when.tm_year >= 70 &&
                   when.tm_hour >= 0 && when.tm_min >= 0 && when.tm_sec >= 0;
    time_t seconds = is_date ? timegm(&when) : 0;
    return seconds > 0 ? (uint64_t)seconds * MS_PER_SECOND : 0;
}

/* IMF-fixdate of RFC 9110 5.6.7, the only form that is sent today: "Sun, 06 Nov 1994 08:49:37 GMT". */
static uint64_t
http_date_ms(struct dyn_slice text)
{
    const char *at = text.data;
    if (text.len != sizeof "Sun, 06 Nov 1994 08:49:37 GMT" - 1) {
        return 0;
    }
    if (memcmp(at + 3, ", ", 2) != 0 || at[7] != ' ' || at[11] != ' ' || at[16] != ' ' || at[19] != ':' ||
        at[22] != ':' || memcmp(at + 25, " GMT", 4) != 0) {
        return 0;
    }
    return epoch_ms((struct tm){.tm_mday = digits(at + 5, 2),
                                .tm_mon = month_index(at + 8),
                                .tm_year = digits(at + 12, 4) - 1900,
                                .tm_hour = digits(at + 17, 2),
                                .tm_min = digits(at + 20, 2),
                                .tm_sec = digits(at + 23, 2)});
}

/* "2026-11-22T16:34:05Z", perhaps with a fraction, which does not matter; UTC only. */
static uint64_t
rfc3339_ms(struct dyn_slice text)
{
    const char *at = text.data;
    size_t shortest = sizeof "2026-11-22T16:34:05Z" - 1;
    if (text.len < shortest || at[4] != '-' || at[7] != '-' || at[10] != 'T' || at[13] != ':' ||
        at[16] != ':' || at[text.len - 1] != 'Z') {
        return 0;
    }
    return epoch_ms((struct tm){.tm_mday = digits(at + 8, 2),
                                .tm_mon = digits(at + 5, 2) - 1,
                                .tm_year = digits(at, 4) - 1900,
                                .tm_hour = digits(at + 11, 2),
                                .tm_min = digits(at + 14, 2),
                                .tm_sec = digits(at + 17, 2)});
}

/* How far ahead that time is. */
static uint64_t
ahead_ms(uint64_t at_ms, uint64_t wall_us)
{
    uint64_t now_ms = wall_us / US_PER_MS;
    return at_ms > now_ms ? at_ms - now_ms : 0;
}

/* ---- values ---- */

uint32_t
retry_hint_after(struct dyn_slice value, uint64_t wall_us)
{
    uint64_t ms = 0;
    value = dyn_slice_trim(value);
    struct dyn_slice rest = value;
    if (take_thousandths(&rest, &ms) && rest.len == 0) {
        return limited(ms);
    }
    return limited(ahead_ms(http_date_ms(value), wall_us));
}

uint32_t
retry_hint_after_ms(struct dyn_slice value)
{
    uint64_t thousandths = 0;
    value = dyn_slice_trim(value);
    bool is_number = take_thousandths(&value, &thousandths) && value.len == 0;
    return is_number ? limited((thousandths + 999) / 1000) : 0;
}

/* "1h2m3.5s", "20ms": as programs in Go print a duration. */
static bool
read_duration(struct dyn_slice text, uint64_t *ms)
{
    static const struct {
        struct dyn_slice name;
        uint64_t ms; /* longer names first */
    } units[] = {{DYN_SLICE_INIT("ms"), 1},      {DYN_SLICE_INIT("us"), 0},    {DYN_SLICE_INIT("ns"), 0},
                 {DYN_SLICE_INIT("h"), 3600000}, {DYN_SLICE_INIT("m"), 60000}, {DYN_SLICE_INIT("s"), 1000}};
    *ms = 0;
    while (text.len > 0) {
        uint64_t thousandths = 0;
        size_t unit = 0;
        if (!take_thousandths(&text, &thousandths)) {
            return false;
        }
        while (unit < DYN_ARRAY_LEN(units) &&
               (text.len < units[unit].name.len ||
                memcmp(text.data, units[unit].name.data, units[unit].name.len) != 0)) {
            unit++;
        }
        if (unit == DYN_ARRAY_LEN(units)) {
            return false;
        }
        text.data += units[unit].name.len;
        text.len -= units[unit].name.len;
        uint64_t part = thousandths < UINT64_MAX / 3600000 ? thousandths * units[unit].ms / 1000 : NUMBER_MAX;
        *ms += part < NUMBER_MAX ? part : NUMBER_MAX;
        *ms = *ms < NUMBER_MAX ? *ms : NUMBER_MAX;
    }
    return true;
}

uint32_t
retry_hint_reset(struct dyn_slice value, uint64_t wall_us)
{
    uint64_t ms = 0;
    value = dyn_slice_trim(value);
    struct dyn_slice rest = value;
    if (take_thousandths(&rest, &ms) && rest.len == 0) {
        uint64_t number = ms / 1000;
        if (number >= EPOCH_MS) {
            ms = ahead_ms(number, wall_us);
        } else if (number >= EPOCH_SECONDS) {
            ms = ahead_ms(number * MS_PER_SECOND, wall_us);
        }
    } else if (!read_duration(value, &ms)) {
        ms = ahead_ms(rfc3339_ms(value), wall_us);
    }
    return ms <= RETRY_HINT_MAX_MS ? (uint32_t)ms : 0;
}

/* ---- headers ---- */

/* Of "x-ratelimit-reset-requests", "anthropic-ratelimit-requests-reset", "ratelimit-reset": the index of the
 * limit, or -1. `word` is `reset` or `remaining`. */
static int
limit_named(struct dyn_slice name, struct dyn_slice word)
{
    static const struct dyn_slice limits[RETRY_HINT_LIMITS] = {
        DYN_SLICE_INIT(""), DYN_SLICE_INIT("requests"), DYN_SLICE_INIT("tokens"),
        DYN_SLICE_INIT("input-tokens"), DYN_SLICE_INIT("output-tokens")};
    struct dyn_slice prefix = DYN_SLICE("ratelimit-");
    const char *at = memmem(name.data, name.len, prefix.data, prefix.len);
    if (at == NULL) {
        return -1;
    }
    at += prefix.len;
    struct dyn_slice rest = dyn_slice(at, (size_t)(name.data + name.len - at));
    for (int i = 0; i < RETRY_HINT_LIMITS; i++) {
        struct dyn_slice limit = limits[i];
        if (i == 0 ? dyn_slice_eq(rest, word) : rest.len == word.len + 1 + limit.len) {
            bool is_behind =
                i == 0 || (memcmp(rest.data, word.data, word.len) == 0 && rest.data[word.len] == '-' &&
                           memcmp(rest.data + word.len + 1, limit.data, limit.len) == 0);
            bool is_before = i > 0 && memcmp(rest.data, limit.data, limit.len) == 0 &&
                             rest.data[limit.len] == '-' &&
                             memcmp(rest.data + limit.len + 1, word.data, word.len) == 0;
            if (is_behind || is_before) {
                return i;
            }
        }
    }
    return -1;
}

void
retry_hint_header(struct retry_hint *hint, struct dyn_slice name, struct dyn_slice value, uint64_t wall_us)
{
    int limit;
    if (dyn_slice_is(name, "retry-after-ms")) {
        uint32_t ms = retry_hint_after_ms(value);
        hint->after_ms = ms > 0 ? ms : hint->after_ms;
        hint->is_exact = ms > 0 || hint->is_exact;
    } else if (dyn_slice_is(name, "retry-after")) {
        hint->after_ms = hint->is_exact ? hint->after_ms : retry_hint_after(value, wall_us);
    } else if ((limit = limit_named(name, DYN_SLICE("reset"))) >= 0) {
        hint->limits[limit].reset_ms = retry_hint_reset(value, wall_us);
    } else if ((limit = limit_named(name, DYN_SLICE("remaining"))) >= 0) {
        value = dyn_slice_trim(value);
        hint->limits[limit].is_used_up = dyn_slice_is(value, "0");
    }
}

uint32_t
retry_hint_ms(const struct retry_hint *hint)
{
    uint32_t used_up = 0;
    uint32_t latest = 0;
    if (hint->after_ms > 0) {
        return hint->after_ms;
    }
    for (size_t i = 0; i < RETRY_HINT_LIMITS; i++) {
        uint32_t ms = hint->limits[i].reset_ms;
        latest = ms > latest ? ms : latest;
        used_up = hint->limits[i].is_used_up && ms > used_up ? ms : used_up;
    }
    return used_up > 0 ? used_up : latest;
}
