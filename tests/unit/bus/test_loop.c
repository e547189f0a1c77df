/* The loop: descriptors, timers on a clock that the test moves, tasks, and posts from other threads. */
#include "bus/loop.h"

#include "core/piece.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

enum { LONG_WAIT_MS = 20000 }; /* never waited for: something happens before */

static uint64_t
test_clock_us(void *self)
{
    return *(uint64_t *)self;
}

struct fixture {
    bus_loop_t *loop;
    uint64_t now_us;
    struct dyn_clock clock;
};

static struct fixture
fixture_start(void)
{
    struct fixture f = {.loop = bus_loop_new("test"), .now_us = 1000000};
    return f;
}

static void
fixture_use_clock(struct fixture *f)
{
    f->clock = (struct dyn_clock){.mono_us = test_clock_us, .wall_us = test_clock_us, .self = &f->now_us};
    bus_loop_set_clock(f->loop, &f->clock);
}

/* ---- descriptors ---- */

struct seen_fd {
    struct bus_fd watch;
    unsigned calls;
    unsigned events;
    bool stop_inside;
};

static void
fd_ready(struct bus_fd *watch, int fd, unsigned events)
{
    struct seen_fd *seen = DYN_CONTAINER_OF(watch, struct seen_fd, watch);
    seen->calls++;
    seen->events |= events;
    if (seen->stop_inside) {
        bus_fd_watch(watch->loop, watch, fd, 0);
    }
}

static void
a_descriptor_is_reported_while_it_is_ready(void **state)
{
    (void)state;
    struct fixture f = fixture_start();
    struct seen_fd seen = {.watch.ready = fd_ready};
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

    bus_fd_watch(f.loop, &seen.watch, fd, BUS_FD_READ);
    bus_loop_run_once(f.loop, 0);
    assert_int_equal(seen.calls, 0);

    assert_int_equal(eventfd_write(fd, 1), 0);
    bus_loop_run_once(f.loop, LONG_WAIT_MS);
    bus_loop_run_once(f.loop, LONG_WAIT_MS); /* level-triggered */
    assert_int_equal(seen.calls, 2);
    assert_int_equal(seen.events, BUS_FD_READ);

    bus_fd_watch(f.loop, &seen.watch, fd, BUS_FD_WRITE);
    seen.events = 0;
    bus_loop_run_once(f.loop, LONG_WAIT_MS);
    assert_int_equal(seen.events, BUS_FD_WRITE);

    bus_fd_watch(f.loop, &seen.watch, fd, 0);
    seen.calls = 0;
    bus_loop_run_once(f.loop, 0);
    assert_int_equal(seen.calls, 0);
    (void)close(fd);
    bus_loop_free(&f.loop);
}

static void
watching_may_stop_inside_ready(void **state)
{
    (void)state;
    struct fixture f = fixture_start();
    struct seen_fd seen = {.watch.ready = fd_ready, .stop_inside = true};
    int fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
    bus_fd_watch(f.loop, &seen.watch, fd, BUS_FD_READ);
    bus_loop_run_once(f.loop, LONG_WAIT_MS);
    bus_loop_run_once(f.loop, 0);
    assert_int_equal(seen.calls, 1);
    (void)close(fd);
    bus_loop_free(&f.loop);
}

/* The number of a closed descriptor is given out again: the new file is watched, not the old one. */
static void
a_reused_descriptor_number_is_watched_anew(void **state)
{
    (void)state;
    struct fixture f = fixture_start();
    struct seen_fd seen = {.watch.ready = fd_ready};
    int fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
    bus_fd_watch(f.loop, &seen.watch, fd, BUS_FD_READ);
    bus_loop_run_once(f.loop, LONG_WAIT_MS);
    assert_int_equal(seen.calls, 1);
    bus_fd_watch(f.loop, &seen.watch, fd, 0);
    (void)close(fd);
    int again = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
    assert_int_equal(again, fd);
    bus_fd_watch(f.loop, &seen.watch, again, BUS_FD_READ);
    bus_loop_run_once(f.loop, LONG_WAIT_MS);
    assert_int_equal(seen.calls, 2);
    bus_fd_watch(f.loop, &seen.watch, again, 0);
    (void)close(again);
    bus_loop_free(&f.loop);
}

