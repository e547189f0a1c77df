/* The bus of one gateway: its loops, its actors, and the wires between them. An actor sends to an
 * address; whether that is a pointer into a mailbox (local wire) or an encoded message over ZeroMQ
 * (inproc wire, later ipc and tcp) is decided here and looks the same to both ends.
 *
 * What every wire guarantees: envelopes between the same two actors arrive in order and once; a
 * mailbox is bounded in bytes; END, CANCEL, CREDIT and the membership kinds always get through; an
 * address whose actor is gone answers DYN_E_GONE or loses the envelope in the same way a dead
 * process would. */
#pragma once

#include "bus/loop.h"
#include "proto/env.h"

typedef struct bus bus_t;
typedef struct bus_actor bus_actor_t;

/* All callbacks run on the loop that hosts the actor, one at a time; none may block. An actor does not
 * know where its peers run. */
struct bus_actor_ops {
    const char *kind; /* "router": shown in logs and metrics */
    /* Called once on the loop before anything else. -1 with err stops the start of the gateway. */
    int (*start)(void *self, bus_actor_t *me, struct dyn_err *err);
    /* Takes the envelope: frees it, keeps it or sends it on. */
    void (*receive)(void *self, struct env **env_p);
    /* Finish or cancel what is in flight until then (bus_loop_now_us base, microseconds), take nothing
     * new, then call bus_actor_idle(). May be NULL: idle at once. Called at most once; of a live actor again
     * when it has less time than it was told. */
    void (*drain)(void *self, uint64_t deadline_us);
    /* Nothing may be in flight; frees self. Called once, also after a failed start. */
    void (*stop)(void *self);
};

struct bus_options {
    bool     inproc;        /* `bus.local: inproc`: the libzmq wire even inside a loop */
    size_t   mailbox_bytes; /* of one actor; 0: BUS_MAILBOX_DEFAULT */
};
enum { BUS_MAILBOX_DEFAULT = 64 * 1024 * 1024 };

/* Any thread. Each bus has its own libzmq context. */
bus_t *bus_new(const struct bus_options *options, struct dyn_err *err);
/* Adds a loop, before bus_start; the bus owns it. At most 255. */
bus_loop_t *bus_add_loop(bus_t *bus, const char *name);
/* Places an actor on a loop, before bus_start: takes `self` (stop() frees it, in every case). */
bus_addr_t bus_add_actor(bus_t *bus, bus_loop_t *loop, const struct bus_actor_ops *ops, void *self);
/* Starts one thread a loop (all signals blocked) and all actors in the order in which they were
 * added; no loop turns before the last has started, and what was sent until then waits. -1 with the
 * first actor's err when one could not start; then everything is stopped again, and bus_free is next. */
int bus_start(bus_t *bus, struct dyn_err *err);
/* Drains the actors, one kind after the other in reverse order of adding: what is added first is what
 * the others depend on, so what is nearest to the client comes first, and a kind begins when those
 * behind it are idle. When all are idle, or `timeout_ms` is over, stops them in reverse order too (the
 * loops go on turning until the last is stopped) and joins the threads. Any thread but a loop's.
 * Returns how many actors were not idle in time. */
unsigned bus_stop(bus_t *bus, uint32_t timeout_ms);
void bus_free(bus_t **bus_p); /* after bus_stop, or without bus_start */

/* The rest: on the actor's loop. */
bus_addr_t  bus_actor_addr(const bus_actor_t *me);
bus_loop_t *bus_actor_loop(const bus_actor_t *me);
/* Tells the bus that a draining actor has nothing in flight any more. */
void bus_actor_idle(bus_actor_t *me);

/* Sends to another actor. 0 and takes the envelope; -1 and leaves it when the peer's mailbox is full
 * (DYN_E_FULL, only REQUEST, CHUNK, ASK and EVENT can meet it) or the peer is gone (DYN_E_GONE).
 * Never blocks, never calls the receiver: delivery is at the end of the turn. */
DYN_MUST_CHECK int bus_send(bus_actor_t *me, bus_addr_t to, struct env **env_p, struct dyn_err *err);

/* ---- actors that come and go while the bus runs: peers in other processes, and what a new configuration
 * brings. On the loop of `parent`. ---- */

/* Takes `self`. start() is not called; stop() is, once: by bus_remove_actor, or before the parent's own. A
 * removed actor's address answers DYN_E_GONE and is not used again for a long time (loop 8 bits, generation
 * 8, slot 16). 0 when there are too many (65,535 a loop); `self` stays with the caller then. */
bus_addr_t bus_add_live_actor(bus_actor_t *parent, const struct bus_actor_ops *ops, void *self);
/* The same for an actor with a life of its own: start() is called. Takes `self` in every case. 0 with err
 * when it could not start, or there are too many; stop() was called then. */
bus_addr_t bus_start_live_actor(bus_actor_t *parent, const struct bus_actor_ops *ops, void *self,
                                struct dyn_err *err);
/* Calls its drain(); once more with an earlier deadline is allowed. `idle` is queued when it has nothing in
 * flight any more, maybe before this returns; bus_live_actor_is_idle() tells whose it was. */
void bus_drain_live_actor(bus_actor_t *parent, bus_addr_t addr, uint64_t deadline_us, struct bus_task *idle);
bool bus_live_actor_is_idle(const bus_actor_t *parent, bus_addr_t addr);
/* What waits in its mailbox is freed. Not from inside its own callbacks. */
void bus_remove_actor(bus_actor_t *parent, bus_addr_t addr);
/* Sends in the name of `from`, an actor of this loop: what a peer said goes to who shall answer the peer.
 * Otherwise as bus_send. */
DYN_MUST_CHECK int bus_send_as(bus_actor_t *me, bus_addr_t from, bus_addr_t to, struct env **env_p,
                               struct dyn_err *err);

/* Bytes waiting in an actor's mailbox, any thread. An envelope counts body + BUS_ENVELOPE_COST. */
size_t bus_mailbox_bytes(const bus_t *bus, bus_addr_t addr);
/* ... and in those of all actors of a kind. Any thread. */
size_t bus_kind_bytes(const bus_t *bus, const char *kind);
enum { BUS_ENVELOPE_COST = 512 };
