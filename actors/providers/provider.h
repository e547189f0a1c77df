/* The provider actor: takes REQUESTs for one target, calls its upstream over HTTP, and answers the
 * sender with CHUNKs within its credit and one END. One per target and loop; what is one for the target
 * in the process is in the shared object. It decides nothing: no retry, no choice of target; it times
 * connect, first byte and silence, and the deadline that comes with the request. */
#pragma once

#include "actors/providers/http_client.h"
#include "actors/providers/provider_target.h"
#include "bus/bus.h"

#include <stdatomic.h>

/* One per target and process, zero-initialised: all its actors count here. */
struct provider_shared {
    provider_guard_t *guard; /* a reference; NULL: nothing is limited, and nothing learned */
    char *target;            /* its name; NULL without a guard */
    atomic_uint events;      /* who takes EVENTs about the target: an address on the bus; 0: nobody */
    atomic_uint_fast64_t in_flight;
    atomic_uint_fast64_t started;
    atomic_uint_fast64_t succeeded;
    atomic_uint_fast64_t failed;
    atomic_uint_fast64_t cancelled;
    atomic_uint_fast64_t upstream_calls; /* how often request bytes were put on a connection */
    atomic_uint_fast64_t answer_bytes;
    atomic_uint_fast64_t credit_stalls; /* upstreams paused because the receiver had granted no more */
};

/* With a guard as the target's configuration says. Any thread. */
void provider_shared_init(struct provider_shared *shared, const struct provider_target *target);
void provider_shared_fini(struct provider_shared *shared);

/* Calls that go on without their router for a while, in case that another one asks for them (02-WORKER, When
 * a router is lost). One per process with workers: all its provider actors count here. */
struct provider_orphans {
    uint32_t time_ms; /* how long each is kept; this and the next are set before the actors start */
    size_t bytes_max; /* that all of them hold: their requests and what they have of their answers */
    atomic_size_t bytes;
    atomic_uint_fast64_t kept;     /* calls that became orphans */
    atomic_uint_fast64_t attached; /* that went on under another router, orphans or not */
    atomic_uint_fast64_t dropped;  /* cancelled, by time or by memory */
};

struct provider_options {
    const struct provider_target *target; /* outlives the actor */
    struct provider_shared *shared;       /* outlives the actor */
    http_client_t *client;                /* of the loop that will host the actor; a reference is taken */
    uint32_t calls_max;                   /* in flight in this actor; 0: PROVIDER_CALLS_MAX */
    struct provider_orphans *orphans;     /* outlives the actor; NULL: no call outlives its router */
};
enum {
    PROVIDER_CALLS_MAX = 10000,
    PROVIDER_ANSWER_MAX = 50 * 1024 * 1024, /* of a plain answer, bytes */
    PROVIDER_ERROR_BODY_MAX = 64 * 1024,    /* what is read of an error answer */
};

/* Copies the options. Give both to bus_add_actor(). */
void *provider_new(const struct provider_options *options);
extern const struct bus_actor_ops provider_actor_ops;
