/* ${NAME} and ${file:PATH}: what they become, what is refused, and that no problem ever shows what they
 * stand for. */
#include "tests/unit/core/test_config_schema.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/dynabus-refs-XXXXXX";

static int
make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static void
path_of(char path[200], const char *name)
{
    (void)snprintf(path, 200, "%s/%s", folder, name);
}

static void
write_file(const char *name, const void *bytes, size_t len)
{
    char path[200];
    path_of(path, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

static int
remove_folder(void **state)
{
    (void)state;
    static const char *const names[] = {"key",  "crlf", "two",   "empty", "full",
                                        "over", "nul",  "latin", "pipe"};
    char path[200];
    for (size_t i = 0; i < DYN_ARRAY_LEN(names); i++) {
        path_of(path, names[i]);
        (void)unlink(path);
    }
    return rmdir(folder);
}

/* As a file of that folder says it. */
static config_t *
parse_there(const char *text)
{
    char name[200];
    path_of(name, "config.yaml");
    return parse_as(name, dyn_slice_str(text));
}

static void
assert_listen(const char *text, const char *expected)
{
    config_t *config = parse_there(text);
    struct dyn_buf out = DYN_BUF_INIT;
    assert_string_equal(problems_text(config, &out), "");
    assert_true(is_text(server_of(config)->listen, expected));
    config_free(&config);
    dyn_buf_fini(&out);
}

static void
variables_are_put_in(void **state)
{
    (void)state;
    assert_listen("listen: ${A}", "alpha");
    assert_listen("listen: ${A}${A}", "alphaalpha");
    assert_listen("listen: '<${A}|${EMPTY}|${A}>'", "<alpha||alpha>");
    assert_listen("listen: ${EMPTY}", "");
    assert_listen("listen: $${A}$", "$alpha$");
    assert_listen("listen: $A", "$A");
    assert_listen("listen: 'cost $100 {A} $'", "cost $100 {A} $");
    assert_listen("listen: |\n  ${A}\n  x\n", "alpha\nx\n");
}

/* What a variable holds is not looked at again. */
static const char *
nested_variable(void *self, const char *name)
{
    (void)self;
    return strcmp(name, "OUTER") == 0 ? "${A}" : NULL;
}

static void
values_are_not_resolved_again(void **state)
{
    (void)state;
    const struct config_lookup lookup = {.variable = nested_variable};
    config_t *config = config_parse(DYN_SLICE("listen: ${OUTER}"), "t.yaml", test_parts, 3,
                                    &(struct config_options){.lookup = &lookup});
    assert_true(config_ok(config));
    assert_true(is_text(server_of(config)->listen, "${A}"));
    config_free(&config);
}

static void
the_environment_is_the_default(void **state)
{
    (void)state;
    assert_int_equal(setenv("DYNABUS_TEST_CONFIG_REFS", "from outside", 1), 0);
    config_t *config =
        config_parse(DYN_SLICE("listen: ${DYNABUS_TEST_CONFIG_REFS}"), "t.yaml", test_parts, 3, NULL);
    assert_true(is_text(server_of(config)->listen, "from outside"));
    config_free(&config);
    assert_int_equal(unsetenv("DYNABUS_TEST_CONFIG_REFS"), 0);
}

static void
files_are_put_in_without_their_last_line_end(void **state)
{
    (void)state;
    char text[300];
    write_file("key", "s3cret\n", 7);
    write_file("crlf", "s3cret\r\n", 8);
    write_file("two", "one\ntwo\n\n", 9);
    write_file("empty", "", 0);
    assert_listen("listen: ${file:key}", "s3cret");
    assert_listen("listen: ${file:./crlf}", "s3cret");
    assert_listen("listen: ${file:two}", "one\ntwo\n");
    assert_listen("listen: Bearer ${file:key}.${A}", "Bearer s3cret.alpha");
    assert_listen("listen: '${file:empty}'", "");
    (void)snprintf(text, sizeof text, "listen: ${file:%s/key}", folder);
    assert_listen(text, "s3cret");
}

static void
assert_refused(const char *file, const char *why)
{
    char text[300];
    char expected[300];
    struct dyn_buf out = DYN_BUF_INIT;
    (void)snprintf(text, sizeof text, "note: x\ntls: {certificate: c, key: '${file:%s}'}\n", file);
    (void)snprintf(expected, sizeof expected, "2:28: 'tls.key' refers to the file %s, %s\n", file, why);
    config_t *config = parse_there(text);
    assert_string_equal(problems_text(config, &out), expected);
    assert_null(server_of(config)->tls.key.data);
    config_free(&config);
    dyn_buf_fini(&out);
}

static void
files_that_are_no_values_are_refused(void **state)
{
    (void)state;
    char path[200];
    char *large = dyn_zalloc(64 * 1024 + 1);
    memset(large, 'k', 64 * 1024 + 1);
    write_file("full", large, 64 * 1024);
    write_file("over", large, 64 * 1024 + 1);
    write_file("nul", "a\0b", 3);
    write_file("latin", "\xE4\xF6", 2);
    path_of(path, "pipe");
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_refused("over", "which is larger than 64 KiB");
    assert_refused("nul", "which is not UTF-8 text");
    assert_refused("latin", "which is not UTF-8 text");
    assert_refused("pipe", "which is not a regular file");
    assert_refused("missing", "No such file or directory");
    assert_refused("full/x", "Not a directory");
    assert_refused("/", "which is a folder");
    config_t *config = parse_there("listen: ${file:full}");
    assert_int_equal(server_of(config)->listen.len, 64 * 1024);
    config_free(&config);
    free(large);
}

/* 64 references of 15 bytes to 64 KiB each fill the 4 MiB; not even a byte goes in after them. */
static void
all_references_together_are_limited(void **state)
{
    (void)state;
    struct dyn_buf text = DYN_BUF_INIT;
    struct dyn_buf out = DYN_BUF_INIT;
    dyn_buf_add_str(&text, "origins:\n");
    for (int i = 0; i < 65; i++) {
        dyn_buf_add_str(&text, "- ${file:full}\n");
    }
    dyn_buf_add_str(&text, "- ${A}\n- literal\n");
    config_t *config = parse_there(dyn_buf_cstr(&text));
    assert_string_equal(problems_text(config, &out),
                        "66:3: 'origins[64]' makes all references together larger than 4194304 bytes\n"
                        "67:3: 'origins[65]' makes all references together larger than 4194304 bytes\n");
    assert_int_equal(server_of(config)->origins.n, 65);
    config_free(&config);
    dyn_buf_fini(&out);
    dyn_buf_fini(&text);
}

/* Half a reference at every character of a large value: each is looked at once, no further than a path
 * may be long. */
static void
a_value_full_of_dollars_is_read(void **state)
{
    (void)state;
    struct dyn_buf text = DYN_BUF_INIT;
    dyn_buf_add_str(&text, "note: '");
    while (text.len < 1000000) {
        dyn_buf_add_str(&text, "${file:");
    }
    dyn_buf_add_str(&text, "'\n");
    config_t *config = parse_as("t.yaml", dyn_buf_slice(&text));
    assert_true(config_ok(config));
    assert_int_equal(config_problems(config)->n, 1); /* the warning */
    assert_int_equal(server_of(config)->note.len, text.len - 9);
    config_free(&config);
    dyn_buf_fini(&text);
}

/* A secret in every place that some problem could quote it from. */
static void
secrets_do_not_show_in_problems(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "tls: {certificate: c, key: SECRET}",
        "tls: {certificate: c, key: [SECRET]}",
        "tls: {certificate: c, key: {SECRET: SECRET}}",
        "tls: {certificate: c, key: 'SECRET ${NOT_SET}'}",
        "tls: {certificate: c, key: 'SECRET ${file:/nonexistent}'}",
        "tls: {certificate: c, key: 'SECRET ${oops'}",
        "tls: {certificate: c, key: &x SECRET}",
        "tls: {certificate: c, key: !x SECRET}",
        "tls: {certificate: c, key: \"SECRET\\0\"}",
        "tls: {key: \"SECRET\\q\"}",
        "tls: {key: SECRET: SECRET}",
        "tls: {key: SECRET\nx: [",
        "targets: [{name: a, api_key: SECRET, api_key: SECRET}]",
        "headers: {authorization: [SECRET]}",
        "headers: {authorization: 'Bearer SECRET ${NOT_SET}'}",
    };
    struct dyn_buf out = DYN_BUF_INIT;
    for (size_t i = 0; i < DYN_ARRAY_LEN(texts); i++) {
        config_t *config = parse_yaml(texts[i]);
        const char *problems = problems_text(config, &out);
        assert_true(problems[0] != '\0');
        if (strstr(problems, "SECRET") != NULL) {
            fail_msg("%s: %s", texts[i], problems);
        }
        config_free(&config);
    }
    dyn_buf_fini(&out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(variables_are_put_in),
        cmocka_unit_test(values_are_not_resolved_again),
        cmocka_unit_test(the_environment_is_the_default),
        cmocka_unit_test(files_are_put_in_without_their_last_line_end),
        cmocka_unit_test(files_that_are_no_values_are_refused),
        cmocka_unit_test(all_references_together_are_limited),
        cmocka_unit_test(a_value_full_of_dollars_is_read),
        cmocka_unit_test(secrets_do_not_show_in_problems),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
