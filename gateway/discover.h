/* Discovery: asks the providers of this process's targets which models they have (GET {root}/models), and
 * keeps what each said last. Blocks; the refresh's thread does it. */
#pragma once

#include "core/arena.h"
#include "gateway/upstreams.h"

#include <stdatomic.h>

/* What one target's provider said last, and who was asked. */
struct discovered {
    struct dyn_slice name; /* of the target */
    const struct provider_row *provider;
    struct dyn_slice root;
    struct dyn_slice *models; /* in the order of their bytes, each once */
    size_t n;
};

/* Of all targets, immutable once made. */
struct discovery {
    struct arena arena;
    struct discovered *items;
    size_t n;
};

enum { DISCOVERED_MAX = 4096 }; /* models of one target; further ones are left out */

/* `former` (may be NULL): what a target that does not answer keeps. */
struct discovery *discovery_run(const upstreams_t *upstreams, const struct discovery *former,
                                const atomic_bool *stop);
void discovery_free(struct discovery **discovery_p);
bool discovery_same(const struct discovery *a, const struct discovery *b);
/* NULL: it was not asked, or another provider or URL was by that name. */
const struct discovered *discovery_of(const struct discovery *discovery,
                                      const struct provider_target *target);
/* Whom a discovery asks, as a text to compare. The caller frees it. */
char *discovery_asks(const upstreams_t *upstreams);
/* What an answer lists: {"data": [{"id": ..}, ..]}, or the array alone. False, and nothing found, when it is
 * no list or has entries and no name of a model; a list without entries says that there are none. */
bool discovery_read(struct arena *arena, struct dyn_slice text, struct discovered *found);
