/* fallback: the targets in the order of the configuration. */
#include "router/strategy.h"

static void
fallback_order(const void *state, const struct route_facts *facts, const struct route_view *view,
               struct dyn_rng *rng, struct route_order *order)
{
    (void)state;
    (void)facts;
    (void)rng;
    route_order_push_rest(order, view);
}

const struct route_strategy_ops route_strategy_fallback = {
    .name = "fallback",
    .order = fallback_order,
};
