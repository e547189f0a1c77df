/* The keys of the router, and what their checks say. */
#include "router/models_config.h"
#include "router/router_config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/buf.h"

static const struct config_part *const parts[] = {&router_config_part, &models_config_part};

static config_t *
parse(const char *text)
{
    return config_parse(dyn_slice_str(text), "c.yaml", parts, DYN_ARRAY_LEN(parts), NULL);
}

/* The problems of a configuration are these lines, and no others. */
static void
assert_problems(const char *text, const char *expected)
{
    config_t *config = parse(text);
    struct dyn_buf out = DYN_BUF_INIT;
    config_print_problems(config, &out);
    assert_string_equal(dyn_buf_cstr(&out), expected);
    dyn_buf_fini(&out);
    config_free(&config);
}

/* No problem, and the values to look at. */
static const struct router_config *
good(const char *text, config_t **config_p)
{
    *config_p = parse(text);
    struct dyn_buf out = DYN_BUF_INIT;
    config_print_problems(*config_p, &out);
    assert_string_equal(dyn_buf_cstr(&out), "");
    dyn_buf_fini(&out);
    return config_values(*config_p, &router_config_part);
}

#define AB "targets: [{virtual_key: a, weight: 1}, {virtual_key: b}]\n"

static void
rules_reach_their_structs(void **state)
{
    (void)state;
    config_t *config;
    const struct router_config *router =
        good("strategy:\n"
             "  mode: conditional\n"
             "  conditions:\n"
             "    - {key: model_prefix, value: gpt-, target_key: a}\n"
             "    - {key: header.X-Tier, value: gold, target_key: b}\n"
             "    - {key: estimated_tokens, value: '>= 8000', target_key: b}\n"
             "    - {key: has_tools, value: true, target_key: a}\n" AB,
             &config);
    assert_int_equal(router->strategy.mode, ROUTE_MODE_CONDITIONAL);
    assert_int_equal(router->strategy.conditions.n, 4);
    const struct route_condition_config *rules = router->strategy.conditions.items;
    struct dyn_slice name;
    assert_int_equal(route_condition_kind_of(rules[0].key, &name), ROUTE_CONDITION_MODEL_PREFIX);
    assert_null(name.data);
    assert_int_equal(route_condition_kind_of(rules[1].key, &name), ROUTE_CONDITION_HEADER);
    assert_true(dyn_slice_is(name, "X-Tier"));
    enum route_comparison comparison;
    uint64_t amount;
    assert_int_equal(route_comparison_read(rules[2].value, &comparison, &amount), 0);
    assert_int_equal(comparison, ROUTE_GREATER_EQUAL);
    assert_int_equal(amount, 8000);
    assert_int_equal(route_condition_kind_of(DYN_SLICE("header."), NULL), ROUTE_CONDITION_UNKNOWN);
    config_free(&config);
}

static void
comparisons_have_five_signs(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int result;
        enum route_comparison comparison;
        uint64_t amount;
    } cases[] = {
        {"<5", 0, ROUTE_LESS, 5},
        {"<=5", 0, ROUTE_LESS_EQUAL, 5},
        {"> 17", 0, ROUTE_GREATER, 17},
        {">=0", 0, ROUTE_GREATER_EQUAL, 0},
        {"=9", 0, ROUTE_EQUAL, 9},
        {"==9", 0, ROUTE_EQUAL, 9},
        {"9", 0, ROUTE_EQUAL, 9},
        {"18446744073709551615", 0, ROUTE_EQUAL, UINT64_MAX},
        {"18446744073709551616", -1, ROUTE_EQUAL, 0},
        {">", -1, ROUTE_EQUAL, 0},
        {"-1", -1, ROUTE_EQUAL, 0},
        {">5k", -1, ROUTE_EQUAL, 0},
        {"", -1, ROUTE_EQUAL, 0},
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(cases); i++) {
        enum route_comparison comparison;
        uint64_t amount;
        int result = route_comparison_read(dyn_slice_str(cases[i].text), &comparison, &amount);
        assert_int_equal(result, cases[i].result);
        if (result == 0) {
            assert_int_equal(comparison, cases[i].comparison);
            assert_int_equal(amount, cases[i].amount);
        }
    }
}

