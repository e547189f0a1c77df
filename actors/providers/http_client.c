/* The HTTP client on libcurl's multi interface, driven by the loop through its socket interface. The
 * only file that knows libcurl; it knows nothing of what the bytes mean.
 *
 * Rules it keeps (libcurl 7.88): no handle is added, removed or resumed inside a callback of libcurl;
 * that is done by chores at the end of the turn. Easy handles are reused with their options, which are
 * set once per origin. HTTP/1.1 only: HTTP/2 of this version loses the ends of cut answers.
 *
 * What a request costs in system calls on a kept connection: two polls (libcurl asks whether the
 * connection is still open, and whether it is writable), a send, a receive. The descriptor of an idle
 * connection stays watched, so that taking it again changes nothing in the kernel; that also costs
 * nothing while it is idle. */
#include "actors/providers/http_client.h"

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEAD_BYTES_MAX    (64u * 1024) /* of one answer, interim ones included; providers send 2 to 4 KiB */
#define SPARE_CALLS_MAX   256u         /* per origin; an easy handle holds about 8 KiB */
#define BUFFER_STREAM     4096L /* libcurl's receive buffer: a stream's events are small, and there are many */
#define BUFFER_PLAIN      32768L         /* one receive for most plain answers; held for the answer only */
#define EXPECT_FROM_BYTES (1024u * 1024) /* from here libcurl would ask with Expect: 100-continue and wait   \
                                          */
#define CONNECTION_IDLE_S 75L            /* below what common servers allow an idle connection */
#define KEEPALIVE_PROBE_S 30L
#define DETAIL_SIZE       512u

/* A descriptor that libcurl told us to watch, or a connection of its cache. */
struct client_socket {
    struct bus_fd watch;
    http_client_t *client;
    int fd;
    unsigned wanted;    /* BUS_FD_...; what libcurl waits for */
    bool is_connection; /* opened by open_socket(): close_socket() tells when it goes */
};

struct http_client {
    bus_loop_t *loop;
    unsigned refs;
    CURLM *multi;
    struct bus_timer timer;         /* libcurl's */
    struct bus_task task;           /* does the chores */
    bool is_due;                    /* libcurl wants to be called at the end of the turn */
    struct dyn_list chores;         /* calls to start, resume, end */
    struct dyn_list touched;        /* calls that got bytes since the last settled() */
    struct client_socket **sockets; /* by descriptor */
    size_t n_sockets;
    size_t n_calls;
    char detail[DETAIL_SIZE];
};

struct http_origin {
    http_client_t *client;
    struct curl_slist *headers;
    CURLU *url; /* parsed once: half of what libcurl would spend on the URL of each request */
    char *ca_file;
    char *proxy;
    char *no_proxy;
    char *authority; /* for sentences: host and port without credentials */
    struct dyn_list calls;
    struct dyn_list spare;
    size_t n_spare;
};

enum call_phase { CALL_CONNECTING, CALL_WAITING, CALL_ANSWERING };

struct http_call {
    struct dyn_list link;  /* origin->calls or ->spare */
    struct dyn_list chore; /* client->chores */
    struct dyn_list touch; /* client->touched */
    http_origin_t *origin;
    CURL *easy;
    const struct http_call_ops *ops; /* NULL: nobody listens any more */
    void *self;
    dyn_block_t *body;
    struct curl_slist *headers; /* of this request, in front of the origin's; one piece of memory */
    struct bus_timer timer;
    uint64_t phase_until_us; /* 0: no limit at the moment */
    uint64_t deadline_us;    /* 0: none */
    uint32_t connect_ms;
    uint32_t first_byte_ms;
    uint32_t idle_ms;
    enum call_phase phase;
    enum http_call_end timed_out; /* HTTP_CALL_COMPLETE: it is not */
    struct http_call_head head;
    uint32_t head_bytes;
    uint32_t linger_bytes;
    unsigned sent;
    bool is_added;     /* in libcurl's hands */
    bool is_resolving; /* in libcurl's hands, and no address known: must not be taken out */
    bool is_cancelled;
    bool is_lingering;
    bool is_paused; /* as libcurl has it */
    bool wants_pause;
    bool head_is_done;
    bool has_stream_buffer;
    bool has_own_headers;
    char error[CURL_ERROR_SIZE];
};

/* ---- time ---- */

