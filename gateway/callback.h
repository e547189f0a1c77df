/* The callback actor: a provider that is functions of the program around the library. Takes REQUESTs for its
 * target as a provider actor does, hands them to those functions, and carries what they answer, from whatever
 * thread, back within the sender's credit. Times nothing but the deadline that comes with the request. */
#pragma once

#include "bus/bus.h"
#include "gateway/registered.h"

/* Takes a reference. */
void *callback_new(struct registered *registered);
extern const struct bus_actor_ops callback_actor_ops;
