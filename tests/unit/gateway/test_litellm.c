/* LiteLLM's configurations become ours: what they mean is kept, what cannot be kept is said with its line,
 * and the result is a configuration that the loader accepts. */
#include "gateway/litellm.h"
#include "gateway/parts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "actors/providers/provider_config.h"
#include "router/models_config.h"
#include "router/router_config.h"

static const char *
any_variable(void *self, const char *name)
{
    (void)self;
    return strstr(name, "BASE") != NULL ? "https://host.test/v1" : "value";
}
static const struct config_lookup lookup = {.variable = any_variable};

/* The result, which is freed by the caller, and what the loader makes of it: no problem. */
static config_t *
converted(const char *theirs, char **text)
{
    struct litellm import;
    struct dyn_err err = {.text = ""};
    struct dyn_buf out = DYN_BUF_INIT;
    litellm_init(&import);
    assert_int_equal(litellm_read(&import, dyn_slice_str(theirs), &err), 0);
    litellm_write(&import, "theirs.yaml", &out);
    struct config_options options = {.lookup = &lookup};
    config_t *config =
        config_parse(dyn_buf_slice(&out), "ours.yaml", gateway_parts, gateway_n_parts, &options);
    for (size_t i = 0; i < config_problems(config)->n; i++) {
        if (!config_problems(config)->items[i].is_warning) {
            fail_msg("%s in:\n%s", config_problems(config)->items[i].text, dyn_buf_cstr(&out));
        }
    }
    *text = dyn_strdup(dyn_buf_cstr(&out));
    dyn_buf_fini(&out);
    litellm_fini(&import);
    return config;
}

static void
deployments_of_a_group_become_targets_with_weights(void **state)
{
    (void)state;
    char *text;
    config_t *config = converted("model_list:\n"
                                 "  - model_name: gpt\n"
                                 "    litellm_params:\n"
                                 "      model: azure/blue\n"
                                 "      api_base: os.environ/AZURE_BASE\n"
                                 "      api_key: os.environ/AZURE_KEY\n"
                                 "      rpm: 900\n"
                                 "  - model_name: gpt\n"
                                 "    litellm_params: {model: openai/gpt-4o, weight: 2, timeout: 1.5}\n"
                                 "  - model_name: small\n"
                                 "    litellm_params: {model: gpt-4o-mini, max_parallel_requests: 8}\n",
                                 &text);
    const struct router_config *router = config_values(config, &router_config_part);
    const struct provider_config *provider = config_values(config, &provider_config_part);
    const struct route_target_config *targets = router->targets.items;
    const struct provider_target_config *calls = provider->targets.items;
    assert_int_equal(router->strategy.mode, ROUTE_MODE_LOADBALANCE);
    assert_int_equal(router->targets.n, 3);
    assert_true(dyn_slice_is(calls[0].provider, "azure-openai"));
    assert_true(dyn_slice_is(calls[0].base_url, "https://host.test/v1"));
    assert_true(dyn_slice_is(calls[0].upstream_model.values[0], "blue"));
    assert_true(targets[0].weight == 900 && targets[1].weight == 2 && targets[2].weight == 1);
    assert_true(targets[0].models_only && dyn_slice_is(targets[0].models.items[0], "gpt"));
    assert_true(dyn_slice_is(targets[1].name, "gpt-2"));
    assert_int_equal(calls[1].timeouts.first_byte_ms, 1500);
    assert_int_equal(calls[2].concurrency.max_concurrency, 8);
    assert_non_null(strstr(text, "# line 7: litellm_params.rpm: it is a weight here, not a limit\n"));
    free(text);
    config_free(&config);
}

static void
a_fallback_is_a_target_that_never_starts(void **state)
{
    (void)state;
    char *text;
    config_t *config = converted("model_list:\n"
                                 "  - {model_name: a, litellm_params: {model: openai/a1}}\n"
                                 "  - {model_name: a, litellm_params: {model: openai/a2}}\n"
                                 "  - {model_name: b, litellm_params: {model: groq/b1}}\n"
                                 "litellm_settings:\n"
                                 "  fallbacks: [{a: [b]}, {a: [zzz]}]\n",
                                 &text);
    const struct router_config *router = config_values(config, &router_config_part);
    const struct route_target_config *targets = router->targets.items;
    assert_int_equal(router->targets.n, 4);
    assert_true(dyn_slice_is(targets[3].name, "a-fallback"));
    assert_true(dyn_slice_is(targets[3].models.items[0], "a") && targets[3].weight == 0);
    const struct provider_config *provider = config_values(config, &provider_config_part);
    const struct provider_target_config *calls = provider->targets.items;
    assert_true(dyn_slice_is(calls[3].provider, "groq"));
    assert_true(dyn_slice_is(calls[3].upstream_model.values[0], "b1"));
    assert_non_null(strstr(text, "# line 6: fallbacks: from 'a' to 'zzz': one of them is no group here\n"));
    free(text);
    config_free(&config);
}