static void
set_timer(http_call_t *call)
{
    uint64_t until = call->phase_until_us;
    if (call->deadline_us != 0 && (until == 0 || call->deadline_us < until)) {
        until = call->deadline_us;
    }
    bus_loop_t *loop = call->origin->client->loop;
    if (until == 0) {
        bus_timer_disarm(&call->timer);
        return;
    }
    uint64_t now = bus_loop_now_us(loop);
    bus_timer_arm(loop, &call->timer, until > now ? (until - now + 999) / 1000 : 0);
}

static void
enter_phase(http_call_t *call, enum call_phase phase, uint32_t limit_ms)
{
    call->phase = phase;
    call->phase_until_us =
        limit_ms == 0 ? 0 : bus_loop_now_us(call->origin->client->loop) + (uint64_t)limit_ms * 1000;
    set_timer(call);
}

static void
add_chore(http_call_t *call)
{
    http_client_t *client = call->origin->client;
    if (!dyn_list_is_linked(&call->chore)) {
        dyn_list_append(&client->chores, &call->chore);
    }
    bus_task_queue(client->loop, &client->task);
}

static void
time_is_up(struct bus_timer *timer)
{
    static const enum http_call_end ends[] = {
        [CALL_CONNECTING] = HTTP_CALL_CONNECT_TIMEOUT,
        [CALL_WAITING] = HTTP_CALL_FIRST_BYTE_TIMEOUT,
        [CALL_ANSWERING] = HTTP_CALL_IDLE_TIMEOUT,
    };
    http_call_t *call = DYN_CONTAINER_OF(timer, http_call_t, timer);
    bool is_phase =
        call->phase_until_us != 0 && (call->deadline_us == 0 || call->phase_until_us <= call->deadline_us);
    call->timed_out = is_phase ? ends[call->phase] : HTTP_CALL_DEADLINE;
    call->is_cancelled |= call->is_lingering;
    add_chore(call);
}

/* ---- sockets ---- */

static struct client_socket **
socket_slot(http_client_t *client, int fd)
{
    size_t index = (size_t)fd;
    if (index >= client->n_sockets) {
        size_t n = (index + 1) * 2;
        client->sockets = dyn_realloc(client->sockets, n * sizeof(struct client_socket *));
        memset(client->sockets + client->n_sockets, 0,
               (n - client->n_sockets) * sizeof(struct client_socket *));
        client->n_sockets = n;
    }
    return &client->sockets[index];
}

static void act(http_client_t *client, curl_socket_t fd, int events);

static void
socket_ready(struct bus_fd *watch, int fd, unsigned events)
{
    struct client_socket *socket = DYN_CONTAINER_OF(watch, struct client_socket, watch);
    http_client_t *client = socket->client;
    if (socket->wanted ==
        0) { /* an idle connection was closed by its server; libcurl finds out when it looks */
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
        (*slot)->fd = fd;
    }
    return *slot;
}

static void
forget_socket(http_client_t *client, int fd)
{
    struct client_socket **slot = socket_slot(client, fd);
    if (*slot != NULL) {
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
        if (!socket->is_connection) { /* the resolver's; closed without a word */
            forget_socket(client, fd);
        }
        return 0;
    }
    socket->wanted = (what & CURL_POLL_IN ? (unsigned)BUS_FD_READ : 0u) |
                     (what & CURL_POLL_OUT ? (unsigned)BUS_FD_WRITE : 0u);
    bus_fd_watch(client->loop, &socket->watch, fd, socket->wanted);
    return 0;
}

static curl_socket_t
open_socket(void *call_, curlsocktype purpose, struct curl_sockaddr *address)
{
    (void)purpose;
    http_call_t *call = call_;
    call->is_resolving = false;
    if (call->ops == NULL) { /* it only waited for its name */
        return CURL_SOCKET_BAD;
    }
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, address->protocol);
    if (fd < 0) {
        return CURL_SOCKET_BAD;
    }
    socket_at(call->origin->client, fd)->is_connection = true;
    return fd;
}

