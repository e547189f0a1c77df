/* The ZMQ_FD rule in one place, see zmq_poll.h. */
#include "bus/zmq_poll.h"

#include <zmq.h>

static bool
can_receive(const struct zmq_poll *poll)
{
    int events = 0;
    size_t size = sizeof events;
    return zmq_getsockopt(poll->socket, ZMQ_EVENTS, &events, &size) == 0 && (events & ZMQ_POLLIN) != 0;
}

static void
ask(struct bus_task *task)
{
    struct zmq_poll *poll = DYN_CONTAINER_OF(task, struct zmq_poll, ask);
    if (can_receive(poll) && poll->receive(poll)) {
        bus_task_queue(poll->loop, &poll->ask);
    }
}

static void
descriptor_ready(struct bus_fd *watch, int fd, unsigned events)
{
    (void)fd;
    (void)events;
    zmq_poll_touched(DYN_CONTAINER_OF(watch, struct zmq_poll, fd));
}

int
zmq_poll_start(struct zmq_poll *poll, bus_loop_t *loop, struct dyn_err *err)
{
    int fd = -1;
    size_t size = sizeof fd;
    if (zmq_getsockopt(poll->socket, ZMQ_FD, &fd, &size) != 0) {
        return dyn_err_set(err, DYN_E_IO, "a bus socket has no descriptor: %s", zmq_strerror(zmq_errno()));
    }
    poll->loop = loop;
    poll->fd.ready = descriptor_ready;
    bus_task_init(&poll->ask, ask);
    bus_fd_watch(loop, &poll->fd, fd, BUS_FD_READ);
    bus_task_queue(loop, &poll->ask); /* what arrived before */
    return 0;
}

void
zmq_poll_touched(struct zmq_poll *poll)
{
    bus_task_queue(poll->loop, &poll->ask);
}

void
zmq_poll_stop(struct zmq_poll *poll)
{
    if (poll->loop != NULL) {
        bus_fd_watch(poll->loop, &poll->fd, -1, 0);
        bus_task_cancel(&poll->ask);
        poll->loop = NULL;
    }
}
