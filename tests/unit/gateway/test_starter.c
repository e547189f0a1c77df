/* What `dynabus init` writes is a configuration that runs where it was written. */
#include "gateway/starter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "actors/providers/provider_config.h"
#include "gateway/parts.h"

static const char *
two_providers(void *self, const char *name)
{
    (void)self;
    if (strcmp(name, "GROQ_API_KEY") == 0) {
        return "gsk-secret-value";
    }
    if (strcmp(name, "OLLAMA_HOST") == 0) {
        return "127.0.0.1:11434";
    }
    return strcmp(name, "FERRO_OLLAMA_MODELS") == 0 ? "llama3, true" : NULL;
}

static const char *
nothing(void *self, const char *name)
{
    (void)self;
    (void)name;
    return NULL;
}

static void
providers_with_variables_become_targets(void **state)
{
    (void)state;
    struct config_lookup lookup = {.variable = two_providers};
    struct config_options options = {.lookup = &lookup};
    struct dyn_buf text = DYN_BUF_INIT;
    size_t n;
    (void)setenv("GROQ_API_KEY", "x", 1); /* the checks look into the environment itself */
    starter_write(&lookup, &text, &n);
    assert_int_equal(n, 2);
    assert_null(strstr(dyn_buf_cstr(&text), "gsk-secret-value"));
    config_t *config =
        config_parse(dyn_buf_slice(&text), "starter.yaml", gateway_parts, gateway_n_parts, &options);
    assert_true(config_ok(config));
    const struct provider_config *values = config_values(config, &provider_config_part);
    const struct provider_target_config *targets = values->targets.items;
    assert_int_equal(values->targets.n, 2);
    assert_true(dyn_slice_is(targets[0].provider, "groq"));
    assert_true(dyn_slice_is(targets[1].provider, "ollama"));
    assert_true(dyn_slice_is(targets[1].models.items[1], "true"));
    config_free(&config);
    dyn_buf_fini(&text);
    (void)unsetenv("GROQ_API_KEY");
}

static void
without_any_openai_waits_for_its_key(void **state)
{
    (void)state;
    struct config_lookup lookup = {.variable = nothing};
    struct dyn_buf text = DYN_BUF_INIT;
    size_t n = 1;
    starter_write(&lookup, &text, &n);
    assert_int_equal(n, 0);
    assert_non_null(strstr(dyn_buf_cstr(&text), "- provider: openai"));
    dyn_buf_fini(&text);
}

static const char *
azure_alone(void *self, const char *name)
{
    (void)self;
    return strcmp(name, "AZURE_OPENAI_API_KEY") == 0 ? "secret" : NULL;
}

static void
a_key_that_is_not_enough_is_told(void **state)
{
    (void)state;
    struct config_lookup lookup = {.variable = azure_alone};
    struct dyn_buf text = DYN_BUF_INIT;
    size_t n = 1;
    starter_write(&lookup, &text, &n);
    assert_int_equal(n, 0);
    assert_non_null(strstr(dyn_buf_cstr(&text), "# AZURE_OPENAI_API_KEY is set; with "));
    assert_non_null(strstr(dyn_buf_cstr(&text), "#- provider: azure-openai\n"));
    dyn_buf_fini(&text);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(providers_with_variables_become_targets),
        cmocka_unit_test(without_any_openai_waits_for_its_key),
        cmocka_unit_test(a_key_that_is_not_enough_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
