/* Many words in one pass: the same as one after the other looked for in the folded text, however the text
 * comes in pieces, and nothing that could still become a match is ever called done with. */
#include "core/buf.h"
#include "core/rand.h"
#include "core/text.h"
#include "core/unicode.h"
#include "core/word_search.h"
#include "core/word_set.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MATCHES_MAX = 4096, TEXT_MAX = 256 };

struct matches {
    size_t n;
    struct word_match items[MATCHES_MAX];
};

static bool
keep(void *self, const struct word_match *match)
{
    struct matches *matches = self;
    assert_true(matches->n < MATCHES_MAX);
    matches->items[matches->n++] = *match;
    return true;
}

/* "2-5 8-11", or "". Good until the next one. */
static const char *
places_of(const struct matches *matches)
{
    static struct dyn_buf out;
    dyn_buf_clear(&out);
    for (size_t i = 0; i < matches->n; i++) {
        dyn_buf_addf(&out, "%s%u-%u", i > 0 ? " " : "", (unsigned)matches->items[i].begin,
                     (unsigned)matches->items[i].end);
    }
    return dyn_buf_cstr(&out);
}

/* Words as the word-filter takes them unless told otherwise, with these options beside it. */
static struct word_options loosely = {.is_loose = true, .look_alikes = WORD_ALIKE_MIXED};

static const char *
seen(const char *word, const char *text)
{
    static struct matches matches;
    struct dyn_slice slice = dyn_slice_str(word);
    struct dyn_err err;
    matches.n = 0;
    word_set_t *set = word_set_new(&slice, 1, &loosely, NULL, &err);
    if (set == NULL) {
        return "refused";
    }
    (void)word_set_search(set, dyn_slice_str(text), keep, &matches);
    word_set_free(&set);
    return places_of(&matches);
}

static void
what_is_invisible_hides_no_word(void **state)
{
    (void)state;
    static const char *const invisible[] = {
        "\u200b",     "\u200c", "\u200d", "\u2060", "\ufeff", "\u00ad",   "\ufe0f",
        "\u202e",     "\u2066", "\u061c", "\u034f", "\u180e", "\u3164",   "\U000e0041",
        "\U000e0101", "\u115f", "\u2063", "\x01",   "\x7f",   "\xC2\x99", "\ufff9",
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(invisible); i++) {
        struct dyn_buf text = DYN_BUF_INIT;
        const char *it = invisible[i];
        char where[32];
        dyn_buf_addf(&text, "%sa %sb%so%s%smb%s!", it, it, it, it, it, it);
        (void)snprintf(where, sizeof where, "%zu-%zu", 2 + 2 * strlen(it), 6 + 5 * strlen(it));
        assert_string_equal(seen("bomb", dyn_buf_cstr(&text)), where);
        assert_string_equal(seen(dyn_buf_cstr(&text), "a BOMB!"), "0-7");
        dyn_buf_fini(&text);
    }
    assert_string_equal(seen("bomb", "bo\tmb bo\nmb bo mb"), ""); /* white space is seen */
    assert_string_equal(seen("\u200b", "anything"), "refused");
}

static void
a_form_of_a_letter_is_that_letter(void **state)
{
    (void)state;
    assert_string_equal(seen("bomb", "\uff22\uff2f\uff2d\uff22"), "0-12");                 /* full width */
    assert_string_equal(seen("bomb", "\u24d1\u24de\u24dc\u24d1"), "0-12");                 /* circled */
    assert_string_equal(seen("bomb", "\U0001d41b\U0001d428\U0001d426\U0001d41b"), "0-16"); /* mathematical */
    assert_string_equal(seen("bomb", "\U0001f171\U0001f17e\U0001f17c\U0001f171"), "0-16"); /* in squares */
    assert_string_equal(seen("bomb", "\u249d\u24aa\u24a8\u249d"), "0-12");                 /* in brackets */
    assert_string_equal(seen("bomb", "\u0299\u1d0f\u1d0d\u0299"), "0-10"); /* small capitals */
    assert_string_equal(seen("office", "o\ufb03ce"), "0-6");
    assert_string_equal(seen("two words", "two\u00a0words, two\u3000words"), "0-10 12-23");
    assert_string_equal(seen("カタカナ", "\uff76\uff80\uff76\uff85"), "0-12");
    assert_string_equal(seen("\uff22omb", "bomb"), "0-4");
}

