/* The ports actor: where edges, bus clients and workers of other processes reach the routers of this one. It
 * owns the clients port and the workers port, gives each request to one of the routers by its id, makes ids
 * of bus clients their own, keeps budgets, and tells all routers who came and who went. It reads no bodies
 * and decides nothing about targets. One per process with the role router. Specified in proto/02-WORKER.md
 * and 03-CLIENT.md. */
#pragma once

#include "bus/endpoint.h"
#include "bus/remote.h"
#include "router/admission.h"

struct ports_counters {
    atomic_uint_fast64_t requests;       /* given to a router */
    atomic_uint_fast64_t refused_budget; /* beyond a peer's budget, or a router took no more */
    atomic_uint_fast64_t late;           /* CREDIT and CANCEL about no request in flight */
    atomic_uint_fast64_t chunks_lost;    /* a router took no more: their attempts were ended */
    atomic_uint_fast64_t events_lost;    /* the publisher took no more */
};

struct ports_options {
    struct bus_process *process;
    struct bus_endpoint base;
    bool clients, workers;     /* which of the ports are opened */
    const bus_addr_t *routers; /* one a cell; copied */
    size_t n_routers;
    bus_addr_t publisher;      /* takes EVENTs and REQUESTs of the surface `events`; 0: nobody does */
    bus_addr_t journal;        /* is told of ledgers that join; 0: nobody */
    bus_addr_t reloader;       /* takes CONFIGs of administrators, and answers them; 0: nobody does */
    const struct admission *admission; /* for events asked for without a subscriber's key; NULL: open */
    size_t request_body_max;   /* bytes; 0: ENV_BODY_MAX */
    uint32_t requests_max;     /* in flight for each peer that said READY; 0: PORTS_REQUESTS_READY */
    uint64_t request_bytes_max; /* ... of their bodies; 0: PORTS_REQUEST_BYTES */
    struct ports_counters *counters; /* outlive the actor; NULL: its own */
};

enum {
    PORTS_REQUESTS_READY = 10000,  /* an edge stands for thousands of clients */
    PORTS_REQUESTS_SILENT = 1000,  /* of a peer that says no READY and so was told none (01/ENVELOPE) */
    PORTS_REQUEST_BYTES = 256 * 1024 * 1024,
};

/* Copies the options. Give both to bus_add_actor(), behind the routers and the publisher. */
void *ports_new(const struct ports_options *options);
extern const struct bus_actor_ops ports_actor_ops;
/* Where the ports are, once started; NULL: not opened. */
const char *ports_clients_endpoint(const void *self);
const char *ports_workers_endpoint(const void *self);
