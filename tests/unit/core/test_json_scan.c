/* What the scanner accepts and refuses, and where it says that it went wrong. */
#include "core/json_scan.h"

#include "core/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define TEXT(literal) DYN_SLICE_INIT(literal)

static const struct dyn_slice accepted[] = {
    /* scalars */
    TEXT("null"),
    TEXT("true"),
    TEXT("false"),
    TEXT("\"\""),
    TEXT("\"a\""),
    TEXT(" \t\r\n null \t\r\n "),
    /* numbers */
    TEXT("0"),
    TEXT("-0"),
    TEXT("1"),
    TEXT("-1"),
    TEXT("10"),
    TEXT("1234567890"),
    TEXT("0.0"),
    TEXT("-0.5"),
    TEXT("1.25"),
    TEXT("1e5"),
    TEXT("1E5"),
    TEXT("1e+5"),
    TEXT("1e-5"),
    TEXT("0e0"),
    TEXT("0E+00"),
    TEXT("12.50e-007"),
    TEXT("1e999999"),
    TEXT("123456789012345678901234567890.123456789012345678901234567890"),
    TEXT("[0,-1,2.5,3e4]"),
    /* containers */
    TEXT("{}"),
    TEXT("[]"),
    TEXT("[[]]"),
    TEXT("[{}]"),
    TEXT("{\"\":{}}"),
    TEXT("[ ]"),
    TEXT("{ }"),
    TEXT(" [ 1 , 2 ] "),
    TEXT("{ \"a\" : 1 , \"b\" : [ ] }"),
    TEXT("{\"a\":{\"b\":{\"c\":[{\"d\":null}]}}}"),
    TEXT("[\"a\",null,1,true,{}]"),
    TEXT("{\"a\":1,\"a\":2}"), /* json_scan has no opinion on keys */
    TEXT("{\"\\\"\":\"\\\\\"}"),
    /* escapes */
    TEXT("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""),
    TEXT("\"\\u0001\""),
    TEXT("\"\\u00e4\\u00E4\""),
    TEXT("\"\\uD83D\\uDE00\""),
    TEXT("\"\\ud800\\udc00\""),
    TEXT("\"\\uDBFF\\uDFFF\""),
    TEXT("\"\\uFFFF\""),
    TEXT("\"\\\\u0000\""),
    TEXT("\"\\uD7FF\\uE000\""),
    /* characters */
    TEXT("\"\x7f\""),
    TEXT("\"\xc2\x80\""),
    TEXT("\"\xdf\xbf\""),
    TEXT("\"\xe0\xa0\x80\""),
    TEXT("\"\xed\x9f\xbf\""),
    TEXT("\"\xee\x80\x80\""),
    TEXT("\"\xef\xbf\xbf\""),
    TEXT("\"\xf0\x90\x80\x80\""),
    TEXT("\"\xf4\x8f\xbf\xbf\""),
    TEXT("{\"\xe6\xb8\xaf\":\"\xe5\x8f\xa3\"}"),
    TEXT("\"\xef\xbb\xbf\""),
    TEXT("\"\xe2\x80\xa8\""),
};

/* The same thing at the end of an allocation, so that a look behind the text is seen by a sanitizer. */
static int
scan_exact(struct dyn_slice text, unsigned max_depth, struct json_value *value, struct json_error *error)
{
    char *copy = dyn_alloc(text.len);
    if (text.len > 0) {
        memcpy(copy, text.data, text.len);
    }
    int outcome = json_scan(dyn_slice(copy, text.len), max_depth, value, error);
    free(copy);
    return outcome;
}

static void
accepts_what_the_grammar_allows(void **state)
{
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(accepted); i++) {
        struct json_error error = {"", 0};
        if (scan_exact(accepted[i], JSON_DEPTH_DEFAULT, NULL, &error) != 0) {
            fail_msg("%s: %s at %zu", accepted[i].data, error.what, error.offset);
        }
    }
}

struct refused {
    struct dyn_slice text;
    const char *what;
    size_t offset;
};

#define END_OF_TEXT "unexpected end of text"
#define IN_STRING   "unexpected end of text in a string"
#define VALUE       "expected a value"
#define KEY         "expected a key in quotes"
#define NUMBER      "invalid number"
#define UTF_8       "invalid UTF-8"
#define SURROGATE   "lone surrogate escape"
#define HEX         "\\u needs four hex digits"

