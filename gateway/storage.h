/* Which parts of the ledger a process has, by its roles and configuration: the ledger itself, the way from it
 * to routers elsewhere, the journal of routers. */
#pragma once

#include "actors/ledger/ledger_config.h"
#include "gateway/gateway.h"

/* The store that is configured, or none. -1: it is one that there is not. */
int gateway_find_store(const dynabus_t *gateway, struct ledger_place *place, struct dyn_err *err);
/* The same by a configuration alone. */
int gateway_place_of(const config_t *config, struct ledger_place *place, struct dyn_err *err);
/* When the loop for the rest is there, before the first edition, whose plugins look whether there is one. */
int gateway_add_ledger(dynabus_t *gateway, struct dyn_err *err);
/* Behind the common actors: the way to routers elsewhere, where there are such and a ledger. */
void gateway_link_ledger(dynabus_t *gateway);
