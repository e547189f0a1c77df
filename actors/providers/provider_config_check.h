/* The checks of the providers' configuration. Nothing here is for others. */
#pragma once

#include "actors/providers/provider_config.h"

/* Adds problems, and gives what was written as 0 its default. `values` is a struct provider_config. */
void provider_config_check(void *values, struct config_problems *problems);
