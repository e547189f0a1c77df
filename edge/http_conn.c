/* One connection: reads its requests, one at a time, and decides when it ends. Writing is http_answer.c's.
 * RFC 9112. See http_conn.h. */
#include "edge/http_conn.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

enum {
    BODY_FIRST_PIECE = 256 * 1024, /* bytes reserved on a client's word; longer bodies grow as they come */
    CHUNKED_FIRST_PIECE = 4096,
    DISCARD_MAX = 256 * 1024,  /* bytes read for nothing, to keep a connection */
    LINGER_MS = 5000,          /* for a client that still sends to find our answer */
    PIPELINED_MAX = 16 * 1024, /* bytes of requests to come; beyond, reading stops, and with it noticing
                                * that the client has left */
};

static struct http_conn *
conn_of(struct http_socket *socket)
{
    return DYN_CONTAINER_OF(socket, struct http_conn, socket);
}

/* ---- deadlines: one timer for the earlier of two ---- */

static void
look_at(struct http_conn *conn, uint64_t at_us)
{
    if (at_us != 0 && (!bus_timer_is_armed(&conn->timer) || at_us < conn->timer.at_us)) {
        uint64_t now_us = bus_loop_now_us(conn->server->loop);
        uint64_t left_us = at_us > now_us ? at_us - now_us : 0;
        bus_timer_arm(conn->server->loop, &conn->timer, (left_us + 999) / 1000);
    }
}

static uint64_t
from_now(const struct http_conn *conn, uint32_t ms)
{
    return ms == 0 ? 0 : bus_loop_now_us(conn->server->loop) + (uint64_t)ms * 1000;
}

void
http_conn_read_deadline(struct http_conn *conn, uint32_t ms)
{
    conn->read_deadline_us = from_now(conn, ms);
    look_at(conn, conn->read_deadline_us);
}

void
http_conn_write_deadline(struct http_conn *conn, uint32_t ms)
{
    conn->write_deadline_us = from_now(conn, ms);
    look_at(conn, conn->write_deadline_us);
}

/* Between two pieces, and for all of them. */
static void
body_deadline(struct http_conn *conn)
{
    http_conn_read_deadline(conn, conn->server->limits.body_timeout_ms);
    if (conn->body_end_us < conn->read_deadline_us) {
        conn->read_deadline_us = conn->body_end_us;
        look_at(conn, conn->read_deadline_us);
    }
}

/* ---- reading ---- */

void
http_conn_wake(struct http_conn *conn)
{
    bus_task_queue(conn->server->loop, &conn->task);
}

void
http_conn_fail(struct http_conn *conn, bool reset)
{
    conn->dead = true;
    conn->reset = conn->reset || reset;
    http_conn_wake(conn);
}

/* This request cannot be read on: its answer is the connection's last. */
static void
refuse(struct http_conn *conn, const struct http_refusal *refusal)
{
    http_exchange_t *exchange = conn->exchange;
    conn->must_close = true;
    conn->reading = READING_DROP;
    http_conn_read_deadline(conn, 0);
    if (exchange != NULL && exchange->answered) {
        http_conn_fail(conn, false); /* half an answer is out: all that is left to say is the end */
        return;
    }
    http_answer_refusal(conn, refusal);
    if (exchange != NULL) {
        exchange->answered = exchange->aborted = true;
    }
    http_conn_wake(conn);
}

bool
http_conn_refuse_arriving(struct http_conn *conn)
{
    bool is_arriving = conn->reading == READING_BODY ||
                       (conn->reading == READING_HEAD && conn->exchange == NULL && conn->first_byte_us != 0);
    if (conn->dead || !is_arriving) {
        return false;
    }
    refuse(conn, &(struct http_refusal){503, "the request had not arrived"});
    return true;
}

