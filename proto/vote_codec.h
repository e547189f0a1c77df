/* Facts of an ASK as the member `facts` of its header, and back. Private to the codec of envelopes. */
#pragma once

#include "proto/vote.h"

#include <msgpack.h>

/* Packs a map. */
void vote_facts_pack(const struct vote_facts *facts, msgpack_packer *packer);
/* Bytes that it takes at most. */
size_t vote_facts_size(const struct vote_facts *facts);
/* The map whose head `map` has just been read from `cursor`; checked bytes only. NULL, or what is wrong. */
const char *vote_facts_decode(struct mp_cursor *cursor, const struct mp_value *map,
                              struct vote_facts *facts);
