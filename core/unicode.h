/* What searching in text needs to know of characters: how they fold, so that case does not count, and which
 * of them words are made of. Full case folding (CaseFolding.txt, C and F: "ß" is "ss"); no normalisation, so
 * an accent that is a character of its own is one. Tables: unicode.def. */
#pragma once

#include "core/base.h"

enum { UNICODE_FOLD_MAX = 3 };

/* Writes what the character becomes, itself mostly, and returns how many that are: 1 to 3. */
size_t unicode_fold(uint32_t scalar, uint32_t out[UNICODE_FOLD_MAX]);
/* Letters, marks, digits, "_" and its like. Not those of scripts that put no space between words (ideographs,
 * Hiragana, Thai and its neighbours): a word may begin and end at each of them. */
bool unicode_is_word(uint32_t scalar);

static inline bool
unicode_is_word_byte(unsigned char c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '_';
}
