/* See http_wire.h. */
#include "actors/providers/http_wire.h"

#include "actors/providers/http_reader.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define RECEIVE_PLAIN  32768u /* one receive for most plain answers; one buffer for all wires of a loop */
#define RECEIVE_STREAM 16384u /* what is at most handed over to a call that was just paused */

struct http_pool {
    struct dyn_list link; /* client->pools */
    http_client_t *client;
    char *authority;
    unsigned refs;
    struct dyn_list idle; /* the last one used in front */
};

struct http_wire {
    struct bus_fd watch;
    struct dyn_list link; /* pool->idle */
    http_pool_t *pool;
    http_call_t *call; /* NULL: idle */
    int fd;
    bool is_reusable; /* its answer is whole, and it may have another */
    bool reads;
    uint64_t idle_since_us;
    size_t unsent; /* bytes of the request, from its end */
    char *head;    /* what the socket did not take of the request's head, when it did not take all */
    size_t head_len;
    struct http_reader reader;
};

/* ---- pools ---- */

static http_client_t *
client_of(const http_wire_t *wire)
{
    return wire->pool->client;
}

static void
close_wire(http_wire_t *wire)
{
    bus_fd_watch(client_of(wire)->loop, &wire->watch, wire->fd, 0);
    (void)close(wire->fd);
    client_of(wire)->n_wires--;
    dyn_list_remove(&wire->link);
    http_reader_fini(&wire->reader);
    free(wire->head);
    free(wire);
}

http_pool_t *
http_pool_get(http_client_t *client, const char *authority)
{
    for (struct dyn_list *link = client->pools.next; link != &client->pools; link = link->next) {
        http_pool_t *pool = DYN_CONTAINER_OF(link, http_pool_t, link);
        if (strcmp(pool->authority, authority) == 0) {
            pool->refs++;
            return pool;
        }
    }
    http_pool_t *pool = dyn_zalloc(sizeof *pool);
    pool->client = client;
    pool->authority = dyn_strdup(authority);
    pool->refs = 1;
    dyn_list_init(&pool->link);
    dyn_list_init(&pool->idle);
    dyn_list_append(&client->pools, &pool->link);
    return pool;
}

void
http_pool_unref(http_pool_t **pool_p)
{
    http_pool_t *pool = *pool_p;
    *pool_p = NULL;
    if (pool == NULL || --pool->refs > 0) {
        return;
    }
    while (!dyn_list_is_empty(&pool->idle)) {
        close_wire(DYN_CONTAINER_OF(pool->idle.next, http_wire_t, link));
    }
    dyn_list_remove(&pool->link);
    free(pool->authority);
    free(pool);
}

static bool
is_idle_since(const http_wire_t *wire, unsigned seconds)
{
    return bus_loop_now_us(client_of(wire)->loop) - wire->idle_since_us > (uint64_t)seconds * 1000 * 1000;
}

void
http_wires_sweep(http_client_t *client, unsigned age_s)
{
    for (struct dyn_list *link = client->pools.next; link != &client->pools; link = link->next) {
        http_pool_t *pool = DYN_CONTAINER_OF(link, http_pool_t, link);
        while (!dyn_list_is_empty(&pool->idle)) {
            http_wire_t *oldest = DYN_CONTAINER_OF(pool->idle.prev, http_wire_t, link);
            if (!is_idle_since(oldest, age_s)) {
                break;
            }
            close_wire(oldest);
        }
    }
}

void
http_wire_leave(http_call_t *call)
{
    http_wire_t *wire = call->wire;
    http_pool_t *pool = wire->pool;
    call->wire = NULL;
    wire->call = NULL;
    if (!wire->is_reusable || pool->client->n_wires > pool->client->connections_max) {
        close_wire(wire);
        return;
    }
    wire->watch.is_patient = false;
    http_wire_set_reading(wire, true);
    wire->idle_since_us = bus_loop_now_us(pool->client->loop);
    dyn_list_append(pool->idle.next, &wire->link); /* in front: the others may grow old */
}

/* ---- sending ---- */

bool
http_wire_has_sent(const http_wire_t *wire)
{
    return wire->unsent == 0;
}

static void
watch(http_wire_t *wire)
{
    unsigned events =
        (wire->reads ? (unsigned)BUS_FD_READ : 0u) | (wire->unsent > 0 ? (unsigned)BUS_FD_WRITE : 0u);
    bus_fd_watch(client_of(wire)->loop, &wire->watch, wire->fd, events);
}