static void
accents_do_not_make_another_word(void **state)
{
    (void)state;
    assert_string_equal(seen("bomb", "b\u0301o\u0336m\u20dd\u0489b"), "0-13");
    assert_string_equal(seen("bomb", "b\u00f6mb, bo\u0308mb"), "0-5 7-13");
    assert_string_equal(seen("caf\u00e9", "CAFE cafe\u0301"), "0-4 5-9");
    assert_string_equal(seen("שלום", "שָׁלוֹם"), "0-14");
    loosely.keeps_accents = true;
    assert_string_equal(seen("ano", "a\u00f1o an\u0303o ano"), "11-14");
    assert_string_equal(seen("a\u00f1o", "a\u00f1o an\u0303o ano"), "0-4 5-10");
    assert_string_equal(seen("an", "a\u00f1 an\u0303 an"), "9-11"); /* the last letter, too */
    loosely.keeps_accents = false;
}

static void
letters_of_more_than_one_part_are_whole(void **state)
{
    (void)state;
    assert_string_equal(seen("각", "\u1100\u1161\u11a8"), "0-9"); /* a syllable in its parts */
    assert_string_equal(seen("가", "각 가 가다"), "4-7 8-11");
    assert_string_equal(seen("か", "が か\u3099 か"), "11-14"); /* voiced, in one and in two characters */
    assert_string_equal(seen("ばか", "はか ばか は\u3099か"), "7-13 14-23");
    assert_string_equal(seen("क", "कि"), "0-3"); /* what stands behind it is a vowel of its own */
}

static void
letters_of_two_scripts_are_read_as_they_look(void **state)
{
    (void)state;
    assert_string_equal(seen("forbidden", "f\u043erbidd\u0435n FORB\u0399DDEN"), "0-11 12-22");
    assert_string_equal(seen("class", "класс сlаss"), "11-18");
    assert_string_equal(seen("cop", "сорок"), ""); /* a word of another script, not one in disguise */
    assert_string_equal(seen("вор", "ВОР вор bop"), "0-6 7-13");
    assert_string_equal(seen("вор", "вop"), "0-4");
    assert_string_equal(seen("бомба", "бoмба"), "0-9");
    assert_string_equal(seen("νερό", "ΝΕΡΟ νερό"), "0-8 9-17"); /* its first letter looks like two */
    loosely.look_alikes = WORD_ALIKE_ALL;
    assert_string_equal(seen("cop", "сорок"), "0-6");
    loosely.look_alikes = WORD_ALIKE_NONE;
    assert_string_equal(seen("forbidden", "f\u043erbidden"), "");
    loosely.look_alikes = WORD_ALIKE_MIXED;
}

static word_set_t *
set_of(const char *const *words, size_t n, bool is_case_sensitive, bool whole_words)
{
    struct dyn_slice slices[64];
    struct dyn_err err;
    for (size_t i = 0; i < n; i++) {
        slices[i] = dyn_slice_str(words[i]);
    }
    struct word_options options = {.is_case_sensitive = is_case_sensitive, .whole_words = whole_words};
    word_set_t *set = word_set_new(slices, n, &options, NULL, &err);
    if (set == NULL) {
        fail_msg("%s", err.text);
    }
    return set;
}

/* What is found of one word. */
static const char *
found(const char *word, const char *text, bool is_case_sensitive, bool whole_words)
{
    static struct matches matches;
    matches.n = 0;
    word_set_t *set = set_of(&word, 1, is_case_sensitive, whole_words);
    bool has_found = word_set_search(set, dyn_slice_str(text), keep, &matches);
    assert_int_equal(has_found, matches.n > 0);
    assert_int_equal(has_found, word_set_search(set, dyn_slice_str(text), NULL, NULL));
    word_set_free(&set);
    return places_of(&matches);
}

