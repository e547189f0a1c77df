/* The router actor: takes REQUESTs from whoever owns the client (the edge, the library's own client, a peer
 * in another process), decides, makes attempts at provider actors and at workers that joined, and passes
 * their answers back. It knows no HTTP, no JSON tree and no curl. One per cell; what must be one for the
 * process is shared by pointer.
 *
 * READY and GOODBYE of workers, and GOODBYE of owners, come as envelopes with the peer's address in
 * `from`. */
#pragma once

#include "bus/bus.h"
#include "proto/ledger.h"
#include "proto/request_metrics.h"
#include "router/admission.h"
#include "router/plan.h"

#include <stdatomic.h>

/* Shared by all routers of a gateway; counts are for reports, not for decisions. */
struct router_shared {
    struct admission admission;
    atomic_uint_fast64_t config_digest; /* of the configuration in force; 0: there is none */
    atomic_bool wants_events; /* somebody listens: otherwise no event is even built */
    atomic_uint_fast64_t events_sent;
    atomic_uint_fast64_t events_dropped;
    struct ledger_gauges ledger; /* written by the journal of this process */
    atomic_uint_fast64_t late_answers; /* CHUNK or END of a request that is over or not ours */
};

/* Of one router, which alone writes them: a lock for each request would cost more than it counts. */
struct router_counters {
    atomic_uint_fast64_t requests_in_flight;
    atomic_uint_fast64_t workers; /* that are members of a target */
};

struct router_options {
    struct route_plan *plan; /* the router takes a reference of its own */
    const bus_addr_t *addrs; /* the provider actor of each of its targets on this loop, 0: none; NULL: nobody
                              * has one. Copied */
    struct router_shared *shared;
    struct router_counters *counters; /* outlive the router; NULL: its own */
    bus_addr_t events;                /* who takes EVENTs; 0: nobody */
    struct request_cell *counts;      /* what ended requests are counted into, this cell's; NULL: nowhere */
    bus_addr_t plugins; /* who hosts plugins of this cell; 0: nobody */
    const struct vote_here *here; /* the same, asked by a call; NULL: by envelopes. Outlives the router */
    bus_addr_t ledger;  /* who takes REQUESTs of the surface `ledger` here; 0: nobody */
    bus_addr_t metrics; /* who answers REQUESTs of the surface `metrics` once they are admitted; 0: nobody */
    bus_addr_t keys;    /* who answers what the surface `admin` asks of keys; 0: nobody */
    bus_addr_t logs;    /* ... and of logs and the audit log; 0: nobody */
    uint64_t seed;      /* of the random source; 0: from the kernel */

    bool only_admits;         /* nothing is ever routed here (a process that only tells metrics) */
    bool accepts_workers;     /* READY of a worker makes it a member of its targets */
    bool accepts_new_targets; /* ... also of targets that `targets` does not name */
    uint32_t worker_wait_ms;  /* how long a request waits where a target has no member; 0: not at all */
};

/* Copies the options. Give both to bus_add_actor(). */
void *router_new(const struct router_options *options);
extern const struct bus_actor_ops router_actor_ops;
/* Another plan, for requests that come from now on; a reference is taken. `addrs` as in the options. Before
 * the start, or on the router's loop. */
void router_apply(void *self, struct route_plan *plan, const bus_addr_t *addrs);
