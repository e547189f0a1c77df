/* The circuit breaker, on a clock that the test moves. */
#include "actors/providers/breaker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define SECOND UINT64_C(1000000)
#define MS     UINT64_C(1000)
#define START  (50 * SECOND)

struct bench {
    struct breaker breaker;
    uint64_t now_us;
    uint32_t retry_ms;
};

/* The one of the documented example: threshold 2, success 1, probe 1, 1 s. */
static struct bench *
bench_of(uint32_t failures, uint32_t successes, uint32_t probes)
{
    static struct bench bench;
    bench = (struct bench){.now_us = START};
    breaker_init(&bench.breaker, &(struct breaker_config){.failure_threshold = failures,
                                                          .success_threshold = successes,
                                                          .probes_max = probes,
                                                          .open_us = SECOND});
    return &bench;
}

/* As above, and half of at least ten calls in ten seconds. */
static struct bench *
bench_with_rate(uint32_t failures)
{
    struct bench *bench = bench_of(failures, 1, 1);
    bench->breaker.config.failure_percent = 50;
    bench->breaker.config.calls_min = 10;
    bench->breaker.config.window_us = 10 * SECOND;
    return bench;
}

/* It goes out as soon as it is let in. */
static enum breaker_verdict
enter(struct bench *bench, struct breaker_permit *permit)
{
    enum breaker_verdict verdict =
        breaker_admit(&bench->breaker, bench->now_us, 5 * SECOND, permit, &bench->retry_ms);
    if (verdict != BREAKER_REFUSES) {
        breaker_begun(&bench->breaker, bench->now_us);
    }
    return verdict;
}

static bool
leave(struct bench *bench, struct breaker_permit *permit, enum breaker_outcome outcome)
{
    return breaker_settle(&bench->breaker, permit, outcome, bench->now_us);
}

static bool
call(struct bench *bench, enum breaker_outcome outcome)
{
    struct breaker_permit permit;
    assert_int_not_equal(enter(bench, &permit), BREAKER_REFUSES);
    return leave(bench, &permit, outcome);
}

static bool
refuses(struct bench *bench)
{
    struct breaker_permit permit;
    return enter(bench, &permit) == BREAKER_REFUSES;
}

/* Its place came only now: may it go out as what it was let in as? */
static bool
holds(struct bench *bench, const struct breaker_permit *permit)
{
    return breaker_holds(&bench->breaker, permit, bench->now_us, 5 * SECOND);
}

static enum health_state
state_of(const struct bench *bench)
{
    return breaker_state(&bench->breaker, bench->now_us);
}

/* fail, fail -> open; call -> 503; +1 s two concurrent calls -> one probes, one 503; probe 429 -> still
 * half-open and permit free; probe ok -> closed; success between failures resets the count. */
static void
it_does_what_the_documented_example_says(void **state)
{
    (void)state;
    struct bench *bench = bench_of(2, 1, 1);
    struct breaker_permit first, second;
    assert_false(call(bench, BREAKER_FAILURE));
    assert_true(call(bench, BREAKER_FAILURE));
    assert_int_equal(state_of(bench), HEALTH_OPEN);
    assert_true(refuses(bench));
    assert_int_equal(bench->retry_ms, 1000);
    bench->now_us += SECOND;
    assert_int_equal(enter(bench, &first), BREAKER_PROBES);
    assert_int_equal(enter(bench, &second), BREAKER_REFUSES);
    assert_false(leave(bench, &first, BREAKER_NEUTRAL)); /* 429 */
    assert_int_equal(state_of(bench), HEALTH_HALF_OPEN);
    assert_int_equal(enter(bench, &first), BREAKER_PROBES);
    assert_true(leave(bench, &first, BREAKER_SUCCESS));
    assert_int_equal(state_of(bench), HEALTH_CLOSED);
    assert_false(call(bench, BREAKER_FAILURE));
    assert_false(call(bench, BREAKER_SUCCESS));
    assert_false(call(bench, BREAKER_FAILURE));
    assert_int_equal(state_of(bench), HEALTH_CLOSED);
    assert_true(call(bench, BREAKER_FAILURE));
    breaker_fini(&bench->breaker);
}

static void
it_stays_open_to_the_microsecond(void **state)
{
    (void)state;
    struct bench *bench = bench_of(1, 1, 1);
    (void)call(bench, BREAKER_FAILURE);
    bench->now_us += SECOND - 1;
    assert_true(refuses(bench));
    assert_int_equal(bench->retry_ms, 1);
    assert_int_equal(state_of(bench), HEALTH_OPEN);
    bench->now_us += 1;
    assert_int_equal(state_of(bench), HEALTH_HALF_OPEN);
    assert_false(refuses(bench));
    breaker_fini(&bench->breaker);
}

