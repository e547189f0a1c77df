/* Running the automaton of word_set.h over a text. A step is taken for each folded byte; ASCII, which is
 * nearly all there is, folds by the table of classes alone.
 *
 * Matches are found by where they end. Where they begin is counted back over the last folded bytes, for each
 * of which a ring remembers how many bytes of the text it stands for: folding may change a character's
 * length. The ring is as long as the longest word. */
#include "core/word_search.h"

#include "core/text.h"
#include "core/unicode.h"
#include "core/word_set.h"

/* An entry of the ring: of the first folded byte of a character the bytes of it in the text, and of what is
 * invisible behind it; whether what it was folded to is part of a word, and was a letter of another
 * script. */
enum { RING_LEN = 0x0FFFFFFF, RING_FIRST = 0x10000000, RING_WORD = 0x20000000, RING_ALIKE = 0x40000000 };

struct word_scan {
    uint64_t position; /* bytes of whole characters that were seen */
    uint32_t state;
    uint32_t waiting; /* words that end at that state are matches unless a letter follows; 0: none */
    uint32_t ring_at; /* folded bytes so far */
    bool is_over;     /* enough was found */
    uint8_t n_partial;
    char partial[4]; /* a character that is not whole yet */
    uint32_t ring[];
};

struct telling {
    const struct word_set *set;
    struct word_scan *scan;
    word_match_fn fn;
    void *self;
    bool has_found;
};

size_t
word_scan_size(const word_set_t *set)
{
    return sizeof(struct word_scan) + set->ring * sizeof(uint32_t);
}

word_scan_t *
word_scan_begin(const word_set_t *set, void *memory)
{
    struct word_scan *scan = memory;
    *scan = (struct word_scan){.position = 0};
    memset(scan->ring, 0, set->ring * sizeof *scan->ring);
    return scan;
}

/* The entry of the n-th last folded byte. */
static inline uint32_t
ring_back(const struct word_set *set, const struct word_scan *scan, size_t n)
{
    return scan->ring[(scan->ring_at - n) & (set->ring - 1)];
}

/* Bytes of the text that the last n folded ones stand for, whole characters. */
static uint64_t
bytes_back(const struct word_set *set, const struct word_scan *scan, size_t n)
{
    uint64_t bytes = 0;
    for (size_t i = 1; i <= n; i++) {
        bytes += ring_back(set, scan, i) & RING_LEN;
    }
    for (size_t i = n; i < set->ring && (ring_back(set, scan, i) & RING_FIRST) == 0;) {
        bytes += ring_back(set, scan, ++i) & RING_LEN; /* it begins within a character */
    }
    return bytes;
}

/* Whether a word that begins n folded bytes back stands alone on its left. */
static bool
is_left_free(const struct word_set *set, const struct word_scan *scan, size_t n)
{
    return !set->options.whole_words || (ring_back(set, scan, n) & RING_WORD) == 0 ||
           (ring_back(set, scan, n + 1) & RING_WORD) == 0;
}

/* A word that is all of another script in the text is one of that script, not one of ASCII in disguise; and
 * the other way round. */
static bool
is_of_script(const struct word_set *set, const struct word_scan *scan, const struct word_entry *word)
{
    if (set->options.look_alikes != WORD_ALIKE_MIXED) {
        return true;
    }
    size_t n_alike = 0;
    for (size_t i = 1; i <= word->len; i++) {
        n_alike += (ring_back(set, scan, i) & RING_ALIKE) != 0;
    }
    return (word->is_spelled && (n_alike == 0 || n_alike < word->n_ascii_letters)) ||
           (word->is_look_alike && (n_alike > 0 || word->is_foreign));
}

static void
tell(struct telling *t, const struct word_entry *word)
{
    struct word_scan *scan = t->scan;
    if (scan->is_over || !is_left_free(t->set, scan, word->len) || !is_of_script(t->set, scan, word)) {
        return;
    }
    t->has_found = true;
    if (t->fn == NULL) {
        scan->is_over = true;
        return;
    }
    struct word_match match = {.begin = scan->position - bytes_back(t->set, scan, word->len),
                               .end = scan->position,
                               .word = word->index};
    scan->is_over = !t->fn(t->self, &match);
}

/* Words that end at the state and need not wait for what follows. */
static void
tell_found(struct telling *t)
{
    const struct word_set *set = t->set;
    for (uint32_t state = t->scan->state; state != 0; state = set->next_found[state]) {
        if (set->word_at[state] != 0) {
            const struct word_entry *word = &set->words[set->word_at[state] - 1];
            if (word_waits(set, word)) {
                t->scan->waiting = t->scan->state;
            } else {
                tell(t, word);
            }
        }
    }
}

