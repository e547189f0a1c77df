#include "router/plan.h"

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

struct route_plan *
route_plan_new(const struct router_config *config, const struct route_target *targets, size_t n_targets,
               const catalogue_t *catalogue, struct dyn_err *err)
{
    DYN_ASSERT(n_targets <= ROUTE_TARGETS_MAX);
    struct route_plan *plan = dyn_zalloc(sizeof *plan);
    atomic_init(&plan->refs, 1);
    arena_init(&plan->arena, NULL, 0);
    plan->catalogue = catalogue != NULL ? catalogue_ref(catalogue) : NULL;
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
        set_attempts(plan, config, &plan->targets[i]);
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
    arena_fini(&plan->arena);
    free(plan);
}

struct dyn_slice
route_plan_model(const struct route_plan *plan, struct dyn_slice name)
{
    (void)plan;
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
