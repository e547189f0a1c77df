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

void
route_order_by_rule(struct route_order *order, const struct route_view *view, int rule, size_t target)
{
    order->is_named = true;
    order->rule = rule;
    if (target >= view->n_targets || !route_is_candidate(view, target)) {
        order->why_void = ROUTE_VOID_RULE;
        return;
    }
    route_order_push(order, target);
    route_order_push_rest(order, view);
}

/* Of an answer when neither the request nor the model says how long it can get. */
enum { ROUTE_OUTPUT_USUAL = 500 };

static uint64_t
times(uint64_t price, uint64_t tokens)
{
    uint64_t product;
    return __builtin_mul_overflow(price, tokens, &product) ? PRICE_UNKNOWN - 1 : product;
}

uint64_t
route_cost_estimate(const struct route_facts *facts, const struct route_target_view *seen)
{
    uint64_t output = facts->max_output_tokens > 0 ? facts->max_output_tokens : ROUTE_OUTPUT_USUAL;
    if (seen->output_max > 0 && output > seen->output_max) {
        output = seen->output_max;
    }
    output = facts->surface == ENV_SURFACE_CHAT ? output : 0;
    bool is_known = seen->price_in != PRICE_UNKNOWN && (output == 0 || seen->price_out != PRICE_UNKNOWN);
    if (!is_known) {
        return PRICE_UNKNOWN;
    }
    uint64_t in = times(seen->price_in, facts->prompt_tokens);
    uint64_t out = output > 0 ? times(seen->price_out, output) : 0;
    return in < PRICE_UNKNOWN - 1 - out ? in + out : PRICE_UNKNOWN - 1;
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
        if (seen->state != HEALTH_OPEN) {
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

/* The request names its targets: no strategy is asked. */
static void
order_as_named(const struct route_facts *facts, const struct route_view *view, struct route_order *order)
{
    struct route_set left = view->candidates;
    for (size_t i = 0; i < facts->n_override; i++) {
        if (route_set_has(&left, facts->override[i])) {
            route_set_remove(&left, facts->override[i]);
            route_order_push(order, facts->override[i]);
        }
    }
}

static enum err_code
void_error(enum route_void why)
{
    return why == ROUTE_VOID_PRICE ? ERR_NO_PRICE : ERR_MODEL_NOT_FOUND;
}

int
route_decide(const struct route_plan *plan, const struct route_facts *facts, const struct route_view *view,
             struct dyn_rng *rng, struct route_decision *decision)
{
    struct route_order *order = &decision->order;
    decision->refused = ERR_NONE;
    decision->retry_ms = 0;
    order->n = 0;
    order->rule = -1;
    order->label = dyn_slice(NULL, 0);
    order->is_named = false;
    order->why_void = ROUTE_VOID_NONE;
    order->n_limited = 0;
    if (facts->n_override > 0) {
        order_as_named(facts, view, order);
    } else {
        plan->strategy->order(plan->compiled.state, facts, view, rng, order);
    }
    decision->asked = *order;
    if (order->n == 0) {
        decision->refused = void_error(order->why_void);
    } else {
        drop_open(view, decision);
    }
    return decision->refused == ERR_NONE ? 0 : -1;
}

/* ---- why ---- */

static bool
is_in(const struct route_order *order, size_t target)
{
    size_t i = 0;
    while (i < order->n && order->items[i] != target) {
        i++;
    }
    return i < order->n;
}

static enum route_drop
drop_of_candidate(const struct route_facts *facts, const struct route_view *view,
                  const struct route_decision *decision, size_t target)
{
    if (is_in(&decision->order, target)) {
        return ROUTE_DROP_NONE;
    }
    if (is_in(&decision->asked, target)) {
        return view->seen[target].state == HEALTH_OPEN ? ROUTE_DROP_BREAKER : ROUTE_DROP_NOT_CHOSEN;
    }
    if (facts->n_override > 0) {
        return ROUTE_DROP_OVERRIDE;
    }
    switch (decision->asked.why_void) {
    case ROUTE_VOID_WEIGHT:
        return ROUTE_DROP_WEIGHT;
    case ROUTE_VOID_PRICE:
        return ROUTE_DROP_PRICE;
    case ROUTE_VOID_RULE:
    case ROUTE_VOID_NONE:
        break;
    }
    bool is_priced = (view->plan->needs & ROUTE_NEEDS_PRICE) == 0 ||
                     route_cost_estimate(facts, &view->seen[target]) != PRICE_UNKNOWN;
    return is_priced ? ROUTE_DROP_NOT_CHOSEN : ROUTE_DROP_PRICE;
}

enum route_drop
route_drop_of(const struct route_facts *facts, const struct route_view *view,
              const struct route_decision *decision, size_t target)
{
    if (route_is_candidate(view, target)) {
        return drop_of_candidate(facts, view, decision, target);
    }
    return route_set_has(&view->elsewhere, target) ? ROUTE_DROP_SURFACE : ROUTE_DROP_NOT_CANDIDATE;
}

const char *
route_drop_text(enum route_drop drop)
{
    static const char *const texts[] = {
        [ROUTE_DROP_NONE] = "tried in its turn",
        [ROUTE_DROP_NOT_CANDIDATE] = "it does not serve the model",
        [ROUTE_DROP_SURFACE] = "it does not take this kind of request",
        [ROUTE_DROP_OVERRIDE] = "the request names others",
        [ROUTE_DROP_WEIGHT] = "its weight is zero",
        [ROUTE_DROP_PRICE] = "its price for the model is not known",
        [ROUTE_DROP_NOT_CHOSEN] = "the strategy takes another one",
        [ROUTE_DROP_BREAKER] = "its breaker is open",
    };
    return texts[drop];
}