static void
with_one_deployment_each_the_order_counts(void **state)
{
    (void)state;
    char *text;
    config_t *config = converted("model_list:\n"
                                 "  - {model_name: a, litellm_params: {model: openai/a1}}\n"
                                 "  - {model_name: b, litellm_params: {model: groq/b1}}\n"
                                 "router_settings: {fallbacks: [{a: [b]}]}\n",
                                 &text);
    const struct router_config *router = config_values(config, &router_config_part);
    assert_int_equal(router->strategy.mode, ROUTE_MODE_FALLBACK);
    assert_int_equal(router->targets.n, 3);
    free(text);
    config_free(&config);
}

static void
settings_become_policy(void **state)
{
    (void)state;
    char *text;
    config_t *config =
        converted("model_list:\n"
                  "  - model_name: a\n"
                  "    litellm_params:\n"
                  "      model: openai/a1\n"
                  "      input_cost_per_token: 0.0000025\n"
                  "      output_cost_per_token: 1e-05\n"
                  "litellm_settings: {drop_params: true, request_timeout: 30}\n"
                  "router_settings:\n"
                  "  routing_strategy: latency-based-routing\n"
                  "  num_retries: 2\n"
                  "  allowed_fails: 4\n"
                  "  cooldown_time: 12\n"
                  "  model_group_alias: {fast: a, slow: {model: a, hidden: false}, fast2: fast}\n",
                  &text);
    const struct router_config *router = config_values(config, &router_config_part);
    const struct provider_config *provider = config_values(config, &provider_config_part);
    const struct provider_target_config *calls = provider->targets.items;
    const struct route_target_config *targets = router->targets.items;
    assert_int_equal(router->strategy.mode, ROUTE_MODE_LEAST_LATENCY);
    assert_int_equal(router->request_timeout_ms, 30000);
    assert_int_equal(targets[0].retry.attempts, 3);
    assert_true(calls[0].has_breaker);
    assert_int_equal(calls[0].breaker.failure_threshold, 5);
    assert_int_equal(calls[0].breaker.open_ms, 12000);
    assert_int_equal(provider->compatibility.on_unsupported_param, PROVIDER_UNSUPPORTED_DROP);
    assert_int_equal(router->aliases.n, 2);
    const struct models_config_file *models = config_values(config, &models_config_part);
    const struct model_price_config *price = models->models.prices.items;
    assert_int_equal(models->models.prices.n, 1);
    assert_true(price->input == 2.5 && price->output == 10);
    assert_non_null(strstr(text, "# line 13: model_group_alias.fast2: "));
    free(text);
    config_free(&config);
}

/* Nothing of a key that is written out leaves their file. */
static void
keys_are_not_copied(void **state)
{
    (void)state;
    char *text;
    config_t *config =
        converted("model_list:\n"
                  "  - {model_name: a, litellm_params: {model: openai/a1, api_key: sk-hidden-1}}\n"
                  "  - {model_name: b, litellm_params: {model: openai/b1, api_key: sk-hidden-1}}\n"
                  "  - {model_name: c, litellm_params: {model: xai/c1, api_key: sk-hidden-2}}\n"
                  "general_settings: {master_key: sk-hidden-3, database_url: postgres://u:p@h}\n",
                  &text);
    assert_null(strstr(text, "hidden"));
    assert_null(strstr(text, "postgres"));
    assert_non_null(strstr(text, "api_key: \"${OPENAI_KEY_1}\""));
    assert_non_null(strstr(text, "api_key: \"${XAI_KEY_2}\""));
    assert_non_null(strstr(text,
                           "# line 2: api_key: a secret that is written out is not copied; set the variable "
                           "OPENAI_KEY_1 to it\n"));
    assert_non_null(strstr(text, "# line 5: general_settings.database_url\n"));
    free(text);
    config_free(&config);
}

static void
what_is_unknown_is_named_with_its_line(void **state)
{
    (void)state;
    char *text;
    config_t *config = converted("model_list:\n"
                                 "  - model_name: a\n"
                                 "    litellm_params:\n"
                                 "      model: openai/a1\n"
                                 "      temperature: 0.2\n"
                                 "  - {model_name: b, litellm_params: {model: vertex_ai/b1}}\n"
                                 "  - {model_name: c}\n"
                                 "  - {model_name: d, litellm_params: {model: hosted_vllm/d1}}\n"
                                 "environment_variables: {X: y}\n"
                                 "router_settings: {redis_host: h, routing_strategy: dice}\n",
                                 &text);
    assert_non_null(strstr(text,
                           "# routing_strategy dice\n"
                           "# line 5: litellm_params.temperature\n"
                           "# line 6: model_list: the provider 'vertex-ai' of 'b' is not supported in this "
                           "version\n"
                           "# line 7: model_list: an entry needs model_name and litellm_params.model\n"
                           "# line 8: model_list: 'd' has no api_base, which it needs\n"
                           "# line 9: environment_variables\n"
                           "# line 10: router_settings.redis_host\n"));
    free(text);
    config_free(&config);
}

