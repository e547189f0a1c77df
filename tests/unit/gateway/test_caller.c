/* The library's way onto the bus: limits, cancels at every piece, answers of any size, over both wires. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/gateway/gateway_fixture.h"

#include <stdlib.h>
#include <unistd.h>

struct outcome {
    struct gate gate;
    int status;
    unsigned answers;
    unsigned pieces;
    unsigned stop_after; /* pieces; 0: never */
    size_t body_len;
    char error_code[64];
    char error[160];
    char trace_id[64];
    uint64_t completion_tokens;
};

static void
answered(void *user, const struct dynabus_answer *answer)
{
    struct outcome *outcome = user;
    outcome->status = answer->status;
    outcome->answers++;
    outcome->body_len = answer->body_len;
    outcome->completion_tokens = answer->completion_tokens;
    (void)snprintf(outcome->error_code, sizeof outcome->error_code, "%s",
                   answer->error_code ? answer->error_code : "");
    (void)snprintf(outcome->error, sizeof outcome->error, "%s", answer->error ? answer->error : "");
    (void)snprintf(outcome->trace_id, sizeof outcome->trace_id, "%s", answer->trace_id);
    gate_open(&outcome->gate);
}

static int
piece(void *user, const char *bytes, size_t len)
{
    struct outcome *outcome = user;
    CHECK(len > 0 && bytes != NULL && outcome->answers == 0);
    outcome->pieces++;
    return outcome->stop_after != 0 && outcome->pieces >= outcome->stop_after;
}

static struct outcome
ask_as(dynabus_t *gateway, const struct dynabus_request *request, dynabus_chunk_fn chunk, unsigned stop_after)
{
    struct outcome outcome = {.stop_after = stop_after};
    gate_init(&outcome.gate, 1);
    assert_int_equal(dynabus_route_stream(gateway, request, chunk, answered, &outcome), 0);
    gate_wait(&outcome.gate);
    return outcome;
}

static struct outcome
ask(dynabus_t *gateway, const char *body)
{
    struct dynabus_request request = fixture_request(body);
    return ask_as(gateway, &request, NULL, 0);
}

static void
a_cancel_at_any_piece_ends_the_request_once(void **state)
{
    (void)state;
    for (size_t wire = 0; wire < DYN_ARRAY_LEN(wire_configs); wire++) {
        dynabus_t *gateway = fixture_gateway(2, wire_configs[wire]);
        struct dynabus_request request = fixture_request(CHAT_STREAM("mock-tokens-20-pace-1"));
        for (unsigned stop_after = 1; stop_after < 24; stop_after++) {
            struct outcome outcome = ask_as(gateway, &request, piece, stop_after);
            assert_true(outcome.pieces <= stop_after);
            assert_int_equal(outcome.answers, 1);
            if (outcome.status != 200) {
                assert_int_equal(outcome.status, 499);
                assert_string_equal(outcome.error_code, "client_closed");
            }
        }
        assert_int_equal(dynabus_close(&gateway, 5000), 0);
    }
}

static void
a_long_plain_answer_comes_whole(void **state)
{
    (void)state;
    for (size_t wire = 0; wire < DYN_ARRAY_LEN(wire_configs); wire++) {
        dynabus_t *gateway = fixture_gateway(1, wire_configs[wire]);
        struct outcome outcome = ask(gateway, CHAT("mock-tokens-9-word-1048576"));
        assert_int_equal(outcome.status, 200);
        assert_true(outcome.body_len > 9u * 1048576);
        assert_int_equal(dynabus_close(&gateway, 5000), 0);
    }
}

/* A cut answer must not pass for a whole one, also when its END was on its way already. */
static void
an_answer_beyond_what_can_be_handed_over_is_an_error(void **state)
{
    (void)state;
    dynabus_t *gateway = fixture_gateway(1, NULL);
    struct outcome outcome = ask(gateway, CHAT_STREAM("mock-tokens-900-word-65536"));
    assert_int_equal(outcome.status, 500);
    assert_string_equal(outcome.error_code, "internal_error");
    assert_non_null(strstr(outcome.error, "50 MiB"));
    assert_true(outcome.body_len < 1000);
    assert_int_equal(dynabus_close(&gateway, 5000), 0);
}

