/* YAML into the tree: the one file that includes libyaml. Its event interface only, so that nothing is
 * built which has not been looked at: an alias is refused where it stands, and nesting ends the reading
 * at CONFIG_MAX_DEPTH.
 *
 * libyaml's cost grows with tokens times open brackets (50,000 brackets: seconds), and a scan for
 * brackets before it would have to know YAML's quoting as well as libyaml does. But it looks no further
 * ahead than a key may be long, 1024 characters (YAML 1.1, 7.4), before it gives out the first bracket.
 * So it is fed in small pieces and stopped at the first event that is too deep: it has then seen two
 * pieces at most, however long the file is. Directives are the one thing that it reads many of before
 * it gives out anything, at quadratic cost; they are refused beforehand. */
#include "core/config_tree.h"

#include <yaml.h>

/* What libyaml is given at a time. Bounds how far it reads beyond the event that it gives out. */
#define PIECE_BYTES 1024u

/* A container that is open, with the key that waits for its value when it is a map. */
struct frame {
    struct config_node *container;
    bool has_key;
    struct dyn_slice key;
    struct config_mark key_mark;
};

struct reader {
    struct config_tree *tree;
    yaml_parser_t parser;
    struct frame frames[CONFIG_MAX_DEPTH];
    size_t depth;
    size_t documents;
};

/* libyaml's words for what people do most often, and ours. Some faults are seen long after the place
 * where they were made, which libyaml calls the context. */
static const struct {
    const char *theirs;
    const char *ours;
    bool is_made_at_context;
} common_faults[] = {
    {"found a tab character that violates indentation", "indent with spaces, not with a tab", false},
    {"found character that cannot start any token",
     "a value cannot begin with this character; put it in quotes", false},
    {"did not find expected alphabetic or numeric character",
     "a value that begins with '*' or '&' has to stand in quotes", true},
    {"mapping values are not allowed in this context",
     "a ':' where no key can stand; put a value with ': ' in it in quotes, or check the indentation", false},
    {"could not find expected ':'", "a key without its ':'", true},
    {"did not find expected key", "a key was expected here; check the indentation", false},
    {"did not find expected ',' or ']'", "the list is not closed: ',' or ']' was expected here", false},
    {"did not find expected ',' or '}'", "the braces are not closed: ',' or '}' was expected here", false},
    {"did not find expected node content", "a value was expected here", false},
    {"found unexpected end of stream", "the quote that opens here is not closed", true},
    {"found unknown escape character", "no escape that YAML knows; \\\\ is a backslash", false},
    {"did not find expected '-' indicator", "another '- ' item was expected here; check the indentation",
     false},
    {"block sequence entries are not allowed in this context", "a '- ' item cannot stand here", false},
    {"did not find expected <document start>", "text after the end of the document", false},
};

static struct config_mark
mark_of(yaml_mark_t mark)
{
    return (struct config_mark){(unsigned)mark.line + 1, (unsigned)mark.column + 1};
}

static int
give_piece(void *data, unsigned char *buffer, size_t size, size_t *given)
{
    struct config_tree *tree = data;
    size_t left = tree->text.len - tree->bytes_taken;
    size_t n = size < PIECE_BYTES ? size : PIECE_BYTES;
    n = n < left ? n : left;
    memcpy(buffer, tree->text.data + tree->bytes_taken, n);
    tree->bytes_taken += n;
    *given = n;
    return 1;
}

/* Names the tab when there is one: libyaml's own words for it differ by where it stands. */
static bool
is_tab_at(const struct config_tree *tree, struct config_mark mark)
{
    struct config_cursor cursor = config_cursor(tree->text);
    while (cursor.mark.line < mark.line || cursor.mark.column < mark.column) {
        if (cursor.at >= cursor.end || cursor.mark.line > mark.line) {
            return false;
        }
        (void)config_cursor_to(&cursor, cursor.at + 1);
    }
    return cursor.at < cursor.end && *cursor.at == '\t';
}

