/* See fleet.h. */
#include "actors/metrics/fleet.h"

#include "bus/subscriber.h"
#include "core/clock.h"
#include "core/log.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { LOOK_MS = 200 }; /* how soon the thread sees that it shall end */

struct fleet {
    const bus_security_t *security;
    char **routers;
    size_t n_routers;
    struct request_cell *requests;
    nodes_t *nodes;
    subscriber_t *subscriber;
    pthread_t thread;
    bool has_thread;
    atomic_bool ends;
    atomic_uint_fast64_t missed;
};

static void
count_event(struct fleet *fleet, const struct subscriber_event *event)
{
    struct node_report report;
    bool is_request = dyn_slice_is(event->topic, EVENT_REQUEST_COMPLETED) ||
                      dyn_slice_is(event->topic, EVENT_REQUEST_FAILED);
    if (is_request) {
        request_cell_count(fleet->requests, &event->record);
        uint64_t missed = atomic_load_explicit(&fleet->missed, memory_order_relaxed);
        atomic_store_explicit(&fleet->missed, missed + event->missed, memory_order_relaxed);
    } else if (dyn_slice_is(event->topic, EVENT_NODE_COUNTERS) &&
               node_report_decode(event->map, &report) == 0) {
        nodes_heard(fleet->nodes, &report, dyn_mono_us(&dyn_clock_system));
    }
}

static void *
run(void *arg)
{
    struct fleet *fleet = arg;
    while (!atomic_load_explicit(&fleet->ends, memory_order_relaxed)) {
        struct subscriber_event event;
        struct dyn_err err;
        int result = subscriber_next(fleet->subscriber, LOOK_MS, &event, &err);
        if (result > 0) {
            count_event(fleet, &event);
        } else if (result < 0) {
            dyn_log(DYN_LOG_WARN, "metrics.replay", "what is missed stays uncounted",
                    DYN_LOG_STR("reason", err.text));
        }
    }
    return NULL;
}

fleet_t *
fleet_new(const bus_security_t *security, const char *const *routers, size_t n_routers,
          struct request_cell *requests, nodes_t *nodes)
{
    struct fleet *fleet = dyn_zalloc(sizeof *fleet);
    fleet->security = security;
    fleet->requests = requests;
    fleet->nodes = nodes;
    fleet->n_routers = n_routers;
    fleet->routers = dyn_alloc(n_routers * sizeof *fleet->routers);
    for (size_t i = 0; i < n_routers; i++) {
        fleet->routers[i] = dyn_strdup(routers[i]);
    }
    return fleet;
}

/* Signals are the business of the thread that started the gateway. */
static int
start_thread(struct fleet *fleet)
{
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&fleet->thread, NULL, run, fleet);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    fleet->has_thread = failed == 0;
    return failed;
}

int
fleet_start(fleet_t *fleet, struct dyn_err *err)
{
    /* Nothing from before: a page that was there earlier may have counted it. */
    const struct subscriber_options options = {
        .routers = (const char *const *)fleet->routers,
        .n_routers = fleet->n_routers,
        .security = fleet->security,
        .topic = "gateway.",
        .fills = true,
    };
    fleet->subscriber = subscriber_open(&options, err);
    if (fleet->subscriber == NULL) {
        return -1;
    }
    int failed = start_thread(fleet);
    return failed == 0 ? 0 : dyn_err_set(err, DYN_E_IO, "cannot start a thread: %s", strerror(failed));
}

void
fleet_free(fleet_t **fleet_p)
{
    struct fleet *fleet = *fleet_p;
    *fleet_p = NULL;
    if (fleet == NULL) {
        return;
    }
    if (fleet->has_thread) {
        atomic_store_explicit(&fleet->ends, true, memory_order_relaxed);
        (void)pthread_join(fleet->thread, NULL);
    }
    subscriber_close(&fleet->subscriber);
    for (size_t i = 0; i < fleet->n_routers; i++) {
        free(fleet->routers[i]);
    }
    free(fleet->routers);
    free(fleet);
}

uint64_t
fleet_missed(const fleet_t *fleet)
{
    return atomic_load_explicit(&fleet->missed, memory_order_relaxed);
}
