/* The mock over sockets: answers and streams as a client sees them. Faults are in test_mock_faults.c. */
#include "tests/unit/mock/mock_client.h"

#define STREAM        ",\"stream\":true"
#define STREAM_USAGE  ",\"stream\":true,\"stream_options\":{\"include_usage\":true}"
#define END_OF_STREAM "data: [DONE]\n\n\r\n0\r\n\r\n"

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

static void
plain_answer(void **state)
{
    (void)state;
    ask(mock, "mock", "", "}}}");
    assert_holds(answer, "HTTP/1.1 200 OK\r\n");
    assert_holds(answer, "\"object\":\"chat.completion\"");
    assert_holds(answer, "\"content\":\"This answer comes from the mock of Dynabus.\"");
    assert_holds(answer, "\"finish_reason\":\"stop\"");
    assert_holds(answer, "\"completion_tokens\":8,");
    assert_holds(answer, "x-request-id: req_");
}

static void
max_tokens_shortens(void **state)
{
    (void)state;
    ask(mock, "mock", ",\"max_tokens\":3", "}}}");
    assert_holds(answer, "\"content\":\"This answer comes\"");
    assert_holds(answer, "\"finish_reason\":\"length\"");
    assert_holds(answer, "\"completion_tokens\":3,");
}

static void
stream_has_its_events(void **state)
{
    (void)state;
    ask(mock, "mock-tokens-5", STREAM, END_OF_STREAM);
    assert_holds(answer, "content-type: text/event-stream");
    assert_int_equal(count_of(answer, "data: "), 1 + 5 + 1 + 1);
    assert_int_equal(count_of(answer, "\"delta\":{\"content\":\""), 5);
    assert_int_equal(count_of(answer, "\"finish_reason\":\"stop\""), 1);
    assert_int_equal(count_of(answer, "usage"), 0);
}

static void
paced_stream_has_its_events(void **state)
{
    (void)state;
    ask(mock, "mock-tokens-20-pace-1-first-3-delay-2", STREAM_USAGE, END_OF_STREAM);
    assert_int_equal(count_of(answer, "\"delta\":{\"content\":\""), 20);
    assert_int_equal(count_of(answer, "\"usage\":null"), 1 + 20 + 1);
    assert_int_equal(count_of(answer, "\"choices\":[],\"usage\":{\"prompt_tokens\":"), 1);
}

static void
usage_as_asked(void **state)
{
    (void)state;
    ask(mock, "mock-usage-never", STREAM_USAGE, END_OF_STREAM);
    assert_int_equal(count_of(answer, "completion_tokens\""), 0);
    ask(mock, "mock-usage-always", STREAM, END_OF_STREAM);
    assert_int_equal(count_of(answer, "\"choices\":[],\"usage\":{"), 1);
    ask(mock, "mock-usage-finish", STREAM, END_OF_STREAM);
    assert_int_equal(count_of(answer, "\"finish_reason\":\"stop\"}],\"usage\":{"), 1);
}

static void
empty_answer_is_still_one(void **state)
{
    (void)state;
    ask(mock, "mock-tokens-0", STREAM, END_OF_STREAM);
    assert_int_equal(count_of(answer, "\"role\":\"assistant\""), 1);
    assert_int_equal(count_of(answer, "\"finish_reason\":\"stop\""), 1);
    ask(mock, "mock-tokens-0", "", "}}}");
    assert_holds(answer, "\"content\":\"\"");
}