static void
what_does_not_count_neither_opens_nor_resets(void **state)
{
    (void)state;
    struct bench *bench = bench_of(2, 1, 1);
    (void)call(bench, BREAKER_FAILURE);
    for (int i = 0; i < 100; i++) {
        assert_false(call(bench, BREAKER_NEUTRAL));
    }
    assert_int_equal(state_of(bench), HEALTH_CLOSED);
    assert_true(call(bench, BREAKER_FAILURE));
    breaker_fini(&bench->breaker);
}

static void
a_failed_probe_opens_it_again_for_the_whole_time(void **state)
{
    (void)state;
    struct bench *bench = bench_of(1, 2, 2);
    (void)call(bench, BREAKER_FAILURE);
    bench->now_us += SECOND;
    assert_false(call(bench, BREAKER_SUCCESS)); /* one of two */
    assert_true(call(bench, BREAKER_FAILURE));
    assert_int_equal(state_of(bench), HEALTH_OPEN);
    bench->now_us += SECOND - MS;
    assert_true(refuses(bench));
    bench->now_us += MS;
    assert_false(call(bench, BREAKER_SUCCESS)); /* what came before does not count */
    assert_int_equal(state_of(bench), HEALTH_HALF_OPEN);
    assert_true(call(bench, BREAKER_SUCCESS));
    assert_int_equal(state_of(bench), HEALTH_CLOSED);
    breaker_fini(&bench->breaker);
}

static void
as_many_probes_as_configured_are_under_way(void **state)
{
    (void)state;
    struct bench *bench = bench_of(1, 5, 3);
    struct breaker_permit permits[3];
    (void)call(bench, BREAKER_FAILURE);
    bench->now_us += SECOND;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(enter(bench, &permits[i]), BREAKER_PROBES);
    }
    assert_true(refuses(bench));
    assert_true(bench->retry_ms > 0);
    (void)leave(bench, &permits[1], BREAKER_SUCCESS);
    assert_int_equal(enter(bench, &permits[1]), BREAKER_PROBES);
    assert_true(refuses(bench));
    breaker_fini(&bench->breaker);
}

static void
a_probe_that_never_ends_is_given_up(void **state)
{
    (void)state;
    struct bench *bench = bench_of(1, 1, 1);
    struct breaker_permit lost, next;
    (void)call(bench, BREAKER_FAILURE);
    bench->now_us += SECOND;
    assert_int_equal(enter(bench, &lost), BREAKER_PROBES);
    bench->now_us += 5 * SECOND - 1;
    assert_true(refuses(bench));
    bench->now_us += 1;
    assert_int_equal(enter(bench, &next), BREAKER_PROBES);
    assert_false(leave(bench, &lost, BREAKER_NEUTRAL)); /* gives back nothing that is another's */
    assert_true(refuses(bench));
    assert_true(leave(bench, &next, BREAKER_SUCCESS));
    breaker_fini(&bench->breaker);
}

/* ---- with a failure rate ---- */

static void
call_often(struct bench *bench, unsigned times, enum breaker_outcome outcome)
{
    for (unsigned i = 0; i < times; i++) {
        (void)call(bench, outcome);
    }
}

/* Neither alone: five in a row of many that go well, nor half of them with a success in between. */
static void
in_a_row_and_often_enough_open_it(void **state)
{
    (void)state;
    struct bench *bench = bench_with_rate(3);
    call_often(bench, 10, BREAKER_SUCCESS);
    call_often(bench, 9, BREAKER_FAILURE); /* 9 of 19 */
    assert_int_equal(state_of(bench), HEALTH_CLOSED);
    call_often(bench, 1, BREAKER_SUCCESS);
    call_often(bench, 2, BREAKER_FAILURE); /* 11 of 22, two in a row */
    assert_int_equal(state_of(bench), HEALTH_CLOSED);
    assert_true(call(bench, BREAKER_FAILURE));
    assert_int_equal(state_of(bench), HEALTH_OPEN);
    breaker_fini(&bench->breaker);
}

static void
few_calls_do_not_open_it(void **state)
{
    (void)state;
    struct bench *bench = bench_with_rate(3);
    call_often(bench, 9, BREAKER_FAILURE);
    assert_int_equal(state_of(bench), HEALTH_CLOSED);
    bench->now_us += 10 * SECOND; /* nine more, and the former are out of the window */
    call_often(bench, 9, BREAKER_FAILURE);
    assert_int_equal(state_of(bench), HEALTH_CLOSED);
    assert_true(call(bench, BREAKER_FAILURE));
    breaker_fini(&bench->breaker);
}