/* What follows is here: part of a word, part of the last character, or neither. */
static void
tell_waiting(struct telling *t, uint32_t state, bool is_word, bool continues)
{
    const struct word_set *set = t->set;
    for (; state != 0; state = set->next_found[state]) {
        if (set->word_at[state] != 0) {
            const struct word_entry *word = &set->words[set->word_at[state] - 1];
            bool is_spoilt = (is_word && set->options.whole_words && word->is_word_last) ||
                             (continues && word->may_continue);
            if (word_waits(set, word) && !is_spoilt) {
                tell(t, word);
            }
        }
    }
}

static inline void
push(const struct word_set *set, struct word_scan *scan, uint32_t entry)
{
    scan->ring[scan->ring_at++ & (set->ring - 1)] = entry;
}

/* What came before a character decides what waited for it. */
static inline void
settle_waiting(struct telling *t, bool is_word, bool continues)
{
    if (DYN_UNLIKELY(t->scan->waiting != 0)) {
        uint32_t state = t->scan->waiting;
        t->scan->waiting = 0;
        tell_waiting(t, state, is_word, continues);
    }
}

/* What is not seen belongs to the character before it. A flood of it parts words: no text is that long. */
static void
skip(struct telling *t, size_t len)
{
    struct word_scan *scan = t->scan;
    uint32_t *last = &scan->ring[(scan->ring_at - 1) & (t->set->ring - 1)];
    if ((*last & RING_LEN) + len > RING_LEN) {
        settle_waiting(t, false, false);
        scan->state = 0;
    } else {
        *last += (uint32_t)len;
    }
    scan->position += len;
}

static inline void
step(struct telling *t, uint8_t class)
{
    uint32_t next = word_set_step(t->set, t->scan->state, class);
    t->scan->state = next & ~WORD_STATE_FOUND;
    if (DYN_UNLIKELY((next & WORD_STATE_FOUND) != 0)) {
        tell_found(t);
    }
}

static inline void
take_ascii(struct telling *t, unsigned char c)
{
    struct word_scan *scan = t->scan;
    uint8_t class = t->set->ascii_classes[c];
    if (class == 0 && unicode_is_hidden_byte(c) && t->set->options.is_loose) { /* no word has such a byte */
        skip(t, 1);
        return;
    }
    bool is_word = t->set->options.whole_words && unicode_is_word_byte(c);
    settle_waiting(t, is_word, false);
    scan->position++;
    push(t->set, scan, is_word ? 1 | RING_FIRST | RING_WORD : 1 | RING_FIRST);
    step(t, class);
}

/* A byte that belongs to no character: nothing folds to it, and it parts words. */
static void
take_junk(struct telling *t, unsigned char c)
{
    settle_waiting(t, false, false);
    t->scan->position++;
    push(t->set, t->scan, 1 | RING_FIRST);
    step(t, t->set->classes[c]);
}

/* Whether with what stands before it that is another character. */
static bool
continues(const struct word_set *set, uint32_t scalar)
{
    return set->options.is_loose && (unicode_is_continuation(scalar) || unicode_is_accent(scalar));
}

static void
take_character(struct telling *t, const char *at, size_t len)
{
    const struct word_set *set = t->set;
    struct word_fold to;
    word_fold(&set->options, dyn_utf8_scalar(at, len), &to);
    if (to.n == 0) {
        skip(t, len);
    }
    for (size_t i = 0; i < to.n; i++) {
        char bytes[4];
        size_t n_bytes = dyn_utf8_put(bytes, to.scalars[i]);
        bool is_word = set->options.whole_words && unicode_is_word(to.scalars[i]);
        uint32_t flags = (is_word ? RING_WORD : 0) | (to.is_alike[i] ? RING_ALIKE : 0);
        settle_waiting(t, is_word, continues(set, to.scalars[i]));
        t->scan->position += i == 0 ? len : 0;
        for (size_t j = 0; j < n_bytes; j++) {
            push(set, t->scan, flags | (i + j == 0 ? (uint32_t)len | RING_FIRST : 0));
            step(t, set->classes[(uint8_t)bytes[j]]);
        }
    }
}

/* Bytes of the character that begins with that one; 0: none does. */
static size_t
promised_len(unsigned char lead)
{
    return lead < 0x80 ? 1 : lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
}

/* Whether more bytes could make it a character. */
static bool
is_cut(const char *at, const char *end)
{
    size_t promised = promised_len((unsigned char)*at);
    for (const char *next = at + 1; next < end; next++) {
        if (((unsigned char)*next & 0xC0) != 0x80) {
            return false;
        }
    }
    return promised > (size_t)(end - at);
}