static void
a_mode_has_what_it_needs(void **state)
{
    (void)state;
    assert_problems("strategy: {mode: conditional}\n" AB,
                    "c.yaml:1:18: error: the mode 'conditional' needs at least one of strategy.conditions\n");
    assert_problems(
        "strategy: {mode: content-based}\n" AB,
        "c.yaml:1:18: error: the mode 'content-based' needs at least one of strategy.content_conditions\n");
    assert_problems("strategy: {mode: ab-test}\n" AB,
                    "c.yaml:1:18: error: the mode 'ab-test' needs at least one of strategy.ab_variants\n");
    assert_problems(
        "strategy: {mode: ab-test, ab_variants: [{target_key: a}, {target_key: b, weight: 0}]}\n" AB,
        "c.yaml:1:40: error: the weights of strategy.ab_variants come to 0; give at least one a "
        "weight\n");
    assert_problems(
        "strategy: {mode: loadbalance}\ntargets: [{virtual_key: a}]\n",
        "c.yaml:1:18: error: the mode 'loadbalance' needs a weight above 0 at one target at least\n");
    assert_problems("strategy: {mode: sticky, sticky: {by: header}}\n" AB,
                    "c.yaml:1:39: error: strategy.sticky.by is `header`, which needs its name: sticky: {by: "
                    "header, header: x-session}\n");
    assert_problems("strategy: {mode: sticky, sticky: {by: header, header: Cookie}}\n" AB,
                    "c.yaml:1:55: error: the header 'Cookie' carries a credential and is not looked at; tell "
                    "callers apart by `key`\n");
}

static void
rules_name_targets_that_there_are(void **state)
{
    (void)state;
    assert_problems("strategy: {mode: ab-test, ab_variants: [{target_key: oepnai, weight: 1}]}\n"
                    "targets: [{virtual_key: openai}, {provider: xai, name: x}]\n",
                    "c.yaml:1:54: error: there is no target 'oepnai', did you mean 'openai'?; declared are: "
                    "openai, x\n");
    assert_problems("strategy: {mode: content-based, content_conditions: [{type: prompt_regex, value: '', "
                    "target_key: zzz}]}\n" AB,
                    "c.yaml:1:82: error: the condition's 'value' is empty\n"
                    "c.yaml:1:98: error: there is no target 'zzz'; declared are: a, b\n");
    assert_problems(
        "strategy: {mode: conditional, conditions: [{key: model, value: m, target_key: ''}]}\n" AB,
        "c.yaml:1:79: error: 'target_key' is empty; declared are: a, b\n");
    /* Targets of the environment are not known yet. */
    assert_problems("strategy: {mode: conditional, conditions: [{key: model, value: m, target_key: q}]}\n",
                    "");
}

static void
conditions_say_what_they_cannot_mean(void **state)
{
    (void)state;
    assert_problems(
        "strategy:\n"
        "  mode: conditional\n"
        "  conditions:\n"
        "    - {key: modle, value: x, target_key: a}\n"
        "    - {key: estimated_tokens, value: '>many', target_key: a}\n"
        "    - {key: stream, value: maybe, target_key: a}\n"
        "    - {key: 'header.a b', value: x, target_key: a}\n"
        "    - {key: model, value: '', target_key: a}\n" AB,
        "c.yaml:4:13: error: 'modle' is nothing that a condition looks at, did you mean 'model'?; "
        "known are: model, model_prefix, key, user, estimated_tokens, has_images, has_tools, "
        "stream, header.NAME, metadata.NAME\n"
        "c.yaml:5:38: error: '>many' is no comparison; write one like \">8000\" or \"<=200\", in "
        "quotes\n"
        "c.yaml:6:28: error: 'value' must be true or false, not 'maybe'\n"
        "c.yaml:7:13: error: 'a b' is no name of a header\n"
        "c.yaml:8:27: error: the condition's 'value' is empty\n");
}