/* Number, nonce, place: one nonce in an answer, another in the next. */
static void
tokens_are_tagged(void **state)
{
    (void)state;
    char nonces[2][17];
    for (unsigned round = 0; round < 2; round++) {
        ask(mock, "mock-tokens-4",
            round == 0 ? STREAM ",\"user\":\"request-17\"" : ",\"user\":\"request-17\"",
            round == 0 ? END_OF_STREAM : "}}}");
        const char *at = answer;
        for (unsigned place = 0; place < 4; place++) {
            char nonce[17];
            unsigned number, seq;
            unsigned long long sent;
            at = strstr(at, "~17.");
            assert_non_null(at);
            assert_int_equal(sscanf(at, "~%u.%16[0-9a-f].%u.%llu~", &number, nonce, &seq, &sent), 4);
            assert_int_equal(seq, place);
            assert_true(sent > 0);
            if (place == 0) {
                memcpy(nonces[round], nonce, sizeof nonce);
            }
            assert_string_equal(nonce, nonces[round]);
            at++;
        }
        assert_int_equal(count_of(answer, nonces[round]) > 4, 1);
    }
    assert_string_not_equal(nonces[0], nonces[1]);
}

static void
number_by_header(void **state)
{
    (void)state;
    int fd = connect_to(mock);
    send_text(
        fd,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-mock-request: abc-9\r\ncontent-length: 30\r\n\r\n"
        "{\"model\":\"mock\",\"messages\":[]}");
    assert_int_equal(count_of(read_answer(fd, "}}}"), "~abc-9."), 8);
    (void)close(fd);
}

static void
echo_returns_what_came(void **state)
{
    (void)state;
    ask(mock, "mock-echo", ",\"n\":12345678901234567890,\"x\":\"\\u00e9\"", "}}}");
    assert_holds(answer, "\\\"method\\\":\\\"POST\\\",\\\"target\\\":\\\"/v1/chat/completions\\\"");
    assert_holds(answer, "[\\\"host\\\",\\\"x\\\"]");
    assert_holds(answer, "12345678901234567890,\\\\\\\"x\\\\\\\":\\\\\\\"\\\\\\\\u00e9");
}

static void
tool_calls_and_thinking(void **state)
{
    (void)state;
    ask(mock, "mock-tools-2-think-3", STREAM, END_OF_STREAM);
    assert_int_equal(count_of(answer, "reasoning_content"), 3);
    assert_int_equal(count_of(answer, "\"tool_calls\":[{\"index\":1"), 3);
    assert_holds(answer, "\"finish_reason\":\"tool_calls\"");
    ask(mock, "mock-tools-2", "", "}}}");
    assert_int_equal(
        count_of(answer, "\"name\":\"mock_tool\",\"arguments\":\"{\\\"place\\\":\\\"harbor\\\"}\""), 2);
    assert_holds(answer, "\"content\":null");
}

static void
spellings_of_events(void **state)
{
    (void)state;
    ask(mock, "mock-lines-crlf-nospace-comments", STREAM, "\r\n0\r\n\r\n");
    assert_holds(answer, ": mock\r\n\r\ndata:{\"id\"");
    assert_holds(answer, "data:[DONE]\r\n\r\n");
    ask(mock, "mock-lines-cr", STREAM, "\r\n0\r\n\r\n");
    assert_holds(answer, "data: [DONE]\r\r");
}

/* The same seed gives the same bytes, calls taken in the same order. */
static void
seeds_repeat(void **state)
{
    (void)state;
    static char first[65536];
    for (unsigned round = 0; round < 2; round++) {
        mock_t *seeded = start_mock((struct mock_options){.seed = 42});
        ask(seeded, "mock-seed-7-tokens-40", "", "}}}");
        char *date = strstr(answer, "\r\ndate: ");
        if (date != NULL) {
            memset(date + 8, '-', 29);
        }
        if (round == 0) {
            memcpy(first, answer, answer_len + 1);
        } else {
            assert_string_equal(first, answer);
        }
        mock_stop(&seeded);
    }
}

static void
requests_share_a_connection(void **state)
{
    (void)state;
    int fd = connect_to(mock);
    for (unsigned i = 0; i < 3; i++) {
        send_chat(fd, "mock", i == 1 ? STREAM : "");
        assert_holds(read_answer(fd, i == 1 ? END_OF_STREAM : "}}}"), "HTTP/1.1 200 OK");
    }
    (void)close(fd);
}