struct dyn_slice
http_conn_peer(struct http_conn *conn)
{
    struct sockaddr_storage address = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof address;
    char host[INET6_ADDRSTRLEN];
    if (conn->peer[0] != '\0') {
        return dyn_slice_str(conn->peer);
    }
    (void)snprintf(conn->peer, sizeof conn->peer, "unix");
    if (getpeername(conn->socket.fd, (struct sockaddr *)&address, &len) != 0) {
        return dyn_slice_str(conn->peer);
    }
    if (address.ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)&address;
        (void)inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host);
        (void)snprintf(conn->peer, sizeof conn->peer, "%s:%u", host, ntohs(v4->sin_port));
    } else if (address.ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&address;
        bool mapped = IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr) != 0;
        const void *ip = &v6->sin6_addr.s6_addr[mapped ? 12 : 0]; /* ::ffff:192.0.2.1 is shown as IPv4 */
        unsigned port = ntohs(v6->sin6_port);
        (void)inet_ntop(mapped ? AF_INET : AF_INET6, ip, host, sizeof host);
        (void)snprintf(conn->peer, sizeof conn->peer, mapped ? "%s:%u" : "[%s]:%u", host, port);
    }
    return dyn_slice_str(conn->peer);
}

static void
pause_reading(struct http_conn *conn)
{
    conn->reading = READING_PAUSED;
    http_conn_read_deadline(conn, 0);
}

static void
hand_over(struct http_conn *conn)
{
    http_exchange_t *exchange = conn->exchange;
    pause_reading(conn);
    exchange->request.body = exchange->body;
    if (!exchange->answered) {
        conn->server->ops->request(conn->server->self, exchange, &exchange->request);
    }
}

static bool
is_long(uint64_t content_length)
{
    return content_length > DISCARD_MAX && content_length != UINT64_MAX;
}

void
http_conn_answered_early(struct http_conn *conn)
{
    const http_exchange_t *exchange = conn->exchange;
    if (conn->reading == READING_BODY) {
        conn->must_close = true;
        conn->reading = READING_DROP;
    } else if (conn->reading == READING_HEAD && exchange->request.has_body) {
        /* RFC 9110 10.1.1: whether the client that asked for 100 will send its body cannot be known. */
        conn->must_close |= exchange->expects_continue || is_long(exchange->request.content_length);
    }
}

typedef void (*refuse_fn)(void *self, http_exchange_t *exchange, const struct http_request *request);

/* Too large, or no room for it. */
static void
refuse_body(struct http_conn *conn, refuse_fn answer)
{
    http_exchange_t *exchange = conn->exchange;
    conn->must_close = true;
    conn->reading = READING_DROP;
    http_conn_read_deadline(conn, 0);
    dyn_block_unref(&exchange->body);
    answer(conn->server->self, exchange, &exchange->request);
}

/* Counts a body that has come to `total` bytes; false when all of them together are too much. */
static bool
count_body(struct http_conn *conn, size_t total)
{
    struct http_bodies *bodies = conn->server->bodies;
    http_exchange_t *exchange = conn->exchange;
    if (bodies == NULL || total <= HTTP_BODY_UNCOUNTED) {
        return true;
    }
    size_t more = total - exchange->body_counted;
    exchange->body_counted = total;
    return atomic_fetch_add_explicit(&bodies->held, more, memory_order_relaxed) + more <= bodies->max;
}

static void
begin_body(struct http_conn *conn)
{
    http_exchange_t *exchange = conn->exchange;
    const struct http_request *request = &exchange->request;
    bool chunked = request->content_length == UINT64_MAX;
    if (!request->has_body && exchange->body_max == HTTP_BODY_DISCARD) {
        pause_reading(conn);
        return;
    }
    if (!request->has_body) {
        hand_over(conn);
        return;
    }
    http_body_start(&conn->body, chunked, request->content_length);
    conn->body_end_us = from_now(conn, conn->server->limits.body_total_ms);
    conn->discarded = 0;
    if (exchange->answered || exchange->body_max == HTTP_BODY_DISCARD) {
        http_conn_answered_early(conn);
        conn->reading = conn->must_close ? READING_DROP : READING_DISCARD;
        http_conn_read_deadline(conn, conn->must_close ? 0 : conn->server->limits.body_timeout_ms);
        return;
    }
    if (!chunked && request->content_length > exchange->body_max) {
        refuse_body(conn, conn->server->ops->too_large);
        return;
    }
    conn->reading = READING_BODY;
    body_deadline(conn);
}

