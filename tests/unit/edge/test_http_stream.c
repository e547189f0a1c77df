/* Answers in pieces: framing, back-pressure, partial writes, aborts. */
#include "tests/unit/edge/http_fixture.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/syscall.h>

#define GET "GET /g HTTP/1.1\r\nHost: x\r\n\r\n"

/* ---- the kernel, as the test wants it: takes a few bytes, or fails, at a chosen call ---- */

static struct {
    size_t take;      /* bytes of each send; 0: all */
    unsigned fail_in; /* the n-th send from now on fails; 0: none */
    unsigned calls;
} kernel;

static ssize_t
kernel_send(int fd, struct iovec *pieces, size_t n, int flags)
{
    kernel.calls++;
    if (kernel.fail_in > 0 && --kernel.fail_in == 0) {
        errno = ECONNRESET;
        return -1;
    }
    size_t left = kernel.take > 0 ? kernel.take : SIZE_MAX;
    for (size_t i = 0; i < n; i++) {
        pieces[i].iov_len = pieces[i].iov_len < left ? pieces[i].iov_len : left;
        left -= pieces[i].iov_len;
    }
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = n};
    return syscall(SYS_sendmsg, fd, &message, flags);
}

ssize_t
send(int fd, const void *bytes, size_t len, int flags)
{
    struct iovec piece = {.iov_len = len};
    memcpy(&piece.iov_base, &bytes, sizeof bytes);
    if (flags & MSG_MORE) { /* the test's own clients mark their calls */
        return syscall(SYS_sendto, fd, bytes, len, flags & ~MSG_MORE, NULL, 0);
    }
    return kernel_send(fd, &piece, 1, flags);
}

ssize_t
sendmsg(int fd, const struct msghdr *message, int flags)
{
    struct iovec pieces[64];
    assert_true(message->msg_iovlen <= 64);
    memcpy(pieces, message->msg_iov, message->msg_iovlen * sizeof *pieces);
    return kernel_send(fd, pieces, message->msg_iovlen, flags);
}

static void
client_ask(struct web *web, struct client *client, const char *text)
{
    assert_int_equal(send(client->fd, text, strlen(text), MSG_NOSIGNAL | MSG_MORE), strlen(text));
    web_run(web);
    client_read(client);
}

/* ---- streaming by the test ---- */

static void
begin(struct web *web, struct client *client, const char *request, uint64_t length)
{
    web->answer = NULL;
    client_ask(web, client, request);
    assert_non_null(web->open);
    struct http_answer answer = {.status = 200, .content_type = DYN_SLICE("text/event-stream")};
    http_stream_start(web->open, &answer, length);
}

static void
piece(struct web *web, size_t headroom, size_t tailroom, const char *text, size_t len)
{
    dyn_block_t *block = dyn_block_new(headroom, len + tailroom);
    dyn_block_append(&block, text, len);
    http_stream_write(web->open, &block);
    assert_null(block);
}

static void
run_and_read(struct web *web, struct client *client)
{
    for (unsigned i = 0; i < 5000; i++) {
        size_t before = client->len;
        bool eof = client->eof;
        web_run(web);
        client_read(client);
        if (client->len == before && client->eof == eof) {
            return;
        }
    }
}

static const char *
content(const struct client *client)
{
    const char *end = client->got ? strstr(client->got, "\r\n\r\n") : NULL;
    return end ? end + 4 : "";
}

static void
chunks_are_framed(void **state)
{
    (void)state;
    struct web web;
    web_start(&web);
    struct client client = web_connect(&web);
    begin(&web, &client, GET, UINT64_MAX);
    assert_int_equal(client.len, 0);         /* the head waits for the first bytes */
    piece(&web, 1280, 64, "data: a\n\n", 9); /* framed in place */
    run_and_read(&web, &client);
    assert_string_equal(content(&client), "9\r\ndata: a\n\n\r\n");
    client_assert_has(&client, "transfer-encoding: chunked\r\n");
    piece(&web, 0, 0, "data: b\n\n", 9); /* no room: copied */
    run_and_read(&web, &client);
    assert_string_equal(content(&client), "9\r\ndata: a\n\n\r\n9\r\ndata: b\n\n\r\n");
    piece(&web, 24, 2, "12345678901234567", 17);
    piece(&web, 24, 2, "", 0); /* an empty chunk would be the end */
    http_stream_end(web.open);
    run_and_read(&web, &client);
    assert_string_equal(content(&client),
                        "9\r\ndata: a\n\n\r\n9\r\ndata: b\n\n\r\n11\r\n12345678901234567\r\n0\r\n\r\n");
    assert_int_equal(web.written, 9 + 9 + 17);
    assert_int_equal(web.completes, 1);
    assert_false(client.eof);
    client_forget(&client);
    web.answer = web_echo;
    client_ask(&web, &client, GET); /* and the connection goes on */
    client_assert_has(&client, "GET /g 0 ");
    client_close(&client);
    web_stop(&web);
}