/* ---- timers ---- */

struct seen_timer {
    struct bus_timer timer;
    bus_loop_t *loop;
    unsigned fired;
    bool again; /* arms itself with 0 */
};

static void
timer_fired(struct bus_timer *timer)
{
    struct seen_timer *seen = DYN_CONTAINER_OF(timer, struct seen_timer, timer);
    seen->fired++;
    assert_false(bus_timer_is_armed(timer));
    if (seen->again) {
        bus_timer_arm(seen->loop, timer, 0);
    }
}

static void
a_timer_fires_once_when_its_time_has_come(void **state)
{
    (void)state;
    struct fixture f = fixture_start();
    fixture_use_clock(&f);
    struct seen_timer seen = {.timer.fire = timer_fired, .loop = f.loop};
    bus_timer_arm(f.loop, &seen.timer, 30000);
    assert_true(bus_timer_is_armed(&seen.timer));
    f.now_us += 30000 * 1000 - 1;
    bus_loop_run_once(f.loop, 0);
    assert_int_equal(seen.fired, 0);
    f.now_us += 1;
    bus_loop_run_once(f.loop, 0);
    bus_loop_run_once(f.loop, 0);
    assert_int_equal(seen.fired, 1);
    bus_timer_fini(&seen.timer);
    bus_loop_free(&f.loop);
}

static void
arming_again_replaces_and_disarming_cancels(void **state)
{
    (void)state;
    struct fixture f = fixture_start();
    fixture_use_clock(&f);
    struct seen_timer seen = {.timer.fire = timer_fired, .loop = f.loop};
    bus_timer_arm(f.loop, &seen.timer, 10);
    bus_timer_arm(f.loop, &seen.timer, 100);
    f.now_us += 50000;
    bus_loop_run_once(f.loop, 0);
    assert_int_equal(seen.fired, 0);
    bus_timer_arm(f.loop, &seen.timer, 1);
    f.now_us += 1000;
    bus_loop_run_once(f.loop, 0);
    assert_int_equal(seen.fired, 1);
    bus_timer_arm(f.loop, &seen.timer, 1);
    bus_timer_disarm(&seen.timer);
    f.now_us += 1000000;
    bus_loop_run_once(f.loop, 0);
    assert_int_equal(seen.fired, 1);
    bus_timer_fini(&seen.timer);
    bus_loop_free(&f.loop);
}

/* A timer that arms itself with 0 fires in every turn, and descriptors are served in between. */
static void
a_timer_armed_with_0_does_not_starve_descriptors(void **state)
{
    (void)state;
    struct fixture f = fixture_start();
    struct seen_timer timer = {.timer.fire = timer_fired, .loop = f.loop, .again = true};
    struct seen_fd seen = {.watch.ready = fd_ready};
    int fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
    bus_fd_watch(f.loop, &seen.watch, fd, BUS_FD_READ);
    bus_timer_arm(f.loop, &timer.timer, 0);
    while (seen.calls < 10 || timer.fired < 10) {
        bus_loop_run_once(f.loop, LONG_WAIT_MS);
    }
    bus_timer_fini(&timer.timer);
    bus_fd_watch(f.loop, &seen.watch, fd, 0);
    (void)close(fd);
    bus_loop_free(&f.loop);
}

static void
a_waiting_loop_wakes_for_its_timer(void **state)
{
    (void)state;
    struct fixture f = fixture_start();
    struct seen_timer seen = {.timer.fire = timer_fired, .loop = f.loop};
    uint64_t armed_us = bus_loop_now_us(f.loop);
    bus_timer_arm(f.loop, &seen.timer, 20);
    while (seen.fired == 0) {
        bus_loop_run_once(f.loop, LONG_WAIT_MS);
    }
    assert_true(dyn_mono_us(&dyn_clock_system) - armed_us >= 20000);
    bus_timer_fini(&seen.timer);
    bus_loop_free(&f.loop);
}

/* ---- tasks ---- */

struct seen_task {
    struct bus_task task;
    bus_loop_t *loop;
    unsigned runs;
    unsigned again; /* queues itself as often */
    struct seen_task *cancels;
};

