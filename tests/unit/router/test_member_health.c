/* How targets fare, as a router knows it: from the boards of its process, and from what workers say. */
#include "router/members.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#define SECOND UINT64_C(1000000)
#define NOW    (9 * SECOND)

enum { LOCAL = 100, WORKER_A = 1, WORKER_B = 2 };

/* Two targets; the first is served here too. */
struct scene {
    struct route_target targets[2];
    health_board_t *here;
    struct route_members *members;
};

static struct scene *
scene_new(void)
{
    struct scene *scene = dyn_zalloc(sizeof *scene);
    const bus_addr_t addrs[] = {LOCAL, 0};
    scene->here = health_board_new();
    scene->targets[0] = (struct route_target){.name = DYN_SLICE("first"), .health = scene->here};
    scene->targets[1] = (struct route_target){.name = DYN_SLICE("second")};
    scene->members = dyn_zalloc(sizeof *scene->members);
    route_members_init(scene->members, scene->targets, addrs, 2);
    return scene;
}

static void
scene_free(struct scene *scene)
{
    route_members_fini(scene->members);
    health_board_unref(&scene->here);
    free(scene->members);
    free(scene);
}

static struct route_member *
join(struct scene *scene, bus_addr_t addr, const char *first, const char *second)
{
    const struct ready_target said[] = {{.name = dyn_slice_str(first), .any_model = true},
                                        {.name = dyn_slice_str(second), .any_model = true}};
    struct ready serves = {said, second != NULL ? 2 : 1};
    struct route_joining joining = {.accepts_new_targets = true};
    struct dyn_buf body = DYN_BUF_INIT;
    struct dyn_err err;
    struct env *ready = env_new(ENV_READY);
    char name[] = {'w', (char)('0' + addr)};
    ready_encode(&serves, &body);
    ready->from = addr;
    ready->worker = env_copy(ready, dyn_slice(name, sizeof name));
    ready->body = dyn_block_copy(0, dyn_buf_slice(&body));
    dyn_buf_fini(&body);
    assert_null(route_members_join(scene->members, &ready, &joining, &err));
    return route_members_find(scene->members, addr);
}

/* The worker says of one target what the board shows. */
static void
tell(struct scene *scene, struct route_member *worker, const char *target, const health_board_t *board)
{
    const struct health_item item = {dyn_slice_str(target), board};
    struct dyn_buf map = DYN_BUF_INIT;
    struct dyn_err err;
    health_map_encode(&item, 1, NOW, 0, &map);
    assert_int_equal(route_members_hear(scene->members, worker, dyn_buf_slice(&map), NOW, &err), 0);
    dyn_buf_fini(&map);
}

static void
tell_open(struct scene *scene, struct route_member *worker, const char *target, uint64_t until_us)
{
    health_board_t *board = health_board_new();
    health_board_set_breaker(board, until_us > NOW ? HEALTH_OPEN : HEALTH_CLOSED, until_us);
    tell(scene, worker, target, board);
    health_board_unref(&board);
}

static struct health_view
view_of(const struct scene *scene, size_t target, uint64_t now_us)
{
    struct health_view view;
    route_members_health(scene->members, target, DYN_SLICE("gpt"), now_us, &view);
    return view;
}

static bus_addr_t
picked(struct scene *scene, size_t target, uint64_t now_us)
{
    const struct route_crew *crew = &scene->members->crews[target];
    struct route_wish wish = {
        .target = scene->targets[target].name, .model = DYN_SLICE("gpt"), .now_us = now_us};
    size_t index;
    return route_member_pick(crew, &wish, &index) == ROUTE_PICK_FOUND ? crew->members[index]->addr : 0;
}

static void
a_target_is_as_good_as_its_best_member(void **state)
{
    (void)state;
    struct scene *scene = scene_new();
    struct route_member *a = join(scene, WORKER_A, "first", "second");
    struct route_member *b = join(scene, WORKER_B, "first", NULL);
    assert_int_equal(view_of(scene, 0, NOW).state, HEALTH_CLOSED);
    health_board_set_breaker(scene->here, HEALTH_OPEN, NOW + 5 * SECOND);
    tell_open(scene, a, "first", NOW + 3 * SECOND);
    assert_int_equal(view_of(scene, 0, NOW).state, HEALTH_CLOSED); /* B has said nothing yet */
    tell_open(scene, b, "first", NOW + 4 * SECOND);
    assert_int_equal(view_of(scene, 0, NOW).state, HEALTH_OPEN);
    assert_int_equal(view_of(scene, 0, NOW).retry_ms, 3000); /* the soonest probe */
    assert_int_equal(view_of(scene, 0, NOW + 3 * SECOND).state, HEALTH_HALF_OPEN);
    assert_int_equal(view_of(scene, 1, NOW).state, HEALTH_CLOSED);
    tell_open(scene, b, "first", 0);
    assert_int_equal(view_of(scene, 0, NOW).state, HEALTH_CLOSED);
    scene_free(scene);
}

