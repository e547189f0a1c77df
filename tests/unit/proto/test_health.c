/* The board that says how a target is doing, and the map that carries it between processes. */
#include "proto/health.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>

#define SECOND UINT64_C(1000000)

static struct health_view
view_at(const health_board_t *board, const char *model, uint64_t now_us)
{
    struct health_view view;
    health_view(board, dyn_slice_str(model), now_us, &view);
    return view;
}

static void
an_open_breaker_is_half_open_when_its_time_has_come(void **state)
{
    (void)state;
    health_board_t *board = health_board_new();
    assert_int_equal(view_at(board, NULL, SECOND).state, HEALTH_CLOSED);
    health_board_set_breaker(board, HEALTH_OPEN, 3 * SECOND);
    assert_int_equal(view_at(board, NULL, SECOND).state, HEALTH_OPEN);
    assert_int_equal(view_at(board, NULL, SECOND).retry_ms, 2000);
    assert_int_equal(view_at(board, NULL, 3 * SECOND - 1).retry_ms, 1);
    assert_int_equal(view_at(board, NULL, 3 * SECOND).state, HEALTH_HALF_OPEN);
    assert_int_equal(view_at(board, NULL, 3 * SECOND).retry_ms, 0);
    health_board_unref(&board);
    assert_null(board);
}

static void
all_credentials_aside_say_when_to_come_back(void **state)
{
    (void)state;
    health_board_t *board = health_board_new();
    health_board_set_creds(board, 2, 1, 0);
    assert_int_equal(view_at(board, NULL, SECOND).creds_aside, 1);
    assert_int_equal(view_at(board, NULL, SECOND).retry_ms, 0);
    health_board_set_creds(board, 2, 2, 4 * SECOND);
    assert_int_equal(view_at(board, NULL, SECOND).retry_ms, 3000);
    assert_int_equal(view_at(board, NULL, SECOND).state, HEALTH_CLOSED);
    assert_int_equal(view_at(board, NULL, 4 * SECOND).creds_aside, 1); /* the soonest is back */
    assert_int_equal(view_at(board, NULL, 4 * SECOND).retry_ms, 0);
    health_board_unref(&board);
}

static void
each_model_has_its_own_latency_until_there_are_too_many(void **state)
{
    (void)state;
    health_board_t *board = health_board_new();
    char name[16];
    for (unsigned i = 0; i < HEALTH_MODELS_MAX; i++) {
        (void)snprintf(name, sizeof name, "model-%u", i);
        struct health_latency latency = {.ttft_us = 100 + i, .total_us = 1000 + i, .samples = 1};
        size_t slot = health_board_slot(board, dyn_slice_str(name));
        assert_true(slot < HEALTH_MODELS_MAX);
        assert_int_equal(health_board_slot(board, dyn_slice_str(name)), slot);
        health_board_set_latency(board, slot, &latency, SECOND);
    }
    for (unsigned i = 0; i < HEALTH_MODELS_MAX; i++) {
        (void)snprintf(name, sizeof name, "model-%u", i);
        assert_int_equal(view_at(board, name, SECOND).ttft_us, 100 + i);
        assert_int_equal(view_at(board, name, SECOND).total_us, 1000 + i);
    }
    struct health_latency others = {.ttft_us = 7, .samples = 3};
    assert_int_equal(health_board_slot(board, DYN_SLICE("one more")), HEALTH_MODELS_MAX);
    health_board_set_latency(board, HEALTH_MODELS_MAX, &others, SECOND);
    assert_int_equal(view_at(board, "one more", SECOND).ttft_us, 7);
    assert_int_equal(view_at(board, "and another", SECOND).samples, 3);
    assert_int_equal(view_at(board, NULL, SECOND).ttft_us, 0);
    health_board_unref(&board);
}