static void
task_run(struct bus_task *task)
{
    struct seen_task *seen = DYN_CONTAINER_OF(task, struct seen_task, task);
    seen->runs++;
    if (seen->cancels != NULL) {
        bus_task_cancel(&seen->cancels->task);
    }
    if (seen->again > 0) {
        seen->again--;
        bus_task_queue(seen->loop, task);
    }
}

static void
tasks_run_before_the_poll(void **state)
{
    (void)state;
    struct fixture f = fixture_start();
    struct seen_task first = {.loop = f.loop, .again = 10};
    struct seen_task second = {.loop = f.loop};
    bus_task_init(&first.task, task_run);
    bus_task_init(&second.task, task_run);
    bus_task_queue(f.loop, &first.task);
    bus_task_queue(f.loop, &first.task); /* is queued: nothing */
    bus_task_queue(f.loop, &second.task);
    bus_loop_run_once(f.loop, LONG_WAIT_MS);
    assert_int_equal(first.runs, 11);
    assert_int_equal(second.runs, 1);
    bus_loop_free(&f.loop);
}

static void
a_cancelled_task_does_not_run(void **state)
{
    (void)state;
    struct fixture f = fixture_start();
    struct seen_task second = {.loop = f.loop};
    struct seen_task first = {.loop = f.loop, .cancels = &second};
    bus_task_init(&first.task, task_run);
    bus_task_init(&second.task, task_run);
    bus_task_cancel(&first.task); /* not queued: allowed */
    bus_task_queue(f.loop, &first.task);
    bus_task_queue(f.loop, &second.task);
    bus_loop_run_once(f.loop, 0);
    assert_int_equal(first.runs, 1);
    assert_int_equal(second.runs, 0);
    bus_loop_free(&f.loop);
}

static void
endless_tasks_do_not_starve_descriptors(void **state)
{
    (void)state;
    struct fixture f = fixture_start();
    struct seen_task task = {.loop = f.loop, .again = UINT32_MAX};
    struct seen_fd seen = {.watch.ready = fd_ready};
    int fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
    bus_task_init(&task.task, task_run);
    bus_task_queue(f.loop, &task.task);
    bus_fd_watch(f.loop, &seen.watch, fd, BUS_FD_READ);
    while (seen.calls < 5) {
        bus_loop_run_once(f.loop, LONG_WAIT_MS);
    }
    bus_task_cancel(&task.task);
    bus_fd_watch(f.loop, &seen.watch, fd, 0);
    (void)close(fd);
    bus_loop_free(&f.loop);
}

/* A callback queues a task, the task stops the loop: were the task left for after the poll, the loop
 * would sleep for ever. */
struct chained {
    struct bus_fd watch;
    struct bus_task task;
    unsigned runs;
};

static void
chained_task(struct bus_task *task)
{
    struct chained *chained = DYN_CONTAINER_OF(task, struct chained, task);
    chained->runs++;
    bus_loop_stop(chained->watch.loop);
}

static void
chained_ready(struct bus_fd *watch, int fd, unsigned events)
{
    struct chained *chained = DYN_CONTAINER_OF(watch, struct chained, watch);
    eventfd_t value;
    assert_int_equal(events, BUS_FD_READ);
    assert_int_equal(eventfd_read(fd, &value), 0);
    bus_task_queue(watch->loop, &chained->task);
}

static void
a_task_queued_by_a_callback_runs_before_the_loop_sleeps(void **state)
{
    (void)state;
    struct fixture f = fixture_start();
    struct chained chained = {.watch.ready = chained_ready};
    int fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
    bus_task_init(&chained.task, chained_task);
    bus_fd_watch(f.loop, &chained.watch, fd, BUS_FD_READ);
    bus_loop_run(f.loop);
    assert_int_equal(chained.runs, 1);
    bus_fd_watch(f.loop, &chained.watch, fd, 0);
    (void)close(fd);
    bus_loop_free(&f.loop);
}

/* ---- patient descriptors ---- */

enum { PATIENT = 20, LEFT_BY_FIRST_TURN = 12 };

