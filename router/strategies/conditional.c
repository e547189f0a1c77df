/* conditional: the first rule that holds names the target; without one it is the first that serves the model.
 * Only one is tried: where a prompt goes is the rule's word. A rule's target that does not serve the model is
 * no reason to take another one; only an open breaker is (the targets in their order then). */
#include "router/plan.h"

struct condition {
    enum route_condition_kind kind;
    struct dyn_slice name; /* of header or metadata */
    struct dyn_slice value;
    bool is_wanted; /* of a truth */
    enum route_comparison comparison;
    uint64_t amount;
    size_t target; /* the plan's n_targets: it has none of that name */
};

struct conditional {
    struct condition *conditions;
    size_t n;
};

static uint32_t
needs_of(enum route_condition_kind kind)
{
    switch (kind) {
    case ROUTE_CONDITION_HEADER:
        return ROUTE_NEEDS_HEADERS;
    case ROUTE_CONDITION_USER:
    case ROUTE_CONDITION_ESTIMATED_TOKENS:
    case ROUTE_CONDITION_HAS_IMAGES:
    case ROUTE_CONDITION_HAS_TOOLS:
    case ROUTE_CONDITION_METADATA:
        return ROUTE_NEEDS_BODY;
    case ROUTE_CONDITION_MODEL:
    case ROUTE_CONDITION_MODEL_PREFIX:
    case ROUTE_CONDITION_KEY:
    case ROUTE_CONDITION_STREAM:
    case ROUTE_CONDITION_UNKNOWN:
        break;
    }
    return 0;
}

static int
compile_one(struct route_plan *plan, const struct route_condition_config *config, struct condition *condition,
            struct dyn_err *err)
{
    condition->kind = route_condition_kind_of(config->key, &condition->name);
    condition->name = arena_copy(&plan->arena, condition->name);
    condition->value = arena_copy(&plan->arena, config->value);
    condition->is_wanted = dyn_slice_is(config->value, "true");
    condition->target = route_plan_target(plan, config->target_key);
    bool is_amount = condition->kind == ROUTE_CONDITION_ESTIMATED_TOKENS;
    if (condition->kind == ROUTE_CONDITION_UNKNOWN ||
        (is_amount &&
         route_comparison_read(config->value, &condition->comparison, &condition->amount) != 0)) {
        return dyn_err_set(err, DYN_E_CONFIG, "the condition '%.*s: %.*s' cannot be understood",
                           (int)config->key.len, config->key.data, (int)config->value.len,
                           config->value.data);
    }
    return 0;
}

static int
conditional_compile(struct route_plan *plan, const struct route_strategy_config *config,
                    struct route_compiled *compiled, struct dyn_err *err)
{
    const struct route_condition_config *items = config->conditions.items;
    struct conditional *state = arena_alloc(&plan->arena, sizeof *state);
    state->n = config->conditions.n;
    state->conditions = arena_zalloc(&plan->arena, (state->n + 1) * sizeof *state->conditions);
    compiled->state = state;
    for (size_t i = 0; i < state->n; i++) {
        if (compile_one(plan, &items[i], &state->conditions[i], err) != 0) {
            return -1;
        }
        compiled->needs |= needs_of(state->conditions[i].kind);
    }
    return 0;
}

static bool
compares(const struct condition *condition, uint64_t amount)
{
    switch (condition->comparison) {
    case ROUTE_LESS:
        return amount < condition->amount;
    case ROUTE_LESS_EQUAL:
        return amount <= condition->amount;
    case ROUTE_GREATER:
        return amount > condition->amount;
    case ROUTE_GREATER_EQUAL:
        return amount >= condition->amount;
    case ROUTE_EQUAL:
        break;
    }
    return amount == condition->amount;
}

static bool
has_prefix(struct dyn_slice text, struct dyn_slice prefix)
{
    return text.len >= prefix.len && memcmp(text.data, prefix.data, prefix.len) == 0;
}

static bool
holds(const struct condition *condition, const struct route_facts *facts)
{
    switch (condition->kind) {
    case ROUTE_CONDITION_MODEL:
        return dyn_slice_eq(facts->model, condition->value);
    case ROUTE_CONDITION_MODEL_PREFIX:
        return has_prefix(facts->model, condition->value);
    case ROUTE_CONDITION_KEY:
        return facts->key_id.data != NULL && dyn_slice_eq(facts->key_id, condition->value);
    case ROUTE_CONDITION_USER:
        return facts->user.data != NULL && dyn_slice_eq(facts->user, condition->value);
    case ROUTE_CONDITION_ESTIMATED_TOKENS:
        return compares(condition, facts->prompt_tokens);
    case ROUTE_CONDITION_HAS_IMAGES:
        return facts->has_images == condition->is_wanted;
    case ROUTE_CONDITION_HAS_TOOLS:
        return facts->has_tools == condition->is_wanted;
    case ROUTE_CONDITION_STREAM:
        return facts->stream == condition->is_wanted;
    case ROUTE_CONDITION_HEADER: {
        struct dyn_slice value = route_facts_header(facts, condition->name);
        return value.data != NULL && dyn_slice_eq(value, condition->value);
    }
    case ROUTE_CONDITION_METADATA: {
        struct dyn_slice value = route_facts_metadata(facts, condition->name);
        return value.data != NULL && dyn_slice_eq(value, condition->value);
    }
    case ROUTE_CONDITION_UNKNOWN:
        break;
    }
    return false;
}

static void
conditional_order(const void *state, const struct route_facts *facts, const struct route_view *view,
                  struct dyn_rng *rng, struct route_order *order)
{
    const struct conditional *compiled = state;
    (void)rng;
    for (size_t i = 0; i < compiled->n; i++) {
        if (holds(&compiled->conditions[i], facts)) {
            route_order_by_rule(order, view, (int)i, compiled->conditions[i].target);
            return;
        }
    }
    order->is_named = true;
    route_order_push_rest(order, view);
}

const struct route_strategy_ops route_strategy_conditional = {
    .name = "conditional",
    .compile = conditional_compile,
    .order = conditional_order,
};
