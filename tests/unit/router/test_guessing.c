/* Who sends wrong credentials is slowed, and nobody else. */
#include "router/guessing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define SECOND UINT64_C(1000000)

static uint32_t
wait_of(guessing_t *guessing, const char *address, uint64_t now_us)
{
    return guessing_wait_s(guessing, dyn_slice_str(address), now_us);
}

static void
so_many_failures_are_let_pass(void **state)
{
    (void)state;
    guessing_t *guessing = guessing_new(10, 60 * SECOND);
    uint64_t now_us = 100 * SECOND;
    for (int i = 0; i < 10; i++) {
        assert_int_equal(wait_of(guessing, "192.0.2.1:1", now_us), 0);
        guessing_failed(guessing, DYN_SLICE("192.0.2.1:1"), now_us);
    }
    assert_int_equal(wait_of(guessing, "192.0.2.1:1", now_us), 6);
    assert_int_equal(wait_of(guessing, "192.0.2.1:9999", now_us), 6); /* another port is no other address */
    assert_int_equal(wait_of(guessing, "192.0.2.2:1", now_us), 0);
    assert_int_equal(wait_of(guessing, "192.0.2.1:1", now_us + 6 * SECOND), 0);
    guessing_failed(guessing, DYN_SLICE("192.0.2.1:1"), now_us + 6 * SECOND);
    assert_int_equal(wait_of(guessing, "192.0.2.1:1", now_us + 6 * SECOND), 6);
    assert_int_equal(wait_of(guessing, "192.0.2.1:1", now_us + 67 * SECOND), 0);
    guessing_free(&guessing);
}

/* However long somebody goes on, the wait is never longer than for one more failure. */
static void
who_goes_on_does_not_wait_for_ever(void **state)
{
    (void)state;
    guessing_t *guessing = guessing_new(3, 30 * SECOND);
    for (int i = 0; i < 1000; i++) {
        guessing_failed(guessing, DYN_SLICE("192.0.2.1:1"), SECOND);
    }
    assert_int_equal(wait_of(guessing, "192.0.2.1:1", SECOND), 10);
    assert_int_equal(wait_of(guessing, "192.0.2.1:1", 11 * SECOND), 0);
    guessing_free(&guessing);
}

static void
ipv6_is_counted_by_network(void **state)
{
    (void)state;
    guessing_t *guessing = guessing_new(1, 60 * SECOND);
    guessing_failed(guessing, DYN_SLICE("[2001:db8::1]:4711"), SECOND);
    assert_true(wait_of(guessing, "[2001:db8::ffff:1]:1", SECOND) > 0);
    assert_true(wait_of(guessing, "2001:db8::2", SECOND) > 0);
    assert_int_equal(wait_of(guessing, "[2001:db8:0:1::1]:4711", SECOND), 0);
    assert_int_equal(wait_of(guessing, "", SECOND), 0);
    assert_int_equal(wait_of(guessing, "[", SECOND), 0);
    guessing_free(&guessing);
}

/* A crowd of addresses does not make the table forget who failed most. */
static void
the_table_is_bounded(void **state)
{
    (void)state;
    guessing_t *guessing = guessing_new(20, 60 * SECOND);
    for (int i = 0; i < 20; i++) {
        guessing_failed(guessing, DYN_SLICE("192.0.2.1:1"), SECOND);
    }
    for (unsigned i = 0; i < 20 * GUESSING_ADDRESSES; i++) {
        char address[32];
        (void)snprintf(address, sizeof address, "10.%u.%u.%u:5", i >> 16 & 255, i >> 8 & 255, i & 255);
        guessing_failed(guessing, dyn_slice_str(address), SECOND);
    }
    assert_true(wait_of(guessing, "192.0.2.1:1", SECOND) > 0);
    guessing_free(&guessing);
}

static void
none_is_none(void **state)
{
    (void)state;
    guessing_t *guessing = guessing_new(0, SECOND);
    assert_null(guessing);
    guessing_failed(guessing, DYN_SLICE("192.0.2.1:1"), SECOND);
    assert_int_equal(wait_of(guessing, "192.0.2.1:1", SECOND), 0);
    guessing_free(&guessing);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(so_many_failures_are_let_pass),
        cmocka_unit_test(who_goes_on_does_not_wait_for_ever),
        cmocka_unit_test(ipv6_is_counted_by_network),
        cmocka_unit_test(the_table_is_bounded),
        cmocka_unit_test(none_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