static void
a_model_that_nobody_has_called_has_no_latency(void **state)
{
    (void)state;
    health_board_t *board = health_board_new();
    struct health_latency latency = {.ttft_us = 5, .total_us = 6, .samples = 1};
    health_board_set_latency(board, health_board_slot(board, DYN_SLICE("gpt")), &latency, SECOND);
    assert_int_equal(view_at(board, "gpt-mini", SECOND).samples, 0);
    assert_int_equal(view_at(board, "gpt-mini", SECOND).total_us, 0);
    health_board_unref(&board);
}

/* A target that was slow once and is not called any more looks better with time, so that it is tried again.
 */
static void
the_mean_decays_in_silence(void **state)
{
    (void)state;
    health_board_t *board = health_board_new();
    struct health_latency latency = {.ewma_us = 8000, .total_us = 8000, .samples = 1};
    health_board_set_latency(board, health_board_slot(board, DYN_SLICE("gpt")), &latency, SECOND);
    assert_int_equal(view_at(board, "gpt", SECOND).ewma_us, 8000);
    assert_int_equal(view_at(board, "gpt", SECOND + HEALTH_HALF_LIFE_US / 2).ewma_us, 6000);
    assert_int_equal(view_at(board, "gpt", SECOND + HEALTH_HALF_LIFE_US).ewma_us, 4000);
    assert_int_equal(view_at(board, "gpt", SECOND + 3 * HEALTH_HALF_LIFE_US).ewma_us, 1000);
    assert_int_equal(view_at(board, "gpt", SECOND + 100 * HEALTH_HALF_LIFE_US).ewma_us, 0);
    assert_int_equal(view_at(board, "gpt", SECOND + HEALTH_HALF_LIFE_US).total_us, 8000);
    health_board_unref(&board);
}

/* ---- the map ---- */

static health_board_t *
board_named_a(void *arg, struct dyn_slice target)
{
    return dyn_slice_is(target, "A") ? arg : NULL;
}

static int
decode(struct dyn_slice map, uint64_t now_us, health_board_t *board)
{
    struct dyn_err err = {.text = ""};
    int rc = health_map_decode(map, now_us, board_named_a, board, &err);
    assert_int_equal(rc == 0, err.text[0] == '\0');
    return rc;
}

/* The clocks of two processes have nothing in common. */
static void
a_board_comes_over_with_the_time_that_is_left(void **state)
{
    (void)state;
    health_board_t *here = health_board_new();
    health_board_t *there = health_board_new();
    struct dyn_buf map = DYN_BUF_INIT;
    struct health_latency latency = {
        .ttft_us = 11, .ttft_p95_us = 22, .total_us = 33, .ewma_us = 44, .samples = 55};
    const struct health_item items[] = {{DYN_SLICE("B"), here}, {DYN_SLICE("A"), here}};
    health_board_set_breaker(here, HEALTH_OPEN, 7 * SECOND);
    health_board_set_limit(here, 10);
    health_board_set_load(here, 9, 4);
    health_board_set_creds(here, 3, 1, 0);
    health_board_set_latency(here, health_board_slot(here, DYN_SLICE("gpt")), &latency, 5 * SECOND);
    health_map_encode(items, 2, 5 * SECOND, 0, &map);
    assert_int_equal(decode(dyn_buf_slice(&map), 900 * SECOND, there), 0);
    struct health_view view = view_at(there, "gpt", 900 * SECOND);
    assert_int_equal(view.state, HEALTH_OPEN);
    assert_int_equal(view.retry_ms, 2000);
    assert_int_equal(view.limit, 10);
    assert_int_equal(view.in_flight, 9);
    assert_int_equal(view.queued, 4);
    assert_int_equal(view.creds, 3);
    assert_int_equal(view.creds_aside, 1);
    assert_int_equal(view.ttft_us, 11);
    assert_int_equal(view.ttft_p95_us, 22);
    assert_int_equal(view.total_us, 33);
    assert_int_equal(view.ewma_us, 44);
    assert_int_equal(view.samples, 55);
    assert_int_equal(view_at(there, "gpt", 902 * SECOND).state, HEALTH_HALF_OPEN);
    dyn_buf_fini(&map);
    health_board_unref(&here);
    health_board_unref(&there);
}

