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
};

void edge_acceptor_start(struct edge_acceptor *acceptor, struct edge_group *group, unsigned cell,
                         bus_loop_t *loop, http_server_t *server, size_t connections_max);
/* Takes what is queued and closes the sockets. Connections may still be handed over by other cells. */
void edge_acceptor_drain(struct edge_acceptor *acceptor);
void edge_acceptor_stop(struct edge_acceptor *acceptor);