static void
fill_request(struct http_conn *conn, http_exchange_t *exchange, const struct http_head *head)
{
    size_t size = head->n_headers * sizeof *head->headers;
    struct http_header *headers = arena_alloc(&exchange->arena, size);
    memcpy(headers, head->headers, size);
    struct http_request *request = &exchange->request;
    *request = (struct http_request){
        .method = head->method,
        .target = head->target,
        .headers = headers,
        .n_headers = head->n_headers,
        .minor = head->minor,
        .has_body = head->framing.chunked || head->framing.length > 0,
        .content_length = head->framing.chunked ? UINT64_MAX : head->framing.length,
        .peer = http_conn_peer(conn),
        .received_us = conn->first_byte_us,
    };
    http_parse_target(head->target, &request->path, &request->query);
    exchange->is_head = dyn_slice_is(head->method, "HEAD");
    exchange->expects_continue = head->framing.expects_continue && head->minor > 0;
}

/* A head is whole, and belongs to [bytes]. */
static void
begin_exchange(struct http_conn *conn, struct dyn_slice bytes)
{
    http_server_t *server = conn->server;
    struct http_refusal refusal;
    http_exchange_t *exchange = http_exchange_new(conn);
    bytes = arena_copy(&exchange->arena, bytes);
    if (http_parse_head(bytes, &server->head, &refusal) != 0) {
        http_exchange_free(exchange);
        refuse(conn, &refusal);
        return;
    }
    fill_request(conn, exchange, &server->head);
    conn->exchange = exchange;
    conn->must_close = conn->must_close || !server->head.keep_alive || server->draining;
    conn->scan = (struct http_head_scan){0};
    exchange->body_max = server->ops->head(server->self, exchange, &exchange->request);
    begin_body(conn);
}

/* The steps: each takes bytes off *input and says whether there may be more to do with what is left. */

static bool
read_head(struct http_conn *conn, struct dyn_slice *input)
{
    struct http_refusal refusal;
    size_t end = 0;
    if (conn->first_byte_us == 0) {
        conn->first_byte_us = bus_loop_now_us(conn->server->loop);
        http_server_set_idle(conn, false);
        http_conn_read_deadline(conn, conn->server->limits.head_timeout_ms);
    }
    int found = http_guard_head(&conn->scan, *input, conn->server->limits.head_max, &end, &refusal);
    if (found < 0) {
        refuse(conn, &refusal);
        return false;
    }
    if (found == 0) {
        return false;
    }
    struct dyn_slice head = dyn_slice(input->data + conn->scan.start, end - conn->scan.start);
    input->data += end;
    input->len -= end;
    begin_exchange(conn, head);
    http_exchange_t *exchange = conn->exchange;
    if (conn->reading == READING_BODY && exchange->expects_continue && input->len == 0) {
        http_answer_continue(conn);
    }
    return true;
}

static void
keep_piece(struct http_conn *conn, struct dyn_slice piece)
{
    http_exchange_t *exchange = conn->exchange;
    if (exchange->body == NULL) {
        uint64_t length = exchange->request.content_length;
        size_t first = length == UINT64_MAX        ? CHUNKED_FIRST_PIECE
                       : length < BODY_FIRST_PIECE ? (size_t)length
                                                   : BODY_FIRST_PIECE;
        exchange->body = dyn_block_new(0, first < piece.len ? piece.len : first);
    }
    dyn_block_append(&exchange->body, piece.data, piece.len);
}

static bool
read_body(struct http_conn *conn, struct dyn_slice *input)
{
    struct http_refusal refusal;
    struct dyn_slice piece;
    http_exchange_t *exchange = conn->exchange;
    size_t len = exchange->body ? exchange->body->len : 0;
    switch (http_body_next(&conn->body, input, &piece, &refusal)) {
    case HTTP_BODY_PIECE:
        if (piece.len > exchange->body_max - len) {
            refuse_body(conn, conn->server->ops->too_large);
        } else if (!count_body(conn, len + piece.len)) {
            refuse_body(conn, conn->server->ops->no_room);
        } else {
            keep_piece(conn, piece);
        }
        return true;
    case HTTP_BODY_END:
        hand_over(conn);
        return true;
    case HTTP_BODY_BAD:
        refuse(conn, &refusal);
        return false;
    case HTTP_BODY_MORE:
        break;
    }
    body_deadline(conn);
    return false;
}

