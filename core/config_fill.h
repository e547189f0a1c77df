/* The tree of a file poured into the structs of the parts, as their tables say. Internal to the loader. */
#pragma once

#include "core/config_refs.h"
#include "core/config_tree.h"
#include "core/err.h"

enum { CONFIG_MAX_PARTS = 16 };

/* One part's struct for the map that is being read. Several lie over one map when several parts declare
 * the same section; each takes the keys that it knows. */
struct config_layer {
    const struct config_section *section;
    char *base;
    bool resolves; /* references are looked up; else they stay as written */
};

/* The way from the top of the file to a value: "targets[2].weight". */
struct config_place {
    const struct config_place *up;
    struct dyn_slice key; /* absent for an item of a list */
    size_t index;
};
struct config_name config_place_text(const struct config_place *place);

struct config_fill {
    struct arena *arena;
    struct config_problems *problems;
    struct config_refs refs;
    bool is_json;
    bool is_default;   /* values come from the tables: no warnings */
    size_t list_bytes; /* of all lists of sections */
};

/* `root` is the top of the file, or NULL for an empty one. The layers hold their defaults already. */
void config_fill_root(struct config_fill *fill, const struct config_node *root,
                      const struct config_layer *layers, size_t n);
/* Zeroes the struct and gives every key its default. */
void config_fill_defaults(struct config_fill *fill, const struct config_section *section, char *base);

/* A value of any type but sections; a problem leaves what was there (config_assign.c). */
void config_assign(struct config_fill *fill, const struct config_key *key, bool part_resolves, char *base,
                   const struct config_node *node, const struct config_place *place);
/* "expected a list here: ..." */
void config_wrong_kind(struct config_fill *fill, const struct config_key *key, const struct config_node *node,
                       const struct config_place *place);
void config_unsupported(struct config_fill *fill, struct config_mark mark, const struct config_place *place,
                        const char *value);
/* A map of any keys as JSON, terminated: what is written without quotes is a number, true, false or null
 * where JSON has it so, else text (config_json_text.c). */
struct dyn_slice config_node_json(struct config_fill *fill, const struct config_node *node, bool resolves,
                                  const struct config_place *place);
/* Keeps where the value of that memory stands, for config_mark_of (config_problems.c). */
void config_mark_record(struct config_problems *problems, const void *field, size_t size,
                        struct config_mark mark);
struct config_marks *config_marks_new(struct arena *arena);
