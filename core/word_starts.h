/* Where in a text a word of a set may begin: by three bytes, and by whether they stand behind a letter. Most
 * texts begin no word nearly everywhere, and the automaton need not look there. Private to core/word_*.c.
 *
 * Words are put into eight groups, a bit each. A word may begin at a byte if one group has a word with that
 * byte first, one with the next byte second, and one with the third third: never wrong when it says no. Bytes
 * that may fold to anything, or to nothing, leave it open. With AVX2 30 bytes are looked at together; the
 * look-up by halves of a byte is the one of Hyperscan's "Teddy". */
#pragma once

#include "core/base.h"

enum { WORD_START_BYTES = 3, WORD_START_GROUPS = 8 };

struct word_starts {
    uint8_t groups[WORD_START_BYTES][256]; /* that have a word with that byte there, or with none */
    bool is_open[256];                     /* beyond ASCII, or invisible */
    bool is_word[256];                     /* part of a word, where whole words are looked for */
    /* The same by the low and the high half of a byte: bits that both have, and a few more of other bytes. */
    uint8_t low[WORD_START_BYTES][16];
    uint8_t high[WORD_START_BYTES][16];
    uint8_t kind_low[16]; /* exact: parts of words by a bit for each high half, and what is open */
    uint8_t kind_high[16];
};

/* Begins with all zero. Each word, folded; then what bytes are. */
void word_starts_add(struct word_starts *starts, struct dyn_slice word, unsigned group,
                     bool is_case_sensitive);
void word_starts_finish(struct word_starts *starts, bool whole_words, bool is_loose);

/* The first byte at which a word may begin, or which is open; else `end`. `is_behind_word`: what stands
 * before `at` is part of a word. */
const char *word_starts_find(const struct word_starts *starts, const char *at, const char *end,
                             bool is_behind_word);

/* The same of one byte. */
static inline bool
word_starts_at(const struct word_starts *starts, const char *at, const char *end, bool is_behind_word)
{
    const unsigned char *c = (const unsigned char *)at;
    uint8_t groups = starts->groups[0][c[0]];
    if (groups == 0 || starts->is_open[c[0]]) {
        return groups != 0;
    }
    if (is_behind_word && starts->is_word[c[0]]) {
        return false;
    }
    for (ptrdiff_t i = 1; i < WORD_START_BYTES && i < end - at; i++) {
        if (starts->is_open[c[i]]) {
            return true;
        }
        groups &= starts->groups[i][c[i]];
        if (groups == 0) {
            return false;
        }
    }
    return true;
}
