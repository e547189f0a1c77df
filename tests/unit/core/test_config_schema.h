/* A schema with every type, over three parts, for the tests of the configuration loader. */
#pragma once

#include "core/config.h"

#include <stdio.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct tls_values {
    struct dyn_slice certificate;
    struct dyn_slice key;
    int64_t level;
};
struct server_values {
    struct dyn_slice listen;
    int64_t port;
    int64_t offset;
    bool verbose;
    bool verbose_set;
    double ratio;
    double weight;
    uint64_t body;
    uint64_t idle_ms;
    int mode;
    struct config_strings origins;
    struct config_ints codes;
    struct config_map headers;
    struct tls_values tls;
    struct config_mark mark;
    struct dyn_slice note;
};
struct route_values {
    struct dyn_slice name;
    int64_t cost;
    struct config_mark mark;
};
struct target_values {
    struct config_mark mark;
    struct dyn_slice name;
    int64_t weight;
    struct config_list routes; /* struct route_values */
};
struct router_values {
    struct config_list targets; /* struct target_values */
    struct dyn_slice fallback;
};
/* The second reader of `targets`. */
struct upstream_values {
    struct config_mark mark;
    struct dyn_slice name;
    struct dyn_slice api_key;
    struct dyn_slice base_url;
    struct config_strings models;
};
struct provider_values {
    struct config_list targets; /* struct upstream_values */
};

#define FIELD(type, member) .offset = offsetof(struct type, member)
#define END_OF_KEYS                                                                                          \
    {                                                                                                        \
        .name = NULL                                                                                         \
    }

static const struct config_key tls_keys[] = {
    {.name = "certificate", .type = CONFIG_STRING, FIELD(tls_values, certificate), .required = true},
    {.name = "key", .type = CONFIG_SECRET, FIELD(tls_values, key)},
    {.name = "level", .type = CONFIG_INT, FIELD(tls_values, level), .default_text = "2"},
    END_OF_KEYS,
};
static const struct config_section tls_section = {tls_keys, sizeof(struct tls_values), SIZE_MAX};

static const char *const mode_names[] = {"single", "fallback", "spread", NULL};
static const char *const later_modes[] = {"cheapest", NULL};
static const struct config_key server_keys[] = {
    {.name = "listen",
     .type = CONFIG_STRING,
     FIELD(server_values, listen),
     .default_text = ":8080",
     .help = "Where it listens."},
    {.name = "port",
     .type = CONFIG_INT,
     FIELD(server_values, port),
     .default_text = "8080",
     .min = 1,
     .max = 65535},
    {.name = "offset", .type = CONFIG_INT, FIELD(server_values, offset)},
    {.name = "verbose",
     .type = CONFIG_BOOL,
     FIELD(server_values, verbose),
     .default_text = "no",
     .set_offset = offsetof(struct server_values, verbose_set)},
    {.name = "ratio",
     .type = CONFIG_NUMBER,
     FIELD(server_values, ratio),
     .default_text = "0.5",
     .min = 0,
     .max = 1},
    {.name = "weight", .type = CONFIG_NUMBER, FIELD(server_values, weight)},
    {.name = "body",
     .type = CONFIG_SIZE,
     FIELD(server_values, body),
     .default_text = "10MiB",
     .min = 1024,
     .max = 1073741824},
    {.name = "idle",
     .type = CONFIG_DURATION,
     FIELD(server_values, idle_ms),
     .default_text = "1m30s",
     .min = 100,
     .max = 3600000},
    {.name = "mode",
     .type = CONFIG_ENUM,
     FIELD(server_values, mode),
     .default_text = "fallback",
     .names = mode_names,
     .unsupported_names = later_modes,
     .help = "How; one | of these."},
    {.name = "origins",
     .type = CONFIG_STRING_LIST,
     FIELD(server_values, origins),
     .default_text = "[one, 'two three']"},
    {.name = "codes", .type = CONFIG_INT_LIST, FIELD(server_values, codes), .min = 400, .max = 599},
    {.name = "headers", .type = CONFIG_STRING_MAP, FIELD(server_values, headers)},
    {.name = "tls", .type = CONFIG_SECTION, FIELD(server_values, tls), .section = &tls_section},
    {.name = "note", .type = CONFIG_STRING, FIELD(server_values, note)},
    {.name = "plugins", .type = CONFIG_UNSUPPORTED, .help = "Plugins."},
    END_OF_KEYS,
};
static const struct config_part server_part = {
    .folder = "edge",
    .section = {server_keys, sizeof(struct server_values), offsetof(struct server_values, mark)},
};

