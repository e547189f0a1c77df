/* What goes wrong when it is asked to: each fault as the client sees it, plain and streamed. */
#include "tests/unit/mock/mock_client.h"

#define STREAM ",\"stream\":true"
#define TAGGED ",\"user\":\"request-5\""

static mock_t *mock;

static int
set_up(void **state)
{
    (void)state;
    mock = start_mock((struct mock_options){0});
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    mock_stop(&mock);
    return 0;
}

static unsigned
tokens_in_answer(void)
{
    return count_of(answer, "\"delta\":{\"content\":\"");
}

/* The answer up to the end of the connection, which the mock must bring about. */
static const char *
ask_until_close(const char *model, const char *more)
{
    return ask(mock, model, more, NULL);
}

static void
statuses(void **state)
{
    (void)state;
    ask(mock, "mock-status-429-retry-3", STREAM, "}}");
    assert_holds(answer, "HTTP/1.1 429 ");
    assert_holds(answer, "retry-after: 3\r\n");
    assert_holds(answer, "\"type\":\"requests\",\"param\":null,\"code\":\"rate_limit_exceeded\"");
    assert_holds(ask(mock, "mock-status-500", "", "}}"), "\"type\":\"server_error\"");
    assert_holds(ask(mock, "mock-status-307", "", "}}"), "location: /elsewhere\r\n");
    assert_holds(ask(mock, "mock-limits", "", "}}}"), "x-ratelimit-remaining-requests: 9999\r\n");
}

static void
cut_before_anything(void **state)
{
    (void)state;
    ask_until_close("mock-cut-start", "");
    assert_int_equal(answer_len, 0);
    assert_int_equal(answer_errno, 0);
    ask_until_close("mock-cut-start-reset", STREAM);
    assert_int_equal(answer_len, 0);
    assert_int_equal(answer_errno, ECONNRESET);
}

static void
cut_in_the_head(void **state)
{
    (void)state;
    ask_until_close("mock-cut-head", "");
    assert_holds(answer, "HTTP/1.1 200 OK");
    assert_null(strstr(answer, "\r\n\r\n"));
}

static void
cut_in_a_plain_body(void **state)
{
    (void)state;
    ask_until_close("mock-cut-body", "");
    const char *body = strstr(answer, "\r\n\r\n") + 4;
    const char *length = strstr(answer, "content-length: ");
    assert_non_null(length);
    assert_int_equal(strlen(body), strtoul(length + 16, NULL, 10) / 2);
}

static void
cut_in_a_stream(void **state)
{
    (void)state;
    ask_until_close("mock-tokens-10-cut-body-after-3", STREAM);
    assert_int_equal(tokens_in_answer(), 3);
    assert_null(strstr(answer, "[DONE]"));
    assert_null(strstr(answer, "\r\n0\r\n"));
    ask_until_close("mock-tokens-10-pace-2-cut-body-reset", STREAM);
    assert_int_equal(tokens_in_answer(), 5);
    assert_int_equal(answer_errno, ECONNRESET);
    ask_until_close("mock-tokens-10-cut-event-after-9", STREAM);
    assert_int_equal(tokens_in_answer(), 9);
    assert_string_not_equal(answer + answer_len - 4, "\n\n\r\n");
}

static void
stream_without_done(void **state)
{
    (void)state;
    ask(mock, "mock-cut-done", STREAM, "\r\n0\r\n\r\n");
    assert_int_equal(tokens_in_answer(), 8);
    assert_holds(answer, "\"finish_reason\":\"stop\"");
    assert_null(strstr(answer, "[DONE]"));
}

/* Hanging answers stay open until the client leaves, and that is counted. */
static void
hanging(void **state)
{
    (void)state;
    mock_t *own = start_mock((struct mock_options){0});
    const char *const models[] = {"mock-hang-head", "mock-hang-body", "mock-tokens-4-pace-1-hang-body"};
    for (unsigned i = 0; i < DYN_ARRAY_LEN(models); i++) {
        int fd = connect_to(own);
        send_chat(fd, models[i], i == 2 ? STREAM TAGGED : "");
        if (i == 2) {
            (void)read_answer(fd, "~5.");
        } else {
            await_count(own, offsetof(struct mock_stats, open), 1);
        }
        (void)close(fd);
        await_count(own, offsetof(struct mock_stats, cancels), i + 1);
    }
    struct mock_stats stats;
    mock_stats(own, &stats);
    assert_int_equal(stats.open, 0);
    assert_int_equal(stats.answered, 0);
    mock_stop(&own);
}

static void
errors_in_streams(void **state)
{
    (void)state;
    ask(mock, "mock-error-first", STREAM, "\r\n0\r\n\r\n");
    assert_int_equal(tokens_in_answer(), 0);
    assert_holds(answer, "data: {\"error\":{");
    ask(mock, "mock-error-middle", STREAM, "\r\n0\r\n\r\n");
    assert_int_equal(tokens_in_answer(), 4);
    assert_holds(answer, "data: {\"error\":{");
    assert_null(strstr(answer, "[DONE]"));
    ask(mock, "mock-error-first", "", "}}");
    assert_holds(answer, "HTTP/1.1 200 OK");
    assert_holds(answer, "{\"error\":{");
}