void
http_wire_set_reading(http_wire_t *wire, bool reads)
{
    if (wire->reads != reads) {
        wire->reads = reads;
        watch(wire);
    }
}

static void
ended(http_call_t *call, CURLcode code, const char *why)
{
    (void)snprintf(call->error, sizeof call->error, "%s", why);
    http_call_ended(call, code);
}

/* The head is kept only when the socket did not take it. */
static void
keep_head(http_wire_t *wire, const char *rest, size_t len)
{
    char *kept = len > 0 ? dyn_alloc(len) : NULL;
    if (len > 0) {
        memcpy(kept, rest, len);
    }
    free(wire->head);
    wire->head = kept;
    wire->head_len = len;
}

/* Head and what is left of the body in one call. False: the call is over. */
static bool
send_rest(http_wire_t *wire, const char *head, size_t head_len)
{
    http_call_t *call = wire->call;
    struct dyn_slice body = dyn_block_slice(call->body);
    size_t body_left = wire->unsent - head_len;
    struct iovec pieces[2] = {{(void *)(uintptr_t)head, head_len},
                              {(void *)(uintptr_t)(body.data + (body.len - body_left)), body_left}};
    struct msghdr message = {.msg_iov = head_len > 0 ? pieces : pieces + 1,
                             .msg_iovlen = (size_t)(head_len > 0) + (size_t)(body_left > 0)};
    ssize_t n = sendmsg(wire->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        ended(call, CURLE_SEND_ERROR, strerror(errno));
        return false;
    }
    size_t sent = n > 0 ? (size_t)n : 0;
    size_t of_head = sent < head_len ? sent : head_len;
    wire->unsent -= sent;
    if (head_len > of_head || wire->head != NULL) {
        keep_head(wire, head + of_head, head_len - of_head);
    }
    return true;
}

/* The text of the request's head, in the client's buffer. */
static struct dyn_slice
write_head(const http_call_t *call)
{
    const http_origin_t *origin = call->origin;
    struct dyn_buf *text = &origin->client->head;
    dyn_buf_clear(text);
    dyn_buf_add_slice(text, dyn_buf_slice(&origin->head_front));
    dyn_buf_add_slice(text, dyn_buf_slice(&call->own_head));
    dyn_buf_add_slice(text, dyn_buf_slice(&origin->head_back));
    dyn_buf_add_uint(text, call->body != NULL ? call->body->len : 0);
    dyn_buf_add(text, "\r\n\r\n", 4);
    return dyn_buf_slice(text);
}

static void
begin(http_call_t *call, http_wire_t *wire)
{
    call->wire = wire;
    wire->call = call;
    wire->is_reusable = false;
    wire->watch.is_patient = false;
    http_reader_fini(&wire->reader);
    http_reader_init(&wire->reader);
    if (!http_call_sending(call)) {
        return;
    }
    struct dyn_slice head = write_head(call);
    wire->unsent = head.len + (call->body != NULL ? call->body->len : 0);
    wire->reads = !call->wants_pause;
    call->is_paused = call->wants_pause;
    if (send_rest(wire, head.data, head.len)) {
        watch(wire);
    }
}

/* ---- receiving ---- */

static void
head_is_done(http_call_t *call, const struct http_reader *reader)
{
    call->head = (struct http_call_head){reader->status, reader->content_length, reader->is_chunked};
    call->head_is_done = true;
    if (http_wire_has_sent(call->wire)) { /* a stream may last for minutes: it is not kept for that long */
        dyn_block_unref(&call->body);
    }
    if (call->ops != NULL) {
        call->ops->head(call->self, &call->head);
    }
}

/* False: nobody waits for the rest, or it is too much to wait for. */
static bool
tell(http_call_t *call, const struct http_reader *reader, const struct http_piece *piece)
{
    switch (piece->kind) {
    case HTTP_PIECE_HEADER:
        call->ops->header(call->self, piece->name, piece->value);
        break;
    case HTTP_PIECE_HEAD:
        head_is_done(call, reader);
        break;
    case HTTP_PIECE_DATA:
        if (call->ops != NULL) {
            call->ops->data(call->self, piece->value);
        } else {
            call->linger_bytes += (uint32_t)piece->value.len;
        }
        call->wire->watch.is_patient = true; /* the first words of others go first */
        break;
    case HTTP_PIECE_END:
        break;
    }
    return call->ops != NULL || (call->is_lingering && call->linger_bytes <= HTTP_CALL_LINGER_BYTES);
}

