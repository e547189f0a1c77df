/* Whether there are files enough to start with. Event loop and bus libraries end the process when they
 * meet the limit while they set themselves up, so it is looked at before. */
#pragma once

#include "core/err.h"

/* -1 with a sentence when this process may not open what `n_cells` cells need without any connection. */
int descriptors_check(unsigned n_cells, struct dyn_err *err);
