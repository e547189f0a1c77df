/* Many words looked for in one pass over a text, whole or in pieces: an Aho-Corasick automaton over bytes,
 * upper and lower case the same (full Unicode case folding, core/unicode.h) unless asked otherwise. The time
 * does not depend on how many words there are, but for the cache of the processor. It knows no patterns
 * (core/regex.h). Texts should be UTF-8; bytes that are none match nothing and part words. With `is_loose`
 * words are found however they are written (core/unicode_loose.h); ASCII costs no more for it.
 *
 * A match covers whole characters: "ss" is found in "ß", and is two bytes long there. What is invisible
 * within it belongs to it. */
#pragma once

#include "core/err.h"

typedef struct word_set word_set_t;

enum {
    WORD_MAX = 512,                        /* bytes of one word, folded */
    WORD_SET_BYTES_MAX = 64 * 1024 * 1024, /* of one set; some 30 bytes for each character of its words */
    WORD_SET_DENSE_BYTES = 512 * 1024,     /* of those in which a step is one look-up: they fit a cache */
};

/* Letters of other scripts that look like those of ASCII. */
enum word_look_alikes {
    WORD_ALIKE_NONE,  /* other letters */
    WORD_ALIKE_MIXED, /* the same, but a word of ASCII letters is not found where all of them are others */
    WORD_ALIKE_ALL,   /* the same */
};

struct word_options {
    bool is_case_sensitive;
    bool whole_words;   /* what stands beside a match is no part of a word (unicode_is_word) */
    bool is_loose;      /* invisible characters are nothing, compatibility forms are what they stand for */
    bool keeps_accents; /* is_loose: accents count, be they one character with their letter */
    enum word_look_alikes look_alikes; /* is_loose */
    size_t bytes_max;                  /* 0: WORD_SET_BYTES_MAX */
};

/* Words that are empty, too long, or no UTF-8 are refused, and sets beyond their bound. *at (may be NULL) is
 * the one refused, or n. Of words that are the same when folded the first is reported. A set never changes:
 * any number of threads may search with it. */
word_set_t *word_set_new(const struct dyn_slice *words, size_t n, const struct word_options *options,
                         size_t *at, struct dyn_err *err);
void word_set_free(word_set_t **set_p);
size_t word_set_bytes(const word_set_t *set);

struct word_match {
    uint64_t begin; /* bytes of the text */
    uint64_t end;
    size_t word; /* index */
};
/* false: enough, nothing more is looked for. Matches come by where they end, the longest first. */
typedef bool (*word_match_fn)(void *self, const struct word_match *match);

/* The whole text. Returns whether anything was found. `fn` may be NULL: whether is all that counts. */
bool word_set_search(const word_set_t *set, struct dyn_slice text, word_match_fn fn, void *self);

/* ---- a text in pieces ---- */

/* Takes word_scan_size() bytes; nothing is allocated. What is found does not depend on where pieces end, be
 * it inside a character. */
typedef struct word_scan word_scan_t;
size_t word_scan_size(const word_set_t *set);
word_scan_t *word_scan_begin(const word_set_t *set, void *memory);
/* Returns whether it goes on: false after `fn` said that it is enough. */
bool word_scan_feed(const word_set_t *set, word_scan_t *scan, struct dyn_slice piece, word_match_fn fn,
                    void *self);
/* Nothing follows: what only waited for the end of a word is a match. */
bool word_scan_end(const word_set_t *set, word_scan_t *scan, word_match_fn fn, void *self);
/* Text before that position is done with: what was found there was told, and nothing that begins there can
 * become a match any more. */
uint64_t word_scan_clear(const word_set_t *set, const word_scan_t *scan);
