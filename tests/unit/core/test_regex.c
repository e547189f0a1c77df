/* Regular expressions: what they find, what is refused and where, and that no text makes them slow. */
#include "core/regex.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static enum dyn_regex_result
search_slice(const char *pattern, struct dyn_slice text)
{
    struct dyn_err err;
    struct dyn_regex_budget budget = {DYN_REGEX_BUDGET_US};
    dyn_regex_t *regex = dyn_regex_new(dyn_slice_str(pattern), NULL, &err);
    if (regex == NULL) {
        fail_msg("%s: %s", pattern, err.text);
    }
    enum dyn_regex_result result = dyn_regex_search(regex, text, &budget);
    dyn_regex_free(&regex);
    return result;
}

static bool
finds(const char *pattern, const char *text)
{
    enum dyn_regex_result result = search_slice(pattern, dyn_slice_str(text));
    assert_int_not_equal(result, DYN_REGEX_LIMIT);
    return result == DYN_REGEX_YES;
}

static void
it_finds_what_re2_finds(void **state)
{
    (void)state;
    assert_true(finds("b+c", "aabbcc"));
    assert_false(finds("^b", "ab"));
    assert_false(finds("Invoice", "invoice")); /* case counts */
    assert_true(finds("(?i)invoice", "an INVOICE"));
    assert_true(finds("(?i)straße", "STRASSE or Straße"));
    assert_true(finds("", ""));
    assert_true(finds("a$", "ba"));
    assert_false(finds("a$", "a\n")); /* the end is the end of the text */
    assert_true(finds("(?m)a$", "a\nb"));
    assert_false(finds("a.b", "a\nb"));
    assert_true(finds("a.b", "a\rb"));
    assert_true(finds("(?s)a.b", "a\nb"));
    assert_true(finds("(?P<year>\\d{4})-\\d\\d", "on 2026-11"));
    assert_true(finds("\\bcat\\b", "a cat."));
    assert_true(finds("^.$", "ü")); /* characters, not bytes */
    assert_true(finds("\\p{Greek}", "λ"));
    assert_false(finds("\\d", "٣")); /* ASCII digits only */
    assert_true(finds("\\v", "\x0b"));
    assert_false(finds("\\v", "\n")); /* a class in PCRE2's own syntax */
    assert_true(finds("[\\v]", "\x0b"));
    assert_true(finds("\\Q(*\\v\\E", "a (*\\v b"));
}

/* What is legal in RE2 and would be something else, or nothing, in PCRE2's own syntax. */
static void
all_that_re2_takes_is_taken(void **state)
{
    static const struct {
        const char *pattern;
        const char *in;
        bool is_there;
    } cases[] = {
        {"[(*]", "a*b", true},
        {"[(*]", "ab", false},
        {"\\d[+(*/]\\d", "7*6", true},
        {"[](*]x", "]x", true},
        {"[^](*]x", "ax", true},
        {"[^](*]x", "]x", false},
        {"[[:alpha:](*]+$", "a(*b", true},
        {"[[.]x", ".x", true},
        {"[a[=]x", "=x", true},
        {"[\\](*]x", "]x", true},
        {"\\[(a)*\\]", "[aa]", true},
        {"^*a", "a", true},
        {"a$?\\b+", "ab", false},
        {"[^*$+]a", "xa", true},
        {"(a|b)*?c", "abc", true},
        {"\\101", "A", true},
        {"(a)\\12", "a\n", true},
        {"a{,2}", "a{,2}", true},
        {"\\pL+\\z", "ab", true},
        {"\\x{1F600}", "\xF0\x9F\x98\x80", true},
        {"(?i:A)b(?-s:.)", "abc", true},
        {"(?U)a+b", "aab", true},
        {"\\_\\-\\/", "_-/", true},
        {"a||b", "", true},
        {"()|[\\]]", "]", true},
    };
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(cases); i++) {
        if (finds(cases[i].pattern, cases[i].in) != cases[i].is_there) {
            fail_msg("'%s' in '%s'", cases[i].pattern, cases[i].in);
        }
    }
}