static void
what_is_news_no_more_stays_at_home(void **state)
{
    (void)state;
    health_board_t *here = health_board_new();
    health_board_t *there = health_board_new();
    struct dyn_buf map = DYN_BUF_INIT;
    struct health_latency latency = {.ttft_us = 11, .samples = 1};
    const struct health_item items[] = {{DYN_SLICE("A"), here}};
    health_board_set_latency(here, health_board_slot(here, DYN_SLICE("old")), &latency, 1 * SECOND);
    health_board_set_latency(here, health_board_slot(here, DYN_SLICE("new")), &latency, 2 * SECOND);
    health_map_encode(items, 1, 3 * SECOND, 2 * SECOND, &map);
    assert_int_equal(decode(dyn_buf_slice(&map), 3 * SECOND, there), 0);
    assert_int_equal(view_at(there, "old", 3 * SECOND).samples, 0);
    assert_int_equal(view_at(there, "new", 3 * SECOND).samples, 1);
    dyn_buf_clear(&map);
    health_map_encode(items, 1, 3 * SECOND, UINT64_MAX, &map);
    assert_null(memmem(map.data, map.len, "models", 6));
    dyn_buf_fini(&map);
    health_board_unref(&here);
    health_board_unref(&there);
}

static void
a_map_never_grows_beyond_its_bound(void **state)
{
    (void)state;
    enum { TARGETS = 300 };
    static char names[TARGETS][200];
    static struct health_item items[TARGETS];
    health_board_t *board = health_board_new();
    health_board_t *there = health_board_new();
    struct dyn_buf map = DYN_BUF_INIT;
    struct health_latency latency = {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX};
    char model[HEALTH_MODEL_NAME_MAX + 80];
    for (unsigned i = 0; i < HEALTH_MODELS_MAX; i++) {
        (void)snprintf(model, sizeof model, "%0128u", i);
        health_board_set_latency(board, health_board_slot(board, dyn_slice_str(model)), &latency, SECOND);
    }
    for (unsigned i = 0; i < TARGETS; i++) {
        (void)snprintf(names[i], sizeof names[i], i == 200 ? "A" : "%0199u", i);
        items[i] = (struct health_item){dyn_slice_str(names[i]), board};
    }
    health_board_set_breaker(board, HEALTH_OPEN, 2 * SECOND);
    health_map_encode(items, TARGETS, SECOND, 0, &map);
    assert_true(map.len <= HEALTH_MAP_MAX);
    assert_true(map.len > HEALTH_MAP_MAX / 2);
    assert_int_equal(decode(dyn_buf_slice(&map), SECOND, there), 0);
    assert_int_equal(view_at(there, NULL, SECOND).state, HEALTH_OPEN);
    dyn_buf_fini(&map);
    health_board_unref(&board);
    health_board_unref(&there);
}

/* Short names and small figures: the most values that fit. */
static void
a_full_map_of_small_figures_is_read(void **state)
{
    (void)state;
    static char names[HEALTH_TARGETS_MAX][8];
    static struct health_item items[HEALTH_TARGETS_MAX];
    health_board_t *board = health_board_new();
    health_board_t *there = health_board_new();
    struct dyn_buf map = DYN_BUF_INIT;
    struct health_latency latency = {.total_us = 1, .samples = 1};
    for (unsigned i = 0; i < HEALTH_MODELS_MAX; i++) {
        char model[4];
        (void)snprintf(model, sizeof model, "%u", i);
        health_board_set_latency(board, health_board_slot(board, dyn_slice_str(model)), &latency, SECOND);
    }
    for (unsigned i = 0; i < HEALTH_TARGETS_MAX; i++) {
        (void)snprintf(names[i], sizeof names[i], i == 200 ? "A" : "%u", i);
        items[i] = (struct health_item){dyn_slice_str(names[i]), board};
    }
    health_map_encode(items, HEALTH_TARGETS_MAX, SECOND, 0, &map);
    assert_int_equal(decode(dyn_buf_slice(&map), SECOND, there), 0);
    assert_int_equal(view_at(there, "7", SECOND).samples, 1);
    dyn_buf_fini(&map);
    health_board_unref(&board);
    health_board_unref(&there);
}

