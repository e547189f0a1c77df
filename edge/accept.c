/* See accept.h. */
#include "edge/accept.h"

#include "core/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    ACCEPTS_PER_TURN = 64,     /* the others on this loop want their turn, too */
    IMBALANCE = 2,             /* more connections than the least busy cell: one of them goes there */
    RETRY_MS = 100,            /* when accepting fails for a reason that only time mends */
    DRAIN_ACCEPTS_MAX = 65536, /* a listening socket's queue is never longer */
};

struct handover {
    struct edge_group *group;
    unsigned cell;
    int fd;
};

static size_t
load_of(struct edge_cell *cell)
{
    return atomic_load_explicit(&cell->connections, memory_order_relaxed) +
           atomic_load_explicit(&cell->on_the_way, memory_order_relaxed);
}

/* ---- one connection ---- */

/* Best effort: the client has not been read, so the kernel may send it a reset instead. */
static void
turn_away(struct edge_acceptor *acceptor, int fd)
{
    static const char answer[] = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\n"
                                 "connection: close\r\n\r\n";
    edge_count(&acceptor->group->counters.refused_connections);
    if (acceptor->group->tls == NULL) { /* there a client would take it for broken TLS */
        (void)send(fd, answer, sizeof answer - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    (void)close(fd);
}

static void
take(struct edge_acceptor *acceptor, int fd)
{
    struct dyn_err err;
    if (http_server_adopt(acceptor->server, fd, &err) != 0) {
        dyn_log(DYN_LOG_WARN, "edge.refused", "a new connection is refused", DYN_LOG_STR("reason", err.text));
        turn_away(acceptor, fd);
    }
}

static void
take_handed_over(void *arg)
{
    struct handover *handover = arg;
    struct edge_cell *cell = &handover->group->cells[handover->cell];
    (void)atomic_fetch_sub_explicit(&cell->on_the_way, 1, memory_order_relaxed);
    if (cell->acceptor != NULL) {
        take(cell->acceptor, handover->fd);
    } else {
        (void)close(handover->fd);
    }
    free(handover);
}

static void
hand_over(struct edge_group *group, unsigned cell, int fd)
{
    struct handover *handover = dyn_alloc(sizeof *handover);
    *handover = (struct handover){group, cell, fd};
    edge_count(&group->counters.handed_over);
    (void)atomic_fetch_add_explicit(&group->cells[cell].on_the_way, 1, memory_order_relaxed);
    bus_loop_post(group->cells[cell].loop, take_handed_over, handover);
}

static unsigned
least_busy(struct edge_acceptor *acceptor)
{
    struct edge_group *group = acceptor->group;
    unsigned best = acceptor->cell;
    size_t best_load = load_of(&group->cells[best]);
    for (unsigned i = 0; i < group->n_cells; i++) {
        size_t load = load_of(&group->cells[i]);
        if (load < best_load && atomic_load_explicit(&group->cells[i].accepts, memory_order_relaxed)) {
            best = i;
            best_load = load;
        }
    }
    return best;
}

static void
place(struct edge_acceptor *acceptor, int fd)
{
    struct edge_group *group = acceptor->group;
    edge_count(&group->counters.accepted);
    if (group->n_cells > 1 && !acceptor->is_leaving) {
        unsigned best = least_busy(acceptor);
        size_t here = load_of(&group->cells[acceptor->cell]);
        size_t there = load_of(&group->cells[best]);
        if (here >= there + IMBALANCE || (here >= acceptor->connections_max && there < here)) {
            hand_over(group, best, fd);
            return;
        }
    }
    take(acceptor, fd);
}

/* ---- out of descriptors ---- */

static int
open_reserve(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* A connection that cannot be accepted stays in the queue and keeps the socket readable: the loop would
 * spin. The reserve gives way for a moment, so that the connection can be accepted and closed. Returns 0 or
 * the error (EAGAIN: none waits; accept4() looks for a descriptor before it looks into the queue). */
static int
refuse_one(struct edge_acceptor *acceptor, int listener)
{
    if (acceptor->reserve < 0) {
        return EMFILE;
    }
    (void)close(acceptor->reserve);
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    int error = fd >= 0 ? 0 : errno;
    if (fd >= 0) {
        edge_count(&acceptor->group->counters.refused_connections);
        (void)close(fd);
    }
    acceptor->reserve = open_reserve();
    return error;
}

static void
say_once(struct edge_acceptor *acceptor)
{
    if (!acceptor->out_of_descriptors) {
        acceptor->out_of_descriptors = true;
        dyn_log(DYN_LOG_ERROR, "edge.descriptors",
                "out of file descriptors: new connections are refused, open ones go on; raise the limit "
                "(ulimit -n, LimitNOFILE)");
    }
}

/* ---- the sockets ---- */

static void watch(struct edge_acceptor *acceptor, unsigned events);

static void
on_retry(struct bus_timer *timer)
{
    struct edge_acceptor *acceptor = DYN_CONTAINER_OF(timer, struct edge_acceptor, retry);
    if (acceptor->reserve < 0) {
        acceptor->reserve = open_reserve();
    }
    watch(acceptor, BUS_FD_READ);
}

/* false: nothing is left to accept, or nothing can be. */
static bool
accept_one(struct edge_acceptor *acceptor, int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        acceptor->out_of_descriptors = false;
        place(acceptor, fd);
        return true;
    }
    int error = errno;
    if (error == EMFILE || error == ENFILE) {
        error = refuse_one(acceptor, listener);
    }
    switch (error) {
    case EAGAIN:
        return false;
    case 0:
        say_once(acceptor);
        return true;
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case EPERM: /* a firewall's rule */
        return true;
    default:
        dyn_log(DYN_LOG_ERROR, "edge.accept", "accepting a connection failed",
                DYN_LOG_STR("reason", strerror(error)));
        break;
    }
    watch(acceptor, 0);
    bus_timer_arm(acceptor->loop, &acceptor->retry, RETRY_MS);
    return false;
}

static void
on_ready(struct bus_fd *watched, int fd, unsigned events)
{
    struct edge_acceptor *acceptor = DYN_CONTAINER_OF(watched, struct edge_socket, watch)->acceptor;
    (void)events;
    for (unsigned n = 0; n < ACCEPTS_PER_TURN && accept_one(acceptor, fd); n++) {
    }
}

static void leave(struct bus_timer *timer);

static void
watch(struct edge_acceptor *acceptor, unsigned events)
{
    for (unsigned i = 0; i < acceptor->n_sockets; i++) {
        bus_fd_watch(acceptor->loop, &acceptor->sockets[i].watch, acceptor->sockets[i].fd, events);
    }
}

void
edge_acceptor_start(struct edge_acceptor *acceptor, struct edge_group *group, unsigned cell, bus_loop_t *loop,
                    http_server_t *server, size_t connections_max)
{
    *acceptor = (struct edge_acceptor){
        .group = group,
        .cell = cell,
        .loop = loop,
        .server = server,
        .connections_max = connections_max,
        .reserve = open_reserve(),
        .retry.fire = on_retry,
        .leave.fire = leave,
    };
    struct listeners *listeners = &group->listeners;
    for (unsigned i = 0; i < listeners->per_cell; i++) {
        int *fd = &listeners->fds[cell * listeners->per_cell + i];
        struct edge_socket *socket = &acceptor->sockets[acceptor->n_sockets++];
        *socket = (struct edge_socket){.watch.ready = on_ready, .acceptor = acceptor, .fd = *fd};
        *fd = -1; /* ours to close */
    }
    group->cells[cell].loop = loop;
    group->cells[cell].acceptor = acceptor;
    atomic_store_explicit(&group->cells[cell].accepts, true, memory_order_relaxed);
    watch(acceptor, BUS_FD_READ);
}

static void
close_sockets(struct edge_acceptor *acceptor)
{
    watch(acceptor, 0);
    for (unsigned i = 0; i < acceptor->n_sockets; i++) {
        (void)close(acceptor->sockets[i].fd);
    }
    acceptor->n_sockets = 0;
    bus_timer_fini(&acceptor->retry);
}

/* Whether this cell may be given connections of others does not matter here: what is accepted now is served.
 */
static void
leave(struct bus_timer *timer)
{
    struct edge_acceptor *acceptor = DYN_CONTAINER_OF(timer, struct edge_acceptor, leave);
    for (unsigned i = 0; i < acceptor->n_sockets; i++) {
        for (unsigned n = 0; n < DRAIN_ACCEPTS_MAX && accept_one(acceptor, acceptor->sockets[i].fd); n++) {
        }
    }
    acceptor->is_leaving = false;
    close_sockets(acceptor);
}

void
edge_acceptor_drain(struct edge_acceptor *acceptor)
{
    atomic_store_explicit(&acceptor->group->cells[acceptor->cell].accepts, false, memory_order_relaxed);
    for (unsigned i = 0; i < acceptor->n_sockets; i++) {
        listen_steer_away(acceptor->sockets[i].fd, acceptor->group->n_cells);
    }
    acceptor->is_leaving = true;
    bus_timer_arm(acceptor->loop, &acceptor->leave, EDGE_LEAVE_MS);
}

void
edge_acceptor_stop(struct edge_acceptor *acceptor)
{
    struct edge_cell *cell = &acceptor->group->cells[acceptor->cell];
    atomic_store_explicit(&cell->accepts, false, memory_order_relaxed);
    cell->acceptor = NULL;
    close_sockets(acceptor);
    bus_timer_fini(&acceptor->leave);
    if (acceptor->reserve >= 0) {
        (void)close(acceptor->reserve);
    }
}
