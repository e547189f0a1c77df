/* What a process has of a fleet's limits: asked for when somebody wants it, given up when nobody does, and
 * never more than an owner lent. The owner is the real one, without a bus between. */
#include "actors/plugins/rate_leases.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define MINUTE_US UINT64_C(60000000)
#define BEGIN_US  (UINT64_C(28000000) * MINUTE_US)

enum { LIMIT = 160, OWNER = 7 };

struct bench {
    uint64_t now_us;
    struct lease_counters counters;
    rate_leases_t *leases;
    struct lease_owner owner;
    unsigned woken;
};

static void
wake(void *cell)
{
    ((struct bench *)cell)->woken++;
}

static struct limits_now
now_of(const struct bench *bench)
{
    return (struct limits_now){.mono_us = bench->now_us, .wall_us = bench->now_us};
}

static void
bench_init(struct bench *bench, size_t entries_max, enum lease_fallback fallback)
{
    *bench = (struct bench){.now_us = BEGIN_US + 1000000};
    struct rate_leases_options options = {
        .entries_max = entries_max, .fallback = fallback, .counters = &bench->counters, .wake = wake};
    struct lease_owner_options owner = {.id = OWNER, .limit = LIMIT, .period_us = MINUTE_US};
    bench->leases = rate_leases_new(&options);
    rate_leases_join(bench->leases, bench);
    lease_owner_init(&bench->owner, &owner, true, bench->now_us);
}

static void
bench_fini(struct bench *bench)
{
    rate_leases_part(bench->leases, bench);
    rate_leases_free(&bench->leases);
    lease_owner_fini(&bench->owner);
}

static struct rate_lease *
open_one(struct bench *bench, uint64_t key)
{
    struct rate_identity identity = {.key = {key, key},
                                     .who = "key",
                                     .what = "requests",
                                     .name = DYN_SLICE("somebody"),
                                     .amount = LIMIT,
                                     .period_us = MINUTE_US};
    return rate_lease_open(bench->leases, &identity, now_of(bench));
}

/* All that is asked now goes to the owner, and its answers come back. How many were asked. */
static size_t
carry(struct bench *bench, struct dyn_buf *rows)
{
    struct dyn_buf answers = DYN_BUF_INIT;
    struct ledger_row row;
    size_t n = 0;
    for (struct mp_cursor at = mp_cursor(dyn_buf_slice(rows)); ledger_row_next(&at, &row); n++) {
        const struct ledger_lease *lease = &row.of.lease;
        struct lease_grant grant;
        struct lease_ask ask = {lease->holder, lease->owner,    lease->sequence, lease->window,
                                lease->used,   lease->returned, lease->wants,    lease->goodbye != 0};
        assert_int_equal(lease_owner_ask(&bench->owner, &ask, bench->now_us, &grant), LEASE_ANSWERED);
        row.of.lease.given = grant.given;
        row.of.lease.owner = grant.owner;
        row.of.lease.window = grant.window;
        row.of.lease.left_us = grant.left_us;
        row.of.lease.left = grant.left;
        row.of.lease.holders = grant.holders;
        row.of.lease.may_come = grant.may_come;
        row.of.lease.wanted_back = grant.is_wanted_back;
        ledger_row_encode(&row, &answers);
    }
    struct ledger_message message = {.rows = dyn_buf_slice(&answers), .n_rows = n};
    struct dyn_buf at_once = DYN_BUF_INIT;
    (void)rate_leases_take(bench->leases, &message, now_of(bench), &at_once);
    dyn_buf_fini(&at_once);
    dyn_buf_fini(&answers);
    return n;
}

static size_t
ask_all(struct bench *bench)
{
    struct dyn_buf rows = DYN_BUF_INIT;
    (void)rate_leases_collect(bench->leases, now_of(bench), &rows);
    size_t n = carry(bench, &rows);
    dyn_buf_fini(&rows);
    return n;
}

