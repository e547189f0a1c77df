/* The keys of the providers, their checks, and the targets made of them. */
#include "actors/providers/provider_config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct config_part *const parts[] = {&provider_config_part};

static config_t *
parse(const char *text)
{
    return config_parse(dyn_slice_str(text), "config.yaml", parts, 1, NULL);
}

/* All problems as one text. */
static char *
problems_of(const char *text)
{
    config_t *config = parse(text);
    struct dyn_buf out = DYN_BUF_INIT;
    config_print_problems(config, &out);
    char *copy = dyn_strdup(dyn_buf_cstr(&out));
    dyn_buf_fini(&out);
    config_free(&config);
    return copy;
}

static void
assert_problem(const char *text, const char *expected)
{
    char *problems = problems_of(text);
    if (strstr(problems, expected) == NULL) {
        fail_msg("expected '%s' in:\n%s", expected, problems);
    }
    free(problems);
}

static void
clear_environment(void)
{
    static const char *const names[] = {"OPENAI_API_KEY", "XAI_API_KEY", "OPENAI_BASE_URL", "HTTPS_PROXY",
                                        "https_proxy",    "http_proxy",  "ALL_PROXY",       "all_proxy",
                                        "NO_PROXY",       "no_proxy",    "SSL_CERT_FILE",   "CURL_CA_BUNDLE"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(names); i++) {
        (void)unsetenv(names[i]);
    }
}

static int
setup(void **state)
{
    (void)state;
    clear_environment();
    return 0;
}

static void
a_full_target_is_resolved(void **state)
{
    (void)state;
    (void)setenv("TEST_KEY", "sk-from-variable", 1);
    config_t *config = parse("targets:\n"
                             "  - name: main\n"
                             "    provider: openai\n"
                             "    base_url: https://proxy.test\n"
                             "    api_key: ${TEST_KEY}\n"
                             "    models: [gpt-4o, o3]\n"
                             "    upstream_model: {gpt-4o: gpt-4o-2024-11-20}\n"
                             "    headers: {X-Team: blue}\n"
                             "    timeouts: {first_byte: 30s, idle: 1m}\n"
                             "    stream_usage: never\n"
                             "  - virtual_key: openai-compatible\n"
                             "    base_url: http://127.0.0.1:8000/v1\n"
                             "upstream: {proxy: \"http://egress:3128\", no_proxy: internal.test}\n");
    assert_true(config_ok(config));
    provider_targets_t *targets = provider_targets_new(NULL);
    struct dyn_err err = {.text = ""};
    assert_int_equal(provider_targets_add_config(targets, config_values(config, &provider_config_part), &err),
                     0);
    config_free(&config); /* targets have memory of their own */
    assert_int_equal(provider_targets_count(targets), 2);
    const struct provider_target *main_target = provider_targets_at(targets, 0);
    assert_string_equal(main_target->name.data, "main");
    assert_string_equal(main_target->row->id, "openai");
    assert_string_equal(main_target->root.data, "https://proxy.test/v1");
    assert_string_equal(main_target->key.data, "sk-from-variable");
    assert_int_equal(main_target->n_models, 2);
    assert_string_equal(main_target->models[1].data, "o3");
    assert_int_equal(main_target->n_renames, 1);
    assert_string_equal(main_target->renames[0].upstream.data, "gpt-4o-2024-11-20");
    assert_string_equal(main_target->headers[0].value.data, "blue");
    assert_int_equal(main_target->connect_ms, PROVIDER_CONNECT_MS);
    assert_int_equal(main_target->first_byte_ms, 30000);
    assert_int_equal(main_target->idle_ms, 60000);
    assert_false(main_target->ask_usage);
    assert_string_equal(main_target->proxy, "http://egress:3128");
    assert_string_equal(main_target->no_proxy, "internal.test");
    const struct provider_target *local = provider_targets_at(targets, 1);
    assert_string_equal(local->name.data, "openai-compatible");
    assert_null(local->key.data);
    assert_null(local->proxy);
    assert_true(local->ask_usage);
    provider_targets_free(&targets);
}

