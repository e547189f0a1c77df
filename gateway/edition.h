/* An edition: one configuration of a gateway and what was made of it. Immutable, with counted references:
 * the gateway has the one in force, each cell those whose actors still work, so a request ends under what it
 * began with. */
#pragma once

#include "actors/plugins/plugin_set.h"
#include "core/config.h"
#include "gateway/upstreams.h"
#include "router/plan.h"

#include <stdatomic.h>

struct gateway_edition {
    atomic_uint refs;
    uint64_t number; /* from 1, higher with each that came into force */
    config_t *config;
    upstreams_t *upstreams;  /* NULL: targets are neither called nor routed to from here */
    struct route_plan *plan; /* what routers decide by; NULL: there is none here */
    plugin_set_t *plugins;   /* that this process hosts; NULL: it hosts none */
    char *target_names;
    char *source; /* as it was written; NULL: there was nothing */
};

/* Takes the configuration, also on failure. `routes`: a plan is made, with the prices of the
 * catalogue and the configuration. NULL with a sentence. */
struct gateway_edition *gateway_edition_new(uint64_t number, config_t **config_p,
                                            const struct upstreams_options *options, bool routes,
                                            const catalogue_t *catalogue, struct dyn_err *err);
/* Makes the plugins of its configuration, those that are as they were in `former` (may be NULL) going on, and
 * tells its plan of them. Before anybody else has the edition. -1 with a sentence. */
int gateway_edition_add_plugins(struct gateway_edition *edition, const struct plugin_set_options *options,
                                struct dyn_err *err);
/* The plugins that hold what stands in keys, as a process alone with this configuration has them (keyring.c);
 * config_free() it. NULL: there are no keys. */
config_t *gateway_implied_of(const config_t *config);
struct gateway_edition *gateway_edition_ref(struct gateway_edition *edition) __attribute__((returns_nonnull));
/* NULL is accepted. Any thread. */
void gateway_edition_unref(struct gateway_edition **edition_p);
