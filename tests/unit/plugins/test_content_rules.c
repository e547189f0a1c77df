/* Words and expressions in whole texts and in pieces: the same matches however a text is cut, nothing that
 * was called clear is ever part of a match, and arguments of tools are read as who parses them reads them. */
#include "actors/plugins/content_rules.h"

#include "core/json_view.h"
#include "core/rand.h"
#include "core/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct dyn_regex_budget
plenty(void)
{
    return (struct dyn_regex_budget){1000000};
}

static content_rules_t *
rules_of(const char *word, const char *pattern, size_t window)
{
    struct dyn_slice words[] = {dyn_slice_str(word)};
    struct dyn_slice patterns[] = {dyn_slice_str(pattern)};
    struct content_rules_options options = {.words = words,
                                            .n_words = word != NULL,
                                            .patterns = patterns,
                                            .n_patterns = pattern != NULL,
                                            .window_bytes = window};
    struct content_refused refused;
    struct dyn_err err;
    content_rules_t *rules = content_rules_new(&options, &refused, &err);
    if (rules == NULL) {
        fail_msg("%s", err.text);
    }
    return rules;
}

static const char *
found_in(const content_rules_t *rules, const char *text, bool is_json)
{
    static struct dyn_buf out;
    struct content_found found = {.n = 0};
    struct dyn_regex_budget budget = plenty();
    dyn_buf_clear(&out);
    (void)content_rules_search(rules, dyn_slice_str(text), is_json, true, &budget, &found);
    for (size_t i = 0; i < found.n; i++) {
        dyn_buf_addf(&out, "%u-%u ", (unsigned)found.items[i].from, (unsigned)found.items[i].to);
    }
    content_found_fini(&found);
    return dyn_buf_cstr(&out);
}

static void
what_overlaps_is_put_together(void **state)
{
    (void)state;
    content_rules_t *rules = rules_of("abc", "c\\d+", 4096);
    assert_string_equal(found_in(rules, "xabc12 c3 ab", false), "1-6 7-9 ");
    assert_string_equal(found_in(rules, "", false), "");
    content_rules_free(&rules);
}

/* A short word in a long text, and words that lie in each other: memory does not grow with either. */
static void
a_flood_of_matches_is_bounded(void **state)
{
    (void)state;
    enum { WORDS = 20, TEXT = 1024 * 1024 };
    static char text[TEXT];
    static char nested[WORDS + 1];
    struct dyn_slice words[WORDS];
    struct content_found found = {.n = 0};
    struct dyn_regex_budget budget = plenty();
    struct content_refused refused;
    memset(text, 'a', sizeof text);
    memset(nested, 'a', WORDS);
    for (size_t i = 0; i < WORDS; i++) {
        words[i] = dyn_slice(nested, i + 1);
    }
    struct content_rules_options options = {.words = words, .n_words = WORDS, .window_bytes = 4096};
    content_rules_t *rules = content_rules_new(&options, &refused, NULL);
    assert_non_null(rules);
    assert_int_equal(content_rules_search(rules, dyn_slice(text, sizeof text), false, true, &budget, &found),
                     CONTENT_FOUND);
    assert_int_equal(found.n, 1);
    assert_int_equal(found.items[0].to - found.items[0].from, TEXT);
    assert_true(found.cap <= 64);
    content_rules_free(&rules);

    rules = rules_of("ab", "ac", 4096);
    for (size_t i = 1; i < sizeof text; i += 2) {
        text[i] = i < sizeof text / 2 ? 'b' : 'c';
    }
    assert_int_equal(content_rules_search(rules, dyn_slice(text, sizeof text), false, true, &budget, &found),
                     CONTENT_FOUND);
    assert_true(found.is_full);
    assert_int_equal(found.n, CONTENT_MATCHES_MAX);
    assert_true(found.cap * sizeof *found.items <= 1024 * 1024);
    assert_int_equal(content_rules_search(rules, DYN_SLICE("xab ac"), false, true, &budget, &found),
                     CONTENT_FOUND);
    assert_false(found.is_full);
    assert_int_equal(found.n, 2);
    content_found_fini(&found);
    content_rules_free(&rules);
}

static void
arguments_are_read_with_their_escapes_decoded(void **state)
{
    (void)state;
    content_rules_t *rules = rules_of("b\xC3\xA9\xF0\x9F\x98\x80", NULL, 4096);
    assert_string_equal(found_in(rules, "{\"a\":\"\\u0062\\u00e9\\ud83d\\ude00\"}", true), "6-30 ");
    assert_string_equal(found_in(rules, "{\"a\":\"b\xC3\xA9\\uD83D\\uDE00 \\\\b\"}", true), "6-21 ");
    assert_string_equal(found_in(rules, "{\"a\":\"b\xC3\xA9\\uD83Dx\"}", true), "");
    assert_string_equal(found_in(rules, "b\xC3\xA9\xF0\x9F\x98\x80\\", true), "0-7 ");
    content_rules_free(&rules);
}