static const struct refused refused[] = {
    /* nothing there, or too much */
    {TEXT(""), END_OF_TEXT, 0},
    {TEXT(" \n"), END_OF_TEXT, 2},
    {TEXT("null null"), "data after the value", 5},
    {TEXT("{}x"), "data after the value", 2},
    {TEXT("[]]"), "data after the value", 2},
    {TEXT("1,"), "data after the value", 1},
    {TEXT("\"a\"\"b\""), "data after the value", 3},
    {TEXT("{}\0"), "data after the value", 2},
    {TEXT("\xef\xbb\xbf{}"), VALUE, 0},
    {TEXT("\xff\xfe{\0}\0"), VALUE, 0},
    /* not JSON */
    {TEXT("\0"), VALUE, 0},
    {TEXT("nul"), VALUE, 0},
    {TEXT("nulL"), VALUE, 0},
    {TEXT("nullx"), "data after the value", 4},
    {TEXT("True"), VALUE, 0},
    {TEXT("NaN"), VALUE, 0},
    {TEXT("Infinity"), VALUE, 0},
    {TEXT("undefined"), VALUE, 0},
    {TEXT("'a'"), VALUE, 0},
    {TEXT("/**/1"), VALUE, 0},
    {TEXT("\x0b"
          "1"),
     VALUE, 0},
    {TEXT("\xc2\xa0"
          "1"),
     VALUE, 0},
    {TEXT("}"), VALUE, 0},
    {TEXT("]"), VALUE, 0},
    {TEXT(","), VALUE, 0},
    {TEXT(":"), VALUE, 0},
    /* numbers */
    {TEXT("-"), NUMBER, 0},
    {TEXT("+1"), VALUE, 0},
    {TEXT(".5"), VALUE, 0},
    {TEXT("01"), NUMBER, 0},
    {TEXT("-01"), NUMBER, 0},
    {TEXT("00"), NUMBER, 0},
    {TEXT("1."), NUMBER, 0},
    {TEXT("1.e5"), NUMBER, 0},
    {TEXT("-.5"), NUMBER, 0},
    {TEXT("1e"), NUMBER, 0},
    {TEXT("1e+"), NUMBER, 0},
    {TEXT("1E-"), NUMBER, 0},
    {TEXT("1e1.5"), "data after the value", 3},
    {TEXT("0x10"), "data after the value", 1},
    {TEXT("1_000"), "data after the value", 1},
    {TEXT("-Infinity"), NUMBER, 0},
    {TEXT("[1,02]"), NUMBER, 3},
    {TEXT("[--1]"), NUMBER, 1},
    {TEXT("[1 2]"), "expected ',' or ']'", 3},
    /* containers */
    {TEXT("["), END_OF_TEXT, 1},
    {TEXT("[1"), END_OF_TEXT, 2},
    {TEXT("[1,"), END_OF_TEXT, 3},
    {TEXT("[1,]"), VALUE, 3},
    {TEXT("[,1]"), VALUE, 1},
    {TEXT("[1,,2]"), VALUE, 3},
    {TEXT("[}"), VALUE, 1},
    {TEXT("[1}"), "expected ',' or ']'", 2},
    {TEXT("[1:2]"), "expected ',' or ']'", 2},
    {TEXT("{"), END_OF_TEXT, 1},
    {TEXT("{]"), KEY, 1},
    {TEXT("{a:1}"), KEY, 1},
    {TEXT("{'a':1}"), KEY, 1},
    {TEXT("{1:1}"), KEY, 1},
    {TEXT("{null:1}"), KEY, 1},
    {TEXT("{,}"), KEY, 1},
    {TEXT("{\"a\"}"), "expected ':'", 4},
    {TEXT("{\"a\""), END_OF_TEXT, 4},
    {TEXT("{\"a\":"), END_OF_TEXT, 5},
    {TEXT("{\"a\":}"), VALUE, 5},
    {TEXT("{\"a\"::1}"), VALUE, 5},
    {TEXT("{\"a\",1}"), "expected ':'", 4},
    {TEXT("{\"a\":1"), END_OF_TEXT, 6},
    {TEXT("{\"a\":1,"), END_OF_TEXT, 7},
    {TEXT("{\"a\":1,}"), KEY, 7},
    {TEXT("{\"a\":1]"), "expected ',' or '}'", 6},
    {TEXT("{\"a\":1 \"b\":2}"), "expected ',' or '}'", 7},
    {TEXT("[{\"a\":[1}]]"), "expected ',' or ']'", 8},
    {TEXT("[\"a\" \"b\"]"), "expected ',' or ']'", 5},
    {TEXT("[\f1]"), VALUE, 1},
    /* strings */
    {TEXT("\""), IN_STRING, 1},
    {TEXT("\"abc"), IN_STRING, 4},
    {TEXT("{\"abc"), IN_STRING, 5},
    {TEXT("\"a\nb\""), "control character in a string", 2},
    {TEXT("\"\t\""), "control character in a string", 1},
    {TEXT("\"\x1f\""), "control character in a string", 1},
    {TEXT("\"a\0b\""), "NUL in a string", 2},
    {TEXT("{\"\0\":1}"), "NUL in a string", 2},
    {TEXT("\"0123456789abcdef0123456789abcdef\x01\""), "control character in a string", 33},
    /* escapes */
    {TEXT("\"\\"), "unknown escape", 1},
    {TEXT("\"\\\""), IN_STRING, 3},
    {TEXT("\"\\x41\""), "unknown escape", 1},
    {TEXT("\"\\'\""), "unknown escape", 1},
    {TEXT("\"\\a\""), "unknown escape", 1},
    {TEXT("\"\\N\""), "unknown escape", 1},
    {TEXT("\"\\\n\""), "unknown escape", 1},
    {TEXT("\"\\\0\""), "unknown escape", 1},
    {TEXT("\"\\\xc3\xa4\""), "unknown escape", 1},
    {TEXT("\"\\u\""), HEX, 1},
    {TEXT("\"\\u12\""), HEX, 1},
    {TEXT("\"\\u123"), HEX, 1},
    {TEXT("\"\\u12g4\""), HEX, 1},
    {TEXT("\"\\u-123\""), HEX, 1},
    {TEXT("\"\\u 123\""), HEX, 1},
    {TEXT("\"\\U0041\""), "unknown escape", 1},
    {TEXT("\"\\u0000\""), "\\u0000 in a string", 1},
    {TEXT("{\"a\\u0000\":1}"), "\\u0000 in a string", 3},
    {TEXT("\"\\ud800\""), SURROGATE, 1},
    {TEXT("\"\\udbff"), SURROGATE, 1},
    {TEXT("\"\\udc00\""), SURROGATE, 1},
    {TEXT("\"\\udfff\\ud800\""), SURROGATE, 1},
    {TEXT("\"\\ud800\\ud800\""), SURROGATE, 1},
    {TEXT("\"\\ud800\\u0041\""), SURROGATE, 1},
    {TEXT("\"\\ud800\\n\""), SURROGATE, 1},
    {TEXT("\"\\ud800xxudc00\""), SURROGATE, 1},
    {TEXT("\"\\ud800\\udc0\""), SURROGATE, 1},
    {TEXT("\"\\ud800\\udc0g\""), SURROGATE, 1},
    {TEXT("\"\\ud83d\\ude00\\ude00\""), SURROGATE, 13},
    /* UTF-8: continuation alone, overlong, surrogates, beyond the end, cut */
    {TEXT("\"\x80\""), UTF_8, 1},
    {TEXT("\"\xbf\""), UTF_8, 1},
    {TEXT("\"\xc0\x80\""), UTF_8, 1},
    {TEXT("\"\xc1\xbf\""), UTF_8, 1},
    {TEXT("\"\xe0\x80\x80\""), UTF_8, 1},
    {TEXT("\"\xe0\x9f\xbf\""), UTF_8, 1},
    {TEXT("\"\xf0\x80\x80\x80\""), UTF_8, 1},
    {TEXT("\"\xf0\x8f\xbf\xbf\""), UTF_8, 1},
    {TEXT("\"\xed\xa0\x80\""), UTF_8, 1},
    {TEXT("\"\xed\xbf\xbf\""), UTF_8, 1},
    {TEXT("\"\xed\xa0\xbd\xed\xb8\x80\""), UTF_8, 1},
    {TEXT("\"\xf4\x90\x80\x80\""), UTF_8, 1},
    {TEXT("\"\xf5\x80\x80\x80\""), UTF_8, 1},
    {TEXT("\"\xf8\x88\x80\x80\x80\""), UTF_8, 1},
    {TEXT("\"\xfe\""), UTF_8, 1},
    {TEXT("\"\xff\""), UTF_8, 1},
    {TEXT("\"\xc3\""), UTF_8, 1},
    {TEXT("\"\xc3"), UTF_8, 1},
    {TEXT("\"\xe6\xb8\""), UTF_8, 1},
    {TEXT("\"\xe6\xb8"), UTF_8, 1},
    {TEXT("\"\xf0\x9f\x98\""), UTF_8, 1},
    {TEXT("\"\xc3\x28\""), UTF_8, 1},
    {TEXT("\"\xe6\x28\x80\""), UTF_8, 1},
    {TEXT("\"\xf0\x9f\x28\x80\""), UTF_8, 1},
    {TEXT("\"\xe6\xb8\xaf\xe5\x8f\xa3 \xe6\xb8\xaf\xff\xe6\xb8\xaf\xe6\xb8\xaf\""), UTF_8, 11},
    {TEXT("{\"\xff\":1}"), UTF_8, 2},
};

