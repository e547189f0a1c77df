/* Calls on connections of our own, one at a time: what a server may do to one that is let go, kept, or
 * answered too early. Time is the test's. */
#include "actors/providers/http_curl.h"
#include "tests/unit/providers/upstream.h"

#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { WAIT_MS = 60 * 1000, TURN_MS = 100 };

/* One client, one origin, and what its last call told. */
struct wires {
    struct upstream *upstream;
    sem_t may_go_on; /* the upstream's next step */
    bus_loop_t *loop;
    struct dyn_clock clock;
    uint64_t now_us;
    http_client_t *client;
    http_origin_t *origin;
    http_call_t *call;
    struct dyn_buf body;
    unsigned status;
    int end; /* -1: not yet */
    bool let_go_with_body;
};

static uint64_t
now_of_test(void *wires)
{
    return ((struct wires *)wires)->now_us;
}

static void
ignores_header(void *self, struct dyn_slice name, struct dyn_slice value)
{
    (void)self;
    (void)name;
    (void)value;
}

static void
keeps_status(void *self, const struct http_call_head *head)
{
    ((struct wires *)self)->status = head->status;
}

static void
keeps_data(void *self, struct dyn_slice bytes)
{
    struct wires *wires = self;
    dyn_buf_add_slice(&wires->body, bytes);
    if (wires->let_go_with_body) {
        http_call_let_go(wires->call);
    }
}

static void
ignores_settled(void *self)
{
    (void)self;
}

static void
keeps_end(void *self, const struct http_call_result *result)
{
    ((struct wires *)self)->end = (int)result->end;
}

static void
wires_init(struct wires *wires, serve_fn serve)
{
    struct http_client_options of_client = {.connections_max = 0};
    char url[64];
    struct dyn_err err;
    *wires = (struct wires){.now_us = 1000 * 1000, .end = -1};
    wires->clock = (struct dyn_clock){now_of_test, now_of_test, wires};
    assert_int_equal(sem_init(&wires->may_go_on, 0, 0), 0);
    wires->upstream = upstream_new(serve, wires);
    wires->loop = bus_loop_new("wires");
    bus_loop_set_clock(wires->loop, &wires->clock);
    wires->client = http_client_new(wires->loop, &of_client, &err);
    assert_non_null(wires->client);
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/v1", wires->upstream->port);
    struct http_origin_options of_origin = {.url = url};
    wires->origin = http_origin_new(wires->client, &of_origin, &err);
    assert_non_null(wires->origin);
}

static void
wires_fini(struct wires *wires)
{
    http_origin_free(&wires->origin);
    http_client_unref(&wires->client);
    bus_loop_free(&wires->loop);
    upstream_free(wires->upstream);
    dyn_buf_fini(&wires->body);
    (void)sem_destroy(&wires->may_go_on);
}

static void
start(struct wires *wires, dyn_block_t *body)
{
    static const struct http_call_ops ops = {.header = ignores_header,
                                             .head = keeps_status,
                                             .data = keeps_data,
                                             .settled = ignores_settled,
                                             .done = keeps_end};
    struct http_call_request request = {
        .body = body, .connect_ms = WAIT_MS, .first_byte_ms = WAIT_MS, .idle_ms = WAIT_MS};
    wires->end = -1;
    wires->call = http_call_start(wires->origin, &request, &ops, wires);
}

static void
run_to_end(struct wires *wires)
{
    while (wires->end < 0) {
        bus_loop_run_once(wires->loop, TURN_MS);
    }
}

static void
pass_time(struct wires *wires, uint64_t ms)
{
    wires->now_us += ms * 1000;
    bus_loop_run_once(wires->loop, 0);
}

/* ---- calls that are let go ---- */

static void
drips(struct upstream *upstream, int fd)
{
    struct wires *wires = upstream->user;
    if (upstream_request(upstream, fd)) {
        upstream_say(upstream, fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx");
        (void)sem_wait(&wires->may_go_on);
        upstream_say(upstream, fd, "y");
        upstream_wait_for_close(fd);
    }
}

/* Its time does not begin anew with each byte, or a server that drips would hold it for hours. */
static void
a_call_that_is_let_go_lingers_for_a_second(void **state)
{
    (void)state;
    struct wires wires;
    wires_init(&wires, drips);
    wires.let_go_with_body = true;
    start(&wires, NULL);
    while (wires.body.len == 0) {
        bus_loop_run_once(wires.loop, TURN_MS);
    }
    (void)sem_post(&wires.may_go_on);
    while (wires.call->linger_bytes == 0) {
        bus_loop_run_once(wires.loop, TURN_MS);
    }
    assert_int_equal(http_client_calls(wires.client), 1);
    pass_time(&wires, HTTP_CALL_LINGER_MS + 1);
    assert_int_equal(http_client_calls(wires.client), 0);
    assert_int_equal(wires.end, -1);
    wires_fini(&wires);
}

/* ---- answers that end before the request does, or go on after their end ---- */

static void
refuses_large_bodies(struct upstream *upstream, int fd)
{
    char begin[64];
    if (recv(fd, begin, sizeof begin, 0) > 0) {
        upstream_answer(upstream, fd, "413 Content Too Large", "", "too large");
        (void)sem_wait(&((struct wires *)upstream->user)->may_go_on);
    }
}

static void
an_answer_may_come_before_the_request_is_sent(void **state)
{
    (void)state;
    enum { BODY_BYTES = 64 * 1024 * 1024 }; /* more than the two sockets hold */
    struct wires wires;
    wires_init(&wires, refuses_large_bodies);
    dyn_block_t *body = dyn_block_new(0, BODY_BYTES);
    body->len = BODY_BYTES;
    memset(dyn_block_data(body), 'x', BODY_BYTES);
    start(&wires, body);
    dyn_block_unref(&body);
    run_to_end(&wires);
    assert_int_equal(wires.end, HTTP_CALL_COMPLETE);
    assert_int_equal(wires.status, 413);
    assert_string_equal(dyn_buf_cstr(&wires.body), "too large");
    assert_int_equal(wires.client->n_wires, 0); /* half a request is on it */
    (void)sem_post(&wires.may_go_on);
    wires_fini(&wires);
}

static void
says_too_much(struct upstream *upstream, int fd)
{
    while (upstream_request(upstream, fd)) {
        upstream_say(upstream, fd,
                     "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
                     "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
    }
}

/* Nobody's answer is taken for the next one's. */
static void
what_follows_an_answer_is_of_nobody(void **state)
{
    (void)state;
    struct wires wires;
    wires_init(&wires, says_too_much);
    for (int i = 0; i < 2; i++) {
        start(&wires, NULL);
        run_to_end(&wires);
        assert_int_equal(wires.end, HTTP_CALL_COMPLETE);
    }
    assert_string_equal(dyn_buf_cstr(&wires.body), "okok");
    assert_int_equal(atomic_load(&wires.upstream->n_connections), 2);
    wires_fini(&wires);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_that_is_let_go_lingers_for_a_second),
        cmocka_unit_test(an_answer_may_come_before_the_request_is_sent),
        cmocka_unit_test(what_follows_an_answer_is_of_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