#define BYTES(text) dyn_slice(text, sizeof text - 1)

static void
strangers_maps_are_taken_as_far_as_they_are_understood(void **state)
{
    (void)state;
    health_board_t *board = health_board_new();
    health_board_set_breaker(board, HEALTH_OPEN, 9 * SECOND);
    assert_int_equal(decode(BYTES("\x80"), SECOND, board), 0);
    assert_int_equal(decode(BYTES("\x81\xa7targets\xc0"), SECOND, board), 0);
    assert_int_equal(decode(BYTES("\x81\xa7targets\x92\x01\x80"), SECOND, board), 0);
    assert_int_equal(view_at(board, NULL, SECOND).state, HEALTH_OPEN);
    /* a state that does not exist yet, a number that is none, members nobody knows */
    assert_int_equal(decode(BYTES("\x82\xa1x\x01\xa7targets\x91\x84\xa6target\xa1"
                                  "A\xa5state\xa5"
                                  "dizzy\xa6queued\xa1z\xa5later\x91\xc0"),
                            SECOND, board),
                     0);
    assert_int_equal(view_at(board, NULL, SECOND).state, HEALTH_CLOSED);
    assert_int_equal(view_at(board, NULL, SECOND).queued, 0);
    assert_int_equal(decode(BYTES(""), SECOND, board), -1);
    assert_int_equal(decode(BYTES("\x91\x01"), SECOND, board), -1);
    assert_int_equal(decode(BYTES("\x81\xa7targets\xdd\xff\xff\xff\xff"), SECOND, board), -1);
    health_board_unref(&board);
}

/* ---- threads ---- */

static void *
claim(void *board)
{
    char name[16];
    for (unsigned i = 0; i < 2 * HEALTH_MODELS_MAX; i++) {
        struct health_latency latency = {.ttft_us = i + 1, .samples = 1};
        (void)snprintf(name, sizeof name, "m%u", i);
        size_t slot = health_board_slot(board, dyn_slice_str(name));
        health_board_set_latency(board, slot, &latency, SECOND);
    }
    return NULL;
}

static void
two_cells_that_meet_the_same_models_share_their_slots(void **state)
{
    (void)state;
    health_board_t *board = health_board_new();
    pthread_t other;
    assert_int_equal(pthread_create(&other, NULL, claim, board), 0);
    (void)claim(board);
    assert_int_equal(pthread_join(other, NULL), 0);
    unsigned n_own = 0;
    for (unsigned i = 0; i < 2 * HEALTH_MODELS_MAX; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "m%u", i);
        if (health_board_slot(board, dyn_slice_str(name)) != HEALTH_MODELS_MAX) {
            assert_int_equal(view_at(board, name, SECOND).ttft_us, i + 1);
            n_own++;
        }
    }
    assert_int_equal(n_own, HEALTH_MODELS_MAX); /* not one was taken twice */
    health_board_unref(&board);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_open_breaker_is_half_open_when_its_time_has_come),
        cmocka_unit_test(all_credentials_aside_say_when_to_come_back),
        cmocka_unit_test(each_model_has_its_own_latency_until_there_are_too_many),
        cmocka_unit_test(a_model_that_nobody_has_called_has_no_latency),
        cmocka_unit_test(the_mean_decays_in_silence),
        cmocka_unit_test(a_board_comes_over_with_the_time_that_is_left),
        cmocka_unit_test(what_is_news_no_more_stays_at_home),
        cmocka_unit_test(a_map_never_grows_beyond_its_bound),
        cmocka_unit_test(a_full_map_of_small_figures_is_read),
        cmocka_unit_test(strangers_maps_are_taken_as_far_as_they_are_understood),
        cmocka_unit_test(two_cells_that_meet_the_same_models_share_their_slots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