/* Long arguments with escapes everywhere: matches are placed as in short ones. */
static void
places_of_long_arguments_are_right(void **state)
{
    (void)state;
    content_rules_t *rules = rules_of("bomb", NULL, 4096);
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct dyn_rng rng;
        struct dyn_buf text = DYN_BUF_INIT;
        struct content_found found = {.n = 0};
        struct dyn_regex_budget budget = plenty();
        uint64_t at[64];
        size_t n = 0;
        dyn_rng_seed(&rng, seed);
        while (text.len < (size_t)100 * 1024) {
            static const char *const pieces[] = {"\\n",    "\\\"",     "\\u00e9", "\\ud83d\\ude00",
                                                 "plain ", "\xc3\xa9", "\\x"};
            uint64_t which = dyn_rng_below(&rng, 4000);
            if (which == 0 && n < DYN_ARRAY_LEN(at)) {
                at[n++] = text.len;
                dyn_buf_add_str(&text, "b\\u006fmb");
            }
            dyn_buf_add_str(&text, pieces[which % DYN_ARRAY_LEN(pieces)]);
        }
        (void)content_rules_search(rules, dyn_buf_slice(&text), true, true, &budget, &found);
        assert_int_equal(found.n, n);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(found.items[i].from, at[i]);
            assert_int_equal(found.items[i].to, at[i] + strlen("b\\u006fmb"));
        }
        content_found_fini(&found);
        dyn_buf_fini(&text);
    }
    content_rules_free(&rules);
}

static void
rules_that_cannot_work_are_refused(void **state)
{
    (void)state;
    struct dyn_slice good[] = {DYN_SLICE("fine")};
    static const char *const patterns[] = {"a(b", "a*", "a\\Kb", "a\\K"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(patterns); i++) {
        struct dyn_slice pattern[] = {DYN_SLICE("ok"), dyn_slice_str(patterns[i])};
        struct content_rules_options options = {
            .words = good, .n_words = 1, .patterns = pattern, .n_patterns = 2, .window_bytes = 100};
        struct content_refused refused;
        struct dyn_err err;
        assert_null(content_rules_new(&options, &refused, &err));
        assert_true(refused.is_pattern);
        assert_int_equal(refused.index, 1);
    }
    content_rules_t *rules = rules_of(NULL, "K\\QK\\K\\E", 100); /* the letter, and what is quoted */
    content_rules_free(&rules);
}

/* An expression without a bound sees a window, and what lies before it goes. */
static void
an_expression_without_a_bound_holds_no_more_than_a_window(void **state)
{
    (void)state;
    enum { WINDOW = 100 };
    struct arena arena;
    struct dyn_regex_budget budget = plenty();
    content_rules_t *rules = rules_of(NULL, "<[a-z]*>", WINDOW);
    content_watch_t *watch = content_watch_new(rules, false);
    uint64_t fed = 0;
    arena_init(&arena, NULL, 0);
    assert_int_equal(content_watch_feed(watch, DYN_SLICE("<"), false, &budget), CONTENT_CLEAN);
    for (fed = 1; fed < 5000; fed += 7) {
        assert_int_equal(content_watch_feed(watch, DYN_SLICE("abcdefg"), false, &budget), CONTENT_CLEAN);
        uint64_t clear = content_watch_clear(watch, &arena, DYN_SLICE("*"), NULL, NULL);
        assert_true(clear + WINDOW + 7 >= fed);
        assert_true(content_watch_bytes(watch) < 4096);
    }
    assert_true(content_watch_is_cut(watch));
    assert_int_equal(content_watch_feed(watch, DYN_SLICE("><ab"), false, &budget), CONTENT_CLEAN);
    assert_int_equal(content_watch_feed(watch, DYN_SLICE("c>"), false, &budget), CONTENT_FOUND);
    arena_fini(&arena);
    content_watch_free(&watch);
    content_rules_free(&rules);
}

/* ---- any split ---- */

static void
add_piece(struct dyn_rng *rng, struct dyn_buf *text, bool is_json)
{
    static const char *const plain[] = {"a",  "ab", "abc", "c1",  "c12", " ", "\xC3\xA9", "\xF0\x9F\x98\x80",
                                        "xx", "q",  "ABC", "zzz", "-",   "1", "c",        "b"};
    static const char *const escaped[] = {"\\u0061", "\\u0062", "\\\"", "\\n",
                                          "\\ud83d", "\\ude00", "\\",   "\\u00"};
    bool takes_escape = is_json && dyn_rng_below(rng, 3) == 0;
    dyn_buf_add_str(text, takes_escape ? escaped[dyn_rng_below(rng, DYN_ARRAY_LEN(escaped))]
                                       : plain[dyn_rng_below(rng, DYN_ARRAY_LEN(plain))]);
}

