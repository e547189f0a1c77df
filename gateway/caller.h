/* The caller actor: the library user's way onto the bus. Requests come from any thread, go to the router
 * of its cell like those of the edge, and their answers go to callbacks on the cell's loop. */
#pragma once

#include "bus/bus.h"
#include "dynabus.h"

typedef struct caller caller_t;

/* `credential` is what the caller's own requests are admitted with; absent: none. It outlives the caller. */
caller_t *caller_new(bus_addr_t router, struct dyn_slice credential);
extern const struct bus_actor_ops caller_actor_ops;

/* Any thread, between start and stop of the bus. `chunk` NULL: the whole answer at once. -1 when
 * 64 MiB of them wait for the loop already. Not after the gateway began to close. */
int caller_submit(caller_t *caller, const struct dynabus_request *request, dynabus_chunk_fn chunk,
                  dynabus_answer_fn answered, void *user);
/* The same for an embeddings request. */
int caller_embed(caller_t *caller, const struct dynabus_request *request, dynabus_answer_fn answered,
                 void *user);
