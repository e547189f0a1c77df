/* Values reach the structs of their parts: types, defaults, sections, several readers of one section. */
#include "tests/unit/core/test_config_schema.h"

#include <stdlib.h>
#include <unistd.h>

static void
assert_no_problems(const config_t *config)
{
    struct dyn_buf out = DYN_BUF_INIT;
    assert_string_equal(problems_text(config, &out), "");
    assert_true(config_ok(config));
    dyn_buf_fini(&out);
}

static void
assert_defaults(const struct server_values *server)
{
    assert_true(is_text(server->listen, ":8080"));
    assert_int_equal(server->port, 8080);
    assert_int_equal(server->offset, 0);
    assert_false(server->verbose);
    assert_false(server->verbose_set);
    assert_true(server->ratio == 0.5);
    assert_int_equal(server->body, 10 << 20);
    assert_int_equal(server->idle_ms, 90000);
    assert_int_equal(server->mode, 1);
    assert_int_equal(server->origins.n, 2);
    assert_true(is_text(server->origins.items[1], "two three"));
    assert_int_equal(server->codes.n, 0);
    assert_int_equal(server->headers.n, 0);
    assert_null(server->tls.certificate.data);
    assert_int_equal(server->tls.level, 2);
    assert_null(server->note.data);
}

static void
an_empty_file_gives_the_defaults(void **state)
{
    (void)state;
    static const char *const texts[] = {"",           "\n\n", "# nothing\n", "---\n",
                                        "---\n...\n", "{}",   "null",        "\xEF\xBB\xBF"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(texts); i++) {
        config_t *config = parse_yaml(texts[i]);
        assert_no_problems(config);
        assert_defaults(server_of(config));
        config_free(&config);
        assert_null(config);
    }
    config_t *config = config_defaults(test_parts, DYN_ARRAY_LEN(test_parts));
    assert_no_problems(config);
    assert_defaults(server_of(config));
    config_free(&config);
}

static void
null_is_as_if_not_written(void **state)
{
    (void)state;
    config_t *config = parse_yaml("listen:\nport: ~\nverbose: null\nratio: Null\nbody: NULL\nidle:\nmode:\n"
                                  "origins:\ncodes:\nheaders:\ntls:\ntargets:\nplugins:\n");
    assert_no_problems(config);
    assert_defaults(server_of(config));
    config_free(&config);
    config = parse_json("{\"listen\": null, \"port\": null, \"tls\": null, \"targets\": null}");
    assert_no_problems(config);
    assert_defaults(server_of(config));
    config_free(&config);
}

static void
assert_written(const config_t *config)
{
    const struct server_values *server = server_of(config);
    assert_no_problems(config);
    assert_true(is_text(server->listen, "no"));
    assert_int_equal(server->port, 65535);
    assert_true(server->offset == INT64_MIN);
    assert_true(server->verbose);
    assert_true(server->verbose_set);
    assert_true(server->ratio == 0.25);
    assert_true(server->weight == -1500.0);
    assert_int_equal(server->body, 65536);
    assert_int_equal(server->idle_ms, 1500);
    assert_int_equal(server->mode, 2);
    assert_int_equal(server->origins.n, 3);
    assert_true(is_text(server->origins.items[0], "a"));
    assert_true(is_text(server->origins.items[1], ""));
    assert_true(is_text(server->origins.items[2], "c d"));
    assert_int_equal(server->codes.n, 2);
    assert_int_equal(server->codes.items[1], 503);
    assert_int_equal(server->headers.n, 2);
    assert_true(is_text(server->headers.keys[1], "x-b"));
    assert_true(is_text(server->headers.values[1], "two"));
    assert_true(is_text(server->tls.certificate, "cert.pem"));
    assert_true(is_text(server->tls.key, "s3cret"));
    assert_int_equal(server->tls.level, 2);
    assert_true(is_text(server->note, "line one\nline \"two\" \xF0\x9F\x98\x80\n"));
}

static void
yaml_values_arrive(void **state)
{
    (void)state;
    config_t *config = parse_yaml("listen: no\n"
                                  "port: 65535\n"
                                  "offset: -9223372036854775808\n"
                                  "verbose: true\n"
                                  "ratio: .25\n"
                                  "weight: -1.5e3\n"
                                  "body: 64KiB\n"
                                  "idle: 1.5s\n"
                                  "mode: spread\n"
                                  "origins: [a, \"\", 'c d']\n"
                                  "codes:\n- 429\n- 503\n"
                                  "headers:\n  x-a: ${A}\n  x-b: two\n"
                                  "tls: {certificate: cert.pem, key: \"${TOKEN}\"}\n"
                                  "note: |\n  line one\n  line \"two\" \xF0\x9F\x98\x80\n");
    assert_written(config);
    assert_int_equal(server_of(config)->mark.line, 1);
    config_free(&config);
}

