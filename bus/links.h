/* Links to all routers of a fleet: endpoints may be names, a name may stand for several hosts, and what
 * it stands for changes (`docker compose --scale`). Names are resolved off the loop, at once and every
 * BUS_RESOLVE_MS; each address gets a link. An address that is no longer named keeps its link while that
 * is up (who leaves says so itself, with GOODBYE), and is not connected to again; a name that cannot be
 * resolved right now keeps its addresses. A name that has addresses of IPv4 stands for those, else for
 * its IPv6 addresses. On the owner's loop. */
#pragma once

#include "bus/endpoint.h"
#include "bus/remote.h"

enum { BUS_RESOLVE_MS = 5000 };

/* One for all links of a process. Any thread. */
typedef struct bus_resolver bus_resolver_t;
bus_resolver_t *bus_resolver_new(void);
/* After the bus has stopped. Does not wait for a name server that does not answer. */
void bus_resolver_free(bus_resolver_t **resolver_p);

typedef struct bus_links bus_links_t;

/* `bases`: base endpoints (bus/endpoint.h), copied; `part`: which port of each is connected to. `options`
 * as for bus_link_open, without endpoint. NULL with err only for what can't become right by waiting (a
 * broken endpoint, a missing key); a name that does not resolve yet is tried again, and logged once. */
bus_links_t *bus_links_open(bus_actor_t *owner, bus_resolver_t *resolver, const char *const *bases,
                            size_t n_bases, enum bus_endpoint_part part,
                            const struct bus_remote_options *options, struct dyn_err *err);
/* In no order that lasts. */
size_t      bus_links_count(const bus_links_t *links);
bus_link_t *bus_links_at(const bus_links_t *links, size_t index);
/* READY once more on all that are up. Returns how many peers are too old for that (bus_link_say_ready). */
size_t      bus_links_say_ready(bus_links_t *links);
/* GOODBYE `drain` on all, and on those that come. */
void bus_links_drain(bus_links_t *links);
void bus_links_close(bus_links_t **links_p);
