/* The probe actor: what the small HTTP listener of a process asks that is no edge of the gateway. It
 * answers readiness and health itself, hands questions for the metrics to the router of the process, which
 * admits them, and passes the answer back. Everything else is not found there. One per cell. */
#pragma once

#include "bus/remote.h"

struct probe_options {
    const struct bus_process *process; /* outlives it */
    bool joins;        /* ready only when a router knows this process */
    bus_addr_t router; /* of this process; 0: there is none, and no metrics */
};

/* Copies the options. Give both to bus_add_actor(). */
void *probe_new(const struct probe_options *options);
extern const struct bus_actor_ops probe_actor_ops;
