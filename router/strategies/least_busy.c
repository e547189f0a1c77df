/* least-busy: two are drawn, and the one that has less to do comes first. Less is fewer requests in flight
 * times how long it takes of late; where that is not known of both, the requests alone. Of two choices the
 * load evens out nearly as well as of all, and those who choose at the same time do not all take the same
 * one. The others follow as they are configured, from a random one on. */
#include "router/strategies/rank.h"

static bool
is_busier(const struct route_target_view *a, const struct route_target_view *b)
{
    bool is_known = a->ewma_us > 0 && b->ewma_us > 0;
    double left = (double)(a->in_flight + UINT64_C(1)) * (is_known ? (double)a->ewma_us : 1);
    double right = (double)(b->in_flight + UINT64_C(1)) * (is_known ? (double)b->ewma_us : 1);
    return left > right;
}

static void
least_busy_order(const void *state, const struct route_facts *facts, const struct route_view *view,
                 struct dyn_rng *rng, struct route_order *order)
{
    uint8_t targets[ROUTE_TARGETS_MAX];
    size_t n = 0;
    (void)state;
    (void)facts;
    for (ROUTE_SET_EACH(i, &view->candidates)) {
        targets[n++] = (uint8_t)i;
    }
    if (n < 2) {
        route_order_push_rest(order, view);
        return;
    }
    size_t one = (size_t)dyn_rng_below(rng, n);
    size_t other = (size_t)dyn_rng_below(rng, n - 1);
    other += other >= one;
    bool swaps = is_busier(&view->seen[targets[one]], &view->seen[targets[other]]);
    route_order_push(order, targets[swaps ? other : one]);
    route_order_push(order, targets[swaps ? one : other]);
    for (size_t i = 1; i < n; i++) {
        size_t at = one + i < n ? one + i : one + i - n;
        if (at != other) {
            route_order_push(order, targets[at]);
        }
    }
}

const struct route_strategy_ops route_strategy_least_busy = {
    .name = "least-busy",
    .needs = ROUTE_NEEDS_LOAD | ROUTE_NEEDS_LATENCY,
    .order = least_busy_order,
};
