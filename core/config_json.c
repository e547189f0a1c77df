/* JSON into the tree: a text that json_scan has found valid (RFC 8259; nothing after it, no comments, no
 * trailing comma) is walked in place. One cursor goes through the text once and counts the places of
 * values, because they come in the order of the text. */
#include "core/config_tree.h"

#include "core/json_scan.h"

struct reader {
    struct config_tree *tree;
    struct config_cursor cursor;
};

static struct dyn_slice
decoded(struct reader *reader, struct json_value string)
{
    struct dyn_buf text = DYN_BUF_INIT;
    json_string_decode(string, &text);
    struct dyn_slice copy = arena_copy(reader->tree->arena, dyn_slice(text.data ? text.data : "", text.len));
    dyn_buf_fini(&text);
    return copy;
}

static enum config_node_kind
kind_of(enum json_type type)
{
    switch (type) {
    case JSON_NULL:
        return CONFIG_NODE_NULL;
    case JSON_FALSE:
    case JSON_TRUE:
    case JSON_NUMBER:
        return CONFIG_NODE_PLAIN;
    case JSON_STRING:
        return CONFIG_NODE_QUOTED;
    case JSON_ARRAY:
        return CONFIG_NODE_LIST;
    case JSON_OBJECT:
        return CONFIG_NODE_MAP;
    }
    return CONFIG_NODE_BROKEN;
}

static struct config_node *read_value(struct reader *reader, struct json_value value);

static int
read_items(struct reader *reader, struct config_node *container, struct json_value value)
{
    struct json_iter items = json_iter(value);
    struct json_member item;
    while (json_iter_next(&items, &item)) {
        struct dyn_slice key = {NULL, 0};
        struct config_mark key_mark = {0, 0};
        if (container->kind == CONFIG_NODE_MAP) {
            struct json_value quoted = {JSON_STRING, {item.key.data - 1, item.key.len + 2}};
            key_mark = config_cursor_to(&reader->cursor, quoted.raw.data);
            key = decoded(reader, quoted);
        }
        struct config_node *node = read_value(reader, item.value);
        if (node == NULL) {
            return -1;
        }
        node->key = key;
        node->key_mark = key_mark;
        config_tree_append(container, node);
    }
    return 0;
}

/* Goes as deep as the scan has allowed. */
static struct config_node *
read_value(struct reader *reader, struct json_value value)
{
    struct config_tree *tree = reader->tree;
    enum config_node_kind kind = kind_of(value.type);
    struct config_node *node =
        config_tree_node(tree, kind, config_cursor_to(&reader->cursor, value.raw.data));
    if (node == NULL) {
        return NULL;
    }
    if (kind == CONFIG_NODE_QUOTED) {
        node->text = decoded(reader, value);
    } else if (kind == CONFIG_NODE_PLAIN) {
        node->text = arena_copy(tree->arena, value.raw);
    } else if (kind == CONFIG_NODE_LIST || kind == CONFIG_NODE_MAP) {
        if (read_items(reader, node, value) != 0) {
            return NULL;
        }
    }
    if (kind == CONFIG_NODE_MAP) {
        config_tree_check_keys(tree, node);
    }
    return node;
}

int
config_json_read(struct config_tree *tree)
{
    struct reader reader = {.tree = tree, .cursor = config_cursor(tree->text)};
    struct json_value root;
    struct json_error error;
    if (json_scan(tree->text, CONFIG_MAX_DEPTH, &root, &error) != 0) {
        struct config_mark mark = config_cursor_to(&reader.cursor, tree->text.data + error.offset);
        config_problem_add(tree->problems, mark, false, "not JSON: %s", error.what);
        return -1;
    }
    tree->root = read_value(&reader, root);
    return tree->root == NULL ? -1 : 0;
}
