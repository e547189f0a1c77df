/* Walks the tree and the tables side by side. A map of the file may be read by several parts at once
 * (layers); the top level is the map that all parts read. */
#include "core/config_fill.h"

#include "core/config_value.h"

#include <stdio.h>

/* All lists of sections together: an item takes 3 bytes in the file and a struct in memory. */
#define LIST_BYTES_MAX (64u * 1024 * 1024)
/* Unknown keys are answered with the known ones when that still is a help to read. */
#define LISTED_KEYS_MAX 12
/* Over all parts, in one section. */
#define SECTION_KEYS_MAX 256

/* A map and those who read it. */
struct scope {
    const struct config_node *node;
    const struct config_layer *layers;
    size_t n;
    const struct config_place *place; /* NULL at the top */
};

struct match {
    const struct config_layer *layer;
    const struct config_key *key;
};
struct matches {
    struct match items[CONFIG_MAX_PARTS];
    size_t n;
};

static void fill_map(struct config_fill *fill, const struct scope *scope);

static size_t
write_place(const struct config_place *place, char *out, size_t room)
{
    size_t used = place->up != NULL ? write_place(place->up, out, room) : 0;
    int more;
    if (place->key.data == NULL) {
        more = snprintf(out + used, room - used, "[%zu]", place->index);
    } else {
        more =
            snprintf(out + used, room - used, "%s%s", used > 0 ? "." : "", config_name(place->key, 60).text);
    }
    used += (size_t)more;
    return used < room ? used : room - 1; /* long ways are cut */
}

struct config_name
config_place_text(const struct config_place *place)
{
    struct config_name name;
    (void)write_place(place, name.text, sizeof name.text);
    return name;
}

static size_t
field_size(const struct config_key *key)
{
    switch (key->type) {
    case CONFIG_STRING:
    case CONFIG_SECRET:
        return sizeof(struct dyn_slice);
    case CONFIG_BOOL:
        return sizeof(bool);
    case CONFIG_INT:
    case CONFIG_NUMBER:
    case CONFIG_SIZE:
    case CONFIG_DURATION:
        return sizeof(uint64_t);
    case CONFIG_ENUM:
        return sizeof(int);
    case CONFIG_STRING_LIST:
    case CONFIG_SECRET_LIST:
        return sizeof(struct config_strings);
    case CONFIG_INT_LIST:
        return sizeof(struct config_ints);
    case CONFIG_STRING_MAP:
        return sizeof(struct config_map);
    case CONFIG_SECTION:
        return key->section->size;
    case CONFIG_SECTION_LIST:
        return sizeof(struct config_list);
    case CONFIG_VARIANT:
        return sizeof(struct config_variant);
    case CONFIG_UNSUPPORTED:
        return 0;
    }
    return 0;
}

static struct matches
find_matches(const struct scope *scope, struct dyn_slice name)
{
    struct matches found = {.n = 0};
    for (size_t i = 0; i < scope->n; i++) {
        for (const struct config_key *key = scope->layers[i].section->keys; key->name != NULL; key++) {
            if (dyn_slice_is(name, key->name)) {
                found.items[found.n++] = (struct match){&scope->layers[i], key};
                break;
            }
        }
    }
    return found;
}

static const struct config_key *
first_of_type(const struct matches *found, enum config_type type)
{
    for (size_t i = 0; i < found->n; i++) {
        if (found->items[i].key->type == type) {
            return found->items[i].key;
        }
    }
    return NULL;
}

static bool
has_name(const char *const *names, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(names[i], name) == 0) {
            return true;
        }
    }
    return false;
}

/* The keys that all layers know here, each once; ends with NULL. */
static size_t
known_keys(const struct scope *scope, const char *names[SECTION_KEYS_MAX + 1])
{
    size_t n = 0;
    for (size_t i = 0; i < scope->n; i++) {
        const struct config_key *key = scope->layers[i].section->keys;
        for (; key->name != NULL && n < SECTION_KEYS_MAX; key++) {
            if (!has_name(names, n, key->name)) {
                names[n++] = key->name;
            }
        }
    }
    names[n] = NULL;
    return n;
}

