/* MessagePack that came from outside (msgpack.org, "MessagePack specification"): a guard that checks
 * a whole text before anything is made of it, and a cursor that reads one value after the other in
 * place. msgpack-c trusts element counts and builds a tree; this does neither and allocates nothing. What is
 * written is written with msgpack-c, which is good at that (at the end is what that takes here), and where
 * each request writes with mp_write.h. */
#pragma once

#include "core/err.h"

enum mp_type { MP_NIL, MP_BOOL, MP_UINT, MP_NEGATIVE, MP_FLOAT, MP_STR, MP_BIN, MP_ARRAY, MP_MAP };

struct mp_value {
    enum mp_type type;
    uint64_t     number; /* BOOL, UINT; NEGATIVE: two's complement; ARRAY, MAP: elements or pairs */
    double       real;   /* FLOAT */
    struct dyn_slice bytes; /* STR, BIN: in place, never absent */
};

struct mp_cursor {
    const uint8_t *next;
    const uint8_t *end;
};

/* Deeper than any header of ours; extensions may use the rest. */
enum { MP_DEPTH_MAX = 8 };

/* 0 when `bytes` is exactly one value: no length or count beyond what is there, not nested deeper than
 * MP_DEPTH_MAX, at most `max_values` values (keys count), strings valid UTF-8, no extension types. */
int mp_check(struct dyn_slice bytes, size_t max_values, struct dyn_err *err);

static inline struct mp_cursor
mp_cursor(struct dyn_slice bytes)
{
    const uint8_t *begin = (const uint8_t *)(bytes.data != NULL ? bytes.data : "");
    return (struct mp_cursor){begin, begin + bytes.len};
}

/* Reads a scalar, or the head of a container: its elements come next. false at the end or when the
 * bytes do not hold the value; never so on checked bytes before their end. */
bool mp_next(struct mp_cursor *cursor, struct mp_value *value);
/* Skips one value with all its elements. Checked bytes only. */
void mp_skip(struct mp_cursor *cursor);
/* Reads a value as mp_next() does, and skips its elements. Checked bytes only. */
bool mp_take(struct mp_cursor *cursor, struct mp_value *value);

/* Whether the text is UTF-8 as RFC 3629 has it. */
bool mp_is_utf8(struct dyn_slice text);

/* ---- writing ---- */

struct msgpack_packer;

/* Where a packer writes to when it is given a struct dyn_buf. */
int mp_append(void *buf, const char *data, size_t len);
/* A string, as it is: who packs a text that may not be UTF-8 looks first. */
void mp_pack_text(struct msgpack_packer *packer, struct dyn_slice text);