/* What PCRE2 has beyond RE2 works (docs/routing.md). */
static void
what_goes_beyond_re2_works(void **state)
{
    (void)state;
    assert_true(finds("foo(?=bar)", "foobar"));
    assert_false(finds("foo(?!bar)", "foobar"));
    assert_true(finds("(?<=a)b", "ab"));
    assert_true(finds("(a|b)\\1", "xbb"));
    assert_true(finds("(?>a+)b", "aab"));
    assert_true(finds("a\\Kb", "ab"));
    assert_true(finds("^(\\((?1)*\\))$", "(()())"));
}

struct refusal {
    const char *pattern;
    unsigned column;
};

static void
what_is_refused_says_where(void **state)
{
    static const struct refusal refusals[] = {
        {"ab(c", 5},     {"a\\Cb", 2},    {"(*COMMIT)a", 1}, {"é(*UTF)", 2},          {"\\v\\v[z", 7},
        {"a{2,1}", 6},   {"[[](*a)?", 4}, {"[^]](*F)", 5},   {"[[:alpha:]](*F)", 12}, {"[a[](*F)", 5},
        {"x\\](*F)", 4},
    };
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(refusals); i++) {
        struct dyn_err err = {0};
        unsigned column = 0;
        dyn_regex_t *regex = dyn_regex_new(dyn_slice_str(refusals[i].pattern), &column, &err);
        assert_null(regex);
        assert_int_equal(err.code, DYN_E_INVALID);
        assert_non_null(strstr(err.text, "column"));
        if (column != refusals[i].column) {
            fail_msg("'%s': column %u: %s", refusals[i].pattern, column, err.text);
        }
    }
    char *huge = dyn_zalloc(DYN_REGEX_PATTERN_MAX + 2);
    memset(huge, 'a', DYN_REGEX_PATTERN_MAX + 1);
    assert_null(dyn_regex_new(dyn_slice_str(huge), NULL, NULL));
    free(huge);
}

static void
a_text_is_found_in_any_case_and_as_it_stands(void **state)
{
    static const struct {
        const char *text;
        const char *in;
        bool is_there;
    } cases[] = {
        {"Refund", "I want a REFUND now", true}, {"a.c", "abc", false}, {"a.c", "xA.Cx", true},
        {"ÄRGER", "viel ärger", true},           {"(", "f(x)", true},   {"refund", "re fund", false},
    };
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(cases); i++) {
        struct dyn_err err;
        struct dyn_regex_budget budget = {DYN_REGEX_BUDGET_US};
        dyn_regex_t *regex = dyn_regex_new_text(dyn_slice_str(cases[i].text), &err);
        assert_non_null(regex);
        assert_int_equal(dyn_regex_search(regex, dyn_slice_str(cases[i].in), &budget),
                         cases[i].is_there ? DYN_REGEX_YES : DYN_REGEX_NO);
        dyn_regex_free(&regex);
    }
}

enum { LONG = 1024 * 1024 };

/* `unit` again and again, and `tail` at its end. */
static char *
long_text(const char *unit, const char *tail)
{
    char *text = dyn_zalloc(LONG + 1);
    size_t len = strlen(unit);
    for (size_t i = 0; i < LONG; i++) {
        text[i] = unit[i % len];
    }
    memcpy(text + LONG - strlen(tail), tail, strlen(tail));
    return text;
}

static void
a_long_text_is_searched_to_its_end(void **state)
{
    static const struct {
        const char *pattern;
        const char *unit;
        const char *tail;
        enum dyn_regex_result result;
    } cases[] = {
        {"needle$", "hay ", "needle", DYN_REGEX_YES},
        {"needle$", "hay ", "needles", DYN_REGEX_NO},
        {"^hay(?s:.*)needle", "hay ", "needle", DYN_REGEX_YES}, /* longer than any window */
        {"[0-9]{4}", "123 ", "x1234", DYN_REGEX_YES},
        {"(?i)NEEDLE", "nee dle ", "a needle.", DYN_REGEX_YES},
        {"é{3}x", "é ", "éééx", DYN_REGEX_YES},
    };
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(cases); i++) {
        char *text = long_text(cases[i].unit, cases[i].tail);
        struct dyn_err err;
        struct dyn_regex_budget budget = {UINT64_MAX}; /* a slow machine is no failure */
        dyn_regex_t *regex = dyn_regex_new(dyn_slice_str(cases[i].pattern), NULL, &err);
        assert_non_null(regex);
        assert_int_equal(dyn_regex_search(regex, dyn_slice(text, LONG), &budget), cases[i].result);
        dyn_regex_free(&regex);
        free(text);
    }
}