/* Head, first chunk and end of one turn leave in one call; so do chunks that come together. */
static void
a_turn_is_one_call(void **state)
{
    (void)state;
    struct web web;
    web_start(&web);
    struct client client = web_connect(&web);
    begin(&web, &client, GET, UINT64_MAX);
    kernel.calls = 0;
    piece(&web, 1280, 64, "data: a\n\n", 9);
    piece(&web, 1280, 64, "data: b\n\n", 9);
    http_stream_end(web.open);
    assert_int_equal(kernel.calls, 0);
    run_and_read(&web, &client);
    assert_int_equal(kernel.calls, 1);
    assert_string_equal(content(&client), "9\r\ndata: a\n\n\r\n9\r\ndata: b\n\n\r\n0\r\n\r\n");
    client_close(&client);
    web_stop(&web);
}

static void
a_flush_sends_the_head_alone(void **state)
{
    (void)state;
    struct web web;
    web_start(&web);
    struct client client = web_connect(&web);
    begin(&web, &client, GET, UINT64_MAX);
    http_stream_flush(web.open);
    run_and_read(&web, &client);
    client_assert_has(&client, "content-type: text/event-stream\r\n");
    assert_string_equal(content(&client), "");
    http_stream_end(web.open);
    run_and_read(&web, &client);
    assert_string_equal(content(&client), "0\r\n\r\n");
    client_close(&client);
    web_stop(&web);
}