/* ---- what may wait ---- */

struct stopper {
    struct gate reached;
    struct gate go_on;
    bool stopped;
};

static int
stop_the_loop(void *user, const char *bytes, size_t len)
{
    struct stopper *stopper = user;
    (void)bytes;
    (void)len;
    if (!stopper->stopped) {
        stopper->stopped = true;
        gate_open(&stopper->reached);
        gate_wait(&stopper->go_on);
    }
    return 0;
}

static void
ignore_answer(void *user, const struct dynabus_answer *answer)
{
    (void)user;
    (void)answer;
}

static void
count_answer(void *user, const struct dynabus_answer *answer)
{
    (void)answer;
    (void)atomic_fetch_add((atomic_uint *)user, 1);
}

static void
what_waits_for_a_loop_is_bounded_in_bytes(void **state)
{
    (void)state;
    enum { BODY = 8 * 1024 * 1024, TRIES = 20 };
    struct stopper stopper = {.stopped = false};
    atomic_uint answers = 0;
    unsigned taken = 0;
    gate_init(&stopper.reached, 1);
    gate_init(&stopper.go_on, 1);
    char *body = dyn_alloc(BODY);
    memset(body, ' ', BODY);
    dynabus_t *gateway = fixture_gateway(1, NULL);
    struct dynabus_request stop = fixture_request(CHAT_STREAM("mock"));
    assert_int_equal(dynabus_route_stream(gateway, &stop, stop_the_loop, ignore_answer, &stopper), 0);
    gate_wait(&stopper.reached);
    struct dynabus_request large = {.size = sizeof large, .body = body, .body_len = BODY};
    for (unsigned i = 0; i < TRIES; i++) {
        taken += dynabus_route(gateway, &large, count_answer, &answers) == 0;
    }
    assert_int_equal(taken, 64 / 8 - 1); /* 64 MiB, of which each takes a little more than its body */
    gate_open(&stopper.go_on);
    assert_int_equal(dynabus_close(&gateway, 60000), 0);
    assert_int_equal(atomic_load(&answers), taken);
    free(body);
}

/* ---- odd requests ---- */

static void
without_a_body_or_a_callback_nothing_is_taken(void **state)
{
    (void)state;
    dynabus_t *gateway = fixture_gateway(1, NULL);
    struct dynabus_request empty = DYNABUS_REQUEST_INIT;
    struct dynabus_request whole = fixture_request(CHAT("mock"));
    assert_int_equal(dynabus_route(gateway, &empty, ignore_answer, NULL), -1);
    assert_int_equal(dynabus_route(gateway, &whole, NULL, NULL), -1);
    assert_int_equal(dynabus_add_hook(gateway, NULL, NULL), -1);
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
}

/* A program built with an older header has a shorter struct; what lies behind it is not read. */
static void
only_as_much_of_a_request_is_read_as_its_size_says(void **state)
{
    (void)state;
    dynabus_t *gateway = fixture_gateway(1, NULL);
    struct dynabus_request request = fixture_request(CHAT("mock"));
    request.size = offsetof(struct dynabus_request, credential);
    request.credential = (const char *)(uintptr_t)1;
    request.timeout_ms = 1;
    assert_int_equal(ask_as(gateway, &request, NULL, 0).status, 200);
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
}

static void
a_timeout_of_the_callers_own_holds(void **state)
{
    (void)state;
    dynabus_t *gateway = fixture_gateway(1, NULL);
    struct dynabus_request request = fixture_request(CHAT("mock-delay-60000"));
    request.timeout_ms = 20;
    struct outcome outcome = ask_as(gateway, &request, NULL, 0);
    assert_int_equal(outcome.status, 504);
    assert_string_equal(outcome.error_code, "gateway_timeout");
    assert_int_equal(strlen(outcome.trace_id), 32);
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
}

