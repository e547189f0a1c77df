/* One value from the tree into one field: what the schema's type makes of a scalar, a list of scalars or
 * a map of scalars. A problem names the key by its way from the top, shows the text as it was written,
 * and never shows what a reference stands for or what a secret holds. */
#include "core/config_fill.h"
#include "core/config_value.h"

#include <stdio.h>

static bool
is_scalar(const struct config_node *node)
{
    return node->kind == CONFIG_NODE_PLAIN || node->kind == CONFIG_NODE_QUOTED;
}

static bool
is_list(enum config_type type)
{
    return type == CONFIG_STRING_LIST || type == CONFIG_SECRET_LIST || type == CONFIG_INT_LIST;
}

static void
add_problem(struct config_fill *fill, const struct config_node *node, const struct config_place *place,
            const char *text)
{
    config_problem_refuse(fill->problems, node->mark, "'%s' %s", config_place_text(place).text, text);
}

void
config_wrong_kind(struct config_fill *fill, const struct config_key *key, const struct config_node *node,
                  const struct config_place *place)
{
    const char *expected = "a single value";
    if (is_list(key->type) || key->type == CONFIG_SECTION_LIST) {
        expected = "a list";
    } else if (key->type == CONFIG_STRING_MAP || key->type == CONFIG_SECTION || key->type == CONFIG_VARIANT) {
        expected = "keys and values";
    }
    config_problem_refuse(fill->problems, node->mark, "expected %s here: '%s' is %s", expected,
                          config_place_text(place).text, config_type_wants(key->type));
}

void
config_unsupported(struct config_fill *fill, struct config_mark mark, const struct config_place *place,
                   const char *value)
{
    char what[CONFIG_NAME_BYTES + 100];
    (void)snprintf(what, sizeof what, "'%s%s%s'", config_place_text(place).text, value ? ": " : "",
                   value ? value : "");
    config_problem_unsupported(fill->problems, mark, what);
}

/* JSON has types of its own, so text without quotes is a mistake there; in YAML it is how one writes. */
static int
read_text(struct config_fill *fill, bool resolves, const struct config_node *node,
          const struct config_place *place, struct dyn_slice *out)
{
    if (fill->is_json && node->kind == CONFIG_NODE_PLAIN) {
        add_problem(fill, node, place, "must be a text in quotes");
        return -1;
    }
    if (!resolves) {
        *out = node->text;
        return 0;
    }
    return config_refs_resolve(&fill->refs, node->text, node->mark, config_place_text(place).text, out);
}

static void
warn_of_literal(struct config_fill *fill, const struct config_node *node, const struct config_place *place)
{
    if (node->text.len > 0 && !config_refs_any(node->text) && !fill->is_default) {
        config_problem_add(fill->problems, node->mark, true,
                           "'%s' holds a secret in plain text; refer to it with ${NAME} or ${file:PATH}",
                           config_place_text(place).text);
    }
}

static void
assign_text(struct config_fill *fill, const struct config_key *key, bool resolves, char *field,
            const struct config_node *node, const struct config_place *place)
{
    struct dyn_slice text;
    if (read_text(fill, resolves, node, place, &text) != 0) {
        return;
    }
    memcpy(field, &text, sizeof text);
    if (key->type == CONFIG_SECRET) {
        warn_of_literal(fill, node, place);
    }
}

static int
read_enum(struct config_fill *fill, const struct config_key *key, const struct config_node *node,
          const struct config_place *place, int *out, struct dyn_err *err)
{
    if (fill->is_json && node->kind == CONFIG_NODE_PLAIN) {
        return dyn_err_set(err, DYN_E_CONFIG, "must be a text in quotes");
    }
    const char *const *names = key->unsupported_names;
    for (; names != NULL && *names != NULL; names++) {
        if (dyn_slice_is(node->text, *names)) {
            config_unsupported(fill, node->mark, place, *names);
            return 0;
        }
    }
    return config_read_enum(node->text, key, out, err);
}

static int
read_int(const struct config_key *key, const struct config_node *node, int64_t *out, struct dyn_err *err)
{
    int64_t value;
    if (node->kind == CONFIG_NODE_QUOTED) {
        return dyn_err_set(err, DYN_E_CONFIG, "must be a whole number; quotes make it text, leave them out");
    }
    if (config_read_int(node->text, &value, err) != 0 ||
        config_check_range(key, (double)value, node->text, err) != 0) {
        return -1;
    }
    *out = value;
    return 0;
}

static int
read_bool(const struct config_node *node, bool *out, struct dyn_err *err)
{
    if (node->kind == CONFIG_NODE_QUOTED) {
        return dyn_err_set(err, DYN_E_CONFIG, "must be true or false; quotes make it text, leave them out");
    }
    bool value;
    if (config_read_bool(node->text, &value, err) != 0) {
        return -1;
    }
    *out = value;
    return 0;
}

static int
read_number(const struct config_key *key, const struct config_node *node, double *out, struct dyn_err *err)
{
    double value;
    if (node->kind == CONFIG_NODE_QUOTED) {
        return dyn_err_set(err, DYN_E_CONFIG, "must be a number; quotes make it text, leave them out");
    }
    if (config_read_number(node->text, &value, err) != 0 ||
        config_check_range(key, value, node->text, err) != 0) {
        return -1;
    }
    *out = value;
    return 0;
}

