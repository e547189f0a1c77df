/* The loop: one thread's libev loop. The only file that knows libev; it installs no signal handler.
 *
 * A turn: poll; read the clock; callbacks of libraries with watchers of their own (libwebsockets); those of
 * our descriptors, and behind each the tasks that are queued by then; a few of the descriptors that are
 * patient; timers that are due; tasks; poll again.
 * Tasks run round after round until there are none. A token that came in with twenty others is so on its
 * way before the next is received, a request before all of them, and a stream's first token before those of
 * streams that have begun, also when it comes while these are served. Timers and what tasks are left run in a
 * prepare watcher of the lowest priority, so that also what libraries queue is done before the loop sleeps.
 * When a turn's rounds are used up an idle watcher keeps the next poll from blocking.
 *
 * Compiled without strict aliasing: libev's watchers inherit by casting, and ours lie in bus_fd. */
#include "bus/loop.h"

#include "bus/timers.h"
#include "core/piece.h"

#include <ev.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

/* A poll that does not block costs less than a microsecond: this many rounds hide it, and a flood of
 * envelopes keeps descriptors waiting for some milliseconds at most. */
#define TASK_ROUNDS_PER_TURN 32
/* Of the patient descriptors one in four is served in a turn, and not fewer than eight: what may not wait
 * does so for 200 us when few are ready, and a poll finds each of them four times when many are. */
#define PATIENT_PER_TURN  8
#define PATIENT_SHARE     4
#define PATIENT_TURNS_MAX 64   /* until timers are due all the same */
#define FD_PRIORITY       (-1) /* our descriptors: after those of libraries with watchers of their own */
#define LOOP_NAME_SIZE    16   /* what the kernel keeps of a thread's name */
#define US_PER_SECOND     1e6

/* libev's macros cast away what these warnings guard. */
#if defined(__GNUC__)
#pragma GCC diagnostic ignored "-Wcast-qual"
#pragma GCC diagnostic ignored "-Wstrict-aliasing"
#pragma GCC diagnostic ignored "-Wconversion"
#endif

struct post {
    void (*fn)(void *arg);
    void *arg;
};

struct posts {
    struct post *items;
    size_t n;
    size_t cap;
};

struct bus_loop {
    struct ev_loop *ev;
    struct dyn_list tasks;
    struct dyn_list keepers;
    struct dyn_list patient; /* bus_fd.link of those that are ready */
    unsigned n_patient;
    unsigned patient_turns; /* in a row that left some of them */
    struct timer_heap timers;
    uint64_t now_us;
    const struct dyn_clock *clock;
    uint64_t events;   /* callbacks run, so that run_once knows whether something happened */
    uint64_t alarm_us; /* when `alarm` rings; 0: it does not */
    bool firing;       /* timers are being fired */
    bool running;
    pthread_t owner; /* valid while running */

    ev_prepare prepare;
    ev_check check;
    ev_idle idle;
    ev_timer alarm;
    ev_timer wait; /* of run_once */
    ev_async wake;

    atomic_bool stopping;
    pthread_mutex_t posts_lock;
    struct posts posts;         /* under the lock */
    struct posts posts_running; /* emptied memory, swapped with the one above */
    char name[LOOP_NAME_SIZE];
};

_Static_assert(sizeof(ev_io) <= sizeof(((struct bus_fd *)0)->memory), "a watcher fits");
_Static_assert(_Alignof(ev_io) <= 16, "a watcher is aligned");

bool
bus_loop_is_current(const bus_loop_t *loop)
{
    return !loop->running || pthread_equal(loop->owner, pthread_self());
}

static ev_io *
fd_watcher(struct bus_fd *watch)
{
    return (ev_io *)(void *)watch->memory;
}

static void
read_clock(bus_loop_t *loop)
{
    loop->now_us = dyn_mono_us(loop->clock);
}

/* ---- the end of a turn ---- */

static void
fire_timers(bus_loop_t *loop)
{
    struct bus_timer *timer;
    loop->firing = true;
    while ((timer = timer_heap_pop_due(&loop->timers, loop->now_us)) != NULL) {
        loop->events++;
        timer->fire(timer);
    }
    loop->firing = false;
}

static void
run_tasks(bus_loop_t *loop)
{
    for (unsigned round = 0; round < TASK_ROUNDS_PER_TURN && !dyn_list_is_empty(&loop->tasks); round++) {
        struct dyn_list batch; /* what is queued from now on belongs to the next round */
        struct dyn_list *link;
        dyn_list_init(&batch);
        dyn_list_splice(&batch, &loop->tasks);
        while ((link = dyn_list_pop(&batch)) != NULL) {
            struct bus_task *task = DYN_CONTAINER_OF(link, struct bus_task, link);
            loop->events++;
            task->run(task);
        }
    }
}

