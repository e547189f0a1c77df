/* Writing MessagePack where it is written for each request: into room that its caller has made, in the
 * shortest forms, as msgpack-c writes them. Each returns where to go on. What is written now and then is
 * written with msgpack-c (mp.h). */
#pragma once

#include "core/base.h"

enum {
    MP_KEY_ROOM = 24,  /* what mp_put_key() writes to: the key's own bytes, and nothing of use behind them */
    MP_VALUE_ROOM = 9, /* a number, or the head of anything else */
};

/* A short text as it is written. */
struct mp_key {
    uint8_t head;
    char    text[MP_KEY_ROOM - 1];
};
/* Of a literal of at most MP_KEY_ROOM - 1 bytes. */
#define MP_KEY(name) {0xa0 | (sizeof(name) - 1), name}

static inline char *
mp_put_key(char *at, const struct mp_key *key)
{
    memcpy(at, key, sizeof *key);
    return at + 1 + (key->head & 0x1f);
}

static inline char *
mp_put_byte(char *at, unsigned byte)
{
    *at = (char)byte;
    return at + 1;
}

/* A format, and behind it the lowest `size` bytes of the number, the highest of them first. */
static inline char *
mp_put_number(char *at, unsigned format, uint64_t number, size_t size)
{
    uint64_t bytes = __builtin_bswap64(number) >> (8 * (sizeof number - size));
    at = mp_put_byte(at, format);
    memcpy(at, &bytes, size);
    return at + size;
}

static inline char *
mp_put_uint(char *at, uint64_t number)
{
    if (number < 0x80) {
        return mp_put_byte(at, (unsigned)number);
    }
    if (number <= UINT8_MAX) {
        return mp_put_byte(mp_put_byte(at, 0xcc), (unsigned)number);
    }
    if (number <= UINT16_MAX) {
        return mp_put_number(at, 0xcd, number, 2);
    }
    return number <= UINT32_MAX ? mp_put_number(at, 0xce, number, 4) : mp_put_number(at, 0xcf, number, 8);
}

static inline char *
mp_put_bool(char *at, bool value)
{
    return mp_put_byte(at, value ? 0xc3 : 0xc2);
}

static inline char *
mp_put_real(char *at, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return mp_put_number(at, 0xcb, bits, 8);
}

static inline char *
mp_put_map(char *at, size_t pairs)
{
    if (pairs < 16) {
        return mp_put_byte(at, 0x80 | (unsigned)pairs);
    }
    return pairs <= UINT16_MAX ? mp_put_number(at, 0xde, pairs, 2) : mp_put_number(at, 0xdf, pairs, 4);
}

static inline char *
mp_put_array(char *at, size_t n)
{
    if (n < 16) {
        return mp_put_byte(at, 0x90 | (unsigned)n);
    }
    return n <= UINT16_MAX ? mp_put_number(at, 0xdc, n, 2) : mp_put_number(at, 0xdd, n, 4);
}

/* As they are; none may be absent. */
static inline char *
mp_put_bytes(char *at, struct dyn_slice bytes)
{
    memcpy(at, bytes.data, bytes.len);
    return at + bytes.len;
}

static inline char *
mp_put_text_head(char *at, size_t len)
{
    if (len < 32) {
        return mp_put_byte(at, 0xa0 | (unsigned)len);
    }
    if (len <= UINT8_MAX) {
        return mp_put_byte(mp_put_byte(at, 0xd9), (unsigned)len);
    }
    return len <= UINT16_MAX ? mp_put_number(at, 0xda, len, 2) : mp_put_number(at, 0xdb, len, 4);
}

static inline char *
mp_put_blob(char *at, struct dyn_slice bytes)
{
    if (bytes.len <= UINT8_MAX) {
        at = mp_put_byte(mp_put_byte(at, 0xc4), (unsigned)bytes.len);
    } else {
        bool is_short = bytes.len <= UINT16_MAX;
        at = mp_put_number(at, is_short ? 0xc5 : 0xc6, bytes.len, is_short ? 2 : 4);
    }
    return mp_put_bytes(at, bytes);
}

/* Text that is known to be UTF-8. */
static inline char *
mp_put_text(char *at, struct dyn_slice text)
{
    return mp_put_bytes(mp_put_text_head(at, text.len), text);
}

/* What is not UTF-8 (the segment of a path, a provider's sentence) is spelled with question marks: readers in
 * other languages refuse a whole map for one such byte. */
char *mp_put_any_text(char *at, struct dyn_slice text);
