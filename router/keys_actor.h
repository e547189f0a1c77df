/* The keys actor: takes what operators ask of keys (REQUESTs of the surface `admin`, admitted by a router)
 * to a thread of its own, which may wait for the store, and brings back the ENDs. The thread looks at the
 * store again every KEYS_LOOK_MS, so that what another process changed is in force within a second. One
 * for a process that has a store of keys, on a loop that carries no requests.
 *
 * Beside a ledger it is the thread's courier to the journal, and sends rows there: who changed which key, or
 * tried to, and how often keys were used. Routers of this process give it rows as well (REQUESTs of the
 * surface `ledger`), which nobody answers. */
#pragma once

#include "bus/bus.h"
#include "router/key_admin.h"

enum {
    KEYS_LOOK_MS = 250,
    KEYS_FIRST_LOOK_MS = 20, /* until there are keys at all */
    KEYS_FIRST_WAIT_MS = 2000, /* so long operators wait for that, from the start */
    KEYS_WAITING_MAX = 256,  /* questions on their way to the thread; further ones are told to come again */
    KEYS_USES_MS = 1000,     /* so often uses go to the ledger */
    KEYS_ANSWER_MS = 6000,   /* the journal gives up before */
};

struct keys_actor_options {
    struct key_admin admin; /* taken, with its store */
    bus_addr_t journal;     /* of this process; 0: it has no ledger */
    bool is_ledgers;        /* the store is key_ledger_new()'s, which is asked over the journal */
};

/* Give both to bus_add_actor(). */
void *keys_actor_new(const struct keys_actor_options *options);
extern const struct bus_actor_ops keys_actor_ops;
