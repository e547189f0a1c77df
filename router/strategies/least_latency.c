/* least-latency: those that nothing is known of first, in random order, so that it becomes known; then the
 * others by the median of what they last took with this model. Streams are compared by the time to their
 * first token and plain answers by the time to their end, unless the configuration settles on one of them. */
#include "router/plan.h"
#include "router/strategies/rank.h"

struct least_latency {
    enum route_latency compares;
};

static int
least_latency_compile(struct route_plan *plan, const struct route_strategy_config *config,
                      struct route_compiled *compiled, struct dyn_err *err)
{
    (void)err;
    struct least_latency *state = arena_alloc(&plan->arena, sizeof *state);
    state->compares = (enum route_latency)config->latency;
    compiled->state = state;
    return 0;
}

static void
least_latency_order(const void *state, const struct route_facts *facts, const struct route_view *view,
                    struct dyn_rng *rng, struct route_order *order)
{
    const struct least_latency *compiled = state;
    struct route_rank known[ROUTE_TARGETS_MAX];
    struct route_rank unknown[ROUTE_TARGETS_MAX];
    size_t n_known = 0;
    size_t n_unknown = 0;
    bool by_ttft = compiled->compares == ROUTE_LATENCY_TTFT ||
                   (compiled->compares == ROUTE_LATENCY_AUTO && facts->stream);
    for (ROUTE_SET_EACH(i, &view->candidates)) {
        const struct route_target_view *seen = &view->seen[i];
        uint64_t took_us = by_ttft ? seen->ttft_us : seen->total_us;
        if (seen->samples > 0 && took_us > 0) {
            known[n_known++] = (struct route_rank){took_us, i};
        } else {
            unknown[n_unknown++] = (struct route_rank){0, i};
        }
    }
    route_rank_shuffle(unknown, n_unknown, rng);
    route_rank_sort(known, n_known);
    route_rank_push(unknown, n_unknown, order);
    route_rank_push(known, n_known, order);
}

const struct route_strategy_ops route_strategy_least_latency = {
    .name = "least-latency",
    .needs = ROUTE_NEEDS_LATENCY,
    .compile = least_latency_compile,
    .order = least_latency_order,
};
