/* A part of a configuration file as JSON text, for keys that no table knows: they belong to a program
 * outside. References are resolved as everywhere; the text is bounded by the file, and by what references
 * may expand to. */
#include "core/buf.h"
#include "core/config_fill.h"
#include "core/json_scan.h"

struct writing {
    struct config_fill *fill;
    struct dyn_buf out;
    bool resolves;
};

static void write_node(struct writing *writing, const struct config_node *node,
                       const struct config_place *place);

/* What JSON itself would read there without quotes. YAML's other spellings of true and null are text. */
static bool
is_json_scalar(struct dyn_slice text)
{
    struct json_value value;
    return json_scan(text, 1, &value, NULL) == 0 && value.type != JSON_STRING && value.raw.len == text.len;
}

static void
write_scalar(struct writing *writing, const struct config_node *node, const struct config_place *place)
{
    struct dyn_slice text = node->text;
    if (node->kind == CONFIG_NODE_PLAIN && is_json_scalar(text)) {
        dyn_buf_add_slice(&writing->out, text);
        return;
    }
    if (writing->resolves && config_refs_resolve(&writing->fill->refs, node->text, node->mark,
                                                 config_place_text(place).text, &text) != 0) {
        text = dyn_slice("", 0); /* it has its problem */
    }
    dyn_buf_add_json_string(&writing->out, text);
}

static void
write_items(struct writing *writing, const struct config_node *node, const struct config_place *place)
{
    bool is_map = node->kind == CONFIG_NODE_MAP;
    size_t index = 0;
    dyn_buf_add_char(&writing->out, is_map ? '{' : '[');
    for (const struct config_node *item = node->first; item != NULL; item = item->next, index++) {
        struct config_place at = {.up = place, .index = index};
        if (index > 0) {
            dyn_buf_add_char(&writing->out, ',');
        }
        if (is_map) {
            at.key = item->key;
            dyn_buf_add_json_string(&writing->out, item->key);
            dyn_buf_add_char(&writing->out, ':');
        }
        write_node(writing, item, &at);
    }
    dyn_buf_add_char(&writing->out, is_map ? '}' : ']');
}

static void
write_node(struct writing *writing, const struct config_node *node, const struct config_place *place)
{
    switch (node->kind) {
    case CONFIG_NODE_PLAIN:
    case CONFIG_NODE_QUOTED:
        write_scalar(writing, node, place);
        return;
    case CONFIG_NODE_LIST:
    case CONFIG_NODE_MAP:
        write_items(writing, node, place);
        return;
    case CONFIG_NODE_NULL:
    case CONFIG_NODE_BROKEN:
        dyn_buf_add_str(&writing->out, "null");
        return;
    }
}

struct dyn_slice
config_node_json(struct config_fill *fill, const struct config_node *node, bool resolves,
                 const struct config_place *place)
{
    struct writing writing = {.fill = fill, .out = DYN_BUF_INIT, .resolves = resolves};
    write_node(&writing, node, place);
    struct dyn_slice json = arena_copy(fill->arena, dyn_buf_slice(&writing.out));
    dyn_buf_fini(&writing.out);
    return json;
}
