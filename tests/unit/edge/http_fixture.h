/* An HTTP server on a loop of its own, with a clock that the test moves, and clients on socket pairs. */
#pragma once

#include "edge/http_server.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    QUIET_TURNS = 4, /* a request needs at most three: receive, finish, resume */
    HEADROOM = 1024,
};

struct client {
    int fd;
    char *got;
    size_t len;
    bool eof;
};

struct web {
    bus_loop_t *loop;
    http_server_t *server;
    uint64_t now_us;
    struct dyn_clock clock;
    struct http_server_ops ops;

    /* what the handlers saw */
    unsigned heads, requests, too_larges, dones, completes, refusals;
    unsigned last_refusal;
    size_t written;
    char last_body[256];
    size_t last_body_len;
    char last_target[256];

    /* what they do */
    uint64_t body_max;
    void (*answer)(struct web *web, http_exchange_t *exchange, const struct http_request *request);
    http_exchange_t *open; /* the last exchange, while it is open */
};

static uint64_t
web_clock_us(void *self)
{
    return *(uint64_t *)self;
}

static void
web_reply(http_exchange_t *exchange, unsigned status, const char *text)
{
    dyn_block_t *body = dyn_block_copy(HEADROOM, dyn_slice_str(text));
    struct http_answer answer = {.status = status, .content_type = DYN_SLICE("text/plain")};
    http_reply(exchange, &answer, &body);
}

/* "POST /path 5 hello" */
static void
web_echo(struct web *web, http_exchange_t *exchange, const struct http_request *request)
{
    (void)web;
    char text[1024];
    struct dyn_slice body = dyn_block_slice(request->body);
    int shown = body.len < 100 ? (int)body.len : 100;
    (void)snprintf(text, sizeof text, "%.*s %.*s %zu %.*s", (int)request->method.len, request->method.data,
                   (int)request->path.len, request->path.data, body.len, shown, body.data ? body.data : "");
    web_reply(exchange, 200, text);
}

static uint64_t
web_head(void *self, http_exchange_t *exchange, const struct http_request *request)
{
    struct web *web = self;
    web->heads++;
    web->open = exchange;
    (void)snprintf(web->last_target, sizeof web->last_target, "%.*s", (int)request->target.len,
                   request->target.data);
    return web->body_max;
}

static void
web_too_large(void *self, http_exchange_t *exchange, const struct http_request *request)
{
    struct web *web = self;
    (void)request;
    web->too_larges++;
    web_reply(exchange, 413, "too large");
}

static void
web_request(void *self, http_exchange_t *exchange, const struct http_request *request)
{
    struct web *web = self;
    struct dyn_slice body = dyn_block_slice(request->body);
    web->requests++;
    web->last_body_len = body.len;
    memset(web->last_body, 0, sizeof web->last_body);
    if (body.len > 0) {
        memcpy(web->last_body, body.data, body.len < 255 ? body.len : 255);
    }
    web->open = exchange;
    if (web->answer != NULL) {
        web->answer(web, exchange, request);
    }
}

static void
web_written(void *self, http_exchange_t *exchange, size_t bytes)
{
    struct web *web = self;
    (void)exchange;
    web->written += bytes;
}

static void
web_done(void *self, http_exchange_t *exchange, bool complete)
{
    struct web *web = self;
    web->dones++;
    web->completes += complete;
    if (web->open == exchange) {
        web->open = NULL;
    }
}

static void
web_refused(void *self, http_exchange_t *exchange, unsigned status, const char *why, struct dyn_slice peer,
            struct dyn_buf *body, struct http_answer *answer)
{
    struct web *web = self;
    (void)exchange;
    (void)peer;
    web->refusals++;
    web->last_refusal = status;
    dyn_buf_add_str(body, why);
    answer->content_type = DYN_SLICE("text/plain");
}

