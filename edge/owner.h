/* The owner actor: what an edge has in place of a router when none is in its process. It holds every REQUEST
 * until its answer has begun, picks a router for it, and sends it again to another when that one is lost, so
 * that a client never sees a router die. One per cell; it decides nothing about models or targets. Specified
 * in proto/03-CLIENT.md. */
#pragma once

#include "bus/links.h"

/* Counts are for reports, not for decisions. One owner writes each. */
struct owner_counters {
    atomic_uint_fast64_t sent;         /* REQUESTs, with those that were sent again */
    atomic_uint_fast64_t sent_again;   /* of these: a router was lost before their answer had begun */
    atomic_uint_fast64_t broken_off;   /* answers that had begun when their router was lost */
    atomic_uint_fast64_t unreachable;  /* ended because no router was there */
    atomic_uint_fast64_t saturated;    /* ended because the routers' budgets were used up */
    atomic_uint_fast64_t late_answers; /* about no request of ours, or of an earlier sending */
};

struct owner_options {
    struct bus_process *process;
    bus_resolver_t *resolver;
    const char *const *routers; /* base endpoints (bus/endpoint.h), outlive the actor */
    size_t n_routers;
    bus_addr_t reloader;         /* takes CONFIGs of routers, and answers them; 0: nobody does */
    uint64_t request_timeout_ms; /* of a request that names none; 0: each router takes its own, afresh */
    struct owner_counters *counters; /* outlive the actor; NULL: its own */
};

/* Copies the options. Give both to bus_add_actor(), before the edge that sends to it. */
void *owner_new(const struct owner_options *options);
extern const struct bus_actor_ops owner_actor_ops;
/* A new configuration: for requests that come from now on, and the routers are told of it. On its loop. */
void owner_apply(void *self, uint64_t request_timeout_ms);
