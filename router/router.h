/* The router actor: takes REQUESTs from whoever owns the client (the edge, the library's own client),
 * decides, makes attempts at provider actors, and passes their answers back. It knows no HTTP, no JSON
 * tree and no curl. One per cell; what must be one for the process is shared by pointer. */
#pragma once

#include "bus/bus.h"
#include "router/admission.h"
#include "router/router_config.h"
#include "router/strategy.h"

#include <stdatomic.h>

/* Shared by all routers of a gateway; counts are for reports, not for decisions. */
struct router_shared {
    struct admission admission;
    atomic_bool wants_events; /* somebody listens: otherwise no event is even built */
    atomic_uint_fast64_t events_sent;
    atomic_uint_fast64_t events_dropped;
    atomic_uint_fast64_t late_answers; /* CHUNK or END of a request that is over or not ours */
};

struct router_options {
    const struct router_config *config;
    struct router_shared *shared;
    const struct route_target *targets; /* in order of the configuration; outlive the router */
    size_t n_targets;
    bus_addr_t events; /* who takes EVENTs; 0: nobody */
    uint64_t seed;     /* of the random source; 0: from the kernel */
};

/* Copies the options. Give both to bus_add_actor(). */
void *router_new(const struct router_options *options);
extern const struct bus_actor_ops router_actor_ops;
