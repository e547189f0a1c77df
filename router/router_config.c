/* Keys of the router: the tables. Checks that no single key can express are router_config_check.c. Keys
 * that Ferro knows and this version does not serve stand here as unsupported, so that a configuration that
 * relies on them is refused by name instead of half obeyed. */
#include "router/router_config_check.h"

/* Official SDKs give up after ten minutes; waiting longer serves nobody. */
#define REQUEST_TIMEOUT_DEFAULT "10m"
#define ATTEMPTS_DEFAULT        "5"
#define ATTEMPTS_MAX            16
#define TIMEOUT_MAX_MS          (24.0 * 3600 * 1000)
#define BACKOFF_MAX_MS          (3600.0 * 1000)
#define RETRIES_MAX             100
#define WEIGHT_MAX              1e9 /* their sum is still a number */

#define UNSUPPORTED(key, text)                                                                               \
    {                                                                                                        \
        .name = (key), .type = CONFIG_UNSUPPORTED, .help = (text)                                            \
    }

/* ---- strategy ---- */

static const char *const mode_names[] = {
    "single",  "fallback",   "loadbalance", "conditional", "least-latency", "cost-optimized", "content-based",
    "ab-test", "least-busy", "sticky",      NULL,
};
static const char *const content_type_names[] = {"prompt_contains", "prompt_not_contains", "prompt_regex",
                                                 NULL};
static const char *const unpriced_names[] = {"fallback", "skip", "allow", NULL};
static const char *const sticky_names[] = {"key", "user", "header", NULL};
static const char *const latency_names[] = {"auto", "ttft", "total", NULL};
static const char *const overrides_names[] = {"none", "master", "all", NULL};

static const struct config_key condition_keys[] = {
    {.name = "key",
     .type = CONFIG_STRING,
     .offset = offsetof(struct route_condition_config, key),
     .required = true,
     .help = "What is looked at: `model`, `model_prefix`, `key` (the id of the caller's key), `user`, "
             "`estimated_tokens`, `has_images`, `has_tools`, `stream`, `header.NAME` or `metadata.NAME`."},
    {.name = "value",
     .type = CONFIG_STRING,
     .offset = offsetof(struct route_condition_config, value),
     .required = true,
     .help =
         "What it must be: the same text; for `estimated_tokens` a comparison such as `>8000` or `<=200`; "
         "for `has_images`, `has_tools` and `stream` `true` or `false`."},
    {.name = "target_key",
     .type = CONFIG_STRING,
     .offset = offsetof(struct route_condition_config, target_key),
     .required = true,
     .help = "The target that serves the request then."},
    {.name = NULL},
};
static const struct config_section condition_section = {
    .keys = condition_keys,
    .size = sizeof(struct route_condition_config),
    .mark_offset = offsetof(struct route_condition_config, mark),
};

static const struct config_key content_condition_keys[] = {
    {.name = "type",
     .type = CONFIG_ENUM,
     .offset = offsetof(struct route_content_condition_config, type),
     .names = content_type_names,
     .required = true,
     .help = "How the texts of the user's messages are looked at: for a text in them or not, whatever its "
             "case, or for a regular expression."},
    {.name = "value",
     .type = CONFIG_STRING,
     .offset = offsetof(struct route_content_condition_config, value),
     .required = true,
     .help = "The text or the expression."},
    {.name = "target_key",
     .type = CONFIG_STRING,
     .offset = offsetof(struct route_content_condition_config, target_key),
     .required = true,
     .help = "The target that serves the request then."},
    {.name = NULL},
};
static const struct config_section content_condition_section = {
    .keys = content_condition_keys,
    .size = sizeof(struct route_content_condition_config),
    .mark_offset = offsetof(struct route_content_condition_config, mark),
};

