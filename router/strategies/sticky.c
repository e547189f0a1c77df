/* sticky: requests with the same key, user or header value come to the same target as long as it is there, so
 * that prompts cached upstream are found again. Each pair of value and target has a score, and the highest
 * comes first (rendezvous hashing): a target that goes moves its own callers only, one that comes takes its
 * share from all alike. A request without the value goes by lot. */
#include "router/plan.h"
#include "router/strategies/rank.h"

struct sticky {
    enum route_sticky_by by;
    struct dyn_slice header;
    uint64_t *hashes; /* of the names of the plan's targets */
};

static int
sticky_compile(struct route_plan *plan, const struct route_strategy_config *config,
               struct route_compiled *compiled, struct dyn_err *err)
{
    (void)err;
    struct sticky *state = arena_alloc(&plan->arena, sizeof *state);
    state->by = (enum route_sticky_by)config->sticky.by;
    state->header = arena_copy(&plan->arena, config->sticky.header);
    state->hashes = arena_alloc(&plan->arena, (plan->n_targets + 1) * sizeof *state->hashes);
    for (size_t i = 0; i < plan->n_targets; i++) {
        state->hashes[i] = route_hash(plan->targets[i].name);
    }
    compiled->state = state;
    compiled->needs = state->by == ROUTE_STICKY_HEADER ? ROUTE_NEEDS_HEADERS
                      : state->by == ROUTE_STICKY_USER ? ROUTE_NEEDS_BODY
                                                       : 0;
    return 0;
}

static struct dyn_slice
value_of(const struct sticky *state, const struct route_facts *facts)
{
    switch (state->by) {
    case ROUTE_STICKY_USER:
        return facts->user;
    case ROUTE_STICKY_HEADER:
        return route_facts_header(facts, state->header);
    case ROUTE_STICKY_KEY:
        break;
    }
    return facts->key_id;
}

static void
sticky_order(const void *state, const struct route_facts *facts, const struct route_view *view,
             struct dyn_rng *rng, struct route_order *order)
{
    const struct sticky *compiled = state;
    struct route_rank ranks[ROUTE_TARGETS_MAX];
    struct dyn_slice value = value_of(compiled, facts);
    uint64_t caller = value.len > 0 ? route_hash(value) : dyn_rng_next(rng);
    size_t n = 0;
    for (ROUTE_SET_EACH(i, &view->candidates)) {
        uint64_t target = i < view->plan->n_targets ? compiled->hashes[i] : route_hash(view->targets[i].name);
        ranks[n++] = (struct route_rank){~route_hash_mix(caller ^ target), i};
    }
    route_rank_sort(ranks, n);
    route_rank_push(ranks, n, order);
}

const struct route_strategy_ops route_strategy_sticky = {
    .name = "sticky",
    .compile = sticky_compile,
    .order = sticky_order,
};
