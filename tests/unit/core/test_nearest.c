/* A mistyped word finds the word that was meant, and an unrelated one finds none. */
#include "core/nearest.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <cmocka.h>

static const char *const words[] = {"serve", "strategy", "targets", "validate", "keys"};

static const char *
near(const char *word)
{
    return dyn_nearest(dyn_slice_str(word), words, DYN_ARRAY_LEN(words));
}

static void
finds_what_was_meant(void **state)
{
    (void)state;
    assert_string_equal(near("srve"), "serve");
    assert_string_equal(near("esrve"), "serve");
    assert_string_equal(near("strateggy"), "strategy");
    assert_string_equal(near("target"), "targets");
    assert_string_equal(near("vlaidate"), "validate");
    assert_string_equal(near("kyes"), "keys");
}

static void
names_nothing_that_is_far(void **state)
{
    (void)state;
    assert_null(near("banana"));
    assert_null(near(""));
    char long_word[200] = {0};
    memset(long_word, 's', sizeof long_word - 1);
    assert_null(near(long_word));
}

static void
the_nearest_wins(void **state)
{
    (void)state;
    static const char *const twins[] = {"listens", "listen"};
    assert_string_equal(dyn_nearest(DYN_SLICE("listen"), twins, 2), "listen");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_was_meant),
        cmocka_unit_test(names_nothing_that_is_far),
        cmocka_unit_test(the_nearest_wins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
