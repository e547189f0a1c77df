/* Reading MessagePack in place, see mp.h. What a map means is decided in env_decode.c. */
#include "proto/mp.h"

#include "core/buf.h"
#include "core/text.h"
#include "proto/mp_write.h"

#include <msgpack.h>

static uint64_t
big_endian(const uint8_t *at, size_t size)
{
    uint16_t two;
    uint32_t four;
    uint64_t eight;
    switch (size) {
    case sizeof two:
        memcpy(&two, at, sizeof two);
        return __builtin_bswap16(two);
    case sizeof four:
        memcpy(&four, at, sizeof four);
        return __builtin_bswap32(four);
    case sizeof eight:
        memcpy(&eight, at, sizeof eight);
        return __builtin_bswap64(eight);
    default:
        return *at;
    }
}

/* Takes a big-endian number of that size. */
static bool
take_number(struct mp_cursor *cursor, size_t size, uint64_t *number)
{
    if ((size_t)(cursor->end - cursor->next) < size) {
        return false;
    }
    *number = big_endian(cursor->next, size);
    cursor->next += size;
    return true;
}

static bool
take_bytes(struct mp_cursor *cursor, uint64_t len, enum mp_type type, struct mp_value *value)
{
    if ((uint64_t)(cursor->end - cursor->next) < len) {
        return false;
    }
    value->type = type;
    value->bytes = dyn_slice((const char *)cursor->next, (size_t)len);
    cursor->next += len;
    return true;
}

static bool
take_long_bytes(struct mp_cursor *cursor, size_t size, enum mp_type type, struct mp_value *value)
{
    uint64_t len;
    return take_number(cursor, size, &len) && take_bytes(cursor, len, type, value);
}

static bool
take_count(struct mp_cursor *cursor, size_t size, enum mp_type type, struct mp_value *value)
{
    value->type = type;
    return take_number(cursor, size, &value->number);
}

static bool
take_signed(struct mp_cursor *cursor, size_t size, struct mp_value *value)
{
    uint64_t number;
    if (!take_number(cursor, size, &number)) {
        return false;
    }
    uint64_t sign = (uint64_t)1 << (size * 8 - 1);
    bool is_negative = (number & sign) != 0;
    value->type = is_negative ? MP_NEGATIVE : MP_UINT;
    value->number = is_negative ? number | ~(sign - 1) : number;
    return true;
}

static bool
take_float(struct mp_cursor *cursor, size_t size, struct mp_value *value)
{
    uint64_t bits;
    if (!take_number(cursor, size, &bits)) {
        return false;
    }
    value->type = MP_FLOAT;
    if (size == sizeof(float)) {
        uint32_t short_bits = (uint32_t)bits;
        float real;
        memcpy(&real, &short_bits, sizeof real);
        value->real = (double)real;
    } else {
        memcpy(&value->real, &bits, sizeof value->real);
    }
    return true;
}

/* The formats from 0xc0 to 0xdf that are not a short string or container. */
static bool
take_long_form(struct mp_cursor *cursor, uint8_t format, struct mp_value *value)
{
    switch (format) {
    case 0xc0:
        value->type = MP_NIL;
        return true;
    case 0xc2:
    case 0xc3:
        value->type = MP_BOOL;
        value->number = format == 0xc3;
        return true;
    case 0xc4:
    case 0xc5:
    case 0xc6:
        return take_long_bytes(cursor, (size_t)1 << (format - 0xc4), MP_BIN, value);
    case 0xca:
        return take_float(cursor, 4, value);
    case 0xcb:
        return take_float(cursor, 8, value);
    case 0xcc:
    case 0xcd:
    case 0xce:
    case 0xcf:
        return take_count(cursor, (size_t)1 << (format - 0xcc), MP_UINT, value);
    case 0xd0:
    case 0xd1:
    case 0xd2:
    case 0xd3:
        return take_signed(cursor, (size_t)1 << (format - 0xd0), value);
    case 0xd9:
    case 0xda:
    case 0xdb:
        return take_long_bytes(cursor, (size_t)1 << (format - 0xd9), MP_STR, value);
    case 0xdc:
    case 0xdd:
        return take_count(cursor, (size_t)2 << (format - 0xdc), MP_ARRAY, value);
    case 0xde:
    case 0xdf:
        return take_count(cursor, (size_t)2 << (format - 0xde), MP_MAP, value);
    default: /* 0xc1 is never used, 0xc7-0xc9 and 0xd4-0xd8 are extension types */
        return false;
    }
}

bool
mp_next(struct mp_cursor *cursor, struct mp_value *value)
{
    if (cursor->next >= cursor->end) {
        return false;
    }
    uint8_t format = *cursor->next++;
    if (format <= 0x7f) {
        value->type = MP_UINT;
        value->number = format;
        return true;
    }
    if (format <= 0x9f) {
        value->type = format <= 0x8f ? MP_MAP : MP_ARRAY;
        value->number = format & 0x0f;
        return true;
    }
    if (format <= 0xbf) {
        return take_bytes(cursor, format & 0x1f, MP_STR, value);
    }
    if (format >= 0xe0) {
        value->type = MP_NEGATIVE;
        value->number = (uint64_t)(int64_t)(int8_t)format;
        return true;
    }
    return take_long_form(cursor, format, value);
}