static void
unknown_key(struct config_fill *fill, const struct scope *scope, const struct config_node *entry)
{
    const char *names[SECTION_KEYS_MAX + 1];
    struct config_listed listed = {.used = 0};
    char advice[sizeof listed.text + 20] = "";
    if (fill->problems->n >= CONFIG_PROBLEMS_MAX) { /* it is only counted: no need to look for words */
        config_problem_add(fill->problems, entry->key_mark, false, "unknown key");
        return;
    }
    size_t n = known_keys(scope, names);
    const char *nearest = config_nearest(entry->key, names);
    if (nearest != NULL) {
        (void)snprintf(advice, sizeof advice, ", did you mean '%s'?", nearest);
    } else if (n > 0 && n <= LISTED_KEYS_MAX) {
        for (size_t i = 0; i < n; i++) {
            config_list_add(&listed, names[i]);
        }
        (void)snprintf(advice, sizeof advice, "; known are %s", listed.text);
    }
    struct config_name where = scope->place ? config_place_text(scope->place) : (struct config_name){""};
    config_problem_add(fill->problems, entry->key_mark, false, "unknown key '%s'%s%s%s%s",
                       config_name(entry->key, 60).text, *where.text ? " in '" : "", where.text,
                       *where.text ? "'" : "", advice);
}

static void
store_mark(const struct config_layer *layer, struct config_mark mark)
{
    if (layer->section->mark_offset != SIZE_MAX) {
        memcpy(layer->base + layer->section->mark_offset, &mark, sizeof mark);
    }
}

static void
fill_section(struct config_fill *fill, const struct matches *found, const struct config_node *node,
             const struct config_place *place)
{
    struct config_layer layers[CONFIG_MAX_PARTS];
    size_t n = 0;
    for (size_t i = 0; i < found->n; i++) {
        const struct match *match = &found->items[i];
        if (match->key->type == CONFIG_SECTION) {
            layers[n++] = (struct config_layer){match->key->section, match->layer->base + match->key->offset,
                                                match->layer->resolves};
        }
    }
    if (node->kind != CONFIG_NODE_MAP) {
        config_wrong_kind(fill, first_of_type(found, CONFIG_SECTION), node, place);
        return;
    }
    fill_map(fill, &(struct scope){node, layers, n, place});
}

/* Defaults are made once; they are the same for all, and what they point at does not change. */
static char *
make_items(struct config_fill *fill, const struct config_section *section, size_t n)
{
    char *items = arena_alloc(fill->arena, n * section->size);
    config_fill_defaults(fill, section, items);
    for (size_t i = 1; i < n; i++) {
        memcpy(items + i * section->size, items, section->size);
    }
    return items;
}

/* An array for each layer; false when they would pass the limit. */
static bool
make_lists(struct config_fill *fill, const struct matches *found, const struct config_node *node,
           struct config_layer layers[CONFIG_MAX_PARTS], size_t *n_layers)
{
    size_t n_items = node->n;
    for (size_t i = 0; i < found->n; i++) {
        const struct match *match = &found->items[i];
        const struct config_section *section = match->key->section;
        if (match->key->type != CONFIG_SECTION_LIST) {
            continue;
        }
        if (n_items > (LIST_BYTES_MAX - fill->list_bytes) / section->size) {
            return false;
        }
        fill->list_bytes += n_items * section->size;
        struct config_list list = {make_items(fill, section, n_items), n_items};
        config_mark_record(fill->problems, list.items, n_items * section->size, node->mark);
        memcpy(match->layer->base + match->key->offset, &list, sizeof list);
        layers[(*n_layers)++] = (struct config_layer){section, list.items, match->layer->resolves};
    }
    return true;
}

static void
fill_item(struct config_fill *fill, const struct config_node *item, const struct config_layer *layers,
          size_t n, const struct config_place *place)
{
    if (item->kind == CONFIG_NODE_MAP) {
        fill_map(fill, &(struct scope){item, layers, n, place});
    } else if (item->kind != CONFIG_NODE_BROKEN) {
        config_problem_refuse(fill->problems, item->mark,
                              "expected keys and values here: '%s' is a section with keys of its own",
                              config_place_text(place).text);
    }
}