static void
json_values_arrive(void **state)
{
    (void)state;
    config_t *config = parse_json(
        "{\"listen\": \"no\", \"port\": 65535, \"offset\": -9223372036854775808, \"verbose\": true,\n"
        "\"ratio\": 0.25, \"weight\": -1.5E3, \"body\": \"64KiB\", \"idle\": \"1.5s\",\r\n"
        "\t\"mode\"\t:\"spread\", \"origins\": [\"a\", \"\", \"c d\"], \"codes\": [429, 503],\n"
        "\"headers\": {\"x-a\": \"${A}\", \"x-b\": \"two\"},\n"
        "\"tls\": {\"certificate\": \"cert.pem\", \"key\": \"${TOKEN}\"},\n"
        "\"note\": \"line one\\nline \\\"two\\\" \\uD83D\\uDE00\\n\"}\n");
    assert_written(config);
    config_free(&config);
}

static void
every_part_reads_its_keys_of_a_shared_list(void **state)
{
    (void)state;
    config_t *config = parse_yaml("targets:\n"
                                  "- name: one\n"
                                  "  weight: 3\n"
                                  "  api_key: ${TOKEN}\n"
                                  "  routes:\n"
                                  "  - {name: r1}\n"
                                  "  - name: r2\n"
                                  "    cost: 7\n"
                                  "- name: two\n"
                                  "  base_url: http://two\n"
                                  "  models: [m]\n"
                                  "fallback: two\n");
    assert_no_problems(config);
    const struct router_values *router = config_values(config, &router_part);
    const struct provider_values *provider = config_values(config, &provider_part);
    assert_int_equal(router->targets.n, 2);
    assert_int_equal(provider->targets.n, 2);
    const struct target_values *targets = router->targets.items;
    const struct upstream_values *upstreams = provider->targets.items;
    assert_true(is_text(targets[0].name, "one"));
    assert_true(is_text(upstreams[0].name, "one"));
    assert_int_equal(targets[0].weight, 3);
    assert_int_equal(targets[1].weight, 1);
    assert_true(is_text(upstreams[0].api_key, "s3cret"));
    assert_null(upstreams[1].api_key.data);
    assert_true(is_text(upstreams[0].base_url, "http://localhost"));
    assert_true(is_text(upstreams[1].base_url, "http://two"));
    assert_int_equal(upstreams[1].models.n, 1);
    assert_int_equal(targets[1].mark.line, 9);
    assert_int_equal(targets[1].mark.column, 3);
    const struct route_values *routes = targets[0].routes.items;
    assert_int_equal(targets[0].routes.n, 2);
    assert_true(is_text(routes[1].name, "r2"));
    assert_int_equal(routes[1].cost, 7);
    assert_int_equal(routes[0].mark.line, 6);
    assert_int_equal(routes[0].mark.column, 5);
    config_free(&config);
}

static struct config_mark
place_of(const config_t *config, const void *field)
{
    return config_mark_of(config_problems(config), field);
}

#define assert_mark(mark, at_line, at_column)                                                                \
    do {                                                                                                     \
        struct config_mark mark_ = (mark);                                                                   \
        assert_int_equal(mark_.line, (at_line));                                                             \
        assert_int_equal(mark_.column, (at_column));                                                         \
    } while (0)

static void
a_check_can_ask_where_a_value_stands(void **state)
{
    (void)state;
    config_t *config = parse_yaml("port: 1\n"
                                  "origins: [a,   b]\n"
                                  "headers: {k: v}\n"
                                  "tls:\n"
                                  "  certificate: c\n"
                                  "targets:\n"
                                  "  - name: one\n"
                                  "    routes: [{name: r}]\n");
    assert_no_problems(config);
    const struct server_values *server = server_of(config);
    const struct router_values *router = config_values(config, &router_part);
    const struct target_values *targets = router->targets.items;
    const struct route_values *routes = targets[0].routes.items;
    assert_mark(place_of(config, &server->port), 1, 7);
    assert_mark(place_of(config, &server->origins.items[1]), 2, 16);
    assert_mark(place_of(config, &server->headers.keys[0]), 3, 11);
    assert_mark(place_of(config, &server->headers.values[0]), 3, 14);
    assert_mark(place_of(config, &server->tls.certificate), 5, 16);
    assert_mark(place_of(config, &server->tls.level), 5, 3); /* not written: its section */
    assert_mark(place_of(config, &server->ratio), 1, 1);     /* not written: the file */
    assert_mark(place_of(config, &targets[0].name), 7, 11);
    assert_mark(place_of(config, &targets[0].weight), 7, 5);
    assert_mark(place_of(config, &routes[0].name), 8, 21);
    assert_mark(place_of(config, &routes[0].cost), 8, 14);
    assert_mark(place_of(config, &config), 0, 0);
    config_free(&config);
}

