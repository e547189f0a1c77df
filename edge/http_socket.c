/* See http_socket.h. One libwebsockets context on the loop's own libev loop ("foreign loop").
 *
 * What the library does here: readiness, receiving, closing; it has no time-outs in the raw role (ours are
 * in http_conn.c), no listener (listen.c), and no output buffer, because bytes are handed to the kernel by
 * us: lws_write() would copy what the kernel does not take and not say how much that was, and credit needs
 * to know. Its traps in 4.1.6 that shape this file:
 *  - with `fd_limit_per_thread` below the process's limit it finds a connection by walking all of them,
 *    for every event; without, its tables have as many entries as the process may have descriptors and
 *    are written at start, so the limit is lowered while it looks at it;
 *  - creating a context ignores SIGPIPE for the process: an embedded library gives that back;
 *  - the libev plugin logs every change at NOTICE. */
#include "edge/http_socket.h"

#include "core/log.h"

#include <errno.h>
#include <libwebsockets.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum {
    RECEIVE_BYTES = 64 * 1024, /* of one read; one buffer for all connections of the context */
    TABLE_MAX = 64 * 1024,     /* descriptors; 16 bytes each in every context */
};

struct http_sockets {
    struct lws_context *context;
    struct lws_vhost *vhost;
    const struct http_socket_ops *ops;
    http_tls_t *tls; /* NULL: plain */
    int table_size;  /* descriptors from here on cannot be taken */
};

static struct lws *
handle(const struct http_socket *socket)
{
    return socket->handle;
}

static int
run_readable(const http_sockets_t *sockets, struct http_socket *socket, struct dyn_slice bytes)
{
    socket->in_callback = true;
    sockets->ops->readable(socket, bytes);
    socket->in_callback = false;
    return socket->closing ? -1 : 0;
}

static int
run_writable(const http_sockets_t *sockets, struct http_socket *socket)
{
    socket->in_callback = true;
    socket->wants_write = false;
    sockets->ops->writable(socket);
    socket->in_callback = false;
    return socket->closing ? -1 : 0;
}

/* ---- TLS between the library and the owner ---- */

/* Reading is stopped for two reasons, which come and go on their own. */
static void
apply_flow(const struct http_socket *socket)
{
    (void)lws_rx_flow_control(handle(socket), !socket->reading_stopped && !socket->is_blocked);
}

static int
wait_until_writable(struct http_socket *socket)
{
    if (!socket->is_blocked) {
        socket->is_blocked = true;
        apply_flow(socket);
    }
    (void)lws_callback_on_writable(handle(socket));
    return 0;
}

/* What has come over the wire, to its end. */
static int
read_secured(const http_sockets_t *sockets, struct http_socket *socket)
{
    struct dyn_slice plain;
    for (;;) {
        switch (http_tls_conn_next(socket->tls, &plain)) {
        case HTTP_TLS_BYTES:
            if (run_readable(sockets, socket, plain) != 0) {
                return -1;
            }
            break;
        case HTTP_TLS_OPENED:
            sockets->ops->opened(socket);
            break;
        case HTTP_TLS_MORE:
            return 0;
        case HTTP_TLS_BLOCKED:
            return wait_until_writable(socket);
        case HTTP_TLS_END:
            return -1;
        }
    }
}

static int
receive_secured(const http_sockets_t *sockets, struct http_socket *socket, struct dyn_slice wire)
{
    http_tls_conn_feed(socket->tls, wire);
    return read_secured(sockets, socket);
}

static int
go_on_secured(const http_sockets_t *sockets, struct http_socket *socket)
{
    if (socket->is_blocked) {
        socket->is_blocked = false;
        apply_flow(socket);
        if (read_secured(sockets, socket) != 0) {
            return -1;
        }
    }
    return socket->wants_write ? run_writable(sockets, socket) : 0;
}

static void
say_closed(const http_sockets_t *sockets, struct lws *wsi, struct http_socket *socket)
{
    lws_set_opaque_user_data(wsi, NULL);
    if (socket->tls != NULL) {
        http_tls_conn_end(socket->tls); /* the descriptor is still open */
        http_tls_conn_free(&socket->tls);
    }
    socket->handle = NULL;
    socket->fd = -1;
    sockets->ops->closed(socket);
}

static int
on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
    (void)user;
    bool is_ours = reason == LWS_CALLBACK_RAW_RX || reason == LWS_CALLBACK_RAW_WRITEABLE ||
                   reason == LWS_CALLBACK_RAW_CLOSE;
    struct http_socket *socket = is_ours ? lws_get_opaque_user_data(wsi) : NULL;
    if (socket == NULL) {
        return 0;
    }
    http_sockets_t *sockets = lws_context_user(lws_get_context(wsi));
    if (reason == LWS_CALLBACK_RAW_RX) {
        struct dyn_slice bytes = dyn_slice(in, len);
        return socket->tls != NULL ? receive_secured(sockets, socket, bytes)
                                   : run_readable(sockets, socket, bytes);
    }
    if (reason == LWS_CALLBACK_RAW_WRITEABLE) {
        return socket->tls != NULL ? go_on_secured(sockets, socket) : run_writable(sockets, socket);
    }
    say_closed(sockets, wsi, socket);
    return 0;
}

static const struct lws_protocols protocols[] = {
    {.name = "dynabus", .callback = on_event},
    {.name = NULL},
};

static void
forward_log(int level, const char *line)
{
    size_t len = strcspn(line, "\n");
    dyn_log(level & LLL_ERR ? DYN_LOG_ERROR : DYN_LOG_WARN, "edge.socket", "libwebsockets reports",
            DYN_LOG_SLICE("text", dyn_slice(line, len)));
}

