/* The monitor of a socket, see monitor.h. libzmq's input/output thread writes the events; what it says of a
 * descriptor it says before it closes it, and all sockets of a context have that one thread (context.c). */
#include "bus/monitor.h"

#include "bus/tsan.h"

#include <stdio.h>
#include <zmq.h>

enum { EVENT_BATCH = 64 }; /* then tasks queued before get their turn */
enum { EVENT_BYTES = 6 };  /* 16 bits event, 32 bits value, in the machine's order */

static void
close_frame(zmq_msg_t *frame)
{
    (void)zmq_msg_close(frame);
}

/* An event is two frames; the second, the endpoint, is of no interest. */
static bool
tell_one(struct monitor *monitor)
{
    zmq_msg_t frame;
    uint16_t event = 0;
    int32_t value = 0;
    (void)zmq_msg_init(&frame);
    if (zmq_msg_recv(&frame, monitor->poll.socket, ZMQ_DONTWAIT) < 0) {
        close_frame(&frame);
        return false;
    }
    bool is_event = zmq_msg_size(&frame) >= EVENT_BYTES;
    if (is_event) {
        const char *data = zmq_msg_data(&frame);
        BUS_TSAN_ACQUIRE(data);
        memcpy(&event, data, sizeof event);
        memcpy(&value, data + sizeof event, sizeof value);
    }
    while (zmq_msg_more(&frame) && zmq_msg_recv(&frame, monitor->poll.socket, ZMQ_DONTWAIT) >= 0) {
    }
    close_frame(&frame);
    if (is_event) {
        monitor->happened(monitor, event, value);
    }
    return true;
}

void
monitor_drain(struct monitor *monitor)
{
    /* `happened` may stop the monitor. */
    while (monitor->poll.socket != NULL && tell_one(monitor)) {
    }
    if (monitor->poll.loop != NULL) {
        zmq_poll_touched(&monitor->poll);
    }
}

static bool
receive(struct zmq_poll *poll)
{
    struct monitor *monitor = DYN_CONTAINER_OF(poll, struct monitor, poll);
    for (unsigned n = 0; n < EVENT_BATCH && poll->socket != NULL; n++) {
        if (!tell_one(monitor)) {
            return false;
        }
    }
    return poll->socket != NULL;
}

static int
connect_to_events(struct monitor *monitor, bus_t *bus, const char *endpoint, struct dyn_err *err)
{
    const int zero = 0;
    void *pair = zmq_socket(bus->zmq, ZMQ_PAIR);
    monitor->poll.socket = pair;
    /* Without a limit, or the input/output thread, which everybody shares, would wait for this loop. */
    if (pair == NULL || zmq_setsockopt(pair, ZMQ_RCVHWM, &zero, sizeof zero) != 0 ||
        zmq_setsockopt(pair, ZMQ_LINGER, &zero, sizeof zero) != 0 || zmq_connect(pair, endpoint) != 0) {
        return dyn_err_set(err, DYN_E_IO, "cannot watch a socket of the bus: %s", zmq_strerror(zmq_errno()));
    }
    return 0;
}

int
monitor_start(struct monitor *monitor, bus_t *bus, bus_loop_t *loop, void *socket, int events,
              struct dyn_err *err)
{
    char endpoint[48];
    unsigned number = atomic_fetch_add_explicit(&bus->monitors, 1, memory_order_relaxed);
    (void)snprintf(endpoint, sizeof endpoint, "inproc://monitor-%u", number);
    if (zmq_socket_monitor(socket, endpoint, events) != 0) {
        return dyn_err_set(err, DYN_E_IO, "cannot watch a socket of the bus: %s", zmq_strerror(zmq_errno()));
    }
    monitor->watched = socket;
    monitor->poll.receive = receive;
    if (connect_to_events(monitor, bus, endpoint, err) != 0 ||
        zmq_poll_start(&monitor->poll, loop, err) != 0) {
        monitor_stop(monitor);
        return -1;
    }
    return 0;
}

void
monitor_stop(struct monitor *monitor)
{
    if (monitor->watched != NULL) {
        (void)zmq_socket_monitor(monitor->watched, NULL, 0);
        monitor->watched = NULL;
    }
    if (monitor->poll.socket != NULL) {
        zmq_poll_stop(&monitor->poll);
        (void)zmq_close(monitor->poll.socket);
        monitor->poll.socket = NULL;
    }
}