/* A provider's keys are of no concern to the role that only routes. */
static void
references_of_other_roles_stay_as_written(void **state)
{
    (void)state;
    const struct config_part *const own[] = {&router_part};
    struct config_options options = {.lookup = &test_lookup, .resolve = own, .n_resolve = 1};
    config_t *config = config_parse(
        DYN_SLICE("fallback: ${A}\ntargets:\n- {name: '${A}', api_key: '${NOT_SET}', weight: 2}\n"), "f.yaml",
        test_parts, DYN_ARRAY_LEN(test_parts), &options);
    assert_no_problems(config);
    const struct router_values *router = config_values(config, &router_part);
    const struct provider_values *provider = config_values(config, &provider_part);
    assert_true(is_text(router->fallback, "alpha"));
    const struct target_values *targets = router->targets.items;
    const struct upstream_values *upstreams = provider->targets.items;
    assert_true(is_text(targets[0].name, "alpha"));
    assert_true(is_text(upstreams[0].name, "${A}"));
    assert_true(is_text(upstreams[0].api_key, "${NOT_SET}"));
    config_free(&config);
}

static void
values_outlive_the_text(void **state)
{
    (void)state;
    char text[] = "listen: here\ntargets: [{name: one}]\nheaders: {a: b}\n";
    config_t *config = parse_as("f.yaml", dyn_slice(text, sizeof text - 1));
    memset(text, 'x', sizeof text);
    assert_true(is_text(server_of(config)->listen, "here"));
    assert_true(is_text(server_of(config)->headers.keys[0], "a"));
    const struct router_values *router = config_values(config, &router_part);
    assert_true(is_text(((struct target_values *)router->targets.items)->name, "one"));
    config_free(&config);
}

static void
a_file_is_read_and_a_missing_one_is_a_problem(void **state)
{
    (void)state;
    char path[] = "/tmp/dynabus-config-XXXXXX.yaml";
    int fd = mkstemps(path, 5);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "port: 9\n", 8), 8);
    assert_int_equal(close(fd), 0);
    config_t *config = config_load(path, test_parts, DYN_ARRAY_LEN(test_parts), NULL);
    assert_no_problems(config);
    assert_int_equal(server_of(config)->port, 9);
    config_free(&config);
    assert_int_equal(unlink(path), 0);

    struct dyn_buf out = DYN_BUF_INIT;
    config = config_load("/nonexistent/c.yaml", test_parts, DYN_ARRAY_LEN(test_parts), NULL);
    config_print_problems(config, &out);
    assert_string_equal(dyn_buf_cstr(&out),
                        "/nonexistent/c.yaml: error: cannot be read: No such file or directory\n");
    assert_false(config_ok(config));
    assert_int_equal(server_of(config)->port, 8080);
    config_free(&config);

    dyn_buf_clear(&out);
    config = config_load("/tmp", test_parts, DYN_ARRAY_LEN(test_parts), NULL);
    config_print_problems(config, &out);
    assert_string_equal(dyn_buf_cstr(&out), "/tmp: error: cannot be read: Is a directory\n");
    config_free(&config);
    dyn_buf_fini(&out);
}

static void
problems_are_printed_in_order_of_the_file(void **state)
{
    (void)state;
    config_t *config = config_parse(DYN_SLICE("targets: [{nme: x}]\nplugins: []\nport: 0\nfallback: y\n"),
                                    "dir/c.yaml", test_parts, DYN_ARRAY_LEN(test_parts),
                                    &(struct config_options){.ignore_unsupported = true});
    struct dyn_buf out = DYN_BUF_INIT;
    config_print_problems(config, &out);
    assert_string_equal(dyn_buf_cstr(&out),
                        "dir/c.yaml:1:11: error: the key 'name' is missing in 'targets[0]'\n"
                        "dir/c.yaml:1:12: error: unknown key 'nme' in 'targets[0]', did you mean 'name'?\n"
                        "dir/c.yaml:2:1: warning: 'plugins' is not supported in this version\n"
                        "dir/c.yaml:3:7: error: 'port' must be from 1 to 65535, not 0\n"
                        "dir/c.yaml:4:11: error: 'fallback' is no target\n");
    assert_int_equal(config_problems(config)->errors, 4);
    assert_int_equal(config_problems(config)->unsupported, 1);
    dyn_buf_fini(&out);
    config_free(&config);
}

