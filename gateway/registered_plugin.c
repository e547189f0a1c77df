#include "gateway/registered_plugin.h"

#include "actors/plugins/plugin_set.h"
#include "gateway/callback_plugin.h"

#include <stdio.h>
#include <stdlib.h>

enum { NAME_MAX_BYTES = 64, HEADERS_MAX = 16, HEADER_MAX_BYTES = 64, WHY_BYTES = 256 };

#define STAGES (DYNABUS_BEFORE_REQUEST | DYNABUS_DURING_STREAM | DYNABUS_AFTER_REQUEST | DYNABUS_ON_ERROR)
#define NEEDS  (DYNABUS_NEEDS_COUNTS | DYNABUS_NEEDS_PRICE | DYNABUS_NEEDS_TEXTS | DYNABUS_NEEDS_BODY)

_Static_assert(DYNABUS_BEFORE_REQUEST == VOTE_STAGE_BIT(VOTE_BEFORE_REQUEST) &&
                   DYNABUS_DURING_STREAM == VOTE_STAGE_BIT(VOTE_DURING_STREAM) &&
                   DYNABUS_AFTER_REQUEST == VOTE_STAGE_BIT(VOTE_AFTER_REQUEST) &&
                   DYNABUS_ON_ERROR == VOTE_STAGE_BIT(VOTE_ON_ERROR),
               "stages are passed on as they are");
_Static_assert((int)DYNABUS_NEEDS_COUNTS == (int)VOTE_NEEDS_COUNTS &&
                   (int)DYNABUS_NEEDS_PRICE == (int)VOTE_NEEDS_PRICE &&
                   (int)DYNABUS_NEEDS_TEXTS == (int)VOTE_NEEDS_TEXT &&
                   (int)DYNABUS_NEEDS_BODY == (int)VOTE_NEEDS_BODY,
               "needs are passed on as they are");
_Static_assert((int)REGISTERED_PLUGINS_MAX == (int)PLUGINS_MAX, "each is one of those that vote");

/* ---- what can be a plugin ---- */

/* Names stand in headers, logs and labels. */
static bool
is_plain(const char *name, size_t max, const char *marks)
{
    size_t len = name != NULL ? strlen(name) : 0;
    for (size_t i = 0; i < len; i++) {
        char c = name[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!is_letter && strchr(marks, c) == NULL) {
            return false;
        }
    }
    return len > 0 && len <= max;
}

