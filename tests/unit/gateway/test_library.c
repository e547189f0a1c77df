/* The library as its users meet it: gateways in this process with the bundled mock behind them. */
#include "dynabus.h"
#include "tests/conformance/wires.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define CHAT(model) "{\"model\":\"" model "\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"
#define CHAT_STREAM(model)                                                                                   \
    "{\"model\":\"" model "\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"

/* What callbacks leave behind for the test's own thread. */
struct outcome {
    struct gate gate;
    int status;
    char body[65536];
    char error_code[64];
    char target[64];
    char stream[65536];
    size_t stream_len;
    unsigned pieces;
    unsigned answers;
    unsigned stop_after; /* pieces; 0: never */
};

static void
answered(void *user, const struct dynabus_answer *answer)
{
    struct outcome *outcome = user;
    outcome->status = answer->status;
    outcome->answers++;
    (void)snprintf(outcome->body, sizeof outcome->body, "%.*s", (int)answer->body_len, answer->body);
    (void)snprintf(outcome->error_code, sizeof outcome->error_code, "%s",
                   answer->error_code ? answer->error_code : "");
    (void)snprintf(outcome->target, sizeof outcome->target, "%s", answer->target);
    gate_open(&outcome->gate);
}

static int
piece(void *user, const char *bytes, size_t len)
{
    struct outcome *outcome = user;
    outcome->pieces++;
    CHECK(outcome->stream_len + len < sizeof outcome->stream);
    memcpy(outcome->stream + outcome->stream_len, bytes, len);
    outcome->stream_len += len;
    outcome->stream[outcome->stream_len] = '\0';
    return outcome->stop_after != 0 && outcome->pieces >= outcome->stop_after;
}

static dynabus_t *
gateway_new(void)
{
    struct dynabus_options options = DYNABUS_OPTIONS_INIT;
    options.dev = true;
    options.cells = 2;
    char why[1024] = "";
    dynabus_t *gateway = dynabus_new(&options, why, sizeof why);
    if (gateway == NULL) {
        fail_msg("%s", why);
    }
    return gateway;
}

static struct outcome *
ask(dynabus_t *gateway, const char *body)
{
    struct outcome *outcome = dyn_zalloc(sizeof *outcome);
    gate_init(&outcome->gate, 1);
    struct dynabus_request request = DYNABUS_REQUEST_INIT;
    request.body = body;
    request.body_len = strlen(body);
    assert_int_equal(dynabus_route(gateway, &request, answered, outcome), 0);
    gate_wait(&outcome->gate);
    return outcome;
}

static struct outcome *
ask_stream(dynabus_t *gateway, const char *body, unsigned stop_after)
{
    struct outcome *outcome = dyn_zalloc(sizeof *outcome);
    gate_init(&outcome->gate, 1);
    outcome->stop_after = stop_after;
    struct dynabus_request request = DYNABUS_REQUEST_INIT;
    request.body = body;
    request.body_len = strlen(body);
    assert_int_equal(dynabus_route_stream(gateway, &request, piece, answered, outcome), 0);
    gate_wait(&outcome->gate);
    return outcome;
}

static void
a_request_is_answered(void **state)
{
    (void)state;
    dynabus_t *gateway = gateway_new();
    struct outcome *outcome = ask(gateway, CHAT("mock"));
    assert_int_equal(outcome->status, 200);
    assert_non_null(strstr(outcome->body, "\"chat.completion\""));
    assert_string_equal(outcome->target, "mock");
    assert_string_equal(outcome->error_code, "");
    free(outcome);
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
    assert_null(gateway);
}

static void
an_error_has_status_code_and_body(void **state)
{
    (void)state;
    dynabus_t *gateway = gateway_new();
    struct outcome *unknown = ask(gateway, CHAT("unheard-of"));
    assert_int_equal(unknown->status, 404);
    assert_string_equal(unknown->error_code, "model_not_found");
    assert_non_null(strstr(unknown->body, "\"error\""));
    free(unknown);
    struct outcome *bad = ask(gateway, "{");
    assert_int_equal(bad->status, 400);
    free(bad);
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
}

static void
a_stream_comes_in_pieces_and_ends(void **state)
{
    (void)state;
    dynabus_t *gateway = gateway_new();
    struct outcome *outcome = ask_stream(gateway, CHAT_STREAM("mock"), 0);
    assert_int_equal(outcome->status, 200);
    assert_true(outcome->pieces > 0);
    assert_non_null(strstr(outcome->stream, "data: [DONE]\n\n"));
    assert_string_equal(outcome->body, "");
    free(outcome);
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
}

static void
a_stream_without_a_chunk_callback_comes_whole(void **state)
{
    (void)state;
    dynabus_t *gateway = gateway_new();
    struct outcome *outcome = ask(gateway, CHAT_STREAM("mock"));
    assert_int_equal(outcome->status, 200);
    assert_non_null(strstr(outcome->body, "data: [DONE]\n\n"));
    free(outcome);
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
}

static void
a_chunk_callback_can_cancel(void **state)
{
    (void)state;
    dynabus_t *gateway = gateway_new();
    struct outcome *outcome = ask_stream(gateway, CHAT_STREAM("mock-tokens-1000-pace-5"), 2);
    assert_int_equal(outcome->status, 499);
    assert_string_equal(outcome->error_code, "client_closed");
    assert_int_equal(outcome->pieces, 2);
    free(outcome);
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
}