/* What else waited for its turn does not any more. */
static void
put_off_only(struct bus_fd *watch, unsigned events)
{
    if (watch->put_off != 0 && (watch->put_off & events) == 0) {
        dyn_list_remove(&watch->link);
        watch->loop->n_patient--;
    }
    watch->put_off &= events;
}

static void
serve_patient(bus_loop_t *loop)
{
    struct dyn_list *link;
    unsigned most = loop->n_patient / PATIENT_SHARE;
    most = most < PATIENT_PER_TURN ? PATIENT_PER_TURN : most;
    for (unsigned n = 0; n < most && (link = loop->patient.next) != &loop->patient; n++) {
        struct bus_fd *watch = DYN_CONTAINER_OF(link, struct bus_fd, link);
        unsigned events = watch->put_off;
        put_off_only(watch, 0);
        watch->ready(watch, fd_watcher(watch)->fd, events);
        run_tasks(loop);
    }
}

/* Lets the next poll return in time for the first timer, or at once when there is work left. */
static void
set_alarm(bus_loop_t *loop)
{
    uint64_t next_us = timer_heap_next_us(&loop->timers);
    /* One microsecond: a timer armed with 0 by a timer. libev would round it up to a millisecond. */
    bool timer_is_due = next_us != 0 && next_us <= loop->now_us + 1;
    if (timer_is_due || !dyn_list_is_empty(&loop->tasks) || !dyn_list_is_empty(&loop->patient)) {
        ev_idle_start(loop->ev, &loop->idle);
        return;
    }
    ev_idle_stop(loop->ev, &loop->idle);
    if (next_us != 0 && (loop->alarm_us == 0 || next_us < loop->alarm_us)) {
        ev_timer_stop(loop->ev, &loop->alarm);
        ev_timer_set(&loop->alarm, (double)(next_us - loop->now_us) / US_PER_SECOND, 0.);
        ev_timer_start(loop->ev, &loop->alarm);
        loop->alarm_us = next_us;
    }
}

static DYN_COLD void
shed(bus_loop_t *loop)
{
    for (struct dyn_list *link = loop->keepers.next; link != &loop->keepers; link = link->next) {
        struct bus_keeper *keeper = DYN_CONTAINER_OF(link, struct bus_keeper, link);
        keeper->shed(keeper);
    }
}

static void
end_turn(bus_loop_t *loop)
{
    serve_patient(loop);
    if (dyn_list_is_empty(&loop->patient) || ++loop->patient_turns == PATIENT_TURNS_MAX) {
        loop->patient_turns = 0;
        fire_timers(loop);
    }
    run_tasks(loop);
    if (DYN_UNLIKELY(dyn_pieces_look())) {
        shed(loop);
    }
    set_alarm(loop); /* last: what is shed takes its timers along */
}

static void
on_prepare(struct ev_loop *ev, ev_prepare *watcher, int events)
{
    (void)watcher;
    (void)events;
    end_turn(ev_userdata(ev));
}

static void
on_check(struct ev_loop *ev, ev_check *watcher, int events)
{
    (void)watcher;
    (void)events;
    read_clock(ev_userdata(ev));
}

static void
on_idle(struct ev_loop *ev, ev_idle *watcher, int events)
{
    (void)ev;
    (void)watcher;
    (void)events;
}

static void
on_alarm(struct ev_loop *ev, ev_timer *watcher, int events)
{
    bus_loop_t *loop = ev_userdata(ev);
    (void)events;
    if (watcher == &loop->alarm) { /* the turn's end looks at the timers */
        loop->alarm_us = 0;
    }
}

/* ---- other threads ---- */

static void
run_posts(bus_loop_t *loop)
{
    (void)pthread_mutex_lock(&loop->posts_lock);
    struct posts posts = loop->posts;
    loop->posts = loop->posts_running;
    (void)pthread_mutex_unlock(&loop->posts_lock);
    loop->posts_running = (struct posts){0};

    for (size_t i = 0; i < posts.n; i++) {
        loop->events++;
        posts.items[i].fn(posts.items[i].arg);
    }
    posts.n = 0;
    loop->posts_running = posts;
}

static void
on_wake(struct ev_loop *ev, ev_async *watcher, int events)
{
    bus_loop_t *loop = ev_userdata(ev);
    (void)watcher;
    (void)events;
    run_posts(loop);
    if (atomic_load_explicit(&loop->stopping, memory_order_acquire)) {
        ev_break(ev, EVBREAK_ALL);
    }
}

