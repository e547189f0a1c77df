/* The reloader: the actor that answers CONFIG, from an administrator or from a router, with ACK (03-CLIENT,
 * Configuration). It reads nothing itself: the watch does. One per process that is on the bus. */
#pragma once

#include "gateway/gateway.h"

void *reloader_new(dynabus_t *gateway);
extern const struct bus_actor_ops reloader_actor_ops;
