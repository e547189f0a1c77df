/* What a provider's row changes in the body of a request: parameters that it has under another name, in
 * another form, or not at all. Pure; the result is edits for the dialect's splice, nothing is copied here. */
#pragma once

#include "actors/providers/provider_config.h"
#include "core/arena.h"
#include "core/json_scan.h"

struct provider_params {
    uint32_t unsupported;    /* given, and the provider does not take them: DIALECT_PARAM_* */
    struct json_edit *edits; /* ascending, not overlapping; in the arena */
    size_t n_edits;
};

/* Whether a request with those parameters needs a closer look: most do not. */
bool provider_params_concern(const struct provider_row *row, uint32_t params);
/* `body` was validated as the dialect's, `params` is what was found in it. Unsupported ones are left where
 * they are, but taken out with `mode` drop. */
void provider_params_read(const struct provider_row *row, enum provider_on_unsupported mode,
                          struct dyn_slice body, uint32_t params, struct arena *arena,
                          struct provider_params *result);
/* The same for a request for embeddings. */
void provider_params_embeddings(const struct provider_row *row, struct dyn_slice body, struct arena *arena,
                                struct provider_params *result);
/* "logprobs, user". */
void provider_params_names(struct dyn_buf *out, uint32_t params);
