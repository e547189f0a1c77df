/* From bus_start to bus_stop: one thread a loop, actors started in order before any loop turns,
 * drained kind by kind and stopped in reverse order while the loops still turn, threads joined. Everything an
 * actor sees happens on its loop's thread; the caller's thread waits. */
#include "bus/context.h"
#include "bus/wire_inproc.h"
#include "core/log.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>

/* Something that the caller's thread has done on a loop's thread, waiting for it. */
struct host_call {
    struct bus_host *host;
    void (*fn)(void *arg);
    void *arg;
    bool done; /* under bus->lock */
};

static void
run_call(void *arg)
{
    struct host_call *call = arg;
    bus_t *bus = call->host->bus;
    call->fn(call->arg);
    (void)pthread_mutex_lock(&bus->lock);
    call->done = true;
    (void)pthread_cond_broadcast(&bus->changed);
    (void)pthread_mutex_unlock(&bus->lock);
}

static void
call_on_host(struct bus_host *host, void (*fn)(void *arg), void *arg)
{
    bus_t *bus = host->bus;
    struct host_call call = {.host = host, .fn = fn, .arg = arg};
    if (!host->has_thread) {
        fn(arg);
        return;
    }
    (void)pthread_mutex_lock(&bus->lock);
    if (host->released) {
        (void)pthread_mutex_unlock(&bus->lock);
        bus_loop_post(host->loop, run_call, &call);
        (void)pthread_mutex_lock(&bus->lock);
    } else {
        host->call = &call;
        (void)pthread_cond_broadcast(&bus->changed);
    }
    while (!call.done) {
        (void)pthread_cond_wait(&bus->changed, &bus->lock);
    }
    (void)pthread_mutex_unlock(&bus->lock);
}

/* ---- a loop's thread ---- */

static void *
host_main(void *arg)
{
    struct bus_host *host = arg;
    bus_t *bus = host->bus;
    (void)pthread_setname_np(pthread_self(), bus_loop_name(host->loop));
    (void)pthread_mutex_lock(&bus->lock);
    while (!host->released) {
        struct host_call *call = host->call;
        host->call = NULL;
        if (call == NULL) {
            (void)pthread_cond_wait(&bus->changed, &bus->lock);
            continue;
        }
        (void)pthread_mutex_unlock(&bus->lock);
        run_call(call);
        (void)pthread_mutex_lock(&bus->lock);
    }
    (void)pthread_mutex_unlock(&bus->lock);
    bus_loop_run(host->loop);
    return NULL;
}

/* Signals are the business of the thread that started the gateway. */
static int
start_threads(bus_t *bus, struct dyn_err *err)
{
    sigset_t all;
    sigset_t before;
    int failed = 0;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    for (unsigned i = 0; i < bus->n_hosts && failed == 0; i++) {
        struct bus_host *host = bus->hosts[i];
        failed = pthread_create(&host->thread, NULL, host_main, host);
        host->has_thread = failed == 0;
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed != 0) {
        return dyn_err_set(err, DYN_E_IO, "cannot start a thread: %s", strerror(failed));
    }
    return 0;
}

static void
release_threads(bus_t *bus)
{
    (void)pthread_mutex_lock(&bus->lock);
    for (unsigned i = 0; i < bus->n_hosts; i++) {
        bus->hosts[i]->released = true;
    }
    (void)pthread_cond_broadcast(&bus->changed);
    (void)pthread_mutex_unlock(&bus->lock);
}

/* ---- start ---- */

struct start_call {
    struct bus_actor *actor;
    struct dyn_err *err;
    int result;
};

static void
start_on_loop(void *arg)
{
    struct start_call *call = arg;
    call->result = call->actor->ops->start(call->actor->self, call->actor, call->err);
}

static int
start_actors(bus_t *bus, struct dyn_err *err)
{
    for (size_t i = 0; i < bus->n_actors; i++) {
        struct start_call call = {.actor = bus->actors[i], .err = err};
        call_on_host(bus->actors[i]->host, start_on_loop, &call);
        if (call.result != 0) {
            return -1;
        }
    }
    return 0;
}

static void stop_everything(bus_t *bus);

/* One loop with the local wire needs no ZeroMQ at all. */
static int
open_wires(bus_t *bus, struct dyn_err *err)
{
    return bus->n_hosts > 1 || bus->options.inproc ? wire_inproc_open(bus, err) : 0;
}

int
bus_start(bus_t *bus, struct dyn_err *err)
{
    DYN_ASSERT(!bus->started);
    bus->started = true;
    if (open_wires(bus, err) != 0 || start_threads(bus, err) != 0 || start_actors(bus, err) != 0) {
        stop_everything(bus);
        return -1;
    }
    release_threads(bus);
    return 0;
}

/* ---- drain ---- */

