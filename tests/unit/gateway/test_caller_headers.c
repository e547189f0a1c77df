/* What a program says in headers and reads in them, as a client over HTTP would. */
#include "tests/unit/gateway/gateway_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct outcome {
    struct gate gate;
    int status;
    char target[64];
    char trace_id[64];
    char error[256];
    char cost_header[64];
    char cache[16];
    bool cost_known;
    double cost_usd;
    uint32_t redelivered;
    uint32_t upstream_calls;
    bool has_degraded;
};

static void
answered(void *user, const struct dynabus_answer *answer)
{
    struct outcome *outcome = user;
    outcome->status = answer->status;
    outcome->cost_known = answer->cost_known;
    outcome->cost_usd = answer->cost_usd;
    outcome->redelivered = answer->redelivered;
    outcome->upstream_calls = answer->upstream_calls;
    outcome->has_degraded = answer->degraded[0] != '\0';
    (void)snprintf(outcome->target, sizeof outcome->target, "%s", answer->target);
    (void)snprintf(outcome->trace_id, sizeof outcome->trace_id, "%s", answer->trace_id);
    (void)snprintf(outcome->error, sizeof outcome->error, "%s", answer->error != NULL ? answer->error : "");
    for (size_t i = 0; i < answer->n_headers; i++) {
        if (strcmp(answer->headers[i].name, "x-dynabus-cost-usd") == 0) {
            (void)snprintf(outcome->cost_header, sizeof outcome->cost_header, "%s", answer->headers[i].value);
        }
        if (strcmp(answer->headers[i].name, "x-dynabus-cache") == 0) {
            (void)snprintf(outcome->cache, sizeof outcome->cache, "%s", answer->headers[i].value);
        }
    }
    gate_open(&outcome->gate);
}

static struct outcome
ask_with(dynabus_t *gateway, const char *body, const struct dynabus_header *headers, size_t n)
{
    struct outcome outcome = {.status = 0};
    struct dynabus_request request = fixture_request(body);
    request.headers = headers;
    request.n_headers = n;
    gate_init(&outcome.gate, 1);
    assert_int_equal(dynabus_route(gateway, &request, answered, &outcome), 0);
    gate_wait(&outcome.gate);
    return outcome;
}

/* ---- providers of the test's own ---- */

static void
answer_call(void *user, dynabus_call_t *call)
{
    static const char text[] =
        "{\"object\":\"chat.completion\",\"model\":\"gpt-4o-mini\",\"choices\":[{\"index\":0,"
        "\"message\":{\"role\":\"assistant\",\"content\":\"ok\"},\"finish_reason\":\"stop\"}],"
        "\"usage\":{\"prompt_tokens\":1000,\"completion_tokens\":10,\"total_tokens\":1010}}";
    struct dynabus_result result = DYNABUS_RESULT_INIT;
    (void)user;
    result.usage_known = true;
    result.prompt_tokens = 1000;
    result.completion_tokens = 10;
    (void)dynabus_call_write(call, text, sizeof text - 1);
    dynabus_call_end(call, &result);
}

static void
serve(dynabus_t *gateway, const char *name)
{
    static const char *const models[] = {"gpt-4o-mini"};
    struct dynabus_provider provider = DYNABUS_PROVIDER_INIT;
    char why[512];
    provider.name = name;
    provider.models = models;
    provider.n_models = 1;
    provider.call = answer_call;
    if (dynabus_register_provider(gateway, &provider, why, sizeof why) != 0) {
        fail_msg("%s", why);
    }
}

static dynabus_t *
gateway_with(const char *text)
{
    struct dynabus_options options = DYNABUS_OPTIONS_INIT;
    char why[1024] = "";
    options.config_text = text;
    options.cells = 1;
    dynabus_t *gateway = dynabus_new(&options, why, sizeof why);
    if (gateway == NULL) {
        fail_msg("%s", why);
    }
    serve(gateway, "one");
    serve(gateway, "two");
    return gateway;
}

