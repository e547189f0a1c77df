/* The configuration loader: YAML (libyaml), and JSON by its own rules (RFC 8259) for files named .json.
 * Strict: unknown keys are problems with "did you mean"; every problem is reported at once with line
 * and column; duplicate keys, several documents, anchors, aliases, tags and directives are refused;
 * size, depth, node count and the memory for values are limited.
 *
 * The schema decides what a scalar is: `no` is the text "no" for a string and false for a bool. Quotes
 * make text: "5" is refused where a number is asked for. A null value means the key was not written.
 *
 * Schemas are tables, registered by the folder that uses the keys (a config_part); the loader fills
 * that folder's struct. It holds no knowledge of any key. Several parts may declare the same section
 * or list of sections, each with the keys it uses: every part gets its own structs, with as many
 * items, and a key is unknown only when no part knows it. The reference page is generated from the
 * same tables. */
#pragma once

#include "core/arena.h"
#include "core/buf.h"
#include "core/err.h"

enum config_type {
    CONFIG_STRING,       /* struct dyn_slice, terminated */
    CONFIG_SECRET,       /* the same; a literal warns, a ${VAR} or ${file:PATH} reference does not */
    CONFIG_BOOL,         /* bool: true, false; in YAML also yes, no, on, off */
    CONFIG_INT,          /* int64_t, min..max */
    CONFIG_NUMBER,       /* double, finite */
    CONFIG_SIZE,         /* uint64_t bytes: 1048576, 64KiB, 1.5MiB, 10MB */
    CONFIG_DURATION,     /* uint64_t milliseconds, min..max: 250ms, 1.5s, 2m, 1h, 1m30s */
    CONFIG_ENUM,         /* int: index in `names` */
    CONFIG_STRING_LIST,  /* struct config_strings */
    CONFIG_SECRET_LIST,  /* the same; each as CONFIG_SECRET */
    CONFIG_INT_LIST,     /* struct config_ints, min..max for each */
    CONFIG_STRING_MAP,   /* struct config_map */
    CONFIG_SECTION,      /* the struct of `section` in place */
    CONFIG_SECTION_LIST, /* struct config_list of structs of `section` */
    CONFIG_VARIANT,      /* struct config_variant: the section that another key of the same map names */
    CONFIG_UNSUPPORTED,  /* known from Ferro, not served yet: recognised, any value */
};

struct config_strings {
    struct dyn_slice *items;
    size_t n;
};
struct config_ints {
    int64_t *items;
    size_t n;
};
struct config_map {
    struct dyn_slice *keys;
    struct dyn_slice *values;
    size_t n;
};
struct config_list {
    void *items; /* array of the section's struct */
    size_t n;
};

/* A section whose keys depend on a word beside it. */
struct config_section;
struct config_variant {
    const struct config_section *section; /* NULL: nobody knows the word; then only `json` is filled */
    void *values;                         /* the struct of that section, defaults where nothing was written */
    struct dyn_slice json;                /* what was written as JSON, references resolved; absent: nothing */
};

/* Where something stands in the file; lines and columns (characters) count from 1. {0, 0}: nowhere. */
struct config_mark {
    unsigned line;
    unsigned column;
};

struct config_key;
struct config_section {
    const struct config_key *keys; /* ends with a NULL name */
    size_t size;                   /* of the struct that is filled; zeroed first */
    size_t mark_offset;            /* of a struct config_mark in it, or SIZE_MAX */
};

struct config_key {
    const char *name;
    enum config_type type;
    size_t offset;            /* in the section's struct */
    const char *default_text; /* as it would be written in YAML; NULL: zero or absent */
    bool required;
    double min, max;          /* INT, INT_LIST (each), NUMBER, SIZE, DURATION (ms). Both 0: no limit;
                                 max < min: no upper one. The last two are never negative. */
    const char *const *names; /* ENUM: ends with NULL */
    const char *const *unsupported_names; /* ENUM: values that are known and not served yet; may be NULL */
    const struct config_section *section;
    /* VARIANT: the key of the same map whose text tells the section; NULL of a word: any keys. */
    const char *variant_key;
    const struct config_section *(*variant)(struct dyn_slice word);
    size_t set_offset; /* of a bool told whether the key was written, or 0 */
    bool every_role;   /* references in it are resolved also where the part's are not (`resolve`) */
    bool is_repeated;  /* another part has it too and says what it means: not in the reference page */
    const char *help;  /* one or two sentences for the reference page */
};

struct config_problems;

