/* The desk that lends limits: it answers from memory, asks the store before it lends more than was saved, and
 * goes on after a restart with what its store says may have been lent. */
#include "actors/ledger/lease_desk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define MINUTE_US UINT64_C(60000000)
#define BEGIN_US  (UINT64_C(28000000) * MINUTE_US + 1000000)

enum { JOBS_MAX = 16, NAME_BYTES = 16 };

/* A store of one row, that answers when it is told to. */
struct bench {
    struct dyn_clock clock;
    uint64_t now_us;
    struct lease_counters counters;
    lease_desk_t *desk;
    struct clerk_job *jobs[JOBS_MAX];
    size_t n_jobs;
    uint64_t block; /* the row's */
    size_t n_answers, n_rows;
    struct ledger_lease last;
    char name[NAME_BYTES];
};

static uint64_t
read_clock(void *self)
{
    return ((struct bench *)self)->now_us;
}

static bool
take_job(void *self, struct clerk_job *job)
{
    struct bench *bench = self;
    assert_true(bench->n_jobs < JOBS_MAX);
    bench->jobs[bench->n_jobs++] = job;
    return true;
}

static void
take_answer(void *self, const struct env *request, const struct ledger_message *answer)
{
    struct bench *bench = self;
    struct ledger_row row;
    (void)request;
    bench->n_answers++;
    bench->n_rows = answer->n_rows;
    for (struct mp_cursor at = mp_cursor(answer->rows); ledger_row_next(&at, &row);) {
        assert_int_equal(row.table, LEDGER_LEASE);
        bench->last = row.of.lease;
    }
}

static void
open_desk(struct bench *bench)
{
    struct lease_desk_options options = {.clock = &bench->clock,
                                         .counters = &bench->counters,
                                         .store = take_job,
                                         .answer = take_answer,
                                         .self = bench};
    bench->desk = lease_desk_new(&options);
}

static void
bench_init(struct bench *bench)
{
    *bench = (struct bench){.now_us = BEGIN_US, .name = "the name of one"};
    bench->clock = (struct dyn_clock){.mono_us = read_clock, .wall_us = read_clock, .self = bench};
    open_desk(bench);
}

static void
ask(struct bench *bench, uint64_t holder, uint64_t sequence, uint64_t wants, uint64_t limit)
{
    struct dyn_buf rows = DYN_BUF_INIT;
    struct ledger_row row = {.table = LEDGER_LEASE};
    row.of.lease = (struct ledger_lease){.name = dyn_slice(bench->name, NAME_BYTES),
                                         .holder = holder,
                                         .limit = limit,
                                         .period_us = MINUTE_US,
                                         .sequence = sequence,
                                         .wants = wants};
    ledger_row_encode(&row, &rows);
    struct ledger_message message = {.op = DYN_SLICE("lease"), .rows = dyn_buf_slice(&rows), .n_rows = 1};
    struct env *request = env_new(ENV_REQUEST);
    request->from = 7;
    request->body = ledger_message_encode(&message);
    dyn_buf_fini(&rows);
    lease_desk_ask(bench->desk, &request);
}

/* The oldest question that the store has; true: it was about loading. */
static bool
store_answers(struct bench *bench, bool ok)
{
    struct clerk_job *job = bench->jobs[0];
    struct ledger_row row;
    bool loads = dyn_slice_is(job->job.ask.op, "spend_load");
    assert_true(bench->n_jobs > 0);
    memmove(bench->jobs, bench->jobs + 1, --bench->n_jobs * sizeof bench->jobs[0]);
    for (struct mp_cursor at = mp_cursor(job->job.ask.rows); ok && ledger_row_next(&at, &row);) {
        assert_int_equal(row.of.spend.window, LEDGER_SPEND_LEASE);
        if (loads) {
            row.of.spend.block = bench->block;
        } else {
            bench->block = row.of.spend.block;
        }
        ledger_row_encode(&row, &job->job.rows);
    }
    job->job.status = 200;
    job->has_failed = !ok;
    assert_true(lease_desk_stored(bench->desk, job));
    clerk_job_free(job);
    return loads;
}

static void
bench_fini(struct bench *bench)
{
    while (bench->n_jobs > 0) {
        (void)store_answers(bench, true);
    }
    lease_desk_free(&bench->desk);
}

