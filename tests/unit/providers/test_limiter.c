/* Places for calls in flight, over the actors of several cells. */
#include "actors/providers/limiter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { A = 1, B = 2 };

struct bench {
    struct limiter limiter;
    struct limiter_seat a, b; /* the actors of two cells */
    struct limiter_place places[8];
};

static struct bench *
bench_of(uint32_t limit, uint32_t queue)
{
    static struct bench bench;
    bench = (struct bench){.places[0] = {.step = LIMITER_OUT}};
    limiter_init(&bench.limiter, limit, queue, health_board_new());
    limiter_seat_init(&bench.a, A);
    limiter_seat_init(&bench.b, B);
    return &bench;
}

static void
bench_free(struct bench *bench)
{
    limiter_fini(&bench->limiter);
    health_board_unref(&bench->limiter.board);
}

/* Who waits, as routers see it. */
static uint32_t
shown(const struct bench *bench)
{
    struct health_view view;
    health_view_of(bench->limiter.board, 0, 0, &view);
    return view.queued;
}

static enum limiter_verdict
take(struct bench *bench, struct limiter_seat *seat, size_t place)
{
    return limiter_take(&bench->limiter, seat, &bench->places[place]);
}

static uint32_t
leave(struct bench *bench, size_t place)
{
    return limiter_leave(&bench->limiter, &bench->places[place]);
}

static const struct limiter_place *
next(struct bench *bench, struct limiter_seat *seat)
{
    return limiter_next_given(&bench->limiter, seat);
}

static void
the_limit_then_the_queue_then_nothing(void **state)
{
    (void)state;
    struct bench *bench = bench_of(2, 1);
    assert_int_equal(take(bench, &bench->a, 0), LIMITER_TAKEN);
    assert_int_equal(take(bench, &bench->b, 1), LIMITER_TAKEN);
    assert_false(limiter_is_full(&bench->limiter));
    assert_int_equal(atomic_load(&bench->limiter.fullness_changes), 0);
    assert_int_equal(take(bench, &bench->a, 2), LIMITER_QUEUED);
    assert_true(limiter_is_full(&bench->limiter));
    assert_int_equal(atomic_load(&bench->limiter.fullness_changes), 1);
    assert_int_equal(shown(bench), 1);
    assert_int_equal(take(bench, &bench->b, 3), LIMITER_FULL);
    assert_int_equal(leave(bench, 3), 0); /* it never had a place */
    assert_int_equal(atomic_load(&bench->limiter.in_flight), 2);
    assert_int_equal(atomic_load(&bench->limiter.n_waiting), 1);
    (void)leave(bench, 2);
    assert_int_equal(atomic_load(&bench->limiter.fullness_changes), 2);
    assert_int_equal(shown(bench), 0);
    (void)leave(bench, 1);
    (void)leave(bench, 0);
    assert_int_equal(atomic_load(&bench->limiter.in_flight), 0);
    bench_free(bench);
}

/* A place that one cell frees is given to who waited longest, on the other one. */
static void
first_come_first_served_over_the_cells(void **state)
{
    (void)state;
    struct bench *bench = bench_of(1, 4);
    assert_int_equal(take(bench, &bench->a, 0), LIMITER_TAKEN);
    assert_int_equal(take(bench, &bench->b, 1), LIMITER_QUEUED);
    assert_int_equal(take(bench, &bench->a, 2), LIMITER_QUEUED);
    assert_int_equal(take(bench, &bench->b, 3), LIMITER_QUEUED);
    assert_int_equal(leave(bench, 0), B);
    assert_int_equal(atomic_load(&bench->limiter.in_flight), 1); /* given, never free */
    assert_int_equal(take(bench, &bench->a, 4), LIMITER_QUEUED); /* nobody comes in between */
    assert_ptr_equal(next(bench, &bench->b), &bench->places[1]);
    assert_null(next(bench, &bench->b));
    assert_int_equal(leave(bench, 1), A);
    assert_ptr_equal(next(bench, &bench->a), &bench->places[2]);
    assert_null(next(bench, &bench->a));
    assert_int_equal(leave(bench, 2), B);
    assert_int_equal(leave(bench, 3), A); /* given, but it has left before it heard */
    assert_null(next(bench, &bench->b));
    assert_ptr_equal(next(bench, &bench->a), &bench->places[4]);
    assert_null(next(bench, &bench->a));
    assert_int_equal(leave(bench, 4), 0);
    assert_int_equal(atomic_load(&bench->limiter.in_flight), 0);
    bench_free(bench);
}