/* One folder's share of the top level of the file. */
struct config_part {
    const char *folder;            /* "edge": heading in the reference page */
    struct config_section section; /* its keys stand at the top level */
    /* Checks that no single key can express; adds problems. May be NULL. Runs when the file could be read
     * at all: a key that was refused or is missing holds its default, else zero (an absent slice). */
    void (*check)(void *values, struct config_problems *problems);
};

typedef struct config config_t;

struct config_problem {
    struct config_mark mark;
    bool is_warning;
    bool refuses_value; /* what stands there was not taken: a check need not complain about it as well */
    const char *text;   /* "unknown key 'strateggy', did you mean 'strategy'?" */
};
struct config_problems {
    struct arena *arena;
    struct config_problem *items; /* in order of the file */
    size_t n, cap;
    size_t errors;              /* those that are not warnings, also those left out */
    size_t left_out;            /* met after CONFIG_PROBLEMS_MAX others */
    size_t unsupported;         /* how many unsupported keys were met */
    struct config_marks *marks; /* the loader's own, as is */
    bool is_checking;           /* that the parts' checks are running */
    bool ignores_unsupported;   /* config_options.ignore_unsupported */
    bool has_resolved;          /* for a check(): the references of its part were resolved, else they stand
                                   in the values as they were written */
};
enum { CONFIG_PROBLEMS_MAX = 500 }; /* nobody reads more, and each costs memory */

/* Put where it belongs in the order of the file; the same text at the same place counts once, and what a
 * check says about a value that was refused already does not count. The text is made printable. Values of
 * secrets do not belong in it. */
void config_problem_add(struct config_problems *problems, struct config_mark mark, bool is_warning,
                        const char *fmt, ...) DYN_PRINTF(4, 5);
/* For a check(): what stands there is known from Ferro and not served yet ("... is not supported in this
 * version"). An error, or a warning when those are ignored: the caller leaves it out then. */
void config_problem_unsupported(struct config_problems *problems, struct config_mark mark, const char *what);
/* For a check(): where the value of that field stands, by the field's address in the filled struct
 * (&values->port, &list->items[3]); the place of the section around it when it was not written. */
struct config_mark config_mark_of(const struct config_problems *problems, const void *field);
/* For a check() of a text that may be a duration, or something else. The error is the end of a sentence
 * that begins with the key ("must be a duration, ..."). */
int config_read_duration(struct dyn_slice text, uint64_t *out_ms, struct dyn_err *err);

/* References in strings, secrets, lists and maps: ${NAME} is a variable, ${file:PATH} the content of a
 * file without its last line end, a relative path counted from the folder of the configuration file.
 * A $ that begins neither is data. How variables are looked up; NULL: the environment. */
struct config_lookup {
    const char *(*variable)(void *self, const char *name); /* NULL: not set */
    void *self;
};

struct config_options {
    bool ignore_unsupported; /* unsupported keys warn instead of being errors */
    const struct config_lookup *lookup;
    /* A role has the secrets of its own parts only. References in parts that are not named here stay as
     * they are written, but for keys that every role reads, and all else about those parts is checked as
     * ever. NULL: all parts resolve. */
    const struct config_part *const *resolve;
    size_t n_resolve;
};

/* Never NULL: look at config_problems(). `parts` and the config live as long as the values are used;
 * `options` (may be NULL) and `text` for the call only. `text` is the file's content, `name` its path,
 * for messages, to tell JSON by its extension, and to find the files it refers to. */
config_t *config_parse(struct dyn_slice text, const char *name, const struct config_part *const *parts,
                       size_t n_parts, const struct config_options *options);
/* Reads the file first; an unreadable one is a problem like any other. */
config_t *config_load(const char *path, const struct config_part *const *parts, size_t n_parts,
                      const struct config_options *options);
/* Defaults only; required keys are not asked for and checks do not run. Has no problems. */
config_t *config_defaults(const struct config_part *const *parts, size_t n_parts);
void config_free(config_t **config_p);

const struct config_problems *config_problems(const config_t *config);
bool config_ok(const config_t *config); /* no errors; warnings may be there */
/* Tells one text from another (FNV-1a over its bytes); 0: there was none. */
uint64_t config_digest(const config_t *config);
/* The struct of that part, filled. */
void *config_values(const config_t *config, const struct config_part *part);
/* "FILE:LINE:COLUMN: error: TEXT\n" (or "warning:") for every problem in order of the file. */
void config_print_problems(const config_t *config, struct dyn_buf *out);
/* The reference page in Markdown, from the tables. */
void config_write_reference(const struct config_part *const *parts, size_t n_parts, struct dyn_buf *out);
/* The table of one section, as it stands there. */
void config_write_keys(const struct config_section *section, struct dyn_buf *out);
