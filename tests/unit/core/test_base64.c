/* Base64: the vectors of RFC 4648 section 10 both ways, every length, and what is none. */
#include "core/base64.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void
the_vectors_of_the_rfc_hold(void **state)
{
    static const char *const vectors[][2] = {{"", ""},
                                             {"f", "Zg=="},
                                             {"fo", "Zm8="},
                                             {"foo", "Zm9v"},
                                             {"foob", "Zm9vYg=="},
                                             {"fooba", "Zm9vYmE="},
                                             {"foobar", "Zm9vYmFy"}};
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(vectors); i++) {
        struct dyn_buf text = DYN_BUF_INIT;
        struct dyn_buf bytes = DYN_BUF_INIT;
        dyn_base64_add(&text, dyn_slice_str(vectors[i][0]));
        assert_string_equal(dyn_buf_cstr(&text), vectors[i][1]);
        assert_int_equal(dyn_base64_decode(dyn_slice_str(vectors[i][1]), &bytes), 0);
        assert_string_equal(dyn_buf_cstr(&bytes), vectors[i][0]);
        dyn_buf_fini(&text);
        dyn_buf_fini(&bytes);
    }
}

static void
all_bytes_come_back_with_and_without_padding(void **state)
{
    char all[256];
    (void)state;
    for (size_t i = 0; i < sizeof all; i++) {
        all[i] = (char)i;
    }
    for (size_t len = 0; len <= sizeof all; len++) {
        struct dyn_slice bytes = {all + sizeof all - len, len};
        struct dyn_buf text = DYN_BUF_INIT;
        struct dyn_buf back = DYN_BUF_INIT;
        dyn_base64_add(&text, bytes);
        assert_int_equal(dyn_base64_decode(dyn_buf_slice(&text), &back), 0);
        assert_true(dyn_slice_eq(dyn_buf_slice(&back), bytes));
        while (text.len > 0 && text.data[text.len - 1] == '=') {
            text.len--;
        }
        dyn_buf_clear(&back);
        assert_int_equal(dyn_base64_decode(dyn_buf_slice(&text), &back), 0);
        assert_true(dyn_slice_eq(dyn_buf_slice(&back), bytes));
        dyn_buf_fini(&text);
        dyn_buf_fini(&back);
    }
}

static void
what_is_none_is_refused_and_leaves_nothing_behind(void **state)
{
    static const char *const wrong[] = {"Z",     "Zg=",    "Zm9v=", "Zg===", "=",           "====",  "Zm9vY",
                                        "Zm 9v", "Zm9v\n", "Zm-_",  "Zm=v",  "Z\xC3\xBC==", "Zg==Zg"};
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(wrong); i++) {
        struct dyn_buf out = DYN_BUF_INIT;
        dyn_buf_add_str(&out, "kept");
        assert_int_equal(dyn_base64_decode(dyn_slice_str(wrong[i]), &out), -1);
        assert_string_equal(dyn_buf_cstr(&out), "kept");
        dyn_buf_fini(&out);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_vectors_of_the_rfc_hold),
        cmocka_unit_test(all_bytes_come_back_with_and_without_padding),
        cmocka_unit_test(what_is_none_is_refused_and_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
