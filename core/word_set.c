/* Building the automaton of core/word_search.h: fold the words, sort them, and number the states breadth
 * first. A state is then a run of the sorted words that begin with the same bytes, so no tree is needed on
 * the way. */
#include "core/word_set.h"

#include "core/buf.h"
#include "core/text.h"
#include "core/unicode.h"

#include <stdlib.h>

struct folded {
    size_t offset; /* in `text` of the building */
    struct word_entry entry;
};

/* Words that begin with the bytes that lead to a state. */
struct run {
    uint32_t first;
    uint32_t end;
};

struct building {
    struct word_set *set;
    struct dyn_buf text; /* folded */
    struct folded *words;
    size_t n_words;
    struct run *runs; /* of each state */
};

/* ---- folding and sorting ---- */

/* One character of the compatibility form: letters that look alike become one, then their case is folded. */
static void
fold_one(const struct word_options *options, uint32_t scalar, struct word_fold *fold)
{
    char alike = options->look_alikes != WORD_ALIKE_NONE ? unicode_look_alike(scalar) : '\0';
    uint32_t *to = &fold->scalars[fold->n];
    to[0] = alike != '\0' ? (uint32_t)alike : scalar;
    size_t n = options->is_case_sensitive ? 1 : unicode_fold(to[0], to);
    for (size_t i = 0; i < n; i++) {
        fold->is_alike[fold->n++] = alike != '\0';
    }
}

void
word_fold(const struct word_options *options, uint32_t scalar, struct word_fold *fold)
{
    uint32_t loose[UNICODE_LOOSE_MAX] = {scalar};
    size_t n = options->is_loose ? unicode_loose(scalar, loose) : 1;
    fold->n = 0;
    for (size_t i = 0; i < n; i++) {
        if (!options->is_loose || options->keeps_accents || !unicode_is_accent(loose[i])) {
            fold_one(options, loose[i], fold);
        }
    }
}

/* Greek letters look like one letter of ASCII when they are small and like another when they are not ("ν",
 * "Ν"): a word of them is listed as it is written, and in either case. */
enum spelling { SPELLED_AS_WRITTEN, SPELLED_SMALL, SPELLED_CAPITAL, SPELLINGS };

static uint32_t
spelled(uint32_t scalar, enum spelling spelling)
{
    enum { GREEK_FIRST = 0x391, GREEK_SMALL_FIRST = 0x3B1, GREEK_SMALL_LAST = 0x3C9, TO_SMALL = 0x20 };
    bool is_small = scalar >= GREEK_SMALL_FIRST && scalar <= GREEK_SMALL_LAST;
    bool is_capital = scalar >= GREEK_FIRST && scalar <= GREEK_SMALL_LAST - TO_SMALL;
    if (spelling == SPELLED_SMALL && is_capital) {
        return scalar + TO_SMALL;
    }
    return spelling == SPELLED_CAPITAL && is_small ? scalar - TO_SMALL : scalar;
}

static void
add_scalar(struct building *b, struct word_entry *entry, uint32_t scalar, bool is_alike)
{
    char bytes[4];
    dyn_buf_add(&b->text, bytes, dyn_utf8_put(bytes, scalar));
    entry->is_word_last = unicode_is_word(scalar);
    entry->may_continue =
        b->set->options.is_loose && (b->set->options.keeps_accents || unicode_may_continue(scalar));
    if ((scalar | 0x20) >= 'a' && (scalar | 0x20) <= 'z') {
        entry->n_ascii_letters++;
    }
    entry->is_look_alike = entry->is_look_alike || is_alike;
    entry->is_foreign = entry->is_foreign || scalar >= 0x80;
}

