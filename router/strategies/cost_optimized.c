/* cost-optimized: by what the request will cost, the cheapest first. The estimate has the prompt with its
 * tools and images, and the answer: as long as the request allows, else of a usual length. A target whose
 * price is not known comes after those whose is, or not at all (`skip`), or counts as free (`allow`, if at
 * least the catalogue has the model). A price of zero is a price. */
#include "router/plan.h"
#include "router/strategies/rank.h"

struct cost_optimized {
    enum route_unpriced unpriced;
};

static int
cost_optimized_compile(struct route_plan *plan, const struct route_strategy_config *config,
                       struct route_compiled *compiled, struct dyn_err *err)
{
    (void)err;
    struct cost_optimized *state = arena_alloc(&plan->arena, sizeof *state);
    state->unpriced = (enum route_unpriced)config->unpriced;
    compiled->state = state;
    return 0;
}

static void
cost_optimized_order(const void *state, const struct route_facts *facts, const struct route_view *view,
                     struct dyn_rng *rng, struct route_order *order)
{
    const struct cost_optimized *compiled = state;
    struct route_rank ranks[ROUTE_TARGETS_MAX];
    size_t n = 0;
    (void)rng;
    for (ROUTE_SET_EACH(i, &view->candidates)) {
        uint64_t cost = route_cost_estimate(facts, &view->seen[i]);
        if (cost == PRICE_UNKNOWN && compiled->unpriced == ROUTE_UNPRICED_ALLOW &&
            view->seen[i].is_in_catalogue) {
            cost = 0;
        }
        if (cost != PRICE_UNKNOWN) {
            ranks[n++] = (struct route_rank){cost, i};
        }
    }
    route_rank_sort(ranks, n);
    route_rank_push(ranks, n, order);
    if (compiled->unpriced != ROUTE_UNPRICED_SKIP) {
        route_order_push_rest(order, view);
    } else if (n == 0) {
        order->why_void = ROUTE_VOID_PRICE;
    }
}

const struct route_strategy_ops route_strategy_cost_optimized = {
    .name = "cost-optimized",
    .needs = ROUTE_NEEDS_PRICE | ROUTE_NEEDS_BODY,
    .compile = cost_optimized_compile,
    .order = cost_optimized_order,
};