struct crowd {
    struct bus_fd watch[PATIENT];
    int fds[PATIENT];
    unsigned served; /* of all */
    struct bus_fd other;
    unsigned served_before_other;
    struct bus_timer timer;
    unsigned served_before_timer;
};

static struct crowd *crowd_; /* of the test that runs */

static void
patient_ready(struct bus_fd *watch, int fd, unsigned events)
{
    eventfd_t value;
    assert_int_equal(events, BUS_FD_READ);
    assert_int_equal(eventfd_read(fd, &value), 0); /* not twice */
    (void)watch;
    crowd_->served++;
}

static void
other_ready(struct bus_fd *watch, int fd, unsigned events)
{
    (void)events;
    bus_fd_watch(watch->loop, watch, fd, 0);
    crowd_->served_before_other = crowd_->served;
}

static void
crowd_timer(struct bus_timer *timer)
{
    (void)timer;
    crowd_->served_before_timer = crowd_->served;
}

static void
crowd_start(struct crowd *crowd, struct fixture *f)
{
    crowd_ = crowd;
    for (unsigned i = 0; i < PATIENT; i++) {
        crowd->watch[i] = (struct bus_fd){.ready = patient_ready, .is_patient = true};
        crowd->fds[i] = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
        bus_fd_watch(f->loop, &crowd->watch[i], crowd->fds[i], BUS_FD_READ);
    }
}

static void
crowd_stop(struct crowd *crowd, struct fixture *f)
{
    for (unsigned i = 0; i < PATIENT; i++) {
        bus_fd_watch(f->loop, &crowd->watch[i], crowd->fds[i], 0);
        (void)close(crowd->fds[i]);
    }
    bus_loop_free(&f->loop);
}

static void
patient_descriptors_let_others_go_first_and_timers_wait_for_them(void **state)
{
    (void)state;
    struct fixture f = fixture_start();
    struct crowd crowd = {.other.ready = other_ready, .timer.fire = crowd_timer};
    fixture_use_clock(&f);
    crowd_start(&crowd, &f);
    bus_timer_arm(f.loop, &crowd.timer, 1);
    bus_loop_run_once(f.loop, 0);
    assert_int_equal(crowd.served, PATIENT - LEFT_BY_FIRST_TURN);
    f.now_us += 1000;
    int fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
    bus_fd_watch(f.loop, &crowd.other, fd, BUS_FD_READ);
    bus_loop_run_once(f.loop, 0);
    assert_int_equal(crowd.served, PATIENT);
    assert_in_range(crowd.served_before_other, PATIENT - LEFT_BY_FIRST_TURN, PATIENT - 1);
    assert_int_equal(crowd.served_before_timer, PATIENT);
    bus_timer_fini(&crowd.timer);
    (void)close(fd);
    crowd_stop(&crowd, &f);
}

static void
what_waits_for_its_turn_may_stop_or_become_impatient(void **state)
{
    (void)state;
    struct fixture f = fixture_start();
    struct crowd crowd = {.other.ready = other_ready};
    crowd_start(&crowd, &f);
    bus_loop_run_once(f.loop, 0);
    unsigned stopped = PATIENT;
    for (unsigned i = 0; i < PATIENT && stopped == PATIENT; i++) {
        stopped = crowd.watch[i].put_off != 0 ? i : PATIENT;
    }
    assert_in_range(stopped, 0, PATIENT - 1);
    bus_fd_watch(f.loop, &crowd.watch[stopped], crowd.fds[stopped], 0);
    for (unsigned i = 0; i < PATIENT; i++) {
        crowd.watch[i].is_patient = false;
    }
    for (unsigned i = 0; i < PATIENT; i++) {
        bus_loop_run_once(f.loop, 0);
    }
    assert_int_equal(crowd.served, PATIENT - 1);
    crowd_stop(&crowd, &f);
}

/* ---- other threads ---- */

enum { POSTERS = 4, POSTS_EACH = 5000 };

struct posting {
    bus_loop_t *loop;
    unsigned done; /* touched on the loop only */
};

static void
posted(void *arg)
{
    struct posting *posting = arg;
    if (++posting->done == POSTERS * POSTS_EACH) {
        bus_loop_stop(posting->loop);
    }
}