static const char *
fold_word(struct building *b, struct dyn_slice word, enum spelling spelling, struct folded *folded)
{
    folded->offset = b->text.len;
    for (const char *at = word.data, *end = word.data + word.len; at < end;) {
        struct word_fold to;
        size_t len = dyn_utf8_len(at, end);
        if (len == 0) {
            return "is not UTF-8";
        }
        word_fold(&b->set->options, spelled(dyn_utf8_scalar(at, len), spelling), &to);
        for (size_t i = 0; i < to.n; i++) {
            add_scalar(b, &folded->entry, to.scalars[i], to.is_alike[i]);
        }
        at += len;
        if (b->text.len - folded->offset > WORD_MAX) {
            return "is longer than 512 bytes";
        }
    }
    folded->entry.len = (uint16_t)(b->text.len - folded->offset);
    folded->entry.is_spelled = !folded->entry.is_look_alike;
    return folded->entry.len > 0 ? NULL : word.len > 0 ? "has nothing to be seen" : "is empty";
}

static int
compare_words(const void *a, const void *b, void *text)
{
    const struct folded *left = a;
    const struct folded *right = b;
    const char *bytes = text;
    size_t shorter = left->entry.len < right->entry.len ? left->entry.len : right->entry.len;
    int order = memcmp(bytes + left->offset, bytes + right->offset, shorter);
    if (order == 0) {
        order = (left->entry.len > right->entry.len) - (left->entry.len < right->entry.len);
    }
    if (order == 0) {
        order = (left->entry.index > right->entry.index) - (left->entry.index < right->entry.index);
    }
    return order;
}

static void
sort_words(struct building *b)
{
    const char *text = b->text.data;
    size_t kept = 0;
    qsort_r(b->words, b->n_words, sizeof *b->words, compare_words, b->text.data);
    for (size_t i = 0; i < b->n_words; i++) {
        const struct folded *word = &b->words[i];
        const struct folded *last = kept > 0 ? &b->words[kept - 1] : NULL;
        bool is_same = last != NULL && last->entry.len == word->entry.len &&
                       memcmp(text + last->offset, text + word->offset, word->entry.len) == 0;
        if (is_same) {
            b->words[kept - 1].entry.is_spelled |= word->entry.is_spelled;
            b->words[kept - 1].entry.is_look_alike |= word->entry.is_look_alike;
        } else {
            b->words[kept++] = *word;
        }
    }
    b->n_words = kept;
}

static size_t
bytes_of_states(size_t n_states)
{
    return n_states * (4 * sizeof(uint32_t) + sizeof(uint16_t) + sizeof(uint8_t));
}

static unsigned
spellings_of(const struct word_options *options)
{
    return options->look_alikes != WORD_ALIKE_NONE && !options->is_case_sensitive ? SPELLINGS : 1;
}

/* Another spelling that is none is left out at once: nearly all are. */
static bool
is_no_other(const struct building *b, const struct folded *folded)
{
    for (size_t i = b->n_words; i > 0 && b->words[i - 1].entry.index == folded->entry.index; i--) {
        const struct folded *before = &b->words[i - 1];
        if (before->entry.len == folded->entry.len &&
            memcmp(b->text.data + before->offset, b->text.data + folded->offset, folded->entry.len) == 0) {
            return true;
        }
    }
    return false;
}

/* The bound is on the words' bytes first, so that folding them stays within it, too. */
static int
fold_words(struct building *b, const struct dyn_slice *words, size_t n, size_t *at, struct dyn_err *err)
{
    unsigned n_spellings = spellings_of(&b->set->options);
    for (size_t i = 0; i < n * n_spellings; i++) {
        struct folded *folded = &b->words[b->n_words];
        folded->entry = (struct word_entry){.index = (uint32_t)(i / n_spellings)};
        const char *wrong = fold_word(b, words[i / n_spellings], (enum spelling)(i % n_spellings), folded);
        if (wrong != NULL) {
            *at = i / n_spellings;
            return dyn_err_set(err, DYN_E_INVALID, "the word %s", wrong);
        }
        if (i % n_spellings != SPELLED_AS_WRITTEN && is_no_other(b, folded)) {
            b->text.len = folded->offset;
            continue;
        }
        b->n_words++;
        b->set->len_max = folded->entry.len > b->set->len_max ? folded->entry.len : b->set->len_max;
        if (b->text.len > b->set->options.bytes_max) {
            return dyn_err_set(err, DYN_E_LIMIT, "the words take too much memory: more than %zu bytes",
                               b->set->options.bytes_max);
        }
    }
    sort_words(b);
    return 0;
}

/* ---- states ---- */

