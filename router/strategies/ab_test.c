/* ab-test: a variant is drawn by weight, of those whose target serves the model; after its target come the
 * others in the order of the configuration. The variant's label goes into the event. */
#include "router/plan.h"
#include "router/strategies/rank.h"

struct variant {
    size_t target;
    double weight;
    struct dyn_slice label;
};

struct ab_test {
    struct variant *variants;
    size_t n;
};

static int
ab_test_compile(struct route_plan *plan, const struct route_strategy_config *config,
                struct route_compiled *compiled, struct dyn_err *err)
{
    (void)err;
    const struct route_variant_config *items = config->ab_variants.items;
    struct ab_test *state = arena_alloc(&plan->arena, sizeof *state);
    state->n = config->ab_variants.n;
    state->variants = arena_alloc(&plan->arena, (state->n + 1) * sizeof *state->variants);
    for (size_t i = 0; i < state->n; i++) {
        struct dyn_slice label = items[i].label.len > 0 ? items[i].label : items[i].target_key;
        state->variants[i] = (struct variant){.target = route_plan_target(plan, items[i].target_key),
                                              .weight = items[i].weight,
                                              .label = arena_copy(&plan->arena, label)};
    }
    compiled->state = state;
    return 0;
}

/* Nothing, when it cannot take part. */
static double
share_of(const struct variant *variant, const struct route_view *view)
{
    bool takes_part = variant->target < view->n_targets && route_is_candidate(view, variant->target);
    return takes_part && variant->weight > 0 ? variant->weight : 0;
}

/* state->n: there is none. */
static size_t
draw(const struct ab_test *state, const struct route_view *view, struct dyn_rng *rng)
{
    double sum = 0;
    size_t drawn = state->n;
    for (size_t i = 0; i < state->n; i++) {
        sum += share_of(&state->variants[i], view);
    }
    double left = sum > 0 ? route_draw_unit(rng) * sum : -1;
    for (size_t i = 0; i < state->n && sum > 0 && (drawn == state->n || left >= 0); i++) {
        double share = share_of(&state->variants[i], view);
        if (share > 0) {
            drawn = i;
            left -= share;
        }
    }
    return drawn;
}

static void
ab_test_order(const void *state, const struct route_facts *facts, const struct route_view *view,
              struct dyn_rng *rng, struct route_order *order)
{
    const struct ab_test *compiled = state;
    (void)facts;
    size_t drawn = draw(compiled, view, rng);
    if (drawn == compiled->n) {
        order->why_void = ROUTE_VOID_WEIGHT;
        return;
    }
    order->rule = (int)drawn;
    order->label = compiled->variants[drawn].label;
    route_order_push(order, compiled->variants[drawn].target);
    route_order_push_rest(order, view);
}

const struct route_strategy_ops route_strategy_ab_test = {
    .name = "ab-test",
    .compile = ab_test_compile,
    .order = ab_test_order,
};
