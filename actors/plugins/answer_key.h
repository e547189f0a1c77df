/* What makes two requests the same question: a digest over who asks and everything that changes the answer.
 * Of the body all counts, also members that nobody here has heard of, but for those that say only in which
 * form the answer comes (`stream`, `stream_options`) and the model's name, for which stands what its alias
 * means. The order of members and the spelling of strings do not matter; the spelling of numbers does, which
 * costs a miss at worst. Pure. */
#pragma once

#include "actors/plugins/answer_cache.h"
#include "core/buf.h"
#include "proto/vote.h"

/* `body` is valid JSON. `scratch` is memory to use again; what was in it is gone. Of the client's headers
 * those count that decide about the way, `cache-control` does not. */
void answer_key_of(const struct vote_facts *facts, struct dyn_slice body, struct dyn_buf *scratch,
                   struct answer_key *key);