static int
syntax_problem(struct reader *reader)
{
    const yaml_parser_t *parser = &reader->parser;
    struct config_tree *tree = reader->tree;
    struct config_mark mark = mark_of(parser->problem_mark);
    const char *theirs = parser->problem != NULL ? parser->problem : "unreadable";
    if (is_tab_at(tree, mark)) {
        theirs = common_faults[0].theirs;
    }
    for (size_t i = 0; i < DYN_ARRAY_LEN(common_faults); i++) {
        if (strcmp(theirs, common_faults[i].theirs) == 0) {
            mark = common_faults[i].is_made_at_context ? mark_of(parser->context_mark) : mark;
            config_problem_add(tree->problems, mark, false, "not YAML: %s", common_faults[i].ours);
            return -1;
        }
    }
    config_problem_add(tree->problems, mark, false, "not YAML: %s%s%s",
                       parser->context ? parser->context : "", parser->context ? ", " : "", theirs);
    return -1;
}

/* The map that waits for a key, or NULL. */
static struct frame *
frame_without_key(struct reader *reader)
{
    struct frame *frame = reader->depth > 0 ? &reader->frames[reader->depth - 1] : NULL;
    bool waits = frame != NULL && frame->container->kind == CONFIG_NODE_MAP && !frame->has_key;
    return waits ? frame : NULL;
}

/* Gives the node to the container that is open. */
static int
place(struct reader *reader, struct config_node *node)
{
    if (reader->depth == 0) {
        reader->tree->root = node;
        return 0;
    }
    if (frame_without_key(reader) != NULL) {
        config_problem_add(reader->tree->problems, node->mark, false, "a key has to be plain text");
        return -1;
    }
    struct frame *frame = &reader->frames[reader->depth - 1];
    node->key = frame->key;
    node->key_mark = frame->key_mark;
    frame->has_key = false;
    config_tree_append(frame->container, node);
    return 0;
}

/* YAML 1.1, tag:yaml.org,2002:null. */
static bool
is_null(struct dyn_slice text)
{
    return text.len == 0 || dyn_slice_is(text, "~") || dyn_slice_is(text, "null") ||
           dyn_slice_is(text, "Null") || dyn_slice_is(text, "NULL");
}

static void
refuse_anchor_and_tag(struct reader *reader, const yaml_event_t *event, const yaml_char_t *anchor,
                      const yaml_char_t *tag)
{
    struct config_mark mark = mark_of(event->start_mark);
    if (anchor != NULL) {
        config_problem_add(reader->tree->problems, mark, false,
                           "anchors (&name) are not supported; write the value where it is needed");
    }
    if (tag != NULL) {
        config_problem_add(reader->tree->problems, mark, false,
                           "tags (!name) are not supported; leave it out, types are known here");
    }
}

/* A scalar in a map is by turns a key and a value. */
static int
on_scalar(struct reader *reader, const yaml_event_t *event)
{
    refuse_anchor_and_tag(reader, event, event->data.scalar.anchor, event->data.scalar.tag);
    struct dyn_slice text = {(const char *)event->data.scalar.value, event->data.scalar.length};
    struct config_mark mark = mark_of(event->start_mark);
    enum config_node_kind kind = CONFIG_NODE_QUOTED;
    if (event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE) {
        kind = is_null(text) ? CONFIG_NODE_NULL : CONFIG_NODE_PLAIN;
    }
    if (memchr(text.data, '\0', text.len) != NULL) { /* "\0" in double quotes */
        config_problem_add(reader->tree->problems, mark, false, "a NUL character has no place in a value");
        kind = CONFIG_NODE_BROKEN;
    }
    struct frame *waiting = frame_without_key(reader);
    text = arena_copy(reader->tree->arena, text);
    if (waiting != NULL) {
        if (kind == CONFIG_NODE_BROKEN) {
            return -1;
        }
        *waiting = (struct frame){waiting->container, true, text, mark};
        return 0;
    }
    struct config_node *node = config_tree_node(reader->tree, kind, mark);
    if (node == NULL) {
        return -1;
    }
    node->text = text;
    return place(reader, node);
}

