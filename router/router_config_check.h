/* The checks of the router's configuration. Nothing here is for others. */
#pragma once

#include "router/router_config.h"

/* Adds problems, and finishes values that have two spellings: what was written as 0 is the default then, and
 * a hedge has its time in milliseconds. `values` is a struct router_config. */
void router_config_check(void *values, struct config_problems *problems);
