/* The automaton of core/word_search.h. Private to core/word_*.c.
 *
 * States are numbered breadth first, so the children of a state follow each other, and whatever a state falls
 * back to has a smaller number. The first n_dense have a row with the next state for every class of bytes;
 * behind them a step looks among the children, mostly one, and falls back until it reaches a row. */
#pragma once

#include "core/unicode.h"
#include "core/unicode_loose.h"
#include "core/word_search.h"
#include "core/word_starts.h"

#define WORD_STATE_FOUND 0x80000000u /* in a row: at that state at least one word ends */

struct word_entry {
    uint32_t index; /* of the caller */
    uint16_t len;   /* folded bytes */
    uint16_t n_ascii_letters;
    bool is_word_last;  /* its last character is part of a word: another one behind it spoils a match */
    bool may_continue;  /* a continuation or accent behind it would make its last character another one */
    bool is_spelled;    /* as it stands there, without look-alikes */
    bool is_look_alike; /* it was written with some itself */
    bool is_foreign;    /* it has characters beyond ASCII that are like none of it */
};

struct word_set {
    struct word_options options;
    size_t bytes;
    size_t n_states;
    size_t n_dense;
    size_t n_classes;
    size_t len_max;
    size_t ring;                /* entries of a scan's memory, a power of two */
    uint8_t classes[256];       /* of folded bytes; 0: of those that are in no word */
    uint8_t ascii_classes[128]; /* the same for characters that are not folded yet */
    struct word_starts starts;  /* where the first state is left */
    struct word_entry *words;   /* sorted; those equal to one before it left out */
    uint32_t *rows;             /* n_dense * n_classes */
    uint32_t *first_child;      /* n_states + 1 */
    uint32_t *falls_to;         /* the longest proper suffix that is a state */
    uint32_t *word_at;          /* 1 + index into words, 0: none ends here */
    uint32_t *next_found;       /* the longest proper suffix at which a word ends; 0: none */
    uint16_t *depth;
    uint8_t *class_of; /* by which it is reached */
};

enum { WORD_FOLD_BYTES_MAX = 48 }; /* of what one character becomes */

/* What one character of a text becomes when it is compared. */
struct word_fold {
    size_t n;
    uint32_t scalars[UNICODE_LOOSE_MAX * UNICODE_FOLD_MAX];
    bool is_alike[UNICODE_LOOSE_MAX * UNICODE_FOLD_MAX]; /* it was a letter of another script */
};
void word_fold(const struct word_options *options, uint32_t scalar, struct word_fold *fold);

/* Whether a word waits for what follows before it is told of. */
static inline bool
word_waits(const struct word_set *set, const struct word_entry *word)
{
    return (set->options.whole_words && word->is_word_last) || word->may_continue;
}

/* The next state, with WORD_STATE_FOUND. `state` without it. */
static inline uint32_t
word_set_step(const struct word_set *set, uint32_t state, uint8_t class)
{
    while (state >= set->n_dense) {
        uint32_t first = set->first_child[state];
        size_t n = set->first_child[state + 1] - first;
        const uint8_t *child = n > 0 ? memchr(set->class_of + first, class, n) : NULL;
        if (child != NULL) {
            uint32_t next = (uint32_t)(child - set->class_of);
            bool is_found = set->word_at[next] != 0 || set->next_found[next] != 0;
            return is_found ? next | WORD_STATE_FOUND : next;
        }
        state = set->falls_to[state];
    }
    return set->rows[state * set->n_classes + class];
}
