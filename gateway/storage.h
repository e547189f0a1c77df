/* Which parts of the ledger a process has, by its roles and configuration: the ledger itself, the way from it
 * to routers elsewhere, the journal of routers. */
#pragma once

#include "gateway/gateway.h"

/* When loops and common actors are there, before the cells. */
int gateway_add_ledger(dynabus_t *gateway, struct dyn_err *err);
