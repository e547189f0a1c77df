/* The growing buffer: what is written is there, and past the limit nothing is. */
#include "core/buf.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void
assert_holds(const struct dyn_buf *buf, const char *text)
{
    assert_int_equal(buf->len, strlen(text));
    assert_memory_equal(buf->data, text, buf->len);
}

static void
writes_follow_each_other(void **state)
{
    (void)state;
    struct dyn_buf buf = DYN_BUF_INIT;
    assert_string_equal(dyn_buf_cstr(&buf), "");
    dyn_buf_add(&buf, NULL, 0);
    dyn_buf_add_slice(&buf, (struct dyn_slice){NULL, 0});
    assert_null(buf.data);
    dyn_buf_add_str(&buf, "a");
    dyn_buf_add_char(&buf, '=');
    dyn_buf_add_uint(&buf, 0);
    dyn_buf_add_char(&buf, ' ');
    dyn_buf_add_uint(&buf, UINT64_MAX);
    dyn_buf_add_slice(&buf, DYN_SLICE(";"));
    dyn_buf_addf(&buf, "%s-%d", "x", 7);
    assert_holds(&buf, "a=0 18446744073709551615;x-7");
    assert_string_equal(dyn_buf_cstr(&buf), "a=0 18446744073709551615;x-7");
    assert_int_equal(dyn_buf_slice(&buf).len, buf.len);
    dyn_buf_clear(&buf);
    assert_int_equal(buf.len, 0);
    assert_non_null(buf.data);
    dyn_buf_add_str(&buf, "again");
    assert_holds(&buf, "again");
    dyn_buf_fini(&buf);
    assert_null(buf.data);
    dyn_buf_add_str(&buf, "usable");
    assert_holds(&buf, "usable");
    dyn_buf_fini(&buf);
}

static void
grows_to_what_is_needed(void **state)
{
    (void)state;
    struct dyn_buf buf = DYN_BUF_INIT;
    for (size_t i = 0; i < 100000; i++) {
        dyn_buf_add_char(&buf, (char)('a' + i % 26));
    }
    assert_int_equal(buf.len, 100000);
    assert_true(buf.cap < 300000);
    for (size_t i = 0; i < buf.len; i++) {
        assert_int_equal(buf.data[i], 'a' + (int)(i % 26));
    }
    char *room = dyn_buf_room(&buf, 5000);
    memset(room, 'z', 5000);
    buf.len += 5000;
    assert_int_equal(buf.data[104999], 'z');
    dyn_buf_fini(&buf);
}

/* A terminator where len is cap needs one more byte, which no limit counts. */
static void
the_terminator_is_not_counted(void **state)
{
    (void)state;
    struct dyn_buf buf = DYN_BUF_INIT_LIMIT(256);
    memset(dyn_buf_room(&buf, 256), 'x', 256);
    buf.len = 256;
    assert_int_equal(buf.cap, 256);
    assert_int_equal(strlen(dyn_buf_cstr(&buf)), 256);
    assert_false(buf.failed);
    dyn_buf_fini(&buf);
}

static void
a_failure_is_sticky_until_cleared(void **state)
{
    (void)state;
    struct dyn_buf buf = DYN_BUF_INIT_LIMIT(8);
    dyn_buf_add_str(&buf, "12345678");
    assert_false(buf.failed);
    dyn_buf_add_char(&buf, '9');
    assert_true(buf.failed);
    assert_holds(&buf, "12345678");
    assert_string_equal(dyn_buf_cstr(&buf), "");
    assert_null(dyn_buf_room(&buf, 0));
    dyn_buf_clear(&buf);
    dyn_buf_add_str(&buf, "1234567");
    dyn_buf_add_str(&buf, "89");
    assert_true(buf.failed);
    dyn_buf_add_char(&buf, '8'); /* would fit, but something is missing before it */
    assert_holds(&buf, "1234567");
    dyn_buf_fini(&buf);
    assert_int_equal(buf.limit, 8);
    assert_null(dyn_buf_room(&buf, SIZE_MAX));
    dyn_buf_fini(&buf);
}

static void
formatted_text_obeys_the_limit_exactly(void **state)
{
    (void)state;
    for (size_t len = 1; len < 700; len += 7) {
        struct dyn_buf buf = DYN_BUF_INIT_LIMIT(len);
        dyn_buf_addf(&buf, "%0*d", (int)len, 5);
        assert_false(buf.failed);
        assert_int_equal(buf.len, len);
        assert_int_equal(buf.data[len - 1], '5');
        dyn_buf_clear(&buf);
        dyn_buf_addf(&buf, "%0*d", (int)len + 1, 5);
        assert_true(buf.failed);
        assert_int_equal(buf.len, 0);
        dyn_buf_addf(&buf, "%d", 1);
        assert_int_equal(buf.len, 0);
        dyn_buf_fini(&buf);
    }
}

static void
json_strings_are_quoted_and_escaped(void **state)
{
    (void)state;
    struct dyn_buf buf = DYN_BUF_INIT;
    dyn_buf_add_json_string(&buf, dyn_slice("a\"b\\c/\n\r\t\b\f\x01\x1f\x7f\0", 15));
    assert_holds(&buf, "\"a\\\"b\\\\c/\\n\\r\\t\\b\\f\\u0001\\u001f\x7f\xef\xbf\xbd\"");
    dyn_buf_clear(&buf);
    dyn_buf_add_json_string(&buf, DYN_SLICE("\xc3\xa4 \xe6\xb8\xaf \xf0\x9f\x98\x80 \xff\xe6\xb8 \xc2\x9b"));
    assert_holds(&buf, "\"\xc3\xa4 \xe6\xb8\xaf \xf0\x9f\x98\x80 "
                       "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd \\u009b\"");
    dyn_buf_clear(&buf);
    dyn_buf_add_json_string(&buf, (struct dyn_slice){NULL, 0});
    assert_holds(&buf, "\"\"");
    dyn_buf_fini(&buf);
}

static void
a_json_string_is_whole_or_not_there(void **state)
{
    (void)state;
    struct dyn_buf buf = DYN_BUF_INIT_LIMIT(6);
    dyn_buf_add_json_string(&buf, DYN_SLICE("a\nb"));
    assert_holds(&buf, "\"a\\nb\"");
    dyn_buf_clear(&buf);
    dyn_buf_add_json_string(&buf, DYN_SLICE("a\nbc"));
    assert_true(buf.failed);
    assert_int_equal(buf.len, 0);
    dyn_buf_fini(&buf);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_follow_each_other),
        cmocka_unit_test(grows_to_what_is_needed),
        cmocka_unit_test(the_terminator_is_not_counted),
        cmocka_unit_test(a_failure_is_sticky_until_cleared),
        cmocka_unit_test(formatted_text_obeys_the_limit_exactly),
        cmocka_unit_test(json_strings_are_quoted_and_escaped),
        cmocka_unit_test(a_json_string_is_whole_or_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
