/* Hostile files are refused at a cost that does not depend on how large they are, and memory follows the
 * size of the file. Work is counted (bytes that libyaml took, events that it gave), not timed. */
#include "tests/unit/core/test_config_schema.h"

#include "core/config_tree.h"

#include <stdlib.h>

/* What the file readers may look at before they refuse nesting: two pieces and some. */
#define LOOKAHEAD_BYTES 4096

static void
repeat(struct dyn_buf *out, const char *text, size_t times)
{
    for (size_t i = 0; i < times; i++) {
        dyn_buf_add_str(out, text);
    }
}

static void
assert_problem(const char *name, const struct dyn_buf *text, const char *expected)
{
    struct dyn_buf out = DYN_BUF_INIT;
    config_t *config = parse_as(name, dyn_buf_slice(text));
    assert_string_equal(problems_text(config, &out), expected);
    config_free(&config);
    dyn_buf_fini(&out);
}

/* Reads a text as YAML and leaves the work that it took in *tree. */
static int
read_tree(struct config_tree *tree, struct arena *arena, struct config_problems *problems,
          struct dyn_slice text)
{
    arena_init(arena, NULL, 0);
    *problems = (struct config_problems){.arena = arena};
    *tree = (struct config_tree){.arena = arena, .problems = problems, .text = text};
    return config_tree_read(tree);
}

static void
fifty_thousand_brackets_cost_no_more_than_fifty(void **state)
{
    (void)state;
    static const char *const openers[] = {"[", "{", "[{", "{a: [", "[\n ", "- ", "? ", "[[{? [", "[ \"]\", "};
    for (size_t i = 0; i < DYN_ARRAY_LEN(openers); i++) {
        struct dyn_buf text = DYN_BUF_INIT;
        dyn_buf_add_str(&text, "origins:\n ");
        repeat(&text, openers[i], 50000);
        struct arena arena;
        struct config_problems problems;
        struct config_tree tree;
        assert_int_equal(read_tree(&tree, &arena, &problems, dyn_buf_slice(&text)), -1);
        assert_int_equal(problems.n, 1);
        assert_true(tree.bytes_taken <= LOOKAHEAD_BYTES);
        assert_true(tree.events <= 3 * CONFIG_MAX_DEPTH);
        arena_fini(&arena);
        dyn_buf_fini(&text);
    }
}

static void
nest(struct dyn_buf *text, const char *open, const char *close, size_t levels)
{
    dyn_buf_clear(text);
    repeat(text, open, levels);
    repeat(text, close, levels);
}

static void
depth_is_limited_at_the_same_level_everywhere(void **state)
{
    (void)state;
    struct dyn_buf text = DYN_BUF_INIT;
    nest(&text, "[", "]", CONFIG_MAX_DEPTH);
    const char *readable = "1:1: expected keys and values here: a configuration is a map at its top\n";
    assert_problem("t.yaml", &text, readable);
    assert_problem("t.json", &text, readable);
    nest(&text, "[", "]", CONFIG_MAX_DEPTH + 1);
    assert_problem("t.yaml", &text, "1:33: nested deeper than 32 levels\n");
    assert_problem("t.json", &text, "1:33: not JSON: nested too deeply\n");
    nest(&text, "- ", "", CONFIG_MAX_DEPTH + 1);
    assert_problem("t.yaml", &text, "1:65: nested deeper than 32 levels\n");
    nest(&text, "{\"\":", "}", CONFIG_MAX_DEPTH + 1);
    assert_problem("t.yaml", &text, "1:129: nested deeper than 32 levels\n");
    dyn_buf_fini(&text);
}

/* Nesting inside of what is only recognised counts as well. */
static void
deep_values_of_unsupported_keys_are_refused(void **state)
{
    (void)state;
    struct dyn_buf text = DYN_BUF_INIT;
    dyn_buf_add_str(&text, "plugins: ");
    repeat(&text, "[", 50000);
    assert_problem("t.yaml", &text, "1:41: nested deeper than 32 levels\n");
    dyn_buf_fini(&text);
}

static void
an_alias_bomb_is_refused_where_it_begins(void **state)
{
    (void)state;
    struct dyn_buf text = DYN_BUF_INIT;
    dyn_buf_add_str(&text, "a: &a [x, x, x, x, x, x, x, x, x]\n");
    for (char c = 'b'; c <= 'i'; c++) {
        dyn_buf_addf(&text, "%c: &%c [", c, c);
        for (int i = 0; i < 9; i++) {
            dyn_buf_addf(&text, "*%c%s", c - 1, i < 8 ? "," : "]\n");
        }
    }
    struct arena arena;
    struct config_problems problems;
    struct config_tree tree;
    assert_int_equal(read_tree(&tree, &arena, &problems, dyn_buf_slice(&text)), 0);
    assert_int_equal(problems.errors, 9 + 8 * 9); /* each anchor and each alias */
    assert_true(tree.nodes <= 110);               /* every one of them is a node, none is more */
    assert_true(arena.used < 64 * 1024);
    arena_fini(&arena);
    dyn_buf_fini(&text);
}

