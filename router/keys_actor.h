/* The keys actor: takes what operators ask of keys (REQUESTs of the surface `admin`, admitted by a router)
 * to a thread of its own, which may wait for the store, and brings back the ENDs. The thread looks at the
 * store again every KEYS_LOOK_MS, so that what another process changed is in force within a second. One
 * for a process that has a store of keys, on a loop that carries no requests. */
#pragma once

#include "bus/bus.h"
#include "router/key_admin.h"

enum {
    KEYS_LOOK_MS = 250,
    KEYS_WAITING_MAX = 256, /* questions on their way to the thread; further ones are told to come again */
};

/* Takes `admin`, which was loaded, and its store. Give both to bus_add_actor(). */
void *keys_actor_new(const struct key_admin *admin);
extern const struct bus_actor_ops keys_actor_ops;
