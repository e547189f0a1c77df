/* The catalogue with the prices of the configuration. */
#pragma once

#include "core/config.h"
#include "models/catalogue.h"
#include "router/strategy.h"

/* One reference: `base` with what `models.prices` sets for providers and for targets. */
catalogue_t *gateway_price(const catalogue_t *base, const config_t *config,
                           const struct route_target *targets, size_t n_targets);
