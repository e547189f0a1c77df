/* Visiting while scanning: the same members and the same refusals as scanning first and walking then. */
#include "core/buf.h"
#include "core/json_scan.h"
#include "core/rand.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { DEPTH = 10, STOPPED = 7 };

/* What was visited, as text: "key=raw;" for members, "raw;" for items, in the order of their ends. */
struct seen {
    struct dyn_buf text;
    const char *stop_at; /* raw value that stops the walk */
};

static int
note(void *self, const struct json_member *member)
{
    struct seen *seen = self;
    if (member->key.data != NULL) {
        dyn_buf_add_slice(&seen->text, member->key);
        dyn_buf_add_char(&seen->text, '=');
    }
    dyn_buf_add_slice(&seen->text, member->value.raw);
    dyn_buf_add_char(&seen->text, ';');
    return seen->stop_at != NULL && dyn_slice_is(member->value.raw, seen->stop_at) ? STOPPED : 0;
}

static const struct json_visitor *enter_all(void *self, const struct json_member *container);

static const struct json_visitor everything = {.visit = note, .enter = enter_all};
static const struct json_visitor top_only = {.visit = note, .unique_keys = true};
static const struct json_visitor all_unique_top = {.visit = note, .enter = enter_all, .unique_keys = true};

/* The bytes where it begins are known, not yet how many. */
static const struct json_visitor *
enter_all(void *self, const struct json_member *container)
{
    (void)self;
    assert_int_equal(container->value.raw.len, 0);
    assert_true(*container->value.raw.data == (container->value.type == JSON_OBJECT ? '{' : '['));
    return &everything;
}

static void
expect_visited(const char *text, const struct json_visitor *visitor, const char *expected)
{
    struct seen seen = {DYN_BUF_INIT, NULL};
    struct json_error error = {NULL, 0};
    assert_int_equal(json_scan_visit(dyn_slice_str(text), DEPTH, visitor, &seen, &error), 0);
    assert_string_equal(dyn_buf_cstr(&seen.text), expected);
    dyn_buf_fini(&seen.text);
}

static void
members_are_visited_where_they_end(void **state)
{
    (void)state;
    expect_visited("{}", &everything, "");
    expect_visited(" { } ", &everything, "");
    expect_visited("{\"a\":1}", &everything, "a=1;");
    expect_visited("{\"a\":[]}", &everything, "a=[];");
    expect_visited("{\"a\":[ ],\"b\":{ }}", &everything, "a=[ ];b={ };");
    expect_visited("{\"a\":[1,\"x\",null]}", &everything, "1;\"x\";null;a=[1,\"x\",null];");
    expect_visited("{\"a\" : { \"b\" : [ { \"c\" : 1 } , 2 ] } , \"d\" : true }", &everything,
                   "c=1;{ \"c\" : 1 };2;b=[ { \"c\" : 1 } , 2 ];a={ \"b\" : [ { \"c\" : 1 } , 2 ] };d=true;");
    expect_visited("{\"a\":[[],[[]]]}", &everything, "[];[];[[]];a=[[],[[]]];");
}

static void
what_is_not_entered_is_one_value(void **state)
{
    (void)state;
    expect_visited("{\"a\":[1,{\"b\":2}],\"c\":{\"d\":\"]}\"}}", &top_only,
                   "a=[1,{\"b\":2}];c={\"d\":\"]}\"};");
}

static void
keys_are_unique_where_asked(void **state)
{
    (void)state;
    struct seen seen = {DYN_BUF_INIT, NULL};
    struct json_error error;
    assert_int_equal(json_scan_visit(DYN_SLICE("{\"a\":1,\"\\u0061\":2}"), DEPTH, &top_only, &seen, &error),
                     -1);
    assert_string_equal(error.what, "duplicate key");
    dyn_buf_fini(&seen.text);
    expect_visited("{\"a\":1,\"a\":2}", &everything, "a=1;a=2;");
    expect_visited("{\"x\":{\"a\":1,\"a\":2}}", &all_unique_top, "a=1;a=2;x={\"a\":1,\"a\":2};");
}