static void
bad_requests_are_refused(void **state)
{
    (void)state;
    int fd = connect_to(mock);
    send_text(fd, "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n{\"a\"");
    assert_holds(read_answer(fd, "}}"), "HTTP/1.1 400 ");
    send_text(fd,
              "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 15\r\n\r\n{\"messages\":[]}");
    assert_holds(read_answer(fd, "}}"), "\"param\":\"model\"");
    send_text(fd, "GET /v1/chat/completions HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_holds(read_answer(fd, "}}"), "HTTP/1.1 405 ");
    send_text(fd, "GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_holds(read_answer(fd, "}}"), "HTTP/1.1 404 ");
    send_chat(fd, "mock-tokns-5", "");
    assert_holds(read_answer(fd, "}}"), "did you mean 'tokens'?");
    assert_holds(answer, "HTTP/1.1 404 ");
    send_text(fd, "GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_holds(read_answer(fd, "]}"), "{\"id\":\"mock\",\"object\":\"model\"");
    send_text(fd, "GET /v1/models/mock-echo HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_holds(read_answer(fd, "}"), "{\"id\":\"mock-echo\"");
    (void)close(fd);
}

static void
key_is_asked_for(void **state)
{
    (void)state;
    mock_t *locked = start_mock((struct mock_options){.key = "sk-test"});
    assert_holds(ask(locked, "mock", "", "}}"), "HTTP/1.1 401 ");
    int fd = connect_to(locked);
    send_text(fd, "GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: bearer sk-test\r\n\r\n");
    assert_holds(read_answer(fd, "]}"), "HTTP/1.1 200 ");
    (void)close(fd);
    mock_stop(&locked);
}

/* A client that leaves in the middle is seen, and its stream ends. */
static void
cancels_are_counted(void **state)
{
    (void)state;
    mock_t *own = start_mock((struct mock_options){0});
    int fd = connect_to(own);
    send_chat(fd, "mock-tokens-100000-pace-5", STREAM);
    (void)read_answer(fd, "answer");
    await_count(own, offsetof(struct mock_stats, open_streams), 1);
    (void)close(fd);
    await_count(own, offsetof(struct mock_stats, cancels), 1);
    await_count(own, offsetof(struct mock_stats, open_streams), 0);
    await_count(own, offsetof(struct mock_stats, open), 0);
    mock_stop(&own);
}

/* A client that does not read stops an unpaced stream, and gets all of it when it reads. */
static void
slow_client_gets_everything(void **state)
{
    (void)state;
    int fd = connect_to(mock);
    send_chat(fd, "mock-tokens-20000-seed-3", STREAM);
    (void)poll(NULL, 0, 50);
    (void)read_answer(fd, END_OF_STREAM);
    assert_int_equal(count_of(answer, "\"delta\":{\"content\":\""), 20000);
    (void)close(fd);
}

static void
two_hundred_streams_at_once(void **state)
{
    (void)state;
    enum { STREAMS = 200 };
    int fds[STREAMS];
    for (unsigned i = 0; i < STREAMS; i++) {
        fds[i] = connect_to(mock);
        send_chat(fds[i], "mock-tokens-10-pace-3", STREAM);
    }
    for (unsigned i = 0; i < STREAMS; i++) {
        (void)read_answer(fds[i], END_OF_STREAM);
        assert_int_equal(count_of(answer, "\"delta\":{\"content\":\""), 10);
        (void)close(fds[i]);
    }
}