static void
refuses_the_rest_and_says_where(void **state)
{
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(refused); i++) {
        struct json_error error = {"accepted", 0};
        struct json_value value = {.type = JSON_NULL, .raw = {NULL, 0}};
        int outcome = scan_exact(refused[i].text, JSON_DEPTH_DEFAULT, &value, &error);
        if (outcome != -1 || strcmp(error.what, refused[i].what) != 0 || error.offset != refused[i].offset) {
            fail_msg("row %zu %s: %s at %zu, not %s at %zu", i, refused[i].text.data, error.what,
                     error.offset, refused[i].what, refused[i].offset);
        }
        assert_null(value.raw.data);
        assert_int_equal(scan_exact(refused[i].text, JSON_DEPTH_DEFAULT, NULL, NULL), -1);
    }
}

/* The same faults in a string of every length up to several machine words: no step of the inner loops
 * overlooks a byte. */
static void
every_byte_of_a_string_is_looked_at(void **state)
{
    (void)state;
    for (size_t len = 1; len < 100; len++) {
        for (size_t at = 0; at < len; at++) {
            char text[128];
            memset(text, 'a', sizeof text);
            text[0] = '"';
            text[len + 1] = '"';
            struct json_error error;
            static const char bad[] = {'\0', '\n', '\x1f', '\x80', '\xff', '\\'};
            for (size_t i = 0; i < sizeof bad; i++) {
                text[1 + at] = bad[i];
                assert_int_equal(scan_exact(dyn_slice(text, len + 2), 0, NULL, &error), -1);
                assert_int_equal(error.offset, at + 1 + (bad[i] == '\\' && at + 1 == len ? len - at + 1 : 0));
            }
            text[1 + at] = '"';
            assert_int_equal(scan_exact(dyn_slice(text, len + 2), 0, NULL, &error), -1);
            assert_int_equal(error.offset, at + 2);
        }
    }
}