static int
on_alias(struct reader *reader, const yaml_event_t *event)
{
    struct config_mark mark = mark_of(event->start_mark);
    config_problem_add(reader->tree->problems, mark, false,
                       "aliases (*name) are not supported; write the value out, or put it in quotes");
    struct config_node *node = config_tree_node(reader->tree, CONFIG_NODE_BROKEN, mark);
    return node == NULL ? -1 : place(reader, node);
}

static int
on_open(struct reader *reader, enum config_node_kind kind, const yaml_event_t *event)
{
    struct config_mark mark = mark_of(event->start_mark);
    if (reader->depth == CONFIG_MAX_DEPTH) {
        return config_tree_too_deep(reader->tree, mark);
    }
    struct config_node *node = config_tree_node(reader->tree, kind, mark);
    if (node == NULL || place(reader, node) != 0) {
        return -1;
    }
    reader->frames[reader->depth++] = (struct frame){.container = node};
    return 0;
}

static int
on_close(struct reader *reader)
{
    const struct config_node *closed = reader->frames[--reader->depth].container;
    if (closed->kind == CONFIG_NODE_MAP) {
        config_tree_check_keys(reader->tree, closed);
    }
    return 0;
}

static int
on_document(struct reader *reader, const yaml_event_t *event)
{
    if (++reader->documents > 1) {
        config_problem_add(reader->tree->problems, mark_of(event->start_mark), false,
                           "a second document begins here; a configuration is one document");
        return -1;
    }
    return 0;
}

static int
on_event(struct reader *reader, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return on_scalar(reader, event);
    case YAML_ALIAS_EVENT:
        return on_alias(reader, event);
    case YAML_SEQUENCE_START_EVENT:
        refuse_anchor_and_tag(reader, event, event->data.sequence_start.anchor,
                              event->data.sequence_start.tag);
        return on_open(reader, CONFIG_NODE_LIST, event);
    case YAML_MAPPING_START_EVENT:
        refuse_anchor_and_tag(reader, event, event->data.mapping_start.anchor, event->data.mapping_start.tag);
        return on_open(reader, CONFIG_NODE_MAP, event);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        return on_close(reader);
    case YAML_DOCUMENT_START_EVENT:
        return on_document(reader, event);
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        return 0;
    }
    return 0;
}

/* A '%' in the first column begins a directive wherever a document may begin. It can be data only in
 * the continuation of a quoted value, where nobody writes it. */
static int
refuse_directives(struct config_tree *tree)
{
    const char *end = tree->text.data + tree->text.len;
    for (const char *at = tree->text.data; at < end; at++) {
        if (*at == '%' && (at == tree->text.data || at[-1] == '\n' || at[-1] == '\r')) {
            struct config_cursor cursor = config_cursor(tree->text);
            config_problem_add(tree->problems, config_cursor_to(&cursor, at), false,
                               "directives (%%NAME) are not supported; leave the line out");
            return -1;
        }
    }
    return 0;
}

static int
read_events(struct reader *reader)
{
    for (bool is_end = false; !is_end;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&reader->parser, &event)) {
            return syntax_problem(reader);
        }
        reader->tree->events++;
        is_end = event.type == YAML_STREAM_END_EVENT;
        int result = on_event(reader, &event);
        yaml_event_delete(&event);
        if (result != 0) {
            return -1;
        }
    }
    return 0;
}

int
config_yaml_read(struct config_tree *tree)
{
    if (refuse_directives(tree) != 0) {
        return -1;
    }
    struct reader reader = {.tree = tree};
    DYN_ASSERT(yaml_parser_initialize(&reader.parser)); /* fails for want of memory only */
    yaml_parser_set_encoding(&reader.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input(&reader.parser, give_piece, tree);
    int result = read_events(&reader);
    yaml_parser_delete(&reader.parser);
    return result;
}