static void
a_visitor_can_stop(void **state)
{
    (void)state;
    struct seen seen = {DYN_BUF_INIT, "2"};
    struct json_error error = {NULL, 0};
    struct dyn_slice text = DYN_SLICE("{\"a\":[1,{\"b\":[2,3]}],\"c\":4} and what follows does not matter");
    assert_int_equal(json_scan_visit(text, DEPTH, &everything, &seen, &error), STOPPED);
    assert_string_equal(dyn_buf_cstr(&seen.text), "1;2;");
    assert_null(error.what);
    dyn_buf_fini(&seen.text);
}

/* At any place where the text can break, inside what is entered as well as outside. */
static void
texts_are_refused_as_by_a_scan(void **state)
{
    (void)state;
    static const char *const pieces[] = {"{",     "}",           "[",   "]",           ",",         ":",
                                         "\"a\"", "\"\\u0062\"", "1",   "-0",          "1.5e",      "true",
                                         "null",  "\"",          " ",   "\"\\ud800\"", "\\",        "\xff",
                                         "{}",    "[]",          "tru", "\"b\":",      "{\"c\":1}", "[2]"};
    struct dyn_rng rng;
    dyn_rng_seed(&rng, 5);
    unsigned accepted = 0;
    for (int round = 0; round < 200000; round++) {
        struct dyn_buf text = DYN_BUF_INIT;
        struct seen seen = {DYN_BUF_INIT, NULL};
        struct json_error by_scan = {NULL, 0};
        struct json_error by_visit = {NULL, 0};
        struct json_value value;
        dyn_buf_add_str(&text, "{\"a\":");
        for (uint64_t n = 1 + dyn_rng_below(&rng, 6); n > 0; n--) {
            dyn_buf_add_str(&text, pieces[dyn_rng_below(&rng, DYN_ARRAY_LEN(pieces))]);
        }
        dyn_buf_add_str(&text, "}");
        int scanned = json_scan(dyn_buf_slice(&text), DEPTH, &value, &by_scan);
        int visited = json_scan_visit(dyn_buf_slice(&text), DEPTH, &everything, &seen, &by_visit);
        assert_int_equal(scanned, visited);
        assert_int_equal(by_scan.offset, by_visit.offset);
        assert_int_equal(by_scan.what == NULL, by_visit.what == NULL);
        if (by_scan.what != NULL) {
            assert_string_equal(by_scan.what, by_visit.what);
        }
        accepted += scanned == 0;
        dyn_buf_fini(&text);
        dyn_buf_fini(&seen.text);
    }
    assert_true(accepted > 1000);
}

static void
only_objects_are_visited(void **state)
{
    (void)state;
    static const char *const texts[] = {"",      " ",   "[]", "1",      "\"{}\"", "null",
                                        "{} {}", "{}x", "{",  "{\"a\"", "{\"a\":"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(texts); i++) {
        struct seen seen = {DYN_BUF_INIT, NULL};
        struct json_error error = {NULL, 0};
        assert_int_equal(json_scan_visit(dyn_slice_str(texts[i]), DEPTH, &everything, &seen, &error), -1);
        assert_non_null(error.what);
        dyn_buf_fini(&seen.text);
    }
}

/* What is entered counts like what is not. */
static void
depth_is_counted_through_visitors(void **state)
{
    (void)state;
    for (unsigned max_depth = 0; max_depth <= 4; max_depth++) {
        struct seen seen = {DYN_BUF_INIT, NULL};
        struct json_error error;
        struct dyn_slice text = DYN_SLICE("{\"a\":[{\"b\":[]}]}");
        int scanned = json_scan(text, max_depth, NULL, NULL);
        assert_int_equal(json_scan_visit(text, max_depth, &everything, &seen, &error), scanned);
        assert_int_equal(scanned, max_depth < 4 ? -1 : 0);
        dyn_buf_fini(&seen.text);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_are_visited_where_they_end),
        cmocka_unit_test(what_is_not_entered_is_one_value),
        cmocka_unit_test(keys_are_unique_where_asked),
        cmocka_unit_test(a_visitor_can_stop),
        cmocka_unit_test(texts_are_refused_as_by_a_scan),
        cmocka_unit_test(only_objects_are_visited),
        cmocka_unit_test(depth_is_counted_through_visitors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
