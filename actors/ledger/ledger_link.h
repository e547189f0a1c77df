/* The way of a process with the role `ledger` to the routers of the gateway: links to all of them, over which
 * their journals ask the ledger of this process. Decides nothing. One per process, on any loop. */
#pragma once

#include "bus/links.h"

struct ledger_link_options {
    struct bus_process *process;
    bus_resolver_t *resolver;
    const char *const *routers;
    size_t n_routers;
    bus_addr_t ledger;
    bus_addr_t reloader; /* who takes CONFIG */
};

/* The options are copied, what they point to outlives it. Give both to bus_add_actor(). */
void *ledger_link_new(const struct ledger_link_options *options);
extern const struct bus_actor_ops ledger_link_ops;
