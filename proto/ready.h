/* What a worker says it serves: the map in the body of its READY (02-WORKER). Written by workers, read by
 * routers from anyone whose key lets him be a worker; nothing in it is trusted before it was checked. */
#pragma once

#include "core/arena.h"
#include "core/buf.h"
#include "core/err.h"
#include "proto/env.h"

#define READY_DIALECT "openai_chat" /* when none is said */

/* Bytes, but for the first two. Names and models go into headers, log lines and answers. */
enum {
    READY_TARGETS_MAX = 64,
    READY_MODELS_MAX = 4096, /* of all targets together */
    READY_NAME_MAX = 256,
    READY_PROVIDER_MAX = 128,
    READY_DIALECT_MAX = 64,
    READY_MODEL_MAX = 1024,
};

struct ready_target {
    struct dyn_slice name;
    struct dyn_slice provider;      /* provider id; absent: not said */
    struct dyn_slice dialect;       /* language of the bodies it takes and gives; absent: READY_DIALECT */
    const struct dyn_slice *models;
    size_t n_models;
    uint32_t surfaces; /* bits 1 << enum env_surface; written 0: chat alone; read 0: none that we know */
    bool any_model;    /* serves models that it does not name too */
};

struct ready {
    const struct ready_target *targets;
    size_t n_targets;
};

/* Targets and models whose name no request can carry (not UTF-8, too long) are left out, and models beyond
 * READY_MODELS_MAX: a router that has the target in its configuration knows them from there. */
void ready_encode(const struct ready *ready, struct dyn_buf *out);
/* Texts stay in `body`, lists go into the arena; what it allocates is bounded by the numbers above. An absent
 * body serves nothing. Unknown keys and surfaces are skipped. -1 with a sentence for the worker's author when
 * it is no such map, says something twice, or goes beyond a limit; *ready is empty then. */
int ready_decode(struct dyn_slice body, struct arena *arena, struct ready *ready, struct dyn_err *err);