/* Masks everything that is found while it is fed in pieces. */
static void
mask_in_pieces(const content_rules_t *rules, struct dyn_slice text, bool is_json, struct dyn_rng *rng,
               struct dyn_buf *masked)
{
    struct dyn_regex_budget budget = plenty();
    content_watch_t *watch = content_watch_new(rules, is_json);
    struct arena arena;
    uint64_t clear = 0;
    arena_init(&arena, NULL, 0);
    for (size_t at = 0, len; at <= text.len; at += len) {
        bool is_last = at == text.len;
        struct vote_mask *masks;
        size_t n;
        len = 1 + dyn_rng_below(rng, 4);
        len = len < text.len - at ? len : text.len - at;
        while (at + len < text.len && ((unsigned char)text.data[at + len] & 0xC0) == 0x80) {
            len++; /* deltas hold whole characters */
        }
        assert_int_not_equal(content_watch_feed(watch, dyn_slice(text.data + at, len), is_last, &budget),
                             CONTENT_UNKNOWN);
        uint64_t now = content_watch_clear(watch, &arena, DYN_SLICE("*"), &masks, &n);
        assert_true(now >= clear && now <= at + len);
        for (size_t i = 0; i < n; i++) {
            assert_true(masks[i].from >= clear && masks[i].to <= now && masks[i].from < masks[i].to);
            dyn_buf_add(masked, text.data + clear, (size_t)(masks[i].from - clear));
            dyn_buf_add_slice(masked, masks[i].text);
            clear = masks[i].to;
        }
        dyn_buf_add(masked, text.data + clear, (size_t)(now - clear));
        clear = now;
        if (is_last) {
            break;
        }
    }
    assert_int_equal(clear, text.len);
    arena_fini(&arena);
    content_watch_free(&watch);
}

static void
pieces_are_masked_as_the_whole_text_is(void **state)
{
    (void)state;
    static const char *const patterns[] = {"c\\d{1,3}", "(?<=x)a", "\\bq\\b",
                                           "b(?=c)",    "z{2,5}",  "a\\D{0,4}1"};
    struct dyn_rng rng;
    dyn_rng_seed(&rng, 7);
    for (unsigned round = 0; round < 4000; round++) {
        const char *pattern = patterns[dyn_rng_below(&rng, DYN_ARRAY_LEN(patterns))];
        content_rules_t *rules =
            rules_of(round % 3 == 0 ? NULL : "abc\xC3\xA9", round % 3 == 1 ? NULL : pattern, 4096);
        bool is_json = dyn_rng_below(&rng, 2) == 0;
        struct dyn_buf text = DYN_BUF_INIT;
        struct dyn_buf whole = DYN_BUF_INIT;
        struct dyn_buf pieces = DYN_BUF_INIT;
        struct content_found found = {.n = 0};
        struct dyn_regex_budget budget = plenty();
        size_t at = 0;
        for (size_t n = 1 + dyn_rng_below(&rng, 40); n > 0; n--) {
            add_piece(&rng, &text, is_json);
        }
        assert_int_not_equal(
            content_rules_search(rules, dyn_buf_slice(&text), is_json, true, &budget, &found),
            CONTENT_UNKNOWN);
        for (size_t i = 0; i < found.n; i++) {
            dyn_buf_add(&whole, text.data + at, (size_t)found.items[i].from - at);
            dyn_buf_add_char(&whole, '*');
            at = (size_t)found.items[i].to;
        }
        dyn_buf_add(&whole, text.data + at, text.len - at);
        mask_in_pieces(rules, dyn_buf_slice(&text), is_json, &rng, &pieces);
        if (!dyn_slice_eq(dyn_buf_slice(&whole), dyn_buf_slice(&pieces))) {
            fail_msg("%u: %s in %s: %s but %s", round, pattern, dyn_buf_cstr(&text), dyn_buf_cstr(&whole),
                     dyn_buf_cstr(&pieces));
        }
        content_found_fini(&found);
        dyn_buf_fini(&text);
        dyn_buf_fini(&whole);
        dyn_buf_fini(&pieces);
        content_rules_free(&rules);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_overlaps_is_put_together),
        cmocka_unit_test(a_flood_of_matches_is_bounded),
        cmocka_unit_test(arguments_are_read_with_their_escapes_decoded),
        cmocka_unit_test(places_of_long_arguments_are_right),
        cmocka_unit_test(rules_that_cannot_work_are_refused),
        cmocka_unit_test(an_expression_without_a_bound_holds_no_more_than_a_window),
        cmocka_unit_test(pieces_are_masked_as_the_whole_text_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
