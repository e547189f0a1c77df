/* How long answers take: the last hundred, sorted, and a mean that forgets. */
#include "actors/providers/latency.h"

#include "core/rand.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#define SECOND UINT64_C(1000000)
#define START  (50 * SECOND)

static struct health_view
view_of(const health_board_t *board, const char *model, uint64_t now_us)
{
    struct health_view view;
    health_view(board, dyn_slice_str(model), now_us, &view);
    return view;
}

static int
compare(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a;
    uint32_t right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

/* Against the plain way: keep the last hundred and sort them each time. */
static void
a_window_is_the_last_hundred_sorted(void **state)
{
    (void)state;
    struct latency_window window = {.n = 0};
    struct dyn_rng rng;
    uint32_t all[1000];
    dyn_rng_seed(&rng, 20);
    for (uint32_t i = 0; i < DYN_ARRAY_LEN(all); i++) {
        uint32_t sorted[LATENCY_SAMPLES];
        all[i] = (uint32_t)dyn_rng_below(&rng, 50); /* many equal ones */
        latency_window_add(&window, all[i]);
        uint32_t n = i + 1 < LATENCY_SAMPLES ? i + 1 : LATENCY_SAMPLES;
        memcpy(sorted, &all[i + 1 - n], n * sizeof sorted[0]);
        qsort(sorted, n, sizeof sorted[0], compare);
        assert_int_equal(window.n, n);
        assert_memory_equal(window.sorted, sorted, n * sizeof sorted[0]);
        assert_int_equal(latency_window_at(&window, 50), sorted[n / 2]);
    }
}

static void
first_token_and_total_are_kept_apart_by_model(void **state)
{
    (void)state;
    health_board_t *board = health_board_new();
    struct latency latency;
    latency_init(&latency, board);
    latency_add(&latency, DYN_SLICE("gpt"), 100, 9000, START);
    latency_add(&latency, DYN_SLICE("gpt"), 0, 5000, START); /* no stream */
    latency_add(&latency, DYN_SLICE("mini"), 50, 700, START);
    assert_int_equal(view_of(board, "gpt", START).ttft_us, 100);
    assert_int_equal(view_of(board, "gpt", START).total_us, 9000);
    assert_int_equal(view_of(board, "gpt", START).samples, 2);
    assert_int_equal(view_of(board, "mini", START).ttft_us, 50);
    assert_int_equal(view_of(board, "mini", START).total_us, 700);
    assert_int_equal(view_of(board, "other", START).samples, 0);
    latency_fini(&latency);
    health_board_unref(&board);
}

static void
the_95th_percentile_is_what_one_in_twenty_takes_longer_than(void **state)
{
    (void)state;
    health_board_t *board = health_board_new();
    struct latency latency;
    latency_init(&latency, board);
    for (unsigned i = 1; i <= 100; i++) {
        latency_add(&latency, DYN_SLICE("gpt"), i * 10, i * 100, START);
    }
    assert_int_equal(view_of(board, "gpt", START).ttft_p95_us, 960);
    assert_int_equal(view_of(board, "gpt", START).ttft_us, 510);
    latency_fini(&latency);
    health_board_unref(&board);
}

/* A minute ago counts less than now, whatever the number of samples. */
static void
the_mean_follows_what_is_new(void **state)
{
    (void)state;
    health_board_t *board = health_board_new();
    struct latency latency;
    latency_init(&latency, board);
    for (unsigned i = 0; i < 1000; i++) {
        latency_add(&latency, DYN_SLICE("gpt"), 0, 1000, START + i);
    }
    assert_in_range(view_of(board, "gpt", START + 1000).ewma_us, 990, 1000);
    latency_add(&latency, DYN_SLICE("gpt"), 0, 100000, START + 1000);
    assert_in_range(view_of(board, "gpt", START + 1000).ewma_us, 990, 1100); /* one in a burst is noise */
    latency_add(&latency, DYN_SLICE("gpt"), 0, 100000, START + 60 * SECOND);
    assert_in_range(view_of(board, "gpt", START + 60 * SECOND).ewma_us, 80000, 100000);
    assert_int_equal(view_of(board, "gpt", START + 60 * SECOND).total_us,
                     1000); /* the median does not care */
    latency_fini(&latency);
    health_board_unref(&board);
}

static void
more_than_an_hour_is_still_a_number(void **state)
{
    (void)state;
    health_board_t *board = health_board_new();
    struct latency latency;
    latency_init(&latency, board);
    latency_add(&latency, DYN_SLICE("gpt"), UINT64_C(1) << 40, UINT64_C(1) << 41, START);
    assert_int_equal(view_of(board, "gpt", START).ttft_us, UINT32_MAX);
    assert_int_equal(view_of(board, "gpt", START).total_us, UINT32_MAX);
    latency_fini(&latency);
    health_board_unref(&board);
}

static void *
run_cell(void *latency)
{
    for (unsigned i = 1; i <= 20000; i++) {
        latency_add(latency, i % 2 == 0 ? DYN_SLICE("gpt") : DYN_SLICE("mini"), 10 + i % 10, 100 + i % 10,
                    START + i);
    }
    return NULL;
}

static void
two_cells_share_it(void **state)
{
    (void)state;
    health_board_t *board = health_board_new();
    struct latency latency;
    pthread_t other;
    latency_init(&latency, board);
    assert_int_equal(pthread_create(&other, NULL, run_cell, &latency), 0);
    (void)run_cell(&latency);
    assert_int_equal(pthread_join(other, NULL), 0);
    assert_int_equal(view_of(board, "gpt", START).samples, LATENCY_SAMPLES);
    assert_in_range(view_of(board, "gpt", START).ttft_us, 10, 19);
    assert_in_range(view_of(board, "mini", START).total_us, 100, 109);
    latency_fini(&latency);
    health_board_unref(&board);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_window_is_the_last_hundred_sorted),
        cmocka_unit_test(first_token_and_total_are_kept_apart_by_model),
        cmocka_unit_test(the_95th_percentile_is_what_one_in_twenty_takes_longer_than),
        cmocka_unit_test(the_mean_follows_what_is_new),
        cmocka_unit_test(more_than_an_hour_is_still_a_number),
        cmocka_unit_test(two_cells_share_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
