/* Changes of a JSON text, each at a place that a JSON pointer (RFC 6901) names, made as splices: what is not
 * named keeps its bytes. All of them or none. Pure. Specified in proto/05-PLUGIN.md, "Edits".
 *
 * Every pointer means the text as it was before the first of them. `replace` and `remove` need something
 * there. `add` puts a member into an object (one of that name must not be there), or an item into an array
 * before the one of that number, or behind the last with `-`. Two edits must not touch the same bytes. A name
 * that an object has twice names no place: nobody knows which of the two a reader takes.
 *
 * Edits in the order of the text cost one walk over it, however many they are. */
#pragma once

#include "core/block.h"
#include "core/json_scan.h"
#include "proto/vote.h"

enum {
    EDITS_POINTER_MAX = 1024,             /* bytes */
    EDITS_WORK_MAX = 128 * 1024 * 1024,   /* bytes that are walked over to find all places */
};

/* `text` has been scanned (valid JSON). Gives a new block with `headroom` bytes free in front. -1 with a
 * sentence that names the edit; then there is none. The values are checked, one JSON text each. */
DYN_MUST_CHECK int edits_apply(struct dyn_slice text, const struct vote_edit *edits, size_t n,
                               size_t headroom, dyn_block_t **out, struct dyn_err *err);