static const struct config_key variant_keys[] = {
    {.name = "target_key",
     .type = CONFIG_STRING,
     .offset = offsetof(struct route_variant_config, target_key),
     .required = true,
     .help = "The target of the variant."},
    {.name = "weight",
     .type = CONFIG_NUMBER,
     .offset = offsetof(struct route_variant_config, weight),
     .min = 0,
     .max = WEIGHT_MAX,
     .help = "Its share of the requests, of the sum of all weights."},
    {.name = "label",
     .type = CONFIG_STRING,
     .offset = offsetof(struct route_variant_config, label),
     .help = "What events call it. Default: the target."},
    {.name = NULL},
};
static const struct config_section variant_section = {
    .keys = variant_keys,
    .size = sizeof(struct route_variant_config),
    .mark_offset = offsetof(struct route_variant_config, mark),
};

static const struct config_key sticky_keys[] = {
    {.name = "by",
     .type = CONFIG_ENUM,
     .offset = offsetof(struct route_sticky_config, by),
     .default_text = "key",
     .names = sticky_names,
     .help =
         "Whose requests stay together: those of a key, of a `user` (as the body names it), or those with "
         "the same value of a header."},
    {.name = "header",
     .type = CONFIG_STRING,
     .offset = offsetof(struct route_sticky_config, header),
     .help = "The name of the header."},
    {.name = NULL},
};
static const struct config_section sticky_section = {
    .keys = sticky_keys,
    .size = sizeof(struct route_sticky_config),
    .mark_offset = offsetof(struct route_sticky_config, mark),
};

static const struct config_key strategy_keys[] = {
    {.name = "mode",
     .type = CONFIG_ENUM,
     .offset = offsetof(struct route_strategy_config, mode),
     .default_text = "single",
     .set_offset = offsetof(struct route_strategy_config, is_mode_written),
     .names = mode_names,
     .help =
         "How targets are chosen among those that serve the model. `single`: the first one, and no other. "
         "`fallback`: in order. `loadbalance`: by weight. `conditional`: by rules about the request. "
         "`least-latency`: the fastest of late. `cost-optimized`: the cheapest. `content-based`: by rules "
         "about what the user writes. `ab-test`: by lot. `least-busy`: the less busy of two. `sticky`: "
         "the same caller to the same target."},
    {.name = "conditions",
     .type = CONFIG_SECTION_LIST,
     .offset = offsetof(struct route_strategy_config, conditions),
     .section = &condition_section,
     .help = "Rules of `conditional`; the first that holds counts. None: the first target."},
    {.name = "content_conditions",
     .type = CONFIG_SECTION_LIST,
     .offset = offsetof(struct route_strategy_config, content_conditions),
     .section = &content_condition_section,
     .help = "Rules of `content-based`; the first that holds counts. None: the order of the targets."},
    {.name = "ab_variants",
     .type = CONFIG_SECTION_LIST,
     .offset = offsetof(struct route_strategy_config, ab_variants),
     .section = &variant_section,
     .help = "Variants of `ab-test`."},
    {.name = "unpriced_strategy",
     .type = CONFIG_ENUM,
     .offset = offsetof(struct route_strategy_config, unpriced),
     .default_text = "fallback",
     .names = unpriced_names,
     .help = "What `cost-optimized` does with targets whose price is not known: use them after the others, "
             "`skip` them, or `allow` them as if they cost nothing."},
    {.name = "sticky",
     .type = CONFIG_SECTION,
     .offset = offsetof(struct route_strategy_config, sticky),
     .section = &sticky_section,
     .help = "Settings of `sticky`."},
    {.name = "latency",
     .type = CONFIG_ENUM,
     .offset = offsetof(struct route_strategy_config, latency),
     .default_text = "auto",
     .names = latency_names,
     .help = "What `least-latency` compares: the time to the first token, or to the end. `auto`: `ttft` for "
             "streams, `total` else."},
    {.name = NULL},
};
static const struct config_section strategy_section = {
    .keys = strategy_keys,
    .size = sizeof(struct route_strategy_config),
    .mark_offset = offsetof(struct route_strategy_config, mark),
};

/* ---- attempts ---- */

