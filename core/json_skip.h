/* The inner loops of the JSON files: bytes that need no look are skipped 16 and 64 at a time with SSE2, 8
 * at a time elsewhere. Private to core. Nothing here reads at or behind `end`. */
#pragma once

#include "core/json_scan.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define JSON_EACH_BYTE 0x0101010101010101u
#define JSON_HIGH_BITS 0x8080808080808080u

/* Sets the high bit of (at least) every byte that is zero, and of none if there is no zero byte. */
static inline uint64_t
json_zero_bytes(uint64_t word)
{
    return (word - JSON_EACH_BYTE) & ~word & JSON_HIGH_BITS;
}

static inline uint64_t
json_load_word(const char *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

/* In a string: neither quote, backslash, control character nor part of a character beyond ASCII. */
static inline bool
json_byte_is_plain(char c)
{
    unsigned char byte = (unsigned char)c;
    return byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';
}

/* The first byte that is not plain, or end. */
static inline const char *
json_skip_plain_portable(const char *at, const char *end)
{
    while ((size_t)(end - at) >= sizeof(uint64_t)) {
        uint64_t word = json_load_word(at);
        uint64_t control = (word - JSON_EACH_BYTE * 0x20) & ~word & JSON_HIGH_BITS;
        uint64_t quote = json_zero_bytes(word ^ (JSON_EACH_BYTE * '"'));
        uint64_t backslash = json_zero_bytes(word ^ (JSON_EACH_BYTE * '\\'));
        if ((((control | quote | backslash | word) & JSON_HIGH_BITS)) != 0) {
            break;
        }
        at += sizeof word;
    }
    while (at < end && json_byte_is_plain(*at)) {
        at++;
    }
    return at;
}

/* In a string that is known valid: the next quote or backslash, or end. */
static inline const char *
json_skip_to_quote_portable(const char *at, const char *end)
{
    while ((size_t)(end - at) >= sizeof(uint64_t)) {
        uint64_t word = json_load_word(at);
        if ((json_zero_bytes(word ^ (JSON_EACH_BYTE * '"')) |
             json_zero_bytes(word ^ (JSON_EACH_BYTE * '\\'))) != 0) {
            break;
        }
        at += sizeof word;
    }
    while (at < end && *at != '"' && *at != '\\') {
        at++;
    }
    return at;
}

/* In the text of a string: the next backslash or part of a character beyond ASCII, or end. */
static inline const char *
json_skip_ascii_portable(const char *at, const char *end)
{
    while ((size_t)(end - at) >= sizeof(uint64_t)) {
        uint64_t word = json_load_word(at);
        if (((word & JSON_HIGH_BITS) | json_zero_bytes(word ^ (JSON_EACH_BYTE * '\\'))) != 0) {
            break;
        }
        at += sizeof word;
    }
    while (at < end && (unsigned char)*at < 0x80 && *at != '\\') {
        at++;
    }
    return at;
}

/* '[' and '{' differ from each other, and ']' and '}', by the bit of lower case only. */
static inline bool
json_byte_is_bracket(char c)
{
    return (c | 0x20) == '{' || (c | 0x20) == '}';
}

/* Four bytes, the first lowest, whatever the machine's order. */
static inline uint32_t
json_load_4(const char *at)
{
    const unsigned char *p = (const unsigned char *)at;
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* The length (2 to 4) of the well-formed character beyond ASCII that four bytes begin with, or 0. The
 * first test of each pair is the shape of lead and continuation bytes; the second refuses what RFC 3629
 * excludes: overlong forms, surrogates, and what lies above U+10FFFF. */
static inline size_t
json_utf8_len_4(uint32_t bytes)
{
    if ((bytes & 0x00C0C0F0u) == 0x008080E0u) {
        uint32_t range = bytes & 0x200Fu; /* four bits of the lead, the top data bit of the second */
        return range != 0 && range != 0x200Du ? 3 : 0;
    }
    if ((bytes & 0xC0E0u) == 0x80C0u) {
        return (bytes & 0x1Eu) != 0 ? 2 : 0;
    }
    if ((bytes & 0xC0C0C0F8u) == 0x808080F0u) {
        uint32_t plane_bits = (bytes & 7u) << 2 | (bytes >> 12 & 3u); /* the scalar's bits above 16 */
        return plane_bits >= 1 && plane_bits <= 0x10 ? 4 : 0;
    }
    return 0;
}

/* Text that is mostly beyond ASCII: whole well-formed characters, and the single plain bytes between
 * them (blanks). Stops at what is malformed, what is not plain, at runs of ASCII, and near the end. */
static inline const char *
json_skip_utf8(const char *at, const char *end)
{
    while (end - at >= 4) {
        size_t len = json_utf8_len_4(json_load_4(at));
        if (len == 0) {
            if (!json_byte_is_plain(at[0]) || (unsigned char)at[1] < 0x80) {
                break;
            }
            len = 1;
        }
        at += len;
    }
    return at;
}

#if defined(__SSE2__)

static inline __m128i
json_load_16(const char *at)
{
    return _mm_loadu_si128((const __m128i *)(const void *)at);
}

static inline unsigned
json_mask_16(__m128i bytes)
{
    return (unsigned)_mm_movemask_epi8(bytes);
}

/* Has the high bit set in those of 16 bytes that are looked for. */
typedef __m128i (*json_look)(__m128i bytes);

static inline __m128i
json_look_for_quote(__m128i bytes)
{
    return _mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('"')),
                        _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\')));
}

static inline __m128i
json_look_for_special(__m128i bytes)
{
    /* The comparison is signed: bytes from 0x80 on count as below the space, which is wanted. */
    return _mm_or_si128(json_look_for_quote(bytes), _mm_cmplt_epi8(bytes, _mm_set1_epi8(' ')));
}

static inline __m128i
json_look_for_beyond_ascii(__m128i bytes)
{
    return _mm_or_si128(bytes, _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\')));
}

static inline unsigned
json_look_at_16(const char *at, json_look look)
{
    return json_mask_16(look(json_load_16(at)));
}

static inline bool
json_look_at_64(const char *at, json_look look)
{
    __m128i first = _mm_or_si128(look(json_load_16(at)), look(json_load_16(at + 16)));
    __m128i last = _mm_or_si128(look(json_load_16(at + 32)), look(json_load_16(at + 48)));
    return json_mask_16(_mm_or_si128(first, last)) != 0;
}

/* The first byte that is looked for, or where less than 16 are left. Most strings are short: 64 at a time are
 * looked at behind 16 that had none. */
static inline __attribute__((always_inline)) const char *
json_skip_16(const char *at, const char *end, json_look look)
{
    unsigned found = end - at >= 16 ? json_look_at_16(at, look) : 0;
    if (found == 0 && end - at >= 16) {
        for (at += 16; end - at >= 64 && !json_look_at_64(at, look);) {
            at += 64;
        }
        while (end - at >= 16 && (found = json_look_at_16(at, look)) == 0) {
            at += 16;
        }
    }
    return found != 0 ? at + __builtin_ctz(found) : at;
}

static inline const char *
json_skip_plain(const char *at, const char *end)
{
    at = json_skip_16(at, end, json_look_for_special);
    return end - at < 16 ? json_skip_plain_portable(at, end) : at;
}

static inline const char *
json_skip_to_quote(const char *at, const char *end)
{
    at = json_skip_16(at, end, json_look_for_quote);
    return end - at < 16 ? json_skip_to_quote_portable(at, end) : at;
}

/* The same where strings are mostly short: the first 16 bytes without a call. */
static inline __attribute__((always_inline)) const char *
json_skip_to_near_quote(const char *at, const char *end)
{
    if (DYN_LIKELY(end - at >= 16)) {
        unsigned found = json_look_at_16(at, json_look_for_quote);
        if (DYN_LIKELY(found != 0)) {
            return at + __builtin_ctz(found);
        }
        at += 16;
    }
    return json_skip_to_quote(at, end);
}

static inline const char *
json_skip_ascii(const char *at, const char *end)
{
    at = json_skip_16(at, end, json_look_for_beyond_ascii);
    return end - at < 16 ? json_skip_ascii_portable(at, end) : at;
}

/* Which of 64 bytes are what, a bit each, the first lowest. */
struct json_block {
    uint64_t quote;
    uint64_t backslash;
    uint64_t bracket;
};

static inline struct json_block
json_read_block(const char *at)
{
    const __m128i quote = _mm_set1_epi8('"');
    const __m128i backslash = _mm_set1_epi8('\\');
    const __m128i open = _mm_set1_epi8('{');
    const __m128i close = _mm_set1_epi8('}');
    const __m128i lower = _mm_set1_epi8(0x20);
    struct json_block block = {0, 0, 0};
    for (unsigned i = 0; i < 64; i += 16) {
        __m128i bytes = json_load_16(at + i);
        __m128i lowered = _mm_or_si128(bytes, lower);
        __m128i bracket = _mm_or_si128(_mm_cmpeq_epi8(lowered, open), _mm_cmpeq_epi8(lowered, close));
        block.quote |= (uint64_t)json_mask_16(_mm_cmpeq_epi8(bytes, quote)) << i;
        block.backslash |= (uint64_t)json_mask_16(_mm_cmpeq_epi8(bytes, backslash)) << i;
        block.bracket |= (uint64_t)json_mask_16(bracket) << i;
    }
    return block;
}

/* Of 64 bytes those that open if they are brackets: '[' and '{' have the second bit, ']' and '}' not. */
static inline uint64_t
json_opening_bits(const char *at)
{
    uint64_t bits = 0;
    for (unsigned i = 0; i < 64; i += 16) {
        bits |= (uint64_t)json_mask_16(_mm_slli_epi16(json_load_16(at + i), 6)) << i;
    }
    return bits;
}

#else

static inline const char *
json_skip_plain(const char *at, const char *end)
{
    return json_skip_plain_portable(at, end);
}

static inline const char *
json_skip_to_quote(const char *at, const char *end)
{
    return json_skip_to_quote_portable(at, end);
}

static inline const char *
json_skip_to_near_quote(const char *at, const char *end)
{
    return json_skip_to_quote_portable(at, end);
}

static inline const char *
json_skip_ascii(const char *at, const char *end)
{
    return json_skip_ascii_portable(at, end);
}

#endif

static inline bool
json_byte_is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static inline const char *
json_skip_space(const char *at, const char *end)
{
    if (DYN_LIKELY(at < end && (unsigned char)*at > ' ')) {
        return at;
    }
    while (at < end && json_byte_is_space(*at)) {
        at++;
    }
    return at;
}

/* The type a value has by its first byte, if it is a value at all. */
static inline enum json_type
json_type_of_byte(char c)
{
    switch (c) {
    case '"':
        return JSON_STRING;
    case '{':
        return JSON_OBJECT;
    case '[':
        return JSON_ARRAY;
    case 't':
        return JSON_TRUE;
    case 'f':
        return JSON_FALSE;
    case 'n':
        return JSON_NULL;
    default:
        return JSON_NUMBER;
    }
}