static int
close_socket(void *client_, curl_socket_t fd)
{
    forget_socket(client_, fd);
    return close(fd);
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

/* ---- what libcurl tells about a call ---- */

/* Bytes of the answer are here; once for all of one receive. */
static void
touch(http_call_t *call)
{
    if (!dyn_list_is_linked(&call->touch)) {
        dyn_list_append(&call->origin->client->touched, &call->touch);
        enter_phase(call, CALL_ANSWERING, call->wants_pause ? 0 : call->idle_ms);
    }
}

/* The connection is there and the request about to be sent. */
static int
about_to_send(void *call_, char *peer_ip, char *local_ip, int peer_port, int local_port)
{
    (void)peer_ip;
    (void)local_ip;
    (void)peer_port;
    (void)local_port;
    http_call_t *call = call_;
    call->is_resolving = false;
    if (call->ops == NULL) {
        return CURL_PREREQFUNC_ABORT;
    }
    call->sent++;
    enter_phase(call, CALL_WAITING, call->first_byte_ms);
    return CURL_PREREQFUNC_OK;
}

static struct dyn_slice
trimmed(const char *begin, const char *end)
{
    while (begin < end && (*begin == ' ' || *begin == '\t')) {
        begin++;
    }
    while (end > begin && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r' || end[-1] == '\n')) {
        end--;
    }
    return dyn_slice(begin, (size_t)(end - begin));
}

static void
status_line(http_call_t *call, struct dyn_slice line)
{
    call->head = (struct http_call_head){.content_length = UINT64_MAX};
    const char *space = memchr(line.data, ' ', line.len);
    const char *end = line.data + line.len;
    for (const char *at = space != NULL ? space + 1 : end; at < end && *at >= '0' && *at <= '9'; at++) {
        call->head.status = call->head.status * 10 + (unsigned)(*at - '0');
    }
}

static void
note_framing(struct http_call_head *head, struct dyn_slice name, struct dyn_slice value)
{
    if (dyn_slice_ieq(name, DYN_SLICE("content-length"))) {
        uint64_t length = 0;
        for (size_t i = 0; i < value.len && i < 18 && value.data[i] >= '0' && value.data[i] <= '9'; i++) {
            length = length * 10 + (uint64_t)(value.data[i] - '0');
        }
        head->content_length = length;
    } else if (dyn_slice_ieq(name, DYN_SLICE("transfer-encoding"))) {
        head->is_chunked = true;
    }
}

/* One line of a head, or of a trailer. */
static size_t
on_header(char *data, size_t size, size_t n, void *call_)
{
    http_call_t *call = call_;
    size_t len = size * n;
    call->head_bytes += (uint32_t)len;
    if (call->head_bytes > HEAD_BYTES_MAX) {
        return 0;
    }
    if (call->ops == NULL || call->head_is_done) {
        return len;
    }
    touch(call);
    struct dyn_slice line = trimmed(data, data + len);
    if (line.len == 0) {
        call->head_is_done = call->head.status >= 200;
        if (call->head_is_done) {
            call->ops->head(call->self, &call->head);
        }
        return len;
    }
    const char *colon = memchr(line.data, ':', line.len);
    if (line.len > 5 && memcmp(line.data, "HTTP/", 5) == 0) {
        status_line(call, line);
    } else if (call->head.status >= 200 && colon != NULL &&
               data == line.data) { /* a space: goes on from above */
        struct dyn_slice name = trimmed(line.data, colon);
        struct dyn_slice value = trimmed(colon + 1, line.data + line.len);
        note_framing(&call->head, name, value);
        call->ops->header(call->self, name, value);
    }
    return len;
}

static size_t
on_body(char *data, size_t size, size_t n, void *call_)
{
    http_call_t *call = call_;
    size_t len = size * n;
    if (call->ops != NULL) {
        touch(call);
        call->ops->data(call->self, dyn_slice(data, len));
    } else if (call->is_lingering) {
        call->linger_bytes += (uint32_t)len;
        if (call->linger_bytes > HTTP_CALL_LINGER_BYTES) {
            return 0;
        }
    }
    return len;
}

/* ---- how a call ends ---- */

static enum http_call_end
end_of(const http_call_t *call, CURLcode code)
{
    switch ((int)code) { /* int: most of libcurl's codes are of other protocols */
    case CURLE_OK:
        return call->head_is_done ? HTTP_CALL_COMPLETE : HTTP_CALL_CUT;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return HTTP_CALL_UNRESOLVED;
    case CURLE_COULDNT_CONNECT:
        return HTTP_CALL_REFUSED;
    case CURLE_PROXY:
        return HTTP_CALL_PROXY;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_ENGINE_NOTFOUND:
    case CURLE_SSL_ENGINE_SETFAILED:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CRL_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
        return HTTP_CALL_TLS;
    case CURLE_OPERATION_TIMEDOUT:
        return HTTP_CALL_CONNECT_TIMEOUT;
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_SEND_ERROR:
        return HTTP_CALL_CUT;
    case CURLE_RECV_ERROR: /* before the request was sent: what the proxy said to CONNECT */
        return call->sent == 0 && call->origin->proxy != NULL ? HTTP_CALL_PROXY : HTTP_CALL_CUT;
    case CURLE_UNSUPPORTED_PROTOCOL: /* no status line */
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_BAD_CONTENT_ENCODING:
    case CURLE_WRITE_ERROR: /* our own refusal of the head */
    case CURLE_HTTP_RETURNED_ERROR:
        return HTTP_CALL_GARBAGE;
    default:
        return HTTP_CALL_FAILED;
    }
}

static const char *
timeout_sentence(enum http_call_end end)
{
    switch ((int)end) {
    case HTTP_CALL_CONNECT_TIMEOUT:
        return "no connection was made in time";
    case HTTP_CALL_FIRST_BYTE_TIMEOUT:
        return "no byte of the answer came in time";
    case HTTP_CALL_IDLE_TIMEOUT:
        return "the answer stood still for too long";
    default:
        return "the time given to the request is used up";
    }
}

static struct http_call_result
result_of(http_call_t *call, CURLcode code)
{
    http_client_t *client = call->origin->client;
    struct http_call_result result = {.end = call->timed_out, .detail = ""};
    const char *what = timeout_sentence(call->timed_out);
    if (call->timed_out == HTTP_CALL_COMPLETE) {
        result.end = end_of(call, code);
        what = call->error[0] != '\0' ? call->error : curl_easy_strerror(code);
        if (call->head_bytes > HEAD_BYTES_MAX) {
            what = "the head of the answer is longer than 64 KiB";
        }
    }
    if (result.end != HTTP_CALL_COMPLETE) {
        (void)snprintf(client->detail, sizeof client->detail, "%s: %s", call->origin->authority, what);
        result.detail = client->detail;
    }
    return result;
}

static void
take_out(http_call_t *call)
{
    if (call->is_added) {
        (void)curl_multi_remove_handle(call->origin->client->multi, call->easy);
        call->is_added = false;
    }
}

static void
destroy_call(http_call_t *call)
{
    bus_timer_fini(&call->timer);
    curl_easy_cleanup(call->easy);
    free(call);
}

/* The call is over: its handle waits for the next one, options and all. */
static void
recycle(http_call_t *call)
{
    http_origin_t *origin = call->origin;
    take_out(call);
    dyn_list_remove(&call->link);
    dyn_list_remove(&call->chore);
    dyn_list_remove(&call->touch);
    bus_timer_disarm(&call->timer);
    dyn_block_unref(&call->body);
    free(call->headers);
    call->headers = NULL;
    call->ops = NULL;
    origin->client->n_calls--;
    if (origin->n_spare < SPARE_CALLS_MAX) {
        origin->n_spare++;
        dyn_list_append(&origin->spare, &call->link);
    } else {
        destroy_call(call);
    }
}

static void
tell_done(http_call_t *call, const struct http_call_result *result)
{
    const struct http_call_ops *ops = call->ops;
    if (ops != NULL) {
        call->ops = NULL;
        ops->done(call->self, result);
    }
}

/* Ends it from our side. While its name is looked up it cannot be taken out of libcurl without waiting
 * for the resolver's thread: then it stays, and goes when open_socket() refuses it. */
static void
drop(http_call_t *call)
{
    if (call->is_added && call->is_resolving) {
        call->ops = NULL;
        call->timed_out = HTTP_CALL_COMPLETE;
        call->is_cancelled = false;
        bus_timer_disarm(&call->timer);
        dyn_list_remove(&call->touch);
        return;
    }
    recycle(call);
}

/* ---- driving libcurl ---- */

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
        CURL *easy = message->easy_handle;
        CURLcode code = message->data.result;
        http_call_t *call = NULL;
        (void)curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&call);
        struct http_call_result result = result_of(call, code);
        take_out(call);
        tell_done(call, &result);
        recycle(call);
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
hand_to_libcurl(http_call_t *call)
{
    http_client_t *client = call->origin->client;
    call->is_added = true;
    call->is_resolving = true; /* until a socket is opened or a kept connection is used */
    (void)curl_multi_add_handle(client->multi, call->easy);
    client->is_due = true;
}

