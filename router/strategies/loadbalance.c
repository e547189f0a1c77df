/* loadbalance: the first one is drawn by weight; from there on in the order of the configuration, around its
 * end. Those of weight zero never begin: they come after all the others. */
#include "router/strategies/rank.h"

static void
loadbalance_order(const void *state, const struct route_facts *facts, const struct route_view *view,
                  struct dyn_rng *rng, struct route_order *order)
{
    uint8_t targets[ROUTE_TARGETS_MAX];
    double weights[ROUTE_TARGETS_MAX];
    size_t n = 0;
    weights[0] = 0;
    (void)state;
    (void)facts;
    for (ROUTE_SET_EACH(i, &view->candidates)) {
        targets[n] = (uint8_t)i;
        weights[n++] = view->targets[i].weight;
    }
    size_t first = route_draw_weight(weights, n, rng);
    if (first == n) {
        order->why_void = ROUTE_VOID_WEIGHT;
        return;
    }
    for (size_t i = 0; i < n; i++) {
        size_t at = first + i < n ? first + i : first + i - n;
        if (weights[at] > 0) {
            route_order_push(order, targets[at]);
        }
    }
    for (size_t i = 0; i < n; i++) {
        if (!(weights[i] > 0)) {
            route_order_push(order, targets[i]);
        }
    }
}

const struct route_strategy_ops route_strategy_loadbalance = {
    .name = "loadbalance",
    .order = loadbalance_order,
};