static void
garbage(void **state)
{
    (void)state;
    ask_until_close("mock-garbage-head", "");
    assert_int_not_equal(memcmp(answer, "HTTP", 4), 0);
    assert_holds(ask(mock, "mock-garbage-html", "", "</html>"), "content-type: text/html");
    int fd = connect_to(mock);
    send_chat(fd, "mock-garbage-body", "");
    (void)read_answer(fd, "\xc3\x28\n");
    assert_holds(answer, "content-type: application/json");
    (void)close(fd);
    ask(mock, "mock-garbage-event", STREAM, "[DONE]");
    assert_holds(answer, "not JSON");
    assert_int_equal(tokens_in_answer(), 8);
}

static void
huge_lines(void **state)
{
    (void)state;
    ask(mock, "mock-line-3000000", STREAM, "[DONE]");
    assert_in_range(answer_len, 3000000, 3010000);
    assert_int_equal(tokens_in_answer(), 8);
    ask(mock, "mock-word-100000-tokens-20", "", "}}}");
    assert_in_range(answer_len, 2000000, 2010000);
}

static void
dripping(void **state)
{
    (void)state;
    ask(mock, "mock-tokens-2-drip-1-piece-9", STREAM, "\r\n0\r\n\r\n");
    assert_int_equal(count_of(answer, "\r\n9\r\n") > 50, 1);
    ask(mock, "mock-tokens-2-drip-1-piece-16", "", "}}}");
    assert_holds(answer, "\"content\":\"This answer\"");
    ask_until_close("mock-tokens-2-drip-1-piece-16-cut-body", "");
    assert_null(strstr(answer, "}}}"));
}

static void
ended_by_close(void **state)
{
    (void)state;
    ask_until_close("mock-close", STREAM);
    assert_null(strstr(answer, "transfer-encoding"));
    assert_null(strstr(answer, "content-length"));
    assert_string_equal(answer + answer_len - 14, "data: [DONE]\n\n");
    ask_until_close("mock-close", "");
    assert_string_equal(answer + answer_len - 3, "}}}");
}

/* The first two calls of a number fail; another number has its own two. */
static void
faults_that_pass(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 3; round++) {
        assert_holds(ask(mock, "mock-status-503-times-2", TAGGED, "}}"),
                     round < 2 ? "HTTP/1.1 503 " : "HTTP/1.1 200 ");
    }
    assert_holds(ask(mock, "mock-status-503-times-2", ",\"user\":\"request-6\"", "}}"), "HTTP/1.1 503 ");
    for (unsigned round = 1; round <= 6; round++) {
        assert_holds(ask(mock, "mock-status-503-every-3", "", "}}"),
                     round % 3 == 0 ? "HTTP/1.1 503 " : "HTTP/1.1 200 ");
    }
}

static void
faults_are_counted(void **state)
{
    (void)state;
    mock_t *own = start_mock((struct mock_options){0});
    (void)ask(own, "mock-cut-body", "", NULL);
    (void)ask(own, "mock-close", "", NULL);
    (void)ask(own, "mock", "", "}}}");
    (void)ask(own, "mock-status-500", "", "}}");
    await_count(own, offsetof(struct mock_stats, answered), 3);
    await_count(own, offsetof(struct mock_stats, faults), 1);
    struct mock_stats stats;
    mock_stats(own, &stats);
    assert_int_equal(stats.requests, 4);
    assert_int_equal(stats.calls, 4);
    assert_int_equal(stats.cancels, 0);
    assert_int_equal(stats.open, 0);
    mock_stop(&own);
}

/* Stopping cuts what is open, whatever it waits for. */
static void
stopping_with_open_calls(void **state)
{
    (void)state;
    mock_t *own = start_mock((struct mock_options){0});
    const char *const models[] = {"mock-hang-head", "mock-delay-600000", "mock-tokens-100000-pace-1",
                                  "mock-drip-60000", "mock-tokens-100000"};
    int fds[DYN_ARRAY_LEN(models)];
    for (unsigned i = 0; i < DYN_ARRAY_LEN(models); i++) {
        fds[i] = connect_to(own);
        send_chat(fds[i], models[i], STREAM);
    }
    await_count(own, offsetof(struct mock_stats, open), DYN_ARRAY_LEN(models));
    mock_stop(&own);
    for (unsigned i = 0; i < DYN_ARRAY_LEN(models); i++) {
        (void)read_answer(fds[i], NULL);
        (void)close(fds[i]);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statuses),
        cmocka_unit_test(cut_before_anything),
        cmocka_unit_test(cut_in_the_head),
        cmocka_unit_test(cut_in_a_plain_body),
        cmocka_unit_test(cut_in_a_stream),
        cmocka_unit_test(stream_without_done),
        cmocka_unit_test(hanging),
        cmocka_unit_test(errors_in_streams),
        cmocka_unit_test(garbage),
        cmocka_unit_test(huge_lines),
        cmocka_unit_test(dripping),
        cmocka_unit_test(ended_by_close),
        cmocka_unit_test(faults_that_pass),
        cmocka_unit_test(faults_are_counted),
        cmocka_unit_test(stopping_with_open_calls),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
