#include "core/json_escape.h"

#include "core/text.h"

enum { PAIR_BYTES = 2 * JSON_UNIT_BYTES };

/* Four hex digits, or -1. */
static int
hex_unit(const char *at)
{
    int unit = 0;
    for (unsigned i = 0; i < 4; i++) {
        char c = at[i];
        char lower = (char)(c | 0x20);
        if (c >= '0' && c <= '9') {
            unit = unit * 16 + (c - '0');
        } else if (lower >= 'a' && lower <= 'f') {
            unit = unit * 16 + (lower - 'a' + 10);
        } else {
            return -1;
        }
    }
    return unit;
}

int
json_escape_unit(const char *at, const char *end)
{
    bool is_one = end - at >= JSON_UNIT_BYTES && at[0] == '\\' && at[1] == 'u';
    return is_one ? hex_unit(at + 2) : -1;
}

static bool
is_high_surrogate(int unit)
{
    return unit >= 0xD800 && unit <= 0xDBFF;
}

static bool
is_low_surrogate(int unit)
{
    return unit >= 0xDC00 && unit <= 0xDFFF;
}

static size_t
refuse(const char **what, const char *why)
{
    *what = why;
    return 0;
}

static size_t
check_unicode(const char *at, const char *end, const char **what)
{
    int unit = end - at >= JSON_UNIT_BYTES ? hex_unit(at + 2) : -1;
    if (unit < 0) {
        return refuse(what, "\\u needs four hex digits");
    }
    if (unit == 0) {
        return refuse(what, "\\u0000 in a string");
    }
    if (is_low_surrogate(unit)) {
        return refuse(what, "lone surrogate escape");
    }
    if (!is_high_surrogate(unit)) {
        return JSON_UNIT_BYTES;
    }
    bool paired =
        end - at >= PAIR_BYTES && at[6] == '\\' && at[7] == 'u' && is_low_surrogate(hex_unit(at + 8));
    return paired ? PAIR_BYTES : refuse(what, "lone surrogate escape");
}

size_t
json_escape_check(const char *at, const char *end, const char **what)
{
    switch (end - at >= 2 ? at[1] : '\0') {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        return 2;
    case 'u':
        return check_unicode(at, end, what);
    default:
        return refuse(what, "unknown escape");
    }
}

static size_t
decode_unicode(const char *at, char out[4], size_t *written)
{
    int unit = hex_unit(at + 2);
    if (!is_high_surrogate(unit)) {
        *written = dyn_utf8_put(out, (uint32_t)unit);
        return JSON_UNIT_BYTES;
    }
    int low = hex_unit(at + 8);
    *written = dyn_utf8_put(out, 0x10000u + (((uint32_t)unit - 0xD800u) << 10) + ((uint32_t)low - 0xDC00u));
    return PAIR_BYTES;
}

size_t
json_escape_decode(const char *at, char out[4], size_t *written)
{
    *written = 1;
    switch (at[1]) {
    case 'u':
        return decode_unicode(at, out, written);
    case 'b':
        out[0] = '\b';
        return 2;
    case 'f':
        out[0] = '\f';
        return 2;
    case 'n':
        out[0] = '\n';
        return 2;
    case 'r':
        out[0] = '\r';
        return 2;
    case 't':
        out[0] = '\t';
        return 2;
    default: /* quote, backslash, slash */
        out[0] = at[1];
        return 2;
    }
}

/* The run up to the next backslash. */
static size_t
plain_run(const char *at, size_t left)
{
    const char *backslash = left > 0 ? memchr(at, '\\', left) : NULL;
    return backslash ? (size_t)(backslash - at) : left;
}

size_t
json_unescape(struct dyn_slice raw, char *out)
{
    size_t written = 0;
    for (size_t i = 0; i < raw.len;) {
        size_t run = plain_run(raw.data + i, raw.len - i);
        memcpy(out + written, raw.data + i, run);
        written += run;
        i += run;
        if (i < raw.len) {
            char piece[4];
            size_t len;
            i += json_escape_decode(raw.data + i, piece, &len);
            memcpy(out + written, piece, len);
            written += len;
        }
    }
    return written;
}

size_t
json_unescape_size(struct dyn_slice raw)
{
    size_t size = 0;
    for (size_t i = 0; i < raw.len;) {
        size_t run = plain_run(raw.data + i, raw.len - i);
        size += run;
        i += run;
        if (i < raw.len) {
            char piece[4];
            size_t len;
            i += json_escape_decode(raw.data + i, piece, &len);
            size += len;
        }
    }
    return size;
}
