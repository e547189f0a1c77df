/* Connected sockets on a loop, through libwebsockets in its raw role, with or without TLS (http_tls.h). No
 * HTTP here: bytes in, bytes out, and the end. http_socket.c is the only file that knows the library. */
#pragma once

#include "bus/loop.h"
#include "edge/http_tls.h"

#include <sys/types.h>
#include <sys/uio.h>

typedef struct http_sockets http_sockets_t; /* what the sockets of one server share */

/* Embedded in its owner. */
struct http_socket {
    void *handle; /* the library's connection; NULL before adoption and after `closed` */
    int   fd;
    bool  in_callback; /* one of the ops is running for it */
    bool  closing;     /* http_socket_kill() was called from there */
    bool  wants_write;
    bool  reading_stopped;
    bool  is_blocked;  /* TLS has to write before it can read on */
    struct http_tls_conn *tls; /* NULL: plain */
};

struct http_socket_ops {
    /* TLS only: the handshake is done. */
    void (*opened)(struct http_socket *socket);
    void (*readable)(struct http_socket *socket, struct dyn_slice bytes);
    void (*writable)(struct http_socket *socket);
    /* The peer is gone or http_socket_kill() was called: last callback, the memory is the owner's again. */
    void (*closed)(struct http_socket *socket);
};

/* `tls` (NULL: plain) outlives them. */
http_sockets_t *http_sockets_new(bus_loop_t *loop, const struct http_socket_ops *ops, http_tls_t *tls,
                                 struct dyn_err *err);
/* Closes all that are left (closed() is called for each). Not from inside one of the ops. */
void http_sockets_free(http_sockets_t **sockets_p);

/* Takes a connected descriptor. -1: it stays the caller's (DYN_E_LIMIT: its number is beyond the table). */
int http_socket_adopt(http_sockets_t *sockets, struct http_socket *socket, int fd, struct dyn_err *err);
/* Hands bytes to the kernel, now. How many it took, fewer than given when its buffer is full: what was not
 * taken comes first in the next call. -1: the peer is gone, http_socket_kill() is next. */
ssize_t http_socket_send(struct http_socket *socket, const struct iovec *pieces, int n_pieces);
/* writable() will be called once, when the kernel takes bytes again. */
void http_socket_want_write(struct http_socket *socket);
/* What has arrived stays in the kernel, and the peer's window closes. The peer's leaving may go unnoticed. */
void http_socket_stop_reading(struct http_socket *socket);
void http_socket_resume_reading(struct http_socket *socket);
/* Sends what the kernel holds and then the end; bytes still come in. */
void http_socket_half_close(struct http_socket *socket);
/* The end: closed() follows, at once or when the op returns that is running for this socket. Not from
 * inside another socket's ops. `reset`: what the kernel holds is thrown away and the peer sees RST. */
void http_socket_kill(struct http_socket *socket, bool reset);