static void
case_folds_as_unicode_says(void **state)
{
    (void)state;
    assert_string_equal(found("bomb", "a BoMb", false, false), "2-6");
    assert_string_equal(found("bomb", "a BoMb bomb", true, false), "7-11");
    assert_string_equal(found("straße", "STRASSE, Straße", false, false), "0-7 9-16");
    assert_string_equal(found("STRASSE",
                              "straße STRA\xE1\xBA\x9E"
                              "E",
                              false, false),
                        "0-7 8-16");
    assert_string_equal(found("ΟΔΟΣ", "οδος οδοσ", false, false), "0-8 9-17");
    assert_string_equal(found("k", "\xE2\x84\xAA", false, false), "0-3"); /* the Kelvin sign */
    assert_string_equal(found("office", "oﬃce", false, false), "0-6");
    assert_string_equal(found("ПРИВЕТ", "привет", false, false), "0-12");
    assert_string_equal(found("ßa", "ssa", false, false), "0-3");
    assert_string_equal(found("sa", "ßa", false, false), "0-3"); /* begins within a character */
    assert_string_equal(found("\xF0\x90\x90\x80", "\xF0\x90\x90\xA8", false, false), "0-4");
}

static void
a_whole_word_has_no_letter_beside_it(void **state)
{
    (void)state;
    assert_string_equal(found("ass", "class ass, assassin ass", false, true), "6-9 20-23");
    assert_string_equal(found("ass", "ässe ass", false, true), "6-9");
    assert_string_equal(found("ass", "assé ass1 1ass ass_ ass\xC2\xA0", false, true), "21-24");
    assert_string_equal(found("a b", "a b", false, true), "0-3");
    assert_string_equal(found("@home", "x@home @homes", false, true), "1-6"); /* a boundary of its own */
    assert_string_equal(found("c++", "c++x", false, true), "0-3");
    assert_string_equal(found("東京", "は東京に", false, true), "3-9"); /* no spaces between words there */
    assert_string_equal(found("sa", "ßa", false, true), "");
}

static void
words_within_each_other_are_all_found(void **state)
{
    (void)state;
    static const char *const words[] = {"he", "she", "his", "hers", "HE"};
    static struct matches matches;
    matches.n = 0;
    word_set_t *set = set_of(words, 5, false, false);
    assert_true(word_set_search(set, DYN_SLICE("ushers"), keep, &matches));
    assert_int_equal(matches.n, 3);
    assert_int_equal(matches.items[0].word, 1); /* she, before he, which ends there too */
    assert_int_equal(matches.items[1].word, 0); /* the first of two that are the same */
    assert_int_equal(matches.items[2].word, 3);
    word_set_free(&set);
}

static void
bad_words_are_refused(void **state)
{
    (void)state;
    static char longer[WORD_MAX + 2];
    struct dyn_err err;
    size_t at;
    memset(longer, 'x', sizeof longer - 1);
    struct dyn_slice words[] = {DYN_SLICE("fine"), DYN_SLICE("")};
    struct word_options options = {.whole_words = false};
    assert_null(word_set_new(words, 2, &options, &at, &err));
    assert_int_equal(at, 1);
    words[1] = dyn_slice_str(longer);
    assert_null(word_set_new(words, 2, &options, &at, &err));
    assert_int_equal(at, 1);
    words[1] = DYN_SLICE("a\xFFz");
    assert_null(word_set_new(words, 2, &options, &at, &err));
    options.bytes_max = 100;
    assert_null(word_set_new(words, 1, &options, &at, &err));
    assert_int_equal(err.code, DYN_E_LIMIT);
    assert_int_equal(at, 1);
    options.bytes_max = 0;
    word_set_t *none = word_set_new(words, 0, &options, &at, &err);
    assert_non_null(none);
    assert_false(word_set_search(none, DYN_SLICE("anything"), NULL, NULL));
    word_set_free(&none);
}

