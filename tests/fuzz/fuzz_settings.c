/* Any bytes as a configuration of the gateway: the first one chooses YAML or JSON and whether what is not
 * served is ignored. One that is accepted can be started: its targets are made, and its plan. */
#include "actors/providers/provider_config.h"
#include "gateway/parts.h"
#include "router/plan.h"
#include "router/router_config.h"

#include <stdlib.h>

static const char *
variable(void *self, const char *name)
{
    (void)self;
    return strstr(name, "KEY") != NULL || strstr(name, "TOKEN") != NULL ? "value" : NULL;
}
static const struct config_lookup lookup = {.variable = variable};

/* The checks look for keys in the environment itself. */
static void
set_keys(void)
{
    const struct provider_row *row;
    for (size_t i = 0; (row = provider_row_at(i)) != NULL; i++) {
        if (row->key_env != NULL) {
            (void)setenv(row->key_env, "value", 1);
        }
    }
}

static void
check(bool holds)
{
    if (!holds) {
        abort();
    }
}

/* What an accepted configuration promises. */
static void
start(const config_t *config)
{
    struct route_target routes[ROUTE_TARGETS_MAX];
    struct dyn_err err;
    struct router_config *router = config_values(config, &router_config_part);
    provider_targets_t *targets = provider_targets_new(NULL);
    router_config_finish(router);
    check(provider_targets_add_config(targets, config_values(config, &provider_config_part), &err) == 0);
    size_t n = provider_targets_count(targets);
    check(n <= ROUTE_TARGETS_MAX);
    for (size_t i = 0; i < n; i++) {
        const struct provider_target *target = provider_targets_at(targets, i);
        routes[i] = (struct route_target){.name = target->name, .provider = dyn_slice_str(target->row->id)};
        check(target->name.len > 0 && router_config_target(router, target->name)->retry.attempts >= 1);
    }
    struct route_plan *plan = route_plan_new(router, routes, n, NULL, &err);
    check(plan != NULL);
    route_plan_unref(&plan);
    provider_targets_free(&targets);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool is_set;
    if (!is_set) {
        is_set = true;
        set_keys();
    }
    if (size == 0 || memmem(data, size, "file", 4) != NULL) { /* of this machine */
        return 0;
    }
    struct dyn_slice text = {(const char *)data + 1, size - 1};
    struct config_options options = {.lookup = &lookup, .ignore_unsupported = (data[0] & 2) != 0};
    config_t *config = config_parse(text, (data[0] & 1) != 0 ? "f.json" : "f.yaml", gateway_parts,
                                    gateway_n_parts, &options);
    struct dyn_buf out = DYN_BUF_INIT;
    config_print_problems(config, &out);
    dyn_buf_fini(&out);
    if (config_ok(config)) {
        start(config);
    }
    config_free(&config);
    return 0;
}