/* Each would take minutes to centuries without limits; that the test ends is what it proves. */
static void
no_text_stalls_a_search(void **state)
{
    static const struct {
        const char *pattern;
        const char *unit;
        const char *tail;
    } cases[] = {
        {"(a+)+$", "a", "b"},
        {"(a+)+$", "aaaaaaaaaaaaaaaaaaaab", "b"},
        {"\\s+$", " ", "x"},
        {"(x+x+)+y", "x", "z"},
        {"a.*b.*c.*d", "abc", "x"},
        {"(?:a?){30}a{30}$", "a", "b"},
        {"(?s)(.|\\n)*foo", "b", "fo"},
        {"^(([a-z])+.)+[A-Z]([a-z])+$", "a", "!"},
    };
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(cases); i++) {
        char *text = long_text(cases[i].unit, cases[i].tail);
        assert_int_not_equal(search_slice(cases[i].pattern, dyn_slice(text, LONG)), DYN_REGEX_YES);
        free(text);
    }
}

static void
without_a_budget_nothing_is_searched(void **state)
{
    (void)state;
    struct dyn_regex_budget none = {0};
    dyn_regex_t *regex = dyn_regex_new(DYN_SLICE("a"), NULL, NULL);
    assert_int_equal(dyn_regex_search(regex, DYN_SLICE("a"), &none), DYN_REGEX_LIMIT);
    dyn_regex_free(&regex);
    dyn_regex_free(&regex);
}

/* ---- texts that go on ---- */

struct going_on {
    const char *pattern;
    const char *text;
    size_t from;
    bool more;
    enum dyn_regex_result result;
    size_t begin;
    size_t end;
};

static void
a_text_that_goes_on_says_from_where_it_may_match(void **state)
{
    (void)state;
    static const struct going_on cases[] = {
        {"secret", "a sec", 0, true, DYN_REGEX_PARTIAL, 2, 5},
        {"secret", "a sec", 0, false, DYN_REGEX_NO, 0, 0},
        {"secret", "a secret", 0, true, DYN_REGEX_YES, 2, 8},
        {"secret", "a seccret", 0, true, DYN_REGEX_NO, 0, 0},
        {"a{2,3}", "xaa", 0, true, DYN_REGEX_PARTIAL, 1, 3}, /* it may become longer */
        {"a{2,3}", "xaa", 0, false, DYN_REGEX_YES, 1, 3},
        {"\\bcat\\b", "a cat", 0, true, DYN_REGEX_PARTIAL, 2, 5},
        {"\\bcat\\b", "a cat.", 0, true, DYN_REGEX_YES, 2, 5},
        {"\\bcat", "scat", 1, true, DYN_REGEX_NO, 4, 4}, /* what came before is seen */
        {"(?<=no )cat", "no cat", 3, true, DYN_REGEX_YES, 3, 6},
        {"abcz|bad", "abc bad", 0, true, DYN_REGEX_YES, 4, 7},
        {"ab.*z|bad", "ab bad", 0, true, DYN_REGEX_PARTIAL, 0, 6}, /* the first place decides */
        {"ab.*z|bad", "ab bad", 1, true, DYN_REGEX_YES, 3, 6},
        {"x?", "aa", 2, true, DYN_REGEX_NO, 2, 2},
        {"\\d{3}",
         "\xC3\xBC"
         "12",
         0, true, DYN_REGEX_PARTIAL, 2, 4},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct going_on *c = &cases[i];
        struct dyn_err err;
        struct dyn_regex_place place = {0, 0};
        struct dyn_regex_budget budget = {DYN_REGEX_BUDGET_US};
        dyn_regex_t *regex = dyn_regex_new(dyn_slice_str(c->pattern), NULL, &err);
        assert_non_null(regex);
        enum dyn_regex_result result =
            dyn_regex_find(regex, dyn_slice_str(c->text), c->from, c->more, &place, &budget);
        if (result != c->result || place.begin != c->begin || place.end != c->end) {
            fail_msg("%s in %s: %d at %zu-%zu", c->pattern, c->text, result, place.begin, place.end);
        }
        dyn_regex_free(&regex);
    }
}

