/* What anyone says to serve: decoded or refused. What was decoded is encoded, and decodes to the same. */
#include "proto/ready.h"

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
same(const struct ready_target *a, const struct ready_target *b)
{
    DYN_ASSERT(dyn_slice_eq(a->name, b->name) && dyn_slice_eq(a->dialect, b->dialect));
    DYN_ASSERT(dyn_slice_eq(a->provider, b->provider) && a->any_model == b->any_model);
    DYN_ASSERT(a->n_models == b->n_models);
    /* none that we know cannot be said: nothing said is chat */
    DYN_ASSERT(a->surfaces == b->surfaces || (a->surfaces == 0 && b->surfaces == 1u << ENV_SURFACE_CHAT));
    for (size_t i = 0; i < a->n_models; i++) {
        DYN_ASSERT(dyn_slice_eq(a->models[i], b->models[i]));
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct ready ready;
    struct ready again;
    struct dyn_err err = {.text = ""};
    struct dyn_buf body = DYN_BUF_INIT;
    arena_init(&arena, NULL, 0);
    if (ready_decode(dyn_slice((const char *)data, size), &arena, &ready, &err) != 0) {
        DYN_ASSERT(ready.n_targets == 0 && err.text[0] != '\0');
    } else {
        DYN_ASSERT(ready.n_targets <= READY_TARGETS_MAX);
        ready_encode(&ready, &body);
        DYN_ASSERT(ready_decode(dyn_buf_slice(&body), &arena, &again, &err) == 0);
        DYN_ASSERT(ready.n_targets == again.n_targets);
        for (size_t i = 0; i < ready.n_targets; i++) {
            same(&ready.targets[i], &again.targets[i]);
        }
    }
    dyn_buf_fini(&body);
    arena_fini(&arena);
    return 0;
}