static void
members_whose_breaker_is_open_come_last(void **state)
{
    (void)state;
    struct scene *scene = scene_new();
    struct route_member *a = join(scene, WORKER_A, "first", NULL);
    health_board_set_breaker(scene->here, HEALTH_OPEN, NOW + 5 * SECOND);
    a->in_flight = 50;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(picked(scene, 0, NOW), WORKER_A);
    }
    tell_open(scene, a, "first", NOW + 2 * SECOND);
    assert_int_equal(picked(scene, 0, NOW), LOCAL); /* all are open: one of them says so */
    assert_int_equal(picked(scene, 0, NOW + 2 * SECOND), WORKER_A);
    assert_int_equal(picked(scene, 0, NOW + 5 * SECOND), LOCAL);
    a->in_flight = 0;
    scene_free(scene);
}

static void
figures_of_a_model_come_over(void **state)
{
    (void)state;
    struct scene *scene = scene_new();
    struct route_member *a = join(scene, WORKER_A, "second", NULL);
    struct route_member *b = join(scene, WORKER_B, "second", NULL);
    health_board_t *board = health_board_new();
    struct health_latency latency = {
        .ttft_us = 500, .ttft_p95_us = 900, .total_us = 3000, .ewma_us = 2500, .samples = 30};
    health_board_set_latency(board, health_board_slot(board, DYN_SLICE("gpt")), &latency, NOW);
    health_board_set_load(board, 7, 2);
    tell(scene, a, "second", board);
    latency.ttft_us = 300;
    latency.samples = 10;
    health_board_set_latency(board, health_board_slot(board, DYN_SLICE("gpt")), &latency, NOW);
    health_board_set_load(board, 4, 0);
    tell(scene, b, "second", board);
    struct health_view view = view_of(scene, 1, NOW);
    assert_int_equal(view.ttft_us, 300);
    assert_int_equal(view.total_us, 3000);
    assert_int_equal(view.samples, 30);
    assert_int_equal(view.in_flight, 4);
    assert_int_equal(view.queued, 0);
    b->in_flight = 9; /* what was sent since is known better here */
    assert_int_equal(view_of(scene, 1, NOW).in_flight, 7);
    b->in_flight = 0;
    health_board_unref(&board);
    scene_free(scene);
}

/* What a worker says of targets that it does not serve changes nothing, and neither does what is no map. */
static void
nobody_speaks_for_others(void **state)
{
    (void)state;
    struct scene *scene = scene_new();
    struct route_member *a = join(scene, WORKER_A, "second", NULL);
    struct dyn_err err;
    tell_open(scene, a, "first", NOW + 5 * SECOND);
    assert_int_equal(view_of(scene, 0, NOW).state, HEALTH_CLOSED);
    assert_int_equal(scene->members->n_boards, 0);
    assert_int_equal(route_members_hear(scene->members, a, DYN_SLICE("\xc1"), NOW, &err), -1);
    tell_open(scene, a, "second", NOW + 5 * SECOND);
    assert_int_equal(view_of(scene, 1, NOW).state, HEALTH_OPEN);
    scene_free(scene);
}

/* A READY again, and leaving. */
static void
what_was_said_stays_with_the_target_and_goes_with_the_worker(void **state)
{
    (void)state;
    struct scene *scene = scene_new();
    struct route_member *a = join(scene, WORKER_A, "first", "second");
    tell_open(scene, a, "second", NOW + 5 * SECOND);
    assert_ptr_equal(join(scene, WORKER_A, "second", NULL), a);
    assert_int_equal(view_of(scene, 1, NOW).state, HEALTH_OPEN);
    assert_int_equal(scene->members->n_boards, 1);
    route_members_leave(scene->members, a);
    assert_int_equal(scene->members->n_boards, 0);
    assert_int_equal(view_of(scene, 1, NOW).state, HEALTH_CLOSED);
    scene_free(scene);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_target_is_as_good_as_its_best_member),
        cmocka_unit_test(members_whose_breaker_is_open_come_last),
        cmocka_unit_test(figures_of_a_model_come_over),
        cmocka_unit_test(nobody_speaks_for_others),
        cmocka_unit_test(what_was_said_stays_with_the_target_and_goes_with_the_worker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
