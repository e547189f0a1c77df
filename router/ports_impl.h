/* The inside of the ports actor. ports.c: the actor and its two ports; port_clients.c: edges and clients;
 * port_workers.c: workers. Nobody else includes this but the tests, which play peers. */
#pragma once

#include "proto/env_map.h"
#include "router/ports.h"

enum {
    PORTS_SPARE_MAX = 256,    /* a burst leaves so many requests behind for the next one */
    PORTS_DRAIN_GRACE_MS = 250, /* a REQUEST that crossed our GOODBYE is still served */
    PORTS_DRAIN_LOOK_MS = 20,
    PORTS_ASKERS_MAX = 16,    /* reloads whose answers may still come */
    PORTS_GIVE_UP_PERCENT = 95, /* of the drain time: what is ended by then still reaches its owner */
};

struct ports_node {
    bus_addr_t addr;
    char name[65];
};

struct ports_asker {
    struct env_id id; /* of the CONFIG */
    bus_addr_t addr;  /* 0: none */
};

struct ports {
    struct ports_options options;
    struct ports_counters own_counters;
    bus_actor_t *me;
    bus_loop_t *loop;
    struct key_cell keys;
    bus_port_t *clients; /* NULL: not opened */
    bus_port_t *workers;
    bus_addr_t *routers;
    struct dyn_list peers;    /* of the clients port */
    struct env_map by_id;     /* requests in flight, by the id that the routers know */
    struct dyn_list requests; /* the same in the order in which they came */
    size_t n_requests;
    uint64_t last_number;
    struct dyn_list spare; /* to use again */
    size_t n_spare;
    struct bus_keeper spare_keeper;
    struct env_map calls; /* struct ports_call, see there */
    uint8_t salt[16]; /* without CURVE ids are a connection's own, and not to be guessed */
    uint64_t idle_from_us;    /* while draining: not idle earlier */
    uint64_t give_up_at_us;
    struct bus_timer drain_timer;
    struct ports_node *nodes; /* other processes of the gateway, one for each of their connections */
    size_t n_nodes;
    struct ports_asker askers[PORTS_ASKERS_MAX]; /* the last ones that asked for a reload */
    size_t next_asker;
};

/* A peer of the clients port: its bus_peer.user. */
struct ports_client {
    struct dyn_list link; /* in ports->peers */
    struct ports *ports;
    bus_addr_t addr;
    struct dyn_list requests; /* in flight */
    size_t n_requests;
    uint64_t bytes;          /* of their bodies */
    uint32_t n_refused;      /* beyond the budget, since one was taken */
    uint64_t refused_bytes;
    bool scoped;             /* its ids are its own: routers are told others */
    uint8_t scope[64];       /* what goes before its ids: the key, or a salt and the connection */
    size_t scope_len;
};

struct ports_request {
    struct env_map_node node; /* the id that the router knows; in the map is one of each id */
    struct ports_request *other; /* the same request over another connection */
    uint64_t number;          /* higher than that of all before it */
    struct dyn_list link;     /* in ports->requests or ports->spare */
    struct dyn_list client_link;
    struct ports_client *client;
    struct env_id own;        /* the peer's id for it */
    uint64_t bytes;
    uint32_t epoch;           /* of its REQUEST: the END says it again */
};

/* A REQUEST on its way to a worker that ports_router_of() does not know the router of: one of an edge in this
 * process, which hands its requests to the router of its own cell. Kept until the worker's END. */
struct ports_call {
    struct env_map_node node;
    bus_addr_t router;
    bus_addr_t worker; /* the last one, and which call it has */
    uint32_t attempt;
    uint32_t epoch;
};

static inline void
ports_count(atomic_uint_fast64_t *counter)
{
    uint64_t now = atomic_load_explicit(counter, memory_order_relaxed); /* one writer: no locked add */
    atomic_store_explicit(counter, now + 1, memory_order_relaxed);
}

/* ---- ports.c ---- */

void ports_init(struct ports *ports, const struct ports_options *options);
void ports_started(struct ports *ports, bus_actor_t *me);
void ports_fini(struct ports *ports);
/* Which router works on a request that came over a port: the same for all envelopes about it. */
bus_addr_t ports_router_of(const struct ports *ports, const struct env_id *id);
/* READY and GOODBYE: to every router, in the peer's name. */
void ports_tell_all(struct ports *ports, bus_addr_t peer, struct env **env_p);
/* EVENT: to the publisher, or it is lost. */
void ports_publish(struct ports *ports, bus_addr_t peer, struct env **env_p);

/* ---- port_config.c ---- */

/* An edge or a worker said READY, and is gone. */
void ports_node_joined(struct ports *ports, const struct bus_peer *peer);
void ports_node_left(struct ports *ports, bus_addr_t addr);
void ports_take_config(struct ports *ports, const struct bus_peer *peer, struct env **env_p);
void ports_take_ack(struct ports *ports, struct env **env_p);
void ports_config_fini(struct ports *ports);

/* ---- port_clients.c ---- */

extern const struct bus_remote_ops ports_client_ops; /* self: struct ports */
/* Ends what is in flight: END `error` to the owner, CANCEL to the router. */
void ports_end_all(struct ports *ports, enum err_code error);
void ports_request_free(struct ports_request *request);
/* With its requests; the routers are not told. */
void ports_client_free(struct ports_client *client);

/* ---- port_workers.c ---- */

extern const struct bus_remote_ops ports_worker_ops; /* self: struct ports */
/* Those of one worker; 0: all. */
void ports_forget_calls(struct ports *ports, bus_addr_t worker);