static void
do_chore(http_call_t *call)
{
    if (call->is_cancelled) {
        drop(call);
    } else if (call->timed_out != HTTP_CALL_COMPLETE) {
        struct http_call_result result = result_of(call, CURLE_OK);
        tell_done(call, &result);
        drop(call);
    } else if (!call->is_added) {
        hand_to_libcurl(call);
    } else if (call->is_paused && !call->wants_pause) {
        call->is_paused = false;
        (void)curl_easy_pause(call->easy, CURLPAUSE_CONT); /* may hand over bytes in here */
        call->origin->client->is_due = true;
    }
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
        do_chore(DYN_CONTAINER_OF(link, http_call_t, chore));
    }
    if (client->is_due) {
        act(client, CURL_SOCKET_TIMEOUT, 0);
    }
}

/* ---- calls ---- */

/* What is the same for all calls of an origin, so that it is set once per handle. */
static void
set_fixed_options(http_call_t *call)
{
    http_origin_t *origin = call->origin;
    CURL *easy = call->easy;
    curl_easy_setopt(easy, CURLOPT_CURLU, origin->url);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, origin->headers);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, KEEPALIVE_PROBE_S);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, KEEPALIVE_PROBE_S);
    curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, CONNECTION_IDLE_S);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, BUFFER_PLAIN);
    /* "*": libcurl neither looks into the environment nor compares names for each request. */
    curl_easy_setopt(easy, CURLOPT_PROXY, origin->proxy != NULL ? origin->proxy : "");
    curl_easy_setopt(easy, CURLOPT_NOPROXY,
                     origin->proxy == NULL      ? "*"
                     : origin->no_proxy != NULL ? origin->no_proxy
                                                : "");
    curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    if (origin->ca_file != NULL) {
        curl_easy_setopt(easy, CURLOPT_CAINFO, origin->ca_file);
        curl_easy_setopt(easy, CURLOPT_PROXY_CAINFO, origin->ca_file);
    }
}

