/* The inside of the bus, for the files of this folder: bus.c (actors, sending, delivery), lifecycle.c
 * (threads, start, drain, stop) and the wires. */
#pragma once

#include "bus/bus.h"

#include <pthread.h>
#include <stdatomic.h>

/* An address is the number of the loop (from 1) above the number of the actor on it (from 0). */
enum { BUS_ADDR_SLOT_BITS = 24, BUS_LOOPS_MAX = 255 };
#define BUS_ADDR_SLOT_MASK ((1u << BUS_ADDR_SLOT_BITS) - 1)

enum bus_actor_state {
    BUS_ACTOR_LIVES, /* from bus_add_actor on: what is sent before its start waits */
    BUS_ACTOR_GONE,  /* stop() was called */
};

struct wire_end;
struct host_call;

struct bus_actor {
    const struct bus_actor_ops *ops;
    void *self;
    struct bus_host *host;
    bus_addr_t addr;
    atomic_int state; /* enum bus_actor_state; written on its loop */

    /* What waits for it, in bytes. `local` is in its loop's inbox and written by that loop alone (no
     * locked instruction on a hop inside the loop); `remote` is on its way from other loops. */
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
    struct bus_actor **actors;
    size_t n_actors;
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
    struct bus_actor **actors; /* in the order in which they were added */
    size_t n_actors;
    bool started;
    bool stopped; /* every actor's stop() was called */
    void *zmq;    /* the wires' context, NULL while nobody needs it */

    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned busy; /* under the lock: draining actors that are not idle */
};

/* NULL: there never was one. */
struct bus_actor *bus_find(const bus_t *bus, bus_addr_t addr);
/* What the envelope costs while it waits. */
size_t bus_envelope_bytes(const struct env *env);
/* May an actor's full mailbox refuse it? */
bool bus_kind_is_limited(enum env_kind kind);
/* Puts an envelope (from, to and mailbox_bytes set) into the inbox of the loop that runs this. */
void bus_host_accept(struct bus_host *host, struct bus_actor *to, struct env **env_p);
/* Frees what was not delivered. The loop does not run any more. */
void bus_host_drop_inbox(struct bus_host *host);
/* Calls stop() of actors that it was not yet called for, on the caller's thread. */
void bus_actor_stop_now(struct bus_actor *actor);
