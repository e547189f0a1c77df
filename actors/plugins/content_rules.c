#include "actors/plugins/content_rules.h"

#include "core/json_view.h"

#include <stdlib.h>

struct content_rules {
    word_set_t *words;
    struct dyn_slice *word_texts;
    size_t n_words;
    dyn_regex_t **patterns;
    struct dyn_slice *pattern_texts;
    size_t n_patterns;
    size_t lookbehind; /* bytes that any of them looks back */
    size_t window_bytes;
    bool has_words;
};

/* ---- the rules ---- */

static struct dyn_slice *
copy_texts(const struct dyn_slice *texts, size_t n)
{
    struct dyn_slice *copies = dyn_alloc((n + 1) * sizeof *copies);
    for (size_t i = 0; i < n; i++) {
        copies[i] = dyn_slice(dyn_strndup(texts[i].data, texts[i].len), texts[i].len);
    }
    return copies;
}

static void
free_texts(struct dyn_slice *texts, size_t n)
{
    for (size_t i = 0; i < n && texts != NULL; i++) {
        union {
            const char *borrowed;
            char *own;
        } text = {.borrowed = texts[i].data};
        free(text.own);
    }
    free(texts);
}

static int
add_pattern(struct content_rules *rules, struct dyn_slice pattern, struct dyn_err *err)
{
    unsigned column;
    dyn_regex_t *regex = dyn_regex_new(pattern, &column, err);
    if (regex == NULL) {
        return -1;
    }
    rules->patterns[rules->n_patterns++] = regex;
    if (dyn_regex_matches_empty(regex)) {
        return dyn_err_set(err, DYN_E_INVALID, "the expression matches nothing at all as well");
    }
    if (dyn_regex_moves_begin(regex)) { /* what it needs would have left by the time it is looked for */
        return dyn_err_set(err, DYN_E_INVALID, "the expression moves where its match begins (\\K)");
    }
    size_t back = dyn_regex_lookbehind(regex);
    rules->lookbehind = back > rules->lookbehind ? back : rules->lookbehind;
    return 0;
}

content_rules_t *
content_rules_new(const struct content_rules_options *options, struct content_refused *refused,
                  struct dyn_err *err)
{
    struct content_rules *rules = dyn_zalloc(sizeof *rules);
    struct word_options how = {.is_case_sensitive = options->is_case_sensitive,
                               .whole_words = options->whole_words,
                               .is_loose = options->is_loose,
                               .keeps_accents = options->keeps_accents,
                               .look_alikes = options->look_alikes};
    *refused = (struct content_refused){.is_pattern = false};
    rules->window_bytes = options->window_bytes;
    rules->has_words = options->n_words > 0;
    rules->patterns = dyn_zalloc((options->n_patterns + 1) * sizeof(dyn_regex_t *));
    rules->words = word_set_new(options->words, options->n_words, &how, &refused->index, err);
    int failed = rules->words == NULL ? -1 : 0;
    for (size_t i = 0; i < options->n_patterns && !failed; i++) {
        *refused = (struct content_refused){true, i};
        failed = add_pattern(rules, options->patterns[i], err);
    }
    if (failed) {
        content_rules_free(&rules);
        return NULL;
    }
    rules->n_words = options->n_words;
    rules->word_texts = copy_texts(options->words, options->n_words);
    rules->pattern_texts = copy_texts(options->patterns, options->n_patterns);
    return rules;
}

void
content_rules_free(content_rules_t **rules_p)
{
    struct content_rules *rules = *rules_p;
    *rules_p = NULL;
    if (rules == NULL) {
        return;
    }
    free_texts(rules->word_texts, rules->n_words);
    free_texts(rules->pattern_texts, rules->n_patterns);
    for (size_t i = 0; i < rules->n_patterns; i++) {
        dyn_regex_free(&rules->patterns[i]);
    }
    free(rules->patterns);
    word_set_free(&rules->words);
    free(rules);
}

bool
content_rules_is_empty(const content_rules_t *rules)
{
    return !rules->has_words && rules->n_patterns == 0;
}

bool
content_rules_look_back(const content_rules_t *rules)
{
    return rules->lookbehind > 0;
}

/* ---- what was found ---- */

void
content_found_fini(struct content_found *found)
{
    free(found->items);
    *found = (struct content_found){.n = 0};
}

/* What overlaps with the last one joins it: words that lie in each other, and many at one place, cost no
 * more than one. */