/* How many values follow a head before its container is complete. */
static uint64_t
elements(const struct mp_value *value)
{
    return value->type == MP_MAP ? value->number * 2 : value->type == MP_ARRAY ? value->number : 0;
}

void
mp_skip(struct mp_cursor *cursor)
{
    struct mp_value value;
    for (uint64_t left = 1; left > 0 && mp_next(cursor, &value); left--) {
        left += elements(&value);
    }
}

bool
mp_take(struct mp_cursor *cursor, struct mp_value *value)
{
    struct mp_value element;
    if (!mp_next(cursor, value)) {
        return false;
    }
    for (uint64_t left = elements(value); left > 0 && mp_next(cursor, &element); left--) {
        left += elements(&element);
    }
    return true;
}

/* Behind the ASCII characters that begin at `at`; eight at a time, since nearly all text is that. */
static const char *
skip_ascii(const char *at, const char *end)
{
    uint64_t word;
    for (; (size_t)(end - at) >= sizeof word; at += sizeof word) {
        memcpy(&word, at, sizeof word);
        if ((word & 0x8080808080808080u) != 0) {
            break;
        }
    }
    while (at < end && (unsigned char)*at < 0x80) {
        at++;
    }
    return at;
}

bool
mp_is_utf8(struct dyn_slice text)
{
    const char *end = text.data + text.len;
    for (const char *at = skip_ascii(text.data, end); at < end; at = skip_ascii(at, end)) {
        size_t len = dyn_utf8_len(at, end);
        if (len == 0) {
            return false;
        }
        at += len;
    }
    return true;
}

/* Every value takes at least one byte, so a count above the bytes left is a lie. */
static const char *
why_refused(const struct mp_cursor *cursor, const struct mp_value *value)
{
    if (elements(value) > (uint64_t)(cursor->end - cursor->next)) {
        return "a count beyond the end";
    }
    return value->type == MP_STR && !mp_is_utf8(value->bytes) ? "text that is not UTF-8" : NULL;
}

int
mp_check(struct dyn_slice bytes, size_t max_values, struct dyn_err *err)
{
    struct mp_cursor cursor = mp_cursor(bytes);
    uint64_t left[MP_DEPTH_MAX + 1] = {1}; /* values still to come, by depth */
    unsigned depth = 0;
    for (size_t values = 1; left[0] > 0 || depth > 0; values++) {
        struct mp_value value;
        if (values > max_values) {
            return dyn_err_set(err, DYN_E_LIMIT, "more than %zu values", max_values);
        }
        if (!mp_next(&cursor, &value)) {
            return dyn_err_set(err, DYN_E_INVALID, "cut off, or of an unknown format");
        }
        const char *why = why_refused(&cursor, &value);
        if (why != NULL) {
            return dyn_err_set(err, DYN_E_INVALID, "%s", why);
        }
        left[depth]--;
        if (elements(&value) > 0) {
            if (depth == MP_DEPTH_MAX) {
                return dyn_err_set(err, DYN_E_LIMIT, "nested deeper than %d", MP_DEPTH_MAX);
            }
            left[++depth] = elements(&value);
        }
        while (depth > 0 && left[depth] == 0) {
            depth--;
        }
    }
    return cursor.next == cursor.end ? 0 : dyn_err_set(err, DYN_E_INVALID, "bytes after the value");
}

/* ---- writing ---- */

int
mp_append(void *buf, const char *data, size_t len)
{
    dyn_buf_add(buf, data, len);
    return 0;
}

void
mp_pack_text(struct msgpack_packer *packer, struct dyn_slice text)
{
    (void)msgpack_pack_str(packer, text.len);
    (void)msgpack_pack_str_body(packer, text.data, text.len);
}

/* Bytes above ASCII among those that it copies; the last word of a text overlaps the one before. */
static uint64_t
copy_and_look(char *to, const char *from, size_t len)
{
    uint64_t all = 0, word;
    uint32_t first, last;
    if (len < sizeof first) {
        for (size_t i = 0; i < len; i++) {
            all |= (unsigned char)from[i];
            to[i] = from[i];
        }
        return all & 0x80;
    }
    if (len < sizeof word) {
        memcpy(&first, from, sizeof first);
        memcpy(&last, from + len - sizeof last, sizeof last);
        memcpy(to, &first, sizeof first);
        memcpy(to + len - sizeof last, &last, sizeof last);
        return (first | last) & 0x80808080u;
    }
    for (size_t i = 0; i < len - sizeof word; i += sizeof word) {
        memcpy(&word, from + i, sizeof word);
        memcpy(to + i, &word, sizeof word);
        all |= word;
    }
    memcpy(&word, from + len - sizeof word, sizeof word);
    memcpy(to + len - sizeof word, &word, sizeof word);
    return (all | word) & 0x8080808080808080u;
}

char *
mp_put_any_text(char *at, struct dyn_slice text)
{
    at = mp_put_text_head(at, text.len);
    if (copy_and_look(at, text.data, text.len) == 0 || mp_is_utf8(text)) {
        return at + text.len;
    }
    for (size_t i = 0; i < text.len; i++) {
        *at++ = (unsigned char)text.data[i] < 0x80 ? text.data[i] : '?';
    }
    return at;
}
