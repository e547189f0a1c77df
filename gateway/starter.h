/* The configuration that `dynabus init` writes: a target for each provider whose variables are set, with
 * comments on what else there is. The values of variables are not in it. */
#pragma once

#include "core/buf.h"
#include "core/config.h"

/* `lookup` finds variables; NULL: getenv. *n_targets is how many providers were found; with none of them
 * `openai` stands there, waiting for its key. */
void starter_write(const struct config_lookup *lookup, struct dyn_buf *out, size_t *n_targets);
