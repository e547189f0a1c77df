/* A growing byte buffer with a limit and a sticky failure: many writes, one check. Used where text is
 * built (errors, config pages, event bodies); bodies on the request path are blocks. */
#pragma once

#include "core/base.h"

struct dyn_buf {
    char *data; /* NULL until the first byte; not terminated */
    size_t len;
    size_t cap;
    size_t limit; /* bytes; 0 means unlimited */
    bool failed;  /* a write would have passed the limit; later writes do nothing */
};

/* clang-format off */
#define DYN_BUF_INIT          {NULL, 0, 0, 0, false}
#define DYN_BUF_INIT_LIMIT(n) {NULL, 0, 0, (n), false}
/* clang-format on */

void dyn_buf_fini(struct dyn_buf *buf);  /* frees the memory; the buffer is empty and usable again */
void dyn_buf_clear(struct dyn_buf *buf); /* keeps the memory */
/* What follows, where there may be no room yet, or a limit. */
char *dyn_buf_make_room(struct dyn_buf *buf, size_t more);
/* Makes room for `more` bytes behind len and returns it, or NULL after setting `failed`. The caller
 * adds what it wrote to len. */
static inline char *
dyn_buf_room(struct dyn_buf *buf, size_t more)
{
    bool has_room = !buf->failed && buf->limit == 0 && buf->data != NULL && buf->cap - buf->len >= more;
    return DYN_LIKELY(has_room) ? buf->data + buf->len : dyn_buf_make_room(buf, more);
}
void dyn_buf_add(struct dyn_buf *buf, const void *data, size_t len);
void dyn_buf_add_slice(struct dyn_buf *buf, struct dyn_slice slice);
void dyn_buf_add_str(struct dyn_buf *buf, const char *text);
void dyn_buf_add_char(struct dyn_buf *buf, char c);
void dyn_buf_add_uint(struct dyn_buf *buf, uint64_t value);
void dyn_buf_addf(struct dyn_buf *buf, const char *fmt, ...) DYN_PRINTF(2, 3);
/* A JSON string with its quotes; NUL and bytes that are not UTF-8 become U+FFFD. */
void dyn_buf_add_json_string(struct dyn_buf *buf, struct dyn_slice text);
/* Terminates the text (not counted in len) and returns it; "" when empty or failed. Borrowed. */
const char *dyn_buf_cstr(struct dyn_buf *buf);

static inline struct dyn_slice
dyn_buf_slice(const struct dyn_buf *buf)
{
    return (struct dyn_slice){buf->data, buf->len};
}