/* Quotes are no mistake here: JSON needs them for anything with a unit. */
static int
read_measure(const struct config_key *key, const struct config_node *node, uint64_t *out, struct dyn_err *err)
{
    uint64_t value = 0;
    int result = key->type == CONFIG_SIZE ? config_read_size(node->text, &value, err)
                                          : config_read_duration(node->text, &value, err);
    if (result != 0 || config_check_range(key, (double)value, node->text, err) != 0) {
        return -1;
    }
    *out = value;
    return 0;
}

static void
assign_scalar(struct config_fill *fill, const struct config_key *key, bool resolves, char *field,
              const struct config_node *node, const struct config_place *place)
{
    struct dyn_err err;
    int result = 0;
    void *out = field; /* the table says that it is aligned for its type */
    if (!is_scalar(node)) {
        config_wrong_kind(fill, key, node, place);
        return;
    }
    if (key->type == CONFIG_STRING || key->type == CONFIG_SECRET) {
        assign_text(fill, key, resolves, field, node, place);
    } else if (key->type == CONFIG_BOOL) {
        result = read_bool(node, out, &err);
    } else if (key->type == CONFIG_INT) {
        result = read_int(key, node, out, &err);
    } else if (key->type == CONFIG_NUMBER) {
        result = read_number(key, node, out, &err);
    } else if (key->type == CONFIG_ENUM) {
        result = read_enum(fill, key, node, place, out, &err);
    } else {
        result = read_measure(key, node, out, &err);
    }
    if (result != 0) {
        add_problem(fill, node, place, err.text);
    }
}

static void
assign_strings(struct config_fill *fill, const struct config_key *key, bool resolves, char *field,
               const struct config_node *node, const struct config_place *place)
{
    struct config_strings list = {arena_zalloc(fill->arena, node->n * sizeof *list.items), 0};
    size_t index = 0;
    for (const struct config_node *item = node->first; item != NULL; item = item->next, index++) {
        struct config_place at = {.up = place, .index = index};
        if (!is_scalar(item)) {
            if (item->kind != CONFIG_NODE_BROKEN) {
                add_problem(fill, item, &at, "must be a text");
            }
        } else if (read_text(fill, resolves, item, &at, &list.items[list.n]) == 0) {
            config_mark_record(fill->problems, &list.items[list.n], sizeof *list.items, item->mark);
            list.n++;
            if (key->type == CONFIG_SECRET_LIST) {
                warn_of_literal(fill, item, &at);
            }
        }
    }
    memcpy(field, &list, sizeof list);
}

static void
assign_ints(struct config_fill *fill, const struct config_key *key, char *field,
            const struct config_node *node, const struct config_place *place)
{
    struct config_ints list = {arena_zalloc(fill->arena, node->n * sizeof *list.items), 0};
    size_t index = 0;
    for (const struct config_node *item = node->first; item != NULL; item = item->next, index++) {
        struct config_place at = {.up = place, .index = index};
        struct dyn_err err = {DYN_E_CONFIG, "must be a whole number"};
        if (item->kind == CONFIG_NODE_BROKEN) {
            continue;
        }
        if (!is_scalar(item) || read_int(key, item, &list.items[list.n], &err) != 0) {
            add_problem(fill, item, &at, err.text);
        } else {
            config_mark_record(fill->problems, &list.items[list.n], sizeof *list.items, item->mark);
            list.n++;
        }
    }
    memcpy(field, &list, sizeof list);
}

static void
assign_map(struct config_fill *fill, bool resolves, char *field, const struct config_node *node,
           const struct config_place *place)
{
    struct config_map map = {arena_zalloc(fill->arena, node->n * sizeof *map.keys),
                             arena_zalloc(fill->arena, node->n * sizeof *map.values), 0};
    for (const struct config_node *item = node->first; item != NULL; item = item->next) {
        struct config_place at = {.up = place, .key = item->key};
        if (!is_scalar(item)) {
            if (item->kind != CONFIG_NODE_BROKEN && item->kind != CONFIG_NODE_NULL) {
                add_problem(fill, item, &at, "must be a text");
            }
        } else if (read_text(fill, resolves, item, &at, &map.values[map.n]) == 0) {
            config_mark_record(fill->problems, &map.keys[map.n], sizeof *map.keys, item->key_mark);
            config_mark_record(fill->problems, &map.values[map.n], sizeof *map.values, item->mark);
            map.keys[map.n++] = item->key;
        }
    }
    memcpy(field, &map, sizeof map);
}

void
config_assign(struct config_fill *fill, const struct config_key *key, bool part_resolves, char *base,
              const struct config_node *node, const struct config_place *place)
{
    char *field = base + key->offset;
    bool resolves = part_resolves || key->every_role;
    if (!is_list(key->type) && key->type != CONFIG_STRING_MAP) {
        assign_scalar(fill, key, resolves, field, node, place);
    } else if (node->kind != (is_list(key->type) ? CONFIG_NODE_LIST : CONFIG_NODE_MAP)) {
        config_wrong_kind(fill, key, node, place);
    } else if (key->type == CONFIG_STRING_LIST || key->type == CONFIG_SECRET_LIST) {
        assign_strings(fill, key, resolves, field, node, place);
    } else if (key->type == CONFIG_INT_LIST) {
        assign_ints(fill, key, field, node, place);
    } else {
        assign_map(fill, resolves, field, node, place);
    }
}
