/* Regular expressions and texts that are searched for without regard to case: the one home of PCRE2. The
 * syntax is RE2's, as far as the two differ, since that is what configurations of other gateways are written
 * in; what PCRE2 can beyond it works too.
 *
 * Patterns are the operator's, texts are anybody's: a search ends when it has used up its budget, whatever
 * both are. PCRE2's own limits are not enough for that: they bound what is tried from one place of the text,
 * and the places are as many as its bytes. */
#pragma once

#include "core/err.h"

typedef struct dyn_regex dyn_regex_t;

enum {
    DYN_REGEX_PATTERN_MAX = 4096,         /* bytes */
    DYN_REGEX_HEAP_MAX = 4 * 1024 * 1024, /* bytes of one search; freed with it */
    DYN_REGEX_STEPS_MAX = 300 * 1000,     /* tries from one place of the text */
    DYN_REGEX_BUDGET_US = 20 * 1000,      /* what a request is given for all its searches */
};

/* Time of this thread's processor that searches may still use. A search that runs out of it may take as long
 * again until it sees that. Texts below some KB that are searched in no time are not even timed. */
struct dyn_regex_budget {
    uint64_t left_us;
};

enum dyn_regex_result {
    DYN_REGEX_NO,
    DYN_REGEX_YES,
    DYN_REGEX_LIMIT, /* a limit or the budget ended it: nobody knows */
    DYN_REGEX_PARTIAL, /* of dyn_regex_find alone: it depends on what follows */
};

/* NULL with a sentence; *column (may be NULL) counts characters of the pattern from 1. Compiled ones never
 * change: any number of threads may search with one. */
dyn_regex_t *dyn_regex_new(struct dyn_slice pattern, unsigned *column, struct dyn_err *err);
/* Finds the text as it stands there, in any case of its letters (Unicode simple case folding). */
dyn_regex_t *dyn_regex_new_text(struct dyn_slice text, struct dyn_err *err);
void dyn_regex_free(dyn_regex_t **regex_p);

/* Anywhere in the text, which must be UTF-8 (anything that the JSON scanner took is). Allocates only beyond
 * 32 KB of states. */
enum dyn_regex_result dyn_regex_search(const dyn_regex_t *regex, struct dyn_slice text,
                                       struct dyn_regex_budget *budget);

/* ---- texts that go on ---- */

struct dyn_regex_place {
    size_t begin; /* bytes of the text */
    size_t end;
};

/* The first match that begins at `from` or behind; what stands before it is what the expression may look
 * back at. With `more_follows` the text is the beginning of a longer one: DYN_REGEX_PARTIAL says that from
 * place->begin on it may become a match (place->end is then its end), and that none begins before. A match
 * that could be another one with more text is such a partial one, too, until no more follows. What
 * would begin at the end of a text that goes on is none. */
enum dyn_regex_result dyn_regex_find(const dyn_regex_t *regex, struct dyn_slice text, size_t from,
                                     bool more_follows, struct dyn_regex_place *place,
                                     struct dyn_regex_budget *budget);
/* Bytes before `from` that the expression may look back at, at most. */
size_t dyn_regex_lookbehind(const dyn_regex_t *regex);
/* Whether a match may be of any length ("a.*b"): how much has to be held of a text that goes on has no bound
 * then. */
bool dyn_regex_is_unbounded(const dyn_regex_t *regex);
/* A match of it may begin behind what had to be there for it (\K). */
bool dyn_regex_moves_begin(const dyn_regex_t *regex);
/* Whether it matches nothing at all as well ("a*"): it would match everywhere. */
bool dyn_regex_matches_empty(const dyn_regex_t *regex);
