/* The reference page of the configuration, written from the tables that the loader obeys. */
#include "core/config_value.h"

/* Deeper nesting has no place in a page; a section that holds itself would never end. */
#define NESTING_MAX 8

/* Where the keys of a section stand: "targets[].retry" is the section `retry` of each target. */
struct level {
    const struct level *up;
    const char *name;
    bool is_list;
    unsigned depth;
};

static const char *
type_name(enum config_type type)
{
    switch (type) {
    case CONFIG_STRING:
        return "text";
    case CONFIG_SECRET:
        return "secret";
    case CONFIG_BOOL:
        return "bool";
    case CONFIG_INT:
        return "integer";
    case CONFIG_NUMBER:
        return "number";
    case CONFIG_SIZE:
        return "size";
    case CONFIG_DURATION:
        return "duration";
    case CONFIG_ENUM:
        return "name";
    case CONFIG_STRING_LIST:
        return "list of texts";
    case CONFIG_SECRET_LIST:
        return "list of secrets";
    case CONFIG_INT_LIST:
        return "list of integers";
    case CONFIG_STRING_MAP:
        return "map of texts";
    case CONFIG_SECTION:
        return "section";
    case CONFIG_SECTION_LIST:
        return "list of sections";
    case CONFIG_VARIANT:
        return "section";
    case CONFIG_UNSUPPORTED:
        return "not supported";
    }
    return "";
}

/* A cell of a table ends at a bar and at a line end, so neither goes in as it is. */
static void
add_cell_text(struct dyn_buf *out, const char *text)
{
    for (; text != NULL && *text != '\0'; text++) {
        if (*text == '|') {
            dyn_buf_add_str(out, "\\|");
        } else {
            dyn_buf_add_char(out, *text == '\n' ? ' ' : *text);
        }
    }
}

static void
add_code(struct dyn_buf *out, const char *text)
{
    dyn_buf_add_char(out, '`');
    add_cell_text(out, text);
    dyn_buf_add_char(out, '`');
}

static void
add_prefix(struct dyn_buf *out, const struct level *level)
{
    if (level != NULL) {
        add_prefix(out, level->up);
        dyn_buf_add_str(out, level->name);
        dyn_buf_add_str(out, level->is_list ? "[]." : ".");
    }
}

static void
add_key(struct dyn_buf *out, const struct level *level, const struct config_key *key)
{
    dyn_buf_add_char(out, '`');
    add_prefix(out, level);
    dyn_buf_add_str(out, key->name);
    dyn_buf_add_char(out, '`');
}

static void
add_values(struct dyn_buf *out, const struct config_key *key)
{
    if (key->type != CONFIG_ENUM) {
        dyn_buf_add_str(out, config_range_text(key).text);
        return;
    }
    for (size_t i = 0; key->names[i] != NULL; i++) {
        dyn_buf_add_str(out, i > 0 ? ", " : "");
        add_code(out, key->names[i]);
    }
}

static void
add_default(struct dyn_buf *out, const struct config_key *key)
{
    if (key->required) {
        dyn_buf_add_str(out, "required");
    } else if (key->default_text != NULL) {
        add_code(out, key->default_text[0] != '\0' ? key->default_text : "\"\"");
    }
}

static void
add_row(struct dyn_buf *out, const struct level *level, const struct config_key *key)
{
    dyn_buf_add_str(out, "| ");
    add_key(out, level, key);
    dyn_buf_addf(out, " | %s | ", type_name(key->type));
    add_default(out, key);
    dyn_buf_add_str(out, " | ");
    add_values(out, key);
    dyn_buf_add_str(out, " | ");
    add_cell_text(out, key->help);
    dyn_buf_add_str(out, " |\n");
}

static const struct config_section *
section_of(const struct config_key *key)
{
    bool has_section = key->type == CONFIG_SECTION || key->type == CONFIG_SECTION_LIST;
    return has_section ? key->section : NULL;
}

