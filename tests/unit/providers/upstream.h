/* A scripted TCP server in a thread: what an upstream does is a C function that gets each connection.
 * It counts, and keeps what was asked last. Checks here are safe in any thread. */
#pragma once

#include "core/buf.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct upstream;
typedef void (*serve_fn)(struct upstream *upstream, int fd);

enum { UPSTREAM_CONNECTIONS_MAX = 2048 };

struct upstream {
    int listener;
    unsigned port;
    serve_fn serve;
    void *user;
    pthread_t acceptor;
    pthread_mutex_t lock;
    char *request; /* the last one, whole */
    size_t request_len;
    pthread_t threads[UPSTREAM_CONNECTIONS_MAX];
    int fds[UPSTREAM_CONNECTIONS_MAX]; /* -1: closed */
    size_t n_threads;
    atomic_uint n_connections;
    atomic_uint n_requests;
    atomic_uint n_closed_early; /* the other side went away while we were sending */
    atomic_size_t bytes_sent;
    atomic_bool stopping;
};

struct upstream_connection {
    struct upstream *upstream;
    size_t index;
    int fd;
};

static inline void
upstream_send(struct upstream *upstream, int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t sent = send(fd, data, len, MSG_NOSIGNAL);
        if (sent <= 0) {
            atomic_fetch_add(&upstream->n_closed_early, 1);
            (void)shutdown(fd, SHUT_RDWR);
            return;
        }
        atomic_fetch_add(&upstream->bytes_sent, (size_t)sent);
        data += sent;
        len -= (size_t)sent;
    }
}

static inline void
upstream_say(struct upstream *upstream, int fd, const char *text)
{
    upstream_send(upstream, fd, text, strlen(text));
}

/* Waits until the other side closes. */
static inline void
upstream_wait_for_close(int fd)
{
    char byte[256];
    while (recv(fd, byte, sizeof byte, 0) > 0) {
    }
}

static inline size_t
upstream_body_length(const char *head)
{
    const char *at = strcasestr(head, "\r\ncontent-length:");
    return at != NULL ? strtoul(at + 17, NULL, 10) : 0;
}

/* Reads one request with its body; false: the connection is at its end. */
static inline bool
upstream_request(struct upstream *upstream, int fd)
{
    struct dyn_buf in = DYN_BUF_INIT;
    bool whole = false;
    while (!whole) {
        char *room = dyn_buf_room(&in, 65536);
        ssize_t got = recv(fd, room, 65536, 0);
        if (got <= 0) {
            break;
        }
        in.len += (size_t)got;
        const char *text = dyn_buf_cstr(&in);
        const char *end = strstr(text, "\r\n\r\n");
        whole = end != NULL && in.len >= (size_t)(end + 4 - text) + upstream_body_length(text);
    }
    if (whole) {
        pthread_mutex_lock(&upstream->lock);
        free(upstream->request);
        upstream->request = dyn_strndup(in.data, in.len);
        upstream->request_len = in.len;
        pthread_mutex_unlock(&upstream->lock);
        atomic_fetch_add(&upstream->n_requests, 1);
    }
    dyn_buf_fini(&in);
    return whole;
}

/* "HTTP/1.1 200 OK" with a body whose length is told. */
static inline void
upstream_answer(struct upstream *upstream, int fd, const char *status, const char *headers, const char *body)
{
    struct dyn_buf out = DYN_BUF_INIT;
    dyn_buf_addf(&out, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n%s\r\n%s", status, strlen(body), headers, body);
    upstream_send(upstream, fd, out.data, out.len);
    dyn_buf_fini(&out);
}

/* One piece of a chunked body; an empty one ends it. */
static inline void
upstream_chunk(struct upstream *upstream, int fd, const char *bytes)
{
    struct dyn_buf out = DYN_BUF_INIT;
    dyn_buf_addf(&out, "%zx\r\n%s\r\n", strlen(bytes), bytes);
    upstream_send(upstream, fd, out.data, out.len);
    dyn_buf_fini(&out);
}

static inline void
upstream_reset(int fd)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
}

static inline void *
upstream_run_connection(void *connection_)
{
    struct upstream_connection *connection = connection_;
    struct upstream *upstream = connection->upstream;
    upstream->serve(upstream, connection->fd);
    pthread_mutex_lock(&upstream->lock);
    (void)close(connection->fd);
    upstream->fds[connection->index] = -1;
    pthread_mutex_unlock(&upstream->lock);
    free(connection);
    return NULL;
}

static inline void
upstream_accepted(struct upstream *upstream, int fd)
{
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    atomic_fetch_add(&upstream->n_connections, 1);
    DYN_ASSERT(upstream->n_threads < UPSTREAM_CONNECTIONS_MAX);
    struct upstream_connection *connection = dyn_alloc(sizeof *connection);
    *connection = (struct upstream_connection){upstream, upstream->n_threads, fd};
    pthread_mutex_lock(&upstream->lock);
    upstream->fds[upstream->n_threads] = fd;
    pthread_mutex_unlock(&upstream->lock);
    DYN_ASSERT(pthread_create(&upstream->threads[upstream->n_threads], NULL, upstream_run_connection,
                              connection) == 0);
    upstream->n_threads++;
}

static inline void *
upstream_run(void *upstream_)
{
    struct upstream *upstream = upstream_;
    while (!atomic_load(&upstream->stopping)) {
        int fd = accept4(upstream->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) {
            break;
        }
        upstream_accepted(upstream, fd);
    }
    return NULL;
}

static inline struct upstream *
upstream_new(serve_fn serve, void *user)
{
    struct upstream *upstream = dyn_zalloc(sizeof *upstream);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    upstream->serve = serve;
    upstream->user = user;
    (void)pthread_mutex_init(&upstream->lock, NULL);
    upstream->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    DYN_ASSERT(bind(upstream->listener, (struct sockaddr *)&address, sizeof address) == 0);
    DYN_ASSERT(listen(upstream->listener, 1024) == 0);
    DYN_ASSERT(getsockname(upstream->listener, (struct sockaddr *)&address, &len) == 0);
    upstream->port = ntohs(address.sin_port);
    DYN_ASSERT(pthread_create(&upstream->acceptor, NULL, upstream_run, upstream) == 0);
    return upstream;
}

static inline void
upstream_free(struct upstream *upstream)
{
    atomic_store(&upstream->stopping, true);
    (void)shutdown(upstream->listener, SHUT_RDWR);
    (void)pthread_join(upstream->acceptor, NULL);
    (void)close(upstream->listener);
    pthread_mutex_lock(&upstream->lock);
    for (size_t i = 0; i < upstream->n_threads; i++) {
        if (upstream->fds[i] >= 0) {
            (void)shutdown(upstream->fds[i], SHUT_RDWR);
        }
    }
    pthread_mutex_unlock(&upstream->lock);
    for (size_t i = 0; i < upstream->n_threads; i++) {
        (void)pthread_join(upstream->threads[i], NULL);
    }
    free(upstream->request);
    (void)pthread_mutex_destroy(&upstream->lock);
    free(upstream);
}
