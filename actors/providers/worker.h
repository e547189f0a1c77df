/* The worker actor: makes the provider actors of its loop members of their targets at all routers
 * (02-WORKER). It says READY with what they serve, hands each REQUEST to the provider actor of its target
 * in the router's name, so that answers go straight back, and tells the provider actors when a router is
 * gone. One per cell of a process that has the role `provider` and no router of its own. It makes no call
 * and decides nothing: which calls outlive their router is the provider actors' business. */
#pragma once

#include "actors/providers/provider.h"
#include "bus/links.h"

struct worker_target {
    const struct provider_target *target; /* outlives the actor */
    bus_addr_t addr;                      /* its provider actor, on the same loop */
    struct provider_shared *shared;       /* of the target; NULL: nothing is told of its health */
    bool is_leaving; /* of a former configuration: not announced, but what still comes for it is taken */
};

struct worker_options {
    struct bus_process *process;  /* outlives the actor, as all that it points to */
    bus_resolver_t *resolver;
    const char *const *routers;   /* base endpoints; outlive the actor */
    size_t n_routers;
    const struct worker_target *targets; /* copied */
    size_t n_targets;
    bus_addr_t reloader;          /* takes CONFIGs of routers, and answers them; 0: nobody does */
    unsigned cell;                /* its place in the worker's name, which no other of the process has */
    uint32_t requests_max;        /* that one router may have in flight here; 0: WORKER_REQUESTS_MAX */
    uint64_t request_bytes_max;   /* bodies of these, bytes; 0: WORKER_REQUEST_BYTES_MAX */
};
enum {
    WORKER_REQUESTS_MAX = 4096,                   /* a call is a descriptor: a process has some 20,000 */
    WORKER_REQUEST_BYTES_MAX = 256 * 1024 * 1024, /* far more than answers in time need */
};

/* Give both to bus_add_actor(), behind the provider actors of the loop: it drains before them. */
void *worker_new(const struct worker_options *options);
extern const struct bus_actor_ops worker_actor_ops;

/* From now on it serves these, copied; all routers are told. Those that are leaving stand behind the others.
 * Calls of targets that are not named any more go on;
 * a request for one is handed back. On its loop, or before its start. */
void worker_serve(void *self, const struct worker_target *targets, size_t n_targets);
/* The same without telling anybody: only those that are leaving have changed. */
void worker_forget(void *self, bus_addr_t provider);