/* Secrets stand in other places than api_key. */
static void
no_secret_is_copied(void **state)
{
    (void)state;
    char *text;
    config_t *config =
        converted("model_list:\n"
                  "  - model_name: a\n"
                  "    litellm_params:\n"
                  "      model: openai/gpt-4o\n"
                  "      api_base: https://user:hidden-1@host.test/v1\n"
                  "      extra_headers:\n"
                  "        Authorization: Bearer hidden-2\n"
                  "        x-goog-api-key: hidden-3\n"
                  "        Cookie: id=hidden-4\n"
                  "        X-Odd: Basic hidden-5\n"
                  "        X-Team: blue\n"
                  "        X-Session-Token: os.environ/TOKEN\n"
                  "general_settings: {master_key: hidden-6, database_url: 'pg://u:hidden-7@h'}\n",
                  &text);
    assert_null(strstr(text, "hidden"));
    assert_non_null(strstr(text, "base_url: \"${OPENAI_BASE_1}\""));
    assert_non_null(strstr(text, "Authorization: \"${OPENAI_HEADER_2}\""));
    assert_non_null(strstr(text, "X-Team: blue"));
    assert_non_null(strstr(text, "X-Session-Token: \"${TOKEN}\""));
    assert_non_null(strstr(text, "# line 7: extra_headers.Authorization: a secret that is written out is not "
                                 "copied; set the variable OPENAI_HEADER_2 to it\n"));
    free(text);
    config_free(&config);
}

/* A price that not all deployments of a model have is that of its own target. */
static void
prices_that_differ_are_kept(void **state)
{
    (void)state;
    char *text;
    config_t *config = converted(
        "model_list:\n"
        "  - {model_name: a, litellm_params: {model: openai/gpt-4o, input_cost_per_token: 0.000001}}\n"
        "  - {model_name: b, litellm_params: {model: openai/gpt-4o, input_cost_per_token: 0.000002}}\n"
        "  - {model_name: c, litellm_params: {model: openai/gpt-4o}}\n"
        "  - {model_name: d, litellm_params: {model: openai/gpt-4.1, input_cost_per_token: 0.000003}}\n"
        "  - {model_name: d, litellm_params: {model: openai/gpt-4.1, input_cost_per_token: 0.000003}}\n",
        &text);
    const struct models_config_file *models = config_values(config, &models_config_part);
    const struct model_price_config *prices = models->models.prices.items;
    assert_int_equal(models->models.prices.n, 3);
    assert_true(dyn_slice_is(prices[0].provider, "a") && prices[0].input == 1);
    assert_true(dyn_slice_is(prices[1].provider, "b") && prices[1].input == 2);
    assert_true(dyn_slice_is(prices[2].provider, "openai") && prices[2].input == 3);
    free(text);
    config_free(&config);
}

static void
what_is_none_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "- a\n", "targets: []\n", "a: [\n", "model_list: &x []\nb: *x\n"};
    for (size_t i = 0; i + 1 < DYN_ARRAY_LEN(texts); i++) {
        struct litellm import;
        struct dyn_err err = {.text = ""};
        litellm_init(&import);
        assert_int_equal(litellm_read(&import, dyn_slice_str(texts[i]), &err), -1);
        assert_true(err.text[0] != '\0');
        litellm_fini(&import);
    }
}

/* The checks look for keys in the environment itself. */
static int
set_keys(void **state)
{
    (void)state;
    const struct provider_row *row;
    for (size_t i = 0; (row = provider_row_at(i)) != NULL; i++) {
        if (row->key_env != NULL) {
            (void)setenv(row->key_env, "key", 1);
        }
    }
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(deployments_of_a_group_become_targets_with_weights),
        cmocka_unit_test(a_fallback_is_a_target_that_never_starts),
        cmocka_unit_test(with_one_deployment_each_the_order_counts),
        cmocka_unit_test(settings_become_policy),
        cmocka_unit_test(keys_are_not_copied),
        cmocka_unit_test(what_is_unknown_is_named_with_its_line),
        cmocka_unit_test(no_secret_is_copied),
        cmocka_unit_test(prices_that_differ_are_kept),
        cmocka_unit_test(what_is_none_is_refused),
    };
    return cmocka_run_group_tests(tests, set_keys, NULL);
}