static void
set_callbacks(http_call_t *call)
{
    CURL *easy = call->easy;
    curl_easy_setopt(easy, CURLOPT_PRIVATE, call);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->error);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, call);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
    curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, about_to_send);
    curl_easy_setopt(easy, CURLOPT_PREREQDATA, call);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, call);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, close_socket);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, call->origin->client);
}

static http_call_t *
call_new(http_origin_t *origin)
{
    http_call_t *call = dyn_zalloc(sizeof *call);
    call->origin = origin;
    call->timer.fire = time_is_up;
    dyn_list_init(&call->link);
    dyn_list_init(&call->chore);
    dyn_list_init(&call->touch);
    call->easy = curl_easy_init();
    DYN_ASSERT(call->easy != NULL); /* only without memory */
    set_fixed_options(call);
    set_callbacks(call);
    return call;
}

/* A spare call, as if it were new. */
static http_call_t *
call_take(http_origin_t *origin)
{
    struct dyn_list *link = dyn_list_pop(&origin->spare);
    if (link == NULL) {
        return call_new(origin);
    }
    origin->n_spare--;
    http_call_t *call = DYN_CONTAINER_OF(link, http_call_t, link);
    call->phase_until_us = 0;
    call->deadline_us = 0;
    call->phase = CALL_CONNECTING;
    call->timed_out = HTTP_CALL_COMPLETE;
    call->head = (struct http_call_head){.content_length = UINT64_MAX};
    call->head_bytes = 0;
    call->linger_bytes = 0;
    call->sent = 0;
    call->is_resolving = call->is_cancelled = call->is_lingering = false;
    call->is_paused = call->wants_pause = call->head_is_done = false;
    call->error[0] = '\0';
    return call;
}

/* Nodes and texts in one piece of memory; the last node leads on to the origin's headers. The struct is
 * part of libcurl's interface, and it only reads lists. */
