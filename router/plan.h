/* A configuration, compiled for the router: targets, aliases, the strategy with what it made of its
 * configuration, and the policy of attempts. Immutable, with counted references; all cells of a process
 * share one, and a reload makes another. A request keeps the one that it began under until it ends. Copies
 * what it needs: neither the configuration nor the targets have to outlive route_plan_new(). */
#pragma once

#include "core/arena.h"
#include "core/err.h"
#include "models/catalogue.h"
#include "router/route_plugin.h"
#include "router/strategy.h"

#include <stdatomic.h>

struct route_alias {
    struct dyn_slice name;
    struct dyn_slice model;
};

/* Open for reading. */
struct route_plan {
    atomic_uint refs;
    uint64_t serial;              /* of this process, from 1: an address may be used again */
    struct arena arena;           /* everything below that is not of the strategy's state */
    struct route_target *targets; /* in the order of the configuration */
    size_t n_targets;
    catalogue_t *catalogue; /* a reference; NULL: there is none */

    struct route_alias *aliases; /* sorted by name */
    size_t n_aliases;
    enum route_overrides overrides; /* whose requests may name targets */

    const struct route_strategy_ops *strategy;
    struct route_compiled compiled;
    uint32_t needs; /* ROUTE_NEEDS, of all that decides */

    struct route_plugin *plugins; /* in the order of the configuration */
    size_t n_plugins;
    uint32_t plugin_stages; /* VOTE_STAGE_BIT of each where somebody votes on each request */
    bool has_key_plugins;   /* somebody votes before_request on those of keys with limits or a budget */
    void *plugin_keep;      /* what has to stay while they may be asked; NULL: nothing */
    void (*plugin_release)(void *keep);

    uint64_t request_timeout_ms;
    uint32_t max_attempts;          /* targets that one request is tried at */
    struct route_share retry_share; /* repeats at the same target */
    struct route_hedge hedge;       /* of targets that have none of their own */
};

/* One reference. `targets` as the gateway made them; what the router's part of the configuration says about
 * each is added by name. NULL with a sentence. */
struct route_plan *route_plan_new(const struct router_config *config, const struct route_target *targets,
                                  size_t n_targets, catalogue_t *catalogue, struct dyn_err *err);
/* Who votes, at most ROUTE_PLUGINS_MAX; copied. Before anybody else has the plan. `release` (may be NULL) is
 * called with `keep` when nobody has the plan any more. */
void route_plan_set_plugins(struct route_plan *plan, const struct route_plugin *plugins, size_t n, void *keep,
                            void (*release)(void *keep));
struct route_plan *route_plan_ref(struct route_plan *plan) __attribute__((returns_nonnull));
/* NULL is accepted. */
void route_plan_unref(struct route_plan **plan_p);

/* What the name stands for, or itself. Looked up once: an alias of an alias is none. */
struct dyn_slice route_plan_model(const struct route_plan *plan, struct dyn_slice name);

/* The headers of requests that its strategy looks at, for who passes requests on: in lower case, each once.
 * In the arena. */
size_t route_config_headers(const struct router_config *config, struct arena *arena,
                            const struct dyn_slice **names);

/* The number of the target of that name, or n_targets. */
size_t route_plan_target(const struct route_plan *plan, struct dyn_slice name);