/* Many servers are reached as `openai` with a base_url; only OpenAI's own has but the newer names. */
static void
names_of_parameters_are_the_clients_away_from_home(void **state)
{
    static const struct {
        const char *target;
        bool is_renamed;
    } cases[] = {
        {"provider: openai", true},
        {"provider: openai, base_url: \"https://api.openai.com/v1\"", true},
        {"provider: openai, base_url: \"https://EU.api.OpenAI.com\"", true},
        {"provider: openai, base_url: \"https://notapi.openai.com/v1\"", false},
        {"provider: openai, base_url: \"https://api.openai.com.test/v1\"", false},
        {"provider: openai, base_url: \"http://127.0.0.1:8000/v1\"", false},
        {"provider: openai, base_url: \"http://127.0.0.1:8000/v1\", rename_params: always", true},
        {"provider: openai, rename_params: never", false},
        {"provider: groq, base_url: \"http://127.0.0.1:8000/v1\"", true},
        {"provider: groq, rename_params: never", false},
    };
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(cases); i++) {
        struct dyn_buf text = DYN_BUF_INIT;
        struct dyn_err err = {.text = ""};
        dyn_buf_addf(&text, "targets: [{%s, name: a, api_key: sk-x}]\n", cases[i].target);
        config_t *config = parse(dyn_buf_cstr(&text));
        assert_true(config_ok(config));
        provider_targets_t *targets = provider_targets_new(NULL);
        assert_int_equal(
            provider_targets_add_config(targets, config_values(config, &provider_config_part), &err), 0);
        const struct provider_target *target = provider_targets_at(targets, 0);
        assert_int_equal(provider_target_body_row(target)->renames[0].from != NULL, cases[i].is_renamed);
        assert_ptr_equal(target->row, provider_row_find(dyn_slice_str(target->row->id)));
        assert_int_equal(provider_target_body_row(target)->no_names, target->row->no_names);
        provider_targets_free(&targets);
        config_free(&config);
        dyn_buf_fini(&text);
    }
}

static void
key_and_root_come_from_the_environment(void **state)
{
    (void)state;
    (void)setenv("OPENAI_API_KEY", "sk-env", 1);
    (void)setenv("OPENAI_BASE_URL", "http://gateway.test:9000", 1);
    (void)setenv("SSL_CERT_FILE", "/ca.pem", 1);
    provider_targets_t *targets = provider_targets_new(NULL);
    struct dyn_err err = {.text = ""};
    assert_int_equal(provider_targets_add_env(targets, NULL, &err), 0);
    assert_int_equal(provider_targets_count(targets), 1);
    const struct provider_target *target = provider_targets_at(targets, 0);
    assert_string_equal(target->name.data, "openai");
    assert_string_equal(target->key.data, "sk-env");
    assert_string_equal(target->root.data, "http://gateway.test:9000/v1");
    assert_string_equal(target->ca_file, "/ca.pem");
    provider_targets_free(&targets);
}

/* Rows whose root is made of variables, or that need no key. What a row must have and has not leaves it out
 * in silence. */
static void
other_variables_make_targets_too(void **state)
{
    static const char *const variables[][2] = {
        {"OPENAI_API_KEY", ""},
        {"OLLAMA_HOST", "gpu.test:11434/"},
        {"OLLAMA_MODELS", "/var/lib/ollama"},
        {"CLOUDFLARE_API_KEY", "cf-key"},
        {"CLOUDFLARE_ACCOUNT_ID", "a1b2"},
        {"DATABRICKS_TOKEN", "dapi"},
        {"DATABRICKS_HOST", "https://adb-1.azuredatabricks.test/serving-endpoints/chat/completions"},
        {"AZURE_OPENAI_API_KEY", "az"},
        {"AZURE_OPENAI_ENDPOINT", "https://unit.openai.azure.test"},
        {"AZURE_OPENAI_DEPLOYMENT", " gpt-4o , gpt-4o,o3"},
        {"AZURE_FOUNDRY_API_KEY", "az-without-endpoint"},
    };
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(variables); i++) {
        (void)setenv(variables[i][0], variables[i][1], 1);
    }
    provider_targets_t *targets = provider_targets_new(NULL);
    struct dyn_err err = {.text = ""};
    assert_int_equal(provider_targets_add_env(targets, NULL, &err), 0);
    assert_int_equal(provider_targets_count(targets), 4);
    const struct provider_target *azure = provider_targets_at(targets, 0);
    assert_string_equal(azure->root.data, "https://unit.openai.azure.test/openai/v1");
    assert_int_equal(azure->n_models, 2);
    assert_string_equal(azure->models[0].data, "gpt-4o");
    assert_string_equal(azure->models[1].data, "o3");
    assert_string_equal(provider_targets_at(targets, 1)->root.data,
                        "https://api.cloudflare.com/client/v4/accounts/a1b2/ai/v1");
    assert_string_equal(provider_targets_at(targets, 2)->root.data,
                        "https://adb-1.azuredatabricks.test/serving-endpoints");
    const struct provider_target *ollama = provider_targets_at(targets, 3);
    assert_string_equal(ollama->root.data, "http://gpu.test:11434/v1");
    assert_int_equal(ollama->n_models, 0);
    provider_targets_free(&targets);
    for (size_t i = 0; i < DYN_ARRAY_LEN(variables); i++) {
        (void)unsetenv(variables[i][0]);
    }
}

