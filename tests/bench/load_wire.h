/* One connection of the load client: TCP, or TLS over it (the certificate is not looked at: it is a server
 * that we started). Connecting and the handshake block, which on loopback is over at once; sending and
 * receiving do not. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct ssl_st;

struct load_wire {
    int fd; /* -1: not connected */
    struct ssl_st *tls;
};

/* 0, or -1 with errno: EMFILE and ENFILE when descriptors have run out. */
int load_wire_connect(struct load_wire *wire, const struct sockaddr_in *address, bool tls);
/* As send(2) and recv(2) with MSG_DONTWAIT: -1 with EAGAIN when it would wait. */
ssize_t load_wire_send(struct load_wire *wire, const char *data, size_t len);
ssize_t load_wire_receive(struct load_wire *wire, char *data, size_t len);
/* Something was read from the socket and not yet received: epoll does not tell of it. */
bool load_wire_has_more(const struct load_wire *wire);
void load_wire_close(struct load_wire *wire);
