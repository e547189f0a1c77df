/* The tree of a configuration file: what both readers share. Everything here sees bytes that anybody may
 * have written: each check says what is wrong and where, none asserts. */
#include "core/config_tree.h"

#include "core/text.h"

#include <stdio.h>
#include <stdlib.h>

#define BOM "\xEF\xBB\xBF"

struct config_cursor
config_cursor(struct dyn_slice text)
{
    return (struct config_cursor){text.data, text.data + text.len, {1, 1}};
}

static bool
is_continuation(char byte)
{
    return ((unsigned char)byte & 0xC0u) == 0x80u;
}

struct config_mark
config_cursor_to(struct config_cursor *cursor, const char *at)
{
    const char *stop = at < cursor->end ? at : cursor->end;
    for (; cursor->at < stop; cursor->at++) {
        bool is_crlf = cursor->at[0] == '\r' && cursor->at + 1 < cursor->end && cursor->at[1] == '\n';
        if (cursor->at[0] == '\n' || (cursor->at[0] == '\r' && !is_crlf)) {
            cursor->mark = (struct config_mark){cursor->mark.line + 1, 1};
        } else if (!is_continuation(cursor->at[0])) {
            cursor->mark.column++;
        }
    }
    return cursor->mark;
}

/* How many bytes of the character at `from` may go into a problem as they are; 0: replace the byte. */
static size_t
printable_len(const char *from, const char *end)
{
    size_t len = dyn_utf8_len(from, end);
    bool is_control = len == 1 && ((unsigned char)from[0] < 0x20 || from[0] == 0x7F);
    bool is_c1 = len == 2 && (unsigned char)from[0] == 0xC2 && (unsigned char)from[1] < 0xA0;
    return is_control || is_c1 ? 0 : len;
}

void
config_make_printable(char *text)
{
    const char *end = text + strlen(text);
    while (text < end) {
        size_t len = printable_len(text, end);
        if (len == 0) {
            *text = '?';
        }
        text += len > 0 ? len : 1;
    }
}

struct config_name
config_name(struct dyn_slice text, size_t max)
{
    struct config_name name;
    size_t room = (max < CONFIG_NAME_BYTES - 1 ? max : CONFIG_NAME_BYTES - 1) - 3; /* for "..." */
    size_t used = text.len < room ? text.len : room;
    while (used < text.len && used > 0 && is_continuation(text.data[used])) { /* cut between characters */
        used--;
    }
    memcpy(name.text, text.data, used);
    (void)snprintf(name.text + used, CONFIG_NAME_BYTES - used, "%s", used < text.len ? "..." : "");
    for (size_t i = 0; i < used; i++) {
        name.text[i] = name.text[i] != '\0' ? name.text[i] : '?';
    }
    config_make_printable(name.text);
    return name;
}

struct config_node *
config_tree_node(struct config_tree *tree, enum config_node_kind kind, struct config_mark mark)
{
    if (tree->nodes >= CONFIG_MAX_NODES) {
        config_problem_add(tree->problems, mark, false, "more than %d values in one file", CONFIG_MAX_NODES);
        return NULL;
    }
    tree->nodes++;
    struct config_node *node = arena_zalloc(tree->arena, sizeof *node);
    node->kind = kind;
    node->mark = mark;
    return node;
}

void
config_tree_append(struct config_node *container, struct config_node *node)
{
    if (container->last == NULL) {
        container->first = node;
    } else {
        container->last->next = node;
    }
    container->last = node;
    container->n++;
}

int
config_tree_too_deep(struct config_tree *tree, struct config_mark mark)
{
    config_problem_add(tree->problems, mark, false, "nested deeper than %d levels", CONFIG_MAX_DEPTH);
    return -1;
}

