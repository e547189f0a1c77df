/* The inside of the owner actor. owner.c: who gets what comes in; owner_send.c: which router gets a
 * REQUEST, and when again; owner_answer.c: what comes back; owner_links.c: the actor and its links. Nobody
 * else includes this but the tests, which play routers whose addresses are actors of their own. */
#pragma once

#include "edge/owner.h"
#include "proto/env_map.h"

enum {
    OWNER_WAIT_MS = 2000,     /* a router may restart in it; a client waits no longer for nothing */
    OWNER_WAITING_MAX = 64 * 1024 * 1024, /* bytes of requests that wait for a router */
    OWNER_SENDINGS_MAX = 9,   /* of one request: whatever it is that kills routers, it kills no more */
    OWNER_WORKER_MAX = 128,   /* bytes of a worker's name (proto/env_fields.def) */
    OWNER_REQUESTS_DEFAULT = 1000,                      /* of a router that says nothing in READY */
    OWNER_REQUEST_BYTES_DEFAULT = 256 * 1024 * 1024,
    OWNER_GIVE_UP_PERCENT = 95, /* of the drain time; the edge has given up before */
};

/* A connection to a router that is up. */
struct owner_router {
    struct dyn_list link; /* in owner->routers */
    bus_addr_t addr;
    bool is_draining;     /* gets nothing new */
    bool is_late;         /* not heard of for a while: only when there is nobody else */
    uint32_t requests_max; /* its budget, from READY */
    uint64_t bytes_max;
    uint32_t n_requests; /* in flight over it */
    uint64_t bytes;      /* ... of their bodies */
    struct dyn_list requests; /* in the order in which they were sent */
    uint64_t picked_at;  /* in owner->turn, when last */
    uint64_t full_at;    /* ... when its mailbox took no more */
};

struct owner {
    struct owner_options options;
    struct owner_counters own_counters;
    bus_actor_t *me;
    bus_loop_t *loop;
    bus_links_t *links;       /* NULL in tests */
    struct dyn_list routers;
    uint64_t turn;            /* counts looks at the routers */
    struct env_map requests;
    struct dyn_list waiting;  /* for a router, first come first */
    size_t waiting_bytes;
    bool is_draining;
    struct bus_timer give_up; /* at the end of the drain */
};

/* One request, from the edge's REQUEST to the END that it gets. */
struct owner_request {
    struct env_map_node node; /* by id */
    struct dyn_list link;     /* in its router's requests, or in owner->waiting */
    struct owner *owner;
    struct owner_router *router; /* that has it; NULL: it waits */
    struct env *request;      /* NULL from when the answer has begun, or it was cancelled */
    bus_addr_t asker;
    size_t body_bytes;
    uint64_t window;          /* bytes granted by the asker that have not arrived yet */
    uint64_t expires_us;      /* 0: the routers know */
    uint32_t epoch;           /* of the last sending */
    uint32_t sendings;
    bool is_cancelled;        /* only its END is waited for */
    bool has_begun;
    bool is_stream;
    uint64_t passed;          /* bytes of the answer that the asker has, since it last started */
    bool has_chunks;          /* some came of the last sending */
    bool was_dispatched;      /* a router has said who works on it: */
    uint32_t worker_attempt;
    uint32_t worker_epoch;
    uint8_t worker_len;
    char worker[OWNER_WORKER_MAX];
    uint64_t waits_until_us;   /* for a router, however often one came and had no room; 0: it was sent */
    struct bus_timer patience; /* while it waits */
};

static inline void
owner_count(atomic_uint_fast64_t *counter)
{
    uint64_t now = atomic_load_explicit(counter, memory_order_relaxed); /* one writer: no locked add */
    atomic_store_explicit(counter, now + 1, memory_order_relaxed);
}

/* ---- owner.c ---- */

void owner_init(struct owner *owner, const struct owner_options *options);
void owner_started(struct owner *owner, bus_actor_t *me);
void owner_fini(struct owner *owner);
void owner_receive(void *self, struct env **env_p);
void owner_drain(void *self, uint64_t deadline_us);
/* A router's READY, GOODBYE or answer. Returns what the next call about this peer is to be given: `router`, a
 * new one, or NULL when it is gone. `router` is NULL before READY. */
struct owner_router *owner_from_peer(struct owner *owner, struct owner_router *router, bus_addr_t peer,
                                     struct env **env_p);

/* ---- owner_send.c ---- */

/* Which router a request of so many bytes goes to: of those that are up, do not drain and have room the one
 * with the fewest in flight; of equals the one whose turn is longest ago. NULL: none; *any_up says whether
 * one was there but for room. Pure. */
struct owner_router *owner_pick(const struct dyn_list *routers, size_t body_bytes, uint64_t turn,
                                bool *any_up);
void owner_take_request(struct owner *owner, struct env **env_p);
void owner_take_credit(struct owner_request *rq, struct env **env_p);
void owner_take_cancel(struct owner_request *rq, struct env **env_p);
/* A router is there, or has room again. */
void owner_send_waiting(struct owner *owner);
/* The router that had it is no longer working on it. May free `rq`. */
void owner_send_again(struct owner_request *rq);
/* Ends it with an error and frees it. */
void owner_refuse(struct owner_request *rq, enum err_code code);
/* Takes it from its router or from those that wait. */
void owner_detach(struct owner_request *rq);
void owner_request_free(struct owner_request *rq);

/* ---- owner_answer.c ---- */

void owner_take_answer(struct owner *owner, struct owner_router *router, struct env **env_p);