/* The limit and the signal belong to the process: two gateways may start at the same time. */
static pthread_mutex_t process_lock = PTHREAD_MUTEX_INITIALIZER;

static struct lws_context *
create_context(struct lws_context_creation_info *info)
{
    struct rlimit limit;
    struct sigaction sigpipe;
    (void)pthread_mutex_lock(&process_lock);
    bool lowered = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur > TABLE_MAX;
    if (lowered) {
        lowered = setrlimit(RLIMIT_NOFILE, &(struct rlimit){TABLE_MAX, limit.rlim_max}) == 0;
    }
    bool saved = sigaction(SIGPIPE, NULL, &sigpipe) == 0;
    lws_set_log_level(LLL_ERR | LLL_WARN, forward_log);
    struct lws_context *context = lws_create_context(info);
    if (saved) {
        (void)sigaction(SIGPIPE, &sigpipe, NULL);
    }
    if (lowered) {
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    (void)pthread_mutex_unlock(&process_lock);
    return context;
}

static int
table_size(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > TABLE_MAX) {
        return TABLE_MAX;
    }
    return (int)limit.rlim_cur;
}

http_sockets_t *
http_sockets_new(bus_loop_t *loop, const struct http_socket_ops *ops, http_tls_t *tls, struct dyn_err *err)
{
    http_sockets_t *sockets = dyn_zalloc(sizeof *sockets);
    sockets->ops = ops;
    sockets->tls = tls;
    sockets->table_size = table_size();

    void *loops[] = {bus_loop_native(loop)};
    struct lws_context_creation_info info = {
        .port = CONTEXT_PORT_NO_LISTEN_SERVER,
        .protocols = protocols,
        .options = LWS_SERVER_OPTION_LIBEV | LWS_SERVER_OPTION_SKIP_SERVER_CANONICAL_NAME,
        .foreign_loops = loops,
        .pt_serv_buf_size = RECEIVE_BYTES + LWS_PRE,
        .user = sockets,
    };
    sockets->context = create_context(&info);
    if (sockets->context == NULL) {
        (void)dyn_err_set(err, DYN_E_IO,
                          "libwebsockets could not start; is the package libwebsockets-evlib-ev installed?");
        free(sockets);
        return NULL;
    }
    sockets->vhost = lws_get_vhost_by_name(sockets->context, "default");
    DYN_ASSERT(sockets->vhost != NULL);
    return sockets;
}

void
http_sockets_free(http_sockets_t **sockets_p)
{
    http_sockets_t *sockets = *sockets_p;
    *sockets_p = NULL;
    if (sockets != NULL) {
        lws_context_destroy(sockets->context);
        free(sockets);
    }
}

int
http_socket_adopt(http_sockets_t *sockets, struct http_socket *socket, int fd, struct dyn_err *err)
{
    if (fd >= sockets->table_size) {
        return dyn_err_set(err, DYN_E_LIMIT, "descriptor %d is beyond what was reserved at start (%d)", fd,
                           sockets->table_size);
    }
    *socket = (struct http_socket){.fd = fd};
    lws_adopt_desc_t adopt = {
        .vh = sockets->vhost,
        .type = LWS_ADOPT_SOCKET,
        .fd.sockfd = fd,
        .vh_prot_name = protocols[0].name,
        .opaque = socket,
    };
    struct lws *wsi = lws_adopt_descriptor_vhost_via_info(&adopt);
    DYN_ASSERT(wsi != NULL); /* what can fail in it was checked above, or is lack of memory */
    socket->handle = wsi;
    if (sockets->tls != NULL) {
        socket->tls = http_tls_accept(sockets->tls, fd);
    }
    return 0;
}

static bool
is_retry(int error)
{
    return error == EAGAIN || error == EINTR;
}

ssize_t
http_socket_send(struct http_socket *socket, const struct iovec *pieces, int n_pieces)
{
    ssize_t sent;
    if (socket->tls != NULL) {
        return http_tls_conn_send(socket->tls, pieces, n_pieces);
    }
    if (n_pieces == 1) {
        sent = send(socket->fd, pieces[0].iov_base, pieces[0].iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
    } else {
        struct msghdr message = {.msg_iovlen = (size_t)n_pieces};
        memcpy(&message.msg_iov, &pieces, sizeof pieces); /* the field is not const, the call is */
        sent = sendmsg(socket->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    return sent >= 0 ? sent : is_retry(errno) ? 0 : -1;
}

void
http_socket_want_write(struct http_socket *socket)
{
    if (!socket->wants_write && socket->handle != NULL) {
        socket->wants_write = true;
        (void)lws_callback_on_writable(handle(socket));
    }
}

void
http_socket_stop_reading(struct http_socket *socket)
{
    if (!socket->reading_stopped && socket->handle != NULL) {
        socket->reading_stopped = true;
        apply_flow(socket);
    }
}

void
http_socket_resume_reading(struct http_socket *socket)
{
    if (socket->reading_stopped && socket->handle != NULL) {
        socket->reading_stopped = false;
        apply_flow(socket);
    }
}

void
http_socket_half_close(struct http_socket *socket)
{
    if (socket->tls != NULL) {
        http_tls_conn_end(socket->tls);
    }
    (void)shutdown(socket->fd, SHUT_WR);
}

void
http_socket_kill(struct http_socket *socket, bool reset)
{
    if (socket->handle == NULL) {
        return;
    }
    if (reset && socket->tls != NULL) {
        http_tls_conn_cut(socket->tls);
    }
    if (reset) {
        (void)setsockopt(socket->fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    }
    if (socket->in_callback) {
        socket->closing = true;
        return;
    }
    lws_set_timeout(handle(socket), PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_SYNC);
}