static bool
joins_last(struct content_found *found, uint64_t from, uint64_t to, struct dyn_slice rule)
{
    struct content_match *last = found->n > 0 ? &found->items[found->n - 1] : NULL;
    if (last == NULL || from >= last->to || to < last->to) {
        return false;
    }
    if (from < last->from || (from == last->from && to > last->to)) {
        last->rule = rule;
    }
    last->from = from < last->from ? from : last->from;
    last->to = to;
    return true;
}

static void
add_match(struct content_found *found, uint64_t from, uint64_t to, struct dyn_slice rule)
{
    if (joins_last(found, from, to, rule)) {
        return;
    }
    if (found->n == found->cap) {
        found->cap = found->cap > 0 ? 2 * found->cap : 8;
        found->items = dyn_realloc(found->items, found->cap * sizeof *found->items);
    }
    found->items[found->n++] = (struct content_match){from, to, rule};
}

static int
compare_matches(const void *a, const void *b)
{
    const struct content_match *left = a;
    const struct content_match *right = b;
    if (left->from != right->from) {
        return left->from < right->from ? -1 : 1;
    }
    return left->to != right->to ? (left->to > right->to ? -1 : 1) : 0;
}

static void
put_together(struct content_found *found)
{
    size_t kept = 0;
    if (found->n > 1) {
        qsort(found->items, found->n, sizeof *found->items, compare_matches);
    }
    for (size_t i = 0; i < found->n; i++) {
        const struct content_match *match = &found->items[i];
        struct content_match *last = kept > 0 ? &found->items[kept - 1] : NULL;
        if (last != NULL && match->from < last->to) {
            last->to = match->to > last->to ? match->to : last->to;
        } else {
            found->items[kept++] = *match;
        }
    }
    found->n = kept;
}

struct word_hearing {
    const struct content_rules *rules;
    struct content_found *found;
    bool all;
    bool is_whole_text; /* pieces are bounded by themselves */
};

static bool
fills_up(struct content_found *found, bool is_whole_text)
{
    found->is_full = found->is_full || (is_whole_text && found->n >= CONTENT_MATCHES_MAX);
    return found->is_full;
}

static bool
hear_word(void *self, const struct word_match *match)
{
    struct word_hearing *hearing = self;
    add_match(hearing->found, match->begin, match->end, hearing->rules->word_texts[match->word]);
    return hearing->all && !fills_up(hearing->found, hearing->is_whole_text);
}

/* ---- whole texts ---- */

static enum content_result
search_pattern(const struct content_rules *rules, size_t index, struct dyn_slice text, bool all,
               struct dyn_regex_budget *budget, struct content_found *found)
{
    struct dyn_regex_place place;
    for (size_t from = 0; from < text.len;) {
        enum dyn_regex_result result =
            dyn_regex_find(rules->patterns[index], text, from, false, &place, budget);
        if (result != DYN_REGEX_YES) {
            return result == DYN_REGEX_LIMIT ? CONTENT_UNKNOWN : CONTENT_CLEAN;
        }
        if (place.end > place.begin) {
            add_match(found, place.begin, place.end, rules->pattern_texts[index]);
        }
        if ((!all && found->n > 0) || fills_up(found, true)) {
            break;
        }
        from = place.end > from ? place.end : from + 1;
    }
    return CONTENT_CLEAN;
}

static enum content_result
search_plain(const content_rules_t *rules, struct dyn_slice text, bool all, struct dyn_regex_budget *budget,
             struct content_found *found)
{
    struct word_hearing hearing = {rules, found, all, true};
    if (rules->has_words) {
        (void)word_set_search(rules->words, text, hear_word, &hearing);
    }
    for (size_t i = 0; i < rules->n_patterns && (all || found->n == 0) && !found->is_full; i++) {
        if (search_pattern(rules, i, text, all, budget, found) == CONTENT_UNKNOWN) {
            return CONTENT_UNKNOWN;
        }
    }
    put_together(found);
    return found->n > 0 ? CONTENT_FOUND : CONTENT_CLEAN;
}

/* Where the matches of a view lie in its text: a walk in pieces, so that a long one needs no more memory than
 * a short one. */
static void
find_places(struct dyn_slice text, struct content_found *found)
{
    enum { PIECE = 16 * 1024 };
    struct json_view view = {.base = 0};
    size_t n = 0; /* ends of matches that are placed: they ascend */
    while (n < 2 * found->n) {
        size_t len = text.len < PIECE ? text.len : PIECE;
        bool is_last = len == text.len;
        json_view_feed(&view, dyn_slice(text.data, len), is_last);
        text = dyn_slice(text.data + len, text.len - len);
        for (; n < 2 * found->n; n++) {
            struct content_match *match = &found->items[n / 2];
            uint64_t *end = n % 2 == 0 ? &match->from : &match->to;
            if (*end >= view.base + view.text.len && !is_last) {
                break;
            }
            *end = json_view_place(&view, *end);
        }
        json_view_trim(&view, view.base + view.text.len);
    }
    json_view_fini(&view);
}

