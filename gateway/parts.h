/* The parts that a configuration file of this program is made of. */
#pragma once

#include "core/config.h"

extern const struct config_part *const gateway_parts[];
extern const size_t gateway_n_parts;
