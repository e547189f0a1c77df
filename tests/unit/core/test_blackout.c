/* Secrets do not reach what is kept: not through the place where a text is cut, and not behind escapes. */
#include "core/blackout.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define KEY "sk-AbCdEfGhIjKlMnOpQrStUvWxYz0123456789abcd"

static blackout_t *blackout;

static int
set_up(void **state)
{
    struct dyn_err err;
    (void)state;
    blackout = blackout_new(&err);
    return blackout != NULL ? 0 : -1;
}

static int
tear_down(void **state)
{
    (void)state;
    blackout_free(&blackout);
    return 0;
}

static void
becomes(const char *text, const char *expected)
{
    struct dyn_buf out = DYN_BUF_INIT;
    blackout_write(blackout, dyn_slice_str(text), UINT64_MAX, &out);
    assert_string_equal(dyn_buf_cstr(&out), expected);
    dyn_buf_fini(&out);
}

static void
forms_of_secrets(void **state)
{
    (void)state;
    becomes("nothing to hide \xc3\xa4", "nothing to hide \xc3\xa4");
    becomes("key " KEY ", ok", "key [REDACTED], ok");
    becomes("Bearer abcdefghijklmnop", "[REDACTED]");
    becomes("https://user:word@host/", "[REDACTED]host/");
    becomes("mail someone@example.com!", "mail [REDACTED]!");
    becomes("a\xff", "[NOT INSPECTED]");
}

static void
escapes_hide_nothing(void **state)
{
    (void)state;
    becomes("{\"a\":\"\\u0073k-AbCdEfGhIjKlMnOpQrStUvWxYz\"}", "{\"a\":\"[REDACTED]\"}");
    becomes("{\"a\":\"user\\u0040example.com\"}", "{\"a\":\"[REDACTED]\"}");
    becomes("{\"a\":\"Bearer\\u0020abcdefghijklmnop\"}", "{\"a\":\"[REDACTED]\"}");
    becomes("{\"a\":\"line\\n" KEY "\\nnext\"}", "{\"a\":\"line\\n[REDACTED]\\nnext\"}");
    becomes("{\"arguments\":\"{\\\"a\\\":\\\"line\\\\n" KEY "\\\"}\"}",
            "{\"arguments\":\"{\\\"a\\\":\\\"line\\\\n[REDACTED]\\\"}\"}");
    becomes("{\"a\":\"\\u00e4 stays \\ud83d\\ude00\"}", "{\"a\":\"\\u00e4 stays \\ud83d\\ude00\"}");
}

/* Whatever part of a secret stands before the cut, none of it is kept; the rest of the text is. */
static void
a_cut_shows_no_part_of_a_secret(void **state)
{
    (void)state;
    static const char pem[] =
        "-----BEGIN PRIVATE KEY-----\\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ\\n-----END PRIVATE "
        "KEY-----";
    static const char *const secrets[] = {
        KEY,
        "someone.somewhere@example.com",
        pem,
    };
    enum { KEPT = 256 };
    for (size_t i = 0; i < DYN_ARRAY_LEN(secrets); i++) {
        size_t len = strlen(secrets[i]);
        for (size_t before = KEPT - len - 2; before < KEPT; before++) {
            struct dyn_buf text = DYN_BUF_INIT, out = DYN_BUF_INIT;
            for (size_t k = 0; k < before; k++) {
                dyn_buf_add_char(&text, k % 2 == 0 ? ' ' : '.');
            }
            dyn_buf_addf(&text, " %s and what follows it", secrets[i]);
            blackout_write(blackout, dyn_buf_slice(&text), KEPT, &out);
            assert_int_equal(memcmp(out.data, text.data, before), 0);
            assert_in_range(out.len, before, KEPT + sizeof "[REDACTED]");
            bool shows = before + 1 < KEPT;
            assert_true(shows == (strstr(dyn_buf_cstr(&out), " [REDACTED]") != NULL));
            dyn_buf_fini(&text);
            dyn_buf_fini(&out);
        }
    }
}

static void
a_cut_is_between_characters(void **state)
{
    (void)state;
    struct dyn_buf out = DYN_BUF_INIT;
    blackout_write(blackout, DYN_SLICE("ab\xc3\xa4z"), 3, &out);
    assert_string_equal(dyn_buf_cstr(&out), "ab");
    dyn_buf_fini(&out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forms_of_secrets),
        cmocka_unit_test(escapes_hide_nothing),
        cmocka_unit_test(a_cut_shows_no_part_of_a_secret),
        cmocka_unit_test(a_cut_is_between_characters),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