static void
only_what_may_become_a_match_is_held(void **state)
{
    (void)state;
    static const char *const words[] = {"bomb", "bombast"};
    word_set_t *set = set_of(words, 2, false, true);
    void *memory = malloc(word_scan_size(set));
    word_scan_t *scan = word_scan_begin(set, memory);
    static struct matches matches;
    matches.n = 0;
    (void)word_scan_feed(set, scan, DYN_SLICE("hello "), keep, &matches);
    assert_int_equal(word_scan_clear(set, scan), 6);
    (void)word_scan_feed(set, scan, DYN_SLICE("xbo"), keep, &matches);
    assert_int_equal(word_scan_clear(set, scan), 9); /* a letter stands before it */
    (void)word_scan_feed(set, scan, DYN_SLICE(" bo"), keep, &matches);
    assert_int_equal(word_scan_clear(set, scan), 10);
    (void)word_scan_feed(set, scan, DYN_SLICE("mb"), keep, &matches);
    assert_int_equal(word_scan_clear(set, scan), 10);
    assert_int_equal(matches.n, 0);
    (void)word_scan_feed(set, scan, DYN_SLICE("x bomb"), keep, &matches);
    assert_int_equal(word_scan_clear(set, scan), 16);
    (void)word_scan_feed(set, scan, DYN_SLICE("\xC3"), keep, &matches);
    assert_int_equal(word_scan_clear(set, scan), 16);
    (void)word_scan_end(set, scan, keep, &matches);
    assert_int_equal(matches.n, 1);
    assert_int_equal(matches.items[0].begin, 16);
    assert_int_equal(matches.items[0].end, 20);
    assert_int_equal(word_scan_clear(set, scan), 21);
    free(memory);
    word_set_free(&set);
}

/* ---- against a search that is plainly right ---- */

/* Characters that make trouble often: they fold to each other, to several, or within words. */
static const char *const alphabet[] = {
    "a", "b", "A", "B", "s", "S", "ß", "ẞ", "K", "k",  "\xE2\x84\xAA",     "ﬃ",
    "f", "i", "İ", "é", "É", " ", "_", "1", ".", "東", "\xF0\x90\x90\x80", "\xF0\x90\x90\xA8",
    "ŉ", "n", "ʼ",
};

struct folded_text {
    size_t n;
    struct {
        uint32_t scalar;
        size_t begin;
        size_t end;
    } items[4 * TEXT_MAX];
};

static void
fold_all(struct folded_text *out, const char *text, size_t len, bool is_case_sensitive)
{
    out->n = 0;
    for (size_t at = 0; at < len;) {
        uint32_t to[UNICODE_FOLD_MAX];
        size_t n_bytes = dyn_utf8_len(text + at, text + len);
        assert_true(n_bytes > 0);
        to[0] = dyn_utf8_scalar(text + at, n_bytes);
        size_t n = is_case_sensitive ? 1 : unicode_fold(to[0], to);
        for (size_t i = 0; i < n; i++) {
            out->items[out->n].scalar = to[i];
            out->items[out->n].begin = at;
            out->items[out->n++].end = at + n_bytes;
        }
        at += n_bytes;
    }
}

static bool
is_match(const struct folded_text *text, const struct folded_text *word, size_t at, bool whole_words)
{
    for (size_t i = 0; i < word->n; i++) {
        if (at + i >= text->n || text->items[at + i].scalar != word->items[i].scalar) {
            return false;
        }
    }
    size_t end = at + word->n;
    bool is_left =
        at > 0 && unicode_is_word(text->items[at - 1].scalar) && unicode_is_word(text->items[at].scalar);
    bool is_right = end < text->n && unicode_is_word(text->items[end].scalar) &&
                    unicode_is_word(text->items[end - 1].scalar);
    return !whole_words || (!is_left && !is_right);
}

static bool
is_told(const struct matches *matches, size_t begin, size_t end, size_t word)
{
    for (size_t i = 0; i < matches->n; i++) {
        const struct word_match *match = &matches->items[i];
        if (match->begin == begin && match->end == end && match->word == word) {
            return true;
        }
    }
    return false;
}

static void
random_text(struct dyn_rng *rng, char *out, size_t characters)
{
    size_t len = 0;
    for (size_t i = 0; i < characters; i++) {
        const char *piece = alphabet[dyn_rng_below(rng, DYN_ARRAY_LEN(alphabet))];
        memcpy(out + len, piece, strlen(piece));
        len += strlen(piece);
    }
    out[len] = '\0';
}

