/* The plugins of an edition: instances of those that this process hosts, and what routers have to know of all
 * of them. */
#pragma once

#include "actors/plugins/plugin_set.h"
#include "router/plan.h"

/* Gives the plan those that vote. It keeps `set` (may be NULL) while requests may still ask for what is in
 * it. */
void gateway_set_voters(struct route_plan *plan, const struct plugin_config *config,
                        const struct plugin_config *implied, const struct plugin_ops *const *registered,
                        plugin_set_t *set);

/* The headers of clients that plugins look at, for who passes requests on: the built-in ones, and those in
 * `set` (may be NULL), in lower case. They stay as long as the set does. */
size_t gateway_plugin_headers(const plugin_set_t *set, const struct dyn_slice *known, size_t n_known,
                              struct dyn_slice *out, size_t max);