/* Fast failures come before slow answers: those that are under way count as well. */
static void
calls_under_way_count(void **state)
{
    (void)state;
    enum { SLOW = 30 };
    struct bench *bench = bench_with_rate(3);
    struct breaker_permit slow[SLOW];
    for (unsigned i = 0; i < SLOW; i++) {
        (void)enter(bench, &slow[i]);
    }
    call_often(bench, 20, BREAKER_FAILURE); /* twenty in a row, of fifty */
    assert_int_equal(state_of(bench), HEALTH_CLOSED);
    for (unsigned i = 0; i < SLOW; i++) {
        assert_false(leave(bench, &slow[i], BREAKER_SUCCESS));
    }
    breaker_fini(&bench->breaker);
}

static void
what_is_older_than_the_window_does_not_count(void **state)
{
    (void)state;
    struct bench *bench = bench_with_rate(3);
    call_often(bench, 1000, BREAKER_SUCCESS);
    for (unsigned second = 0; second < 9; second++) {
        bench->now_us += SECOND;
        call_often(bench, 2, BREAKER_FAILURE);
        assert_int_equal(state_of(bench), HEALTH_CLOSED);
    }
    bench->now_us += SECOND; /* the successes are out */
    assert_true(call(bench, BREAKER_FAILURE));
    breaker_fini(&bench->breaker);
}

/* It closes with nothing counted: the failures that opened it do not open it again. */
static void
forgets_what_was_before(uint64_t now_us)
{
    struct bench *bench = bench_with_rate(3);
    bench->now_us = now_us;
    call_often(bench, 10, BREAKER_FAILURE);
    assert_int_equal(state_of(bench), HEALTH_OPEN);
    bench->now_us += SECOND;
    assert_true(call(bench, BREAKER_SUCCESS));
    call_often(bench, 9, BREAKER_FAILURE);
    assert_int_equal(state_of(bench), HEALTH_CLOSED);
    assert_true(call(bench, BREAKER_FAILURE));
    breaker_fini(&bench->breaker);
}

static void
what_was_before_it_opened_is_forgotten(void **state)
{
    (void)state;
    forgets_what_was_before(START);
    forgets_what_was_before(SECOND / 2); /* the clock of a machine that has just begun */
}

/* ---- probes that wait ---- */

/* A probe that had to wait for so long that another one took its place is none any more. */
static void
a_probe_that_lost_its_place_does_not_go_out(void **state)
{
    (void)state;
    struct bench *bench = bench_of(1, 1, 1);
    struct breaker_permit late, next;
    (void)call(bench, BREAKER_FAILURE);
    bench->now_us += SECOND;
    assert_int_equal(enter(bench, &late), BREAKER_PROBES);
    bench->now_us += 5 * SECOND;
    assert_int_equal(enter(bench, &next), BREAKER_PROBES);
    assert_false(holds(bench, &late));
    assert_true(holds(bench, &next));
    assert_false(leave(bench, &late, BREAKER_NEUTRAL)); /* and it takes nothing along */
    assert_true(refuses(bench));
    assert_true(leave(bench, &next, BREAKER_SUCCESS));
    breaker_fini(&bench->breaker);
}

/* Its time counts from when it goes out, not from when it began to wait. */
static void
a_probe_that_waited_has_its_whole_time(void **state)
{
    (void)state;
    struct bench *bench = bench_of(1, 1, 1);
    struct breaker_permit probe;
    (void)call(bench, BREAKER_FAILURE);
    bench->now_us += SECOND;
    assert_int_equal(enter(bench, &probe), BREAKER_PROBES);
    bench->now_us += 5 * SECOND; /* nobody else came */
    assert_true(holds(bench, &probe));
    bench->now_us += 5 * SECOND - 1;
    assert_true(refuses(bench));
    bench->now_us += 1;
    assert_false(refuses(bench));
    breaker_fini(&bench->breaker);
}

/* Calls from before say nothing about how it is now. */
static void
outcomes_of_calls_from_before_are_ignored(void **state)
{
    (void)state;
    struct bench *bench = bench_of(1, 1, 1);
    struct breaker_permit slow_good, slow_bad;
    (void)enter(bench, &slow_good);
    (void)enter(bench, &slow_bad);
    assert_true(holds(bench, &slow_bad));
    (void)call(bench, BREAKER_FAILURE);
    assert_false(holds(bench, &slow_bad));
    assert_false(leave(bench, &slow_good, BREAKER_SUCCESS));
    assert_int_equal(state_of(bench), HEALTH_OPEN);
    bench->now_us += SECOND;
    assert_true(call(bench, BREAKER_SUCCESS));
    assert_false(leave(bench, &slow_bad, BREAKER_FAILURE));
    assert_int_equal(state_of(bench), HEALTH_CLOSED);
    breaker_fini(&bench->breaker);
}

