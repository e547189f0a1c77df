/* A loop is one thread with one event loop that hosts actors, sockets and timers. This is the only
 * interface to the loop library (libev, see loop.c). Unless a comment says otherwise everything is
 * called on the loop's own thread. */
#pragma once

#include "core/clock.h"
#include "core/err.h"
#include "core/list.h"

typedef struct bus_loop bus_loop_t;

/* `name` ("cell-0") is for logs and the thread name; copied. Any thread, before the loop runs. */
bus_loop_t *bus_loop_new(const char *name) __attribute__((returns_nonnull));
/* Only when it does not run and nothing is registered any more. */
void bus_loop_free(bus_loop_t **loop_p);
/* Runs on the calling thread until bus_loop_stop(). */
void bus_loop_run(bus_loop_t *loop);
/* Runs what is ready now, and waits for at most `wait_ms` when nothing is. For tests and teardown. */
void bus_loop_run_once(bus_loop_t *loop, uint32_t wait_ms);
/* For who turns a loop by hand, with a clock of its own: when a timer has to be looked at next (0: never),
 * and whether tasks are left for the next turn. */
uint64_t bus_loop_next_timer_us(const bus_loop_t *loop);
bool bus_loop_has_tasks(const bus_loop_t *loop);
/* Any thread: the loop returns from bus_loop_run after its current turn. */
void bus_loop_stop(bus_loop_t *loop);
/* Any thread: runs fn(arg) on the loop soon. Never lost once it returned. */
void bus_loop_post(bus_loop_t *loop, void (*fn)(void *arg), void *arg);
/* The library's own object (struct ev_loop *), for libwebsockets' foreign loop. */
void *bus_loop_native(bus_loop_t *loop);
const char *bus_loop_name(const bus_loop_t *loop);
/* May the caller touch what belongs to the loop? Any thread may while it does not run. For assertions. */
bool bus_loop_is_current(const bus_loop_t *loop);
/* Monotonic microseconds, read once a turn and after each poll: good for time-outs. For measuring
 * use dyn_mono_us(). Same time base. */
uint64_t bus_loop_now_us(const bus_loop_t *loop);
/* Injected clock, dyn_clock_system unless a test set another before the loop ran. */
const struct dyn_clock *bus_loop_clock(const bus_loop_t *loop);
void bus_loop_set_clock(bus_loop_t *loop, const struct dyn_clock *clock);

/* A descriptor watched. Embedded in its owner; zero-initialised is "not watched". One that is patient lets
 * others go first: a few of them are served in each turn, in the order in which they became ready. */
enum { BUS_FD_READ = 1, BUS_FD_WRITE = 2 };
struct bus_fd {
    void (*ready)(struct bus_fd *watch, int fd, unsigned events); /* BUS_FD_READ | BUS_FD_WRITE */
    bus_loop_t *loop;
    bool is_patient;      /* the owner's, at any time */
    unsigned put_off;     /* the loop's own: events that wait for their turn; 0: not listed */
    struct dyn_list link; /* the loop's own, while events wait */
    _Alignas(16) char memory[64]; /* the library's watcher; its size is checked in loop.c */
};
/* Starts, changes (events or fd) or stops (events == 0) watching. Allowed inside `ready`. The descriptor
 * is borrowed: stop watching before closing it. No system call when the events are what the kernel has
 * by the time of the poll, and none for stopping; one for starting again, as the number may stand for
 * another file by then. So keep watching what stays open and is only silent for a while. */
void bus_fd_watch(bus_loop_t *loop, struct bus_fd *watch, int fd, unsigned events);

/* A timer. Embedded; zero-initialised with `fire` set is "not armed". Re-arming to a later time and
 * disarming cost nothing (its place in the loop's heap is left to find out), so arm and disarm freely.
 * Timers fire at the end of a turn, after input and output and before tasks: what arrived in time
 * disarms its time-out in time. So they wait for patient descriptors, too, though not for ever. */
struct bus_timer {
    void (*fire)(struct bus_timer *timer);
    uint64_t    at_us; /* 0: not armed */
    bus_loop_t *loop;
    uint32_t    place; /* the loop's own: in its heap, from 1; 0: not in it */
};
/* Fires once, not earlier than `delay_ms` after bus_loop_now_us(); 0 is in this turn or the next.
 * Re-arming replaces the time. */
void bus_timer_arm(bus_loop_t *loop, struct bus_timer *timer, uint64_t delay_ms);
void bus_timer_disarm(struct bus_timer *timer);
/* Must be called before the memory goes away; afterwards it may be armed again. */
void bus_timer_fini(struct bus_timer *timer);
static inline bool
bus_timer_is_armed(const struct bus_timer *timer)
{
    return timer->at_us != 0;
}

/* Work of the current turn, before the loop polls again: no callback of a descriptor or of a library is under
 * way then, though others of the turn may be to come. Embedded; queuing one that is queued does nothing.
 * `run` may queue again (runs before the poll too, up to a limit that keeps input/output served). */
struct bus_task {
    struct dyn_list link;
    void (*run)(struct bus_task *task);
};
void bus_task_init(struct bus_task *task, void (*run)(struct bus_task *task));
void bus_task_queue(bus_loop_t *loop, struct bus_task *task);
void bus_task_cancel(struct bus_task *task);

/* Who keeps objects to use again and gives them back when dyn_pieces_shed() is asked (core/piece.h): `shed`
 * runs at the end of a turn. Embedded in the keeper. */
struct bus_keeper {
    struct dyn_list link;
    void (*shed)(struct bus_keeper *keeper);
};
void bus_keeper_init(struct bus_keeper *keeper, void (*shed)(struct bus_keeper *keeper));
void bus_keeper_add(bus_loop_t *loop, struct bus_keeper *keeper);
void bus_keeper_remove(struct bus_keeper *keeper); /* also one that was not added */
