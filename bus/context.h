/* The libzmq context of one bus, with its ZAP handler: opened by whoever needs it first. */
#pragma once

#include "bus/bus_impl.h"
#include "bus/security.h"

/* Any thread. Does nothing when it is open. */
int bus_context_open(bus_t *bus, struct dyn_err *err);
/* Opens it and starts the handler that lets peers in, before the first socket binds. */
int bus_context_admit(bus_t *bus, bus_security_t *security, struct dyn_err *err);
/* After all sockets are closed; waits until what lingers has left. */
void bus_context_close(bus_t *bus);
