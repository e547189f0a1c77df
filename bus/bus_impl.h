/* The inside of the bus, for the files of this folder: bus.c (actors, sending, delivery), slots.c (who is
 * where), lifecycle.c (threads, start, drain, stop), context.c (libzmq's) and the wires. */
#pragma once

#include "bus/bus.h"

#include <pthread.h>
#include <stdatomic.h>

/* An address is the number of the loop (from 1), the generation of the slot, and the slot on that loop
 * (from 0). Actors that were added before the start keep generation 0. */
enum {
    BUS_ADDR_LOOP_SHIFT = 24,
    BUS_ADDR_GENERATION_SHIFT = 16,
    BUS_LOOPS_MAX = 255,
    BUS_SLOTS_MAX = 65535,
    BUS_SLOT_PAGES = 13, /* of 16, 16, 32, 64, .. slots: enough for BUS_SLOTS_MAX */
};
#define BUS_ADDR_SLOT_MASK ((1u << BUS_ADDR_GENERATION_SHIFT) - 1)

enum bus_actor_state {
    BUS_ACTOR_LIVES, /* from bus_add_actor on: what is sent before its start waits */
    BUS_ACTOR_GONE,  /* stop() was called */
};

struct wire_end;
struct host_call;

/* An actor's place. The memory stays until the bus is freed, whoever lives in it: other loops look at it
 * without a lock, and find by its address that it is not the actor they want any more. */
struct bus_actor {
    _Atomic(const struct bus_actor_ops *) ops;
    void *self;
    struct bus_host *host;
    _Atomic bus_addr_t addr; /* written on its loop */
    atomic_int state;        /* enum bus_actor_state; written on its loop */

    /* Live actors. */
    struct dyn_list children; /* of this one */
    struct dyn_list link;     /* among its parent's children, or among its host's free slots */
    bool live_drains;         /* told to by its parent, on its loop; so are the next two */
    bool live_idle;
    struct bus_task *when_idle;

    /* What waits for it, in bytes. `local` is in its loop's inbox and written by that loop alone (no
     * locked instruction on a hop inside the loop); `remote` is on its way from other loops, or, for a peer
     * in another process, on its way out of this one. They belong to the place, not to who lives in it. */
    atomic_size_t local_bytes;
    atomic_size_t remote_bytes;

    /* Under bus->lock. */
    bool draining;
    bool idle;
};

/* A loop and what the bus keeps for it. */
struct bus_host {
    bus_t *bus;
    bus_loop_t *loop;
    unsigned number; /* index in bus->hosts */
    _Atomic(struct bus_actor *) pages[BUS_SLOT_PAGES];
    atomic_uint n_slots;
    struct dyn_list free_slots; /* longest free first */
    unsigned n_free;
    struct dyn_list inbox; /* envelopes for its actors, in order of arrival */
    struct bus_task deliver;
    struct wire_end *wire; /* NULL: no other wire than local is needed */

    pthread_t thread;
    bool has_thread;
    struct host_call *call; /* under bus->lock: to run before the loop runs */
    bool released;          /* under bus->lock: run the loop */
};

struct bus {
    struct bus_options options;
    struct bus_host *hosts[BUS_LOOPS_MAX];
    unsigned n_hosts;
    struct bus_actor **actors; /* added before the start, in that order */
    size_t n_actors;
    bool started;
    bool stopped;      /* every actor's stop() was called */
    void *zmq;         /* libzmq's context, NULL while nobody needs it (context.c) */
    struct bus_zap *zap;
    atomic_uint monitors; /* ever started: each has a name of its own */

    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned busy; /* under the lock: draining actors that are not idle */
};

/* Whoever has this address, alive or not; NULL: nobody (any more). Any thread. */
struct bus_actor *bus_find(const bus_t *bus, bus_addr_t addr);
/* The place with this address, whoever lives there now; NULL: there never was one. Any thread. */
struct bus_actor *bus_place(const bus_t *bus, bus_addr_t addr);
/* A place for a new actor, state GONE, with an address of its own. NULL: none left. On the loop, or before
 * it runs. */
struct bus_actor *bus_place_take(struct bus_host *host);
/* The actor that lived there has been stopped. */
void bus_place_give_back(struct bus_actor *actor);
void bus_places_free(struct bus_host *host);
/* What the envelope costs while it waits. */
size_t bus_envelope_bytes(const struct env *env);
/* May an actor's full mailbox refuse it? */
bool bus_kind_is_limited(enum env_kind kind);
/* Puts an envelope (from, to and mailbox_bytes set) into the inbox of the loop that runs this. */
void bus_host_accept(struct bus_host *host, struct bus_actor *to, struct env **env_p);
/* Frees what was not delivered. The loop does not run any more. */
void bus_host_drop_inbox(struct bus_host *host);
/* Frees what waits for an actor of this loop. */
void bus_host_drop_for(struct bus_host *host, bus_addr_t addr);
/* Calls stop() of actors that it was not yet called for, on the caller's thread. */
void bus_actor_stop_now(struct bus_actor *actor);