static void
fill_section_list(struct config_fill *fill, const struct matches *found, const struct config_node *node,
                  const struct config_place *place)
{
    struct config_layer layers[CONFIG_MAX_PARTS];
    size_t n = 0;
    if (node->kind != CONFIG_NODE_LIST) {
        config_wrong_kind(fill, first_of_type(found, CONFIG_SECTION_LIST), node, place);
        return;
    }
    if (node->n == 0) {
        return;
    }
    if (!make_lists(fill, found, node, layers, &n)) {
        config_problem_refuse(fill->problems, node->mark, "'%s' has too many items",
                              config_place_text(place).text);
        return;
    }
    size_t index = 0;
    for (const struct config_node *item = node->first; item != NULL; item = item->next, index++) {
        struct config_place at = {.up = place, .index = index};
        fill_item(fill, item, layers, n, &at);
        for (size_t i = 0; i < n; i++) {
            layers[i].base += layers[i].section->size;
        }
    }
}

/* The section that the word beside it stands for, wherever in the map it is written. */
static const struct config_section *
variant_of(const struct config_node *map, const struct config_key *key)
{
    for (const struct config_node *entry = map->first; entry != NULL; entry = entry->next) {
        bool is_word = entry->kind == CONFIG_NODE_PLAIN || entry->kind == CONFIG_NODE_QUOTED;
        if (is_word && dyn_slice_is(entry->key, key->variant_key)) {
            return key->variant(entry->text);
        }
    }
    return NULL;
}

static void
fill_variant(struct config_fill *fill, const struct scope *scope, const struct match *match,
             const struct config_node *entry, const struct config_place *place)
{
    struct config_variant variant = {.section = variant_of(scope->node, match->key)};
    if (entry->kind != CONFIG_NODE_MAP) {
        config_wrong_kind(fill, match->key, entry, place);
        return;
    }
    if (variant.section != NULL) {
        variant.values = make_items(fill, variant.section, 1);
        struct config_layer layer = {variant.section, variant.values, match->layer->resolves};
        fill_map(fill, &(struct scope){entry, &layer, 1, place});
    } else {
        variant.json = config_node_json(fill, entry, match->layer->resolves, place);
    }
    memcpy(match->layer->base + match->key->offset, &variant, sizeof variant);
}

/* What was not written has its defaults. */
static void
default_variants(struct config_fill *fill, const struct config_node *map, const struct config_layer *layer)
{
    for (const struct config_key *key = layer->section->keys; key->name != NULL; key++) {
        struct config_variant variant;
        if (key->type != CONFIG_VARIANT) {
            continue;
        }
        memcpy(&variant, layer->base + key->offset, sizeof variant);
        const struct config_section *section = variant_of(map, key);
        if (variant.values == NULL && section != NULL) {
            variant = (struct config_variant){.section = section, .values = make_items(fill, section, 1)};
            memcpy(layer->base + key->offset, &variant, sizeof variant);
        }
    }
}

static void
fill_fields(struct config_fill *fill, const struct matches *found, const struct config_node *entry,
            const struct config_place *place)
{
    for (size_t i = 0; i < found->n; i++) {
        const struct match *match = &found->items[i];
        enum config_type type = match->key->type;
        if (match->key->set_offset != 0) {
            const bool yes = true;
            memcpy(match->layer->base + match->key->set_offset, &yes, sizeof yes);
        }
        config_mark_record(fill->problems, match->layer->base + match->key->offset, field_size(match->key),
                           entry->mark);
        bool is_value = type != CONFIG_SECTION && type != CONFIG_SECTION_LIST && type != CONFIG_VARIANT &&
                        type != CONFIG_UNSUPPORTED;
        if (is_value) {
            config_assign(fill, match->key, match->layer->resolves, match->layer->base, entry, place);
        }
    }
}

static void
fill_entry(struct config_fill *fill, const struct scope *scope, const struct config_node *entry)
{
    struct matches found = find_matches(scope, entry->key);
    struct config_place place = {.up = scope->place, .key = entry->key};
    if (found.n == 0) {
        unknown_key(fill, scope, entry);
        return;
    }
    if (entry->kind == CONFIG_NODE_NULL || entry->kind == CONFIG_NODE_BROKEN) {
        return;
    }
    bool is_served = false;
    for (size_t i = 0; i < found.n; i++) {
        is_served = is_served || found.items[i].key->type != CONFIG_UNSUPPORTED;
    }
    if (!is_served) {
        config_unsupported(fill, entry->key_mark, &place, NULL);
    }
    fill_fields(fill, &found, entry, &place);
    if (first_of_type(&found, CONFIG_SECTION) != NULL) {
        fill_section(fill, &found, entry, &place);
    }
    if (first_of_type(&found, CONFIG_SECTION_LIST) != NULL) {
        fill_section_list(fill, &found, entry, &place);
    }
    for (size_t i = 0; i < found.n; i++) {
        if (found.items[i].key->type == CONFIG_VARIANT) {
            fill_variant(fill, scope, &found.items[i], entry, &place);
        }
    }
}

