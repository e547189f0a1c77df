#include "core/json_view.h"

#include "core/rand.h"
#include "core/text.h"

#include <stdlib.h>

enum { UNIT_BYTES = 6, TRIM_BYTES = 1024 };

void
json_view_fini(struct json_view *view)
{
    dyn_buf_fini(&view->text);
    free(view->places);
    *view = (struct json_view){.is_plain = view->is_plain};
}

/* `read` bytes of the text became these. */
static void
put(struct json_view *view, const char *bytes, size_t len, size_t read)
{
    size_t at = view->text.len;
    if (view->is_plain) {
        dyn_buf_add(&view->text, bytes, len);
        return;
    }
    if (at + len > view->places_cap) {
        view->places_cap = at + len > 2 * view->places_cap ? at + len + 64 : 2 * view->places_cap;
        view->places = dyn_realloc(view->places, view->places_cap * sizeof *view->places);
    }
    dyn_buf_add(&view->text, bytes, len);
    uint64_t place = view->done;
    for (size_t i = 0; i < len; i++) {
        bool begins = ((unsigned char)bytes[i] & 0xC0) != 0x80;
        if (begins && len == read) { /* it stands as it came: each of its characters for itself */
            place = view->done + i;
        }
        view->places[at + i] = place;
    }
    view->done += read;
}

static void
put_scalar(struct json_view *view, uint32_t scalar, size_t read)
{
    char bytes[4];
    put(view, bytes, dyn_utf8_put(bytes, scalar), read);
}

static int
unit_at(const char *at)
{
    uint8_t bytes[2];
    return dyn_hex_decode(bytes, sizeof bytes, dyn_slice(at + 2, 4)) == 0 ? bytes[0] << 8 | bytes[1] : -1;
}

static bool
is_unit(const char *at, size_t len)
{
    return len >= 2 && at[0] == '\\' && at[1] == 'u';
}

/* An escape at the front of these bytes: how many it has, 0: it depends on what follows. */
static size_t
take_unicode(struct json_view *view, const char *at, size_t len, bool is_last)
{
    if (len < UNIT_BYTES) {
        if (is_last) {
            put(view, at, 1, 1);
        }
        return is_last ? 1 : 0;
    }
    int unit = unit_at(at);
    if (unit < 0) {
        put(view, at, 2, 2);
        return 2;
    }
    if ((unit & 0xFC00) != 0xD800) {
        put_scalar(view, (unit & 0xFC00) == 0xDC00 ? 0xFFFD : (uint32_t)unit, UNIT_BYTES);
        return UNIT_BYTES;
    }
    const char *second = at + UNIT_BYTES;
    size_t rest = len - UNIT_BYTES;
    bool may_follow = rest == 0 || (second[0] == '\\' && (rest == 1 || second[1] == 'u'));
    if (may_follow && rest < UNIT_BYTES && !is_last) {
        return 0;
    }
    int low = is_unit(second, rest) && rest >= UNIT_BYTES ? unit_at(second) : -1;
    if (low >= 0 && (low & 0xFC00) == 0xDC00) {
        put_scalar(view, 0x10000u + (((uint32_t)unit - 0xD800u) << 10) + ((uint32_t)low - 0xDC00u),
                   2 * (size_t)UNIT_BYTES);
        return 2 * (size_t)UNIT_BYTES;
    }
    put_scalar(view, 0xFFFD, UNIT_BYTES);
    return UNIT_BYTES;
}

static size_t
take_escape(struct json_view *view, const char *at, size_t len, bool is_last)
{
    static const char names[] = "\"\\/bfnrt";
    static const char meant[] = "\"\\/\b\f\n\r\t";
    if (len == 1) {
        if (is_last) {
            put(view, at, 1, 1);
        }
        return is_last ? 1 : 0;
    }
    if (at[1] == 'u') {
        return take_unicode(view, at, len, is_last);
    }
    const char *name = at[1] != '\0' ? strchr(names, at[1]) : NULL;
    if (name == NULL) {
        put(view, at, 1, 1);
        return 1;
    }
    put(view, &meant[name - names], 1, 2);
    return 2;
}

/* Returns how many bytes at the end are the beginning of an escape. */
static size_t
take(struct json_view *view, const char *at, size_t len, bool is_last)
{
    const char *end = at + len;
    while (at < end) {
        const char *escape = memchr(at, '\\', (size_t)(end - at));
        const char *plain_end = escape != NULL ? escape : end;
        if (plain_end > at) {
            put(view, at, (size_t)(plain_end - at), (size_t)(plain_end - at));
            at = plain_end;
            continue;
        }
        size_t taken = take_escape(view, at, (size_t)(end - at), is_last);
        if (taken == 0) {
            break;
        }
        at += taken;
    }
    return (size_t)(end - at);
}

void
json_view_feed(struct json_view *view, struct dyn_slice piece, bool is_last)
{
    while (view->n_partial > 0 && (piece.len > 0 || is_last)) {
        if (piece.len > 0) {
            view->partial[view->n_partial++] = *piece.data++;
            piece.len--;
        }
        unsigned n = view->n_partial;
        size_t left = take(view, view->partial, n, is_last && piece.len == 0);
        memmove(view->partial, view->partial + n - left, left);
        view->n_partial = (unsigned)left;
    }
    if (piece.len > 0) {
        size_t left = take(view, piece.data, piece.len, is_last);
        memcpy(view->partial, piece.data + piece.len - left, left);
        view->n_partial = (unsigned)left;
    }
}

uint64_t
json_view_place(const struct json_view *view, uint64_t position)
{
    size_t at = (size_t)(position - view->base);
    return at < view->text.len ? view->places[at] : view->done;
}

void
json_view_trim(struct json_view *view, uint64_t position)
{
    size_t gone = (size_t)(position - view->base);
    size_t rest = view->text.len - gone;
    if (gone > TRIM_BYTES && gone > rest) {
        memmove(view->text.data, view->text.data + gone, rest);
        memmove(view->places, view->places + gone, rest * sizeof *view->places);
        view->text.len = rest;
        view->base = position;
    }
}