static void
rules_look_at_its_headers(void **state)
{
    (void)state;
    dynabus_t *gateway = gateway_with("overrides: all\nstrategy: {mode: fallback}\n");
    const struct dynabus_header wanted[] = {{"X-Dynabus-Target", "two"}};
    assert_string_equal(ask_with(gateway, CHAT("gpt-4o-mini"), NULL, 0).target, "one");
    struct outcome outcome = ask_with(gateway, CHAT("gpt-4o-mini"), wanted, 1);
    assert_int_equal(outcome.status, 200);
    assert_string_equal(outcome.target, "two");
    assert_int_equal(dynabus_close(&gateway, 1000), 0);

    /* Targets that rules name stand in the configuration; providers of the program serve what is left. */
    gateway =
        fixture_gateway(1, "targets:\n"
                           "  - {name: one, provider: openai, base_url: 'http://127.0.0.1:9', api_key: x}\n"
                           "  - {name: two, provider: openai, base_url: 'http://127.0.0.1:9', api_key: x}\n"
                           "strategy:\n"
                           "  mode: conditional\n"
                           "  conditions:\n"
                           "    - {key: header.x-team, value: research, target_key: two}\n"
                           "    - {key: header.x-team, value: sales, target_key: one}\n");
    const struct dynabus_header research[] = {{"X-Team", "research"}};
    const struct dynabus_header sales[] = {{"x-team", "sales"}};
    assert_string_equal(ask_with(gateway, CHAT("m"), research, 1).target, "two");
    assert_string_equal(ask_with(gateway, CHAT("m"), sales, 1).target, "one");
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
}

static void
headers_that_mean_something_to_the_gateway_do(void **state)
{
    (void)state;
    dynabus_t *gateway = gateway_with("{}");
    const struct dynabus_header traced[] = {
        {"traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}};
    const struct dynabus_header wrong[] = {{"x-dynabus-redeliver", "sometimes"}};
    assert_string_equal(ask_with(gateway, CHAT("gpt-4o-mini"), traced, 1).trace_id,
                        "0af7651916cd43dd8448eb211c80319c");
    struct outcome outcome = ask_with(gateway, CHAT("gpt-4o-mini"), wrong, 1);
    assert_int_equal(outcome.status, 400);
    assert_non_null(strstr(outcome.error, "x-dynabus-redeliver"));
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
}

static void
more_than_go_with_a_request_are_refused(void **state)
{
    (void)state;
    dynabus_t *gateway = gateway_with("{}");
    struct dynabus_header many[40];
    for (size_t i = 0; i < DYN_ARRAY_LEN(many); i++) {
        many[i] = (struct dynabus_header){"x-many", "1"};
    }
    assert_int_equal(ask_with(gateway, CHAT("gpt-4o-mini"), many, DYN_ARRAY_LEN(many)).status, 431);
    char name[300];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    const struct dynabus_header longer[] = {{name, "1"}};
    assert_int_equal(ask_with(gateway, CHAT("gpt-4o-mini"), longer, 1).status, 431);
    assert_int_equal(ask_with(gateway, CHAT("gpt-4o-mini"), longer, 0).status, 200);
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
}

static void
an_answer_says_what_it_cost(void **state)
{
    (void)state;
    dynabus_t *gateway = gateway_with(
        "models:\n"
        "  prices: [{provider: one, model: gpt-4o-mini, input_per_m_tokens: 2, output_per_m_tokens: 10}]\n"
        "plugins: [{name: response-cache, type: transform, enabled: true}]\n");
    struct outcome first = ask_with(gateway, CHAT("gpt-4o-mini"), NULL, 0);
    assert_int_equal(first.status, 200);
    assert_true(first.cost_known);
    assert_true(first.cost_usd > 0.0020999 && first.cost_usd < 0.0021001);
    assert_string_equal(first.cost_header, "0.0021");
    assert_string_equal(first.cache, "miss");
    assert_int_equal(first.upstream_calls, 1);
    assert_int_equal(first.redelivered, 0);
    assert_false(first.has_degraded);
    struct outcome again = ask_with(gateway, CHAT("gpt-4o-mini"), NULL, 0);
    assert_string_equal(again.cache, "hit");
    assert_int_equal(again.upstream_calls, 0);
    const struct dynabus_header fresh[] = {{"Cache-Control", "no-cache"}};
    assert_string_equal(ask_with(gateway, CHAT("gpt-4o-mini"), fresh, 1).cache, "miss");
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_look_at_its_headers),
        cmocka_unit_test(headers_that_mean_something_to_the_gateway_do),
        cmocka_unit_test(more_than_go_with_a_request_are_refused),
        cmocka_unit_test(an_answer_says_what_it_cost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