static void
whoever_brings_a_credential_needs_the_right_one(void **state)
{
    (void)state;
    static const struct {
        const char *credential;
        int status;
    } cases[] = {{NULL, 200}, {"sk-right", 200}, {"sk-wrong", 401}, {"", 401}};
    assert_int_equal(setenv("MASTER_KEY", "sk-right", 1), 0);
    dynabus_t *gateway = fixture_gateway(1, NULL);
    assert_int_equal(unsetenv("MASTER_KEY"), 0);
    for (size_t i = 0; i < DYN_ARRAY_LEN(cases); i++) {
        struct dynabus_request request = fixture_request(CHAT("mock"));
        request.credential = cases[i].credential;
        assert_int_equal(ask_as(gateway, &request, NULL, 0).status, cases[i].status);
    }
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
}

/* Without a master key, too: the program that has the gateway is not asked for one of its clients' keys. */
static void
the_program_itself_needs_no_key(void **state)
{
    (void)state;
    char path[] = "/tmp/dynabus-keys-XXXXXX";
    char config[256];
    int fd = mkstemp(path);
    static const char key[] = "{\"id\":\"0123456789abcdef\",\"name\":\"x\",\"scopes\":[\"admin\"]}\n";
    assert_true(fd >= 0 && write(fd, key, sizeof key - 1) == (ssize_t)sizeof key - 1);
    assert_int_equal(close(fd), 0);
    (void)snprintf(config, sizeof config, "keys: {file: %s}\n", path);
    dynabus_t *gateway = fixture_gateway(1, config);
    struct dynabus_request request = fixture_request(CHAT("mock"));
    assert_int_equal(ask_as(gateway, &request, NULL, 0).status, 200);
    request.credential = "";
    assert_int_equal(ask_as(gateway, &request, NULL, 0).status, 401);
    request.credential = "sk-wrong";
    assert_int_equal(ask_as(gateway, &request, NULL, 0).status, 401);
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
    assert_int_equal(unlink(path), 0);
}

/* The wires tell the same story: a name cut in the middle of a character broke the encoded one. */
static void
an_error_reads_the_same_over_both_wires(void **state)
{
    (void)state;
    char name[64 * 3 + 1] = "";
    char body[512];
    for (unsigned i = 0; i < 64; i++) {
        memcpy(name + (size_t)i * 3, "\xE2\x82\xAC", 4);
    }
    (void)snprintf(body, sizeof body, CHAT("%s"), name);
    struct outcome outcomes[2];
    for (size_t wire = 0; wire < 2; wire++) {
        dynabus_t *gateway = fixture_gateway(1, wire_configs[wire]);
        outcomes[wire] = ask(gateway, body);
        assert_int_equal(outcomes[wire].status, 404);
        assert_int_equal(dynabus_close(&gateway, 1000), 0);
    }
    assert_string_equal(outcomes[0].error, outcomes[1].error);
    assert_non_null(strstr(outcomes[1].error, "\xE2\x82\xAC'"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cancel_at_any_piece_ends_the_request_once),
        cmocka_unit_test(a_long_plain_answer_comes_whole),
        cmocka_unit_test(an_answer_beyond_what_can_be_handed_over_is_an_error),
        cmocka_unit_test(what_waits_for_a_loop_is_bounded_in_bytes),
        cmocka_unit_test(without_a_body_or_a_callback_nothing_is_taken),
        cmocka_unit_test(only_as_much_of_a_request_is_read_as_its_size_says),
        cmocka_unit_test(a_timeout_of_the_callers_own_holds),
        cmocka_unit_test(whoever_brings_a_credential_needs_the_right_one),
        cmocka_unit_test(the_program_itself_needs_no_key),
        cmocka_unit_test(an_error_reads_the_same_over_both_wires),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
