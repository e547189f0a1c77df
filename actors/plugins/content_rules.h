/* What must not be said: words, and regular expressions. Looked for in whole texts, and in texts that come in
 * pieces. Pure; it decides nothing about what happens then. */
#pragma once

#include "core/regex.h"
#include "core/word_search.h"
#include "proto/vote.h"

typedef struct content_rules content_rules_t;

struct content_rules_options {
    const struct dyn_slice *words;
    size_t n_words;
    const struct dyn_slice *patterns;
    size_t n_patterns;
    /* Words; expressions say it themselves. */
    bool is_case_sensitive;
    bool is_loose; /* these three as in struct word_options: expressions see the text as it is written */
    bool keeps_accents;
    enum word_look_alikes look_alikes;
    bool whole_words;
    size_t window_bytes;    /* of a text in pieces an expression sees so much behind where it begins */
};

/* Which of them is refused. */
struct content_refused {
    bool is_pattern;
    size_t index; /* of words: n when it is about all of them */
};

content_rules_t *content_rules_new(const struct content_rules_options *options,
                                   struct content_refused *refused, struct dyn_err *err);
void content_rules_free(content_rules_t **rules_p);
bool content_rules_is_empty(const content_rules_t *rules);
/* Whether what stands before a text decides about matches in it. */
bool content_rules_look_back(const content_rules_t *rules);

struct content_match {
    uint64_t from;
    uint64_t to;
    struct dyn_slice rule; /* as it was written; the first one of those that were put together */
};
/* More matches of one text are not kept apart: whoever floods a text with them is refused. 640 KiB. */
enum { CONTENT_MATCHES_MAX = 16 * 1024 };
struct content_found {
    struct content_match *items;
    size_t n;
    size_t cap;
    bool is_full; /* there may be more, of a whole text */
};
void content_found_fini(struct content_found *found);

enum content_result {
    CONTENT_CLEAN,
    CONTENT_FOUND,
    CONTENT_UNKNOWN, /* an expression came to a limit */
};

/* One match (`all` false), or all of them up to CONTENT_MATCHES_MAX, in order and put together where they
 * overlap. */
enum content_result content_rules_search(const content_rules_t *rules, struct dyn_slice text, bool is_json,
                                         bool all, struct dyn_regex_budget *budget,
                                         struct content_found *found);

/* ---- in pieces ---- */

typedef struct content_watch content_watch_t;

/* `is_json`: the text is JSON in itself, the arguments of a tool call. Keeps no reference: the rules stay as
 * long as it does. */
content_watch_t *content_watch_new(const content_rules_t *rules, bool is_json);
void content_watch_free(content_watch_t **watch_p);
/* FOUND: there is a match that was not taken. `is_last`: the text ends with this piece. */
enum content_result content_watch_feed(content_watch_t *watch, struct dyn_slice piece, bool is_last,
                                       struct dyn_regex_budget *budget);
/* Text before it holds no match but those that are told of, and no match can begin there any more. With
 * `masks`: those of matches that lie before, in order; they count as taken. */
uint64_t content_watch_clear(content_watch_t *watch, struct arena *arena, struct dyn_slice mask_text,
                             struct vote_mask **masks, size_t *n_masks);
/* The first match that was found and not taken; NULL: there is none. */
const struct content_match *content_watch_match(const content_watch_t *watch);
/* An expression saw only a part of what it was to see: it reaches beyond the window. */
bool content_watch_is_cut(const content_watch_t *watch);
/* Memory that it holds, in bytes. */
size_t content_watch_bytes(const content_watch_t *watch);
