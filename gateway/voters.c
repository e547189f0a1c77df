#include "gateway/voters.h"

static enum route_concern
concern_of(const struct plugin_wanted *wanted)
{
    if (!wanted->is_implied) {
        return ROUTE_CONCERNS_ALL;
    }
    return dyn_slice_is(wanted->name, "budget") ? ROUTE_CONCERNS_BUDGETS : ROUTE_CONCERNS_LIMITS;
}

static struct route_plugin
voter_of(const struct plugin_wanted *wanted, const plugin_set_t *set)
{
    const struct plugin_instance *instance = plugin_set_find(set, wanted->name);
    bool is_here = instance != NULL;
    return (struct route_plugin){
        .name = wanted->name,
        .serial = is_here ? instance->serial : 0,
        .traits = {.stages = wanted->stages,
                   .needs = wanted->traits.needs,
                   .charges = wanted->traits.charges,
                   .amends = wanted->traits.amends,
                   .answers = wanted->traits.answers,
                   .lists = wanted->traits.lists,
                   .watches = wanted->traits.watches,
                   .shares = wanted->traits.shares},
        .is_local = is_here,
        .required = wanted->required,
        .fails_open = wanted->fails_open,
        .timeout_ms = wanted->timeout_ms,
        .denies = plugin_denial(wanted->name, wanted->type),
        .concerns = concern_of(wanted),
    };
}

static void
release(void *keep)
{
    plugin_set_t *set = keep;
    plugin_set_release(&set);
}

void
gateway_set_voters(struct route_plan *plan, const struct plugin_config *config,
                   const struct plugin_config *implied, const struct plugin_ops *const *registered,
                   plugin_set_t *set)
{
    struct plugin_wanted wanted[PLUGINS_MAX];
    struct route_plugin voters[PLUGINS_MAX];
    _Static_assert((int)PLUGINS_MAX == (int)ROUTE_PLUGINS_MAX, "a bit for each");
    size_t n = plugin_config_wanted(config, registered, wanted);
    n = plugin_config_add_implied(config, implied, wanted, n);
    for (size_t i = 0; i < n; i++) {
        voters[i] = voter_of(&wanted[i], set);
    }
    if (n > 0) {
        route_plan_set_plugins(plan, voters, n, set != NULL ? plugin_set_hold(set) : NULL, release);
    }
}

static bool
is_known(const struct dyn_slice *names, size_t n, struct dyn_slice name)
{
    for (size_t i = 0; i < n; i++) {
        if (dyn_slice_eq(names[i], name)) {
            return true;
        }
    }
    return false;
}

struct wanted_headers {
    const struct dyn_slice *known;
    size_t n_known;
    struct dyn_slice *out;
    size_t n;
    size_t max;
};

static void
add_headers(struct wanted_headers *wanted, const struct plugin_ops *ops)
{
    for (size_t k = 0; ops->headers != NULL && ops->headers[k] != NULL && wanted->n < wanted->max; k++) {
        struct dyn_slice name = dyn_slice_str(ops->headers[k]);
        if (!is_known(wanted->known, wanted->n_known, name) && !is_known(wanted->out, wanted->n, name)) {
            wanted->out[wanted->n++] = name;
        }
    }
}

size_t
gateway_plugin_headers(const plugin_set_t *set, const struct dyn_slice *known, size_t n_known,
                       struct dyn_slice *out, size_t max)
{
    struct wanted_headers wanted = {known, n_known, out, 0, max};
    const struct plugin_ops *ops;
    for (size_t i = 0; (ops = plugin_builtin_at(i)) != NULL; i++) {
        add_headers(&wanted, ops);
    }
    for (size_t i = 0; i < plugin_set_count(set); i++) {
        add_headers(&wanted, plugin_set_at(set, i)->ops);
    }
    return wanted.n;
}
