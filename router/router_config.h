/* The router's share of the configuration file: how a request finds its target, what is done when that
 * fails, and what each target is to the router. What a provider actor needs to know of the same targets
 * is provider_config.h. All texts live as long as the configuration. */
#pragma once

#include "core/config.h"

/* Different headers that the conditions of one configuration can look at. A request has room for
 * ENV_HEADERS_MAX: x-dynabus-target is one of the others, and plugins ask for some. */
enum { ROUTE_HEADERS_MAX = 24 };

/* In the order of their names in the table. */
enum route_mode {
    ROUTE_MODE_SINGLE,
    ROUTE_MODE_FALLBACK,
    ROUTE_MODE_LOADBALANCE,
    ROUTE_MODE_CONDITIONAL,
    ROUTE_MODE_LEAST_LATENCY,
    ROUTE_MODE_COST_OPTIMIZED,
    ROUTE_MODE_CONTENT_BASED,
    ROUTE_MODE_AB_TEST,
    ROUTE_MODE_LEAST_BUSY,
    ROUTE_MODE_STICKY,
};

/* `key` is model, model_prefix, key, user, estimated_tokens, has_images, has_tools, stream, or header.NAME or
 * metadata.NAME (route_condition_kind_of tells which). */
struct route_condition_config {
    struct config_mark mark;
    struct dyn_slice key;
    struct dyn_slice value;
    struct dyn_slice target_key; /* the name of a target */
};

enum route_condition_kind {
    ROUTE_CONDITION_MODEL,
    ROUTE_CONDITION_MODEL_PREFIX,
    ROUTE_CONDITION_KEY,
    ROUTE_CONDITION_USER,
    ROUTE_CONDITION_ESTIMATED_TOKENS, /* value: a comparison, ">8000", "<=200" */
    ROUTE_CONDITION_HAS_IMAGES,       /* value: true or false; so do the next two */
    ROUTE_CONDITION_HAS_TOOLS,
    ROUTE_CONDITION_STREAM,
    ROUTE_CONDITION_HEADER,   /* the name follows the point */
    ROUTE_CONDITION_METADATA, /* so does this one */
    ROUTE_CONDITION_UNKNOWN,
};
/* `name` (may be NULL) gets what follows the point, absent for the others. */
enum route_condition_kind route_condition_kind_of(struct dyn_slice key, struct dyn_slice *name);

/* The order is that of their spellings: "<" and "<=" of an amount, and so on. */
enum route_comparison { ROUTE_LESS, ROUTE_LESS_EQUAL, ROUTE_GREATER, ROUTE_GREATER_EQUAL, ROUTE_EQUAL };
/* ">8000", "<= 200", "=10", "10" (equal). -1: it is none. */
int route_comparison_read(struct dyn_slice text, enum route_comparison *comparison, uint64_t *amount);

enum route_content_type { ROUTE_PROMPT_CONTAINS, ROUTE_PROMPT_NOT_CONTAINS, ROUTE_PROMPT_REGEX };

struct route_content_condition_config {
    struct config_mark mark;
    int type; /* enum route_content_type */
    struct dyn_slice value;
    struct dyn_slice target_key;
};

struct route_variant_config {
    struct config_mark mark;
    struct dyn_slice target_key;
    double weight;
    struct dyn_slice label; /* absent: the target's name */
};

enum route_unpriced { ROUTE_UNPRICED_FALLBACK, ROUTE_UNPRICED_SKIP, ROUTE_UNPRICED_ALLOW };
enum route_sticky_by { ROUTE_STICKY_KEY, ROUTE_STICKY_USER, ROUTE_STICKY_HEADER };
enum route_latency { ROUTE_LATENCY_AUTO, ROUTE_LATENCY_TTFT, ROUTE_LATENCY_TOTAL };
enum route_overrides { ROUTE_OVERRIDES_NONE, ROUTE_OVERRIDES_MASTER, ROUTE_OVERRIDES_ALL };

struct route_sticky_config {
    struct config_mark mark;
    int by;                  /* enum route_sticky_by */
    struct dyn_slice header; /* of ROUTE_STICKY_HEADER */
};

struct route_strategy_config {
    struct config_mark mark;
    int mode; /* enum route_mode */
    bool is_mode_written;
    struct config_list conditions;         /* of struct route_condition_config */
    struct config_list content_conditions; /* of struct route_content_condition_config */
    struct config_list ab_variants;        /* of struct route_variant_config */
    int unpriced;                          /* enum route_unpriced */
    struct route_sticky_config sticky;
    int latency; /* enum route_latency */
};

/* Repeats at the same target, of all requests together. */
struct route_retry_budget_config {
    int64_t percent; /* of the requests of the last 10 s */
    int64_t min_per_second;
};

struct route_hedge_config {
    struct config_mark mark;
    bool is_on;             /* the section is there */
    struct dyn_slice after; /* as written */
    uint64_t after_ms;      /* 0: the target's own 95th percentile of time to the first byte */
    int64_t max_percent;    /* of requests */
};

struct route_retry_config {
    struct config_mark mark;
    int64_t attempts;                   /* at this target, at least 1 */
    struct config_ints on_status_codes; /* none: 408, 429 and 500 up */
    int64_t initial_backoff_ms;
    int64_t max_backoff_ms;
};

struct route_target_config {
    struct config_mark mark;
    struct dyn_slice virtual_key;
    struct dyn_slice name;
    struct dyn_slice provider;
    double weight;
    struct config_strings models;
    bool models_only; /* its `models` are all that it serves */
    struct route_retry_config retry;
    struct route_hedge_config hedge; /* is_on: instead of the router's */
};

struct router_config {
    struct route_strategy_config strategy;
    uint64_t request_timeout_ms;
    int64_t max_attempts;
    int overrides; /* enum route_overrides */
    struct config_map aliases;
    struct route_retry_budget_config retry_budget;
    struct route_hedge_config hedge;
    struct config_list targets; /* of struct route_target_config, in the order of the file */
};

extern const struct config_part router_config_part;

/* Targets that nobody listed are those of the environment, and fall back from one to the next unless a mode
 * was written. After the file was read, and for defaults. */
void router_config_finish(struct router_config *config);

/* What the target of that name is to the router; a target that the file does not list (of the environment,
 * or a worker's) has the defaults. Never NULL. */
const struct route_target_config *router_config_target(const struct router_config *config,
                                                       struct dyn_slice name);
struct dyn_slice route_target_config_name(const struct route_target_config *target);
