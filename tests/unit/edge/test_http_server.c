/* The HTTP server as clients see it: one answer a request, whatever the pieces they arrive in. */
#include "tests/unit/edge/http_fixture.h"

#define POST_ONE    "POST /one HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
#define CHUNKED     " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
#define POST_TWO    "POST /two" CHUNKED "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
#define EXPECT_FIVE " HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"

/* Two pipelined requests, split at every byte: exactly two answers, one call each, while another client is
 * served. */
static void
pipelined_posts_split_at_every_byte(void **state)
{
    (void)state;
    static const char both[] = POST_ONE POST_TWO;
    struct web web;
    web_start(&web);
    struct client other = web_connect(&web);
    for (size_t split = 0; split < sizeof both - 1; split++) {
        struct client client = web_connect(&web);
        unsigned before = web.requests;
        client_send_bytes(&web, &client, dyn_slice(both, split));
        client_send(&web, &other, "GET /other HTTP/1.1\r\nHost: x\r\n\r\n");
        client_send_bytes(&web, &client, dyn_slice(both + split, sizeof both - 1 - split));
        assert_int_equal(client_count(&client, "HTTP/1.1 200 OK\r\n"), 2);
        assert_int_equal(client_count(&client, "POST /one 5 hello"), 1);
        assert_int_equal(client_count(&client, "POST /two 5 abcde"), 1);
        assert_int_equal(web.requests, before + 3);
        assert_false(client.eof);
        client_close(&client);
    }
    assert_int_equal(client_count(&other, "GET /other 0 "), sizeof both - 1);
    web_run(&web);
    assert_int_equal(http_server_connections(web.server), 1);
    client_close(&other);
    web_stop(&web);
}

static void
requests_byte_by_byte(void **state)
{
    (void)state;
    static const char both[] = POST_TWO POST_ONE POST_TWO;
    struct web web;
    web_start(&web);
    struct client client = web_connect(&web);
    for (size_t i = 0; i < sizeof both - 1; i++) {
        client_send_bytes(&web, &client, dyn_slice(both + i, 1));
    }
    assert_int_equal(client_count(&client, "HTTP/1.1 200 OK\r\n"), 3);
    assert_int_equal(web.requests, 3);
    client_close(&client);
    web_stop(&web);
}

#define GET "GET /g HTTP/1.1\r\nHost: x\r\n\r\n"

/* ---- versions, HEAD, keep-alive ---- */