static struct curl_slist *
own_headers(const http_origin_t *origin, const struct http_call_request *request, bool is_large)
{
    static const struct http_client_header no_expect = {DYN_SLICE_INIT("Expect"), DYN_SLICE_INIT("")};
    size_t n = request->n_headers + (is_large ? 1 : 0);
    if (n == 0) {
        return NULL;
    }
    size_t bytes = n * sizeof(struct curl_slist);
    for (size_t i = 0; i < n; i++) {
        const struct http_client_header *header = i < request->n_headers ? &request->headers[i] : &no_expect;
        bytes += header->name.len + header->value.len + sizeof ": ";
    }
    struct curl_slist *nodes = dyn_alloc(bytes);
    char *text = (char *)(nodes + n);
    for (size_t i = 0; i < n; i++) {
        const struct http_client_header *header = i < request->n_headers ? &request->headers[i] : &no_expect;
        int len = snprintf(text, header->name.len + header->value.len + sizeof ": ", "%.*s:%s%.*s",
                           (int)header->name.len, header->name.data, header->value.len > 0 ? " " : "",
                           (int)header->value.len, header->value.data);
        nodes[i] = (struct curl_slist){text, i + 1 < n ? &nodes[i + 1] : origin->headers};
        text += len + 1;
    }
    return nodes;
}

static void
set_request_options(http_call_t *call, const struct http_call_request *request)
{
    CURL *easy = call->easy;
    struct dyn_slice body = dyn_block_slice(request->body);
    call->headers = own_headers(call->origin, request, body.len >= EXPECT_FROM_BYTES);
    if (call->headers != NULL || call->has_own_headers) {
        call->has_own_headers = call->headers != NULL;
        curl_easy_setopt(easy, CURLOPT_HTTPHEADER,
                         call->headers != NULL ? call->headers : call->origin->headers);
    }
    if (call->has_stream_buffer != request->is_stream) {
        call->has_stream_buffer = request->is_stream;
        curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, request->is_stream ? BUFFER_STREAM : BUFFER_PLAIN);
    }
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.len);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body.len > 0 ? body.data : "");
}

http_call_t *
http_call_start(http_origin_t *origin, const struct http_call_request *request,
                const struct http_call_ops *ops, void *self)
{
    http_call_t *call = call_take(origin);
    dyn_list_append(&origin->calls, &call->link);
    origin->client->n_calls++;
    call->ops = ops;
    call->self = self;
    call->body = request->body != NULL ? dyn_block_ref(request->body) : NULL;
    call->connect_ms = request->connect_ms;
    call->first_byte_ms = request->first_byte_ms;
    call->idle_ms = request->idle_ms;
    if (request->deadline_ms > 0) {
        call->deadline_us = bus_loop_now_us(origin->client->loop) + (uint64_t)request->deadline_ms * 1000;
    }
    set_request_options(call, request);
    enter_phase(call, CALL_CONNECTING, call->connect_ms);
    add_chore(call);
    return call;
}

unsigned
http_call_sent(const http_call_t *call)
{
    return call->sent;
}

void
http_call_pause(http_call_t *call)
{
    call->wants_pause = true;
    if (!call->is_paused && call->is_added) {
        call->is_paused = true;
        (void)curl_easy_pause(call->easy, CURLPAUSE_RECV);
    }
    enter_phase(call, call->phase, 0);
}

void
http_call_resume(http_call_t *call)
{
    if (call->wants_pause) {
        call->wants_pause = false;
        enter_phase(call, call->phase, call->idle_ms);
        add_chore(call);
    }
}

void
http_call_clear_deadline(http_call_t *call)
{
    call->deadline_us = 0;
}

void
http_call_cancel(http_call_t *call)
{
    call->ops = NULL;
    call->is_cancelled = true;
    add_chore(call);
}

void
http_call_let_go(http_call_t *call)
{
    if (call->wants_pause || !call->head_is_done) {
        http_call_cancel(call);
        return;
    }
    call->ops = NULL;
    call->is_lingering = true;
    call->deadline_us = 0;
    enter_phase(call, CALL_ANSWERING, HTTP_CALL_LINGER_MS);
}

/* ---- origins ---- */

static char *
copy_or_null(const char *text)
{
    return text != NULL ? dyn_strdup(text) : NULL;
}

/* Host and port of a URL that its owner has already judged. */
static char *
authority_of(const char *url)
{
    const char *begin = strstr(url, "://");
    begin = begin != NULL ? begin + 3 : url;
    const char *end = begin + strcspn(begin, "/");
    const char *at = memrchr(begin, '@', (size_t)(end - begin));
    begin = at != NULL ? at + 1 : begin;
    return dyn_strndup(begin, (size_t)(end - begin));
}