/* Feeds it in pieces of a few bytes; nothing told may begin before what was called done with earlier. */
static void
scan_in_pieces(const word_set_t *set, struct dyn_slice text, struct dyn_rng *rng, struct matches *matches)
{
    void *memory = malloc(word_scan_size(set));
    word_scan_t *scan = word_scan_begin(set, memory);
    uint64_t clear = 0;
    matches->n = 0;
    for (size_t at = 0; at <= text.len;) {
        size_t len = dyn_rng_below(rng, 5);
        size_t before = matches->n;
        len = len < text.len - at ? len : text.len - at;
        if (at < text.len) {
            assert_true(word_scan_feed(set, scan, dyn_slice(text.data + at, len), keep, matches));
        } else {
            assert_true(word_scan_end(set, scan, keep, matches));
        }
        for (size_t i = before; i < matches->n; i++) {
            assert_true(matches->items[i].begin >= clear);
        }
        assert_true(word_scan_clear(set, scan) >= clear);
        clear = word_scan_clear(set, scan);
        if (at == text.len) {
            break;
        }
        at += len;
    }
    assert_int_equal(clear, text.len);
    free(memory);
}

/* Disguised texts of random pieces are found wherever they are cut, from their first byte to their last. */
static void
what_is_disguised_is_found_in_pieces(void **state)
{
    (void)state;
    static const char *const disguises[] = {"\u200b", "\u00ad", "\u0301", "\ufe0f", "\U000e0041", "\x02"};
    static const char *const letters[][4] = {{"b", "\uff22", "\u0412", "B"},
                                             {"o", "\u24de", "\u043e", "\u00f6"},
                                             {"m", "\uff4d", "M", "\u1d0d"},
                                             {"b", "\u24b7", "\u0299", "b"}};
    static struct matches matches;
    struct dyn_slice word = DYN_SLICE("bomb");
    struct dyn_rng rng;
    dyn_rng_seed(&rng, 7);
    for (unsigned round = 0; round < 2000; round++) {
        struct dyn_buf text = DYN_BUF_INIT;
        struct word_options options = {.is_loose = true, .look_alikes = WORD_ALIKE_MIXED};
        options.whole_words = dyn_rng_below(&rng, 2) == 0;
        word_set_t *set = word_set_new(&word, 1, &options, NULL, NULL);
        dyn_buf_add_str(&text, "so \u00ad");
        size_t begin = text.len;
        size_t last = 0;
        for (size_t i = 0; i < 4; i++) {
            dyn_buf_add_str(&text, letters[i][dyn_rng_below(&rng, 4)]);
            last = text.len;
            for (size_t n = dyn_rng_below(&rng, 4); n > 0; n--) {
                dyn_buf_add_str(&text, disguises[dyn_rng_below(&rng, DYN_ARRAY_LEN(disguises))]);
            }
        }
        size_t behind = text.len;
        dyn_buf_add_str(&text, " it is");
        scan_in_pieces(set, dyn_buf_slice(&text), &rng, &matches);
        assert_int_equal(matches.n, 1);
        assert_int_equal(matches.items[0].begin, begin);
        assert_int_equal(matches.items[0].end, options.whole_words ? behind : last);
        word_set_free(&set);
        dyn_buf_fini(&text);
    }
}

/* The memory of a scan is for the longest word and one character before it. */
static void
no_character_becomes_too_many_bytes(void **state)
{
    (void)state;
    static const struct word_options options = {.is_loose = true, .keeps_accents = true};
    for (uint32_t scalar = 1; scalar < 0x110000; scalar++) {
        struct word_fold fold;
        size_t n_bytes = 0;
        word_fold(&options, scalar, &fold);
        for (size_t i = 0; i < fold.n; i++) {
            char bytes[4];
            n_bytes += dyn_utf8_put(bytes, fold.scalars[i]);
            assert_true(fold.scalars[i] < 0x110000);
        }
        assert_true(n_bytes <= WORD_FOLD_BYTES_MAX);
    }
}