void
bus_actor_idle(bus_actor_t *me)
{
    bus_t *bus = me->host->bus;
    if (me->live_drains) {
        me->live_idle = true;
        bus_task_queue(me->host->loop, me->when_idle);
        return;
    }
    (void)pthread_mutex_lock(&bus->lock);
    if (me->draining && !me->idle) {
        me->idle = true;
        bus->busy--;
        (void)pthread_cond_broadcast(&bus->changed);
    }
    (void)pthread_mutex_unlock(&bus->lock);
}

struct drain_call {
    struct bus_actor *actor;
    uint64_t left_us;
};

static void
drain_on_loop(void *arg)
{
    struct drain_call *call = arg;
    struct bus_actor *actor = call->actor;
    if (actor->ops->drain == NULL) {
        bus_actor_idle(actor);
        return;
    }
    actor->ops->drain(actor->self, bus_loop_now_us(actor->host->loop) + call->left_us);
}

static void
tell_to_drain(struct bus_actor *actor, uint64_t deadline_us)
{
    bus_t *bus = actor->host->bus;
    uint64_t now_us = dyn_mono_us(&dyn_clock_system);
    struct drain_call call = {.actor = actor, .left_us = deadline_us > now_us ? deadline_us - now_us : 0};
    (void)pthread_mutex_lock(&bus->lock);
    actor->draining = true;
    bus->busy++;
    (void)pthread_mutex_unlock(&bus->lock);
    call_on_host(actor->host, drain_on_loop, &call);
}

static void
wait_until_idle(bus_t *bus, uint64_t deadline_us)
{
    struct timespec until = {.tv_sec = (time_t)(deadline_us / 1000000),
                             .tv_nsec = (long)(deadline_us % 1000000) * 1000};
    int timed_out = 0;
    (void)pthread_mutex_lock(&bus->lock);
    while (bus->busy > 0 && timed_out == 0) {
        timed_out = pthread_cond_timedwait(&bus->changed, &bus->lock, &until);
    }
    (void)pthread_mutex_unlock(&bus->lock);
}

/* A kind drains when the kinds that were added after it are idle: an edge may still hand its last
 * requests to a router that takes them. */
static void
drain_actors(bus_t *bus, uint64_t deadline_us)
{
    for (size_t i = bus->n_actors; i-- > 0;) {
        if (bus->actors[i]->draining) {
            continue;
        }
        for (size_t k = i + 1; k-- > 0;) {
            if (strcmp(bus->actors[k]->ops->kind, bus->actors[i]->ops->kind) == 0) {
                tell_to_drain(bus->actors[k], deadline_us);
            }
        }
        wait_until_idle(bus, deadline_us);
    }
}

static unsigned
count_busy(bus_t *bus)
{
    (void)pthread_mutex_lock(&bus->lock);
    for (size_t i = 0; i < bus->n_actors; i++) {
        const struct bus_actor *actor = bus->actors[i];
        if (!actor->idle) {
            dyn_log(DYN_LOG_WARN, "bus.drain", "an actor still had work when its time was over",
                    DYN_LOG_STR("actor", actor->ops->kind),
                    DYN_LOG_STR("loop", bus_loop_name(actor->host->loop)));
        }
    }
    unsigned busy = bus->busy;
    (void)pthread_mutex_unlock(&bus->lock);
    return busy;
}

/* ---- stop ---- */

static void
stop_on_loop(void *arg)
{
    bus_actor_stop_now(arg);
}

/* Loops that turn go on turning until every actor is gone, so what a stopping actor still sends
 * (a CANCEL) reaches those behind it. */
static void
stop_everything(bus_t *bus)
{
    for (size_t i = bus->n_actors; i-- > 0;) {
        call_on_host(bus->actors[i]->host, stop_on_loop, bus->actors[i]);
    }
    for (unsigned i = 0; i < bus->n_hosts; i++) {
        bus_loop_stop(bus->hosts[i]->loop);
    }
    release_threads(bus); /* those that never ran their loop run it for one turn */
    for (unsigned i = 0; i < bus->n_hosts; i++) {
        if (bus->hosts[i]->has_thread) {
            (void)pthread_join(bus->hosts[i]->thread, NULL);
            bus->hosts[i]->has_thread = false;
        }
    }
    wire_inproc_close(bus);
    bus_context_close(bus);
    for (unsigned i = 0; i < bus->n_hosts; i++) {
        bus_host_drop_inbox(bus->hosts[i]);
    }
    bus->stopped = true;
}

unsigned
bus_stop(bus_t *bus, uint32_t timeout_ms)
{
    if (!bus->started || bus->stopped) {
        return 0;
    }
    uint64_t deadline_us = dyn_mono_us(&dyn_clock_system) + (uint64_t)timeout_ms * 1000;
    drain_actors(bus, deadline_us);
    unsigned busy = count_busy(bus);
    stop_everything(bus);
    return busy;
}
