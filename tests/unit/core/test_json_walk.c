/* Items, members and strings of scanned values. */
#include "core/arena.h"
#include "core/buf.h"
#include "core/json_scan.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct json_value
scanned(const char *text)
{
    struct json_value value;
    struct json_error error = {"", 0};
    if (json_scan(dyn_slice_str(text), JSON_DEPTH_DEFAULT, &value, &error) != 0) {
        fail_msg("%s: %s at %zu", text, error.what, error.offset);
    }
    return value;
}

/* Items as "key!TYPE=raw;", '!' for an escaped key, nothing before '=' for array items. */
static void
assert_items(const char *text, const char *expected)
{
    struct dyn_buf items = DYN_BUF_INIT;
    struct json_iter it = json_iter(scanned(text));
    struct json_member member;
    while (json_iter_next(&it, &member)) {
        dyn_buf_add_slice(&items, member.key);
        dyn_buf_addf(&items, "%s%d=", member.key_is_escaped ? "!" : "", (int)member.value.type);
        dyn_buf_add_slice(&items, member.value.raw);
        dyn_buf_add_char(&items, ';');
    }
    assert_false(json_iter_next(&it, &member));
    assert_string_equal(dyn_buf_cstr(&items), expected);
    dyn_buf_fini(&items);
}

static void
arrays_give_their_items(void **state)
{
    (void)state;
    assert_items("[]", "");
    assert_items(" [ \n ] ", "");
    assert_items("[1]", "3=1;");
    assert_items("[ 1 ,\"a,]\" , null,[2,[3]] , {\"k\":[]},true,false , -1.5e3 ]",
                 "3=1;4=\"a,]\";0=null;5=[2,[3]];6={\"k\":[]};2=true;1=false;3=-1.5e3;");
    assert_items("[[],[[]],{}]", "5=[];5=[[]];6={};");
    assert_items("[\"\\\"\",\"\\\\\",\"]\",\"\\\\\\\"]\"]", "4=\"\\\"\";4=\"\\\\\";4=\"]\";4=\"\\\\\\\"]\";");
}

static void
objects_give_their_members(void **state)
{
    (void)state;
    assert_items("{}", "");
    assert_items("{ }", "");
    assert_items("{\"\":1}", "3=1;");
    assert_items("{ \"a\" : 1 , \"b\\n\":\"x\",\"c:d\":{\"e\":\"}\"} }",
                 "a3=1;b\\n!4=\"x\";c:d6={\"e\":\"}\"};");
    assert_items("{\"a\":1,\"a\":2}", "a3=1;a3=2;");
    assert_items("{\"\\\\\":null}", "\\\\!0=null;");
}

static void
scalars_have_no_items(void **state)
{
    (void)state;
    assert_items("1", "");
    assert_items("\"[1]\"", "");
    assert_items("null", "");
    struct json_iter it = json_iter((struct json_value){.type = JSON_ARRAY, .raw = {NULL, 0}});
    struct json_member member;
    assert_false(json_iter_next(&it, &member));
}

static void
array_items_have_no_key(void **state)
{
    (void)state;
    struct json_iter it = json_iter(scanned("[1]"));
    struct json_member member;
    assert_true(json_iter_next(&it, &member));
    assert_null(member.key.data);
    assert_false(json_key_is(&member, ""));
    it = json_iter(scanned("{\"\":1}"));
    assert_true(json_iter_next(&it, &member));
    assert_non_null(member.key.data);
    assert_true(json_key_is(&member, ""));
}

/* A container is skipped 64 bytes at a time: what looks like its end stands at every place of a block,
 * in strings, behind escapes, after odd and even runs of backslashes. */
static void
containers_of_every_length_are_skipped_whole(void **state)
{
    (void)state;
    static const char *const inner[] = {"\"]\"",         "\"\\\"]\"",       "\"\\\\\",[]",  "\"\\\\\\\"]\"",
                                        "{\"}\":\"{\"}", "[[[[1]],[]],{}]", "\"\\\\\\\\\"", "\"[[[\",\"{\""};
    for (size_t i = 0; i < DYN_ARRAY_LEN(inner); i++) {
        for (unsigned before = 0; before < 140; before++) {
            for (unsigned after = 0; after < 140; after += 23) {
                struct dyn_buf text = DYN_BUF_INIT;
                dyn_buf_addf(&text, "[[\"%*s\",%s,\"%*s\"],\"next]\"]", (int)before, "", inner[i], (int)after,
                             "");
                struct json_iter it = json_iter(scanned(dyn_buf_cstr(&text)));
                struct json_member member;
                assert_true(json_iter_next(&it, &member));
                assert_int_equal(member.value.raw.len, before + after + 8 + strlen(inner[i]));
                assert_true(json_iter_next(&it, &member));
                assert_true(json_string_is(member.value, "next]"));
                assert_false(json_iter_next(&it, &member));
                dyn_buf_fini(&text);
            }
        }
    }
}