static void *
poster(void *arg)
{
    struct posting *posting = arg;
    for (unsigned i = 0; i < POSTS_EACH; i++) {
        bus_loop_post(posting->loop, posted, posting);
    }
    return NULL;
}

static void
posts_from_other_threads_all_run(void **state)
{
    (void)state;
    struct fixture f = fixture_start();
    struct posting posting = {.loop = f.loop};
    pthread_t threads[POSTERS];
    for (size_t i = 0; i < POSTERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, poster, &posting), 0);
    }
    bus_loop_run(f.loop);
    for (size_t i = 0; i < POSTERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(posting.done, POSTERS * POSTS_EACH);
    bus_loop_free(&f.loop);
}

static void
a_post_after_the_last_turn_runs_when_the_loop_is_freed(void **state)
{
    (void)state;
    struct fixture f = fixture_start();
    struct posting posting = {.loop = f.loop};
    bus_loop_stop(f.loop);
    bus_loop_run(f.loop); /* stopped before it ran: returns */
    bus_loop_post(f.loop, posted, &posting);
    bus_loop_free(&f.loop);
    assert_int_equal(posting.done, 1);
}

/* ---- keepers ---- */

struct seen_keeper {
    struct bus_keeper keeper;
    unsigned calls;
};

static void
count_shed(struct bus_keeper *keeper)
{
    DYN_CONTAINER_OF(keeper, struct seen_keeper, keeper)->calls++;
}

static void
keepers_are_told_once_of_each_time_that_all_shall_shed(void **state)
{
    (void)state;
    struct fixture f = fixture_start();
    struct seen_keeper stays = {.calls = 0};
    struct seen_keeper goes = {.calls = 0};
    struct seen_keeper never_comes = {.calls = 0};
    bus_keeper_init(&stays.keeper, count_shed);
    bus_keeper_init(&goes.keeper, count_shed);
    bus_keeper_init(&never_comes.keeper, count_shed);
    bus_loop_run_once(f.loop, 0); /* what was asked before */
    bus_keeper_add(f.loop, &stays.keeper);
    bus_keeper_add(f.loop, &goes.keeper);
    bus_loop_run_once(f.loop, 0);
    assert_int_equal(stays.calls + goes.calls, 0);
    dyn_pieces_shed();
    bus_loop_run_once(f.loop, 0);
    bus_loop_run_once(f.loop, 0);
    assert_true(stays.calls == 1 && goes.calls == 1);
    bus_keeper_remove(&goes.keeper);
    bus_keeper_remove(&never_comes.keeper);
    dyn_pieces_shed();
    dyn_pieces_shed();
    bus_loop_run_once(f.loop, 0);
    assert_true(stays.calls == 2 && goes.calls == 1 && never_comes.calls == 0);
    bus_keeper_remove(&stays.keeper);
    bus_loop_free(&f.loop);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_descriptor_is_reported_while_it_is_ready),
        cmocka_unit_test(watching_may_stop_inside_ready),
        cmocka_unit_test(a_reused_descriptor_number_is_watched_anew),
        cmocka_unit_test(a_timer_fires_once_when_its_time_has_come),
        cmocka_unit_test(arming_again_replaces_and_disarming_cancels),
        cmocka_unit_test(a_timer_armed_with_0_does_not_starve_descriptors),
        cmocka_unit_test(a_waiting_loop_wakes_for_its_timer),
        cmocka_unit_test(tasks_run_before_the_poll),
        cmocka_unit_test(a_cancelled_task_does_not_run),
        cmocka_unit_test(endless_tasks_do_not_starve_descriptors),
        cmocka_unit_test(a_task_queued_by_a_callback_runs_before_the_loop_sleeps),
        cmocka_unit_test(patient_descriptors_let_others_go_first_and_timers_wait_for_them),
        cmocka_unit_test(what_waits_for_its_turn_may_stop_or_become_impatient),
        cmocka_unit_test(posts_from_other_threads_all_run),
        cmocka_unit_test(a_post_after_the_last_turn_runs_when_the_loop_is_freed),
        cmocka_unit_test(keepers_are_told_once_of_each_time_that_all_shall_shed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