static void
without_keys_the_environment_gives_no_target(void **state)
{
    (void)state;
    (void)setenv("OPENAI_API_KEY", "", 1);
    provider_targets_t *targets = provider_targets_new(NULL);
    struct dyn_err err = {.text = ""};
    assert_int_equal(provider_targets_add_env(targets, NULL, &err), 0);
    assert_int_equal(provider_targets_count(targets), 0);
    assert_int_equal(provider_targets_add(targets, NULL, "mock", "mock", "http://127.0.0.1:9/v1", &err), 0);
    assert_string_equal(provider_targets_at(targets, 0)->root.data, "http://127.0.0.1:9/v1");
    assert_int_equal(provider_targets_add(targets, NULL, "x", "openai", "", &err), -1);
    assert_non_null(strstr(err.text, "OPENAI_API_KEY"));
    assert_int_equal(provider_targets_count(targets), 1);
    provider_targets_free(&targets);
}

static void
problems_say_what_to_change(void **state)
{
    (void)state;
    assert_problem("targets:\n  - virtual_key: openai\n", "set OPENAI_API_KEY or targets[0].api_key");
    assert_problem("targets:\n  - provider: opnai\n", "did you mean 'openai'?; known are: openai, ");
    assert_problem("targets:\n  - provider: opnai\n", "config.yaml:2:15: error:");
    assert_problem("targets:\n  - models: [a]\n", "a target needs a `provider`");
    assert_problem("targets:\n  - provider: openai-compatible\n", "needs a base_url");
    assert_problem("targets:\n  - {provider: openai-compatible, base_url: \"ftp://x\"}\n",
                   "neither https nor http");
    assert_problem("targets:\n  - {provider: mock, base_url: \"http://a\"}\n  - {provider: mock, base_url: "
                   "\"http://b\"}\n",
                   "config.yaml:3:5: error: two targets are named 'mock'");
    assert_problem("targets:\n  - {provider: mock, base_url: \"http://a\", models: [a, a]}\n",
                   "is named twice");
    assert_problem("targets:\n  - {provider: mock, base_url: \"http://a\", models: [\"gpt-*\"]}\n",
                   "without * and ?");
    assert_problem("targets:\n  - {provider: mock, base_url: \"http://a\", headers: {Host: x}}\n",
                   "set by the gateway itself");
    assert_problem("targets:\n  - {provider: mock, base_url: \"http://a\", headers: {\"a b\": x}}\n",
                   "is no name of a header");
    assert_problem("targets:\n  - {provider: mock, base_url: \"http://a\", headers: {X-A: \"a\\nb\"}}\n",
                   "printable bytes");
    assert_problem(
        "targets:\n  - {virtual_key: mock, base_url: \"http://a\", concurrency: {max_concurrency: 1, "
        "scope: fleet}}\n",
        "not supported in this version");
    assert_problem("targets:\n  - {provider: mock, base_url: \"http://a\", timeout: {idle: 1s}}\n",
                   "timeouts");
    assert_problem("upstream: {ca_file: /nowhere/ca.pem}\n", "'/nowhere/ca.pem' cannot be read");
    assert_problem("upstream: {proxy: \"proxy:3128\"}\n", "a proxy is written like");
}

