/* The providers' share of the configuration file, and the targets made of it: `targets` and `upstream`.
 * Credentials and base URLs that the file does not give come from the environment names of the row. */
#pragma once

#include "actors/providers/provider_target.h"
#include "core/config.h"

struct provider_timeouts_config {
    uint64_t connect_ms; /* 0: the row's; so are the others */
    uint64_t first_byte_ms;
    uint64_t idle_ms;
};

/* What was written as 0 is the default here. */
struct provider_breaker_config {
    int64_t failure_threshold;
    int64_t success_threshold;
    int64_t max_probes; /* `max_half_threshold` */
    uint64_t open_ms;   /* `timeout` */
    int64_t failure_rate; /* percent; 0: failures in a row alone open it */
    int64_t minimum_calls;
    uint64_t window_ms;
};

enum provider_scope { PROVIDER_SCOPE_PROCESS };

struct provider_concurrency_config {
    struct config_mark mark;
    int64_t max_concurrency;
    int64_t queue_size;
    uint64_t queue_timeout_ms; /* 0: as long as the request may take */
    int scope;                 /* enum provider_scope */
};

enum provider_rename_params { PROVIDER_RENAME_ROW, PROVIDER_RENAME_ALWAYS, PROVIDER_RENAME_NEVER };
enum provider_stream_usage { PROVIDER_USAGE_ROW, PROVIDER_USAGE_ASK, PROVIDER_USAGE_NEVER };

struct provider_target_config {
    struct config_mark mark;
    bool is_left_out;             /* no target is made of it; a warning has said why */
    struct dyn_slice virtual_key; /* Ferro's name for provider and target in one */
    struct dyn_slice name;
    struct dyn_slice provider;
    struct dyn_slice base_url;
    struct dyn_slice api_key;
    struct config_strings api_keys; /* in order; api_key is not written then */
    struct config_strings models;
    struct config_map upstream_model;
    struct config_map headers;
    struct provider_timeouts_config timeouts;
    int stream_usage; /* enum provider_stream_usage */
    int rename_params; /* enum provider_rename_params */
    int redeliver;    /* enum provider_redeliver */
    bool has_breaker; /* the section is there; without it a target has none */
    struct provider_breaker_config breaker;
    bool has_concurrency;
    struct provider_concurrency_config concurrency;
};

struct provider_upstream_config {
    struct dyn_slice ca_file;
    struct dyn_slice proxy;
    struct dyn_slice no_proxy;
};

/* What is done with a parameter that the provider's dialect or row says it does not take. */
enum provider_on_unsupported {
    PROVIDER_UNSUPPORTED_WARN,
    PROVIDER_UNSUPPORTED_DROP,
    PROVIDER_UNSUPPORTED_REJECT
};

struct provider_compatibility_config {
    int on_unsupported_param; /* enum provider_on_unsupported */
};

struct provider_config {
    struct config_list targets; /* of struct provider_target_config */
    struct provider_upstream_config upstream;
    struct provider_compatibility_config compatibility;
};

/* A process without the role `provider` has no credentials: it loads the file without resolving this part
 * (config_options.resolve). Names, providers and models are resolved all the same. */
extern const struct config_part provider_config_part;

/* Targets with the memory that they lie in. Any thread, one at a time; unchanged once made. */
typedef struct provider_targets provider_targets_t;

/* `lookup` finds environment variables; NULL: getenv. */
provider_targets_t *provider_targets_new(const struct config_lookup *lookup) __attribute__((returns_nonnull));
void provider_targets_free(provider_targets_t **targets_p);
/* Those of a configuration without problems, in its order. */
int provider_targets_add_config(provider_targets_t *targets, const struct provider_config *config,
                                struct dyn_err *err);
/* The same for a process that sends requests to targets but calls none itself: name, row, models and
 * redelivery are there, all else is absent, and nothing is looked up. */
int provider_targets_add_routing(provider_targets_t *targets, const struct provider_config *config,
                                 struct dyn_err *err);
/* One for each row whose key variable is set, in the order of the table. `config` gives what is the same
 * for all (`upstream`). A base URL in the environment that cannot be used is an error. */
int provider_targets_add_env(provider_targets_t *targets, const struct provider_config *config,
                             struct dyn_err *err);
/* One of a row that needs no key ("mock"), at that API root. */
int provider_targets_add(provider_targets_t *targets, const struct provider_config *config, const char *name,
                         const char *provider, const char *base_url, struct dyn_err *err);
/* Keeps those that `names` names ("a,b", spaces around commas are no part of them), in the order in which
 * they are. Addresses from before are not good any more. -1 with a sentence that says which name is not
 * known, and what is; nothing is changed then. */
int provider_targets_select(provider_targets_t *targets, struct dyn_slice names, struct dyn_err *err);
size_t provider_targets_count(const provider_targets_t *targets);
/* The address is good until another one is added. */
const struct provider_target *provider_targets_at(const provider_targets_t *targets, size_t index);
/* Models that the target has beside those that the configuration declares. Before anybody else sees it. */
void provider_targets_list(provider_targets_t *targets, size_t index, const struct dyn_slice *models,
                           size_t n);
