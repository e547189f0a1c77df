/* The client of a loop: libcurl's multi interface driven through its socket interface. What happens to
 * one call is http_call.c.
 *
 * System calls of a request that goes through libcurl (those of others: http_wire.h) on a kept connection:
 * two polls of its own (is it still open, has it been answered already), a send, a receive and one more
 * poll for each receive. The descriptor of an idle connection stays watched, so that using it again changes
 * nothing in the kernel. */
#include "actors/providers/http_client.h"

#include "actors/providers/http_wire.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* A descriptor that libcurl told us to watch, or a connection of its cache. */
struct client_socket {
    struct bus_fd watch;
    http_client_t *client;
    unsigned wanted; /* BUS_FD_...; what libcurl waits for */
    bool is_kept;    /* a connection that was used: http_client_close_socket() tells when it goes */
};

/* ---- driving libcurl ---- */

void
http_client_chore(http_call_t *call)
{
    http_client_t *client = call->origin->client;
    dyn_list_remove(&call->chore); /* it may wait for a name */
    dyn_list_append(&client->chores, &call->chore);
    bus_task_queue(client->loop, &client->task);
}

static void
settle(http_client_t *client)
{
    struct dyn_list *link;
    while ((link = dyn_list_pop(&client->touched)) != NULL) {
        http_call_t *call = DYN_CONTAINER_OF(link, http_call_t, touch);
        if (call->ops != NULL && call->head_is_done) {
            call->ops->settled(call->self);
        }
    }
}

static void
collect_ended(http_client_t *client)
{
    int left = 0;
    CURLMsg *message;
    while ((message = curl_multi_info_read(client->multi, &left)) != NULL) {
        CURLcode code = message->data.result;
        http_call_t *call = NULL;
        (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&call);
        if (call == NULL) {
            http_sweep_ended(client);
            continue;
        }
        client->last_call_us = bus_loop_now_us(client->loop);
        http_call_ended(call, code);
    }
}

static void
act(http_client_t *client, curl_socket_t fd, int events)
{
    int running = 0;
    if (fd == CURL_SOCKET_TIMEOUT) {
        client->is_due = false;
    }
    (void)curl_multi_socket_action(client->multi, fd, events, &running);
    settle(client);
    collect_ended(client);
}

static void
timer_fired(struct bus_timer *timer)
{
    act(DYN_CONTAINER_OF(timer, http_client_t, timer), CURL_SOCKET_TIMEOUT, 0);
}

static void
do_chores(struct bus_task *task)
{
    http_client_t *client = DYN_CONTAINER_OF(task, http_client_t, task);
    struct dyn_list batch;
    struct dyn_list *link;
    dyn_list_init(&batch);
    dyn_list_splice(&batch, &client->chores);
    while ((link = dyn_list_pop(&batch)) != NULL) {
        http_call_do_chore(DYN_CONTAINER_OF(link, http_call_t, chore));
    }
    if (client->is_due) {
        act(client, CURL_SOCKET_TIMEOUT, 0);
    }
}

static int
on_timer(CURLM *multi, long timeout_ms, void *client_)
{
    (void)multi;
    http_client_t *client = client_;
    if (timeout_ms < 0) {
        bus_timer_disarm(&client->timer);
    } else if (timeout_ms == 0) { /* soon, but not from in here */
        client->is_due = true;
        bus_task_queue(client->loop, &client->task);
    } else {
        bus_timer_arm(client->loop, &client->timer, (uint64_t)timeout_ms);
    }
    return 0;
}

/* ---- sockets ---- */

static struct client_socket **
socket_slot(http_client_t *client, int fd)
{
    size_t index = (size_t)fd;
    if (index >= client->n_sockets) {
        size_t n = (index + 1) * 2;
        client->sockets = dyn_realloc(client->sockets, n * sizeof *client->sockets);
        memset(client->sockets + client->n_sockets, 0, (n - client->n_sockets) * sizeof *client->sockets);
        client->n_sockets = n;
    }
    return &client->sockets[index];
}

static void
socket_ready(struct bus_fd *watch, int fd, unsigned events)
{
    struct client_socket *socket = DYN_CONTAINER_OF(watch, struct client_socket, watch);
    http_client_t *client = socket->client;
    if (socket->wanted == 0) { /* an idle connection was closed by its server; libcurl will find out */
        bus_fd_watch(client->loop, watch, fd, 0);
        return;
    }
    act(client, fd,
        (events & BUS_FD_READ ? CURL_CSELECT_IN : 0) | (events & BUS_FD_WRITE ? CURL_CSELECT_OUT : 0));
}

static struct client_socket *
socket_at(http_client_t *client, int fd)
{
    struct client_socket **slot = socket_slot(client, fd);
    if (*slot == NULL) {
        *slot = dyn_zalloc(sizeof **slot);
        (*slot)->watch.ready = socket_ready;
        (*slot)->client = client;
    }
    return *slot;
}

static void
forget_socket(http_client_t *client, int fd)
{
    struct client_socket **slot = socket_slot(client, fd);
    if (*slot != NULL) {
        client->n_kept -= (*slot)->is_kept ? 1 : 0;
        bus_fd_watch(client->loop, &(*slot)->watch, fd, 0);
        free(*slot);
        *slot = NULL;
    }
}