enum content_result
content_rules_search(const content_rules_t *rules, struct dyn_slice text, bool is_json, bool all,
                     struct dyn_regex_budget *budget, struct content_found *found)
{
    found->n = 0;
    found->is_full = false;
    if (!is_json || text.len == 0 || memchr(text.data, '\\', text.len) == NULL) {
        return search_plain(rules, text, all, budget, found);
    }
    struct json_view view = {.is_plain = true};
    json_view_feed(&view, text, true);
    enum content_result result = search_plain(rules, dyn_buf_slice(&view.text), all, budget, found);
    json_view_fini(&view);
    find_places(text, found);
    return result;
}

/* ---- in pieces ---- */

struct pattern_watch {
    uint64_t from; /* where it looks on */
    uint64_t hold; /* what it matches may begin there */
};

struct content_watch {
    const struct content_rules *rules;
    word_scan_t *scan;
    struct pattern_watch *patterns;
    struct content_found found; /* not taken */
    struct json_view view;      /* is_json */
    struct dyn_buf text;        /* for expressions, from `base` on; with is_json the view has it */
    uint64_t base;
    uint64_t seen;
    uint64_t clear;
    bool is_json;
    bool is_cut;
};

content_watch_t *
content_watch_new(const content_rules_t *rules, bool is_json)
{
    struct content_watch *watch = dyn_zalloc(sizeof *watch);
    watch->rules = rules;
    watch->is_json = is_json;
    watch->scan = word_scan_begin(rules->words, dyn_alloc(word_scan_size(rules->words)));
    watch->patterns = dyn_zalloc((rules->n_patterns + 1) * sizeof *watch->patterns);
    return watch;
}

void
content_watch_free(content_watch_t **watch_p)
{
    struct content_watch *watch = *watch_p;
    *watch_p = NULL;
    if (watch != NULL) {
        free(watch->scan);
        free(watch->patterns);
        content_found_fini(&watch->found);
        json_view_fini(&watch->view);
        dyn_buf_fini(&watch->text);
        free(watch);
    }
}

static uint64_t
at_character(struct dyn_slice text, uint64_t base, uint64_t position)
{
    while (position < base + text.len && ((unsigned char)text.data[position - base] & 0xC0) == 0x80) {
        position++;
    }
    return position;
}

/* What reaches beyond the window begins too far back to be waited for. */
static void
look_within_window(struct content_watch *watch, struct pattern_watch *pattern, struct dyn_slice text)
{
    if (watch->seen - pattern->from > watch->rules->window_bytes) {
        pattern->from = at_character(text, watch->base, watch->seen - watch->rules->window_bytes);
    }
}

static enum content_result
watch_pattern(struct content_watch *watch, size_t index, struct dyn_slice text, bool is_last,
              struct dyn_regex_budget *budget)
{
    const struct content_rules *rules = watch->rules;
    struct pattern_watch *pattern = &watch->patterns[index];
    for (;;) {
        struct dyn_regex_place place;
        enum dyn_regex_result result = dyn_regex_find(
            rules->patterns[index], text, (size_t)(pattern->from - watch->base), !is_last, &place, budget);
        if (result == DYN_REGEX_LIMIT) {
            return CONTENT_UNKNOWN;
        }
        if (result == DYN_REGEX_NO) {
            pattern->from = pattern->hold = watch->seen;
            return CONTENT_CLEAN;
        }
        pattern->hold = watch->base + place.begin;
        if (result == DYN_REGEX_PARTIAL) {
            bool is_too_long = watch->seen - pattern->hold > rules->window_bytes;
            pattern->from = pattern->hold;
            if (!is_too_long) {
                return CONTENT_CLEAN;
            }
            watch->is_cut = true;
            look_within_window(watch, pattern, text);
            continue;
        }
        if (place.end > place.begin) {
            add_match(&watch->found, pattern->hold, watch->base + place.end, rules->pattern_texts[index]);
        }
        uint64_t behind = watch->base + place.end;
        pattern->from = behind > pattern->from ? behind : at_character(text, watch->base, pattern->from + 1);
        if (pattern->from >= watch->seen) {
            pattern->from = pattern->hold = watch->seen;
            return CONTENT_CLEAN;
        }
    }
}

