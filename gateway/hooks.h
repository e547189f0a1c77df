/* The hooks actor: takes EVENTs of ended requests and calls the hooks of the library's user, on the loop
 * that carries no requests. */
#pragma once

#include "bus/bus.h"
#include "dynabus.h"
#include "router/router.h"

enum { HOOKS_MAX = 16 };

typedef struct hooks hooks_t;

/* `shared` outlives it. Belongs to the bus after bus_add_actor(). */
hooks_t *hooks_new(struct router_shared *shared);
/* Any thread. -1: there are HOOKS_MAX already. */
int hooks_add(hooks_t *hooks, dynabus_hook_fn hook, void *user);
/* Any thread: events that come later (monotonic clock of the system) are dropped and counted, so that slow
 * hooks delay the end of a gateway by one event at most. */
void hooks_call_until(hooks_t *hooks, uint64_t until_us);
extern const struct bus_actor_ops hooks_actor_ops;