static void
directives_are_refused_before_they_are_compared(void **state)
{
    (void)state;
    struct dyn_buf text = DYN_BUF_INIT;
    for (int i = 0; i < 50000; i++) {
        dyn_buf_addf(&text, "%%TAG !a%d! x\n", i);
    }
    struct arena arena;
    struct config_problems problems;
    struct config_tree tree;
    assert_int_equal(read_tree(&tree, &arena, &problems, dyn_buf_slice(&text)), -1);
    assert_int_equal(tree.bytes_taken, 0);
    arena_fini(&arena);
    dyn_buf_fini(&text);
}

static void
size_is_limited(void **state)
{
    (void)state;
    struct dyn_buf text = DYN_BUF_INIT;
    dyn_buf_add_str(&text, "note: ");
    repeat(&text, "x", CONFIG_MAX_BYTES - text.len);
    config_t *config = parse_as("t.yaml", dyn_buf_slice(&text));
    assert_true(config_ok(config));
    assert_int_equal(server_of(config)->note.len, CONFIG_MAX_BYTES - 6);
    config_free(&config);
    dyn_buf_add_char(&text, 'x');
    assert_problem("t.yaml", &text, "0:0: larger than 1048576 bytes, the most a configuration may have\n");
    assert_problem("t.json", &text, "0:0: larger than 1048576 bytes, the most a configuration may have\n");
    dyn_buf_fini(&text);
}

static void
the_number_of_values_is_limited(void **state)
{
    (void)state;
    struct dyn_buf text = DYN_BUF_INIT;
    dyn_buf_add_str(&text, "{\"origins\": [");
    for (size_t i = 0; i < CONFIG_MAX_NODES; i++) {
        dyn_buf_add_str(&text, i > 0 ? ",\"\"" : "\"\"");
    }
    dyn_buf_add_str(&text, "]}");
    struct dyn_buf out = DYN_BUF_INIT;
    for (int i = 0; i < 2; i++) {
        config_t *config = parse_as(i == 0 ? "t.json" : "t.yaml", dyn_buf_slice(&text));
        assert_non_null(strstr(problems_text(config, &out), ": more than 100000 values in one file\n"));
        assert_int_equal(config_problems(config)->n, 1);
        config_free(&config);
    }
    dyn_buf_fini(&out);
    dyn_buf_fini(&text);
}

/* The densest files that are accepted: a node for every two bytes. */
static void
memory_follows_the_size_of_the_file(void **state)
{
    (void)state;
    static const char *const items[] = {"a,", "{},", "[],", "a: b,", "\"\": x,"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(items); i++) {
        struct dyn_buf text = DYN_BUF_INIT;
        dyn_buf_add_str(&text, "[");
        repeat(&text, items[i], 30000);
        dyn_buf_add_str(&text, "]");
        struct arena arena;
        struct config_problems problems;
        struct config_tree tree;
        assert_int_equal(read_tree(&tree, &arena, &problems, dyn_buf_slice(&text)), 0);
        assert_true(arena.used <= 150 * text.len);
        arena_fini(&arena);
        dyn_buf_fini(&text);
    }
}

struct large_item {
    char padding[1 << 20];
    struct dyn_slice name;
};
static const struct config_key large_keys[] = {
    {.name = "name", .type = CONFIG_STRING, .offset = offsetof(struct large_item, name)},
    END_OF_KEYS,
};
static const struct config_section large_section = {large_keys, sizeof(struct large_item), SIZE_MAX};
static const struct config_key list_keys[] = {
    {.name = "list", .type = CONFIG_SECTION_LIST, .offset = 0, .section = &large_section},
    END_OF_KEYS,
};
static const struct config_part large_part = {
    .folder = "large",
    .section = {list_keys, sizeof(struct config_list), SIZE_MAX},
};

static void
lists_of_sections_are_limited_in_bytes(void **state)
{
    (void)state;
    const struct config_part *const parts[] = {&large_part};
    for (size_t n = 10; n <= 70; n += 60) {
        struct dyn_buf text = DYN_BUF_INIT;
        struct dyn_buf out = DYN_BUF_INIT;
        dyn_buf_add_str(&text, "list: [");
        repeat(&text, "{},", n);
        dyn_buf_add_str(&text, "]");
        config_t *config = config_parse(dyn_buf_slice(&text), "t.yaml", parts, 1, NULL);
        const struct config_list *list = config_values(config, &large_part);
        assert_string_equal(problems_text(config, &out), n == 10 ? "" : "1:7: 'list' has too many items\n");
        assert_int_equal(list->n, n == 10 ? 10 : 0);
        config_free(&config);
        dyn_buf_fini(&out);
        dyn_buf_fini(&text);
    }
}

