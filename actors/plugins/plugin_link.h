/* The plugins of a process without a router: joins all routers of the fleet (05-PLUGIN), says which plugins
 * this process hosts, and hands each ASK to the plugins' actor of its loop in the router's name, so that
 * votes go straight back. It decides nothing. One per cell of a process that has the role `plugin` and no
 * router. */
#pragma once

#include "actors/plugins/plugin_set.h"
#include "bus/links.h"

struct plugin_link_options {
    struct bus_process *process; /* outlives the actor, as all that it points to */
    bus_resolver_t *resolver;
    const char *const *routers;  /* base endpoints; outlive the actor */
    size_t n_routers;
    bus_addr_t plugins;          /* the plugins' actor, on the same loop */
    bus_addr_t reloader;         /* takes CONFIGs of routers, and answers them; 0: nobody does */
    plugin_set_t *set;           /* a reference is taken */
    unsigned cell;
};

/* Give both to bus_add_actor(), behind the plugins' actor: it drains before that. */
void *plugin_link_new(const struct plugin_link_options *options);
extern const struct bus_actor_ops plugin_link_ops;
/* From now on it hosts these; all routers are told. On its loop, or before its start. */
void plugin_link_apply(void *self, plugin_set_t *set);