static void
the_value_is_given_without_the_space_around_it(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum json_type type;
        const char *raw;
    } cases[] = {
        {" null ", JSON_NULL, "null"},    {"\ttrue\n", JSON_TRUE, "true"},
        {"false", JSON_FALSE, "false"},   {" -1.5e3 ", JSON_NUMBER, "-1.5e3"},
        {"7", JSON_NUMBER, "7"},          {" \"a b\" ", JSON_STRING, "\"a b\""},
        {" [ 1 ] ", JSON_ARRAY, "[ 1 ]"}, {" {\"a\":1 } ", JSON_OBJECT, "{\"a\":1 }"},
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(cases); i++) {
        struct json_value value;
        assert_int_equal(json_scan(dyn_slice_str(cases[i].text), 5, &value, NULL), 0);
        assert_int_equal(value.type, cases[i].type);
        assert_true(dyn_slice_is(value.raw, cases[i].raw));
    }
    assert_int_equal(json_scan((struct dyn_slice){NULL, 0}, 5, NULL, NULL), -1);
}

static void
one_string_and_nothing_else(void **state)
{
    (void)state;
    static const struct {
        struct dyn_slice text;
        bool is_one;
    } cases[] = {
        {DYN_SLICE_INIT("\"\""), true},
        {DYN_SLICE_INIT("\"a longer one, of more than sixteen bytes\""), true},
        {DYN_SLICE_INIT("\"\\\"\\u00e9 \xC3\xA9\""), true},
        {DYN_SLICE_INIT("\""), false},
        {DYN_SLICE_INIT("\"a\\\""), false},
        {DYN_SLICE_INIT("\"a\"b\""), false},
        {DYN_SLICE_INIT("\"a\" "), false},
        {DYN_SLICE_INIT(" \"a\""), false},
        {DYN_SLICE_INIT("\"\xC3\""), false},
        {DYN_SLICE_INIT("\"\n\""), false},
        {DYN_SLICE_INIT("12"), false},
        {{NULL, 0}, false},
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(cases); i++) {
        assert_int_equal(json_scan_string(cases[i].text), cases[i].is_one);
    }
}

