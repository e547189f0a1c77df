#include "proto/dialects/texts.h"

#include "core/json_escape.h"
#include "core/text.h"

struct dyn_slice
dialect_text_decode(struct json_value value, struct dyn_buf *room)
{
    struct dyn_slice plain = json_string_plain(value);
    if (plain.data != NULL) {
        return plain;
    }
    size_t before = room->len;
    json_string_decode(value, room);
    return dyn_slice(room->data + before, room->len - before);
}

/* ---- pieces ---- */

static void
put_scalar(struct dyn_buf *out, uint32_t scalar)
{
    char bytes[4];
    dyn_buf_add(out, bytes, dyn_utf8_put(bytes, scalar));
}

/* What was left over has no other half. */
static void
drop_half(uint16_t *half, struct dyn_buf *out)
{
    if (*half != 0) {
        put_scalar(out, 0xFFFD);
        *half = 0;
    }
}

static void
take_unit(int unit, uint16_t *half, struct dyn_buf *out)
{
    bool is_low = (unit & 0xFC00) == 0xDC00;
    if (is_low && *half != 0) {
        put_scalar(out, 0x10000u + (((uint32_t)*half - 0xD800u) << 10) + ((uint32_t)unit - 0xDC00u));
        *half = 0;
        return;
    }
    drop_half(half, out);
    if ((unit & 0xFC00) == 0xD800) {
        *half = (uint16_t)unit;
    } else {
        put_scalar(out, is_low || unit == 0 ? 0xFFFD : (uint32_t)unit);
    }
}

void
dialect_texts_state_fini(struct dialect_texts_state *state)
{
    dyn_buf_fini(&state->head);
    dyn_buf_fini(&state->shape);
}

bool
dialect_piece_decode(struct json_value value, uint16_t *half, struct dyn_buf *out)
{
    bool is_alone = *half == 0;
    if (value.type != JSON_STRING) {
        drop_half(half, out);
        dyn_buf_add_slice(out, value.raw);
        return is_alone;
    }
    const char *at = value.raw.data + 1;
    const char *end = value.raw.data + value.raw.len - 1;
    while (at < end) {
        const char *escape = memchr(at, '\\', (size_t)(end - at));
        const char *plain_end = escape != NULL ? escape : end;
        if (plain_end > at) {
            drop_half(half, out);
            dyn_buf_add(out, at, (size_t)(plain_end - at));
            at = plain_end;
            continue;
        }
        int unit = json_escape_unit(at, end);
        if (unit >= 0) {
            take_unit(unit, half, out);
            at += JSON_UNIT_BYTES;
            continue;
        }
        char decoded[4];
        size_t written;
        drop_half(half, out);
        at += json_escape_decode(at, decoded, &written);
        dyn_buf_add(out, decoded, written);
    }
    return is_alone && *half == 0;
}
