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

uint64_t
route_candidates(const struct route_target *targets, size_t n_targets, struct dyn_slice model)
{
    uint64_t declared = 0;
    uint64_t any = 0;
    for (size_t i = 0; i < n_targets; i++) {
        if (targets[i].n_models == 0 && targets[i].prefix.len == 0) {
            any |= UINT64_C(1) << i;
        } else if (declares(&targets[i], model)) {
            declared |= UINT64_C(1) << i;
        }
    }
    return declared != 0 ? declared : any;
}
