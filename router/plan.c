#include "router/plan.h"

#include "proto/health.h"

#include <stdlib.h>

static const struct route_strategy_ops *const strategies[] = {
#define ROUTE_STRATEGY(mode, symbol, text, help) [ROUTE_MODE_##mode] = &route_strategy_##symbol,
#include "router/strategies/strategies.def"
#undef ROUTE_STRATEGY
};

static struct route_hedge
hedge_of(const struct route_hedge_config *config)
{
    return (struct route_hedge){config->is_on, (uint32_t)config->after_ms, (uint32_t)config->max_percent};
}
static atomic_uint_fast64_t last_serial; /* of a plan; tells them apart, no more */

static void
copy_target(struct route_plan *plan, struct route_target *target)
{
    struct dyn_slice *models = arena_alloc(&plan->arena, (target->n_models + 1) * sizeof *models);
    for (size_t i = 0; i < target->n_models; i++) {
        models[i] = arena_copy(&plan->arena, target->models[i]);
    }
    target->models = models;
    target->name = arena_copy(&plan->arena, target->name);
    target->provider = arena_copy(&plan->arena, target->provider);
    target->prefix = arena_copy(&plan->arena, target->prefix);
}

/* What the file says about trying it; a target that it does not list keeps what it came with. */
static void
set_attempts(struct route_plan *plan, const struct router_config *config, struct route_target *target)
{
    const struct route_target_config *said = router_config_target(config, target->name);
    if (target->retry.attempts > 0) {
        return;
    }
    size_t n = said->retry.on_status_codes.n;
    int64_t *on_status = arena_alloc(&plan->arena, (n + 1) * sizeof *on_status);
    for (size_t i = 0; i < n; i++) {
        on_status[i] = said->retry.on_status_codes.items[i];
    }
    target->retry = (struct route_retry){
        .attempts = said->retry.attempts > 0 ? (uint32_t)said->retry.attempts : 1,
        .on_status = on_status,
        .n_on_status = n,
        .base_ms = (uint32_t)said->retry.initial_backoff_ms,
        .max_ms = (uint32_t)said->retry.max_backoff_ms,
    };
    target->hedge = hedge_of(&said->hedge);
}

/* What the file says about its share; a target that it does not list keeps what it came with. */
static void
set_share(const struct router_config *config, struct route_target *target)
{
    const struct route_target_config *said = router_config_target(config, target->name);
    target->weight = said->weight > 0 ? said->weight : target->weight;
    target->models_only = said->models_only || target->models_only;
}

