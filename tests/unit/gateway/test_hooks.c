/* Hooks at their edges, and the housekeeping beside them: what events carry, who is told, what the log says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/clock.h"
#include "core/log.h"
#include "tests/unit/gateway/gateway_fixture.h"

#include <fcntl.h>
#include <unistd.h>

struct seen {
    struct gate gate;
    unsigned calls;
    char model[64];
    char target[64];
    char provider[64];
    char error[160];
    char error_code[64];
    char key_id[32];
    size_t trace_len;
    int status;
    bool stream;
    bool has_error;
    uint32_t attempts;
    uint32_t upstream_calls;
    uint64_t latency_us;
    uint64_t ttft_us;
    uint64_t tokens_in;
    uint64_t timestamp_us;
};

#define COPY(out, text) (void)snprintf((out), sizeof(out), "%s", (text) != NULL ? (text) : "")

static void
see(void *user, const struct dynabus_event *event)
{
    struct seen *seen = user;
    seen->calls++;
    COPY(seen->model, event->model);
    COPY(seen->target, event->target);
    COPY(seen->provider, event->provider);
    COPY(seen->error, event->error);
    COPY(seen->error_code, event->error_code);
    COPY(seen->key_id, event->key_id);
    seen->has_error = event->error != NULL || event->error_code != NULL;
    seen->trace_len = strlen(event->trace_id);
    seen->status = event->status;
    seen->stream = event->stream;
    seen->attempts = event->attempts;
    seen->upstream_calls = event->upstream_calls;
    seen->latency_us = event->latency_us;
    seen->ttft_us = event->ttft_us;
    seen->tokens_in = event->tokens_in;
    seen->timestamp_us = event->timestamp_us;
    gate_open(&seen->gate);
}

static void
ignore_answer(void *user, const struct dynabus_answer *answer)
{
    (void)user;
    (void)answer;
}

static struct seen
event_of(const char *body, const char *config)
{
    struct seen seen = {.calls = 0};
    gate_init(&seen.gate, 1);
    dynabus_t *gateway = fixture_gateway(1, config);
    struct dynabus_request request = fixture_request(body);
    assert_int_equal(dynabus_add_hook(gateway, see, &seen), 0);
    assert_int_equal(dynabus_route(gateway, &request, ignore_answer, NULL), 0);
    gate_wait(&seen.gate);
    assert_int_equal(dynabus_events_dropped(gateway), 0);
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
    assert_int_equal(seen.calls, 1);
    return seen;
}

static void
a_completed_event_says_what_was_done(void **state)
{
    (void)state;
    for (size_t wire = 0; wire < DYN_ARRAY_LEN(wire_configs); wire++) {
        struct seen seen = event_of(CHAT_STREAM("mock-tokens-5-delay-3"), wire_configs[wire]);
        assert_int_equal(seen.status, 200);
        assert_string_equal(seen.model, "mock-tokens-5-delay-3");
        assert_string_equal(seen.target, "mock");
        assert_string_equal(seen.provider, "mock");
        assert_string_equal(seen.key_id, "anonymous");
        assert_int_equal(seen.trace_len, 32);
        assert_true(seen.stream);
        assert_false(seen.has_error);
        assert_int_equal(seen.attempts, 1);
        assert_int_equal(seen.upstream_calls, 1);
        assert_true(seen.tokens_in > 0);
        assert_true(seen.ttft_us >= 3000 && seen.latency_us >= seen.ttft_us);
        assert_true(seen.timestamp_us > UINT64_C(1700000000000000));
    }
}

static void
a_failed_event_says_why_and_who(void **state)
{
    (void)state;
    struct seen unknown = event_of(CHAT("unheard-of"), NULL);
    assert_int_equal(unknown.status, 404);
    assert_string_equal(unknown.error_code, "model_not_found");
    assert_non_null(strstr(unknown.error, "unheard-of"));
    assert_string_equal(unknown.target, "");
    assert_int_equal(unknown.attempts, 0);
    assert_int_equal(unknown.upstream_calls, 0);
    struct seen failed = event_of(CHAT("mock-status-500"), NULL);
    assert_string_equal(failed.target, "mock");
    assert_int_equal(failed.attempts, 1);
    assert_int_equal(failed.upstream_calls, 1);
    assert_true(failed.status >= 500 && failed.has_error);
    struct seen bad = event_of("{", NULL);
    assert_int_equal(bad.status, 400);
    assert_string_equal(bad.model, "");
}

/* ---- housekeeping ---- */

/* The log's own time, which the test moves; loops keep theirs. */
static atomic_uint_fast64_t wall_us = 1700000000000000u;

static uint64_t
read_wall(void *self)
{
    (void)self;
    return atomic_load(&wall_us);
}

static const struct dyn_clock log_clock = {.mono_us = read_wall, .wall_us = read_wall};

/* Logs too much in a second that is then over; returns where the log can be read. */
static int
log_too_much(int *write_fd)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    *write_fd = ends[1];
    dyn_log_set_clock(&log_clock);
    dyn_log_configure(ends[1], DYN_LOG_WARN, DYN_LOG_FORMAT_JSON);
    for (unsigned i = 0; i < DYN_LOG_PER_SECOND + 7; i++) {
        dyn_log(DYN_LOG_WARN, "test.flood", "the same again");
    }
    (void)atomic_fetch_add(&wall_us, 2000000);
    return ends[0];
}

/* Waits for the line that says what was left out. */
static void
expect_left_out(int read_fd)
{
    char text[16384] = "";
    size_t len = 0;
    while (strstr(text, "log.left_out") == NULL) {
        ssize_t n = read(read_fd, text + len, sizeof text - 1 - len);
        assert_true(n > 0);
        len += (size_t)n;
    }
    assert_non_null(strstr(text, "\"lines\":7"));
}

static void
forget_log(int read_fd, int write_fd)
{
    dyn_log_configure(STDERR_FILENO, DYN_LOG_ERROR, DYN_LOG_FORMAT_JSON);
    dyn_log_set_clock(NULL);
    (void)close(read_fd);
    (void)close(write_fd);
}

static void
a_log_that_fell_silent_tells_what_it_left_out(void **state)
{
    (void)state;
    int write_fd;
    dynabus_t *gateway = fixture_gateway(1, NULL);
    int read_fd = log_too_much(&write_fd);
    expect_left_out(read_fd);
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
    forget_log(read_fd, write_fd);
}

static void
closing_tells_what_the_log_left_out(void **state)
{
    (void)state;
    int write_fd;
    dynabus_t *gateway = fixture_gateway(1, NULL);
    int read_fd = log_too_much(&write_fd);
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
    assert_int_equal(fcntl(read_fd, F_SETFL, O_NONBLOCK), 0);
    expect_left_out(read_fd);
    forget_log(read_fd, write_fd);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_completed_event_says_what_was_done),
        cmocka_unit_test(a_failed_event_says_why_and_who),
        cmocka_unit_test(a_log_that_fell_silent_tells_what_it_left_out),
        cmocka_unit_test(closing_tells_what_the_log_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
