/* An HTTP server: its connections, their limits, draining. See http_server.h and http_conn.h. */
#include "edge/http_conn.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

enum { SPARE_EXCHANGES = 64 }; /* kept for reuse: about what is in flight at a time without streams */

static uint32_t
or_default(uint32_t value, uint32_t fallback)
{
    return value != 0 ? value : fallback;
}

static void
close_idle(http_server_t *server)
{
    for (struct dyn_list *link = server->idle.next, *next; link != &server->idle; link = next) {
        next = link->next;
        http_socket_kill(&DYN_CONTAINER_OF(link, struct http_conn, link)->socket, false);
    }
}

static void
on_drain_grace(struct bus_timer *timer)
{
    close_idle(DYN_CONTAINER_OF(timer, http_server_t, drain_timer));
}

static void
shed(struct bus_keeper *keeper)
{
    http_server_t *server = DYN_CONTAINER_OF(keeper, http_server_t, spare_keeper);
    while (server->spare != NULL) {
        http_exchange_t *exchange = server->spare;
        server->spare = exchange->user;
        free(exchange);
    }
    server->n_spare = 0;
}

http_server_t *
http_server_new(bus_loop_t *loop, const struct http_server_ops *ops, void *self,
                const struct http_server_options *options, struct dyn_err *err)
{
    http_sockets_t *sockets = http_sockets_new(loop, &http_conn_ops, options->tls, err);
    if (sockets == NULL) {
        return NULL;
    }
    http_server_t *server = dyn_zalloc(sizeof *server);
    server->loop = loop;
    server->sockets = sockets;
    server->ops = ops;
    server->self = self;
    server->limits = (struct http_limits){
        .head_timeout_ms = or_default(options->head_timeout_ms, 10 * 1000),
        .body_timeout_ms = or_default(options->body_timeout_ms, 30 * 1000),
        .body_total_ms = or_default(options->body_total_ms, 300 * 1000),
        .idle_timeout_ms = or_default(options->idle_timeout_ms, 75 * 1000),
        .write_timeout_ms = or_default(options->write_timeout_ms, 60 * 1000),
        .head_max = or_default(options->head_max, 32 * 1024),
        .connections_max = or_default(options->connections_max, 10000),
    };
    server->gauge = options->connections;
    server->bodies = options->bodies;
    server->drain_timer.fire = on_drain_grace;
    dyn_list_init(&server->active);
    dyn_list_init(&server->idle);
    bus_keeper_init(&server->spare_keeper, shed);
    bus_keeper_add(loop, &server->spare_keeper);
    for (size_t i = 0; i < options->n_answer_headers; i++) {
        dyn_buf_add_slice(&server->common_lines, options->answer_headers[i].name);
        dyn_buf_add_str(&server->common_lines, ": ");
        dyn_buf_add_slice(&server->common_lines, options->answer_headers[i].value);
        dyn_buf_add_str(&server->common_lines, "\r\n");
    }
    return server;
}

void
http_server_free(http_server_t **server_p)
{
    http_server_t *server = *server_p;
    *server_p = NULL;
    if (server == NULL) {
        return;
    }
    http_sockets_free(&server->sockets);
    DYN_ASSERT(server->n_connections == 0);
    bus_timer_fini(&server->drain_timer);
    shed(&server->spare_keeper);
    bus_keeper_remove(&server->spare_keeper);
    dyn_buf_fini(&server->common_lines);
    dyn_buf_fini(&server->head_text);
    free(server);
}

/* ---- connections ---- */

static void
count(http_server_t *server, size_t n_connections)
{
    server->n_connections = n_connections;
    if (server->gauge != NULL) {
        atomic_store_explicit(server->gauge, n_connections, memory_order_relaxed);
    }
}

