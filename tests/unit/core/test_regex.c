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

struct refusal {
    const char *pattern;
    unsigned column;
};

static void
what_is_refused_says_where(void **state)
{
    static const struct refusal refusals[] = {
        {"ab(c", 5}, {"a\\Cb", 2}, {"(*COMMIT)a", 1}, {"é(*UTF)", 2}, {"\\v\\v[z", 7}, {"a{2,1}", 6},
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

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_finds_what_re2_finds),
        cmocka_unit_test(what_is_refused_says_where),
        cmocka_unit_test(a_text_is_found_in_any_case_and_as_it_stands),
        cmocka_unit_test(a_long_text_is_searched_to_its_end),
        cmocka_unit_test(no_text_stalls_a_search),
        cmocka_unit_test(without_a_budget_nothing_is_searched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