static void
http_1_0_closes_unless_asked(void **state)
{
    (void)state;
    struct web web;
    web_start(&web);
    struct client client = web_connect(&web);
    client_send(&web, &client, "GET /g HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    client_assert_has(&client, "connection: keep-alive\r\n");
    assert_false(client.eof);
    client_send(&web, &client, "GET /g HTTP/1.0\r\n\r\n");
    client_assert_has(&client, "connection: close\r\n");
    assert_int_equal(client_count(&client, "GET /g 0 "), 2);
    assert_true(client.eof);
    client_close(&client);

    client = web_connect(&web);
    client_send(&web, &client, "GET /g HTTP/1.1\r\nHost: x\r\nConnection: Close\r\n\r\n");
    client_assert_has(&client, "connection: close\r\n");
    assert_true(client.eof);
    client_close(&client);
    web_stop(&web);
}

static void
head_gets_the_length_and_no_body(void **state)
{
    (void)state;
    struct web web;
    web_start(&web);
    struct client client = web_connect(&web);
    client_send(&web, &client, "HEAD /g HTTP/1.1\r\nHost: x\r\n\r\n" GET);
    client_assert_has(&client, "content-length: 10\r\n"); /* "HEAD /g 0 " */
    assert_int_equal(client_count(&client, "HEAD /g 0"), 0);
    client_assert_has(&client, "\r\n\r\nHTTP/1.1 200 OK\r\n");
    assert_int_equal(client_count(&client, "GET /g 0 "), 1);
    client_close(&client);
    web_stop(&web);
}

static void
answers_carry_date_and_common_headers(void **state)
{
    (void)state;
    static const struct http_header common[] = {
        {DYN_SLICE_INIT("x-content-type-options"), DYN_SLICE_INIT("nosniff")}};
    struct web web;
    web_start_with(&web, &(struct http_server_options){.answer_headers = common, .n_answer_headers = 1});
    web.now_us = 1795365245ull * 1000000;
    web_run(&web);
    struct client client = web_connect(&web);
    client_send(&web, &client, GET);
    client_assert_has(&client, "\r\ndate: Sun, 22 Nov 2026 16:34:05 GMT\r\n");
    client_assert_has(&client, "\r\nx-content-type-options: nosniff\r\n");
    client_forget(&client);
    web_pass_ms(&web, 1000);
    client_send(&web, &client, GET "NONSENSE\r\n");
    assert_int_equal(client_count(&client, "\r\ndate: Sun, 22 Nov 2026 16:34:06 GMT\r\n"), 2);
    assert_int_equal(client_count(&client, "\r\nx-content-type-options: nosniff\r\n"), 2);
    client_close(&client);
    web_stop(&web);
}

static void
answer_bad_headers(struct web *web, http_exchange_t *exchange, const struct http_request *request)
{
    (void)web;
    (void)request;
    static const struct http_header headers[] = {
        {DYN_SLICE_INIT("x-good"), DYN_SLICE_INIT("yes")},
        {DYN_SLICE_INIT("x-split"), DYN_SLICE_INIT("a\r\nset-cookie: b")},
        {DYN_SLICE_INIT("x name"), DYN_SLICE_INIT("a")},
        {DYN_SLICE_INIT("Content-Length"), DYN_SLICE_INIT("99")},
        {DYN_SLICE_INIT("transfer-encoding"), DYN_SLICE_INIT("chunked")},
    };
    struct http_answer answer = {.status = 200, .headers = headers, .n_headers = DYN_ARRAY_LEN(headers)};
    http_reply(exchange, &answer, NULL);
}

static void
headers_that_break_framing_are_left_out(void **state)
{
    (void)state;
    struct web web;
    web_start(&web);
    web.answer = answer_bad_headers;
    struct client client = web_connect(&web);
    client_send(&web, &client, GET);
    client_assert_has(&client, "x-good: yes\r\n");
    client_assert_has(&client, "content-length: 0\r\n");
    assert_int_equal(client_count(&client, "x-split"), 0);
    assert_int_equal(client_count(&client, "set-cookie"), 0);
    assert_int_equal(client_count(&client, "x name"), 0);
    assert_int_equal(client_count(&client, "99"), 0);
    assert_int_equal(client_count(&client, "chunked"), 0);
    client_close(&client);
    web_stop(&web);
}

/* ---- bodies ---- */

static void
expect_100_is_answered_when_the_body_is_wanted(void **state)
{
    (void)state;
    struct web web;
    web_start(&web);
    struct client client = web_connect(&web);
    client_send(&web, &client, "POST /e" EXPECT_FIVE);
    assert_string_equal(client.got, "HTTP/1.1 100 Continue\r\n\r\n");
    client_send(&web, &client, "hello");
    client_assert_has(&client, "POST /e 5 hello");
    client_forget(&client);
    /* With the body on its way nobody waits for it. */
    client_send(&web, &client, "POST /e" EXPECT_FIVE "hello");
    assert_int_equal(client_count(&client, "100 Continue"), 0);
    client_assert_has(&client, "POST /e 5 hello");
    client_forget(&client);
    /* Refused before: the final answer comes at once and the connection ends. */
    web.body_max = 4;
    client_send(&web, &client, "POST /e" EXPECT_FIVE);
    assert_int_equal(client_count(&client, "100 Continue"), 0);
    client_assert_has(&client, "HTTP/1.1 413 Content Too Large\r\n");
    client_assert_has(&client, "connection: close\r\n");
    client_close(&client);
    web_stop(&web);
}

static void
a_body_beyond_the_limit_is_413(void **state)
{
    (void)state;
    struct web web;
    web_start(&web);
    web.body_max = 10;
    struct client client = web_connect(&web);
    client_send(&web, &client, "POST /l HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123456789");
    client_assert_has(&client, "POST /l 10 0123456789");
    client_forget(&client);
    client_send(&web, &client, "POST /l HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n01234567890");
    assert_int_equal(client_status(&client), 413);
    assert_true(client.eof); /* our half; the client may go on sending for a while, unread */
    client_send(&web, &client, GET);
    assert_int_equal(web.requests, 1);
    client_close(&client);

    client = web_connect(&web);
    client_send(&web, &client, "POST /l" CHUNKED "6\r\n012345\r\n");
    assert_int_equal(client.len, 0);
    client_send(&web, &client, "5\r\n");
    assert_int_equal(client.len, 0);
    client_send(&web, &client, "6");
    assert_int_equal(client.len, 0);
    client_send(&web, &client, "78901\r\n0\r\n\r\n");
    assert_int_equal(client_status(&client), 413);
    assert_int_equal(web.too_larges, 2);
    assert_int_equal(web.requests, 1);
    client_close(&client);
    web_run(&web);
    assert_int_equal(http_server_connections(web.server), 0);
    web_stop(&web);
}

static uint64_t
head_that_answers(void *self, http_exchange_t *exchange, const struct http_request *request)
{
    struct web *web = self;
    (void)request;
    web->heads++;
    web_reply(exchange, 404, "none");
    return 0;
}

/* An early answer keeps the connection when the body is short, and ends it when it is long or withheld. */
static void
an_early_answer_leaves_the_connection_in_step(void **state)
{
    (void)state;
    struct web web;
    web_start(&web);
    web.ops.head = head_that_answers;
    struct client client = web_connect(&web);
    client_send(&web, &client, POST_ONE);
    client_send(&web, &client, POST_TWO);
    client_send(&web, &client, "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n");
    assert_int_equal(client_count(&client, "HTTP/1.1 404 Not Found\r\n"), 3);
    client_send(&web, &client, "he");
    client_send(&web, &client, "llo" POST_ONE);
    assert_int_equal(client_count(&client, "HTTP/1.1 404 Not Found\r\n"), 4);
    assert_false(client.eof);
    assert_int_equal(client_count(&client, "connection: close"), 0);
    client_send(&web, &client, "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n");
    assert_int_equal(client_count(&client, "connection: close"), 1);
    assert_true(client.eof);
    client_close(&client);

    client = web_connect(&web);
    client_send(&web, &client, "POST /p" EXPECT_FIVE);
    assert_int_equal(client_count(&client, "connection: close"), 1);
    assert_true(client.eof);
    assert_int_equal(web.requests, 0);
    client_close(&client);
    web_stop(&web);
}

static uint64_t
head_that_discards(void *self, http_exchange_t *exchange, const struct http_request *request)
{
    (void)web_head(self, exchange, request);
    return HTTP_BODY_DISCARD;
}

static void
a_discarded_body_is_answered_later(void **state)
{
    (void)state;
    struct web web;
    web_start(&web);
    web.ops.head = head_that_discards;
    web.answer = NULL;
    struct client client = web_connect(&web);
    client_send(&web, &client, POST_ONE GET);
    assert_int_equal(client.len, 0);
    web_reply(web.open, 401, "key");
    web_run(&web);
    web_reply(web.open, 401, "key"); /* the pipelined GET */
    web_run(&web);
    client_read(&client);
    assert_int_equal(client_count(&client, "HTTP/1.1 401 Unauthorized\r\n"), 2);
    assert_int_equal(web.requests, 0);
    /* Answered before the body is through. */
    client_send(&web, &client, "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n");
    web_reply(web.open, 401, "key");
    web_run(&web);
    client_send(&web, &client, "hello");
    client_read(&client);
    assert_int_equal(client_count(&client, "HTTP/1.1 401 Unauthorized\r\n"), 3);
    assert_false(client.eof);
    client_close(&client);
    web_stop(&web);
}

static void
a_big_body_arrives_whole(void **state)
{
    (void)state;
    enum { SIZE = 900000 };
    struct web web;
    web_start(&web);
    char *bytes = malloc(SIZE + 200);
    int head = snprintf(bytes, 200, "POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", SIZE);
    memset(bytes + head, 'x', SIZE);
    struct client client = web_connect(&web);
    client_send_bytes(&web, &client, dyn_slice(bytes, (size_t)head + SIZE));
    assert_int_equal(web.last_body_len, SIZE);
    client_assert_has(&client, "POST /b 900000 xxx");
    free(bytes);
    client_close(&client);
    web_stop(&web);
}

/* ---- time ---- */

static void
a_slow_head_is_408(void **state)
{
    (void)state;
    struct web web;
    web_start(&web);
    struct client client = web_connect(&web);
    client_send(&web, &client, "GET / HT");
    web_pass_ms(&web, 9000);
    client_send(&web, &client, "TP/1.1\r\nHo"); /* progress does not help: the head has 10 s */
    web_pass_ms(&web, 999);
    assert_int_equal(client.len, 0);
    web_pass_ms(&web, 2);
    client_read(&client);
    assert_int_equal(client_status(&client), 408);
    assert_true(client.eof);
    assert_int_equal(web.heads, 0);
    client_close(&client);
    web_stop(&web);
}

static void
a_slow_body_is_408(void **state)
{
    (void)state;
    struct web web;
    web_start(&web);
    struct client client = web_connect(&web);
    client_send(&web, &client, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n");
    web_pass_ms(&web, 29000);
    client_send(&web, &client, "x");
    web_pass_ms(&web, 29000);
    client_read(&client);
    assert_int_equal(client.len, 0);
    web_pass_ms(&web, 1001);
    client_read(&client);
    assert_int_equal(client_status(&client), 408);
    assert_int_equal(web.dones, 1);
    assert_int_equal(web.completes, 0);
    client_close(&client);

    /* A trickle that never pauses ends, too. */
    client = web_connect(&web);
    client_send(&web, &client, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n");
    for (unsigned s = 0; s < 300; s += 13) {
        web_pass_ms(&web, 13000);
        client_send(&web, &client, "x");
    }
    assert_int_equal(client_status(&client), 408);
    assert_int_equal(web.requests, 0);
    client_close(&client);
    web_stop(&web);
}

static void
an_idle_connection_closes(void **state)
{
    (void)state;
    struct web web;
    web_start(&web);
    struct client client = web_connect(&web);
    web_pass_ms(&web, 74000);
    client_send(&web, &client, GET);
    client_assert_has(&client, "GET /g 0");
    web_pass_ms(&web, 74000);
    client_read(&client);
    assert_false(client.eof);
    web_pass_ms(&web, 1001);
    client_read(&client);
    assert_true(client.eof);
    assert_int_equal(client_count(&client, "408"), 0);
    assert_int_equal(http_server_connections(web.server), 0);
    client_close(&client);
    web_stop(&web);
}

static void
lingering_ends(void **state)
{
    (void)state;
    struct web web;
    web_start(&web);
    struct client client = web_connect(&web);
    client_send(&web, &client, "NONSENSE\r\n");
    assert_int_equal(client_status(&client), 400);
    assert_true(client.eof);
    client_send(&web, &client, "more and more");
    assert_int_equal(http_server_connections(web.server), 1);
    web_pass_ms(&web, 5001);
    assert_int_equal(http_server_connections(web.server), 0);
    client_close(&client);
    web_stop(&web);
}

/* An answer that takes its time is nobody's time-out. */
static void
no_time_out_while_an_answer_is_awaited(void **state)
{
    (void)state;
    struct web web;
    web_start(&web);
    web.answer = NULL;
    struct client client = web_connect(&web);
    client_send(&web, &client, POST_ONE);
    web_pass_ms(&web, 3600 * 1000);
    assert_non_null(web.open);
    web_reply(web.open, 200, "at last");
    web_run(&web);
    client_read(&client);
    client_assert_has(&client, "at last");
    client_close(&client);
    web_stop(&web);
}

/* ---- limits, leaving, draining ---- */

static void
at_the_limit_new_ones_are_refused_and_old_ones_served(void **state)
{
    (void)state;
    atomic_size_t gauge;
    atomic_init(&gauge, 0);
    struct web web;
    web_start_with(&web, &(struct http_server_options){.connections_max = 2, .connections = &gauge});
    struct client first = web_connect(&web);
    struct client second = web_connect(&web);
    client_send(&web, &first, GET);
    int fds[2];
    struct dyn_err err;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    assert_int_equal(http_server_adopt(web.server, fds[0], &err), -1);
    assert_int_equal(err.code, DYN_E_LIMIT);
    assert_int_equal(atomic_load(&gauge), 2);
    client_send(&web, &first, GET);
    assert_int_equal(client_count(&first, "GET /g 0 "), 2);
    client_close(&second);
    web_run(&web);
    assert_int_equal(atomic_load(&gauge), 1);
    assert_int_equal(http_server_adopt(web.server, fds[0], &err), 0); /* it stayed ours; now there is room */
    struct client third = {.fd = fds[1]};
    client_send(&web, &third, GET);
    client_assert_has(&third, "GET /g 0 ");
    client_close(&first);
    client_close(&third);
    web_stop(&web);
}

static void
a_client_that_leaves_ends_its_exchange_at_once(void **state)
{
    (void)state;
    struct web web;
    web_start(&web);
    web.answer = NULL;
    struct client client = web_connect(&web);
    client_send(&web, &client, POST_ONE);
    assert_int_equal(web.requests, 1);
    client_close(&client);
    bus_loop_run_once(web.loop, 0);
    assert_int_equal(web.dones, 1);
    assert_int_equal(web.completes, 0);
    client = web_connect(&web); /* and in the middle of a body */
    client_send(&web, &client, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf");
    client_close(&client);
    bus_loop_run_once(web.loop, 0);
    assert_int_equal(web.dones, 2);
    client = web_connect(&web); /* also with more requests behind: the next one is not begun */
    client_send(&web, &client, POST_ONE POST_TWO GET);
    client_close(&client);
    bus_loop_run_once(web.loop, 0);
    assert_int_equal(web.dones, 3);
    assert_int_equal(web.requests, 2);
    assert_int_equal(http_server_connections(web.server), 0);
    web_stop(&web);
}

/* Requests without end behind one that takes its time: they stay in the kernel, and are served later. */
static void
pipelined_requests_are_bounded(void **state)
{
    (void)state;
    enum { REQUESTS = 5000 };
    struct web web;
    web_start(&web);
    web.answer = NULL;
    struct client client = web_connect(&web);
    size_t sent = 0;
    client_send(&web, &client, GET);
    for (unsigned i = 1; i < REQUESTS; i++) {
        ssize_t n = send(client.fd, GET, sizeof GET - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0) {
            break;
        }
        assert_int_equal(n, sizeof GET - 1);
        sent++;
        bus_loop_run_once(web.loop, 0);
    }
    assert_true(sent > 100 && sent < REQUESTS - 1); /* the kernel's buffer is full: nobody reads */
    web.answer = web_echo;
    web_reply(web.open, 200, "GET /g 0 ");
    for (size_t i = 0; i < REQUESTS && client_count(&client, "GET /g 0 ") < sent + 1; i++) {
        web_run(&web);
        client_read(&client);
    }
    assert_int_equal(client_count(&client, "GET /g 0 "), sent + 1);
    client_close(&client);
    web_stop(&web);
}

static void
draining_closes_idle_ones_and_finishes_the_rest(void **state)
{
    (void)state;
    struct web web;
    web_start(&web);
    struct client idle = web_connect(&web);
    struct client late = web_connect(&web);
    struct client busy = web_connect(&web);
    struct client half = web_connect(&web);
    client_send(&web, &half, "GET /half HT");
    web.answer = NULL;
    client_send(&web, &busy, GET);
    http_exchange_t *exchange = web.open;
    web.answer = web_echo;
    http_server_drain(web.server, 1000);
    client_send(&web, &late, GET);
    client_assert_has(&late, "connection: close\r\n");
    client_assert_has(&late, "GET /g 0 ");
    assert_true(late.eof);
    web_pass_ms(&web, 999);
    client_read(&idle);
    assert_false(idle.eof);
    web_pass_ms(&web, 2);
    client_read(&idle);
    assert_true(idle.eof);
    client_send(&web, &half, "TP/1.1\r\nHost: x\r\n\r\n");
    client_assert_has(&half, "connection: close\r\n");
    assert_true(half.eof);
    web_reply(exchange, 200, "done");
    web_run(&web);
    client_read(&busy);
    client_assert_has(&busy, "connection: close\r\n");
    assert_true(busy.eof);
    assert_int_equal(http_server_connections(web.server), 0);
    client_close(&idle);
    client_close(&late);
    client_close(&busy);
    client_close(&half);
    web_stop(&web);
}

static void
a_server_is_freed_with_everything_open(void **state)
{
    (void)state;
    struct web web;
    web_start(&web);
    web.answer = NULL;
    struct client idle = web_connect(&web);
    struct client busy = web_connect(&web);
    struct client half = web_connect(&web);
    client_send(&web, &busy, POST_ONE POST_TWO GET);
    client_send(&web, &half, "POST /" CHUNKED "5\r\nhe");
    web_stop(&web);
    assert_int_equal(web.dones, 2);
    assert_int_equal(web.completes, 0);
    client_close(&idle);
    client_close(&busy);
    client_close(&half);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pipelined_posts_split_at_every_byte),
        cmocka_unit_test(requests_byte_by_byte),
        cmocka_unit_test(http_1_0_closes_unless_asked),
        cmocka_unit_test(head_gets_the_length_and_no_body),
        cmocka_unit_test(answers_carry_date_and_common_headers),
        cmocka_unit_test(headers_that_break_framing_are_left_out),
        cmocka_unit_test(expect_100_is_answered_when_the_body_is_wanted),
        cmocka_unit_test(a_body_beyond_the_limit_is_413),
        cmocka_unit_test(an_early_answer_leaves_the_connection_in_step),
        cmocka_unit_test(a_discarded_body_is_answered_later),
        cmocka_unit_test(a_big_body_arrives_whole),
        cmocka_unit_test(a_slow_head_is_408),
        cmocka_unit_test(a_slow_body_is_408),
        cmocka_unit_test(an_idle_connection_closes),
        cmocka_unit_test(lingering_ends),
        cmocka_unit_test(no_time_out_while_an_answer_is_awaited),
        cmocka_unit_test(at_the_limit_new_ones_are_refused_and_old_ones_served),
        cmocka_unit_test(a_client_that_leaves_ends_its_exchange_at_once),
        cmocka_unit_test(pipelined_requests_are_bounded),
        cmocka_unit_test(draining_closes_idle_ones_and_finishes_the_rest),
        cmocka_unit_test(a_server_is_freed_with_everything_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
