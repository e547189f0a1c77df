/* See pick.h. Tables that are indexed by a hash of the model: who comes to a place that is taken takes it. */
#include "router/pick.h"
#include "router/strategies/rank.h"

#include <stdlib.h>

enum { MODEL_MAX = 88, FOUND_SLOTS = 256, PRICE_SLOTS = 8 };

/* Longer names are not remembered. */
struct remembered {
    uint64_t plan; /* serial number; 0: the place is free */
    uint32_t model_len;
    char model[MODEL_MAX];
};

struct found_slot {
    struct remembered key;
    uint64_t generation;
    enum env_surface surface;
    struct route_candidacy found;
};

struct price_slot {
    struct remembered key;
    struct route_set known; /* whose price stands below */
    struct {
        bool is_in_catalogue;
        uint64_t in;
        uint64_t out;
        uint64_t output_max;
    } prices[ROUTE_TARGETS_MAX];
};

struct route_memo {
    struct found_slot found[FOUND_SLOTS];
    struct price_slot *prices; /* PRICE_SLOTS; made when the first price is asked for */
};

route_memo_t *
route_memo_new(void)
{
    return dyn_zalloc(sizeof(struct route_memo));
}

void
route_memo_free(route_memo_t **memo_p)
{
    route_memo_t *memo = *memo_p;
    *memo_p = NULL;
    if (memo != NULL) {
        free(memo->prices);
        free(memo);
    }
}

static bool
is_of(const struct remembered *key, const struct route_plan *plan, struct dyn_slice model)
{
    return key->plan == plan->serial && dyn_slice_eq(dyn_slice(key->model, key->model_len), model);
}

static void
remember(struct remembered *key, const struct route_plan *plan, struct dyn_slice model)
{
    key->plan = plan->serial;
    key->model_len = (uint32_t)model.len;
    memcpy(key->model, model.data, model.len);
}

void
route_memo_find(route_memo_t *memo, uint64_t generation, const struct route_plan *plan,
                const struct route_target *targets, size_t n_targets, struct dyn_slice model,
                enum env_surface surface, struct route_candidacy *found)
{
    struct found_slot *slot = &memo->found[(route_hash(model) + (uint64_t)surface) % FOUND_SLOTS];
    if (is_of(&slot->key, plan, model) && slot->generation == generation && slot->surface == surface) {
        *found = slot->found;
        return;
    }
    route_candidates_find(plan, targets, n_targets, model, surface, found);
    if (model.len > 0 && model.len <= MODEL_MAX) {
        remember(&slot->key, plan, model);
        slot->generation = generation;
        slot->surface = surface;
        slot->found = *found;
    }
}

void
route_memo_price(route_memo_t *memo, const struct route_plan *plan, const struct route_target *targets,
                 size_t target, struct dyn_slice model, struct route_target_view *seen)
{
    bool fits = model.len > 0 && model.len <= MODEL_MAX && target < plan->n_targets;
    if (!fits) {
        route_price_of(plan, &targets[target], model, seen);
        return;
    }
    if (memo->prices == NULL) {
        memo->prices = dyn_zalloc(PRICE_SLOTS * sizeof *memo->prices);
    }
    struct price_slot *slot = &memo->prices[route_hash(model) % PRICE_SLOTS];
    if (!is_of(&slot->key, plan, model)) {
        remember(&slot->key, plan, model);
        slot->known = (struct route_set){{0}};
    }
    if (!route_set_has(&slot->known, target)) {
        route_price_of(plan, &targets[target], model, seen);
        route_set_add(&slot->known, target);
        slot->prices[target].is_in_catalogue = seen->is_in_catalogue;
        slot->prices[target].in = seen->price_in;
        slot->prices[target].out = seen->price_out;
        slot->prices[target].output_max = seen->output_max;
        return;
    }
    seen->is_in_catalogue = slot->prices[target].is_in_catalogue;
    seen->price_in = slot->prices[target].in;
    seen->price_out = slot->prices[target].out;
    seen->output_max = slot->prices[target].output_max;
}