static void
take_bytes(http_wire_t *wire, struct dyn_slice bytes)
{
    http_call_t *call = wire->call;
    struct http_piece piece = {.kind = HTTP_PIECE_HEADER};
    int found = 0;
    call->head_bytes = 1; /* something came */
    http_call_got_bytes(call);
    while (piece.kind != HTTP_PIECE_END && (found = http_reader_next(&wire->reader, &bytes, &piece)) == 1) {
        if (!tell(call, &wire->reader, &piece)) {
            call->is_cancelled = true;
            http_client_chore(call);
            return;
        }
    }
    if (call->ops != NULL && call->head_is_done) {
        call->ops->settled(call->self);
    }
    if (found < 0) {
        ended(call, call->head_is_done ? CURLE_RECV_ERROR : CURLE_WEIRD_SERVER_REPLY, wire->reader.why);
    } else if (found == 1) { /* bytes behind the answer: nobody asked for them */
        wire->is_reusable = wire->reader.is_kept && bytes.len == 0 && http_wire_has_sent(wire);
        http_call_ended(call, CURLE_OK);
    }
}

static void
connection_ended(http_wire_t *wire, const char *why)
{
    http_call_t *call = wire->call;
    if (call->head_bytes == 0) {
        ended(call, CURLE_GOT_NOTHING, why != NULL ? why : "the connection was closed without an answer");
    } else if (!call->head_is_done) {
        ended(call, CURLE_PARTIAL_FILE, "the connection ended inside the head of the answer");
    } else if (why != NULL) {
        ended(call, CURLE_RECV_ERROR, why);
    } else if (http_reader_ends_here(&wire->reader)) {
        http_call_ended(call, CURLE_OK);
    } else {
        ended(call, CURLE_PARTIAL_FILE, "the connection ended before the answer did");
    }
}

static void
receive(http_wire_t *wire)
{
    http_client_t *client = client_of(wire);
    if (client->received == NULL) {
        client->received = dyn_alloc(RECEIVE_PLAIN);
    }
    size_t room = wire->call->is_stream ? RECEIVE_STREAM : RECEIVE_PLAIN;
    ssize_t n = recv(wire->fd, client->received, room, MSG_DONTWAIT);
    if (n > 0) {
        take_bytes(wire, dyn_slice(client->received, (size_t)n));
    } else if (n == 0) {
        connection_ended(wire, NULL);
    } else if (errno != EAGAIN && errno != EINTR) {
        connection_ended(wire, strerror(errno));
    }
}

static void
wire_ready(struct bus_fd *watched, int fd, unsigned events)
{
    (void)fd;
    http_wire_t *wire = DYN_CONTAINER_OF(watched, http_wire_t, watch);
    if (wire->call == NULL) { /* closed by its server, or it speaks without being asked */
        close_wire(wire);
        return;
    }
    if (wire->call->is_cancelled) { /* it ends with this turn */
        return;
    }
    if ((events & BUS_FD_READ) != 0 && wire->reads) {
        receive(wire);
        return; /* an answer to half a request is an answer; what is left of it goes in the next turn */
    }
    if ((events & BUS_FD_WRITE) != 0 && wire->unsent > 0 && send_rest(wire, wire->head, wire->head_len)) {
        watch(wire);
    }
}

/* ---- a call and its wire ---- */

bool
http_wire_use_kept(http_call_t *call)
{
    http_pool_t *pool = call->origin->pool;
    struct dyn_list *link;
    while ((link = dyn_list_pop(&pool->idle)) != NULL) {
        http_wire_t *wire = DYN_CONTAINER_OF(link, http_wire_t, link);
        if (!is_idle_since(wire, HTTP_IDLE_S)) {
            begin(call, wire);
            return true;
        }
        close_wire(wire);
    }
    return false;
}

void
http_wire_use_new(http_call_t *call, int fd)
{
    http_wire_t *wire = dyn_zalloc(sizeof *wire);
    wire->watch.ready = wire_ready;
    wire->pool = call->origin->pool;
    wire->fd = fd;
    wire->pool->client->n_wires++;
    http_sweep_arm(wire->pool->client);
    dyn_list_init(&wire->link);
    http_reader_init(&wire->reader);
    begin(call, wire);
}