static enum lease_verdict
take(struct bench *bench, struct rate_lease *lease, uint64_t n, struct limit_take *out)
{
    return lease_holder_take(&lease->holder, out, n, now_of(bench));
}

static void
a_piece_comes_when_somebody_wants_it_and_goes_when_nobody_does(void **state)
{
    (void)state;
    struct bench bench;
    struct limit_take taken;
    bench_init(&bench, 100, LEASE_DENY);
    struct rate_lease *lease = open_one(&bench, 1);
    assert_true(rate_leases_are_idle(bench.leases));
    assert_int_equal(take(&bench, lease, 1, &taken), LEASE_WAIT);
    rate_lease_want(bench.leases, lease, 1);
    assert_int_equal(ask_all(&bench), 1);
    assert_int_equal(bench.woken, 1);
    assert_int_equal(take(&bench, lease, 1, &taken), LEASE_TAKEN);
    assert_int_equal(lease_owner_left(&bench.owner), LIMIT - LIMIT / 4);
    assert_int_equal(atomic_load(&bench.counters.granted), 1);
    rate_lease_close(bench.leases, lease);
    for (unsigned i = 0; i < 20; i++) {
        bench.now_us += 100000;
        (void)ask_all(&bench);
    }
    assert_int_equal(lease_owner_left(&bench.owner), LIMIT - 1);
    assert_true(rate_leases_are_idle(bench.leases));
    assert_int_equal(atomic_load(&bench.counters.returned), 1);
    assert_int_equal(atomic_load(&bench.counters.open), 0);
    bench_fini(&bench);
}

/* Nobody is told that somebody else may have what comes back later. */
static void
what_comes_back_late_is_returned_too(void **state)
{
    (void)state;
    struct bench bench;
    struct limit_take taken;
    struct dyn_buf rows = DYN_BUF_INIT;
    bench_init(&bench, 100, LEASE_DENY);
    struct rate_lease *lease = open_one(&bench, 1);
    rate_lease_want(bench.leases, lease, 10);
    (void)ask_all(&bench);
    assert_int_equal(take(&bench, lease, 10, &taken), LEASE_TAKEN);
    for (unsigned i = 0; i < 20; i++) {
        bench.now_us += 100000;
        (void)ask_all(&bench);
    }
    assert_true(rate_leases_are_idle(bench.leases));
    assert_int_equal(lease_owner_left(&bench.owner), LIMIT - 10);
    bucket_give_back(&taken, &dyn_clock_system);
    rate_lease_changed(bench.leases, lease, 0);
    for (unsigned i = 0; i < 3; i++) {
        bench.now_us += 300000;
        (void)ask_all(&bench);
    }
    assert_int_equal(lease_owner_left(&bench.owner), LIMIT);
    rate_lease_close(bench.leases, lease);
    dyn_buf_fini(&rows);
    bench_fini(&bench);
}

/* More tokens than were estimated, and the piece had not got them: the next piece is smaller. */
static void
what_is_owed_comes_out_of_the_next_piece(void **state)
{
    (void)state;
    struct bench bench;
    struct limit_take taken;
    bench_init(&bench, 100, LEASE_DENY);
    struct rate_lease *lease = open_one(&bench, 1);
    rate_lease_want(bench.leases, lease, 40);
    (void)ask_all(&bench);
    assert_int_equal(take(&bench, lease, 40, &taken), LEASE_TAKEN);
    uint64_t owed = bucket_settle(&taken, 65, &dyn_clock_system);
    assert_int_equal(owed, 25);
    rate_lease_changed(bench.leases, lease, owed);
    rate_lease_want(bench.leases, lease, 5);
    (void)ask_all(&bench);
    assert_int_equal(bucket_look(&lease->holder.piece, &lease->holder.spec, 0, now_of(&bench)).left, 30 - 25);
    rate_lease_close(bench.leases, lease);
    bench_fini(&bench);
}