static void
addresses(void **state)
{
    (void)state;
    struct dyn_err err = {0};
    char taken[64];
    (void)snprintf(taken, sizeof taken, "127.0.0.1:%u", mock_port(mock));
    assert_null(mock_start(&(struct mock_options){.listen = taken}, &err));
    assert_holds(err.text, "in use");
    assert_null(mock_start(&(struct mock_options){.listen = "nonsense"}, &err));
    assert_holds(err.text, "HOST:PORT");
    mock_t *any = start_mock((struct mock_options){.listen = ":0"});
    assert_holds(mock_url(any), "http://127.0.0.1:");
    assert_holds(ask(any, "mock", "", "}}}"), "HTTP/1.1 200 OK");
    mock_stop(&any);
}

static void
script_rules(void **state)
{
    (void)state;
    char path[] = "/tmp/mock-script-XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0);
    static const char script[] =
        "{\"models\":[\"alpha\"],\"rules\":["
        "{\"model\":\"flaky\",\"behave\":[\"status-503\",\"status-429-retry-2\",\"tokens-2\"]},"
        "{\"model\":\"said\",\"answer\":{\"text\":\"caf\\u00e9 \\\"here\\\"\"}},"
        "{\"path\":\"/v1/embeddings\",\"answer\":{\"headers\":{\"x-a\":\"b\"},\"body\":{\"data\":[1.0]}}},"
        "{\"model\":\"own\",\"answer\":{\"events\":[{\"a\":1},\"plain\"],\"done\":false},\"behave\":\"lines-"
        "crlf\"},"
        "{\"model\":\"mock-fast*\",\"behave\":\"tokens-1\"}]}";
    assert_int_equal(write(file, script, sizeof script - 1), (ssize_t)sizeof script - 1);
    (void)close(file);
    mock_t *scripted = start_mock((struct mock_options){.script_path = path});
    assert_holds(ask(scripted, "flaky", "", "}}"), "HTTP/1.1 503 ");
    assert_holds(ask(scripted, "flaky", "", "}}"), "retry-after: 2\r\n");
    for (unsigned i = 0; i < 2; i++) {
        assert_holds(ask(scripted, "flaky", "", "}}}"), "\"content\":\"This answer\"");
    }
    assert_holds(ask(scripted, "said", "", "}}}"), "\"content\":\"caf\xc3\xa9 \\\"here\\\"\"");
    assert_int_equal(count_of(ask(scripted, "said", STREAM, END_OF_STREAM), "\"delta\":{\"content\":\""), 1);
    assert_holds(ask(scripted, "own", STREAM, "0\r\n\r\n"),
                 "data: {\"a\":1}\r\n\r\ndata: plain\r\n\r\n\r\n0\r\n");
    assert_holds(ask(scripted, "mock-faster", "", "}}}"), "\"content\":\"This\"");
    int fd = connect_to(scripted);
    send_text(fd, "POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}");
    assert_holds(read_answer(fd, "}"), "x-a: b\r\n");
    assert_holds(answer, "\r\n\r\n{\"data\":[1.0]}");
    (void)close(fd);
    mock_stop(&scripted);
    (void)unlink(path);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_answer),
        cmocka_unit_test(max_tokens_shortens),
        cmocka_unit_test(stream_has_its_events),
        cmocka_unit_test(paced_stream_has_its_events),
        cmocka_unit_test(usage_as_asked),
        cmocka_unit_test(empty_answer_is_still_one),
        cmocka_unit_test(tokens_are_tagged),
        cmocka_unit_test(number_by_header),
        cmocka_unit_test(echo_returns_what_came),
        cmocka_unit_test(tool_calls_and_thinking),
        cmocka_unit_test(spellings_of_events),
        cmocka_unit_test(seeds_repeat),
        cmocka_unit_test(requests_share_a_connection),
        cmocka_unit_test(bad_requests_are_refused),
        cmocka_unit_test(key_is_asked_for),
        cmocka_unit_test(cancels_are_counted),
        cmocka_unit_test(slow_client_gets_everything),
        cmocka_unit_test(two_hundred_streams_at_once),
        cmocka_unit_test(addresses),
        cmocka_unit_test(script_rules),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