static void
add_fixed_header(http_origin_t *origin, struct dyn_slice name, struct dyn_slice value)
{
    size_t size = name.len + value.len + sizeof ": ";
    char *line = dyn_alloc(size);
    (void)snprintf(line, size, "%.*s: %.*s", (int)name.len, name.data, (int)value.len, value.data);
    struct curl_slist *grown = curl_slist_append(origin->headers, line);
    DYN_ASSERT(grown != NULL);
    origin->headers = grown;
    free(line);
}

http_origin_t *
http_origin_new(http_client_t *client, const struct http_origin_options *options, struct dyn_err *err)
{
    http_origin_t *origin = dyn_zalloc(sizeof *origin);
    origin->client = http_client_ref(client);
    origin->url = curl_url();
    DYN_ASSERT(origin->url != NULL); /* only without memory */
    origin->authority = authority_of(options->url);
    origin->ca_file = copy_or_null(options->ca_file);
    origin->proxy = copy_or_null(options->proxy);
    origin->no_proxy = copy_or_null(options->no_proxy);
    dyn_list_init(&origin->calls);
    dyn_list_init(&origin->spare);
    for (size_t i = 0; i < options->n_headers; i++) {
        add_fixed_header(origin, options->headers[i].name, options->headers[i].value);
    }
    add_fixed_header(origin, DYN_SLICE("Accept-Encoding"), DYN_SLICE("identity"));
    CURLUcode code = curl_url_set(origin->url, CURLUPART_URL, options->url, CURLU_PATH_AS_IS);
    if (code != CURLUE_OK) {
        (void)dyn_err_set(err, DYN_E_CONFIG, "%s: %s", origin->authority, curl_url_strerror(code));
        http_origin_free(&origin);
        return NULL;
    }
    return origin;
}

void
http_origin_free(http_origin_t **origin_p)
{
    http_origin_t *origin = *origin_p;
    *origin_p = NULL;
    if (origin == NULL) {
        return;
    }
    struct dyn_list *link;
    while (!dyn_list_is_empty(&origin->calls)) {
        http_call_t *call = DYN_CONTAINER_OF(origin->calls.next, http_call_t, link);
        /* The resolver's thread is left to itself: it frees what it holds when it comes back. */
        curl_easy_setopt(call->easy, CURLOPT_QUICK_EXIT, 1L);
        recycle(call);
    }
    while ((link = dyn_list_pop(&origin->spare)) != NULL) {
        destroy_call(DYN_CONTAINER_OF(link, http_call_t, link));
    }
    curl_slist_free_all(origin->headers);
    curl_url_cleanup(origin->url);
    free(origin->authority);
    free(origin->ca_file);
    free(origin->proxy);
    free(origin->no_proxy);
    http_client_unref(&origin->client);
    free(origin);
}

/* ---- the client ---- */

/* libcurl and its TLS library are set up once a process and never taken down: threads of the resolver
 * may outlive every client. */
static CURLcode global_code;

static void
init_libcurl(void)
{
    global_code = curl_global_init(CURL_GLOBAL_DEFAULT);
}

http_client_t *
http_client_new(bus_loop_t *loop, const struct http_client_options *options, struct dyn_err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, init_libcurl);
    CURLM *multi = global_code == CURLE_OK ? curl_multi_init() : NULL;
    if (multi == NULL) {
        (void)dyn_err_set(err, DYN_E_IO, "libcurl could not be set up: %s", curl_easy_strerror(global_code));
        return NULL;
    }
    http_client_t *client = dyn_zalloc(sizeof *client);
    client->loop = loop;
    client->refs = 1;
    client->multi = multi;
    client->timer.fire = timer_fired;
    bus_task_init(&client->task, do_chores);
    dyn_list_init(&client->chores);
    dyn_list_init(&client->touched);
    uint32_t connections = options->connections_max ? options->connections_max : HTTP_CLIENT_CONNECTIONS;
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
    (void)curl_multi_cleanup(client->multi); /* closes kept connections through close_socket() */
    bus_task_cancel(&client->task);
    bus_timer_fini(&client->timer);
    for (size_t i = 0; i < client->n_sockets; i++) {
        forget_socket(client, (int)i);
    }
    free(client->sockets);
    free(client);
}

size_t
http_client_calls(const http_client_t *client)
{
    return client->n_calls;
}