static const struct config_key retry_budget_keys[] = {
    {.name = "percent",
     .type = CONFIG_INT,
     .offset = offsetof(struct route_retry_budget_config, percent),
     .default_text = "20",
     .min = 0,
     .max = 1000,
     .help = "Repeats at the same target, in percent of the requests of the last 10 s."},
    {.name = "min_per_second",
     .type = CONFIG_INT,
     .offset = offsetof(struct route_retry_budget_config, min_per_second),
     .default_text = "3",
     .min = 0,
     .max = 10000,
     .help = "So many are always allowed."},
    {.name = NULL},
};
static const struct config_section retry_budget_section = {
    .keys = retry_budget_keys, .size = sizeof(struct route_retry_budget_config), .mark_offset = SIZE_MAX};

static const struct config_key hedge_keys[] = {
    {.name = "after",
     .type = CONFIG_STRING,
     .offset = offsetof(struct route_hedge_config, after),
     .required = true,
     .help =
         "How long the first target may be silent: a duration, or `p95` for what 95 of 100 requests to it "
         "take to their first byte."},
    {.name = "max_percent",
     .type = CONFIG_INT,
     .offset = offsetof(struct route_hedge_config, max_percent),
     .default_text = "5",
     .min = 0,
     .max = 100,
     .help = "At most so many of 100 requests get a second attempt."},
    {.name = NULL},
};
static const struct config_section hedge_section = {
    .keys = hedge_keys,
    .size = sizeof(struct route_hedge_config),
    .mark_offset = offsetof(struct route_hedge_config, mark),
};

/* ---- targets: what the router has to know of them ---- */

static const struct config_key retry_keys[] = {
    {.name = "attempts",
     .type = CONFIG_INT,
     .offset = offsetof(struct route_retry_config, attempts),
     .default_text = "1",
     .min = 0,
     .max = RETRIES_MAX,
     .help = "How often one request is tried at this target, the first time included."},
    {.name = "on_status_codes",
     .type = CONFIG_INT_LIST,
     .offset = offsetof(struct route_retry_config, on_status_codes),
     .min = 100,
     .max = 599,
     .help = "The statuses that are worth another try, instead of 408, 429 and those from 500."},
    {.name = "initial_backoff_ms",
     .type = CONFIG_INT,
     .offset = offsetof(struct route_retry_config, initial_backoff_ms),
     .default_text = "100",
     .min = 0,
     .max = BACKOFF_MAX_MS,
     .help =
         "The first repeat waits a random time up to this, each further one up to twice as long. `0`: the "
         "default."},
    {.name = "max_backoff_ms",
     .type = CONFIG_INT,
     .offset = offsetof(struct route_retry_config, max_backoff_ms),
     .default_text = "30000",
     .min = 1,
     .max = BACKOFF_MAX_MS,
     .help = "No wait is longer."},
    {.name = NULL},
};
static const struct config_section retry_section = {
    .keys = retry_keys,
    .size = sizeof(struct route_retry_config),
    .mark_offset = offsetof(struct route_retry_config, mark),
};

static const struct config_key target_keys[] = {
    {.name = "virtual_key",
     .type = CONFIG_STRING,
     .offset = offsetof(struct route_target_config, virtual_key),
     .every_role = true,
     .is_repeated = true},
    {.name = "name",
     .type = CONFIG_STRING,
     .offset = offsetof(struct route_target_config, name),
     .every_role = true,
     .is_repeated = true},
    {.name = "provider",
     .type = CONFIG_STRING,
     .offset = offsetof(struct route_target_config, provider),
     .every_role = true,
     .is_repeated = true},
    {.name = "models",
     .type = CONFIG_STRING_LIST,
     .offset = offsetof(struct route_target_config, models),
     .every_role = true,
     .is_repeated = true},
    {.name = "weight",
     .type = CONFIG_NUMBER,
     .offset = offsetof(struct route_target_config, weight),
     .min = 0,
     .max = WEIGHT_MAX,
     .help = "Its share under `loadbalance`, of the sum of the weights of those that serve the model. `0`: "
             "only when the others fail."},
    {.name = "models_only",
     .type = CONFIG_BOOL,
     .offset = offsetof(struct route_target_config, models_only),
     .default_text = "false",
     .help = "Whether `models` is all that the target serves. Else those that the catalogue knows of its "
             "provider are served as well."},
    {.name = "retry",
     .type = CONFIG_SECTION,
     .offset = offsetof(struct route_target_config, retry),
     .section = &retry_section,
     .help = "Repeats at the same target."},
    {.name = "hedge",
     .type = CONFIG_SECTION,
     .offset = offsetof(struct route_target_config, hedge),
     .section = &hedge_section,
     .set_offset = offsetof(struct route_target_config, hedge) + offsetof(struct route_hedge_config, is_on),
     .help = "The same for requests whose first attempt goes to this target, instead of `hedge` at the top."},
    {.name = NULL},
};
static const struct config_section target_section = {
    .keys = target_keys,
    .size = sizeof(struct route_target_config),
    .mark_offset = offsetof(struct route_target_config, mark),
};

