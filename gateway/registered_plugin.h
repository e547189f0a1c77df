/* A plugin that the program around the library brought: what it is called, where it votes and the functions
 * that do it. Counted references: the gateway that lists it, instances of it and questions to it. */
#pragma once

#include "actors/plugins/plugin.h"
#include "core/arena.h"
#include "dynabus.h"

#include <stdatomic.h>

struct registered_plugin {
    atomic_uint refs;
    struct arena arena;
    struct dynabus_plugin plugin; /* its texts lie in the arena */
    struct plugin_ops ops;        /* of its own, so that it looks like any plugin */
};

/* NULL with a sentence when it can't be one. */
struct registered_plugin *registered_plugin_new(const struct dynabus_plugin *plugin, struct dyn_err *err);
struct registered_plugin *registered_plugin_ref(struct registered_plugin *registered)
    __attribute__((returns_nonnull));
/* With the last one its `freed` is called. NULL is accepted. */
void registered_plugin_unref(struct registered_plugin **registered_p);

/* An instance: the plugin under one `config:`. Counted references, since questions outlive it. */
struct registered_config {
    atomic_uint refs;
    struct registered_plugin *registered;
    char *json;
};
struct registered_config *registered_config_ref(struct registered_config *config)
    __attribute__((returns_nonnull));
void registered_config_unref(struct registered_config **config_p); /* NULL is accepted */

/* Those of an edition, as plugin_config_wanted() wants them. */
enum { REGISTERED_PLUGINS_MAX = 32 };
struct registered_ops {
    const struct plugin_ops *items[REGISTERED_PLUGINS_MAX + 1]; /* ends with NULL */
};
void registered_plugin_list(struct registered_plugin *const *registered, size_t n,
                            struct registered_ops *out);