/* `depth` containers around `inner`; objects and arrays in turn when mixed. */
static void
write_nested(struct dyn_buf *out, unsigned depth, bool mixed, const char *inner)
{
    for (unsigned i = 0; i < depth; i++) {
        dyn_buf_add_str(out, mixed && i % 3 == 1 ? "{\"k\":" : "[");
    }
    dyn_buf_add_str(out, inner);
    for (unsigned i = depth; i-- > 0;) {
        dyn_buf_add_char(out, mixed && i % 3 == 1 ? '}' : ']');
    }
}

static int
scan_nested(unsigned depth, bool mixed, const char *inner, unsigned max_depth, struct json_error *error)
{
    struct dyn_buf text = DYN_BUF_INIT;
    write_nested(&text, depth, mixed, inner);
    int outcome = scan_exact(dyn_buf_slice(&text), max_depth, NULL, error);
    dyn_buf_fini(&text);
    return outcome;
}

static void
depth_is_limited_exactly(void **state)
{
    (void)state;
    struct json_error error;
    assert_int_equal(scan_nested(0, false, "1", 0, &error), 0);
    assert_int_equal(scan_nested(1, false, "1", 0, &error), -1);
    assert_int_equal(scan_nested(1, false, "", 1, &error), 0);
    for (unsigned max = 1; max <= JSON_DEPTH_MAX; max += max < 140 ? 1 : 43) {
        for (int mixed = 0; mixed < 2; mixed++) {
            assert_int_equal(scan_nested(max, mixed, "1", max, &error), 0);
            assert_int_equal(scan_nested(max + 1, mixed, "1", max, &error), -1);
            assert_string_equal(error.what, "nested too deeply");
        }
    }
    assert_int_equal(scan_nested(JSON_DEPTH_MAX, true, "{}", JSON_DEPTH_MAX, &error), -1);
    assert_int_equal(scan_nested(JSON_DEPTH_MAX, true, "null", UINT32_MAX, &error), 0);
    assert_int_equal(scan_nested(JSON_DEPTH_MAX + 1, true, "null", UINT32_MAX, &error), -1);
    assert_int_equal(scan_nested(1000000, false, "", JSON_DEPTH_DEFAULT, &error), -1);
    assert_int_equal(error.offset, JSON_DEPTH_DEFAULT);
}

/* Closing brackets of the wrong kind are seen at every level, beyond the 64 of one word too. */
static void
brackets_must_match_at_every_level(void **state)
{
    (void)state;
    for (unsigned depth = 1; depth < 200; depth++) {
        struct dyn_buf text = DYN_BUF_INIT;
        write_nested(&text, 200, true, "0");
        char *closing = text.data + text.len - depth;
        *closing = *closing == ']' ? '}' : ']';
        struct json_error error;
        assert_int_equal(json_scan(dyn_buf_slice(&text), 200, NULL, &error), -1);
        assert_int_equal(error.offset, text.len - depth);
        dyn_buf_fini(&text);
    }
}

struct seen {
    struct dyn_buf text;
    int stop_at; /* the member for which 7 is returned; -1: none */
    int n;
};

static int
note_member(void *self, const struct json_member *member)
{
    struct seen *seen = self;
    dyn_buf_add_slice(&seen->text, member->key);
    dyn_buf_addf(&seen->text, "%s%d=", member->key_is_escaped ? "!" : "", (int)member->value.type);
    dyn_buf_add_slice(&seen->text, member->value.raw);
    dyn_buf_add_char(&seen->text, ';');
    return seen->n++ == seen->stop_at ? 7 : 0;
}

