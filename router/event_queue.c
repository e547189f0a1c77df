/* Events of ended requests, on their way to who publishes them. That actor runs on another loop, and waking
 * it costs more than an event does: they go together. */
#include "proto/event_batch.h"
#include "router/request.h"
#include "router/shared.h"

/* A cell's buffer stays as large as this, or as its largest batch but one. */
enum { KEPT_BYTES = 256 * 1024 };

/* Publishing never waits: a full mailbox loses the events and counts them. */
static void
send_events(struct router *router)
{
    struct router_shared *shared = router->options.shared;
    struct env *events = env_new(ENV_EVENT);
    events->topic = DYN_SLICE(EVENT_REQUESTS);
    events->body = dyn_block_copy(0, dyn_buf_slice(&router->events));
    events->is_own = true;
    if (bus_send(router->me, router->options.events, &events, NULL) == 0) {
        (void)atomic_fetch_add_explicit(&shared->events_sent, router->n_events, memory_order_release);
    } else {
        (void)atomic_fetch_add_explicit(&shared->events_dropped, router->n_events, memory_order_relaxed);
        env_free(&events);
    }
}

void
route_events_flush(struct router *router)
{
    bus_timer_disarm(&router->events_due);
    if (router->n_events == 0) {
        return;
    }
    send_events(router);
    router->n_events = 0;
    (router->events.cap > KEPT_BYTES ? dyn_buf_fini : dyn_buf_clear)(&router->events);
}

void
route_events_due(struct bus_timer *timer)
{
    route_events_flush(DYN_CONTAINER_OF(timer, struct router, events_due));
}

void
route_event_keep(struct router *router, const struct event_record *record)
{
    event_batch_add(&router->events, record);
    router->n_events++;
    if (router->is_draining || router->n_events >= ROUTE_EVENTS_MAX ||
        router->events.len >= ROUTE_EVENTS_BYTES) {
        route_events_flush(router);
    } else if (router->n_events == 1) {
        bus_timer_arm(router->loop, &router->events_due, ROUTE_EVENTS_MS);
    }
}