static void
add_rows(struct dyn_buf *out, const struct config_section *section, const struct level *level)
{
    for (const struct config_key *key = section->keys; key->name != NULL; key++) {
        if (key->type == CONFIG_UNSUPPORTED) {
            continue;
        }
        if (!key->is_repeated) {
            add_row(out, level, key);
        }
        struct level below = {level, key->name, key->type == CONFIG_SECTION_LIST,
                              level ? level->depth + 1 : 1};
        if (section_of(key) != NULL && below.depth < NESTING_MAX) {
            add_rows(out, key->section, &below);
        }
    }
}

static void
add_unsupported_line(struct dyn_buf *out, const struct level *level, const struct config_key *key,
                     const char *value)
{
    dyn_buf_add_str(out, "* ");
    add_key(out, level, key);
    if (value != NULL) {
        dyn_buf_addf(out, " with the value `%s`", value);
    } else if (key->help != NULL) {
        dyn_buf_addf(out, ": %s", key->help);
    }
    dyn_buf_add_char(out, '\n');
}

/* Returns how many there are; writes them when `out` is not NULL. */
static size_t
add_unsupported(struct dyn_buf *out, const struct config_section *section, const struct level *level)
{
    size_t n = 0;
    for (const struct config_key *key = section->keys; key->name != NULL; key++) {
        if (key->type == CONFIG_UNSUPPORTED) {
            n++;
            if (out != NULL) {
                add_unsupported_line(out, level, key, NULL);
            }
        }
        const char *const *values = key->unsupported_names;
        for (; values != NULL && *values != NULL; values++) {
            n++;
            if (out != NULL) {
                add_unsupported_line(out, level, key, *values);
            }
        }
        struct level below = {level, key->name, key->type == CONFIG_SECTION_LIST,
                              level ? level->depth + 1 : 1};
        if (section_of(key) != NULL && below.depth < NESTING_MAX) {
            n += add_unsupported(out, key->section, &below);
        }
    }
    return n;
}

static const char introduction[] =
    "# Configuration reference\n"
    "\n"
    "The file is YAML, or JSON when its name ends in `.json`. Keys that are not listed here are errors.\n"
    "`dynabus validate FILE` shows everything that is wrong with a file, with line and column.\n"
    "\n"
    "* **size**: bytes, or a number with `KiB`, `MiB`, `GiB`, `TiB` (powers of 1024) or `KB`, `MB`, `GB`, "
    "`TB` (powers of 1000): `65536`, `64KiB`, `1.5MiB`.\n"
    "* **duration**: numbers with `ms`, `s`, `m` or `h`, in whole milliseconds: `300ms`, `1.5s`, `1h30m`.\n"
    "* **references**: in every text, secret, list and map, `${NAME}` is an environment variable and "
    "`${file:PATH}` the content of a file (a relative path counts from the folder of the configuration). "
    "Any other `$` is an ordinary character.\n"
    "* **secret**: a text that belongs in a reference; one that is written out is accepted with a warning.\n"
    "* A key without a value (`key:` or `key: null`) counts as not written.\n";

static const char columns[] = "| Key | Type | Default | Values | Meaning |\n|---|---|---|---|---|\n";

void
config_write_keys(const struct config_section *section, struct dyn_buf *out)
{
    dyn_buf_add_str(out, columns);
    add_rows(out, section, NULL);
}

void
config_write_reference(const struct config_part *const *parts, size_t n_parts, struct dyn_buf *out)
{
    dyn_buf_add_str(out, introduction);
    size_t unsupported = 0;
    for (size_t i = 0; i < n_parts; i++) {
        dyn_buf_addf(out, "\n## %s\n\n", parts[i]->folder);
        config_write_keys(&parts[i]->section, out);
        unsupported += add_unsupported(NULL, &parts[i]->section, NULL);
    }
    if (unsupported == 0) {
        return;
    }
    dyn_buf_add_str(out, "\n## Known, but not supported in this version\n\n"
                         "These are recognised and refused; with `--ignore-unsupported` they only warn.\n\n");
    for (size_t i = 0; i < n_parts; i++) {
        (void)add_unsupported(out, &parts[i]->section, NULL);
    }
}