static bool
is_written(const struct config_node *map, const char *name)
{
    for (const struct config_node *entry = map->first; entry != NULL; entry = entry->next) {
        if (entry->kind != CONFIG_NODE_NULL && dyn_slice_is(entry->key, name)) {
            return true;
        }
    }
    return false;
}

static void
check_required(struct config_fill *fill, const struct scope *scope, const struct config_section *section)
{
    for (const struct config_key *key = section->keys; key->name != NULL; key++) {
        if (!key->required || is_written(scope->node, key->name)) {
            continue;
        }
        if (scope->place == NULL) {
            config_problem_add(fill->problems, scope->node->mark, false, "the key '%s' is missing",
                               key->name);
        } else {
            config_problem_add(fill->problems, scope->node->mark, false, "the key '%s' is missing in '%s'",
                               key->name, config_place_text(scope->place).text);
        }
    }
}

static void
fill_map(struct config_fill *fill, const struct scope *scope)
{
    for (size_t i = 0; i < scope->n; i++) {
        const struct config_layer *layer = &scope->layers[i];
        store_mark(layer, scope->node->mark);
        config_mark_record(fill->problems, layer->base, layer->section->size, scope->node->mark);
    }
    for (const struct config_node *entry = scope->node->first; entry != NULL; entry = entry->next) {
        fill_entry(fill, scope, entry);
    }
    for (size_t i = 0; i < scope->n; i++) {
        check_required(fill, scope, scope->layers[i].section);
        default_variants(fill, scope->node, &scope->layers[i]);
    }
}

void
config_fill_root(struct config_fill *fill, const struct config_node *root, const struct config_layer *layers,
                 size_t n)
{
    const struct config_node empty = {.kind = CONFIG_NODE_MAP, .mark = {1, 1}};
    bool is_empty = root == NULL || root->kind == CONFIG_NODE_NULL || root->kind == CONFIG_NODE_BROKEN;
    if (!is_empty && root->kind != CONFIG_NODE_MAP) {
        config_problem_add(fill->problems, root->mark, false,
                           "expected keys and values here: a configuration is a map at its top");
        return;
    }
    fill_map(fill, &(struct scope){is_empty ? &empty : root, layers, n, NULL});
}

/* Lists and maps, and what needs YAML's quoting, are read as YAML; the text itself is the value else. */
static struct config_node *
default_node(struct config_fill *fill, const struct config_key *key)
{
    char first = key->default_text[0];
    bool is_text = key->type != CONFIG_STRING_LIST && key->type != CONFIG_SECRET_LIST &&
                   key->type != CONFIG_INT_LIST && key->type != CONFIG_STRING_MAP && first != '"' &&
                   first != '\'';
    struct config_tree tree = {.arena = fill->arena, .problems = fill->problems};
    tree.text = dyn_slice_str(key->default_text);
    if (!is_text) {
        return config_tree_read(&tree) == 0 ? tree.root : NULL;
    }
    struct config_node *node = config_tree_node(&tree, CONFIG_NODE_PLAIN, (struct config_mark){0, 0});
    node->text = tree.text;
    return node;
}

static void
assign_default(struct config_fill *fill, const struct config_key *key, char *base)
{
    struct config_problems problems = {.arena = fill->arena};
    struct config_fill inner = {.arena = fill->arena, .problems = &problems, .is_default = true};
    struct config_place place = {.key = dyn_slice_str(key->name)};
    struct config_node *node = default_node(&inner, key);
    if (node != NULL) {
        config_assign(&inner, key, false, base, node, &place);
    }
    if (problems.errors > 0) { /* the table contradicts itself */
        dyn_assert_failed(problems.items[0].text, "default of a configuration key", 0, key->name);
    }
}

void
config_fill_defaults(struct config_fill *fill, const struct config_section *section, char *base)
{
    memset(base, 0, section->size);
    for (const struct config_key *key = section->keys; key->name != NULL; key++) {
        if (key->type == CONFIG_SECTION) {
            config_fill_defaults(fill, key->section, base + key->offset);
        } else if (key->default_text != NULL) {
            assign_default(fill, key, base);
        }
    }
}
