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

uint64_t
route_candidates(const struct route_target *targets, size_t n_targets, struct dyn_slice model)
{
    enum { CONFIGURED, ANNOUNCED };
    uint64_t declared[2] = {0, 0};
    uint64_t any[2] = {0, 0};
    for (size_t i = 0; i < n_targets; i++) {
        int origin = targets[i].is_announced ? ANNOUNCED : CONFIGURED;
        if (declares(&targets[i], model)) {
            declared[origin] |= UINT64_C(1) << i;
        } else if (takes_any(&targets[i])) {
            any[origin] |= UINT64_C(1) << i;
        }
    }
    const uint64_t in_turn[] = {declared[CONFIGURED], declared[ANNOUNCED], any[CONFIGURED], any[ANNOUNCED]};
    uint64_t found = 0;
    for (size_t i = 0; i < DYN_ARRAY_LEN(in_turn) && found == 0; i++) {
        found = in_turn[i];
    }
    return found;
}
