/* The configuration loader (libyaml; JSON is read as the subset of YAML it is, with JSON's own rules
 * for .json files). Strict: unknown keys are problems with "did you mean"; every problem is reported
 * at once with line and column; duplicate keys, several documents, anchors, aliases and tags are
 * refused; size, depth and node count are limited.
 *
 * Schemas are tables, registered by the folder that uses the keys (a config_part); the loader fills
 * that folder's struct. It holds no knowledge of any key. The reference page is generated from the
 * same tables. */
#pragma once

#include "core/arena.h"
#include "core/buf.h"
#include "core/err.h"

enum config_type {
    CONFIG_STRING,      /* struct dyn_slice */
    CONFIG_SECRET,      /* struct dyn_slice; a literal warns, a ${VAR} or ${file:PATH} reference does not */
    CONFIG_BOOL,        /* bool */
    CONFIG_INT,         /* int64_t, min..max */
    CONFIG_NUMBER,      /* double, finite */
    CONFIG_SIZE,        /* uint64_t bytes: 1048576, 64KiB, 10MiB */
    CONFIG_DURATION,    /* uint64_t milliseconds, min..max: 250ms, 30s, 2m, 1h, 1m30s */
    CONFIG_ENUM,        /* int: index in `names` */
    CONFIG_STRING_LIST, /* struct config_strings */
    CONFIG_STRING_MAP,  /* struct config_map */
    CONFIG_SECTION,     /* the struct of `section` in place */
    CONFIG_SECTION_LIST, /* struct config_list of structs of `section` */
    CONFIG_UNSUPPORTED, /* known from Ferro, not served yet: recognised, any value (decided 20) */
};

struct config_strings {
    struct dyn_slice *items;
    size_t            n;
};
struct config_map {
    struct dyn_slice *keys;
    struct dyn_slice *values;
    size_t            n;
};
struct config_list {
    void  *items; /* array of the section's struct */
    size_t n;
};

/* Where something stands in the file; lines and columns count from 1. */
struct config_mark {
    unsigned line;
    unsigned column;
};

struct config_key;
struct config_section {
    const struct config_key *keys; /* ends with a NULL name */
    size_t                   size; /* of the struct that is filled; zeroed first */
    size_t                   mark_offset; /* of a struct config_mark in it, or SIZE_MAX */
};

struct config_key {
    const char      *name;
    enum config_type type;
    size_t           offset;        /* in the section's struct */
    const char      *default_text;  /* as it would be written in YAML; NULL: zero or absent */
    bool             required;
    double           min, max;      /* INT, NUMBER, SIZE, DURATION (ms); both 0: no limit but >= 0 for the last two */
    const char *const *names;       /* ENUM: ends with NULL */
    const struct config_section *section;
    size_t           set_offset;    /* of a bool told whether the key was written, or 0 */
    const char      *help;          /* one or two sentences for the reference page */
};

struct config_problems;

/* One folder's share of the top level of the file. */
struct config_part {
    const char            *folder;  /* "edge": heading in the reference page */
    struct config_section  section; /* its keys stand at the top level */
    /* Checks that no single key can express; adds problems. May be NULL. */
    void (*check)(void *values, struct config_problems *problems);
};

typedef struct config config_t;

struct config_problem {
    struct config_mark mark;
    bool               is_warning;
    const char        *text; /* "unknown key 'strateggy', did you mean 'strategy'?" */
};
struct config_problems {
    struct arena          *arena;
    struct config_problem *items;
    size_t                 n, cap;
    size_t                 errors; /* items that are not warnings */
    const struct config_section *unsupported_seen; /* the loader's own */
    size_t                 unsupported; /* how many unsupported keys were met */
};
void config_problem_add(struct config_problems *problems, struct config_mark mark, bool is_warning,
                        const char *fmt, ...) DYN_PRINTF(4, 5);

/* How ${VAR} and ${file:PATH} are looked up; NULL: the environment and the file system. */
struct config_lookup {
    const char *(*variable)(void *self, const char *name);
    void *self;
};

struct config_options {
    bool                        ignore_unsupported; /* unsupported keys warn instead of being errors */
    const struct config_lookup *lookup;
};

/* Never NULL: look at config_problems(). `parts` and the config live as long as the values are used.
 * `text` is the file's content, `name` its path, for messages and to tell JSON by its extension. */
config_t *config_parse(struct dyn_slice text, const char *name, const struct config_part *const *parts,
                       size_t n_parts, const struct config_options *options);
/* Reads the file first; an unreadable one is a problem like any other. */
config_t *config_load(const char *path, const struct config_part *const *parts, size_t n_parts,
                      const struct config_options *options);
/* Defaults only, as an empty file gives. */
config_t *config_defaults(const struct config_part *const *parts, size_t n_parts);
void config_free(config_t **config_p);

const struct config_problems *config_problems(const config_t *config);
bool config_ok(const config_t *config); /* no errors; warnings may be there */
/* The struct of that part, filled. */
void *config_values(const config_t *config, const struct config_part *part);
/* "FILE:LINE:COLUMN: error: TEXT\n" for every problem in order of the file. */
void config_print_problems(const config_t *config, struct dyn_buf *out);
/* The reference page in Markdown, from the tables. */
void config_write_reference(const struct config_part *const *parts, size_t n_parts, struct dyn_buf *out);
