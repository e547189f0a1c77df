/* A mock and a client that reads everything a connection says. Used by the tests over sockets. */
#pragma once

#include "mock/mock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE_MS = 10000, ANSWER_MAX = 8 * 1024 * 1024 };

static char answer[ANSWER_MAX];
static size_t answer_len;
static int answer_errno; /* of the last read: ECONNRESET, or 0 at a close */

static mock_t *
start_mock(struct mock_options options)
{
    struct dyn_err err = {0};
    options.seed = options.seed != 0 ? options.seed : 1;
    mock_t *mock = mock_start(&options, &err);
    if (mock == NULL) {
        fail_msg("%s", err.text);
    }
    return mock;
}

static int
connect_to(const mock_t *mock)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(mock_port(mock))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void
send_text(int fd, const char *text)
{
    size_t len = strlen(text);
    assert_int_equal(send(fd, text, len, MSG_NOSIGNAL), (ssize_t)len);
}

static void
send_chat(int fd, const char *model, const char *more)
{
    char body[1024];
    char request[2048];
    int len =
        snprintf(body, sizeof body,
                 "{\"model\":\"%s\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]%s}", model, more);
    (void)snprintf(request, sizeof request,
                   "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
                   "content-length: %d\r\n\r\n%s",
                   len, body);
    send_text(fd, request);
}

/* Reads until `end` was seen (NULL: until the connection is over), terminated. */
static const char *
read_answer(int fd, const char *end)
{
    answer_len = 0;
    answer_errno = 0;
    answer[0] = '\0';
    size_t seen = 0; /* `end` does not begin before: a long answer comes in many pieces */
    while (end == NULL || memmem(answer + seen, answer_len - seen, end, strlen(end)) == NULL) {
        size_t tail = end != NULL ? strlen(end) - 1 : 0;
        seen = answer_len > tail ? answer_len - tail : 0;
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        if (poll(&ready, 1, PATIENCE_MS) != 1) {
            fail_msg("no answer, got so far: %s", answer);
        }
        ssize_t got = recv(fd, answer + answer_len, ANSWER_MAX - 1 - answer_len, 0);
        if (got <= 0) {
            answer_errno = got < 0 ? errno : 0;
            break;
        }
        answer_len += (size_t)got;
        answer[answer_len] = '\0';
    }
    return answer;
}

/* One request on a connection of its own. */
static const char *
ask(const mock_t *mock, const char *model, const char *more, const char *end)
{
    int fd = connect_to(mock);
    send_chat(fd, model, more);
    (void)read_answer(fd, end);
    (void)close(fd);
    return answer;
}

static unsigned
count_of(const char *text, const char *what)
{
    unsigned n = 0;
    size_t len = strlen(what);
    const char *end = text + strlen(text); /* strstr() would look for it each time, under a sanitizer */
    for (const char *at = text; (at = memmem(at, (size_t)(end - at), what, len)) != NULL; at += len) {
        n++;
    }
    return n;
}

static void
assert_holds(const char *text, const char *what)
{
    if (strstr(text, what) == NULL) {
        fail_msg("'%s' is not in: %.2000s", what, text);
    }
}

/* Waits until a counter of the mock has that value: it is counted on the mock's own thread. */
static void
await_count(mock_t *mock, size_t offset, uint64_t value)
{
    struct mock_stats stats;
    for (unsigned tries = 0; tries < PATIENCE_MS; tries++) {
        mock_stats(mock, &stats);
        if (*(const uint64_t *)(const void *)((const char *)&stats + offset) == value) {
            return;
        }
        (void)poll(NULL, 0, 1);
    }
    fail_msg("the counter at %zu did not become %llu", offset, (unsigned long long)value);
}