static int
on_socket(CURL *easy, curl_socket_t fd, int what, void *client_, void *unused)
{
    (void)easy;
    (void)unused;
    http_client_t *client = client_;
    struct client_socket *socket = socket_at(client, fd);
    if (what == CURL_POLL_REMOVE) {
        socket->wanted = 0;
        if (!socket->is_kept) { /* of the resolver, or never connected: closed without a word */
            forget_socket(client, fd);
        }
        return 0;
    }
    socket->wanted = (what & CURL_POLL_IN ? (unsigned)BUS_FD_READ : 0u) |
                     (what & CURL_POLL_OUT ? (unsigned)BUS_FD_WRITE : 0u);
    bus_fd_watch(client->loop, &socket->watch, fd, socket->wanted);
    return 0;
}

/* The number may have stood for a socket that failed to connect: libcurl closes those without a word, and
 * goes on without one when it waits for the same events on the new socket. The kernel has to be told anew. */
static void
renew_socket(http_client_t *client, int fd)
{
    struct client_socket *former = *socket_slot(client, fd);
    unsigned wanted = former != NULL ? former->wanted : 0;
    forget_socket(client, fd);
    if (wanted != 0) {
        struct client_socket *socket = socket_at(client, fd);
        socket->wanted = wanted;
        bus_fd_watch(client->loop, &socket->watch, fd, wanted);
    }
}

curl_socket_t
http_client_open_socket(void *call_, curlsocktype purpose, struct curl_sockaddr *address)
{
    (void)purpose;
    http_call_t *call = call_;
    http_call_resolved(call, true);
    call->has_opened = true;
    if (call->ops == NULL) { /* it only waited for its name */
        return CURL_SOCKET_BAD;
    }
    int type = address->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK;
    int fd = socket(address->family, type, address->protocol);
    if (fd < 0) {
        call->lacks_descriptor = errno == EMFILE || errno == ENFILE;
        return CURL_SOCKET_BAD;
    }
    renew_socket(call->origin->client, fd);
    call->opened_fd = fd;
    return fd;
}

void
http_client_keep_socket(http_call_t *call)
{
    if (call->opened_fd < 0) {
        return;
    }
    /* One that lost the race between two addresses is not there any more. */
    http_client_t *client = call->origin->client;
    struct client_socket *socket = *socket_slot(client, call->opened_fd);
    if (socket != NULL && !socket->is_kept) {
        socket->is_kept = true;
        client->n_kept++;
        http_sweep_arm(client);
    }
    call->opened_fd = -1;
}

int
http_client_close_socket(void *client_, curl_socket_t fd)
{
    http_client_t *client = client_;
    forget_socket(client, fd);
    return fd == client->taken_fd ? 0 : close(fd);
}

/* ---- life ---- */

/* libcurl and its TLS library are set up once a process and never taken down: threads of the resolver
 * may outlive every client. */
static CURLcode global_code;

static void
init_libcurl(void)
{
    global_code = curl_global_init(CURL_GLOBAL_DEFAULT);
}

int
http_curl_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, init_libcurl);
    return global_code == CURLE_OK ? 0 : -1;
}

http_client_t *
http_client_new(bus_loop_t *loop, const struct http_client_options *options, struct dyn_err *err)
{
    CURLM *multi = http_curl_init() == 0 ? curl_multi_init() : NULL;
    if (multi == NULL) {
        (void)dyn_err_set(err, DYN_E_IO, "libcurl could not be set up: %s", curl_easy_strerror(global_code));
        return NULL;
    }
    http_client_t *client = dyn_zalloc(sizeof *client);
    client->loop = loop;
    client->refs = 1;
    client->multi = multi;
    client->share = curl_share_init();
    DYN_ASSERT(client->share != NULL); /* only without memory */
    curl_share_setopt(client->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
    client->taken_fd = -1;
    client->timer.fire = timer_fired;
    http_sweep_init(client);
    dyn_list_init(&client->pools);
    bus_task_init(&client->task, do_chores);
    dyn_list_init(&client->chores);
    dyn_list_init(&client->touched);
    uint32_t connections = options->connections_max ? options->connections_max : HTTP_CLIENT_CONNECTIONS;
    client->connections_max = connections;
    client->only_libcurl = options->only_libcurl;
    curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)connections);
    curl_multi_setopt(multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
    curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, client);
    curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(multi, CURLMOPT_TIMERDATA, client);
    return client;
}

http_client_t *
http_client_ref(http_client_t *client)
{
    client->refs++;
    return client;
}

void
http_client_unref(http_client_t **client_p)
{
    http_client_t *client = *client_p;
    *client_p = NULL;
    if (client == NULL || --client->refs > 0) {
        return;
    }
    DYN_ASSERT(client->n_calls == 0);
    http_sweep_fini(client);
    (void)curl_multi_cleanup(client->multi); /* closes kept connections through http_client_close_socket() */
    (void)curl_share_cleanup(client->share);
    bus_task_cancel(&client->task);
    bus_timer_fini(&client->timer);
    for (size_t i = 0; i < client->n_sockets; i++) {
        forget_socket(client, (int)i);
    }
    free(client->sockets);
    free(client->received);
    dyn_buf_fini(&client->head);
    free(client);
}

size_t
http_client_calls(const http_client_t *client)
{
    return client->n_calls;
}
