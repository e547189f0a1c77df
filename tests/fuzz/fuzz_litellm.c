/* Any bytes as a configuration of LiteLLM: what comes out is one of ours, without a problem. */
#include "actors/providers/provider_rows.h"
#include "gateway/litellm.h"
#include "gateway/parts.h"

#include <stdio.h>
#include <stdlib.h>

static const char *
variable(void *self, const char *name)
{
    (void)self;
    (void)name;
    return "https://host.test/v1";
}

/* The checks look for keys in the environment itself. */
static void
set_variables(void)
{
    const struct provider_row *row;
    for (size_t i = 0; (row = provider_row_at(i)) != NULL; i++) {
        const char *const names[] = {row->key_env, row->base_url_env, row->root_env};
        for (size_t k = 0; k < DYN_ARRAY_LEN(names); k++) {
            if (names[k] != NULL) {
                (void)setenv(names[k], "https://host.test/v1", 1);
            }
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct config_lookup lookup = {.variable = variable};
    static bool is_set;
    if (!is_set) {
        is_set = true;
        set_variables();
    }
    struct config_options options = {.lookup = &lookup};
    struct litellm import;
    struct dyn_err err;
    struct dyn_buf out = DYN_BUF_INIT;
    litellm_init(&import);
    if (litellm_read(&import, dyn_slice((const char *)data, size), &err) == 0) {
        litellm_write(&import, "theirs.yaml", &out);
        config_t *config =
            config_parse(dyn_buf_slice(&out), "ours.yaml", gateway_parts, gateway_n_parts, &options);
        if (!config_ok(config) && out.len <= CONFIG_MAX_BYTES) {
            config_print_problems(config, &out);
            (void)fputs(dyn_buf_cstr(&out), stderr);
            abort();
        }
        config_free(&config);
    }
    dyn_buf_fini(&out);
    litellm_fini(&import);
    return 0;
}
