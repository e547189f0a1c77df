/* single: the first target that serves the model, and no other. */
#include "router/strategy.h"

static void
single_order(const void *state, const struct route_facts *facts, const struct route_view *view,
             struct dyn_rng *rng, struct route_order *order)
{
    (void)state;
    (void)facts;
    (void)rng;
    size_t first = route_set_next(&view->candidates, 0);
    order->is_named = true;
    if (first < ROUTE_TARGETS_MAX) {
        route_order_push(order, first);
    }
}

const struct route_strategy_ops route_strategy_single = {
    .name = "single",
    .order = single_order,
};