/* By key, then in order of the file. */
static int
compare_keys(const void *a_p, const void *b_p)
{
    const struct config_node *a = *(const struct config_node *const *)a_p;
    const struct config_node *b = *(const struct config_node *const *)b_p;
    size_t shorter = a->key.len < b->key.len ? a->key.len : b->key.len;
    int order = memcmp(a->key.data, b->key.data, shorter);
    if (order != 0) {
        return order;
    }
    if (a->key.len != b->key.len) {
        return a->key.len < b->key.len ? -1 : 1;
    }
    if (a->key_mark.line != b->key_mark.line) {
        return a->key_mark.line < b->key_mark.line ? -1 : 1;
    }
    return (a->key_mark.column > b->key_mark.column) - (a->key_mark.column < b->key_mark.column);
}

void
config_tree_check_keys(struct config_tree *tree, const struct config_node *map)
{
    if (map->n < 2) {
        return;
    }
    const struct config_node **sorted = dyn_alloc(map->n * sizeof *sorted);
    size_t n = 0;
    for (const struct config_node *node = map->first; node != NULL; node = node->next) {
        sorted[n++] = node;
    }
    qsort(sorted, n, sizeof *sorted, compare_keys);
    const struct config_node *first = sorted[0];
    for (size_t i = 1; i < n; i++) {
        if (!dyn_slice_eq(sorted[i]->key, first->key)) {
            first = sorted[i];
            continue;
        }
        config_problem_add(tree->problems, sorted[i]->key_mark, false,
                           "key '%s' was already given in line %u", config_name(first->key, 60).text,
                           first->key_mark.line);
    }
    free(sorted);
}

/* YAML 1.1 paragraph 5.1 names what a file may hold; RFC 8259 is stricter inside of strings and refuses
 * the rest outside of them. Returns what is wrong with the character, or NULL. */
static const char *
character_fault(const char *at, size_t len)
{
    if (len == 0) {
        return "not valid UTF-8";
    }
    uint32_t scalar = dyn_utf8_scalar(at, len);
    if (scalar == 0) {
        return "a NUL byte; is this a text file?";
    }
    if ((scalar < 0x20 && scalar != '\t' && scalar != '\n' && scalar != '\r') || scalar == 0x7F ||
        (scalar >= 0x80 && scalar < 0xA0 && scalar != 0x85)) {
        return "a control character";
    }
    if (scalar == 0xFEFF) {
        return "a byte order mark in the middle of the text";
    }
    return scalar == 0xFFFE || scalar == 0xFFFF ? "not a character" : NULL;
}

static int
check_characters(struct config_tree *tree)
{
    const char *end = tree->text.data + tree->text.len;
    for (const char *at = tree->text.data; at < end;) {
        size_t len = dyn_utf8_len(at, end);
        const char *fault = character_fault(at, len);
        if (fault != NULL) {
            struct config_cursor cursor = config_cursor(tree->text);
            config_problem_add(tree->problems, config_cursor_to(&cursor, at), false, "%s", fault);
            return -1;
        }
        at += len;
    }
    return 0;
}

static int
check_encoding(struct config_tree *tree)
{
    const unsigned char *bytes = (const unsigned char *)tree->text.data;
    bool is_utf16 = tree->text.len >= 2 &&
                    ((bytes[0] == 0xFF && bytes[1] == 0xFE) || (bytes[0] == 0xFE && bytes[1] == 0xFF));
    if (is_utf16) {
        config_problem_add(tree->problems, (struct config_mark){1, 1}, false,
                           "this is UTF-16; the file has to be UTF-8");
        return -1;
    }
    if (tree->text.len >= sizeof BOM - 1 && memcmp(bytes, BOM, sizeof BOM - 1) == 0) {
        tree->text = dyn_slice(tree->text.data + sizeof BOM - 1, tree->text.len - (sizeof BOM - 1));
    }
    return check_characters(tree);
}

int
config_tree_read(struct config_tree *tree)
{
    if (tree->text.len > CONFIG_MAX_BYTES) {
        config_problem_add(tree->problems, (struct config_mark){0, 0}, false,
                           "larger than %d bytes, the most a configuration may have", CONFIG_MAX_BYTES);
        return -1;
    }
    if (tree->text.data == NULL) {
        tree->text = DYN_SLICE("");
    }
    if (check_encoding(tree) != 0) {
        return -1;
    }
    return tree->is_json ? config_json_read(tree) : config_yaml_read(tree);
}
