#include "core/buf.h"

#include "core/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* Most texts built here (an error body, an SSE event) fit the first allocation. */
#define BUF_FIRST_BYTES 256u

void
dyn_buf_fini(struct dyn_buf *buf)
{
    free(buf->data);
    *buf = (struct dyn_buf){.limit = buf->limit};
}

void
dyn_buf_clear(struct dyn_buf *buf)
{
    buf->len = 0;
    buf->failed = false;
}

static void
grow(struct dyn_buf *buf, size_t needed)
{
    size_t cap = buf->cap > 0 ? buf->cap : BUF_FIRST_BYTES;
    while (cap < needed) {
        cap = cap > SIZE_MAX / 2 ? needed : cap * 2;
    }
    buf->data = dyn_realloc(buf->data, cap);
    buf->cap = cap;
}

static bool
fits(const struct dyn_buf *buf, size_t more)
{
    size_t limit = buf->limit > 0 ? buf->limit : SIZE_MAX;
    return buf->len <= limit && more <= limit - buf->len;
}

char *
dyn_buf_make_room(struct dyn_buf *buf, size_t more)
{
    if (buf->failed || !fits(buf, more)) {
        buf->failed = true;
        return NULL;
    }
    if (buf->data == NULL || buf->cap - buf->len < more) {
        grow(buf, buf->len + more);
    }
    return buf->data + buf->len;
}

void
dyn_buf_add(struct dyn_buf *buf, const void *data, size_t len)
{
    if (len == 0) {
        return;
    }
    char *at = dyn_buf_room(buf, len);
    if (at != NULL) {
        memcpy(at, data, len);
        buf->len += len;
    }
}

void
dyn_buf_add_slice(struct dyn_buf *buf, struct dyn_slice slice)
{
    dyn_buf_add(buf, slice.data, slice.len);
}

void
dyn_buf_add_str(struct dyn_buf *buf, const char *text)
{
    dyn_buf_add(buf, text, strlen(text));
}

void
dyn_buf_add_char(struct dyn_buf *buf, char c)
{
    dyn_buf_add(buf, &c, 1);
}

void
dyn_buf_add_uint(struct dyn_buf *buf, uint64_t value)
{
    char digits[DYN_UINT_TEXT_MAX];
    dyn_buf_add(buf, digits, dyn_uint_text(digits, value));
}

void
dyn_buf_addf(struct dyn_buf *buf, const char *fmt, ...)
{
    char first[256]; /* nearly every formatted piece; a longer one is formatted twice */
    va_list args;
    va_start(args, fmt);
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(first, sizeof first, fmt, args);
    va_end(args);
    DYN_ASSERT(len >= 0);
    if ((size_t)len < sizeof first) {
        dyn_buf_add(buf, first, (size_t)len);
    } else if (!buf->failed && !fits(buf, (size_t)len)) {
        buf->failed = true;
    } else if (!buf->failed) {
        if (buf->cap - buf->len < (size_t)len + 1) { /* the terminator is not counted by the limit */
            grow(buf, buf->len + (size_t)len + 1);
        }
        (void)vsnprintf(buf->data + buf->len, (size_t)len + 1, fmt, again);
        buf->len += (size_t)len;
    }
    va_end(again);
}

void
dyn_buf_add_json_string(struct dyn_buf *buf, struct dyn_slice text)
{
    size_t size = dyn_json_escape_size(text);
    char *room = dyn_buf_room(buf, size + 2);
    if (room != NULL) {
        room[0] = '"';
        (void)dyn_json_escape(text, room + 1, size);
        room[size + 1] = '"';
        buf->len += size + 2;
    }
}

const char *
dyn_buf_cstr(struct dyn_buf *buf)
{
    if (buf->failed || buf->len == 0) {
        return "";
    }
    if (buf->cap == buf->len) {
        grow(buf, buf->len + 1);
    }
    buf->data[buf->len] = '\0';
    return buf->data;
}
