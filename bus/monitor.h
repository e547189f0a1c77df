/* What happens to the connections of a ZeroMQ socket, told on its loop (zmq_socket_monitor). The events come
 * over a pipe of their own: they are not in order with the socket's messages. */
#pragma once

#include "bus/bus_impl.h"
#include "bus/zmq_poll.h"

struct monitor {
    /* `event` is one of ZMQ_EVENT_*; `value` is what it carries, mostly a descriptor. */
    void (*happened)(struct monitor *monitor, unsigned event, int value);
    struct zmq_poll poll;
    void *watched;
};

/* `happened` is set, the rest is zero. `events`: bits of ZMQ_EVENT_*. */
int monitor_start(struct monitor *monitor, bus_t *bus, bus_loop_t *loop, void *socket, int events,
                  struct dyn_err *err);
/* Tells everything that has happened until now. */
void monitor_drain(struct monitor *monitor);
/* Before the socket is closed. Does nothing when it was not started. */
void monitor_stop(struct monitor *monitor);