int
http_server_adopt(http_server_t *server, int fd, struct dyn_err *err)
{
    if (server->n_connections >= server->limits.connections_max) {
        return dyn_err_set(err, DYN_E_LIMIT, "%zu connections, the limit", server->n_connections);
    }
    struct http_conn *conn = dyn_alloc(sizeof *conn);
    http_conn_init(conn, server);
    if (http_socket_adopt(server->sockets, &conn->socket, fd, err) != 0) {
        free(conn);
        return -1;
    }
    /* Our writes are whole answers or tokens: none of them is to wait for the one before. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    count(server, server->n_connections + 1);
    http_server_set_idle(conn, true);
    http_conn_read_deadline(conn, conn->socket.tls != NULL ? server->limits.head_timeout_ms
                                                           : server->limits.idle_timeout_ms);
    return 0;
}

size_t
http_server_connections(const http_server_t *server)
{
    return server->n_connections;
}

void
http_server_set_idle(struct http_conn *conn, bool idle)
{
    if (dyn_list_is_linked(&conn->link)) {
        dyn_list_remove(&conn->link);
    }
    conn->is_idle = idle;
    dyn_list_append(idle ? &conn->server->idle : &conn->server->active, &conn->link);
}

void
http_server_forget(struct http_conn *conn)
{
    dyn_list_remove(&conn->link);
    count(conn->server, conn->server->n_connections - 1);
    free(conn);
}

void
http_server_drain(http_server_t *server, uint32_t grace_ms)
{
    server->draining = true;
    server->drain_grace_ms = grace_ms > 0 ? grace_ms : 1; /* 0 would be no deadline at all */
    for (struct dyn_list *link = server->active.next; link != &server->active; link = link->next) {
        struct http_conn *conn = DYN_CONTAINER_OF(link, struct http_conn, link);
        /* An answer whose head is out has promised to go on: that connection gets the grace when idle. */
        conn->must_close = conn->must_close || (conn->exchange != NULL && !conn->exchange->answered);
    }
    bus_timer_arm(server->loop, &server->drain_timer, grace_ms);
}

size_t
http_server_refuse_arriving(http_server_t *server)
{
    size_t n = 0;
    for (struct dyn_list *link = server->active.next; link != &server->active; link = link->next) {
        n += http_conn_refuse_arriving(DYN_CONTAINER_OF(link, struct http_conn, link)) ? 1 : 0;
    }
    return n;
}

/* ---- exchanges ---- */

http_exchange_t *
http_exchange_new(struct http_conn *conn)
{
    http_server_t *server = conn->server;
    http_exchange_t *exchange = server->spare;
    if (exchange != NULL) {
        server->spare = exchange->user;
        server->n_spare--;
    } else {
        exchange = dyn_alloc(sizeof *exchange);
    }
    memset(exchange, 0, offsetof(http_exchange_t, inline_memory));
    exchange->conn = conn;
    arena_init(&exchange->arena, exchange->inline_memory, sizeof exchange->inline_memory);
    return exchange;
}

void
http_exchange_free(http_exchange_t *exchange)
{
    http_server_t *server = exchange->conn->server;
    dyn_block_unref(&exchange->body);
    dyn_block_unref(&exchange->head);
    arena_fini(&exchange->arena);
    if (exchange->body_counted > 0) {
        (void)atomic_fetch_sub_explicit(&server->bodies->held, exchange->body_counted, memory_order_relaxed);
    }
    if (server->n_spare == SPARE_EXCHANGES) {
        free(exchange);
        return;
    }
    exchange->user = server->spare;
    server->spare = exchange;
    server->n_spare++;
}

void
http_exchange_set_user(http_exchange_t *exchange, void *user)
{
    exchange->user = user;
}

void *
http_exchange_user(const http_exchange_t *exchange)
{
    return exchange->user;
}

const struct http_request *
http_exchange_request(const http_exchange_t *exchange)
{
    return &exchange->request;
}

struct arena *
http_exchange_arena(http_exchange_t *exchange)
{
    return &exchange->arena;
}

dyn_block_t *
http_exchange_take_body(http_exchange_t *exchange)
{
    dyn_block_t *body = exchange->body;
    exchange->body = NULL;
    exchange->request.body = NULL;
    return body;
}

struct dyn_slice
http_request_header(const struct http_request *request, const char *name)
{
    struct dyn_slice wanted = dyn_slice_str(name);
    for (size_t i = 0; i < request->n_headers; i++) {
        if (dyn_slice_ieq(request->headers[i].name, wanted)) {
            return request->headers[i].value;
        }
    }
    return dyn_slice(NULL, 0);
}

/* ---- the Date header (RFC 9110 5.6.7) ---- */

struct dyn_slice
http_server_date_line(http_server_t *server)
{
    static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    enum { SECOND_US = 1000 * 1000 };
    uint64_t now_us = bus_loop_now_us(server->loop);
    if (now_us >= server->date_until_us) {
        uint64_t wall_us = dyn_wall_us(bus_loop_clock(server->loop));
        time_t seconds = (time_t)(wall_us / SECOND_US);
        struct tm tm;
        (void)gmtime_r(&seconds, &tm);
        int len = snprintf(server->date_line, sizeof server->date_line,
                           "date: %s, %02d %s %04d %02d:%02d:%02d GMT\r\n", days[tm.tm_wday], tm.tm_mday,
                           months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
        server->date_len = (size_t)len < sizeof server->date_line ? (size_t)len : 0;
        server->date_until_us = now_us + SECOND_US - wall_us % SECOND_US;
    }
    return dyn_slice(server->date_line, server->date_len);
}
