/* See mp_json.h. Recursion ends at MP_DEPTH_MAX: the bytes were checked. */
#include "proto/mp_json.h"

#include "core/rand.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

/* Larger ones have an exponent. */
#define WHOLE_MAX 1e15

static void
write_hex(struct dyn_slice bytes, struct dyn_buf *out)
{
    dyn_buf_add_char(out, '"');
    char *room = dyn_buf_room(out, 2 * bytes.len);
    if (room != NULL) {
        dyn_hex_encode(room, (const uint8_t *)bytes.data, bytes.len);
        out->len += 2 * bytes.len;
    }
    dyn_buf_add_char(out, '"');
}

/* The shortest spelling that reads back as the same number, as far as the usual ones go. Most are 0: what
 * costs nothing, and whole numbers are spelt as integers are. */
static void
write_real(double real, struct dyn_buf *out)
{
    char text[32];
    if (!isfinite(real)) {
        dyn_buf_add_str(out, "null");
        return;
    }
    if (!signbit(real) && real < WHOLE_MAX && (double)(uint64_t)real >= real) {
        dyn_buf_add_uint(out, (uint64_t)real);
        return;
    }
    (void)snprintf(text, sizeof text, "%.15g", real);
    dyn_buf_add_str(out, text);
}

static void
write_map(struct mp_cursor *cursor, uint64_t pairs, struct dyn_buf *out)
{
    bool first = true;
    dyn_buf_add_char(out, '{');
    for (uint64_t i = 0; i < pairs; i++) {
        struct mp_value key;
        struct mp_cursor before = *cursor;
        mp_skip(cursor);
        if (!mp_next(&before, &key) || key.type != MP_STR) {
            mp_skip(cursor);
            continue;
        }
        dyn_buf_add_str(out, first ? "" : ",");
        dyn_buf_add_json_string(out, key.bytes);
        dyn_buf_add_char(out, ':');
        mp_write_json(cursor, out);
        first = false;
    }
    dyn_buf_add_char(out, '}');
}

static void
write_array(struct mp_cursor *cursor, uint64_t n, struct dyn_buf *out)
{
    dyn_buf_add_char(out, '[');
    for (uint64_t i = 0; i < n; i++) {
        dyn_buf_add_str(out, i > 0 ? "," : "");
        mp_write_json(cursor, out);
    }
    dyn_buf_add_char(out, ']');
}

void
mp_write_json(struct mp_cursor *cursor, struct dyn_buf *out)
{
    struct mp_value value;
    if (!mp_next(cursor, &value)) {
        dyn_buf_add_str(out, "null");
        return;
    }
    switch (value.type) {
    case MP_NIL:
        dyn_buf_add_str(out, "null");
        return;
    case MP_BOOL:
        dyn_buf_add_str(out, value.number != 0 ? "true" : "false");
        return;
    case MP_UINT:
        dyn_buf_add_uint(out, value.number);
        return;
    case MP_NEGATIVE:
        dyn_buf_addf(out, "%" PRId64, (int64_t)value.number);
        return;
    case MP_FLOAT:
        write_real(value.real, out);
        return;
    case MP_STR:
        dyn_buf_add_json_string(out, value.bytes);
        return;
    case MP_BIN:
        write_hex(value.bytes, out);
        return;
    case MP_ARRAY:
        write_array(cursor, value.number, out);
        return;
    case MP_MAP:
        write_map(cursor, value.number, out);
        return;
    }
}
