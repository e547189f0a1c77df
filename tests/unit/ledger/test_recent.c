/* Rows that were written lately are known; what a transaction has undone is not. */
#include "actors/ledger/recent.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static bool
add(recent_t *recent, unsigned number, const char *stage)
{
    char id[40];
    (void)snprintf(id, sizeof id, "%032x", number);
    return recent_add(recent, dyn_slice_str(id), dyn_slice_str(stage));
}

static void
a_row_is_new_once(void **state)
{
    (void)state;
    recent_t *recent = recent_new();
    assert_true(add(recent, 1, "after_request"));
    assert_false(add(recent, 1, "after_request"));
    assert_true(add(recent, 1, "on_error"));
    assert_true(add(recent, 2, "after_request"));
    recent_free(&recent);
}

/* A fourth of the window is known almost whole, and no row is taken for another one. */
static void
a_window_of_rows_is_known(void **state)
{
    enum { ROWS = RECENT_ROWS / 4 };
    (void)state;
    recent_t *recent = recent_new();
    unsigned known = 0;
    for (unsigned i = 0; i < ROWS; i++) {
        assert_true(add(recent, i, "after_request"));
        recent_keep(recent);
    }
    for (unsigned i = 0; i < ROWS; i++) {
        known += !add(recent, i, "after_request");
    }
    assert_in_range(known, ROWS - ROWS / 100, ROWS);
    recent_free(&recent);
}

/* A transaction that fails again and again drives nobody out. */
static void
what_was_undone_was_never_there(void **state)
{
    enum { KEPT = 1000, UNDONE = 100000 };
    (void)state;
    recent_t *recent = recent_new();
    for (unsigned i = 0; i < KEPT; i++) {
        assert_true(add(recent, i, "s"));
    }
    recent_keep(recent);
    for (unsigned round = 0; round < 5; round++) {
        for (unsigned i = KEPT; i < KEPT + UNDONE; i++) {
            assert_true(add(recent, i, "s"));
        }
        recent_undo(recent);
    }
    for (unsigned i = 0; i < KEPT; i++) {
        assert_false(add(recent, i, "s"));
    }
    recent_free(&recent);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_is_new_once),
        cmocka_unit_test(a_window_of_rows_is_known),
        cmocka_unit_test(what_was_undone_was_never_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
