/* The housekeeping actor: what a gateway does every second whether requests come or not, on the loop that
 * carries none. */
#pragma once

#include "bus/bus.h"

void *housekeeping_new(void);
extern const struct bus_actor_ops housekeeping_actor_ops;