static void
deep_containers_are_skipped(void **state)
{
    (void)state;
    for (unsigned depth = 1; depth <= 120; depth++) {
        struct dyn_buf text = DYN_BUF_INIT;
        dyn_buf_add_char(&text, '[');
        for (unsigned i = 0; i < depth; i++) {
            dyn_buf_add_str(&text, i % 2 ? "{\"k\":" : "[");
        }
        dyn_buf_add_str(&text, "\"]\"");
        for (unsigned i = depth; i-- > 0;) {
            dyn_buf_add_char(&text, i % 2 ? '}' : ']');
        }
        size_t len = text.len - 1;
        dyn_buf_add_str(&text, ",7]");
        struct json_iter it = json_iter(scanned(dyn_buf_cstr(&text)));
        struct json_member member;
        assert_true(json_iter_next(&it, &member));
        assert_int_equal(member.value.raw.len, len);
        assert_true(json_iter_next(&it, &member));
        assert_true(dyn_slice_is(member.value.raw, "7"));
        dyn_buf_fini(&text);
    }
}

static void
find_compares_decoded_keys(void **state)
{
    (void)state;
    struct json_value found;
    struct json_value object =
        scanned("{\"a\":1,\"b\\u0063\":{\"a\":2},\"a\":3,\"\\uD83D\\uDE00\":4,\"\":5}");
    assert_true(json_find(object, "a", &found));
    assert_true(dyn_slice_is(found.raw, "1"));
    assert_true(json_find(object, "bc", &found));
    assert_int_equal(found.type, JSON_OBJECT);
    assert_true(json_find(object, "\xf0\x9f\x98\x80", &found));
    assert_true(dyn_slice_is(found.raw, "4"));
    assert_true(json_find(object, "", &found));
    assert_true(dyn_slice_is(found.raw, "5"));
    found.type = JSON_TRUE;
    assert_false(json_find(object, "b", &found));
    assert_false(json_find(object, "bcd", &found));
    assert_false(json_find(object, "b\\u0063", &found));
    assert_false(json_find(object, "A", &found));
    assert_false(json_find(scanned("[\"a\",1]"), "a", &found));
    assert_int_equal(found.type, JSON_TRUE);
}

