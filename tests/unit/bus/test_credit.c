/* Byte credit: what is granted can be spent once, a receiver grants again in worthwhile steps, and
 * the two ends together never stall and never overrun the window. */
#include "bus/credit.h"
#include "core/rand.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void
a_sender_spends_what_it_was_granted(void **state)
{
    (void)state;
    struct credit_sender sender = {0};
    assert_int_equal(credit_sender_take(&sender, 10), 0);
    credit_sender_grant(&sender, 100);
    assert_int_equal(credit_sender_take(&sender, 60), 60);
    assert_int_equal(credit_sender_take(&sender, 60), 40);
    assert_int_equal(credit_sender_take(&sender, 60), 0);
    assert_int_equal(credit_sender_take(&sender, 0), 0);
}

static void
a_sender_beyond_its_credit_is_found_out(void **state)
{
    (void)state;
    struct credit_receiver receiver;
    credit_receiver_init(&receiver, 100);
    assert_true(credit_receiver_arrived(&receiver, 100));
    assert_false(credit_receiver_arrived(&receiver, 1));
    assert_true(credit_receiver_arrived(&receiver, 0));
}

static void
a_grant_is_half_a_window_or_more(void **state)
{
    (void)state;
    struct credit_receiver receiver;
    credit_receiver_init(&receiver, 100);
    assert_true(credit_receiver_arrived(&receiver, 100));
    assert_int_equal(credit_receiver_consumed(&receiver, 49), 0);
    assert_int_equal(credit_receiver_consumed(&receiver, 1), 50);
    assert_int_equal(credit_receiver_consumed(&receiver, 50), 50);
    assert_int_equal(receiver.outstanding, 100);
}

static void
a_window_of_one_byte_still_moves(void **state)
{
    (void)state;
    struct credit_receiver receiver;
    credit_receiver_init(&receiver, 1);
    assert_int_equal(credit_receiver_consumed(&receiver, 0), 0);
    assert_true(credit_receiver_arrived(&receiver, 1));
    assert_int_equal(credit_receiver_consumed(&receiver, 1), 1);
}

/* More than one grant can say at once is granted over several calls, none of it lost. */
static void
a_grant_never_overflows(void **state)
{
    (void)state;
    struct credit_sender sender = {.available = 0};
    credit_sender_grant(&sender, UINT32_MAX);
    credit_sender_grant(&sender, UINT32_MAX);
    assert_int_equal(sender.available, 2ull * UINT32_MAX);
    struct credit_receiver receiver;
    credit_receiver_init(&receiver, 64);
    receiver.consumed = 0;
    assert_int_equal(credit_receiver_consumed(&receiver, (size_t)UINT32_MAX + 40), UINT32_MAX);
    assert_int_equal(credit_receiver_consumed(&receiver, 0), 40);
}

/* Random sizes at both ends: nothing overruns, nothing stalls, what is held stays within a window. */
static void
both_ends_together_neither_stall_nor_overrun(void **state)
{
    (void)state;
    enum { WINDOW = 65536, TOTAL = 50 * 1024 * 1024 };
    struct dyn_rng rng;
    dyn_rng_seed(&rng, 3);
    struct credit_sender sender = {.available = WINDOW};
    struct credit_receiver receiver;
    credit_receiver_init(&receiver, WINDOW);
    size_t sent = 0;
    size_t held = 0;
    while (sent < TOTAL) {
        size_t take = credit_sender_take(&sender, 1 + dyn_rng_below(&rng, 40000));
        assert_true(credit_receiver_arrived(&receiver, take));
        sent += take;
        held += take;
        assert_true(held <= WINDOW);
        size_t pass = dyn_rng_below(&rng, held + 1);
        if (take == 0) {
            pass = held; /* the client took all: now there must be credit again */
        }
        held -= pass;
        credit_sender_grant(&sender, credit_receiver_consumed(&receiver, pass));
        assert_true(take != 0 || sender.available > 0);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sender_spends_what_it_was_granted),
        cmocka_unit_test(a_sender_beyond_its_credit_is_found_out),
        cmocka_unit_test(a_grant_is_half_a_window_or_more),
        cmocka_unit_test(a_window_of_one_byte_still_moves),
        cmocka_unit_test(a_grant_never_overflows),
        cmocka_unit_test(both_ends_together_neither_stall_nor_overrun),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
