/* The keys of a gateway: who reads them, and where. Worked out before anything runs. */
#pragma once

#include "gateway/gateway.h"

/* Opens the store of keys, if there is one and a router that admits requests, and reads it. -1 with err: it
 * can't be read. */
int gateway_open_keys(dynabus_t *gateway, struct dyn_err *err);
/* Whether somebody could use one of them to get in; true where another process decides. */
bool gateway_has_usable_key(const dynabus_t *gateway);
struct plugin_config;
/* The plugins that hold what stands in keys where the configuration names none. NULL: there are no keys. */
const struct plugin_config *gateway_implied_plugins(const dynabus_t *gateway);
/* The actor that answers operators, on the loop that carries no requests. */
void gateway_add_keys(dynabus_t *gateway);
/* After the bus is gone. */
void gateway_close_keys(dynabus_t *gateway);