static int
compare(struct dyn_slice a, struct dyn_slice b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len > 0 ? memcmp(a.data, b.data, len) : 0;
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static int
compare_aliases(const void *a, const void *b)
{
    return compare(((const struct route_alias *)a)->name, ((const struct route_alias *)b)->name);
}

static void
copy_aliases(struct route_plan *plan, const struct config_map *aliases)
{
    plan->n_aliases = aliases->n;
    plan->aliases = arena_alloc(&plan->arena, (aliases->n + 1) * sizeof *plan->aliases);
    for (size_t i = 0; i < aliases->n; i++) {
        plan->aliases[i] = (struct route_alias){arena_copy(&plan->arena, aliases->keys[i]),
                                                arena_copy(&plan->arena, aliases->values[i])};
    }
    if (aliases->n > 1) {
        qsort(plan->aliases, aliases->n, sizeof *plan->aliases, compare_aliases);
    }
}

struct route_plan *
route_plan_new(const struct router_config *config, const struct route_target *targets, size_t n_targets,
               catalogue_t *catalogue, struct dyn_err *err)
{
    DYN_ASSERT(n_targets <= ROUTE_TARGETS_MAX);
    struct route_plan *plan = dyn_zalloc(sizeof *plan);
    atomic_init(&plan->refs, 1);
    plan->serial = atomic_fetch_add_explicit(&last_serial, 1, memory_order_relaxed) + 1;
    arena_init(&plan->arena, NULL, 0);
    plan->catalogue = catalogue != NULL ? catalogue_ref(catalogue) : NULL;
    plan->overrides = (enum route_overrides)config->overrides;
    copy_aliases(plan, &config->aliases);
    plan->request_timeout_ms = config->request_timeout_ms;
    plan->max_attempts = (uint32_t)config->max_attempts;
    plan->retry_share = (struct route_share){(uint32_t)config->retry_budget.percent,
                                             (uint32_t)config->retry_budget.min_per_second};
    plan->hedge = hedge_of(&config->hedge);
    plan->targets = arena_alloc(&plan->arena, (n_targets + 1) * sizeof *plan->targets);
    plan->n_targets = n_targets;
    for (size_t i = 0; i < n_targets; i++) {
        plan->targets[i] = targets[i];
        copy_target(plan, &plan->targets[i]);
        if (targets[i].health != NULL) {
            plan->targets[i].health = health_board_ref(targets[i].health);
        }
        set_attempts(plan, config, &plan->targets[i]);
        set_share(config, &plan->targets[i]);
    }
    plan->strategy = strategies[config->strategy.mode];
    if (plan->strategy->compile != NULL &&
        plan->strategy->compile(plan, &config->strategy, &plan->compiled, err) != 0) {
        route_plan_unref(&plan);
        return NULL;
    }
    plan->needs = plan->strategy->needs | plan->compiled.needs;
    return plan;
}

void
route_plan_set_plugins(struct route_plan *plan, const struct route_plugin *plugins, size_t n, void *keep,
                       void (*release)(void *keep))
{
    DYN_ASSERT(n <= ROUTE_PLUGINS_MAX && plan->n_plugins == 0);
    plan->plugins = arena_alloc(&plan->arena, (n + 1) * sizeof *plan->plugins);
    plan->n_plugins = n;
    plan->plugin_keep = keep;
    plan->plugin_release = release;
    for (size_t i = 0; i < n; i++) {
        struct route_plugin *plugin = &plan->plugins[i];
        *plugin = plugins[i];
        plugin->name = arena_copy(&plan->arena, plugins[i].name);
        if (plugin->concerns != ROUTE_CONCERNS_ALL) {
            plan->has_key_plugins = true;
            continue;
        }
        bool may_say = !plugin->is_local && plugin->traits.stages == 0; /* it says where when it joins */
        plan->plugin_stages |= may_say ? ~0u : plugin->traits.stages;
    }
}

struct route_plan *
route_plan_ref(struct route_plan *plan)
{
    (void)atomic_fetch_add_explicit(&plan->refs, 1, memory_order_relaxed);
    return plan;
}

void
route_plan_unref(struct route_plan **plan_p)
{
    struct route_plan *plan = *plan_p;
    *plan_p = NULL;
    if (plan == NULL || atomic_fetch_sub_explicit(&plan->refs, 1, memory_order_acq_rel) > 1) {
        return;
    }
    if (plan->strategy != NULL && plan->strategy->free != NULL && plan->compiled.state != NULL) {
        plan->strategy->free(plan->compiled.state);
    }
    catalogue_unref(&plan->catalogue);
    if (plan->plugin_release != NULL) {
        plan->plugin_release(plan->plugin_keep);
    }
    for (size_t i = 0; i < plan->n_targets; i++) {
        health_board_unref(&plan->targets[i].health);
    }
    arena_fini(&plan->arena);
    free(plan);
}

struct dyn_slice
route_plan_model(const struct route_plan *plan, struct dyn_slice name)
{
    size_t low = 0;
    size_t high = plan->n_aliases;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare(name, plan->aliases[middle].name);
        if (order == 0) {
            return plan->aliases[middle].model;
        }
        low = order > 0 ? middle + 1 : low;
        high = order < 0 ? middle : high;
    }
    return name;
}

size_t
route_plan_target(const struct route_plan *plan, struct dyn_slice name)
{
    size_t i = 0;
    while (i < plan->n_targets && !dyn_slice_eq(plan->targets[i].name, name)) {
        i++;
    }
    return i;
}

static size_t
add_header(struct dyn_slice *names, size_t n, struct dyn_slice name, struct arena *arena)
{
    for (size_t i = 0; i < n; i++) {
        if (dyn_slice_ieq(names[i], name)) {
            return n;
        }
    }
    char *lower = arena_alloc(arena, name.len + 1);
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        lower[i] = (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    }
    names[n] = dyn_slice(lower, name.len);
    return n + 1;
}

size_t
route_config_headers(const struct router_config *config, struct arena *arena, const struct dyn_slice **names)
{
    const struct route_strategy_config *strategy = &config->strategy;
    const struct route_condition_config *conditions = strategy->conditions.items;
    struct dyn_slice *found = arena_alloc(arena, (strategy->conditions.n + 1) * sizeof *found);
    size_t n = 0;
    for (size_t i = 0; i < strategy->conditions.n && strategy->mode == ROUTE_MODE_CONDITIONAL; i++) {
        struct dyn_slice name;
        if (route_condition_kind_of(conditions[i].key, &name) == ROUTE_CONDITION_HEADER) {
            n = add_header(found, n, name, arena);
        }
    }
    if (strategy->mode == ROUTE_MODE_STICKY && strategy->sticky.by == ROUTE_STICKY_HEADER) {
        n = add_header(found, n, strategy->sticky.header, arena);
    }
    *names = found;
    return n;
}