static const struct config_key route_keys[] = {
    {.name = "name", .type = CONFIG_STRING, FIELD(route_values, name), .required = true},
    {.name = "cost", .type = CONFIG_INT, FIELD(route_values, cost), .min = 0, .max = -1},
    END_OF_KEYS,
};
static const struct config_section route_section = {route_keys, sizeof(struct route_values),
                                                    offsetof(struct route_values, mark)};
static const struct config_key target_keys[] = {
    {.name = "name", .type = CONFIG_STRING, FIELD(target_values, name), .required = true},
    {.name = "weight",
     .type = CONFIG_INT,
     FIELD(target_values, weight),
     .default_text = "1",
     .min = 1,
     .max = 100},
    {.name = "routes", .type = CONFIG_SECTION_LIST, FIELD(target_values, routes), .section = &route_section},
    {.name = "hedge", .type = CONFIG_UNSUPPORTED},
    END_OF_KEYS,
};
static const struct config_section target_section = {target_keys, sizeof(struct target_values),
                                                     offsetof(struct target_values, mark)};
static const struct config_key router_keys[] = {
    {.name = "targets",
     .type = CONFIG_SECTION_LIST,
     FIELD(router_values, targets),
     .section = &target_section},
    {.name = "fallback", .type = CONFIG_STRING, FIELD(router_values, fallback)},
    END_OF_KEYS,
};

/* `fallback` has to be the name of a target. */
static inline void
check_fallback(void *values, struct config_problems *problems)
{
    struct router_values *router = values;
    const struct target_values *targets = router->targets.items;
    for (size_t i = 0; i < router->targets.n; i++) {
        if (dyn_slice_eq(targets[i].name, router->fallback)) {
            return;
        }
    }
    if (router->fallback.data != NULL) {
        config_problem_add(problems, config_mark_of(problems, &router->fallback), false,
                           "'fallback' is no target");
    }
}
static const struct config_part router_part = {
    .folder = "router",
    .section = {router_keys, sizeof(struct router_values), SIZE_MAX},
    .check = check_fallback,
};

static const struct config_key upstream_keys[] = {
    {.name = "name", .type = CONFIG_STRING, FIELD(upstream_values, name), .required = true},
    {.name = "api_key", .type = CONFIG_SECRET, FIELD(upstream_values, api_key)},
    {.name = "base_url",
     .type = CONFIG_STRING,
     FIELD(upstream_values, base_url),
     .default_text = "http://localhost"},
    {.name = "models", .type = CONFIG_STRING_LIST, FIELD(upstream_values, models)},
    END_OF_KEYS,
};
static const struct config_section upstream_section = {upstream_keys, sizeof(struct upstream_values),
                                                       offsetof(struct upstream_values, mark)};
static const struct config_key provider_keys[] = {
    {.name = "targets",
     .type = CONFIG_SECTION_LIST,
     FIELD(provider_values, targets),
     .section = &upstream_section},
    END_OF_KEYS,
};
static const struct config_part provider_part = {
    .folder = "actors/providers",
    .section = {provider_keys, sizeof(struct provider_values), SIZE_MAX},
};

static const struct config_part *const test_parts[] = {&server_part, &router_part, &provider_part};

/* The problems as "LINE:COLUMN: TEXT\n", warnings with "warning: " before the text. */
static inline const char *
problems_text(const config_t *config, struct dyn_buf *out)
{
    const struct config_problems *problems = config_problems(config);
    dyn_buf_clear(out);
    for (size_t i = 0; i < problems->n; i++) {
        const struct config_problem *problem = &problems->items[i];
        dyn_buf_addf(out, "%u:%u: %s%s\n", problem->mark.line, problem->mark.column,
                     problem->is_warning ? "warning: " : "", problem->text);
    }
    return dyn_buf_cstr(out);
}

/* The only variables that are set. */
static inline const char *
test_variable(void *self, const char *name)
{
    (void)self;
    if (strcmp(name, "A") == 0) {
        return "alpha";
    }
    if (strcmp(name, "TOKEN") == 0) {
        return "s3cret";
    }
    return strcmp(name, "EMPTY") == 0 ? "" : NULL;
}
static const struct config_lookup test_lookup = {.variable = test_variable};
static const struct config_options test_options = {.lookup = &test_lookup};

static inline config_t *
parse_as(const char *name, struct dyn_slice text)
{
    return config_parse(text, name, test_parts, DYN_ARRAY_LEN(test_parts), &test_options);
}

static inline config_t *
parse_yaml(const char *text)
{
    return parse_as("test.yaml", dyn_slice_str(text));
}

static inline config_t *
parse_json(const char *text)
{
    return parse_as("test.json", dyn_slice_str(text));
}

static inline struct server_values *
server_of(const config_t *config)
{
    return config_values(config, &server_part);
}

static inline bool
is_text(struct dyn_slice slice, const char *text)
{
    return slice.data != NULL && dyn_slice_is(slice, text) && slice.data[slice.len] == '\0';
}
