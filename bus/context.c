/* libzmq's context, see context.h. */
#include "bus/context.h"

#include <errno.h>
#include <pthread.h>
#include <zmq.h>

/* What ports and links need: a socket, and two more for its monitor, each; links that are between two
 * connections have those of both. A table of pointers in libzmq, 16 bytes a socket. */
#define REMOTE_SOCKETS 4096

/* Debian's libzmq sets up libpgm with its first context and takes it down with its last, which is not safe
 * when one gateway begins while another ends. The only lock that gateways share; never taken by a running
 * one. */
static pthread_mutex_t context_lock = PTHREAD_MUTEX_INITIALIZER;

static int
open_locked(bus_t *bus, struct dyn_err *err)
{
    if (bus->zmq != NULL) {
        return 0;
    }
    (void)pthread_mutex_lock(&context_lock);
    bus->zmq = zmq_ctx_new();
    (void)pthread_mutex_unlock(&context_lock);
    if (bus->zmq == NULL) {
        return dyn_err_set(err, DYN_E_IO, "cannot open the bus: %s", zmq_strerror(zmq_errno()));
    }
    /* inproc: one receiving end a loop, one sending end for each pair. */
    int sockets = (int)(bus->n_hosts * (bus->n_hosts + 1)) + REMOTE_SOCKETS;
    (void)zmq_ctx_set(bus->zmq, ZMQ_MAX_SOCKETS, sockets);
    /* One thread carries about 1 GB/s, half of that with CURVE. It also keeps what the monitor says in the
     * order in which it happened. */
    (void)zmq_ctx_set(bus->zmq, ZMQ_IO_THREADS, 1);
    return 0;
}

int
bus_context_open(bus_t *bus, struct dyn_err *err)
{
    (void)pthread_mutex_lock(&bus->lock);
    int result = open_locked(bus, err);
    (void)pthread_mutex_unlock(&bus->lock);
    return result;
}

static int
admit_locked(bus_t *bus, bus_security_t *security, struct dyn_err *err)
{
    if (open_locked(bus, err) != 0) {
        return -1;
    }
    if (bus->zap == NULL && bus_security_has_curve(security)) {
        bus->zap = bus_zap_start(bus->zmq, security, err);
        return bus->zap != NULL ? 0 : -1;
    }
    return 0;
}

int
bus_context_admit(bus_t *bus, bus_security_t *security, struct dyn_err *err)
{
    (void)pthread_mutex_lock(&bus->lock);
    int result = admit_locked(bus, security, err);
    (void)pthread_mutex_unlock(&bus->lock);
    return result;
}

void
bus_context_close(bus_t *bus)
{
    if (bus->zmq == NULL) {
        return;
    }
    if (bus->zap != NULL) {
        bus_zap_stop(&bus->zap);
    }
    (void)pthread_mutex_lock(&context_lock);
    while (zmq_ctx_term(bus->zmq) != 0 && zmq_errno() == EINTR) {
    }
    (void)pthread_mutex_unlock(&context_lock);
    bus->zmq = NULL;
}
