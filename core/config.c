/* A configuration from its file to the structs of its parts: read, walk, check, keep. Everything that
 * belongs to it lies in its arena. */
#include "core/config.h"

#include "core/config_fill.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#define DEFAULT_NAME "config.yaml" /* of defaults, which come from no file */

struct config {
    struct arena arena;
    struct config_problems problems;
    const char *name;
    uint64_t digest;
    const struct config_part *const *parts;
    size_t n_parts;
    struct config_layer layers[CONFIG_MAX_PARTS]; /* one a part, in their order */
};

static bool
is_json_name(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot != NULL && strcasecmp(dot, ".json") == 0;
}

static bool
resolves(const struct config_options *options, const struct config_part *part)
{
    if (options == NULL || options->resolve == NULL) {
        return true;
    }
    for (size_t i = 0; i < options->n_resolve; i++) {
        if (options->resolve[i] == part) {
            return true;
        }
    }
    return false;
}

static config_t *
config_new(const char *name, const struct config_part *const *parts, size_t n_parts)
{
    DYN_ASSERT(n_parts <= CONFIG_MAX_PARTS);
    config_t *config = dyn_zalloc(sizeof *config);
    arena_init(&config->arena, NULL, 0);
    config->problems.arena = &config->arena;
    config->problems.marks = config_marks_new(&config->arena);
    config->name = arena_copy(&config->arena, dyn_slice_str(name)).data;
    config->parts = parts;
    config->n_parts = n_parts;
    return config;
}

static void
make_layers(config_t *config, struct config_fill *fill, const struct config_options *options)
{
    for (size_t i = 0; i < config->n_parts; i++) {
        const struct config_section *section = &config->parts[i]->section;
        char *base = arena_alloc(&config->arena, section->size);
        config_fill_defaults(fill, section, base);
        config->layers[i] = (struct config_layer){section, base, resolves(options, config->parts[i])};
    }
}

static struct config_fill
fill_for(config_t *config, const struct config_options *options)
{
    return (struct config_fill){
        .arena = &config->arena,
        .problems = &config->problems,
        .refs = {.arena = &config->arena,
                 .problems = &config->problems,
                 .lookup = options ? options->lookup : NULL,
                 .name = config->name},
        .is_json = is_json_name(config->name),
    };
}

static void
fill_from_text(config_t *config, struct config_fill *fill, struct dyn_slice text)
{
    struct config_tree tree = {
        .arena = &config->arena, .problems = &config->problems, .text = text, .is_json = fill->is_json};
    if (config_tree_read(&tree) != 0) {
        return;
    }
    config_fill_root(fill, tree.root, config->layers, config->n_parts);
    config->problems.is_checking = true;
    for (size_t i = 0; i < config->n_parts; i++) {
        if (config->parts[i]->check != NULL) {
            config->problems.has_resolved = config->layers[i].resolves;
            config->parts[i]->check(config->layers[i].base, &config->problems);
        }
    }
    config->problems.is_checking = false;
}

static uint64_t
fnv1a(struct dyn_slice text)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < text.len; i++) {
        hash = (hash ^ (unsigned char)text.data[i]) * 0x100000001b3u;
    }
    return hash;
}

config_t *
config_parse(struct dyn_slice text, const char *name, const struct config_part *const *parts, size_t n_parts,
             const struct config_options *options)
{
    config_t *config = config_new(name, parts, n_parts);
    struct config_fill fill = fill_for(config, options);
    config->problems.ignores_unsupported = options != NULL && options->ignore_unsupported;
    make_layers(config, &fill, options);
    fill_from_text(config, &fill, text);
    config->digest = fnv1a(text);
    return config;
}

/* At most one byte more than a configuration may have; -1 with errno. */
static ssize_t
read_file(const char *path, char *bytes)
{
    size_t used = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    ssize_t n = 1;
    while (n != 0 && used < CONFIG_MAX_BYTES + 1) {
        n = read(fd, bytes + used, CONFIG_MAX_BYTES + 1 - used);
        if (n < 0 && errno != EINTR) {
            int error = errno;
            (void)close(fd);
            errno = error;
            return -1;
        }
        used += n > 0 ? (size_t)n : 0;
    }
    (void)close(fd);
    return (ssize_t)used;
}

config_t *
config_load(const char *path, const struct config_part *const *parts, size_t n_parts,
            const struct config_options *options)
{
    char *bytes = dyn_alloc(CONFIG_MAX_BYTES + 1);
    ssize_t n = read_file(path, bytes);
    if (n >= 0) {
        config_t *config = config_parse(dyn_slice(bytes, (size_t)n), path, parts, n_parts, options);
        free(bytes);
        return config;
    }
    const char *why = strerrordesc_np(errno);
    free(bytes);
    config_t *config = config_new(path, parts, n_parts);
    struct config_fill fill = fill_for(config, options);
    make_layers(config, &fill, options);
    config_problem_add(&config->problems, (struct config_mark){0, 0}, false, "cannot be read: %s", why);
    return config;
}

config_t *
config_defaults(const struct config_part *const *parts, size_t n_parts)
{
    config_t *config = config_new(DEFAULT_NAME, parts, n_parts);
    struct config_fill fill = fill_for(config, NULL);
    make_layers(config, &fill, NULL);
    return config;
}

void
config_free(config_t **config_p)
{
    config_t *config = *config_p;
    if (config != NULL) {
        arena_fini(&config->arena);
        free(config);
        *config_p = NULL;
    }
}

const struct config_problems *
config_problems(const config_t *config)
{
    return &config->problems;
}

bool
config_ok(const config_t *config)
{
    return config->problems.errors == 0;
}

uint64_t
config_digest(const config_t *config)
{
    return config->digest;
}

void *
config_values(const config_t *config, const struct config_part *part)
{
    for (size_t i = 0; i < config->n_parts; i++) {
        if (config->parts[i] == part) {
            return config->layers[i].base;
        }
    }
    return NULL;
}

void
config_print_problems(const config_t *config, struct dyn_buf *out)
{
    const struct config_problems *problems = &config->problems;
    for (size_t i = 0; i < problems->n; i++) {
        const struct config_problem *problem = &problems->items[i];
        dyn_buf_add_str(out, config->name);
        if (problem->mark.line > 0) {
            dyn_buf_addf(out, ":%u:%u", problem->mark.line, problem->mark.column);
        }
        dyn_buf_addf(out, ": %s: %s\n", problem->is_warning ? "warning" : "error", problem->text);
    }
    if (problems->left_out > 0) {
        dyn_buf_addf(out, "%s: %zu more problems are not shown\n", config->name, problems->left_out);
    }
}
