/* Events of ended requests, on their way to who publishes them. That actor runs on another loop, and waking
 * it costs more than an event does: they go together. */
#include "router/request.h"
#include "router/shared.h"

/* Publishing never waits: a full mailbox loses the event and counts it. */
static void
send_event(struct router *router, struct env *event)
{
    struct router_shared *shared = router->options.shared;
    if (bus_send(router->me, router->options.events, &event, NULL) == 0) {
        (void)atomic_fetch_add_explicit(&shared->events_sent, 1, memory_order_release);
    } else {
        (void)atomic_fetch_add_explicit(&shared->events_dropped, 1, memory_order_relaxed);
        env_free(&event);
    }
}

void
route_events_flush(struct router *router)
{
    bus_timer_disarm(&router->events_due);
    router->n_events = 0;
    for (struct dyn_list *link; (link = dyn_list_pop(&router->events)) != NULL;) {
        send_event(router, DYN_CONTAINER_OF(link, struct env, link));
    }
}

void
route_events_due(struct bus_timer *timer)
{
    route_events_flush(DYN_CONTAINER_OF(timer, struct router, events_due));
}

void
route_event_keep(struct router *router, struct env *event)
{
    dyn_list_append(&router->events, &event->link);
    router->n_events++;
    if (router->is_draining || router->n_events >= ROUTE_EVENTS_MAX) {
        route_events_flush(router);
    } else if (router->n_events == 1) {
        bus_timer_arm(router->loop, &router->events_due, ROUTE_EVENTS_MS);
    }
}