static void
problems_are_counted_when_there_are_too_many(void **state)
{
    (void)state;
    struct dyn_buf text = DYN_BUF_INIT;
    for (int i = 0; i < 20000; i++) {
        dyn_buf_addf(&text, "unknown%d: 1\n", i);
    }
    config_t *config = parse_as("t.yaml", dyn_buf_slice(&text));
    const struct config_problems *problems = config_problems(config);
    assert_int_equal(problems->n, CONFIG_PROBLEMS_MAX);
    assert_int_equal(problems->errors, 20000);
    assert_int_equal(problems->left_out, 20000 - CONFIG_PROBLEMS_MAX);
    struct dyn_buf out = DYN_BUF_INIT;
    config_print_problems(config, &out);
    assert_non_null(strstr(dyn_buf_cstr(&out), "t.yaml: 19500 more problems are not shown\n"));
    config_free(&config);
    dyn_buf_fini(&out);
    dyn_buf_fini(&text);
}

static const char yaml_sample[] = "listen: \"a\\tb\" # comment\n"
                                  "port: 8080\nratio: .5\nbody: 64KiB\nidle: 1m\nmode: spread\n"
                                  "origins:\n  - 'it''s'\n  - |\n   block\n   \xC3\xA4\n"
                                  "codes: [429, 503]\n"
                                  "headers: {x-a: ${A}, ? \"k\" : v}\n"
                                  "tls:\n  certificate: >-\n    folded\n    text\n  key: ${TOKEN}\n"
                                  "plugins: [{name: x}]\n"
                                  "targets:\n- {name: one, routes: [{name: r, cost: 1}]}\n";
static const char json_sample[] =
    "{\"listen\": \"a\\tb\\u00e4\", \"port\": 8080, \"ratio\": 0.5, \"codes\": [429],\n"
    " \"headers\": {\"a\": \"${A}\"}, \"tls\": {\"certificate\": \"\xC3\xA4\"},\r\n"
    " \"plugins\": [null, true], \"targets\": [{\"name\": \"one\"}]}";

/* Every prefix is refused or read, at places within the text; a JSON text cut short is never whole. */
static void
every_prefix_is_answered(void **state)
{
    (void)state;
    for (size_t len = 0; len < sizeof yaml_sample; len++) {
        config_t *config = parse_as("t.yaml", dyn_slice(yaml_sample, len));
        for (size_t i = 0; i < config_problems(config)->n; i++) {
            assert_in_range(config_problems(config)->items[i].mark.line, 1, 23);
        }
        config_free(&config);
    }
    for (size_t len = 0; len < sizeof json_sample - 1; len++) {
        config_t *config = parse_as("t.json", dyn_slice(json_sample, len));
        assert_int_equal(config_problems(config)->n, 1);
        assert_non_null(strstr(config_problems(config)->items[0].text, len > 0 ? "not " : "not JSON"));
        config_free(&config);
    }
}

/* One byte changed at every place, to each of those that mean something. */
static void
every_damaged_byte_is_answered(void **state)
{
    (void)state;
    static const char bytes[] = "\0\n\t\"'[]{}:,-?#&*!|>%@`\\$ ~\x80\xC2\xFF";
    char text[sizeof yaml_sample];
    size_t refused = 0;
    for (size_t at = 0; at < sizeof yaml_sample - 1; at++) {
        for (size_t i = 0; i < sizeof bytes - 1; i++) {
            memcpy(text, yaml_sample, sizeof text);
            text[at] = bytes[i];
            config_t *config = parse_as("t.yaml", dyn_slice(text, sizeof text - 1));
            refused += config_ok(config) ? 0 : 1;
            config_free(&config);
        }
    }
    assert_true(refused > 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fifty_thousand_brackets_cost_no_more_than_fifty),
        cmocka_unit_test(depth_is_limited_at_the_same_level_everywhere),
        cmocka_unit_test(deep_values_of_unsupported_keys_are_refused),
        cmocka_unit_test(an_alias_bomb_is_refused_where_it_begins),
        cmocka_unit_test(directives_are_refused_before_they_are_compared),
        cmocka_unit_test(size_is_limited),
        cmocka_unit_test(the_number_of_values_is_limited),
        cmocka_unit_test(memory_follows_the_size_of_the_file),
        cmocka_unit_test(lists_of_sections_are_limited_in_bytes),
        cmocka_unit_test(problems_are_counted_when_there_are_too_many),
        cmocka_unit_test(every_prefix_is_answered),
        cmocka_unit_test(every_damaged_byte_is_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
