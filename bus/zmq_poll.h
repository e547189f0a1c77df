/* A ZeroMQ socket on a loop. Keeps the one rule of ZMQ_FD: the descriptor is edge-triggered, it says
 * "something may have changed" and any call on the socket may swallow that. So after every call
 * ZMQ_EVENTS is asked again before the loop polls, until it says that nothing can be received. */
#pragma once

#include "bus/loop.h"

struct zmq_poll {
    /* Receive some messages (not all: others wait too). false: the last receive found nothing, so there
     * is no need to ask. Runs as a task, at the end of the turn. */
    bool (*receive)(struct zmq_poll *poll);
    void *socket;
    bus_loop_t *loop;
    struct bus_fd fd;
    struct bus_task ask;
};

/* `receive` and `socket` (borrowed) are set; the rest is zero. */
int zmq_poll_start(struct zmq_poll *poll, bus_loop_t *loop, struct dyn_err *err);
/* To be called after each send, receive or option call on the socket outside `receive`. */
void zmq_poll_touched(struct zmq_poll *poll);
/* Before the socket is closed. */
void zmq_poll_stop(struct zmq_poll *poll);
