/* What two configurations differ in, by value and not by how it was written. */
#include "core/config_same.h"

#include "tests/unit/core/test_config_schema.h"

static const char before[] = "listen: ':1'\n"
                             "ratio: 0.25\n"
                             "headers: {a: '1', b: '2'}\n"
                             "tls: {certificate: c, level: 3}\n"
                             "codes: [429, 500]\n"
                             "targets:\n"
                             "  - {name: one, routes: [{name: x, cost: 1}]}\n"
                             "  - {name: two, api_key: '${TOKEN}', models: [m, n]}\n";

struct seen {
    struct dyn_buf text;
};

static void
note(void *arg, const struct config_key *key, struct config_mark mark)
{
    dyn_buf_addf(&((struct seen *)arg)->text, "%s:%u ", key->name, mark.line);
}

/* "KEY:LINE " for each that differs, of all parts. */
static void
expect_differences(const char *text, const char *expected)
{
    config_t *a = parse_yaml(before);
    config_t *b = parse_yaml(text);
    struct seen seen = {DYN_BUF_INIT};
    assert_true(config_ok(a));
    assert_true(config_ok(b));
    for (size_t i = 0; i < DYN_ARRAY_LEN(test_parts); i++) {
        config_part_differences(test_parts[i], a, b, note, &seen);
    }
    assert_string_equal(dyn_buf_cstr(&seen.text), expected);
    dyn_buf_fini(&seen.text);
    config_free(&a);
    config_free(&b);
}

static void
another_spelling_is_the_same(void **state)
{
    (void)state;
    expect_differences(before, "");
    expect_differences("# a comment\n"
                       "codes:\n  - 429\n  - 500\n"
                       "ratio: 2.5e-1\n"
                       "listen: \":1\"\n"
                       "headers:\n  a: \"1\"\n  b: \"2\"\n"
                       "tls:\n  level: 3\n  certificate: c\n"
                       "targets:\n"
                       "  - name: one\n    routes:\n      - {cost: 1, name: x}\n"
                       "  - {models: [m, n], name: two, api_key: s3cret}\n",
                       "");
}

static void
each_value_that_differs_is_told_with_its_line(void **state)
{
    (void)state;
    expect_differences("listen: ':2'\n"
                       "ratio: 0.5\n"
                       "headers: {a: '1', b: '3'}\n"
                       "tls: {certificate: c}\n"
                       "codes: [429]\n"
                       "targets:\n"
                       "  - {name: one, routes: [{name: x, cost: 2}]}\n"
                       "  - {name: two, api_key: '${A}', models: [m]}\n",
                       "listen:1 ratio:2 codes:5 headers:3 tls:4 targets:7 targets:7 ");
}

/* One that is left out has the place of what is around it. */
static void
what_was_removed_differs_too(void **state)
{
    (void)state;
    expect_differences("ratio: 0.25\n"
                       "headers: {a: '1', b: '2'}\n"
                       "tls: {certificate: c, level: 3}\n"
                       "codes: [429, 500]\n"
                       "targets:\n"
                       "  - {name: one, routes: [{name: x, cost: 1}]}\n"
                       "  - {name: two, api_key: '${TOKEN}', models: [m, n]}\n",
                       "listen:1 ");
}

/* A bool that was written is another thing than one that was not. */
static void
a_key_that_was_not_written_differs_from_its_default(void **state)
{
    (void)state;
    char text[sizeof before + 64];
    (void)snprintf(text, sizeof text, "%sverbose: no\n", before);
    expect_differences(text, "verbose:9 ");
}

static void
keys_can_be_left_out_of_the_comparison(void **state)
{
    (void)state;
    static const char *const ignored[] = {"weight", NULL};
    struct dyn_slice name = DYN_SLICE("one");
    struct target_values a = {.name = name, .weight = 1};
    struct target_values b = {.name = name, .weight = 2};
    assert_false(config_section_same(&target_section, &a, &b, NULL));
    assert_true(config_section_same(&target_section, &a, &b, ignored));
    b.name = DYN_SLICE("two");
    assert_false(config_section_same(&target_section, &a, &b, ignored));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_spelling_is_the_same),
        cmocka_unit_test(each_value_that_differs_is_told_with_its_line),
        cmocka_unit_test(what_was_removed_differs_too),
        cmocka_unit_test(a_key_that_was_not_written_differs_from_its_default),
        cmocka_unit_test(keys_can_be_left_out_of_the_comparison),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