/* Ferro passes over a provider whose variables are missing; here it is said, as long as another is there. */
static void
in_ferros_notation_a_target_without_a_key_is_left_out(void **state)
{
    (void)state;
    (void)setenv("OPENAI_API_KEY", "sk-1", 1);
    (void)unsetenv("XAI_API_KEY");
    config_t *config = parse("targets:\n  - virtual_key: xai\n  - virtual_key: openai\n");
    assert_true(config_ok(config));
    assert_int_equal(config_problems(config)->n, 1);
    assert_string_equal(
        config_problems(config)->items[0].text,
        "there is no key for 'xai': set XAI_API_KEY or targets[0].api_key; the target is left out");
    provider_targets_t *targets = provider_targets_new(NULL);
    struct dyn_err err = {.text = ""};
    assert_int_equal(provider_targets_add_config(targets, config_values(config, &provider_config_part), &err),
                     0);
    assert_int_equal(provider_targets_count(targets), 1);
    assert_true(dyn_slice_is(provider_targets_at(targets, 0)->name, "openai"));
    provider_targets_free(&targets);
    config_free(&config);
    assert_problem("targets:\n  - provider: xai\n  - virtual_key: openai\n",
                   "config.yaml:2:5: error: there is no key for 'xai'");
    (void)unsetenv("OPENAI_API_KEY");
    assert_problem("targets:\n  - virtual_key: xai\n", "config.yaml:2:5: error: there is no key for 'xai'");
}

static void
a_provider_that_is_to_come_is_no_slip_of_the_pen(void **state)
{
    (void)state;
    const char *text = "targets:\n  - virtual_key: bedrock\n  - {virtual_key: mock, base_url: http://a}\n";
    assert_problem(text, "config.yaml:2:18: error: the provider 'bedrock' is not supported in this version");
    struct config_options options = {.ignore_unsupported = true};
    config_t *config = config_parse(dyn_slice_str(text), "config.yaml", parts, 1, &options);
    assert_true(config_ok(config));
    assert_int_equal(config_problems(config)->unsupported, 1);
    provider_targets_t *targets = provider_targets_new(NULL);
    struct dyn_err err = {.text = ""};
    assert_int_equal(provider_targets_add_config(targets, config_values(config, &provider_config_part), &err),
                     0);
    assert_int_equal(provider_targets_count(targets), 1);
    provider_targets_free(&targets);
    config_free(&config);
}

static void
several_keys_are_checked_one_by_one(void **state)
{
    (void)state;
    (void)setenv("KEY_A", "sk-a", 1);
    (void)setenv("KEY_B", "sk-b", 1);
    config_t *config = parse("targets:\n  - {virtual_key: xai, api_keys: [\"${KEY_A}\", \"${KEY_B}\"]}\n");
    assert_int_equal(config_problems(config)->n, 0);
    const struct provider_config *values = config_values(config, &provider_config_part);
    const struct provider_target_config *target = values->targets.items;
    assert_int_equal(target->api_keys.n, 2);
    assert_true(dyn_slice_is(target->api_keys.items[1], "sk-b"));
    config_free(&config);
    assert_problem("targets:\n  - {virtual_key: xai, api_keys: [\"${KEY_A}\", \"${KEY_A}\"]}\n",
                   "this key is the same as api_keys[0]");
    assert_problem("targets:\n  - {virtual_key: xai, api_key: \"${KEY_A}\", api_keys: [\"${KEY_B}\"]}\n",
                   "write either `api_key` or `api_keys`");
    assert_problem("targets:\n  - {virtual_key: xai, api_keys: [sk-x]}\n", "holds a secret in plain text");
}

static void
breaker_and_limit_have_their_defaults(void **state)
{
    (void)state;
    config_t *config = parse("targets:\n"
                             "  - {virtual_key: mock, base_url: http://a}\n"
                             "  - {provider: mock, name: b, base_url: http://b,\n"
                             "     circuit_breaker: {failure_threshold: 0, timeout: 0s},\n"
                             "     concurrency: {max_concurrency: 4, queue_size: 0}}\n");
    assert_int_equal(config_problems(config)->n, 0);
    const struct provider_config *values = config_values(config, &provider_config_part);
    const struct provider_target_config *targets = values->targets.items;
    assert_false(targets[0].has_breaker);
    assert_false(targets[0].has_concurrency);
    assert_true(targets[1].has_breaker);
    assert_int_equal(targets[1].breaker.failure_threshold, 5);
    assert_int_equal(targets[1].breaker.success_threshold, 1);
    assert_int_equal(targets[1].breaker.max_probes, 1);
    assert_int_equal(targets[1].breaker.open_ms, 30000);
    assert_int_equal(targets[1].breaker.failure_rate, 0);
    assert_int_equal(targets[1].breaker.minimum_calls, 20);
    assert_int_equal(targets[1].breaker.window_ms, 10000);
    assert_true(targets[1].has_concurrency);
    assert_int_equal(targets[1].concurrency.max_concurrency, 4);
    assert_int_equal(targets[1].concurrency.queue_size, 1000);
    config_free(&config);
    assert_problem("targets:\n  - {virtual_key: mock, base_url: http://a, concurrency: {queue_size: 1}}\n",
                   "'max_concurrency' is missing");
}