void
bus_loop_post(bus_loop_t *loop, void (*fn)(void *arg), void *arg)
{
    (void)pthread_mutex_lock(&loop->posts_lock);
    struct posts *posts = &loop->posts;
    if (posts->n == posts->cap) {
        posts->cap = posts->cap ? posts->cap * 2 : 16;
        posts->items = dyn_realloc(posts->items, posts->cap * sizeof *posts->items);
    }
    posts->items[posts->n++] = (struct post){.fn = fn, .arg = arg};
    (void)pthread_mutex_unlock(&loop->posts_lock);
    ev_async_send(loop->ev, &loop->wake); /* a system call only when the loop sleeps */
}

void
bus_loop_stop(bus_loop_t *loop)
{
    atomic_store_explicit(&loop->stopping, true, memory_order_release);
    ev_async_send(loop->ev, &loop->wake);
}

/* ---- life ---- */

bus_loop_t *
bus_loop_new(const char *name)
{
    bus_loop_t *loop = dyn_zalloc(sizeof *loop);
    loop->ev = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    DYN_ASSERT(loop->ev != NULL); /* at start only: no descriptor left, or no epoll in this kernel */
    ev_set_userdata(loop->ev, loop);
    (void)snprintf(loop->name, sizeof loop->name, "%s", name);
    dyn_list_init(&loop->tasks);
    dyn_list_init(&loop->keepers);
    dyn_list_init(&loop->patient);
    (void)pthread_mutex_init(&loop->posts_lock, NULL);
    atomic_init(&loop->stopping, false);
    bus_loop_set_clock(loop, &dyn_clock_system);

    ev_prepare_init(&loop->prepare, on_prepare);
    ev_set_priority(&loop->prepare, EV_MINPRI);
    ev_prepare_start(loop->ev, &loop->prepare);
    ev_check_init(&loop->check, on_check);
    ev_set_priority(&loop->check, EV_MAXPRI);
    ev_check_start(loop->ev, &loop->check);
    ev_idle_init(&loop->idle, on_idle);
    ev_init(&loop->alarm, on_alarm);
    ev_init(&loop->wait, on_alarm);
    ev_async_init(&loop->wake, on_wake);
    ev_async_start(loop->ev, &loop->wake);
    return loop;
}

void
bus_loop_free(bus_loop_t **loop_p)
{
    bus_loop_t *loop = *loop_p;
    *loop_p = NULL;
    if (loop == NULL) {
        return;
    }
    DYN_ASSERT(!loop->running);
    run_posts(loop); /* posted after the last turn: they own memory */
    DYN_ASSERT(dyn_list_is_empty(&loop->tasks));
    ev_loop_destroy(loop->ev);
    timer_heap_fini(&loop->timers);
    (void)pthread_mutex_destroy(&loop->posts_lock);
    free(loop->posts.items);
    free(loop->posts_running.items);
    free(loop);
}

static void
begin(bus_loop_t *loop)
{
    DYN_ASSERT(!loop->running);
    loop->owner = pthread_self();
    loop->running = true;
    read_clock(loop);
    ev_now_update(loop->ev); /* alarms are set relative to the library's own time */
}

void
bus_loop_run(bus_loop_t *loop)
{
    begin(loop);
    while (!atomic_load_explicit(&loop->stopping, memory_order_acquire)) {
        ev_run(loop->ev, 0);
    }
    run_posts(loop);
    end_turn(loop);
    atomic_store_explicit(&loop->stopping, false, memory_order_release);
    loop->running = false;
}

void
bus_loop_run_once(bus_loop_t *loop, uint32_t wait_ms)
{
    uint64_t events = loop->events;
    begin(loop);
    ev_run(loop->ev, EVRUN_NOWAIT);
    if (loop->events == events && wait_ms > 0) {
        ev_timer_set(&loop->wait, (double)wait_ms / 1e3, 0.);
        ev_timer_start(loop->ev, &loop->wait);
        ev_run(loop->ev, EVRUN_ONCE);
        ev_timer_stop(loop->ev, &loop->wait);
    }
    end_turn(loop);
    loop->running = false;
}

uint64_t
bus_loop_next_timer_us(const bus_loop_t *loop)
{
    return timer_heap_next_us(&loop->timers);
}

bool
bus_loop_has_tasks(const bus_loop_t *loop)
{
    return !dyn_list_is_empty(&loop->tasks);
}

void *
bus_loop_native(bus_loop_t *loop)
{
    return loop->ev;
}

const char *
bus_loop_name(const bus_loop_t *loop)
{
    return loop->name;
}