static void
rules_of_another_mode_only_warn(void **state)
{
    (void)state;
    assert_problems("strategy: {mode: fallback, conditions: [{key: '', value: '', target_key: zzz}]}\n" AB,
                    "c.yaml:1:40: warning: strategy.conditions is read in the mode 'conditional' only\n");
}

static void
weights_are_finite_and_not_negative(void **state)
{
    (void)state;
    assert_problems("strategy: {mode: loadbalance}\n"
                    "targets:\n"
                    "  - {virtual_key: a, weight: .nan}\n"
                    "  - {virtual_key: b, weight: -1}\n"
                    "  - {virtual_key: c, weight: .inf}\n",
                    "c.yaml:3:30: error: 'targets[0].weight' must be a finite number, not '.nan'\n"
                    "c.yaml:4:30: error: 'targets[1].weight' must be from 0 to 1000000000, not -1\n"
                    "c.yaml:5:30: error: 'targets[2].weight' must be a finite number, not '.inf'\n");
}

static void
an_alias_stands_for_a_model(void **state)
{
    (void)state;
    assert_problems("aliases: {fast: gpt, a: a, b: fast, c: '', '': gpt}\n",
                    "c.yaml:1:25: error: the alias 'a' stands for itself\n"
                    "c.yaml:1:31: error: the alias 'b' stands for 'fast', which is an alias too; aliases are "
                    "looked up once: name the model\n"
                    "c.yaml:1:40: error: the alias 'c' stands for no model\n"
                    "c.yaml:1:44: error: an alias needs a name\n");
}

static void
retry_and_hedge_have_their_defaults(void **state)
{
    (void)state;
    config_t *config;
    const struct router_config *router =
        good("hedge: {after: p95, max_percent: 10}\n"
             "targets:\n"
             "  - virtual_key: a\n"
             "    retry: {attempts: 0, initial_backoff_ms: 0}\n"
             "    hedge: {after: 1.5s}\n"
             "  - {provider: p, name: b, retry: {attempts: 3, on_status_codes: "
             "[401, 503], max_backoff_ms: 1000}}\n",
             &config);
    const struct route_target_config *a = router_config_target(router, DYN_SLICE("a"));
    assert_int_equal(a->retry.attempts, 1);
    assert_int_equal(a->retry.initial_backoff_ms, 100);
    assert_int_equal(a->retry.max_backoff_ms, 30000);
    assert_true(a->hedge.is_on);
    assert_int_equal(a->hedge.after_ms, 1500);
    const struct route_target_config *b = router_config_target(router, DYN_SLICE("b"));
    assert_int_equal(b->retry.attempts, 3);
    assert_int_equal(b->retry.on_status_codes.n, 2);
    assert_false(b->hedge.is_on);
    assert_true(router->hedge.is_on);
    assert_int_equal(router->hedge.after_ms, 0);
    assert_int_equal(router->hedge.max_percent, 10);
    assert_int_equal(router->retry_budget.percent, 20);
    assert_int_equal(router->retry_budget.min_per_second, 3);
    const struct route_target_config *none = router_config_target(router, DYN_SLICE("worker's"));
    assert_int_equal(none->retry.attempts, 1);
    assert_false(none->hedge.is_on);
    config_free(&config);
}

