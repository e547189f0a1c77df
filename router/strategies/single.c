/* single: the first target that serves the model, and no other. */
#include "router/strategy.h"

static void
single_order(const struct route_facts *facts, const struct route_view *view, struct dyn_rng *rng,
             struct route_order *order)
{
    (void)facts;
    (void)rng;
    for (size_t i = 0; i < view->n_targets; i++) {
        if (route_is_candidate(view, i)) {
            route_order_push(order, i);
            return;
        }
    }
}

const struct route_strategy_ops route_strategy_single = {
    .name = "single",
    .order = single_order,
};
