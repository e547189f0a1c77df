#include "core/token_guess.h"

#include "core/json_escape.h"
#include "core/json_skip.h"
#include "core/text.h"

enum {
    ASCII_WEIGHT = TOKEN_GUESS_UNIT / 4,
    ASTRAL_WEIGHT = 350,
    EMOJI_WEIGHT = 250,
    EMOJI_FIRST = 0x1F000,
    EMOJI_LAST = 0x1FAFF,
};

struct script {
    uint32_t last;
    unsigned weight;
};

/* Ascending; of the basic plane. */
static const struct script scripts[] = {
    {0x007F, ASCII_WEIGHT}, {0x024F, 75},  /* Latin */
    {0x036F, 150},                         /* phonetics, accents that are characters of their own */
    {0x03FF, 100},                         /* Greek */
    {0x052F, 60},                          /* Cyrillic */
    {0x058F, 200},                         /* Armenian */
    {0x06FF, 100},                         /* Hebrew, Arabic */
    {0x08FF, 200},                         /* Syriac and others written from the right */
    {0x097F, 120},                         /* Devanagari */
    {0x0DFF, 175},                         /* Bengali to Sinhala */
    {0x0E7F, 100},                         /* Thai */
    {0x1DFF, 250},                         /* Lao, Tibetan, Georgian, Ethiopic, Khmer, .. */
    {0x1EFF, 150},                         /* Vietnamese */
    {0x206F, 100},                         /* Greek with breathings, punctuation */
    {0x2FFF, 200},                         /* symbols */
    {0x30FF, 100},                         /* kana, punctuation beside ideographs */
    {0x33FF, 200},          {0x4DBF, 300}, /* ideographs that are rare */
    {0x9FFF, 120},                         /* ideographs */
    {0xABFF, 300},          {0xD7FF, 120}, /* Hangul */
    {0xFDFF, 250},          {0xFE1F, 100}, /* variation selectors */
    {0xFEFF, 200},          {0xFFFF, 100}, /* full and half width */
};

unsigned
token_guess_scalar(uint32_t scalar)
{
    if (scalar >= EMOJI_FIRST && scalar <= EMOJI_LAST) {
        return EMOJI_WEIGHT;
    }
    size_t low = 0;
    size_t high = DYN_ARRAY_LEN(scripts);
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (scalar > scripts[middle].last) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < DYN_ARRAY_LEN(scripts) ? scripts[low].weight : ASTRAL_WEIGHT;
}

/* Adds the escape's weight, returns its length. */
static size_t
take_escape(const char *at, const char *end, uint64_t *sum)
{
    int unit = json_escape_unit(at, end);
    if (unit < 0) {
        *sum += ASCII_WEIGHT;
        return end - at > 1 ? 2 : 1;
    }
    if ((unit & 0xFC00) == 0xD800) {
        int low = json_escape_unit(at + JSON_UNIT_BYTES, end);
        if (low >= 0 && (low & 0xFC00) == 0xDC00) {
            uint32_t scalar = 0x10000u + (((uint32_t)unit - 0xD800u) << 10) + ((uint32_t)low - 0xDC00u);
            *sum += token_guess_scalar(scalar);
            return 2 * (size_t)JSON_UNIT_BYTES;
        }
    }
    *sum += token_guess_scalar((uint32_t)unit);
    return JSON_UNIT_BYTES;
}

static const char *
take_character(const char *at, const char *end, uint64_t *sum)
{
    size_t len = dyn_utf8_len(at, end);
    *sum += len > 0 ? token_guess_scalar(dyn_utf8_scalar(at, len)) : TOKEN_GUESS_UNIT;
    return at + (len > 0 ? len : 1);
}

uint64_t
token_guess(struct dyn_slice text)
{
    uint64_t sum = 0;
    const char *at = text.data;
    const char *end = text.data + text.len;
    while (at < end) {
        const char *ascii_end = json_skip_ascii(at, end);
        sum += (uint64_t)(ascii_end - at) * ASCII_WEIGHT;
        at = ascii_end;
        if (at < end && *at == '\\') {
            at += take_escape(at, end, &sum);
        }
        while (at < end && (unsigned char)*at >= 0x80) { /* those that follow it mostly are such, too */
            at = take_character(at, end, &sum);
        }
    }
    return sum;
}