static void
it_finds_what_a_naive_search_finds(void **state)
{
    (void)state;
    static struct matches whole;
    static struct matches pieces;
    static struct folded_text text;
    static struct folded_text word;
    static char words[8][64];
    static char bytes[TEXT_MAX * 4];
    struct dyn_rng rng;
    dyn_rng_seed(&rng, 20261123);
    for (unsigned round = 0; round < 4000; round++) {
        const char *list[8];
        bool sensitive = dyn_rng_below(&rng, 4) == 0;
        bool is_whole = dyn_rng_below(&rng, 2) == 0;
        size_t n = 1 + dyn_rng_below(&rng, 8);
        for (size_t i = 0; i < n; i++) {
            random_text(&rng, words[i], 1 + dyn_rng_below(&rng, 4));
            list[i] = words[i];
        }
        random_text(&rng, bytes, dyn_rng_below(&rng, 40));
        word_set_t *set = set_of(list, n, sensitive, is_whole);
        whole.n = 0;
        (void)word_set_search(set, dyn_slice_str(bytes), keep, &whole);
        fold_all(&text, bytes, strlen(bytes), sensitive);
        size_t expected = 0;
        for (size_t i = 0; i < n; i++) {
            bool is_repeated = false;
            fold_all(&word, words[i], strlen(words[i]), sensitive);
            for (size_t j = 0; j < i; j++) {
                static struct folded_text other;
                fold_all(&other, words[j], strlen(words[j]), sensitive);
                is_repeated = is_repeated || (other.n == word.n && is_match(&other, &word, 0, false));
            }
            for (size_t at = 0; at < text.n && !is_repeated; at++) {
                if (is_match(&text, &word, at, is_whole)) {
                    expected++;
                    assert_true(is_told(&whole, text.items[at].begin, text.items[at + word.n - 1].end, i));
                }
            }
        }
        assert_int_equal(whole.n, expected);
        scan_in_pieces(set, dyn_slice_str(bytes), &rng, &pieces);
        assert_int_equal(pieces.n, whole.n);
        assert_memory_equal(pieces.items, whole.items, whole.n * sizeof whole.items[0]);
        word_set_free(&set);
    }
}

/* More states than have rows: those behind fall back as the others do. */
static void
thousands_of_words_stay_within_bounds(void **state)
{
    (void)state;
    enum { WORDS = 5000 };
    static char words[WORDS][24];
    static struct dyn_slice slices[WORDS];
    struct word_options options = {.whole_words = true};
    struct dyn_err err;
    for (unsigned i = 0; i < WORDS; i++) {
        (void)snprintf(words[i], sizeof words[i], "w%uq%ux%u", i * 7919u, i, i * 31u % 977u);
        slices[i] = dyn_slice_str(words[i]);
    }
    word_set_t *set = word_set_new(slices, WORDS, &options, NULL, &err);
    assert_non_null(set);
    assert_true(word_set_bytes(set) < (size_t)4 * 1024 * 1024);
    for (unsigned i = 0; i < WORDS; i++) {
        char text[96];
        static struct matches matches;
        (void)snprintf(text, sizeof text, "w%u w %.23s.", i, words[i]);
        matches.n = 0;
        (void)word_set_search(set, dyn_slice_str(text), keep, &matches);
        assert_int_equal(matches.n, 1);
        assert_int_equal(matches.items[0].word, i);
    }
    word_set_free(&set);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(case_folds_as_unicode_says),
        cmocka_unit_test(a_whole_word_has_no_letter_beside_it),
        cmocka_unit_test(words_within_each_other_are_all_found),
        cmocka_unit_test(what_is_invisible_hides_no_word),
        cmocka_unit_test(a_form_of_a_letter_is_that_letter),
        cmocka_unit_test(accents_do_not_make_another_word),
        cmocka_unit_test(letters_of_more_than_one_part_are_whole),
        cmocka_unit_test(letters_of_two_scripts_are_read_as_they_look),
        cmocka_unit_test(what_is_disguised_is_found_in_pieces),
        cmocka_unit_test(no_character_becomes_too_many_bytes),
        cmocka_unit_test(bad_words_are_refused),
        cmocka_unit_test(only_what_may_become_a_match_is_held),
        cmocka_unit_test(it_finds_what_a_naive_search_finds),
        cmocka_unit_test(thousands_of_words_stay_within_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