static const struct {
    const char *text;
    const char *decoded;
} strings[] = {
    {"\"\"", ""},
    {"\"plain\"", "plain"},
    {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t"},
    {"\"a\\u0041b\"", "aAb"},
    {"\"\\u007f\\u0080\\u07ff\\u0800\\uffff\"", "\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf"},
    {"\"\\ud800\\udc00\\uDBFF\\uDFFF\"", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"},
    {"\"\xe6\xb8\xaf\\n\xe6\xb8\xaf\"", "\xe6\xb8\xaf\n\xe6\xb8\xaf"},
    {"\"\\\\u0041\"", "\\u0041"},
    {"\"\\\\\\n\"", "\\\n"},
};

static void
strings_decode(void **state)
{
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(strings); i++) {
        struct json_value value = scanned(strings[i].text);
        struct dyn_buf out = DYN_BUF_INIT;
        dyn_buf_add_str(&out, ">");
        json_string_decode(value, &out);
        assert_string_equal(dyn_buf_cstr(&out) + 1, strings[i].decoded);
        assert_true(json_string_is(value, strings[i].decoded));
        assert_false(json_string_is(value, dyn_buf_cstr(&out)));
        dyn_buf_add_char(&out, 'x');
        assert_false(json_string_is(value, dyn_buf_cstr(&out) + 1));
        bool is_plain = strchr(strings[i].text, '\\') == NULL;
        struct dyn_slice plain = json_string_plain(value);
        assert_int_equal(plain.data != NULL, is_plain);
        assert_true(!is_plain || dyn_slice_is(plain, strings[i].decoded));
        dyn_buf_fini(&out);
    }
}

/* The limit counts decoded bytes, not those of the text. */
static void
decoding_obeys_the_limit_of_the_buffer(void **state)
{
    (void)state;
    struct json_value value = scanned("\"a\\u0041\\u00e4\\ud83d\\ude00z\""); /* 9 bytes decoded */
    struct dyn_buf out = DYN_BUF_INIT_LIMIT(9);
    json_string_decode(value, &out);
    assert_false(out.failed);
    assert_string_equal(dyn_buf_cstr(&out), "aA\xc3\xa4\xf0\x9f\x98\x80z");
    dyn_buf_fini(&out);
    out.limit = 8;
    json_string_decode(value, &out);
    assert_true(out.failed);
    assert_int_equal(out.len, 0);
    dyn_buf_fini(&out);
}

static void
other_values_are_not_strings(void **state)
{
    (void)state;
    static const char *const texts[] = {"null", "true", "12", "[]", "{}"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(texts); i++) {
        struct json_value value = scanned(texts[i]);
        struct dyn_buf out = DYN_BUF_INIT;
        json_string_decode(value, &out);
        assert_int_equal(out.len, 0);
        assert_null(json_string_plain(value).data);
        assert_false(json_string_is(value, texts[i]));
        assert_false(json_string_is(value, ""));
        dyn_buf_fini(&out);
    }
}

/* ---- front to back ---- */

/* Values in the order in which they end, containers that are entered as their closing bracket. `mode`: 0
 * enters all, 1 asks for the whole of each, 2 passes over each. */
static void
write_walk(struct json_walk *walk, int mode, struct dyn_buf *out)
{
    for (struct json_member member; json_walk_next(walk, &member);) {
        bool is_container = member.value.type == JSON_ARRAY || member.value.type == JSON_OBJECT;
        dyn_buf_add_slice(out, member.key);
        dyn_buf_addf(out, "%s%d=", member.key_is_escaped ? "!" : "", (int)member.value.type);
        if (is_container && mode == 0) {
            struct json_walk inside = json_walk_into(walk, &member);
            dyn_buf_add_char(out, '(');
            write_walk(&inside, mode, out);
            assert_false(json_walk_next(&inside, &(struct json_member){.key_is_escaped = false}));
            dyn_buf_add_char(out, ')');
        } else if (mode == 1) {
            dyn_buf_add_slice(out, json_walk_value(walk, &member).raw);
        } else {
            struct json_walk inside = json_walk_into(walk, &member);
            dyn_buf_add_slice(out, member.value.raw);
            (void)json_walk_next(&inside,
                                 &(struct json_member){.key_is_escaped = false}); /* not to its end */
        }
        dyn_buf_add_char(out, ';');
    }
}

static int
go_on(void *self, const struct json_member *member)
{
    (void)self, (void)member;
    return 0;
}

static const struct json_visitor *enter_all(void *self, const struct json_member *container);
static const struct json_visitor deep = {.visit = go_on, .enter = enter_all};
static const struct json_visitor flat = {.visit = go_on};

static const struct json_visitor *
enter_all(void *self, const struct json_member *container)
{
    (void)self, (void)container;
    return &deep;
}

/* Over the places that a scan has noted, however deep it went. */
static void
assert_walk_of_places(const char *text, int mode, const struct json_visitor *visitor, const char *expected)
{
    struct dyn_buf out = DYN_BUF_INIT;
    struct json_places places = {.n = 0};
    assert_int_equal(json_scan_places(dyn_slice_str(text), JSON_DEPTH_DEFAULT, visitor, NULL, &places, NULL),
                     0);
    struct json_walk walk = json_walk_places(&places, scanned(text));
    dyn_buf_add_str(&out, "");
    write_walk(&walk, mode, &out);
    assert_string_equal(dyn_buf_cstr(&out), expected);
    json_places_fini(&places);
    dyn_buf_fini(&out);
}

static void
assert_walk(const char *text, int mode, const char *expected)
{
    struct dyn_buf out = DYN_BUF_INIT;
    struct json_value value = scanned(text);
    struct json_walk walk = json_walk(value);
    dyn_buf_add_str(&out, "");
    write_walk(&walk, mode, &out);
    assert_string_equal(dyn_buf_cstr(&out), expected);
    if (value.type == JSON_OBJECT && mode != 2) { /* places know where a container ends */
        assert_walk_of_places(text, mode, &deep, expected);
        assert_walk_of_places(text, mode, &flat, expected);
    }
    dyn_buf_fini(&out);
}

#define NESTED " { \"a\" : [ 1 , [ ] , {\"b\":\"]\"} ] , \"c\\n\":{ }, \"d\":null } "

static void
a_walk_goes_in_and_comes_out(void **state)
{
    (void)state;
    assert_walk(NESTED, 0, "a5=(3=1;5=();6=(b4=\"]\";););c\\n!6=();d0=null;");
    assert_walk(NESTED, 1, "a5=[ 1 , [ ] , {\"b\":\"]\"} ];c\\n!6={ };d0=null;");
    assert_walk(NESTED, 2, "a5=[;c\\n!6={;d0=null;");
    assert_walk("[[[[1],2],3],4]", 0, "5=(5=(5=(3=1;);3=2;);3=3;);3=4;");
    assert_walk("[]", 0, "");
    assert_walk("7", 0, "");
}

/* More places than are noted: the walk is over bytes. */
static void
a_walk_over_many_members_misses_none(void **state)
{
    (void)state;
    enum { MEMBERS = JSON_PLACES_MAX + 1 };
    for (int n = MEMBERS - 2; n <= MEMBERS; n++) {
        struct dyn_buf text = DYN_BUF_INIT;
        struct dyn_buf expected = DYN_BUF_INIT;
        for (int i = 0; i < n; i++) {
            dyn_buf_addf(&text, "%c\"%d\":%d", i > 0 ? ',' : '{', i, i);
            dyn_buf_addf(&expected, "%d3=%d;", i, i);
        }
        dyn_buf_add_char(&text, '}');
        assert_walk(dyn_buf_cstr(&text), 1, dyn_buf_cstr(&expected));
        dyn_buf_fini(&text);
        dyn_buf_fini(&expected);
    }
}

static void
a_walk_looks_ahead_and_stays(void **state)
{
    (void)state;
    struct json_walk walk = json_walk(scanned("{\"a\":[{\"role\":\"no\"}],\"role\":\"yes\",\"b\":1}"));
    struct json_member member;
    struct json_value role;
    assert_true(json_walk_peek(&walk, "role", &role));
    assert_true(json_string_is(role, "yes"));
    assert_false(json_walk_peek(&walk, "none", &role));
    assert_true(json_walk_next(&walk, &member));
    assert_true(json_key_is(&member, "a"));
    assert_true(json_walk_peek(&walk, "role", &role)); /* it passes over what it stands at */
    assert_true(json_string_is(role, "yes"));
    assert_int_equal(json_walk_value(&walk, &member).raw.len, 15);
}

/* What no scan has seen gives nonsense, and an end. */
static void
a_walk_ends_in_any_text(void **state)
{
    (void)state;
    static const char *const texts[] = {"{",         "[,,",   "{\"a",  "{\"a\":", "[[[[",
                                        "{\"a\":[1", "{1:2}", "[\"\\", "{,}"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(texts); i++) {
        enum json_type type = texts[i][0] == '{' ? JSON_OBJECT : JSON_ARRAY;
        for (int mode = 0; mode < 3; mode++) {
            struct dyn_buf out = DYN_BUF_INIT;
            struct json_walk walk = json_walk((struct json_value){type, dyn_slice_str(texts[i])});
            write_walk(&walk, mode, &out);
            dyn_buf_fini(&out);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arrays_give_their_items),
        cmocka_unit_test(objects_give_their_members),
        cmocka_unit_test(scalars_have_no_items),
        cmocka_unit_test(array_items_have_no_key),
        cmocka_unit_test(containers_of_every_length_are_skipped_whole),
        cmocka_unit_test(deep_containers_are_skipped),
        cmocka_unit_test(find_compares_decoded_keys),
        cmocka_unit_test(strings_decode),
        cmocka_unit_test(decoding_obeys_the_limit_of_the_buffer),
        cmocka_unit_test(other_values_are_not_strings),
        cmocka_unit_test(a_walk_goes_in_and_comes_out),
        cmocka_unit_test(a_walk_over_many_members_misses_none),
        cmocka_unit_test(a_walk_looks_ahead_and_stays),
        cmocka_unit_test(a_walk_ends_in_any_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