static void
known_length_and_1_0_are_not_chunked(void **state)
{
    (void)state;
    struct web web;
    web_start(&web);
    struct client client = web_connect(&web);
    begin(&web, &client, GET, 10);
    piece(&web, 0, 0, "01234", 5);
    piece(&web, 0, 0, "56789", 5);
    http_stream_end(web.open);
    run_and_read(&web, &client);
    client_assert_has(&client, "content-length: 10\r\n");
    assert_string_equal(content(&client), "0123456789");
    assert_false(client.eof);
    client_forget(&client);
    begin(&web, &client, GET, 10); /* shorter than announced: the connection says so */
    piece(&web, 0, 0, "01234", 5);
    http_stream_end(web.open);
    run_and_read(&web, &client);
    assert_string_equal(content(&client), "01234");
    assert_true(client.eof);
    client_close(&client);

    client = web_connect(&web);
    begin(&web, &client, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", UINT64_MAX);
    piece(&web, 0, 0, "01234", 5);
    http_stream_end(web.open);
    run_and_read(&web, &client);
    client_assert_has(&client, "connection: close\r\n");
    assert_int_equal(client_count(&client, "chunked"), 0);
    assert_string_equal(content(&client), "01234");
    assert_true(client.eof);
    assert_int_equal(web.completes, 3);
    client_close(&client);
    web_stop(&web);
}

/* ---- slow readers ---- */

/* Whatever number of bytes the kernel takes at a time, the client reads the same stream. */
static void
partial_writes_give_the_same_bytes(void **state)
{
    (void)state;
    char big[5000];
    char *wanted = NULL;
    memset(big, 'b', sizeof big);
    for (size_t take = 0; take < 70; take++) {
        struct web web;
        web_start(&web);
        struct client client = web_connect(&web);
        begin(&web, &client, GET, UINT64_MAX);
        kernel.take = take;
        dyn_block_t *shared = dyn_block_copy(100, dyn_slice(big, 3000));
        dyn_block_t *again = dyn_block_ref(shared);
        piece(&web, 1280, 64, "first", 5);
        http_stream_write(web.open, &shared);
        run_and_read(&web, &client);
        piece(&web, 0, 0, "small", 5);
        piece(&web, 1280, 64, big, sizeof big);
        for (unsigned i = 0; i < 20; i++) {
            piece(&web, 1280, 64, "tiny", 4);
        }
        http_stream_write(web.open, &again);
        http_stream_end(web.open);
        run_and_read(&web, &client);
        assert_int_equal(web.completes, 1);
        assert_int_equal(web.written, 5 + 3000 + 5 + sizeof big + 80 + 3000);
        if (wanted == NULL) {
            wanted = strdup(client.got);
        }
        assert_string_equal(client.got, wanted);
        kernel.take = 0;
        client_close(&client);
        web_stop(&web);
    }
    free(wanted);
}

static void
written_counts_what_the_kernel_took(void **state)
{
    (void)state;
    enum { PIECE = 1000, PIECES = 400 };
    char text[PIECE];
    memset(text, 'x', sizeof text);
    struct web web;
    web_start(&web);
    struct client client = web_connect_buffered(&web, 8192);
    begin(&web, &client, GET, UINT64_MAX);
    for (unsigned i = 0; i < PIECES; i++) {
        piece(&web, 24, 2, text, sizeof text);
        assert_int_equal(web.written + http_stream_queued(web.open), (i + 1) * PIECE);
        web_run(&web);
    }
    assert_true(web.written < PIECES * PIECE / 2); /* nobody reads: what left sits in the kernel */
    size_t before = web.written;
    web_pass_ms(&web, 30000);
    assert_int_equal(web.written, before);
    client_read(&client);
    assert_true(client.len >= before && client.len < before + 1000); /* all that was reported, and framing */
    http_stream_end(web.open);
    run_and_read(&web, &client);
    assert_int_equal(web.written, PIECES * PIECE);
    assert_int_equal(web.completes, 1);
    assert_int_equal(client_count(&client, "3e8\r\n"), PIECES);
    client_close(&client);
    web_stop(&web);
}

static void
a_client_that_never_reads_is_cut(void **state)
{
    (void)state;
    char text[20000];
    memset(text, 'x', sizeof text);
    struct web web;
    web_start(&web);
    struct client client = web_connect_buffered(&web, 4096);
    begin(&web, &client, GET, UINT64_MAX);
    for (unsigned i = 0; i < 10; i++) {
        piece(&web, 24, 2, text, sizeof text);
        web_run(&web);
    }
    web_pass_ms(&web, 59000);
    client_read(&client); /* a little progress buys a minute */
    web_run(&web);
    web_pass_ms(&web, 59000);
    assert_int_equal(web.dones, 0);
    web_pass_ms(&web, 1001);
    assert_int_equal(web.dones, 1);
    assert_int_equal(web.completes, 0);
    assert_int_equal(http_server_connections(web.server), 0);
    client_close(&client);
    web_stop(&web);
}

/* ---- ends in the middle ---- */

static void
an_abort_shows(void **state)
{
    (void)state;
    struct web web;
    web_start(&web);
    struct client client = web_connect(&web);
    begin(&web, &client, GET, UINT64_MAX);
    piece(&web, 1280, 64, "half", 4);
    http_abort(web.open, false);
    run_and_read(&web, &client);
    assert_string_equal(content(&client), "4\r\nhalf\r\n"); /* all but the last chunk */
    assert_true(client.eof);
    assert_int_equal(web.dones, 1);
    assert_int_equal(web.completes, 0);
    client_close(&client);

    client = web_connect(&web);
    web.answer = NULL;
    client_ask(&web, &client, GET);
    http_abort(web.open, false);
    run_and_read(&web, &client);
    assert_int_equal(client.len, 0);
    assert_true(client.eof);
    client_close(&client);

    client = web_connect(&web);
    client_ask(&web, &client, GET);
    http_raw_write(web.open, DYN_SLICE("HTTP/1.1 2"));
    http_abort(web.open, false);
    run_and_read(&web, &client);
    assert_string_equal(client.got, "HTTP/1.1 2");
    assert_true(client.eof);
    client_close(&client);
    assert_int_equal(web.completes, 0);
    web_stop(&web);
}

static int
tcp_pair(int fds[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
    fds[1] = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fds[1], (struct sockaddr *)&address, sizeof address), 0);
    fds[0] = accept(listener, NULL, NULL);
    assert_true(fds[0] >= 0);
    return close(listener);
}

