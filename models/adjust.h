/* A catalogue with prices that the operator set. */
#pragma once

#include "models/catalogue.h"

struct catalogue_adjustment {
    struct dyn_slice target;   /* the price is this target's alone; absent: all of the provider's */
    struct dyn_slice provider; /* of the target, or itself */
    struct dyn_slice model;
    uint64_t prices[CATALOGUE_PRICE_COUNT]; /* whatever the request's size; PRICE_UNKNOWN: as it was */
};

/* One reference. A price that is set takes the place of all that the catalogue has of its kind, those of long
 * requests and of other services too. What is not set, and everything else about the model, stays. */
catalogue_t *catalogue_adjust(const catalogue_t *catalogue, const struct catalogue_adjustment *adjustments,
                              size_t n);