static void
without_a_threshold_there_is_no_breaker(void **state)
{
    (void)state;
    struct bench *bench = bench_of(0, 0, 0);
    for (int i = 0; i < 1000; i++) {
        assert_false(call(bench, BREAKER_FAILURE));
    }
    assert_int_equal(state_of(bench), HEALTH_CLOSED);
    breaker_fini(&bench->breaker);
}

/* ---- two cells ---- */

struct cell {
    struct breaker *breaker;
    uint64_t now_us;
    unsigned n_probes;
    unsigned n_opened;
};

enum { ROUNDS = 20000 };

static void *
run_cell(void *cell_)
{
    struct cell *cell = cell_;
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct breaker_permit permit;
        uint32_t retry_ms;
        cell->now_us += 100 * MS;
        enum breaker_verdict verdict =
            breaker_admit(cell->breaker, cell->now_us, 5 * SECOND, &permit, &retry_ms);
        cell->n_probes += verdict == BREAKER_PROBES;
        if (verdict == BREAKER_REFUSES) {
            assert_true(retry_ms > 0);
            continue;
        }
        enum breaker_outcome outcome = i % 7 < 3 ? BREAKER_FAILURE : BREAKER_SUCCESS;
        cell->n_opened += breaker_settle(cell->breaker, &permit, outcome, cell->now_us);
    }
    return NULL;
}

static void
two_cells_share_it(void **state)
{
    (void)state;
    struct bench *bench = bench_of(3, 2, 2);
    struct cell cells[2] = {{.breaker = &bench->breaker, .now_us = START},
                            {.breaker = &bench->breaker, .now_us = START}};
    pthread_t other;
    assert_int_equal(pthread_create(&other, NULL, run_cell, &cells[1]), 0);
    (void)run_cell(&cells[0]);
    assert_int_equal(pthread_join(other, NULL), 0);
    assert_true(cells[0].n_probes + cells[1].n_probes > 0);
    assert_true(cells[0].n_opened + cells[1].n_opened > 0);
    for (size_t i = 0; i < BREAKER_PROBES_MAX; i++) { /* every probe was given back */
        assert_int_equal(bench->breaker.leases[i].id, 0);
    }
    breaker_fini(&bench->breaker);
}

/* What one cell's calls found out keeps the other's away. */
static void
what_one_cell_opens_is_open_for_the_other(void **state)
{
    (void)state;
    struct bench *bench = bench_of(2, 1, 1);
    struct breaker_permit of_a, of_b;
    (void)enter(bench, &of_a);
    (void)enter(bench, &of_b);
    (void)leave(bench, &of_a, BREAKER_FAILURE);
    (void)leave(bench, &of_b, BREAKER_FAILURE);
    assert_true(refuses(bench));
    bench->now_us += SECOND;
    assert_int_equal(enter(bench, &of_a), BREAKER_PROBES);
    assert_int_equal(enter(bench, &of_b), BREAKER_REFUSES);
    breaker_fini(&bench->breaker);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_does_what_the_documented_example_says),
        cmocka_unit_test(it_stays_open_to_the_microsecond),
        cmocka_unit_test(what_does_not_count_neither_opens_nor_resets),
        cmocka_unit_test(a_failed_probe_opens_it_again_for_the_whole_time),
        cmocka_unit_test(as_many_probes_as_configured_are_under_way),
        cmocka_unit_test(a_probe_that_never_ends_is_given_up),
        cmocka_unit_test(in_a_row_and_often_enough_open_it),
        cmocka_unit_test(few_calls_do_not_open_it),
        cmocka_unit_test(calls_under_way_count),
        cmocka_unit_test(what_is_older_than_the_window_does_not_count),
        cmocka_unit_test(what_was_before_it_opened_is_forgotten),
        cmocka_unit_test(a_probe_that_lost_its_place_does_not_go_out),
        cmocka_unit_test(a_probe_that_waited_has_its_whole_time),
        cmocka_unit_test(outcomes_of_calls_from_before_are_ignored),
        cmocka_unit_test(without_a_threshold_there_is_no_breaker),
        cmocka_unit_test(two_cells_share_it),
        cmocka_unit_test(what_one_cell_opens_is_open_for_the_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