/* Shared beginnings are counted once. */
static size_t
count_states(const struct building *b)
{
    size_t n = 1;
    for (size_t i = 0; i < b->n_words; i++) {
        const struct folded *word = &b->words[i];
        size_t shared = 0;
        if (i > 0) {
            const struct folded *last = &b->words[i - 1];
            size_t shorter = last->entry.len < word->entry.len ? last->entry.len : word->entry.len;
            while (shared < shorter &&
                   b->text.data[last->offset + shared] == b->text.data[word->offset + shared]) {
                shared++;
            }
        }
        n += word->entry.len - shared;
    }
    return n;
}

static void
name_classes(struct building *b)
{
    struct word_set *set = b->set;
    for (size_t i = 0; i < b->n_words; i++) {
        const struct folded *word = &b->words[i];
        for (size_t j = 0; j < word->entry.len; j++) {
            set->classes[(uint8_t)b->text.data[word->offset + j]] = 1;
        }
    }
    set->n_classes = 1;
    for (size_t byte = 0; byte < sizeof set->classes; byte++) {
        if (set->classes[byte] != 0) {
            set->classes[byte] = (uint8_t)set->n_classes++;
        }
    }
    for (size_t c = 0; c < sizeof set->ascii_classes; c++) {
        bool is_upper = c >= 'A' && c <= 'Z' && !set->options.is_case_sensitive;
        set->ascii_classes[c] = set->classes[is_upper ? c | 0x20 : c];
    }
}

static void *
take(struct word_set *set, size_t n, size_t size)
{
    set->bytes += n * size;
    return dyn_zalloc(n * size);
}

static int
make_room(struct building *b, struct dyn_err *err)
{
    struct word_set *set = b->set;
    size_t row = set->n_classes * sizeof *set->rows;
    set->n_states = count_states(b);
    set->n_dense = WORD_SET_DENSE_BYTES / row;
    set->n_dense = set->n_dense < set->n_states ? set->n_dense : set->n_states;
    size_t bytes = bytes_of_states(set->n_states) + set->n_dense * row + b->n_words * sizeof *set->words;
    if (bytes > set->options.bytes_max || set->n_states >= WORD_STATE_FOUND) {
        return dyn_err_set(err, DYN_E_LIMIT, "the words take %zu bytes of memory, at most %zu", bytes,
                           set->options.bytes_max);
    }
    set->rows = take(set, set->n_dense, row);
    set->first_child = take(set, set->n_states + 1, sizeof *set->first_child);
    set->falls_to = take(set, set->n_states, sizeof *set->falls_to);
    set->word_at = take(set, set->n_states, sizeof *set->word_at);
    set->next_found = take(set, set->n_states, sizeof *set->next_found);
    set->depth = take(set, set->n_states, sizeof *set->depth);
    set->class_of = take(set, set->n_states, sizeof *set->class_of);
    set->words = take(set, b->n_words, sizeof *set->words);
    b->runs = dyn_alloc(set->n_states * sizeof *b->runs);
    return 0;
}

static uint8_t
class_at(const struct building *b, uint32_t word, size_t depth)
{
    return b->set->classes[(uint8_t)b->text.data[b->words[word].offset + depth]];
}

/* The children of a state get the next numbers. Returns the first free one. */
static uint32_t
add_children(struct building *b, uint32_t state, uint32_t next)
{
    struct word_set *set = b->set;
    size_t depth = set->depth[state];
    uint32_t word = b->runs[state].first;
    uint32_t end = b->runs[state].end;
    if (word < end && b->words[word].entry.len == depth) { /* the shortest stands first */
        set->word_at[state] = ++word;
    }
    set->first_child[state] = next;
    while (word < end) {
        uint8_t class = class_at(b, word, depth);
        uint32_t first = word;
        while (word < end && class_at(b, word, depth) == class) {
            word++;
        }
        b->runs[next] = (struct run){first, word};
        set->depth[next] = (uint16_t)(depth + 1);
        set->class_of[next++] = class;
    }
    return next;
}

static uint32_t
marked(const struct word_set *set, uint32_t state)
{
    bool is_found = set->word_at[state] != 0 || set->next_found[state] != 0;
    return is_found ? state | WORD_STATE_FOUND : state;
}