static void
an_owner_that_is_silent_is_lost_for_all(void **state)
{
    (void)state;
    struct bench bench;
    struct limit_take taken;
    struct dyn_buf rows = DYN_BUF_INIT;
    bench_init(&bench, 100, LEASE_LOCAL_SHARE);
    struct rate_lease *lease = open_one(&bench, 1);
    rate_lease_want(bench.leases, lease, 1);
    for (unsigned i = 0; i < 25; i++) {
        bench.now_us += 100000;
        (void)rate_leases_collect(bench.leases, now_of(&bench), &rows);
    }
    assert_int_equal(atomic_load(&bench.counters.owner_lost), 1);
    assert_int_equal(take(&bench, lease, 1, &taken), LEASE_TAKEN);
    struct rate_lease *other = open_one(&bench, 2); /* that never asked */
    assert_int_equal(take(&bench, other, LIMIT, &taken), LEASE_TAKEN);
    assert_int_equal(take(&bench, other, 1, &taken), LEASE_REFUSED);
    bench.now_us += 100000;
    dyn_buf_clear(&rows);
    (void)rate_leases_collect(bench.leases, now_of(&bench), &rows);
    assert_int_equal(carry(&bench, &rows), 1); /* it is back */
    other = open_one(&bench, 2);
    assert_int_equal(take(&bench, other, 1, &taken), LEASE_WAIT);
    rate_lease_close(bench.leases, lease);
    dyn_buf_fini(&rows);
    bench_fini(&bench);
}

static void
names_are_bounded(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench, 3, LEASE_DENY);
    struct rate_lease *first = open_one(&bench, 1);
    for (uint64_t key = 2; key < 100; key++) {
        struct rate_lease *lease = open_one(&bench, key);
        assert_non_null(lease);
        rate_lease_close(bench.leases, lease);
    }
    assert_ptr_equal(open_one(&bench, 1), first);
    assert_non_null(open_one(&bench, 100));
    assert_non_null(open_one(&bench, 101));
    assert_null(open_one(&bench, 102)); /* all are open */
    bench_fini(&bench);
}

/* Rows of others, and of nobody, change nothing. */
static void
an_answer_to_somebody_else_is_left_alone(void **state)
{
    (void)state;
    struct bench bench;
    struct limit_take taken;
    struct dyn_buf rows = DYN_BUF_INIT;
    bench_init(&bench, 100, LEASE_DENY);
    struct rate_lease *lease = open_one(&bench, 1);
    rate_lease_want(bench.leases, lease, 1);
    struct ledger_row row = {.table = LEDGER_LEASE};
    for (uint64_t holder = 0; holder < 200; holder++) {
        row.of.lease = (struct ledger_lease){.name = dyn_slice(lease->name, sizeof lease->name),
                                             .holder = holder == 199 ? UINT64_MAX >> 1 : holder,
                                             .limit = LIMIT,
                                             .sequence = 1,
                                             .given = 100,
                                             .left_us = MINUTE_US};
        ledger_row_encode(&row, &rows);
    }
    struct ledger_message message = {.rows = dyn_buf_slice(&rows), .n_rows = 200};
    struct dyn_buf at_once = DYN_BUF_INIT;
    assert_int_equal(rate_leases_take(bench.leases, &message, now_of(&bench), &at_once), 0);
    dyn_buf_fini(&at_once);
    assert_int_equal(take(&bench, lease, 1, &taken), LEASE_WAIT);
    rate_lease_close(bench.leases, lease);
    dyn_buf_fini(&rows);
    bench_fini(&bench);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_piece_comes_when_somebody_wants_it_and_goes_when_nobody_does),
        cmocka_unit_test(what_comes_back_late_is_returned_too),
        cmocka_unit_test(what_is_owed_comes_out_of_the_next_piece),
        cmocka_unit_test(an_owner_that_is_silent_is_lost_for_all),
        cmocka_unit_test(names_are_bounded),
        cmocka_unit_test(an_answer_to_somebody_else_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