static void
retry_and_hedge_are_in_range(void **state)
{
    (void)state;
    assert_problems(
        "hedge: {after: 2 s}\n"
        "targets:\n"
        "  - virtual_key: a\n"
        "    retry: {attempts: -1, on_status_codes: [99, 700], initial_backoff_ms: 5000, "
        "max_backoff_ms: 1000}\n"
        "    hedge: {after: 0s, max_percent: 101}\n"
        "    models_only: true\n",
        "c.yaml:1:16: error: 'after' is `p95`, or a duration from 1ms to 1h, not '2 s'\n"
        "c.yaml:4:23: error: 'targets[0].retry.attempts' must be from 0 to 100, not -1\n"
        "c.yaml:4:45: error: 'targets[0].retry.on_status_codes[0]' must be from 100 to 599, not 99\n"
        "c.yaml:4:49: error: 'targets[0].retry.on_status_codes[1]' must be from 100 to 599, not 700\n"
        "c.yaml:4:75: warning: 'initial_backoff_ms' is above 'max_backoff_ms' (1000), which is the "
        "longest wait\n"
        "c.yaml:5:20: error: 'after' is `p95`, or a duration from 1ms to 1h, not '0s'\n"
        "c.yaml:5:37: error: 'targets[0].hedge.max_percent' must be from 0 to 100, not 101\n"
        "c.yaml:6:18: error: 'models_only' needs 'models': this target would serve nothing\n");
}

static void
the_catalogue_is_checked(void **state)
{
    (void)state;
    assert_problems("models:\n"
                    "  catalog_url: ftp://host/catalog.json\n"
                    "  discovery_interval: 30s\n"
                    "  prices:\n"
                    "    - {provider: openai, model: m, input_per_m_tokens: 1}\n"
                    "    - {provider: openai, model: m, output_per_m_tokens: .inf}\n"
                    "    - {provider: openai, model: n}\n",
                    "c.yaml:2:16: error: 'models.catalog_url' is a URL that begins with https:// or http://\n"
                    "c.yaml:3:23: error: 'models.discovery_interval' is at least 1m, or 0 for never\n"
                    "c.yaml:6:7: error: this price was written before, at line 5\n"
                    "c.yaml:6:57: error: 'models.prices[1].output_per_m_tokens' must be a finite number, not "
                    "'.inf'\n"
                    "c.yaml:7:7: error: this entry has no price\n");
}

/* A price of nobody is a slip. */
static void
assert_priced(const char *provider, const char *targets, const char *expected)
{
    char text[300];
    (void)snprintf(text, sizeof text,
                   "models:\n  prices:\n    - {provider: %s, model: m, input_per_m_tokens: 1}\n%s", provider,
                   targets);
    assert_problems(text, expected);
}

static void
a_price_is_somebodys(void **state)
{
    (void)state;
    const char *targets = "targets: [{name: my-vllm, provider: openai-compatible}, {virtual_key: groq}]\n";
    const char *const sound[] = {"openai", "my-vllm", "vertex_ai", "hugging-face", "openrouter", "groq"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(sound); i++) {
        assert_priced(sound[i], targets, "");
    }
    assert_priced("opneai", targets,
                  "c.yaml:3:18: error: there is no provider and no target 'opneai', did you mean 'openai'?; "
                  "nothing would have this price\n");
    assert_priced("my-vlm", targets,
                  "c.yaml:3:18: error: there is no provider and no target 'my-vlm', did you mean 'my-vllm'?; "
                  "nothing would have this price\n");
    assert_priced("''", targets, "c.yaml:3:18: error: 'provider' is empty\n");
    /* Targets of workers and of the library are known to nobody yet. */
    assert_priced("zzzzzzzz", "",
                  "c.yaml:3:18: warning: there is no provider and no target 'zzzzzzzz'; nothing would have "
                  "this price\n");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_reach_their_structs),
        cmocka_unit_test(comparisons_have_five_signs),
        cmocka_unit_test(a_mode_has_what_it_needs),
        cmocka_unit_test(rules_name_targets_that_there_are),
        cmocka_unit_test(conditions_say_what_they_cannot_mean),
        cmocka_unit_test(rules_of_another_mode_only_warn),
        cmocka_unit_test(weights_are_finite_and_not_negative),
        cmocka_unit_test(an_alias_stands_for_a_model),
        cmocka_unit_test(retry_and_hedge_have_their_defaults),
        cmocka_unit_test(retry_and_hedge_are_in_range),
        cmocka_unit_test(the_catalogue_is_checked),
        cmocka_unit_test(a_price_is_somebodys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
