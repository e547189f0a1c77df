/* Takes a cell's new connections from its listening sockets to its HTTP server, or to a cell that has
 * fewer (decided by count: the kernel spreads connections by hash, a few long streams may all meet). */
#pragma once

#include "edge/group.h"
#include "edge/http_server.h"

struct edge_socket {
    struct bus_fd         watch;
    struct edge_acceptor *acceptor;
    int                   fd;
};

struct edge_acceptor {
    struct edge_group *group;
    unsigned           cell;
    bus_loop_t        *loop;
    http_server_t     *server;
    size_t             connections_max;
    struct edge_socket sockets[LISTEN_ADDRESSES_MAX];
    unsigned           n_sockets;
    int                reserve; /* a descriptor kept for the day when there is none left; -1: none */
    bool               out_of_descriptors;
    struct bus_timer   retry;
    bool               is_leaving; /* drains: accepts for a moment, then closes */
    struct bus_timer   leave;
};

void edge_acceptor_start(struct edge_acceptor *acceptor, struct edge_group *group, unsigned cell,
                         bus_loop_t *loop, http_server_t *server, size_t connections_max);
/* New connections go to a process that shares the port, where there is one. Takes what is queued or still
 * on its way here, and closes the sockets after EDGE_LEAVE_MS. Connections may still be handed over by
 * other cells. */
enum { EDGE_LEAVE_MS = 100 }; /* a handshake that began before takes a round trip to end */
void edge_acceptor_drain(struct edge_acceptor *acceptor);
void edge_acceptor_stop(struct edge_acceptor *acceptor);
