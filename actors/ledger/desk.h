/* The desk: what operators ask of the ledger over HTTP (REQUESTs of the surface `admin` about logs, audit
 * and budgets, admitted by a router) becomes a question for the process's journal, and its answer JSON. What
 * is deleted or forgiven leaves a row in the audit log. One per process with routers and a store, on a loop
 * that carries no requests. */
#pragma once

#include "bus/bus.h"

enum { DESK_QUESTIONS_MAX = 64 }; /* under way; further ones are told to come again */

/* Give both to bus_add_actor(). */
void *desk_new(bus_addr_t journal);
extern const struct bus_actor_ops desk_actor_ops;