/* One mistake, one problem: the check has no target to find because the name was not taken. */
static void
a_check_does_not_complain_about_what_was_refused(void **state)
{
    (void)state;
    struct dyn_buf out = DYN_BUF_INIT;
    config_t *config = parse_yaml("targets: [{name: a}]\nfallback: [b]\n");
    assert_string_equal(problems_text(config, &out),
                        "2:11: expected a single value here: 'fallback' is a text\n");
    config_free(&config);
    config = parse_yaml("fallback: '${NOT_SET}'\ntargets: [{name: a}]\n");
    assert_string_equal(problems_text(config, &out),
                        "1:11: 'fallback' refers to the environment variable NOT_SET, which is not set\n");
    config_free(&config);
    dyn_buf_fini(&out);
}

static void
complain(void *values, struct config_problems *problems)
{
    struct router_values *router = values;
    const struct target_values *targets = router->targets.items;
    config_problem_add(problems, config_mark_of(problems, &router->fallback), false, "line\n%s\x01\xC3",
                       router->fallback.data ? "two" : "none");
    config_problem_add(problems, config_mark_of(problems, &targets[1]), true, "of an item that was refused");
}

static void
what_checks_say_is_made_printable(void **state)
{
    (void)state;
    struct config_part part = router_part;
    part.check = complain;
    const struct config_part *const parts[] = {&part};
    config_t *config = config_parse(DYN_SLICE("targets: [{name: x}, 5]\n"), "t.yaml", parts, 1, NULL);
    struct dyn_buf out = DYN_BUF_INIT;
    assert_string_equal(
        problems_text(config, &out),
        "1:1: line?none??\n"
        "1:10: warning: of an item that was refused\n"
        "1:22: expected keys and values here: 'targets[1]' is a section with keys of its own\n");
    config_free(&config);
    dyn_buf_fini(&out);
}

static void
all_words_for_yes_and_no_are_taken(void **state)
{
    (void)state;
    static const char *const words[] = {"true", "True", "TRUE", "yes",   "Yes",   "YES",   "on", "On",
                                        "ON",   "y",    "Y",    "false", "False", "FALSE", "no", "No",
                                        "NO",   "off",  "Off",  "OFF",   "n",     "N"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(words); i++) {
        char text[40];
        (void)snprintf(text, sizeof text, "verbose: %s\n", words[i]);
        config_t *config = parse_yaml(text);
        assert_no_problems(config);
        assert_int_equal(server_of(config)->verbose, i < DYN_ARRAY_LEN(words) / 2);
        assert_true(server_of(config)->verbose_set);
        config_free(&config);
    }
}

/* A file that cannot be read at all has that problem and no other. */
static void
required_keys_of_the_top_are_asked_for(void **state)
{
    (void)state;
    const struct config_part part = {.folder = "tls", .section = tls_section};
    const struct config_part *const parts[] = {&part};
    static const struct {
        const char *text;
        const char *problems;
    } files[] = {
        {"", "1:1: the key 'certificate' is missing\n"},
        {"certificate:\n", "1:1: the key 'certificate' is missing\n"},
        {"\n  level: 1\n", "2:3: the key 'certificate' is missing\n"},
        {"certificate: c\n", ""},
        {"certificate: [\n", "2:1: not YAML: a value was expected here\n"},
        {"\x01", "1:1: a control character\n"},
        {"[]", "1:1: expected keys and values here: a configuration is a map at its top\n"},
    };
    struct dyn_buf out = DYN_BUF_INIT;
    for (size_t i = 0; i < DYN_ARRAY_LEN(files); i++) {
        config_t *config = config_parse(dyn_slice_str(files[i].text), "t.yaml", parts, 1, NULL);
        assert_string_equal(problems_text(config, &out), files[i].problems);
        config_free(&config);
    }
    config_t *config = config_defaults(parts, 1);
    assert_no_problems(config);
    config_free(&config);
    dyn_buf_fini(&out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_file_gives_the_defaults),
        cmocka_unit_test(null_is_as_if_not_written),
        cmocka_unit_test(yaml_values_arrive),
        cmocka_unit_test(json_values_arrive),
        cmocka_unit_test(all_words_for_yes_and_no_are_taken),
        cmocka_unit_test(required_keys_of_the_top_are_asked_for),
        cmocka_unit_test(every_part_reads_its_keys_of_a_shared_list),
        cmocka_unit_test(a_check_can_ask_where_a_value_stands),
        cmocka_unit_test(a_check_does_not_complain_about_what_was_refused),
        cmocka_unit_test(what_checks_say_is_made_printable),
        cmocka_unit_test(references_of_other_roles_stay_as_written),
        cmocka_unit_test(values_outlive_the_text),
        cmocka_unit_test(a_file_is_read_and_a_missing_one_is_a_problem),
        cmocka_unit_test(problems_are_printed_in_order_of_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
