#include "router/decide.h"

void
route_order_push_rest(struct route_order *order, const struct route_view *view)
{
    struct route_set rest = view->candidates;
    for (size_t i = 0; i < order->n; i++) {
        route_set_remove(&rest, order->items[i]);
    }
    for (ROUTE_SET_EACH(i, &rest)) {
        route_order_push(order, i);
    }
}

/* Half-open ones stay: somebody has to probe. */
static void
drop_open(const struct route_view *view, struct route_decision *decision)
{
    struct route_order *order = &decision->order;
    uint32_t soonest_ms = UINT32_MAX;
    size_t kept = 0;
    for (size_t i = 0; i < order->n; i++) {
        const struct route_target_view *seen = &view->seen[order->items[i]];
        if (seen->state != ROUTE_TARGET_OPEN) {
            order->items[kept++] = order->items[i];
        } else if (seen->retry_ms > 0 && seen->retry_ms < soonest_ms) {
            soonest_ms = seen->retry_ms;
        }
    }
    if (kept == 0 && order->n > 0) {
        decision->refused = ERR_UPSTREAM_UNAVAILABLE;
        decision->retry_ms = soonest_ms < UINT32_MAX ? soonest_ms : 0;
    }
    order->n = order->is_named && kept > 1 ? 1 : kept;
}

int
route_decide(const struct route_plan *plan, const struct route_facts *facts, const struct route_view *view,
             struct dyn_rng *rng, struct route_decision *decision)
{
    decision->refused = ERR_NONE;
    decision->retry_ms = 0;
    decision->order.n = 0;
    decision->order.rule = -1;
    decision->order.label = dyn_slice(NULL, 0);
    decision->order.is_named = false;
    decision->order.why_void = ROUTE_VOID_NONE;
    plan->strategy->order(plan->compiled.state, facts, view, rng, &decision->order);
    if (decision->order.n == 0) {
        decision->refused = ERR_MODEL_NOT_FOUND;
    } else {
        drop_open(view, decision);
    }
    return decision->refused == ERR_NONE ? 0 : -1;
}