/* Percent, and not a share of one. */
static void
a_breaker_may_ask_for_a_failure_rate(void **state)
{
    (void)state;
    config_t *config = parse("targets:\n"
                             "  - {virtual_key: mock, base_url: http://a,\n"
                             "     circuit_breaker: {failure_rate: 60, minimum_calls: 5, window: 30s}}\n");
    assert_int_equal(config_problems(config)->n, 0);
    const struct provider_config *values = config_values(config, &provider_config_part);
    const struct provider_target_config *targets = values->targets.items;
    assert_int_equal(targets[0].breaker.failure_rate, 60);
    assert_int_equal(targets[0].breaker.minimum_calls, 5);
    assert_int_equal(targets[0].breaker.window_ms, 30000);
    config_free(&config);
    assert_problem("targets:\n"
                   "  - {virtual_key: mock, base_url: http://a, circuit_breaker: {failure_rate: 101}}\n",
                   "100");
    assert_problem("targets:\n"
                   "  - {virtual_key: mock, base_url: http://a, circuit_breaker: {failure_rate: 0.5}}\n",
                   "must be a whole number");
}

/* A key with a line end would put a header of its own into requests. */
static void
a_key_with_a_line_end_is_refused(void **state)
{
    (void)state;
    (void)setenv("OPENAI_API_KEY", "sk-1\r\nX-Evil: 1", 1);
    assert_problem("targets:\n  - virtual_key: openai\n", "no header can carry");
    char *problems = problems_of("targets:\n  - virtual_key: openai\n");
    assert_null(strstr(problems, "sk-1"));
    free(problems);
}

static const char *
no_variable(void *self, const char *name)
{
    (void)self;
    return strcmp(name, "MODEL") == 0 ? "o3" : NULL;
}

/* A router has none of the providers' secrets: what it does not use need not be there, what it uses is. */
static void
a_router_needs_no_secrets(void **state)
{
    (void)state;
    const char *text = "targets:\n"
                       "  - provider: openai\n"
                       "    api_key: ${OPENAI_KEY_OF_ANOTHER_HOST}\n"
                       "    base_url: ${ITS_URL}\n"
                       "    headers: {X-Team: \"${TEAM}\"}\n"
                       "    models: [\"${MODEL}\", gpt]\n"
                       "    redeliver: unsent\n"
                       "  - virtual_key: groq-like\n"
                       "    provider: openai\n"
                       "    redeliver: never\n"
                       "  - provider: openai-compatible\n"
                       "upstream: {ca_file: /not/on/this/host.pem, proxy: \"${PROXY}\"}\n";
    struct config_lookup lookup = {.variable = no_variable};
    static const struct config_part *const others[] = {NULL};
    struct config_options router = {.lookup = &lookup, .resolve = others, .n_resolve = 0};
    config_t *config = config_parse(dyn_slice_str(text), "config.yaml", parts, 1, &router);
    assert_true(config_ok(config));
    provider_targets_t *targets = provider_targets_new(&lookup);
    struct dyn_err err = {.text = ""};
    assert_int_equal(
        provider_targets_add_routing(targets, config_values(config, &provider_config_part), &err), 0);
    config_free(&config);
    assert_int_equal(provider_targets_count(targets), 3);
    const struct provider_target *first = provider_targets_at(targets, 0);
    assert_string_equal(first->name.data, "openai");
    assert_string_equal(first->row->id, "openai");
    assert_int_equal(first->n_models, 2);
    assert_string_equal(first->models[0].data, "o3");
    assert_int_equal(first->redeliver, PROVIDER_REDELIVER_UNSENT);
    assert_null(first->key.data);
    assert_null(first->root.data);
    const struct provider_target *second = provider_targets_at(targets, 1);
    assert_string_equal(second->name.data, "groq-like");
    assert_int_equal(second->redeliver, PROVIDER_REDELIVER_NEVER);
    assert_int_equal(provider_targets_at(targets, 2)->redeliver, PROVIDER_REDELIVER_ALWAYS);
    provider_targets_free(&targets);
}