static void
web_start_with(struct web *web, const struct http_server_options *options)
{
    *web = (struct web){
        .loop = bus_loop_new("web"),
        .now_us = 1000000,
        .body_max = 1024 * 1024,
        .answer = web_echo,
        .ops = {.head = web_head,
                .too_large = web_too_large,
                .request = web_request,
                .written = web_written,
                .done = web_done,
                .refused = web_refused},
    };
    web->clock = (struct dyn_clock){.mono_us = web_clock_us, .wall_us = web_clock_us, .self = &web->now_us};
    bus_loop_set_clock(web->loop, &web->clock);
    struct dyn_err err;
    web->server = http_server_new(web->loop, &web->ops, web, options, &err);
    assert_non_null(web->server);
}

static void
web_start(struct web *web)
{
    web_start_with(web, &(struct http_server_options){0});
}

static void
web_stop(struct web *web)
{
    http_server_free(&web->server);
    bus_loop_free(&web->loop);
    assert_int_equal(web->heads, web->dones); /* done() exactly once for every head() */
}

static DYN_UNUSED struct client
web_connect_buffered(struct web *web, int send_buffer)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    if (send_buffer > 0) {
        assert_int_equal(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof send_buffer), 0);
    }
    struct dyn_err err;
    assert_int_equal(http_server_adopt(web->server, fds[0], &err), 0);
    return (struct client){.fd = fds[1]};
}

static DYN_UNUSED struct client
web_connect(struct web *web)
{
    return web_connect_buffered(web, 0);
}

static DYN_UNUSED void
client_read(struct client *client)
{
    char piece[4096];
    while (!client->eof) {
        ssize_t n = recv(client->fd, piece, sizeof piece, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) {
            return;
        }
        if (n <= 0) {
            client->eof = true;
            return;
        }
        client->got = realloc(client->got, client->len + (size_t)n + 1);
        memcpy(client->got + client->len, piece, (size_t)n);
        client->len += (size_t)n;
        client->got[client->len] = '\0';
    }
}

static void
web_run(struct web *web)
{
    for (unsigned i = 0; i < QUIET_TURNS; i++) {
        bus_loop_run_once(web->loop, 0);
    }
}

static DYN_UNUSED void
web_pass_ms(struct web *web, uint64_t ms)
{
    web->now_us += ms * 1000;
    web_run(web);
}

static DYN_UNUSED void
client_send_bytes(struct web *web, struct client *client, struct dyn_slice bytes)
{
    while (bytes.len > 0) {
        ssize_t n = send(client->fd, bytes.data, bytes.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN) {
            break; /* closed on us: the test looks at what it got */
        }
        if (n > 0) {
            bytes.data += n;
            bytes.len -= (size_t)n;
        }
        bus_loop_run_once(web->loop, 0);
    }
    web_run(web);
    client_read(client);
}

static DYN_UNUSED void
client_send(struct web *web, struct client *client, const char *text)
{
    client_send_bytes(web, client, dyn_slice_str(text));
}

static DYN_UNUSED void
client_close(struct client *client)
{
    (void)close(client->fd);
    free(client->got);
    *client = (struct client){.fd = -1};
}

static DYN_UNUSED void
client_forget(struct client *client)
{
    free(client->got);
    client->got = NULL;
    client->len = 0;
}

/* How often `text` is in what came. */
static DYN_UNUSED unsigned
client_count(const struct client *client, const char *text)
{
    unsigned n = 0;
    for (const char *at = client->got; at != NULL && (at = strstr(at, text)) != NULL; at += strlen(text)) {
        n++;
    }
    return n;
}

static DYN_UNUSED unsigned
client_status(const struct client *client)
{
    return client->len > 12 ? (unsigned)strtoul(client->got + 9, NULL, 10) : 0;
}

#define client_assert_has(client, text)                                                        \
    do {                                                                                       \
        if (client_count((client), (text)) == 0) {                                             \
            fail_msg("missing \"%s\" in: %s", (text), (client)->got ? (client)->got : "nothing"); \
        }                                                                                      \
    } while (0)