/* A match that begins within one batch of places and ends far behind it, split anywhere. */
static void
a_long_text_that_goes_on_is_searched_whole(void **state)
{
    (void)state;
    enum { TEXT = 20000 };
    static char text[TEXT];
    struct dyn_regex_place place;
    struct dyn_regex_budget budget = {2000000};
    dyn_regex_t *regex = dyn_regex_new(DYN_SLICE("b[a]{0,9000}c"), NULL, NULL);
    memset(text, 'a', sizeof text);
    text[7000] = 'b';
    assert_int_equal(dyn_regex_find(regex, dyn_slice(text, 15000), 0, true, &place, &budget),
                     DYN_REGEX_PARTIAL);
    assert_int_equal(place.begin, 7000);
    text[15000] = 'c';
    assert_int_equal(dyn_regex_find(regex, dyn_slice(text, TEXT), 0, true, &place, &budget), DYN_REGEX_YES);
    assert_int_equal(place.begin, 7000);
    assert_int_equal(place.end, 15001);
    text[15000] = 'a';
    assert_int_equal(dyn_regex_find(regex, dyn_slice(text, TEXT), 0, true, &place, &budget), DYN_REGEX_NO);
    dyn_regex_free(&regex);
}

static void
expressions_without_a_bound_are_known(void **state)
{
    (void)state;
    static const char *const unbounded[] = {"a*",      "a+b",      "a{2,}",         "(a(?R)?b)", "(x)(?1)",
                                            "[]+]a.*", "\\Qa\\E+", "(?<n>a)\\g<n>", "(?:ab)+?"};
    static const char *const bounded[] = {"ab?c{2,4}",      "[*+]", "[]*]x", "a\\*b\\+", "\\Qa*b+\\E",
                                          "(?i)\\bword\\b", "a{2}", "{,}",   "a{x,}",    "[^]+]"};
    for (size_t i = 0; i < sizeof unbounded / sizeof unbounded[0]; i++) {
        dyn_regex_t *regex = dyn_regex_new(dyn_slice_str(unbounded[i]), NULL, NULL);
        assert_non_null(regex);
        if (!dyn_regex_is_unbounded(regex)) {
            fail_msg("%s", unbounded[i]);
        }
        dyn_regex_free(&regex);
    }
    for (size_t i = 0; i < sizeof bounded / sizeof bounded[0]; i++) {
        dyn_regex_t *regex = dyn_regex_new(dyn_slice_str(bounded[i]), NULL, NULL);
        assert_non_null(regex);
        if (dyn_regex_is_unbounded(regex)) {
            fail_msg("%s", bounded[i]);
        }
        dyn_regex_free(&regex);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_finds_what_re2_finds),
        cmocka_unit_test(all_that_re2_takes_is_taken),
        cmocka_unit_test(what_goes_beyond_re2_works),
        cmocka_unit_test(what_is_refused_says_where),
        cmocka_unit_test(a_text_is_found_in_any_case_and_as_it_stands),
        cmocka_unit_test(a_long_text_is_searched_to_its_end),
        cmocka_unit_test(no_text_stalls_a_search),
        cmocka_unit_test(without_a_budget_nothing_is_searched),
        cmocka_unit_test(a_text_that_goes_on_says_from_where_it_may_match),
        cmocka_unit_test(a_long_text_that_goes_on_is_searched_whole),
        cmocka_unit_test(expressions_without_a_bound_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