/* What can be judged without secrets still is, and a provider's process asks for all of them. */
static void
a_router_still_checks_the_file(void **state)
{
    (void)state;
    struct config_lookup lookup = {.variable = no_variable};
    static const struct config_part *const others[] = {NULL};
    struct config_options router = {.lookup = &lookup, .resolve = others, .n_resolve = 0};
    struct config_options provider = {.lookup = &lookup};
    static const char *const wrong[] = {
        "targets: [{provider: opnai}]\n",
        "targets: [{provider: mock, base_url: \"ftp://x\"}]\n",
        "targets: [{provider: mock, redeliver: sometimes}]\n",
        "targets: [{provider: mock, models: [\"${UNSET}\"]}]\n",
        "upstream: {proxy: \"proxy:3128\"}\n",
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(wrong); i++) {
        config_t *config = config_parse(dyn_slice_str(wrong[i]), "config.yaml", parts, 1, &router);
        assert_false(config_ok(config));
        config_free(&config);
    }
    const char *secret = "targets: [{provider: openai, api_key: \"${UNSET}\"}]\n";
    config_t *there = config_parse(dyn_slice_str(secret), "config.yaml", parts, 1, &router);
    config_t *here = config_parse(dyn_slice_str(secret), "config.yaml", parts, 1, &provider);
    assert_true(config_ok(there));
    assert_false(config_ok(here));
    config_free(&there);
    config_free(&here);
}

static provider_targets_t *
three_mocks(void)
{
    provider_targets_t *targets = provider_targets_new(NULL);
    static const char *const names[] = {"alpha", "beta", "gamma"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(names); i++) {
        assert_int_equal(provider_targets_add(targets, NULL, names[i], "mock", "http://127.0.0.1:9/v1", NULL),
                         0);
    }
    return targets;
}

static void
a_process_serves_the_targets_it_is_told(void **state)
{
    (void)state;
    struct dyn_err err = {.text = ""};
    provider_targets_t *targets = three_mocks();
    assert_int_equal(provider_targets_select(targets, DYN_SLICE("gamma , alpha"), &err), 0);
    assert_int_equal(provider_targets_count(targets), 2);
    assert_string_equal(provider_targets_at(targets, 0)->name.data, "alpha");
    assert_string_equal(provider_targets_at(targets, 1)->name.data, "gamma");
    provider_targets_free(&targets);
}

static void
a_target_that_nobody_knows_is_named(void **state)
{
    (void)state;
    struct dyn_err err = {.text = ""};
    provider_targets_t *targets = three_mocks();
    assert_int_equal(provider_targets_select(targets, DYN_SLICE("alpha,gama"), &err), -1);
    assert_string_equal(err.text,
                        "there is no target 'gama', did you mean 'gamma'?; known are: alpha, beta, gamma");
    assert_int_equal(provider_targets_select(targets, DYN_SLICE(""), &err), -1);
    assert_int_equal(provider_targets_select(targets, DYN_SLICE("alpha,"), &err), -1);
    assert_int_equal(provider_targets_count(targets), 3);
    provider_targets_free(&targets);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_full_target_is_resolved, setup),
        cmocka_unit_test_setup(names_of_parameters_are_the_clients_away_from_home, setup),
        cmocka_unit_test_setup(key_and_root_come_from_the_environment, setup),
        cmocka_unit_test_setup(other_variables_make_targets_too, setup),
        cmocka_unit_test_setup(without_keys_the_environment_gives_no_target, setup),
        cmocka_unit_test_setup(problems_say_what_to_change, setup),
        cmocka_unit_test_setup(a_key_with_a_line_end_is_refused, setup),
        cmocka_unit_test_setup(in_ferros_notation_a_target_without_a_key_is_left_out, setup),
        cmocka_unit_test_setup(a_provider_that_is_to_come_is_no_slip_of_the_pen, setup),
        cmocka_unit_test_setup(several_keys_are_checked_one_by_one, setup),
        cmocka_unit_test_setup(breaker_and_limit_have_their_defaults, setup),
        cmocka_unit_test_setup(a_breaker_may_ask_for_a_failure_rate, setup),
        cmocka_unit_test_setup(a_router_needs_no_secrets, setup),
        cmocka_unit_test_setup(a_router_still_checks_the_file, setup),
        cmocka_unit_test_setup(a_process_serves_the_targets_it_is_told, setup),
        cmocka_unit_test_setup(a_target_that_nobody_knows_is_named, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