uint64_t
bus_loop_now_us(const bus_loop_t *loop)
{
    return loop->now_us;
}

const struct dyn_clock *
bus_loop_clock(const bus_loop_t *loop)
{
    return loop->clock;
}

void
bus_loop_set_clock(bus_loop_t *loop, const struct dyn_clock *clock)
{
    loop->clock = clock;
    read_clock(loop);
}

/* ---- descriptors ---- */

static void
on_fd(struct ev_loop *ev, ev_io *watcher, int events)
{
    bus_loop_t *loop = ev_userdata(ev);
    struct bus_fd *watch = watcher->data;
    /* EV_ERROR: the library gave the descriptor up, most likely it was closed; its owner finds out
     * by reading. */
    unsigned ready = (events & (EV_READ | EV_ERROR) ? BUS_FD_READ : 0u) |
                     (events & (EV_WRITE | EV_ERROR) ? BUS_FD_WRITE : 0u);
    loop->events++;
    if (watch->is_patient) {
        if (watch->put_off == 0) {
            dyn_list_append(&loop->patient, &watch->link);
            loop->n_patient++;
        }
        watch->put_off |= ready;
        return;
    }
    put_off_only(watch, 0);
    watch->ready(watch, watcher->fd, ready);
    run_tasks(loop);
}

void
bus_fd_watch(bus_loop_t *loop, struct bus_fd *watch, int fd, unsigned events)
{
    DYN_ASSERT(bus_loop_is_current(loop));
    ev_io *watcher = fd_watcher(watch);
    int wanted = (events & BUS_FD_READ ? EV_READ : 0) | (events & BUS_FD_WRITE ? EV_WRITE : 0);
    bool watched = watch->loop != NULL;
    DYN_ASSERT(!watched || watch->loop == loop);
    if (watched && wanted != 0 && watcher->fd == fd) {
        if ((watcher->events & (EV_READ | EV_WRITE)) == wanted) {
            return;
        }
        put_off_only(watch, events);
        /* The library compares with what the kernel has when it polls: one call at most, none when
         * the events are what they were by then. */
        ev_io_stop(loop->ev, watcher);
        ev_io_modify(watcher, wanted);
        ev_io_start(loop->ev, watcher);
        return;
    }
    if (watched) {
        ev_io_stop(loop->ev, watcher);
        put_off_only(watch, 0);
        watch->loop = NULL;
    }
    if (wanted != 0) { /* init tells the kernel anew: the number may be another file by now */
        ev_io_init(watcher, on_fd, fd, wanted);
        ev_set_priority(watcher, FD_PRIORITY);
        watcher->data = watch;
        watch->loop = loop;
        ev_io_start(loop->ev, watcher);
    }
}

/* ---- timers and tasks ---- */

void
bus_timer_arm(bus_loop_t *loop, struct bus_timer *timer, uint64_t delay_ms)
{
    DYN_ASSERT(bus_loop_is_current(loop));
    DYN_ASSERT(timer->place == 0 || timer->loop == loop);
    /* What a timer arms is for the next turn, or a timer that arms itself with 0 would never end. */
    timer->at_us = loop->now_us + delay_ms * 1000 + (loop->firing ? 1 : 0);
    timer->loop = loop;
    timer_heap_armed(&loop->timers, timer);
}

void
bus_timer_disarm(struct bus_timer *timer)
{
    timer->at_us = 0;
}

void
bus_timer_fini(struct bus_timer *timer)
{
    timer->at_us = 0;
    if (timer->place != 0) {
        timer_heap_remove(&timer->loop->timers, timer);
    }
}

void
bus_task_init(struct bus_task *task, void (*run)(struct bus_task *task))
{
    dyn_list_init(&task->link);
    task->run = run;
}

void
bus_task_queue(bus_loop_t *loop, struct bus_task *task)
{
    DYN_ASSERT(bus_loop_is_current(loop));
    if (!dyn_list_is_linked(&task->link)) {
        dyn_list_append(&loop->tasks, &task->link);
    }
}

void
bus_task_cancel(struct bus_task *task)
{
    dyn_list_remove(&task->link);
}

/* ---- keepers ---- */

void
bus_keeper_init(struct bus_keeper *keeper, void (*shed_)(struct bus_keeper *keeper))
{
    dyn_list_init(&keeper->link);
    keeper->shed = shed_;
}

void
bus_keeper_add(bus_loop_t *loop, struct bus_keeper *keeper)
{
    dyn_list_append(&loop->keepers, &keeper->link);
}

void
bus_keeper_remove(struct bus_keeper *keeper)
{
    dyn_list_remove(&keeper->link);
}