static void
find_fall(struct word_set *set, uint32_t parent, uint32_t child)
{
    uint32_t to = 0;
    if (parent != 0) {
        to = word_set_step(set, set->falls_to[parent], set->class_of[child]) & ~WORD_STATE_FOUND;
    }
    set->falls_to[child] = to;
    set->next_found[child] = set->word_at[to] != 0 ? to : set->next_found[to];
}

static void
fill_row(struct word_set *set, uint32_t state)
{
    uint32_t *row = set->rows + state * set->n_classes;
    if (state != 0) {
        memcpy(row, set->rows + set->falls_to[state] * set->n_classes, set->n_classes * sizeof *row);
    }
    for (uint32_t child = set->first_child[state]; child < set->first_child[state + 1]; child++) {
        row[set->class_of[child]] = marked(set, child);
    }
}

/* First all numbers, then where each falls back to: that is always a smaller one. */
static void
build_states(struct building *b)
{
    struct word_set *set = b->set;
    uint32_t next = 1;
    b->runs[0] = (struct run){0, (uint32_t)b->n_words};
    for (uint32_t state = 0; state < set->n_states; state++) {
        next = add_children(b, state, next);
    }
    DYN_ASSERT(next == set->n_states);
    set->first_child[set->n_states] = next;
    for (uint32_t state = 0; state < set->n_states; state++) {
        for (uint32_t child = set->first_child[state]; child < set->first_child[state + 1]; child++) {
            find_fall(set, state, child);
        }
        if (state < set->n_dense) {
            fill_row(set, state);
        }
    }
}

static void
finish(struct building *b)
{
    struct word_set *set = b->set;
    for (size_t i = 0; i < b->n_words; i++) { /* sorted, so a group's words begin alike */
        const struct folded *word = &b->words[i];
        set->words[i] = word->entry;
        word_starts_add(&set->starts, dyn_slice(b->text.data + word->offset, word->entry.len),
                        (unsigned)(i * WORD_START_GROUPS / b->n_words), set->options.is_case_sensitive);
    }
    word_starts_finish(&set->starts, set->options.whole_words, set->options.is_loose);
    /* Before a match: one more character for the look at what stands there, and the rest of one that became
     * several when it was folded. */
    size_t most = set->options.is_loose ? (size_t)WORD_FOLD_BYTES_MAX : 4 * (size_t)UNICODE_FOLD_MAX;
    size_t wanted = set->len_max + 4 + most;
    for (set->ring = 1; set->ring < wanted;) {
        set->ring *= 2;
    }
}

word_set_t *
word_set_new(const struct dyn_slice *words, size_t n, const struct word_options *options, size_t *at,
             struct dyn_err *err)
{
    size_t unused;
    struct word_set *set = dyn_zalloc(sizeof *set);
    struct building b = {.set = set,
                         .text = DYN_BUF_INIT,
                         .words = dyn_alloc((n * spellings_of(options) + 1) * sizeof *b.words)};
    set->options = *options;
    set->options.bytes_max = options->bytes_max > 0 ? options->bytes_max : WORD_SET_BYTES_MAX;
    set->bytes = sizeof *set;
    at = at != NULL ? at : &unused;
    *at = n;
    int failed = fold_words(&b, words, n, at, err);
    if (!failed) {
        name_classes(&b);
        failed = make_room(&b, err);
    }
    if (!failed) {
        build_states(&b);
        finish(&b);
    }
    dyn_buf_fini(&b.text);
    free(b.words);
    free(b.runs);
    if (failed) {
        word_set_free(&set);
    }
    return set;
}

void
word_set_free(word_set_t **set_p)
{
    struct word_set *set = *set_p;
    *set_p = NULL;
    if (set == NULL) {
        return;
    }
    free(set->rows);
    free(set->first_child);
    free(set->falls_to);
    free(set->word_at);
    free(set->next_found);
    free(set->depth);
    free(set->class_of);
    free(set->words);
    free(set);
}

size_t
word_set_bytes(const word_set_t *set)
{
    return set->bytes;
}
