/* The plugins of one configuration that this process hosts: instances, each made once and shared by all
 * cells. Immutable, with counted references; a plugin whose configuration is as it was keeps its instance
 * under the next one. Any thread, once made. */
#pragma once

#include "actors/plugins/plugin_config.h"

typedef struct plugin_set plugin_set_t;

struct plugin_set_options {
    const struct plugin_config *config;
    const struct plugin_config *implied; /* see plugin_config_add_implied(); may be NULL */
    const struct plugin_ops *const *registered; /* of the program; ends with NULL; may be NULL */
    const struct plugin_host *host;             /* outlives the set */
    bool hosts_router; /* those with `place: router` are hosted here */
    bool hosts_plugin; /* ... and those with `place: plugin` */
    plugin_set_t *former; /* NULL: there is none */
};

/* One reference. NULL with a sentence that names the plugin. */
plugin_set_t *plugin_set_new(const struct plugin_set_options *options, struct dyn_err *err);
plugin_set_t *plugin_set_ref(plugin_set_t *set) __attribute__((returns_nonnull));
void plugin_set_unref(plugin_set_t **set_p); /* NULL is accepted */

/* A reference for who may still have instances asked: the plan of a router. */
plugin_set_t *plugin_set_hold(plugin_set_t *set) __attribute__((returns_nonnull));
void plugin_set_release(plugin_set_t **set_p); /* NULL is accepted */
bool plugin_set_is_held(const plugin_set_t *set);

size_t plugin_set_count(const plugin_set_t *set); /* 0 of NULL */

/* One that is hosted here. Open for reading. */
struct plugin_instance {
    atomic_uint refs;
    uint64_t serial; /* of this process, from 1: asks name it, so that a reload changes nothing for those in
                      * flight */
    struct dyn_slice name;
    const struct plugin_ops *ops;
    struct plugin_traits traits;
    void *shared; /* of the plugin */
    char *json;   /* what it was made of, to tell whether that has changed */
};
struct plugin_instance *plugin_instance_ref(const struct plugin_instance *instance)
    __attribute__((returns_nonnull));
void plugin_instance_unref(struct plugin_instance *instance);
const struct plugin_instance *plugin_set_at(const plugin_set_t *set, size_t index);
/* NULL: it is not hosted here. */
const struct plugin_instance *plugin_set_find(const plugin_set_t *set, struct dyn_slice name);