struct seen_events {
    struct gate gate;
    char topic[64];
    char model[64];
    int status;
    uint64_t tokens_out;
};

static void
seen(void *user, const struct dynabus_event *event)
{
    struct seen_events *events = user;
    (void)snprintf(events->topic, sizeof events->topic, "%s", event->topic);
    (void)snprintf(events->model, sizeof events->model, "%s", event->model ? event->model : "");
    events->status = event->status;
    events->tokens_out = event->tokens_out;
    gate_open(&events->gate);
}

static void
hooks_see_what_ended_well_and_what_failed(void **state)
{
    (void)state;
    dynabus_t *gateway = gateway_new();
    struct seen_events events = {0};
    gate_init(&events.gate, 1);
    assert_int_equal(dynabus_add_hook(gateway, seen, &events), 0);
    free(ask(gateway, CHAT("mock")));
    gate_wait(&events.gate);
    assert_string_equal(events.topic, DYNABUS_REQUEST_COMPLETED);
    assert_string_equal(events.model, "mock");
    assert_int_equal(events.status, 200);
    assert_true(events.tokens_out > 0);
    gate_init(&events.gate, 1);
    free(ask(gateway, CHAT("unheard-of")));
    gate_wait(&events.gate);
    assert_string_equal(events.topic, DYNABUS_REQUEST_FAILED);
    assert_int_equal(events.status, 404);
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
    assert_int_equal(events.gate.left, 0);
}

static void
there_is_an_end_of_hooks(void **state)
{
    (void)state;
    dynabus_t *gateway = gateway_new();
    for (int i = 0; i < 16; i++) {
        assert_int_equal(dynabus_add_hook(gateway, seen, NULL), 0);
    }
    assert_int_equal(dynabus_add_hook(gateway, seen, NULL), -1);
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
}

static void
two_gateways_live_in_one_process(void **state)
{
    (void)state;
    dynabus_t *first = gateway_new();
    dynabus_t *second = gateway_new();
    struct outcome *a = ask(first, CHAT("mock"));
    struct outcome *b = ask(second, CHAT("mock"));
    assert_int_equal(a->status, 200);
    assert_int_equal(b->status, 200);
    free(a);
    assert_int_equal(dynabus_close(&first, 1000), 0);
    struct outcome *c = ask(second, CHAT("mock"));
    assert_int_equal(c->status, 200);
    free(b);
    free(c);
    assert_int_equal(dynabus_close(&second, 1000), 0);
}

static void
closing_answers_what_is_still_running(void **state)
{
    (void)state;
    dynabus_t *gateway = gateway_new();
    struct outcome *outcome = dyn_zalloc(sizeof *outcome);
    gate_init(&outcome->gate, 1);
    struct dynabus_request request = DYNABUS_REQUEST_INIT;
    request.body = CHAT("mock-delay-60000");
    request.body_len = strlen(request.body);
    assert_int_equal(dynabus_route(gateway, &request, answered, outcome), 0);
    (void)dynabus_close(&gateway, 50);
    assert_int_equal(outcome->answers, 1);
    assert_int_equal(outcome->status, 503);
    free(outcome);
}

static void
a_bad_configuration_is_told_with_its_place(void **state)
{
    (void)state;
    struct dynabus_options options = DYNABUS_OPTIONS_INIT;
    options.config_text = "strateggy:\n  mode: single\n";
    char why[2048] = "";
    assert_null(dynabus_new(&options, why, sizeof why));
    assert_non_null(strstr(why, ":1:1: error: "));
    assert_non_null(strstr(why, "strategy"));
}

static void
a_missing_file_is_told(void **state)
{
    (void)state;
    struct dynabus_options options = DYNABUS_OPTIONS_INIT;
    options.config_path = "does-not-exist.yaml";
    char why[2048] = "";
    assert_null(dynabus_new(&options, why, sizeof why));
    assert_non_null(strstr(why, "does-not-exist.yaml"));
}

static void
the_name_of_the_bundled_mock_is_taken(void **state)
{
    (void)state;
    struct dynabus_options options = DYNABUS_OPTIONS_INIT;
    options.dev = true;
    options.cells = 1;
    options.config_text =
        "targets: [{name: mock, provider: openai-compatible, base_url: 'http://127.0.0.1:1/v1'}]";
    char why[2048] = "";
    assert_null(dynabus_new(&options, why, sizeof why));
    assert_non_null(strstr(why, "'mock'"));
    assert_null(strchr(why, '\n'));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_answered),
        cmocka_unit_test(an_error_has_status_code_and_body),
        cmocka_unit_test(a_stream_comes_in_pieces_and_ends),
        cmocka_unit_test(a_stream_without_a_chunk_callback_comes_whole),
        cmocka_unit_test(a_chunk_callback_can_cancel),
        cmocka_unit_test(hooks_see_what_ended_well_and_what_failed),
        cmocka_unit_test(there_is_an_end_of_hooks),
        cmocka_unit_test(two_gateways_live_in_one_process),
        cmocka_unit_test(closing_answers_what_is_still_running),
        cmocka_unit_test(a_bad_configuration_is_told_with_its_place),
        cmocka_unit_test(a_missing_file_is_told),
        cmocka_unit_test(the_name_of_the_bundled_mock_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