/* What no expression looks at any more may go. */
static void
trim(struct content_watch *watch)
{
    uint64_t first = watch->clear;
    if (watch->found.n > 0 && watch->found.items[0].from < first) {
        first = watch->found.items[0].from;
    }
    for (size_t i = 0; i < watch->rules->n_patterns; i++) {
        first = watch->patterns[i].from < first ? watch->patterns[i].from : first;
    }
    first -= first < watch->rules->lookbehind ? first : watch->rules->lookbehind;
    first = first < watch->base ? watch->base : first;
    struct dyn_buf *text = watch->is_json ? &watch->view.text : &watch->text;
    while (first > watch->base && first < watch->base + text->len &&
           ((unsigned char)text->data[first - watch->base] & 0xC0) == 0x80) {
        first--;
    }
    if (watch->is_json) {
        json_view_trim(&watch->view, first);
        watch->base = watch->view.base;
        return;
    }
    size_t gone = (size_t)(first - watch->base);
    if (gone > watch->rules->window_bytes || gone == text->len) {
        text->len -= gone;
        if (gone > 0 && text->len > 0) {
            memmove(text->data, text->data + gone, text->len);
        }
        watch->base = first;
    }
}

enum content_result
content_watch_feed(content_watch_t *watch, struct dyn_slice piece, bool is_last,
                   struct dyn_regex_budget *budget)
{
    const struct content_rules *rules = watch->rules;
    struct word_hearing hearing = {rules, &watch->found, true, false};
    struct dyn_slice text = piece;
    if (watch->is_json) {
        size_t before = watch->view.text.len;
        json_view_feed(&watch->view, piece, is_last);
        piece = dyn_slice(watch->view.text.data + before, watch->view.text.len - before);
        text = dyn_buf_slice(&watch->view.text);
    } else if (rules->n_patterns > 0) {
        dyn_buf_add_slice(&watch->text, piece);
        text = dyn_buf_slice(&watch->text);
    }
    watch->seen += piece.len;
    if (rules->has_words) {
        (void)word_scan_feed(rules->words, watch->scan, piece, hear_word, &hearing);
        if (is_last) {
            (void)word_scan_end(rules->words, watch->scan, hear_word, &hearing);
        }
    }
    uint64_t clear = rules->has_words ? word_scan_clear(rules->words, watch->scan) : watch->seen;
    for (size_t i = 0; i < rules->n_patterns; i++) {
        if (watch_pattern(watch, i, text, is_last, budget) == CONTENT_UNKNOWN) {
            return CONTENT_UNKNOWN;
        }
        clear = watch->patterns[i].hold < clear ? watch->patterns[i].hold : clear;
    }
    watch->clear = clear;
    put_together(&watch->found);
    return watch->found.n > 0 ? CONTENT_FOUND : CONTENT_CLEAN;
}

static uint64_t
place_of(const struct content_watch *watch, uint64_t position)
{
    return watch->is_json ? json_view_place(&watch->view, position) : position;
}

uint64_t
content_watch_clear(content_watch_t *watch, struct arena *arena, struct dyn_slice mask_text,
                    struct vote_mask **masks, size_t *n_masks)
{
    struct content_found *found = &watch->found;
    uint64_t clear = watch->clear;
    size_t n = 0;
    while (masks != NULL && n < found->n && found->items[n].to <= clear) {
        n++;
    }
    if (n < found->n && found->items[n].from < clear) {
        clear = found->items[n].from;
    }
    uint64_t place = place_of(watch, clear);
    if (masks != NULL) {
        *masks = arena_alloc(arena, (n + 1) * sizeof **masks);
        *n_masks = n;
        for (size_t i = 0; i < n; i++) {
            (*masks)[i] = (struct vote_mask){place_of(watch, found->items[i].from),
                                             place_of(watch, found->items[i].to), mask_text};
        }
        found->n -= n;
        if (n > 0 && found->n > 0) {
            memmove(found->items, found->items + n, found->n * sizeof *found->items);
        }
    }
    if (watch->is_json || watch->rules->n_patterns > 0) {
        trim(watch);
    }
    return place;
}

const struct content_match *
content_watch_match(const content_watch_t *watch)
{
    return watch->found.n > 0 ? &watch->found.items[0] : NULL;
}

bool
content_watch_is_cut(const content_watch_t *watch)
{
    return watch->is_cut;
}

size_t
content_watch_bytes(const content_watch_t *watch)
{
    return sizeof *watch + watch->text.cap + watch->view.text.cap +
           watch->view.places_cap * sizeof *watch->view.places + word_scan_size(watch->rules->words) +
           watch->found.cap * sizeof *watch->found.items;
}
