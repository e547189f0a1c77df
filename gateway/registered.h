/* A provider that the program around the library brought: what it is called, what it serves, and the
 * functions that do it. Counted references: its actors of all cells and the configurations that list it. */
#pragma once

#include "actors/providers/provider_target.h"
#include "core/arena.h"
#include "dynabus.h"

#include <stdatomic.h>

struct registered {
    atomic_uint refs;
    struct arena arena;
    struct dynabus_provider provider; /* its texts lie in the arena */
    struct provider_row row;          /* of its own, so that it looks like any target */
    struct provider_target target;
};

/* NULL with a sentence when it can't be one. */
struct registered *registered_new(const struct dynabus_provider *provider, struct dyn_err *err);
struct registered *registered_ref(struct registered *registered) __attribute__((returns_nonnull));
/* With the last one its `freed` is called. NULL is accepted. */
void registered_unref(struct registered **registered_p);