static void
a_reset_is_a_reset(void **state)
{
    (void)state;
    struct web web;
    struct dyn_err err;
    int fds[2];
    web_start(&web);
    assert_int_equal(tcp_pair(fds), 0);
    assert_int_equal(http_server_adopt(web.server, fds[0], &err), 0);
    struct client client = {.fd = fds[1]};
    begin(&web, &client, GET, UINT64_MAX);
    piece(&web, 1280, 64, "half", 4);
    http_abort(web.open, true);
    web_run(&web);
    char byte;
    assert_int_equal(recv(client.fd, &byte, 1, 0), -1);
    assert_int_equal(errno, ECONNRESET);
    assert_int_equal(web.dones, 1);
    client_close(&client);
    web_stop(&web);
}

/* Each write fails at each position: done() comes once, nothing leaks, nothing is answered twice. */
static void
every_write_may_fail(void **state)
{
    (void)state;
    for (unsigned position = 1; position < 12; position++) {
        struct web web;
        web_start(&web);
        struct client client = web_connect(&web);
        kernel.take = 40;
        kernel.fail_in = position;
        begin(&web, &client, GET, UINT64_MAX);
        for (unsigned i = 0; i < 8 && web.open != NULL; i++) {
            piece(&web, i % 2 ? 1280 : 0, 64, "some text for the client", 24);
            web_run(&web);
        }
        if (web.open != NULL) {
            http_stream_end(web.open);
        }
        web_run(&web);
        kernel.fail_in = 0;
        kernel.take = 0;
        assert_int_equal(web.dones, 1);
        assert_int_equal(web.completes, 0);
        assert_int_equal(http_server_connections(web.server), 0);
        client_close(&client);
        web_stop(&web);
    }
}

static void
end_from_written(void *self, http_exchange_t *exchange, size_t bytes)
{
    struct web *web = self;
    web->written += bytes;
    if (web->written < 20) {
        dyn_block_t *block = dyn_block_copy(24, DYN_SLICE("more"));
        http_stream_write(exchange, &block);
    } else {
        http_stream_end(exchange);
    }
}

static void
answers_may_be_driven_by_written(void **state)
{
    (void)state;
    struct web web;
    web_start(&web);
    web.ops.written = end_from_written;
    struct client client = web_connect(&web);
    begin(&web, &client, GET GET, UINT64_MAX);
    piece(&web, 24, 2, "more", 4);
    run_and_read(&web, &client);
    assert_int_equal(client_count(&client, "4\r\nmore\r\n"), 5);
    assert_int_equal(web.completes, 1);
    assert_int_equal(web.requests, 2); /* the pipelined one has begun */
    client_close(&client);
    web_stop(&web);
}

static void
head_streams_nothing(void **state)
{
    (void)state;
    struct web web;
    web_start(&web);
    struct client client = web_connect(&web);
    begin(&web, &client, "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", UINT64_MAX);
    piece(&web, 24, 2, "nobody sees this", 16);
    http_stream_end(web.open);
    run_and_read(&web, &client);
    assert_string_equal(content(&client), "");
    assert_false(client.eof);
    assert_int_equal(web.completes, 1);
    client_close(&client);
    web_stop(&web);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_are_framed),
        cmocka_unit_test(a_turn_is_one_call),
        cmocka_unit_test(a_flush_sends_the_head_alone),
        cmocka_unit_test(known_length_and_1_0_are_not_chunked),
        cmocka_unit_test(partial_writes_give_the_same_bytes),
        cmocka_unit_test(written_counts_what_the_kernel_took),
        cmocka_unit_test(a_client_that_never_reads_is_cut),
        cmocka_unit_test(an_abort_shows),
        cmocka_unit_test(a_reset_is_a_reset),
        cmocka_unit_test(every_write_may_fail),
        cmocka_unit_test(answers_may_be_driven_by_written),
        cmocka_unit_test(head_streams_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
