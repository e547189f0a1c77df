/* The probe actor: answers readiness and health in a process that has neither router nor edge, only workers: it is
 * ready when a router knows it. Everything else is not found there. */
#pragma once

#include "bus/remote.h"

/* `process` outlives it. Give both to bus_add_actor(). */
void *probe_new(const struct bus_process *process);
extern const struct bus_actor_ops probe_actor_ops;