static bool
discard_body(struct http_conn *conn, struct dyn_slice *input)
{
    struct http_refusal refusal;
    struct dyn_slice piece;
    switch (http_body_next(&conn->body, input, &piece, &refusal)) {
    case HTTP_BODY_PIECE:
        conn->discarded += piece.len;
        if (conn->discarded > DISCARD_MAX) {
            conn->must_close = true;
            conn->reading = READING_DROP;
        }
        return true;
    case HTTP_BODY_END:
        pause_reading(conn);
        http_conn_wake(conn);
        return true;
    case HTTP_BODY_BAD:
        conn->must_close = true;
        conn->reading = READING_DROP;
        http_conn_wake(conn);
        return true;
    case HTTP_BODY_MORE:
        break;
    }
    body_deadline(conn);
    return false;
}

static bool
read_step(struct http_conn *conn, struct dyn_slice *input)
{
    switch (conn->reading) {
    case READING_HEAD:
        return read_head(conn, input);
    case READING_BODY:
        return read_body(conn, input);
    case READING_DISCARD:
        return discard_body(conn, input);
    case READING_DROP:
        input->len = 0;
        return false;
    case READING_PAUSED:
        break;
    }
    return false;
}

/* Uses what it can of the bytes and returns the rest. An ended body shows itself without more input. */
static struct dyn_slice
feed(struct http_conn *conn, struct dyn_slice input)
{
    while (!conn->dead && read_step(conn, &input)) {
        if (input.len == 0 && conn->reading != READING_BODY && conn->reading != READING_DISCARD) {
            break;
        }
    }
    return input;
}

static void
keep_input(struct http_conn *conn, struct dyn_slice bytes)
{
    if (conn->in_cap - conn->in_len < bytes.len) {
        conn->in_cap = conn->in_len + bytes.len;
        conn->in = dyn_realloc(conn->in, conn->in_cap);
    }
    memcpy(conn->in + conn->in_len, bytes.data, bytes.len);
    conn->in_len += bytes.len;
}

static void
feed_kept(struct http_conn *conn)
{
    struct dyn_slice rest = feed(conn, dyn_slice(conn->in, conn->in_len));
    if (rest.len > 0 && rest.data != conn->in) {
        memmove(conn->in, rest.data, rest.len);
    }
    conn->in_len = rest.len;
    if (rest.len == 0) {
        free(conn->in);
        conn->in = NULL;
        conn->in_cap = 0;
    }
}

static void
on_readable(struct http_socket *socket, struct dyn_slice bytes)
{
    struct http_conn *conn = conn_of(socket);
    if (conn->dead) {
        return;
    }
    if (conn->in_len > 0) {
        keep_input(conn, bytes);
        feed_kept(conn);
    } else {
        struct dyn_slice rest = feed(conn, bytes);
        if (rest.len > 0) {
            keep_input(conn, rest);
        }
    }
    if (conn->in_len > PIPELINED_MAX && conn->reading == READING_PAUSED) {
        http_socket_stop_reading(socket);
    }
}

/* A handshake has the time of a head; now it may be idle. */
static void
on_opened(struct http_socket *socket)
{
    struct http_conn *conn = conn_of(socket);
    const http_server_t *server = conn->server;
    http_conn_read_deadline(conn, server->draining ? server->drain_grace_ms : server->limits.idle_timeout_ms);
}

static void
on_writable(struct http_socket *socket)
{
    struct http_conn *conn = conn_of(socket);
    http_answer_flush(conn);
    http_conn_wake(conn);
}

/* ---- the end of a turn ---- */

static void
end_exchange(struct http_conn *conn, bool complete)
{
    http_exchange_t *exchange = conn->exchange;
    conn->exchange = NULL;
    conn->server->ops->done(conn->server->self, exchange, complete);
    http_exchange_free(exchange);
}

static void
on_closed(struct http_socket *socket)
{
    struct http_conn *conn = conn_of(socket);
    conn->dead = true;
    if (conn->exchange != NULL) {
        const http_exchange_t *exchange = conn->exchange;
        end_exchange(conn, exchange->ended && !exchange->aborted && conn->out.n == 0);
    }
    bus_task_cancel(&conn->task);
    bus_timer_fini(&conn->timer);
    http_out_fini(&conn->out);
    free(conn->in);
    http_server_forget(conn);
}

