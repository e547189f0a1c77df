#include "gateway/edition.h"

#include "gateway/pricing.h"
#include "gateway/voters.h"
#include "router/router_config.h"

#include <stdlib.h>

/* What the routers of all cells decide by. */
static struct route_plan *
compile(const struct gateway_edition *edition, const catalogue_t *base, struct dyn_err *err)
{
    size_t n = upstreams_count(edition->upstreams);
    struct route_target *targets = dyn_zalloc((n + 1) * sizeof *targets);
    for (size_t i = 0; i < n; i++) {
        targets[i] = upstreams_route_target(edition->upstreams, i);
    }
    const struct router_config *config = config_values(edition->config, &router_config_part);
    catalogue_t *catalogue = gateway_price(base, edition->config, targets, n);
    struct route_plan *plan = route_plan_new(config, targets, n, catalogue, err);
    catalogue_unref(&catalogue);
    free(targets);
    return plan;
}

static int
fill(struct gateway_edition *edition, const struct upstreams_options *options, bool routes,
     const catalogue_t *catalogue, struct dyn_err *err)
{
    if (options != NULL) {
        edition->upstreams = upstreams_new(edition->config, options, err);
        if (edition->upstreams == NULL) {
            return -1;
        }
        edition->target_names = upstreams_names(edition->upstreams);
    }
    if (routes) {
        edition->plan = compile(edition, catalogue, err);
    }
    return !routes || edition->plan != NULL ? 0 : -1;
}

struct gateway_edition *
gateway_edition_new(uint64_t number, config_t **config_p, const struct upstreams_options *options,
                    bool routes, const catalogue_t *catalogue, struct dyn_err *err)
{
    struct gateway_edition *edition = dyn_zalloc(sizeof *edition);
    atomic_init(&edition->refs, 1);
    edition->number = number;
    edition->config = *config_p;
    *config_p = NULL;
    if (fill(edition, options, routes, catalogue, err) != 0) {
        gateway_edition_unref(&edition);
    }
    return edition;
}

int
gateway_edition_add_plugins(struct gateway_edition *edition, const struct plugin_set_options *options,
                            struct dyn_err *err)
{
    const struct plugin_config *config = config_values(edition->config, &plugin_config_part);
    struct plugin_set_options how = *options;
    how.config = config;
    if (how.hosts_router || how.hosts_plugin) {
        edition->plugins = plugin_set_new(&how, err);
        if (edition->plugins == NULL) {
            return -1;
        }
    }
    if (edition->plan != NULL && how.hosts_router) {
        gateway_set_voters(edition->plan, config, how.implied, how.registered, edition->plugins);
    }
    return 0;
}

struct gateway_edition *
gateway_edition_ref(struct gateway_edition *edition)
{
    (void)atomic_fetch_add_explicit(&edition->refs, 1, memory_order_relaxed);
    return edition;
}

void
gateway_edition_unref(struct gateway_edition **edition_p)
{
    struct gateway_edition *edition = *edition_p;
    *edition_p = NULL;
    if (edition == NULL || atomic_fetch_sub_explicit(&edition->refs, 1, memory_order_acq_rel) > 1) {
        return;
    }
    route_plan_unref(&edition->plan);
    plugin_set_unref(&edition->plugins);
    upstreams_free(&edition->upstreams);
    config_free(&edition->config);
    free(edition->target_names);
    free(edition->source);
    free(edition);
}
