/* POST /embeddings: vectors that are made up, but the same for the same text. */
#pragma once

#include "core/block.h"
#include "core/base.h"

/* The whole answer, with that room in front. NULL with the parameter that is wrong and why. */
dyn_block_t *mock_embeddings(struct dyn_slice body, size_t headroom, const char **why, const char **param);
