/* What a configuration file says, before any schema: scalars, lists and maps with their places. Read
 * from YAML (config_yaml.c) or JSON (config_json.c) into one arena; config_fill.c walks it. Internal to
 * the loader, and for what reads other programs' configurations. */
#pragma once

#include "core/config.h"

enum {
    CONFIG_MAX_BYTES = 1 << 20, /* of the file: thousands of targets */
    CONFIG_MAX_DEPTH = 32,      /* schemas nest 5 or 6 levels */
    CONFIG_MAX_NODES = 100000,  /* at about 100 bytes each */
    CONFIG_NAME_BYTES = 200,    /* of a dotted path or a quoted text in a problem */
};

enum config_node_kind {
    CONFIG_NODE_NULL,
    CONFIG_NODE_PLAIN,  /* a scalar without quotes; in JSON a number, true or false */
    CONFIG_NODE_QUOTED, /* a scalar that is text whatever it looks like */
    CONFIG_NODE_LIST,
    CONFIG_NODE_MAP,
    CONFIG_NODE_BROKEN, /* was there, cannot be used, and has its problem already */
};

struct config_node {
    enum config_node_kind kind;
    struct config_mark mark;
    struct config_mark key_mark; /* of `key`, for what stands in a map */
    struct dyn_slice key;
    struct dyn_slice text;     /* of a scalar; terminated */
    struct config_node *first; /* of a list or map */
    struct config_node *last;
    struct config_node *next; /* in the list or map that holds this one */
    size_t n;
};

struct config_tree {
    struct arena *arena;
    struct config_problems *problems;
    struct dyn_slice text;
    bool is_json;
    struct config_node *root; /* NULL for an empty file */
    size_t nodes;
    size_t bytes_taken; /* by libyaml, and */
    size_t events;      /* given by it: its work, for those who bound it */
};

/* The caller has set the first four. -1 when the text is not YAML or JSON at all or passes a limit; the
 * problem is added, and what was read so far is of no use. 0 may have added problems, too. */
int config_tree_read(struct config_tree *tree);

/* NULL with a problem at `mark` when there are too many. Zeroed but for the kind and the mark. */
struct config_node *config_tree_node(struct config_tree *tree, enum config_node_kind kind,
                                     struct config_mark mark);
void config_tree_append(struct config_node *container, struct config_node *node);
/* Adds a problem for every key that occurs again in a map. */
void config_tree_check_keys(struct config_tree *tree, const struct config_node *map);
int config_tree_too_deep(struct config_tree *tree, struct config_mark mark);

/* The two readers. */
int config_yaml_read(struct config_tree *tree);
int config_json_read(struct config_tree *tree);

/* Follows a text from front to back and knows line and column where it is. Line ends are those of
 * YAML's readers: LF, CR and CRLF; columns count characters. */
struct config_cursor {
    const char *at;
    const char *end;
    struct config_mark mark;
};
struct config_cursor config_cursor(struct dyn_slice text);
/* Not before where it is, and not beyond the end. */
struct config_mark config_cursor_to(struct config_cursor *cursor, const char *at);

/* A problem that says why the value there was not taken (config_problems.c). */
void config_problem_refuse(struct config_problems *problems, struct config_mark mark, const char *fmt, ...)
    DYN_PRINTF(3, 4);
/* Control characters and bytes that are not UTF-8 become '?', in place. */
void config_make_printable(char *text);
/* Foreign text made fit for a problem: cut at CONFIG_NAME_BYTES or less, on one line, printable. */
struct config_name {
    char text[CONFIG_NAME_BYTES];
};
struct config_name config_name(struct dyn_slice text, size_t max);
