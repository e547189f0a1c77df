/* Keys of the router. Those that Ferro knows and this version does not serve stand here as unsupported,
 * so that a configuration that relies on them is refused by name instead of half obeyed. */
#include "router/router_config.h"

/* Official SDKs give up after ten minutes; waiting longer serves nobody. */
#define REQUEST_TIMEOUT_DEFAULT "10m"
#define ATTEMPTS_DEFAULT        "5"
#define ATTEMPTS_MAX            16
#define TIMEOUT_MAX_MS          (24.0 * 3600 * 1000)

static const char *const strategy_modes[] = {"single", NULL};
static const char *const strategy_modes_to_come[] = {
    "fallback",       "loadbalance",   "conditional", "least-latency",
    "cost-optimized", "content-based", "ab-test",     NULL,
};

#define UNSUPPORTED(key, text)                                                                               \
    {                                                                                                        \
        .name = (key), .type = CONFIG_UNSUPPORTED, .help = (text)                                            \
    }

static const struct config_key strategy_keys[] = {
    {.name = "mode",
     .type = CONFIG_ENUM,
     .offset = offsetof(struct route_strategy_config, mode),
     .default_text = "single",
     .names = strategy_modes,
     .unsupported_names = strategy_modes_to_come,
     .help = "How targets are chosen. `single`: the first target that serves the model."},
    UNSUPPORTED("conditions", "Rules of the `conditional` strategy."),
    UNSUPPORTED("content_conditions", "Rules of the `content-based` strategy."),
    UNSUPPORTED("ab_variants", "Variants of the `ab-test` strategy."),
    UNSUPPORTED("unpriced_strategy", "What `cost-optimized` does with models without a price."),
    {.name = NULL},
};

static const struct config_section strategy_section = {
    .keys = strategy_keys,
    .size = sizeof(struct route_strategy_config),
    .mark_offset = offsetof(struct route_strategy_config, mark),
};

static const struct config_key router_keys[] = {
    {.name = "strategy",
     .type = CONFIG_SECTION,
     .offset = offsetof(struct router_config, strategy),
     .section = &strategy_section,
     .help = "How a request finds its target."},
    {.name = "request_timeout",
     .type = CONFIG_DURATION,
     .offset = offsetof(struct router_config, request_timeout_ms),
     .default_text = REQUEST_TIMEOUT_DEFAULT,
     .min = 1,
     .max = TIMEOUT_MAX_MS,
     .help = "The whole time of a request, all attempts together. It bounds a plain answer to its end and a "
             "stream to its first content."},
    {.name = "max_attempts",
     .type = CONFIG_INT,
     .offset = offsetof(struct router_config, max_attempts),
     .default_text = ATTEMPTS_DEFAULT,
     .min = 1,
     .max = ATTEMPTS_MAX,
     .help = "How many attempts one request may use up, at most one per candidate target."},
    UNSUPPORTED("plugins", "Plugins and their stages."),
    UNSUPPORTED("aliases", "Model aliases."),
    UNSUPPORTED("mcp_servers", "MCP servers whose tools are offered to models."),
    UNSUPPORTED("observability", "Tracing and exporters."),
    UNSUPPORTED("compatibility", "What to do with parameters that a provider does not support."),
    UNSUPPORTED("batch_target", "The target of /v1/files and /v1/batches."),
    UNSUPPORTED("responses_target", "The target of /v1/responses."),
    {.name = NULL},
};

const struct config_part router_config_part = {
    .folder = "router",
    .section = {.keys = router_keys, .size = sizeof(struct router_config), .mark_offset = SIZE_MAX},
};