static int
scan_members(const char *text, struct seen *seen, struct json_error *error)
{
    return json_scan_object(dyn_slice_str(text), 10, note_member, seen, error);
}

static void
members_come_in_order_with_their_values(void **state)
{
    (void)state;
    struct seen seen = {.text = DYN_BUF_INIT, .stop_at = -1};
    struct json_error error;
    assert_int_equal(scan_members(" { \"b\" : [1, {\"x\":\"]\"}] , \"a\\n\":\"v\",\"\":null,\"t\":true ,"
                                  "\"f\":false,\"n\":-1.0,\"o\":{ } } ",
                                  &seen, &error),
                     0);
    assert_string_equal(dyn_buf_cstr(&seen.text),
                        "b5=[1, {\"x\":\"]\"}];a\\n!4=\"v\";0=null;t2=true;f1=false;"
                        "n3=-1.0;o6={ };");
    dyn_buf_clear(&seen.text);
    assert_int_equal(scan_members("{}", &seen, &error), 0);
    assert_int_equal(scan_members("{ \n }", &seen, NULL), 0);
    assert_int_equal(seen.text.len, 0);
    dyn_buf_fini(&seen.text);
}

static void
what_the_callback_returns_stops_the_scan(void **state)
{
    (void)state;
    struct seen seen = {.text = DYN_BUF_INIT, .stop_at = 1};
    struct json_error error = {"untouched", 0};
    assert_int_equal(scan_members("{\"a\":1,\"b\":2,\"c\":3} trailing", &seen, &error), 7);
    assert_string_equal(dyn_buf_cstr(&seen.text), "a3=1;b3=2;");
    assert_string_equal(error.what, "untouched");
    dyn_buf_fini(&seen.text);
}

static const struct {
    const char *text;
    const char *seen;
    const char *what;
    size_t offset;
} bad_objects[] = {
    {"", "", "unexpected end of text", 0},
    {"[]", "", "expected an object", 0},
    {" 1", "", "expected an object", 1},
    {"null", "", "expected an object", 0},
    {"{", "", "unexpected end of text", 1},
    {"{\"a\":1", "a3=1;", "unexpected end of text", 6},
    {"{\"a\":1,", "a3=1;", "unexpected end of text", 7},
    {"{\"a\":1,}", "a3=1;", "expected a key in quotes", 7},
    {"{\"a\":1 \"b\":2}", "a3=1;", "expected ',' or '}'", 7},
    {"{\"a\":1]", "a3=1;", "expected ',' or '}'", 6},
    {"{\"a\":1}}", "a3=1;", "data after the value", 7},
    {"{\"a\":1} {}", "a3=1;", "data after the value", 8},
    {"{\"a\" 1}", "", "expected ':'", 5},
    {"{\"a\":tru}", "", "expected a value", 5},
    {"{\"a\":[1,2}}", "", "expected ',' or ']'", 9},
    {"{\"a\":[[[[[[[[[[0]]]]]]]]]]}", "", "nested too deeply", 14},
    {"{\"a\":1,\"b\":2,\"a\":3}", "a3=1;b3=2;", "duplicate key", 13},
    {"{\"a\":1,\"\\u0061\":3}", "a3=1;", "duplicate key", 7},
    {"{\"\\u0061b\":1,\"a\\u0062\":3}", "\\u0061b!3=1;", "duplicate key", 13},
    {"{\"\\/\":1,\"/\":3}", "\\/!3=1;", "duplicate key", 8},
    {"{\"\":1,\"\":3}", "3=1;", "duplicate key", 6},
    {"{\"\xf0\x9f\x98\x80\":1,\"\\ud83d\\ude00\":3}",
     "\xf0\x9f\x98\x80"
     "3=1;",
     "duplicate key", 10},
};

