/* Trees are made of what the scanner accepts and of nothing else. */
#include "core/json_tree.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void
a_tree_is_read_and_printed(void **state)
{
    (void)state;
    static const struct dyn_slice text =
        DYN_SLICE_INIT(" { \"b\" : [ 1, 2.5 , null ], \"a\":\"x\\ny\\u00e4\", \"A\":true } ");
    struct cJSON *tree = json_tree_parse(text, JSON_DEPTH_DEFAULT, NULL);
    assert_non_null(tree);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(tree, "a")), "x\ny\xc3\xa4");
    assert_true(cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(tree, "A")));
    struct dyn_buf out = DYN_BUF_INIT;
    dyn_buf_add_str(&out, "> ");
    json_tree_print(tree, &out);
    assert_string_equal(dyn_buf_cstr(&out), "> {\"b\":[1,2.5,null],\"a\":\"x\\ny\xc3\xa4\",\"A\":true}");
    dyn_buf_fini(&out);
    json_tree_free(&tree);
    assert_null(tree);
    json_tree_free(&tree);
}

/* What cJSON itself would let through. */
static void
lax_texts_are_refused(void **state)
{
    (void)state;
    static const struct dyn_slice texts[] = {
        DYN_SLICE_INIT(""),         DYN_SLICE_INIT("{} x"),
        DYN_SLICE_INIT("[1]]"),     DYN_SLICE_INIT("\"\xff\""),
        DYN_SLICE_INIT("\"a\nb\""), DYN_SLICE_INIT("\"a\\u0000b\""),
        DYN_SLICE_INIT("\"a\0b\""), DYN_SLICE_INIT("\xef\xbb\xbf{}"),
        DYN_SLICE_INIT("[01]"),     DYN_SLICE_INIT("[1.]"),
        DYN_SLICE_INIT("[-]"),      DYN_SLICE_INIT("\"\\udc00\""),
        DYN_SLICE_INIT("{}\0"),     DYN_SLICE_INIT("\x01{}"),
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(texts); i++) {
        struct json_error error = {NULL, 0};
        assert_null(json_tree_parse(texts[i], JSON_DEPTH_DEFAULT, &error));
        assert_non_null(error.what);
        assert_null(json_tree_parse(texts[i], JSON_DEPTH_DEFAULT, NULL));
    }
}

static struct cJSON *
parse_nested(unsigned depth, unsigned max_depth, struct json_error *error)
{
    struct dyn_buf text = DYN_BUF_INIT;
    for (unsigned i = 0; i < depth; i++) {
        dyn_buf_add_char(&text, '[');
    }
    for (unsigned i = 0; i < depth; i++) {
        dyn_buf_add_char(&text, ']');
    }
    struct cJSON *tree = json_tree_parse(dyn_buf_slice(&text), max_depth, error);
    dyn_buf_fini(&text);
    return tree;
}

static void
depth_is_limited_where_both_agree(void **state)
{
    (void)state;
    struct json_error error;
    struct cJSON *tree = parse_nested(JSON_DEPTH_MAX, JSON_DEPTH_MAX, &error);
    assert_non_null(tree);
    json_tree_free(&tree);
    assert_null(parse_nested(JSON_DEPTH_MAX + 1, UINT32_MAX, &error));
    assert_string_equal(error.what, "nested too deeply");
    assert_null(parse_nested(9, 8, &error));
    tree = parse_nested(8, 8, &error);
    assert_non_null(tree);
    json_tree_free(&tree);
}

/* Some builds of cJSON read 63 characters of a number. Alone at the top the rest would go unnoticed. */
static void
long_numbers_are_whole_or_refused(void **state)
{
    (void)state;
    char text[201] = "[1";
    memset(text + 2, '0', sizeof text - 3);
    for (size_t len = 60; len < 190; len++) {
        text[len + 1] = ']';
        struct json_error error = {"", 0};
        for (int alone = 0; alone < 2; alone++) {
            struct dyn_slice slice = alone ? dyn_slice(text + 1, len) : dyn_slice(text, len + 2);
            struct cJSON *tree = json_tree_parse(slice, 4, &error);
            assert_true(tree != NULL || len > 63);
            if (tree != NULL) {
                double ratio = (alone ? tree : tree->child)->valuedouble / pow(10, (double)len - 1);
                assert_true(ratio > 0.999 && ratio < 1.001);
            } else {
                assert_string_equal(error.what, "a number too long for a tree");
            }
            json_tree_free(&tree);
        }
        text[len + 1] = '0';
    }
}

static void
a_limited_buffer_takes_all_or_nothing(void **state)
{
    (void)state;
    struct cJSON *tree = json_tree_parse(DYN_SLICE("[1,2,3]"), 4, NULL);
    struct dyn_buf out = DYN_BUF_INIT_LIMIT(6);
    json_tree_print(tree, &out);
    assert_true(out.failed);
    assert_int_equal(out.len, 0);
    dyn_buf_fini(&out);
    json_tree_free(&tree);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tree_is_read_and_printed),
        cmocka_unit_test(lax_texts_are_refused),
        cmocka_unit_test(depth_is_limited_where_both_agree),
        cmocka_unit_test(long_numbers_are_whole_or_refused),
        cmocka_unit_test(a_limited_buffer_takes_all_or_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
