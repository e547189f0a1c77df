/* Who may get a prompt at all; see strategy.h. */
#include "router/strategy.h"

static bool
declares(const struct route_target *target, struct dyn_slice model)
{
    struct dyn_slice prefix = target->prefix;
    if (prefix.len > 0 && model.len >= prefix.len && memcmp(model.data, prefix.data, prefix.len) == 0) {
        return true;
    }
    for (size_t i = 0; i < target->n_models; i++) {
        if (dyn_slice_eq(target->models[i], model)) {
            return true;
        }
    }
    return false;
}

/* One that is announced and names no models has nothing to serve, or nobody is there any more. */
static bool
takes_any(const struct route_target *target)
{
    bool lists_none = target->n_models == 0 && target->prefix.len == 0;
    return target->takes_any || (lists_none && !target->is_announced);
}

struct route_set
route_candidates(const struct route_target *targets, size_t n_targets, struct dyn_slice model)
{
    enum { CONFIGURED, ANNOUNCED };
    struct route_set declared[2] = {{{0}}, {{0}}};
    struct route_set any[2] = {{{0}}, {{0}}};
    for (size_t i = 0; i < n_targets; i++) {
        int origin = targets[i].is_announced ? ANNOUNCED : CONFIGURED;
        if (declares(&targets[i], model)) {
            route_set_add(&declared[origin], i);
        } else if (takes_any(&targets[i])) {
            route_set_add(&any[origin], i);
        }
    }
    const struct route_set *in_turn[] = {&declared[CONFIGURED], &declared[ANNOUNCED], &any[CONFIGURED],
                                         &any[ANNOUNCED]};
    size_t i = 0;
    while (i + 1 < DYN_ARRAY_LEN(in_turn) && route_set_is_empty(in_turn[i])) {
        i++;
    }
    return *in_turn[i];
}

void
route_candidates_keep_surface(const struct route_target *targets, enum env_surface surface,
                              struct route_set *candidates)
{
    const struct route_set all = *candidates;
    for (ROUTE_SET_EACH(i, &all)) {
        uint32_t surfaces = targets[i].surfaces != 0 ? targets[i].surfaces : 1u << ENV_SURFACE_CHAT;
        if (((surfaces >> surface) & 1) == 0) {
            route_set_remove(candidates, i);
        }
    }
}