static void
nothing_is_lent_before_it_is_saved(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench);
    bench.now_us += MINUTE_US; /* a window that nobody was before us in */
    ask(&bench, 1, 1, 1, 160);
    assert_int_equal(bench.n_answers, 0);
    assert_int_equal(bench.n_jobs, 1);
    assert_false(store_answers(&bench, true));
    assert_int_equal(bench.n_answers, 1);
    assert_int_equal(bench.last.given, 40);
    assert_int_equal(bench.block & 0x3fffffff, 50); /* a sixteenth ahead */
    ask(&bench, 1, 2, 10, 160);                     /* 30 more than that: it has to be saved again */
    ask(&bench, 2, 1, 1, 160);
    assert_int_equal(bench.n_answers, 1);
    assert_int_equal(bench.n_jobs, 1);
    assert_false(store_answers(&bench, true));
    assert_int_equal(bench.n_jobs, 0); /* what came while it saved lay within it */
    assert_int_equal(bench.n_answers, 3);
    assert_true(bench.last.given > 0);
    bench_fini(&bench);
}

/* Rows that could not be saved are left out: who asks does so again; at last the ledger counts as lost. */
static void
a_store_that_fails_leaves_rows_out(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench);
    bench.now_us += MINUTE_US;
    ask(&bench, 1, 1, 1, 160);
    (void)store_answers(&bench, false);
    assert_int_equal(bench.n_answers, 1);
    assert_int_equal(bench.n_rows, 0);
    ask(&bench, 1, 2, 1, 160);
    (void)store_answers(&bench, true);
    assert_int_equal(bench.last.given, 40);
    bench_fini(&bench);
}

static void
a_restart_lends_the_rest(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench);
    bench.now_us += MINUTE_US;
    ask(&bench, 1, 1, 1, 160);
    (void)store_answers(&bench, true);
    lease_desk_free(&bench.desk); /* killed: what was written ahead counts as lent */
    bench.now_us += 1000000;
    open_desk(&bench);
    ask(&bench, 1, 2, 1, 160);
    assert_true(store_answers(&bench, true));
    while (bench.n_jobs > 0) {
        (void)store_answers(&bench, true);
    }
    assert_int_equal(bench.last.given, (160 - 50) / 4);
    assert_int_equal(bench.last.left, 160 - 50 - 27);
    lease_desk_close(bench.desk); /* in order: only what was */
    (void)store_answers(&bench, true);
    assert_int_equal(bench.block & 0x3fffffff, 50 + 27);
    bench_fini(&bench);
}

/* Nothing is known of it, and then it is not lent: better a minute of refusals than twice the limit. */
static void
what_cannot_be_loaded_is_not_lent(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench);
    ask(&bench, 1, 1, 1, 160);
    assert_true(store_answers(&bench, false));
    assert_int_equal(bench.n_rows, 0);
    ask(&bench, 1, 2, 1, 160);
    assert_true(store_answers(&bench, true));
    (void)store_answers(&bench, true);
    assert_int_equal(bench.last.given, 40);
    bench_fini(&bench);
}

static void
a_row_without_sense_is_left_out(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench);
    ask(&bench, 0, 1, 1, 160);
    ask(&bench, 1, 1, 1, 0);
    ask(&bench, 1, 1, 1, UINT64_C(1) << 40);
    assert_int_equal(bench.n_answers, 3);
    assert_int_equal(bench.n_rows, 0);
    assert_int_equal(bench.n_jobs, 0);
    bench_fini(&bench);
}

static void
who_is_silent_is_lost(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench);
    bench.now_us += MINUTE_US;
    ask(&bench, 1, 1, 1, 160);
    (void)store_answers(&bench, true);
    bench.now_us += LEASE_LOST_US;
    ask(&bench, 2, 1, 0, 160);
    assert_int_equal(atomic_load(&bench.counters.holders_lost), 1);
    ask(&bench, 2, 2, 0, 160);
    assert_int_equal(atomic_load(&bench.counters.holders_lost), 1);
    bench_fini(&bench);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_lent_before_it_is_saved),
        cmocka_unit_test(a_store_that_fails_leaves_rows_out),
        cmocka_unit_test(a_restart_lends_the_rest),
        cmocka_unit_test(what_cannot_be_loaded_is_not_lent),
        cmocka_unit_test(a_row_without_sense_is_left_out),
        cmocka_unit_test(who_is_silent_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
