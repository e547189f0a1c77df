/* `plugins:` of the configuration file: which plugins vote, where, and what happens when one does not. Keys
 * of each built-in's `config:` are its own table (plugin.h). */
#pragma once

#include "actors/plugins/plugin.h"

enum plugin_on_failure { PLUGIN_ON_FAILURE_BY_TYPE, PLUGIN_ON_FAILURE_CLOSED, PLUGIN_ON_FAILURE_OPEN };
enum plugin_place { PLUGIN_PLACE_ROUTER, PLUGIN_PLACE_PLUGIN };
/* At most so many different names: each is a bit in a request. */
enum { PLUGINS_MAX = 32 };

/* One entry of the list. Several may name the same plugin, at other stages. */
struct plugin_entry_config {
    struct config_mark mark;
    struct dyn_slice name;
    struct dyn_slice type;        /* as written; a built-in knows its own */
    struct config_strings stages; /* both spellings together; none: all that the plugin has */
    struct dyn_slice stage;
    bool enabled;
    bool required;
    bool is_required_set;
    uint64_t timeout_ms;
    int on_failure;               /* enum plugin_on_failure */
    int place;                    /* enum plugin_place */
    struct config_variant config; /* by name */
};

struct plugin_config {
    struct config_list plugins; /* of struct plugin_entry_config, in the order of the file */
};

extern const struct config_part plugin_config_part;

/* One plugin as the list comes to: its entries put together. */
struct plugin_wanted {
    struct dyn_slice name;
    const struct plugin_ops *ops; /* NULL: it joins over the bus */
    enum plugin_type type;
    uint32_t stages;             /* VOTE_STAGE_BIT; 0 (with ops NULL): all that it says it has */
    struct plugin_traits traits; /* with ops */
    bool required;
    bool fails_open;
    uint32_t timeout_ms;
    enum plugin_place place;
    bool is_implied;                         /* no entry names it: it is there for keys with limits */
    const struct plugin_entry_config *entry; /* the first of its entries */
    bool is_unnamed;                         /* registered, and no entry names it: hosted there */
};
/* Those enabled, in the order of the file, each name once; at most PLUGINS_MAX. `registered` (may be NULL)
 * are tables of the program's own, ends with NULL: those that no entry names stand behind the others, with
 * the defaults of an entry. */
size_t plugin_config_wanted(const struct plugin_config *config, const struct plugin_ops *const *registered,
                            struct plugin_wanted wanted[PLUGINS_MAX]);
/* Adds those of `implied` (may be NULL) that `config` has no entry of, not even one that is not enabled.
 * Returns how many there are then. */
size_t plugin_config_add_implied(const struct plugin_config *config, const struct plugin_config *implied,
                                 struct plugin_wanted wanted[PLUGINS_MAX], size_t n);
/* How many different names there would be, without that bound. */
size_t plugin_config_names(const struct plugin_config *config, const struct plugin_config *implied,
                           const struct plugin_ops *const *registered);