/* Over ASCII at which no word begins, in the first state. Only its last byte is remembered: what comes behind
 * it may be looked at from there. */
static inline const char *
skip_to_start(struct telling *t, const char *at, const char *end)
{
    const struct word_starts *starts = &t->set->starts;
    struct word_scan *scan = t->scan;
    bool is_behind_word = (ring_back(t->set, scan, 1) & RING_WORD) != 0;
    if (word_starts_at(starts, at, end, is_behind_word)) {
        return at;
    }
    const char *start = word_starts_find(starts, at + 1, end, starts->is_word[(unsigned char)*at]);
    bool is_word = starts->is_word[(unsigned char)start[-1]];
    scan->position += (uint64_t)(start - at);
    push(t->set, scan, is_word ? 1 | RING_FIRST | RING_WORD : 1 | RING_FIRST);
    return start;
}

/* Characters until there is none, or only the beginning of one. Returns where it stopped. */
static const char *
take_characters(struct telling *t, const char *at, const char *end)
{
    struct word_scan *scan = t->scan;
    while (at < end && !scan->is_over) {
        unsigned char c = (unsigned char)*at;
        if (c < 0x80) {
            const char *start = scan->state == 0 && scan->waiting == 0 ? skip_to_start(t, at, end) : at;
            if (start == at) {
                take_ascii(t, c);
                start++;
            }
            at = start;
            continue;
        }
        size_t len = dyn_utf8_len(at, end);
        if (len > 0) {
            take_character(t, at, len);
        } else if (is_cut(at, end)) {
            return at;
        } else {
            take_junk(t, c);
        }
        at += len > 0 ? len : 1;
    }
    return at;
}

static void
keep_partial(struct word_scan *scan, const char *at, const char *end)
{
    size_t n = (size_t)(end - at);
    memmove(scan->partial, at, n);
    scan->n_partial = (uint8_t)n;
}

bool
word_scan_feed(const word_set_t *set, word_scan_t *scan, struct dyn_slice piece, word_match_fn fn, void *self)
{
    struct telling t = {set, scan, fn, self, false};
    const char *at = piece.data;
    const char *end = piece.data + piece.len;
    while (scan->n_partial > 0 && at < end && !scan->is_over) {
        scan->partial[scan->n_partial++] = *at++;
        const char *partial_end = scan->partial + scan->n_partial;
        keep_partial(scan, take_characters(&t, scan->partial, partial_end), partial_end);
    }
    if (!scan->is_over && at < end) {
        keep_partial(scan, take_characters(&t, at, end), end);
    }
    return !scan->is_over;
}

bool
word_scan_end(const word_set_t *set, word_scan_t *scan, word_match_fn fn, void *self)
{
    struct telling t = {set, scan, fn, self, false};
    for (size_t i = 0; i < scan->n_partial && !scan->is_over; i++) {
        take_junk(&t, (unsigned char)scan->partial[i]);
    }
    scan->n_partial = 0;
    settle_waiting(&t, false, false);
    scan->state = 0;
    return !scan->is_over;
}

bool
word_set_search(const word_set_t *set, struct dyn_slice text, word_match_fn fn, void *self)
{
    enum { RING_MOST = 2 * WORD_MAX };
    _Alignas(struct word_scan) char memory[sizeof(struct word_scan) + RING_MOST * sizeof(uint32_t)];
    DYN_ASSERT(set->ring <= RING_MOST);
    struct telling t = {set, word_scan_begin(set, memory), fn, self, false};
    struct word_scan *scan = t.scan;
    const char *end = text.data + text.len;
    if (text.len > 0) {
        const char *at = take_characters(&t, text.data, end);
        while (at < end && !scan->is_over) {
            take_junk(&t, (unsigned char)*at++);
        }
    }
    settle_waiting(&t, false, false);
    return t.has_found;
}

/* Whether text that ends at the state, which stands for all of it, may still be told of. */
static bool
may_match(const struct word_set *set, const struct word_scan *scan, uint32_t state)
{
    if (!is_left_free(set, scan, set->depth[state])) {
        return false;
    }
    bool is_waiting = scan->waiting != 0 && set->word_at[state] != 0 &&
                      word_waits(set, &set->words[set->word_at[state] - 1]);
    return is_waiting || set->first_child[state + 1] > set->first_child[state];
}

uint64_t
word_scan_clear(const word_set_t *set, const word_scan_t *scan)
{
    uint32_t state = scan->state;
    while (state != 0 && !may_match(set, scan, state)) {
        state = set->falls_to[state];
    }
    return scan->position - (state != 0 ? bytes_back(set, scan, set->depth[state]) : 0);
}