/* Everything is said. A close with unread bytes in the kernel would take the answer back (RST), so a client
 * that may still be sending gets time to read it first (RFC 9112 9.6). */
static void
close_gently(struct http_conn *conn)
{
    bool may_send = conn->reading == READING_DROP || conn->reading == READING_DISCARD || conn->in_len > 0 ||
                    conn->socket.reading_stopped;
    if (!may_send) {
        http_socket_kill(&conn->socket, false);
        return;
    }
    if (!conn->half_closed) {
        conn->half_closed = true;
        conn->reading = READING_DROP;
        http_socket_half_close(&conn->socket);
        http_socket_resume_reading(&conn->socket);
        http_conn_read_deadline(conn, LINGER_MS);
    }
}

static void
next_request(struct http_conn *conn)
{
    if (conn->reading == READING_PAUSED) {
        conn->reading = READING_HEAD;
        conn->first_byte_us = 0;
    }
    if (conn->reading == READING_HEAD && conn->in_len > 0) {
        feed_kept(conn);
    }
    if (conn->reading == READING_HEAD && conn->in_len == 0 && conn->first_byte_us == 0 && !conn->is_idle) {
        const http_server_t *server = conn->server;
        http_server_set_idle(conn, true);
        /* Draining too: an answer that began before it promised the client another request. */
        http_conn_read_deadline(conn,
                                server->draining ? server->drain_grace_ms : server->limits.idle_timeout_ms);
    }
    if (conn->in_len == 0 || conn->reading != READING_PAUSED) {
        http_socket_resume_reading(&conn->socket);
    }
}

static void
on_turn_end(struct bus_task *task)
{
    struct http_conn *conn = DYN_CONTAINER_OF(task, struct http_conn, task);
    if (!conn->dead && conn->out.n > 0 && !conn->socket.wants_write) {
        http_answer_flush(conn);
    }
    if (conn->dead) {
        http_socket_kill(&conn->socket, conn->reset);
        return;
    }
    const http_exchange_t *exchange = conn->exchange;
    if (exchange != NULL && (exchange->aborted || (exchange->ended && conn->out.n == 0))) {
        end_exchange(conn, !exchange->aborted);
    }
    if (conn->exchange != NULL || conn->dead) {
        return;
    }
    if (!conn->must_close) {
        next_request(conn);
    } else if (conn->out.n == 0) {
        close_gently(conn);
    }
}

/* ---- time ---- */

static void
reading_timed_out(struct http_conn *conn)
{
    switch (conn->reading) {
    case READING_HEAD:
        if (conn->first_byte_us == 0) { /* idle: it was told so by our keeping quiet */
            http_conn_fail(conn, false);
            return;
        }
        refuse(conn, &(struct http_refusal){408, "the head took too long"});
        return;
    case READING_BODY:
        refuse(conn, &(struct http_refusal){408, "the body took too long"});
        return;
    case READING_DISCARD:
        conn->must_close = true;
        conn->reading = READING_DROP;
        http_conn_wake(conn);
        return;
    case READING_DROP:
    case READING_PAUSED:
        http_conn_fail(conn, false);
    }
}

static void
on_timer(struct bus_timer *timer)
{
    struct http_conn *conn = DYN_CONTAINER_OF(timer, struct http_conn, timer);
    uint64_t now_us = bus_loop_now_us(conn->server->loop);
    if (conn->write_deadline_us != 0 && now_us >= conn->write_deadline_us) {
        http_conn_fail(conn, true); /* it does not read: what the kernel holds is of no use */
        return;
    }
    if (conn->read_deadline_us != 0 && now_us >= conn->read_deadline_us) {
        conn->read_deadline_us = 0;
        reading_timed_out(conn);
    }
    look_at(conn, conn->read_deadline_us);
    look_at(conn, conn->write_deadline_us);
}

void
http_conn_init(struct http_conn *conn, http_server_t *server)
{
    *conn = (struct http_conn){.server = server, .socket.fd = -1, .timer.fire = on_timer};
    dyn_list_init(&conn->link);
    http_out_init(&conn->out);
    bus_task_init(&conn->task, on_turn_end);
}

const struct http_socket_ops http_conn_ops = {
    .opened = on_opened,
    .readable = on_readable,
    .writable = on_writable,
    .closed = on_closed,
};
