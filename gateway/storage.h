/* Which parts of the ledger a process has, by its roles and configuration: the ledger itself, the way from it
 * to routers elsewhere, the journal of routers. */
#pragma once

#include "gateway/gateway.h"

/* When the loop for the rest is there, before the first edition, whose plugins look whether there is one. */
int gateway_add_ledger(dynabus_t *gateway, struct dyn_err *err);
/* Behind the common actors: the way to routers elsewhere, where there are such and a ledger. */
void gateway_link_ledger(dynabus_t *gateway);
