/* How many tokens a text may be, guessed by which script its characters belong to: no tokenizer, no table of
 * words, one pass over bytes that mostly are looked at 64 by 64. The figures are of tokenizers that
 * spend much (cl100k_base); newer ones need half of it for scripts other than Latin. For reservations and for
 * choosing a target; what a request has really used is what its provider says.
 *
 *   ASCII                                  0.25 for each character
 *   Latin with accents                     0.75, of Vietnamese 1.5
 *   Cyrillic                               0.6
 *   Greek, Hebrew, Arabic, Thai, kana      1
 *   ideographs, Hangul, Devanagari         1.2
 *   other scripts of India                 1.75
 *   emoji                                  2.5
 *   all others                             2 to 3.5, as their bytes have no tokens of their own
 */
#pragma once

#include "core/base.h"

enum { TOKEN_GUESS_UNIT = 100 }; /* so much is a token */

/* Of what stands between the quotes of a JSON string, or of any valid JSON: escapes count as the characters
 * that they stand for. Invalid UTF-8 counts as something. */
uint64_t token_guess(struct dyn_slice text);
/* Of one character. */
unsigned token_guess_scalar(uint32_t scalar);