/* One message is enough for all the places that were given until it is read. */
static void
an_actor_is_told_once(void **state)
{
    (void)state;
    struct bench *bench = bench_of(2, 4);
    (void)take(bench, &bench->a, 0);
    (void)take(bench, &bench->a, 1);
    (void)take(bench, &bench->b, 2);
    (void)take(bench, &bench->b, 3);
    assert_int_equal(leave(bench, 0), B);
    assert_int_equal(leave(bench, 1), 0);
    assert_ptr_equal(next(bench, &bench->b), &bench->places[2]);
    assert_ptr_equal(next(bench, &bench->b), &bench->places[3]);
    assert_null(next(bench, &bench->b));
    (void)take(bench, &bench->b, 4);
    assert_int_equal(leave(bench, 2), B); /* and again after it was read */
    (void)leave(bench, 4);
    (void)leave(bench, 3);
    assert_null(next(bench, &bench->b));
    assert_int_equal(atomic_load(&bench->limiter.in_flight), 0);
    bench_free(bench);
}

static void
who_gives_up_waiting_takes_no_place(void **state)
{
    (void)state;
    struct bench *bench = bench_of(1, 4);
    (void)take(bench, &bench->a, 0);
    (void)take(bench, &bench->a, 1);
    (void)take(bench, &bench->b, 2);
    assert_int_equal(leave(bench, 1), 0);
    assert_int_equal(leave(bench, 1), 0); /* twice is as good as once */
    assert_int_equal(leave(bench, 0), B);
    assert_ptr_equal(next(bench, &bench->b), &bench->places[2]);
    assert_int_equal(leave(bench, 2), 0);
    assert_int_equal(atomic_load(&bench->limiter.n_waiting), 0);
    assert_int_equal(atomic_load(&bench->limiter.in_flight), 0);
    bench_free(bench);
}

/* ---- two threads ---- */

enum { LIMIT = 3, ROUNDS = 30000, HANDS = 6 };

struct cell {
    struct bench *bench;
    struct limiter_seat *seat;
    atomic_uint *in;   /* calls that are in, of both cells */
    atomic_uint *told; /* by address */
    struct limiter_place places[HANDS];
    bool is_in[HANDS];
    unsigned n_served;
};

static void
go_in(struct cell *cell, size_t i)
{
    unsigned in = atomic_fetch_add(cell->in, 1) + 1;
    assert_true(in <= LIMIT);
    cell->is_in[i] = true;
    cell->n_served++;
}

static void
go_out(struct cell *cell, size_t i)
{
    if (cell->is_in[i]) {
        (void)atomic_fetch_sub(cell->in, 1);
        cell->is_in[i] = false;
    }
    uint32_t who = limiter_leave(&cell->bench->limiter, &cell->places[i]);
    if (who != 0) {
        (void)atomic_fetch_add(&cell->told[who], 1);
    }
}

static void
hear(struct cell *cell)
{
    struct limiter_place *place;
    if (atomic_exchange(&cell->told[cell->seat->who], 0) == 0) {
        return;
    }
    while ((place = limiter_next_given(&cell->bench->limiter, cell->seat)) != NULL) {
        go_in(cell, (size_t)(place - cell->places));
    }
}

static void *
run_cell(void *cell_)
{
    struct cell *cell = cell_;
    for (unsigned round = 0; round < ROUNDS; round++) {
        size_t i = round % HANDS;
        hear(cell);
        go_out(cell, i); /* served, or out of patience */
        if (limiter_take(&cell->bench->limiter, cell->seat, &cell->places[i]) == LIMITER_TAKEN) {
            go_in(cell, i);
        }
    }
    for (size_t i = 0; i < HANDS; i++) {
        go_out(cell, i);
    }
    return NULL;
}

static void
two_cells_never_pass_the_limit_and_lose_no_place(void **state)
{
    (void)state;
    struct bench *bench = bench_of(LIMIT, 5);
    atomic_uint in = 0;
    atomic_uint told[3] = {0};
    static struct cell cells[2];
    cells[0] = (struct cell){.bench = bench, .seat = &bench->a, .in = &in, .told = told};
    cells[1] = (struct cell){.bench = bench, .seat = &bench->b, .in = &in, .told = told};
    pthread_t other;
    assert_int_equal(pthread_create(&other, NULL, run_cell, &cells[1]), 0);
    (void)run_cell(&cells[0]);
    assert_int_equal(pthread_join(other, NULL), 0);
    assert_int_equal(atomic_load(&in), 0);
    assert_int_equal(atomic_load(&bench->limiter.in_flight), 0);
    assert_int_equal(atomic_load(&bench->limiter.n_waiting), 0);
    assert_int_equal(shown(bench), 0); /* whoever showed it last */
    assert_int_equal(atomic_load(&bench->limiter.fullness_changes) % 2, 0);
    assert_true(cells[0].n_served + cells[1].n_served > 0); /* who gets how much: the scheduler */
    bench_free(bench);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_limit_then_the_queue_then_nothing),
        cmocka_unit_test(first_come_first_served_over_the_cells),
        cmocka_unit_test(an_actor_is_told_once),
        cmocka_unit_test(who_gives_up_waiting_takes_no_place),
        cmocka_unit_test(two_cells_never_pass_the_limit_and_lose_no_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