/* ---- the top level ---- */

static const struct config_key router_keys[] = {
    {.name = "strategy",
     .type = CONFIG_SECTION,
     .offset = offsetof(struct router_config, strategy),
     .section = &strategy_section,
     .help = "How a request finds its target."},
    {.name = "aliases",
     .type = CONFIG_STRING_MAP,
     .offset = offsetof(struct router_config, aliases),
     .help = "Names that clients may use for a model: `fast: gpt-4o-mini`. Looked up once, before all else."},
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
    {.name = "retry_budget",
     .type = CONFIG_SECTION,
     .offset = offsetof(struct router_config, retry_budget),
     .section = &retry_budget_section,
     .help = "What all repeats at the same target together may be, so that a fault is not made worse."},
    {.name = "hedge",
     .type = CONFIG_SECTION,
     .offset = offsetof(struct router_config, hedge),
     .section = &hedge_section,
     .set_offset = offsetof(struct router_config, hedge) + offsetof(struct route_hedge_config, is_on),
     .help = "A second attempt at the next target when the first one is silent for long; the first to answer "
             "wins. Off unless written."},
    {.name = "overrides",
     .type = CONFIG_ENUM,
     .offset = offsetof(struct router_config, overrides),
     .default_text = "master",
     .names = overrides_names,
     .help = "Whose requests may name their targets in the header `x-dynabus-target` (`A,B`: only those, in "
             "that order): nobody's, those with the master key, or all."},
    {.name = "targets",
     .type = CONFIG_SECTION_LIST,
     .offset = offsetof(struct router_config, targets),
     .section = &target_section,
     .is_repeated = true},
    UNSUPPORTED("mcp_servers", "MCP servers whose tools are offered to models."),
    UNSUPPORTED("observability", "Tracing and exporters."),
    UNSUPPORTED("batch_target", "The target of /v1/files and /v1/batches."),
    UNSUPPORTED("responses_target", "The target of /v1/responses."),
    {.name = NULL},
};

/* ---- what a target is to the router ---- */

void
router_config_finish(struct router_config *config)
{
    if (config->targets.n == 0 && !config->strategy.is_mode_written) {
        config->strategy.mode = ROUTE_MODE_FALLBACK;
    }
}

struct dyn_slice
route_target_config_name(const struct route_target_config *target)
{
    if (target->name.data != NULL) {
        return target->name;
    }
    return target->virtual_key.len > 0 ? target->virtual_key : target->provider;
}

const struct route_target_config *
router_config_target(const struct router_config *config, struct dyn_slice name)
{
    static const struct route_target_config unlisted = {
        .retry = {.attempts = 1, .initial_backoff_ms = 100, .max_backoff_ms = 30000}};
    const struct route_target_config *targets = config->targets.items;
    for (size_t i = 0; i < config->targets.n; i++) {
        if (dyn_slice_eq(route_target_config_name(&targets[i]), name)) {
            return &targets[i];
        }
    }
    return &unlisted;
}

const struct config_part router_config_part = {
    .folder = "router",
    .section = {.keys = router_keys, .size = sizeof(struct router_config), .mark_offset = SIZE_MAX},
    .check = router_config_check,
};
