/* The parts that a configuration file of this program is made of. */
#pragma once

#include "core/config.h"

extern const struct config_part *const gateway_parts[];
extern const size_t gateway_n_parts;

/* Of a configuration that can be used otherwise: -1 with a sentence when something in it needs a store that
 * is nowhere said. */
int gateway_check_store(const config_t *config, struct dyn_err *err);
