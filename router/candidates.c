#include "router/candidates.h"

#include "core/buf.h"
#include "core/nearest.h"

#include <stdio.h>

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

static bool
is_of_known_provider(const struct route_plan *plan, const struct route_target *target)
{
    const struct catalogue_model *first;
    return plan->catalogue != NULL && catalogue_of_provider(plan->catalogue, target->provider, &first) > 0;
}

static bool
owns(const struct route_plan *plan, const struct route_target *target, struct dyn_slice model)
{
    bool asks_catalogue = plan->catalogue != NULL && !target->models_only && !target->is_announced;
    return declares(target, model) ||
           (asks_catalogue && catalogue_provider_owns(plan->catalogue, target->provider, model));
}

/* What the operator wrote; workers may have brought models since. */
static bool
lists_none(const struct route_plan *plan, size_t i, const struct route_target *target)
{
    const struct route_target *written = i < plan->n_targets ? &plan->targets[i] : target;
    return written->n_models == 0 && written->prefix.len == 0;
}

/* An announced one that names no models has nothing to serve, or nobody is there any more. */
static bool
takes_any(const struct route_plan *plan, size_t i, const struct route_target *target)
{
    if (target->is_announced) {
        return target->takes_any;
    }
    bool is_there_for_any = target->takes_any || (target->n_models == 0 && target->prefix.len == 0);
    return lists_none(plan, i, target) && is_there_for_any &&
           (target->any_model || target->owns_base_url || !is_of_known_provider(plan, target));
}

enum group { OWN, OWN_ANNOUNCED, ANY, ANY_ANNOUNCED, YOUNG, N_GROUPS };

/* All that declare nothing, if they are of one provider. */
static void
add_young(const struct route_plan *plan, const struct route_target *targets, struct route_set *young)
{
    struct dyn_slice provider = {NULL, 0};
    for (size_t i = 0; i < plan->n_targets; i++) {
        if (!lists_none(plan, i, &targets[i]) || targets[i].n_models > 0) {
            continue;
        }
        if (provider.data != NULL && !dyn_slice_eq(provider, targets[i].provider)) {
            *young = (struct route_set){{0}};
            return;
        }
        provider = targets[i].provider;
        route_set_add(young, i);
    }
}

static void
split_by_surface(const struct route_target *targets, const struct route_set *group, enum env_surface surface,
                 struct route_candidacy *found)
{
    for (ROUTE_SET_EACH(i, group)) {
        uint32_t surfaces = targets[i].surfaces != 0 ? targets[i].surfaces : 1u << ENV_SURFACE_CHAT;
        bool fits = surface == ENV_SURFACE_NONE || ((surfaces >> surface) & 1) != 0;
        route_set_add(fits ? &found->set : &found->elsewhere, i);
    }
}

void
route_candidates_find(const struct route_plan *plan, const struct route_target *targets, size_t n_targets,
                      struct dyn_slice model, enum env_surface surface, struct route_candidacy *found)
{
    struct route_set groups[N_GROUPS];
    memset(groups, 0, sizeof groups);
    *found = (struct route_candidacy){{{0}}, {{0}}};
    for (size_t i = 0; i < n_targets; i++) {
        bool is_announced = targets[i].is_announced;
        if (owns(plan, &targets[i], model)) {
            route_set_add(&groups[is_announced ? OWN_ANNOUNCED : OWN], i);
        } else if (takes_any(plan, i, &targets[i])) {
            route_set_add(&groups[is_announced ? ANY_ANNOUNCED : ANY], i);
        }
    }
    add_young(plan, targets, &groups[YOUNG]);
    size_t at = 0;
    while (at + 1 < N_GROUPS && route_set_is_empty(&groups[at])) {
        at++;
    }
    split_by_surface(targets, &groups[at], surface, found);
}

/* ---- nobody ---- */

enum { NEAR_MAX = 3 };

static void
add_near(struct dyn_buf *out, struct dyn_slice name, size_t i, size_t n)
{
    dyn_buf_add_str(out, i == 0 ? "did you mean '" : i + 1 < n ? "', '" : "' or '");
    dyn_buf_add_slice(out, name);
}

/* Of what the targets declare. */
static struct dyn_slice
near_declared(const struct route_target *targets, size_t n_targets, struct dyn_slice model)
{
    struct dyn_nearest nearest;
    dyn_nearest_begin(&nearest, model);
    for (size_t i = 0; i < n_targets && !nearest.is_over; i++) {
        size_t k = 0;
        while (k < targets[i].n_models && dyn_nearest_look(&nearest, targets[i].models[k])) {
            k++;
        }
    }
    return nearest.found;
}

/* Whose models the catalogue knows to be served, each once. */
static size_t
owning_providers(const struct route_plan *plan, struct dyn_slice providers[ROUTE_TARGETS_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < plan->n_targets; i++) {
        bool is_new = !plan->targets[i].models_only;
        for (size_t k = 0; k < n && is_new; k++) {
            is_new = !dyn_slice_eq(providers[k], plan->targets[i].provider);
        }
        if (is_new) {
            providers[n++] = plan->targets[i].provider;
        }
    }
    return n;
}

static size_t
add_unlike(struct dyn_slice *near, size_t n, struct dyn_slice name)
{
    for (size_t i = 0; i < n; i++) {
        if (dyn_slice_eq(near[i], name)) {
            return n;
        }
    }
    near[n] = name;
    return n + 1;
}

void
route_candidates_near(const struct route_plan *plan, const struct route_target *targets, size_t n_targets,
                      struct dyn_slice model, char *out, size_t out_size)
{
    struct dyn_slice near[2 * NEAR_MAX];
    struct dyn_slice listed[NEAR_MAX];
    struct dyn_slice providers[ROUTE_TARGETS_MAX];
    size_t n_providers = owning_providers(plan, providers);
    size_t n = 0;
    struct dyn_slice declared = near_declared(targets, n_targets, model);
    if (declared.data != NULL) {
        near[n++] = declared;
    }
    size_t n_listed = plan->catalogue != NULL && n_providers > 0
                          ? catalogue_near(plan->catalogue, model, providers, n_providers, listed, NEAR_MAX)
                          : 0;
    for (size_t i = 0; i < n_listed && n < NEAR_MAX; i++) {
        n = add_unlike(near, n, listed[i]);
    }
    struct dyn_buf text = DYN_BUF_INIT_LIMIT(512);
    for (size_t i = 0; i < n; i++) {
        add_near(&text, near[i], i, n);
    }
    dyn_buf_add_str(&text, n > 0 ? "'?" : "");
    (void)snprintf(out, out_size, "%s", text.len < out_size ? dyn_buf_cstr(&text) : "");
    dyn_buf_fini(&text);
}