static int
check_headers(const struct dynabus_plugin *plugin, struct dyn_err *err)
{
    if (plugin->n_headers > HEADERS_MAX) {
        return dyn_err_set(err, DYN_E_LIMIT, "'%s' wants %zu headers, more than %d", plugin->name,
                           plugin->n_headers, HEADERS_MAX);
    }
    for (size_t i = 0; i < plugin->n_headers; i++) {
        const char *name = plugin->headers[i];
        if (!is_plain(name, HEADER_MAX_BYTES, "-_") || strpbrk(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != NULL) {
            return dyn_err_set(err, DYN_E_INVALID, "'%s': a header is named in lower case, in 1 to %d bytes",
                               plugin->name, HEADER_MAX_BYTES);
        }
    }
    return 0;
}

static int
check(const struct dynabus_plugin *plugin, struct dyn_err *err)
{
    const char *type = plugin->type != NULL ? plugin->type : plugin_type_name(PLUGIN_GUARDRAIL);
    if (plugin->ask == NULL || !is_plain(plugin->name, NAME_MAX_BYTES, "-_.")) {
        return dyn_err_set(err, DYN_E_INVALID,
                           "a plugin has a function `ask` and a name of 1 to %d letters, digits, -, _ and .",
                           NAME_MAX_BYTES);
    }
    if (plugin_builtin(dyn_slice_str(plugin->name)) != NULL) {
        return dyn_err_set(err, DYN_E_INVALID, "'%s' is a built-in plugin; give yours another name",
                           plugin->name);
    }
    if (plugin_type_by_name(dyn_slice_str(type)) < 0) {
        return dyn_err_set(err, DYN_E_INVALID,
                           "'%s': there is no type '%s'; types are guardrail, auth, ratelimit, transform, "
                           "logging and metrics",
                           plugin->name, type);
    }
    if ((plugin->stages & STAGES) == 0 || (plugin->stages & ~STAGES) != 0) {
        return dyn_err_set(err, DYN_E_INVALID, "'%s' votes at no stage that there is", plugin->name);
    }
    bool has_both = (plugin->needs & DYNABUS_NEEDS_TEXTS) != 0 && (plugin->needs & DYNABUS_NEEDS_BODY) != 0;
    if ((plugin->needs & ~NEEDS) != 0 || has_both) {
        return dyn_err_set(err, DYN_E_INVALID, "'%s' needs texts or the body, not both, and what there is",
                           plugin->name);
    }
    return check_headers(plugin, err);
}

/* ---- instances ---- */

struct registered_config *
registered_config_ref(struct registered_config *config)
{
    (void)atomic_fetch_add_explicit(&config->refs, 1, memory_order_relaxed);
    return config;
}

void
registered_config_unref(struct registered_config **config_p)
{
    struct registered_config *config = *config_p;
    *config_p = NULL;
    if (config == NULL || atomic_fetch_sub_explicit(&config->refs, 1, memory_order_acq_rel) > 1) {
        return;
    }
    registered_plugin_unref(&config->registered);
    free(config->json);
    free(config);
}

static struct registered_plugin *
registered_of(const struct plugin_ops *ops)
{
    return DYN_CONTAINER_OF((struct plugin_ops *)(uintptr_t)ops, struct registered_plugin, ops);
}

static void *
make(const struct plugin_making *making, struct dyn_err *err)
{
    struct registered_plugin *registered = registered_of(making->ops);
    const struct dynabus_plugin *plugin = &registered->plugin;
    char *json = dyn_strndup(making->json.data, making->json.len);
    char why[WHY_BYTES] = "";
    if (plugin->check != NULL && plugin->check(plugin->user, json, why, sizeof why) != 0) {
        why[sizeof why - 1] = '\0';
        free(json);
        (void)dyn_err_set(err, DYN_E_CONFIG, "%s", why[0] != '\0' ? why : "it refuses its configuration");
        return NULL;
    }
    struct registered_config *config = dyn_zalloc(sizeof *config);
    atomic_init(&config->refs, 1);
    config->registered = registered_plugin_ref(registered);
    config->json = json;
    return config;
}

static void
free_instance(void *shared)
{
    struct registered_config *config = shared;
    registered_config_unref(&config);
}

/* ---- the plugin ---- */

static const char *const *
copied_headers(struct arena *arena, const struct dynabus_plugin *plugin)
{
    const char **names = arena_zalloc(arena, (plugin->n_headers + 1) * sizeof *names);
    for (size_t i = 0; i < plugin->n_headers; i++) {
        names[i] = arena_copy(arena, dyn_slice_str(plugin->headers[i])).data;
    }
    return names;
}

static void
fill(struct registered_plugin *registered)
{
    struct dynabus_plugin *plugin = &registered->plugin;
    struct arena *arena = &registered->arena;
    const char *type = plugin->type != NULL ? plugin->type : plugin_type_name(PLUGIN_GUARDRAIL);
    plugin->name = arena_copy(arena, dyn_slice_str(plugin->name)).data;
    plugin->headers = copied_headers(arena, plugin);
    registered->ops = callback_plugin_ops;
    registered->ops.name = plugin->name;
    registered->ops.type = (enum plugin_type)plugin_type_by_name(dyn_slice_str(type));
    registered->ops.headers = plugin->headers;
    registered->ops.make = make;
    registered->ops.free = free_instance;
    registered->ops.traits = (struct plugin_traits){
        .stages = plugin->stages,
        .needs = plugin->needs | (plugin->n_headers > 0 ? (unsigned)VOTE_NEEDS_HEADERS : 0),
        .charges = plugin->charges,
        .amends = plugin->amends,
        .answers = plugin->answers,
        .watches = plugin->watches,
    };
    plugin->type = NULL; /* the caller's */
}

struct registered_plugin *
registered_plugin_new(const struct dynabus_plugin *plugin, struct dyn_err *err)
{
    struct dynabus_plugin known = DYNABUS_PLUGIN_INIT;
    memcpy(&known, plugin, plugin->size < sizeof known ? plugin->size : sizeof known);
    if (check(&known, err) != 0) {
        return NULL;
    }
    struct registered_plugin *registered = dyn_zalloc(sizeof *registered);
    atomic_init(&registered->refs, 1);
    arena_init(&registered->arena, NULL, 0);
    registered->plugin = known;
    fill(registered);
    return registered;
}

struct registered_plugin *
registered_plugin_ref(struct registered_plugin *registered)
{
    (void)atomic_fetch_add_explicit(&registered->refs, 1, memory_order_relaxed);
    return registered;
}

void
registered_plugin_unref(struct registered_plugin **registered_p)
{
    struct registered_plugin *registered = *registered_p;
    *registered_p = NULL;
    if (registered == NULL || atomic_fetch_sub_explicit(&registered->refs, 1, memory_order_acq_rel) > 1) {
        return;
    }
    if (registered->plugin.freed != NULL) {
        registered->plugin.freed(registered->plugin.user);
    }
    arena_fini(&registered->arena);
    free(registered);
}

void
registered_plugin_list(struct registered_plugin *const *registered, size_t n, struct registered_ops *out)
{
    DYN_ASSERT(n <= REGISTERED_PLUGINS_MAX);
    for (size_t i = 0; i < n; i++) {
        out->items[i] = &registered[i]->ops;
    }
    out->items[n] = NULL;
}
