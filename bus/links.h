/* Links to all routers of a fleet: endpoints may be names, a name may stand for several hosts, and what it stands for
 * changes (`docker compose --scale`). Names are resolved on a thread of their own, at once and every BUS_RESOLVE_MS;
 * each address gets a link, one that is no longer named is drained and closed when `is_idle` says so. An address that
 * cannot be resolved right now keeps its links. On the owner's loop. */
#pragma once

#include "bus/endpoint.h"
#include "bus/remote.h"

enum { BUS_RESOLVE_MS = 5000 };

/* One thread, for all links of a process. Any thread. */
typedef struct bus_resolver bus_resolver_t;
bus_resolver_t *bus_resolver_new(void);
void bus_resolver_free(bus_resolver_t **resolver_p); /* after the bus has stopped */

typedef struct bus_links bus_links_t;

/* `bases`: base endpoints (bus/endpoint.h), borrowed; `part`: which port of each is connected to. `options` as for
 * bus_link_open, without endpoint. -1 with err only for what can't become right by waiting (a broken endpoint, a missing
 * key); a name that does not resolve yet is tried again, and logged once. */
bus_links_t *bus_links_open(bus_actor_t *owner, bus_resolver_t *resolver, const char *const *bases, size_t n_bases,
                            enum bus_endpoint_part part, const struct bus_remote_options *options,
                            struct dyn_err *err);
/* In no order that lasts. */
size_t      bus_links_count(const bus_links_t *links);
bus_link_t *bus_links_at(const bus_links_t *links, size_t index);
void bus_links_drain(bus_links_t *links); /* GOODBYE `drain` on all */
void bus_links_close(bus_links_t **links_p);
