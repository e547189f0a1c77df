/* The edge actor: HTTP and SSE in, envelopes out, and back. One per cell; what all cells share is the
 * group. It reads no JSON and knows no provider: requests go to the router, which decides. */
#pragma once

#include "bus/bus.h"
#include "edge/edge_config.h"
#include "edge/group.h"

struct edge_options {
    const struct edge_config *config; /* outlives the actor */
    bus_addr_t                router;
    struct edge_group        *group; /* outlives the bus: handed-over connections are closed with it */
    unsigned                  cell;  /* which of the group's cells, from 0 */
    bool                      dev;   /* refuse what a web page could send: foreign Host or Origin */
    const struct dyn_slice   *route_headers; /* names in lower case: these go to the router. Copied */
    size_t                    n_route_headers;
    bool                      probes_only; /* nothing below /v1: the process is no edge of the gateway */
};

/* Copies the options. Give both to bus_add_actor(). */
void *edge_new(const struct edge_options *options);
/* Other names of headers that go to the router, for requests from now on. Copied. On its loop. */
void edge_apply(void *self, const struct dyn_slice *route_headers, size_t n);
extern const struct bus_actor_ops edge_actor_ops;
