/* What text says, whatever it is written with: for searching in what somebody may have disguised. Invisible
 * characters are nothing, compatibility forms are what they stand for (NFKD: full width, circled, ligatures),
 * accents are characters of their own, look-alikes of other scripts are the letter they look like. It folds
 * no case (core/unicode.h) and knows no words. Tables: unicode_loose.def, unicode_forms.def; Hangul by
 * arithmetic. */
#pragma once

#include "core/base.h"

enum { UNICODE_LOOSE_MAX = 18 };

/* Writes what the character stands for, itself mostly, and returns how many that are; 0: it is invisible. */
size_t unicode_loose(uint32_t scalar, uint32_t out[UNICODE_LOOSE_MAX]);
/* ASCII that is not seen: controls which are no white space. */
static inline bool
unicode_is_hidden_byte(unsigned char c)
{
    return (c < 0x20 && (c < '\t' || c > '\r')) || c == 0x7F;
}
/* Marks above, below and through letters, points of Hebrew and Arabic. Not the vowels of other scripts, nor
 * the voicing of kana: words differ by them. */
bool unicode_is_accent(uint32_t scalar);
/* Makes what stands before it another letter: later parts of a Hangul syllable, the voicing of kana. */
bool unicode_is_continuation(uint32_t scalar);
/* Of kana and parts of Hangul syllables: whether a continuation can follow. */
bool unicode_may_continue(uint32_t scalar);
/* The letter of ASCII that a letter of another script is mistaken for; 0: there is none. */
char unicode_look_alike(uint32_t scalar);
