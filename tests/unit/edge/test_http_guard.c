/* Tokens and values are looked at eight bytes at a time: each byte counts wherever it stands. */
#include "edge/http_guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { LENGTHS = 34 };

/* RFC 9110 5.6.2 */
static bool
is_token_char(unsigned char c)
{
    bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    return is_letter || (c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

/* RFC 9110 5.5: visible characters, blanks, tabs, and what is above ASCII */
static bool
is_value_char(unsigned char c)
{
    return (c >= ' ' && c != 0x7f) || c == '\t';
}

static void
each_byte_at_each_place(void **state)
{
    (void)state;
    for (size_t len = 1; len < LENGTHS; len++) {
        char *text = dyn_alloc(len); /* of its exact size: nothing is read behind it */
        memset(text, 'x', len);
        for (size_t at = 0; at < len; at++) {
            for (unsigned c = 0; c < 256; c++) {
                text[at] = (char)c;
                assert_int_equal(http_is_token(dyn_slice(text, len)), is_token_char((unsigned char)c));
                assert_int_equal(http_is_value(dyn_slice(text, len)), is_value_char((unsigned char)c));
            }
            text[at] = at % 3 == 0 ? '-' : 'Z';
        }
        free(text);
    }
}

static void
nothing_is_a_value_and_no_token(void **state)
{
    (void)state;
    assert_false(http_is_token(dyn_slice(NULL, 0)));
    assert_true(http_is_value(dyn_slice(NULL, 0)));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_byte_at_each_place),
        cmocka_unit_test(nothing_is_a_value_and_no_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