static void
bad_objects_give_what_came_before(void **state)
{
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(bad_objects); i++) {
        struct seen seen = {.text = DYN_BUF_INIT, .stop_at = -1};
        struct json_error error = {"accepted", 0};
        assert_int_equal(scan_members(bad_objects[i].text, &seen, &error), -1);
        assert_string_equal(dyn_buf_cstr(&seen.text), bad_objects[i].seen);
        assert_string_equal(error.what, bad_objects[i].what);
        assert_int_equal(error.offset, bad_objects[i].offset);
        assert_int_equal(scan_members(bad_objects[i].text, &seen, NULL), -1);
        dyn_buf_fini(&seen.text);
    }
    struct json_error error;
    assert_int_equal(json_scan_object(DYN_SLICE("{}"), 0, note_member, NULL, &error), -1);
    assert_string_equal(error.what, "nested too deeply");
}

static void
different_keys_and_nested_repeats_are_fine(void **state)
{
    (void)state;
    struct seen seen = {.text = DYN_BUF_INIT, .stop_at = -1};
    assert_int_equal(scan_members("{\"a\":{\"x\":1,\"x\":2},\"A\":1,\"a \":1,\"\\u0041 \":1,\"ab\":1,\"\":0,"
                                  "\"12345678\":1,\"123456781\":1,\"1234567\":1}",
                                  &seen, NULL),
                     0);
    assert_int_equal(seen.n, 9);
    dyn_buf_fini(&seen.text);
}

static int
count_member(void *self, const struct json_member *member)
{
    (void)member;
    ++*(unsigned *)self;
    return 0;
}

/* Escaped keys in between, so that decoded copies move with the table. */
static void
write_members(struct dyn_buf *out, unsigned n)
{
    dyn_buf_add_char(out, '{');
    for (unsigned i = 0; i < n; i++) {
        dyn_buf_addf(out, "%s\"%sk%u\":%u", i ? "," : "", i % 5 == 0 ? "\\u0061" : "", i, i);
    }
}

static void
many_members_are_counted_and_limited(void **state)
{
    (void)state;
    static const unsigned counts[] = {15, 16, 17, 33, 1000, JSON_MEMBERS_MAX, JSON_MEMBERS_MAX + 1, 100000};
    for (size_t i = 0; i < DYN_ARRAY_LEN(counts); i++) {
        struct dyn_buf text = DYN_BUF_INIT;
        write_members(&text, counts[i]);
        dyn_buf_add_char(&text, '}');
        unsigned n = 0;
        struct json_error error = {"", 0};
        int outcome = json_scan_object(dyn_buf_slice(&text), 10, count_member, &n, &error);
        bool fits = counts[i] <= JSON_MEMBERS_MAX;
        assert_int_equal(outcome, fits ? 0 : -1);
        assert_int_equal(n, fits ? counts[i] : JSON_MEMBERS_MAX);
        assert_string_equal(error.what, fits ? "" : "too many members");
        dyn_buf_fini(&text);
    }
}

static void
a_duplicate_is_found_among_many(void **state)
{
    (void)state;
    static const char *const repeats[] = {"\"k1\"", "\"ak0\"", "\"\\u0061k995\"", "\"k999\"", "\"k\\u0031\""};
    for (size_t i = 0; i < DYN_ARRAY_LEN(repeats); i++) {
        struct dyn_buf text = DYN_BUF_INIT;
        write_members(&text, 1000);
        dyn_buf_addf(&text, ",%s:0}", repeats[i]);
        unsigned n = 0;
        struct json_error error = {"", 0};
        assert_int_equal(json_scan_object(dyn_buf_slice(&text), 10, count_member, &n, &error), -1);
        assert_int_equal(n, 1000);
        assert_string_equal(error.what, "duplicate key");
        dyn_buf_fini(&text);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_what_the_grammar_allows),
        cmocka_unit_test(refuses_the_rest_and_says_where),
        cmocka_unit_test(every_byte_of_a_string_is_looked_at),
        cmocka_unit_test(the_value_is_given_without_the_space_around_it),
        cmocka_unit_test(depth_is_limited_exactly),
        cmocka_unit_test(brackets_must_match_at_every_level),
        cmocka_unit_test(members_come_in_order_with_their_values),
        cmocka_unit_test(what_the_callback_returns_stops_the_scan),
        cmocka_unit_test(bad_objects_give_what_came_before),
        cmocka_unit_test(different_keys_and_nested_repeats_are_fine),
        cmocka_unit_test(one_string_and_nothing_else),
        cmocka_unit_test(many_members_are_counted_and_limited),
        cmocka_unit_test(a_duplicate_is_found_among_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
