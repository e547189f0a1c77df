/* Which rows of the request log were written lately, by a hash of their key: what a unique index would tell,
 * at a fraction of its cost (docs/decisions/0008-rows-without-an-index.md). A row is known until about
 * RECENT_ROWS others have come. Fixed memory, touched as it fills; one thread. */
#pragma once

#include "core/base.h"

enum { RECENT_ROWS = 256 * 1024 }; /* 8 bytes each */

typedef struct recent recent_t;

recent_t *recent_new(void) __attribute__((returns_nonnull));
void recent_free(recent_t **recent_p);
/* false: it is there already, or was until a moment ago. */
bool recent_add(recent_t *recent, struct dyn_slice request_id, struct dyn_slice stage);
/* What was added since the last recent_keep() is forgotten: its transaction has failed. */
void recent_undo(recent_t *recent);
void recent_keep(recent_t *recent);
