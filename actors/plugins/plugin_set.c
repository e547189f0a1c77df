#include "actors/plugins/plugin_set.h"

#include "core/config_same.h"

#include <stdlib.h>

struct plugin_set {
    atomic_uint refs;
    atomic_uint holds; /* plans of routers that may still ask for its instances */
    struct plugin_instance *items[PLUGINS_MAX];
    size_t n;
};

static atomic_uint_fast64_t last_serial; /* of an instance; tells them apart, no more */

/* ---- instances ---- */

struct plugin_instance *
plugin_instance_ref(const struct plugin_instance *instance)
{
    struct plugin_instance *same = (struct plugin_instance *)(uintptr_t)instance;
    (void)atomic_fetch_add_explicit(&same->refs, 1, memory_order_relaxed);
    return same;
}

void
plugin_instance_unref(struct plugin_instance *instance)
{
    if (instance != NULL && atomic_fetch_sub_explicit(&instance->refs, 1, memory_order_acq_rel) == 1) {
        instance->ops->free(instance->shared);
        free(instance->json);
        free((char *)(uintptr_t)instance->name.data);
        free(instance);
    }
}

static struct dyn_slice
json_of(const struct plugin_wanted *wanted)
{
    struct dyn_slice json = wanted->entry->config.json;
    return json.len > 0 ? json : DYN_SLICE("{}");
}

/* A digest would do, were it not for those that collide: what it was made of is kept as text. */
static char *
spelled(const struct plugin_wanted *wanted)
{
    struct dyn_buf out = DYN_BUF_INIT;
    if (wanted->ops->config != NULL) {
        config_section_write(wanted->ops->config, wanted->entry->config.values, &out);
    } else {
        dyn_buf_add_slice(&out, json_of(wanted));
    }
    char *text = dyn_strdup(dyn_buf_cstr(&out));
    dyn_buf_fini(&out);
    return text;
}

static struct plugin_instance *
instance_new(const struct plugin_wanted *wanted, char *spelling, const struct plugin_set_options *options,
             const struct plugin_instance *former, struct dyn_err *err)
{
    struct plugin_making making = {
        .ops = wanted->ops,
        .name = wanted->name,
        .config = wanted->entry->config.values,
        .json = json_of(wanted),
        .host = options->host,
        .former = former != NULL && former->ops == wanted->ops ? former->shared : NULL,
    };
    struct dyn_err why = {.text = "its configuration cannot be used"};
    void *shared = wanted->ops->make(&making, &why);
    if (shared == NULL) {
        (void)dyn_err_set(err, DYN_E_CONFIG, "plugin '%.*s': %.300s", (int)wanted->name.len,
                          wanted->name.data, why.text);
        free(spelling);
        return NULL;
    }
    struct plugin_instance *instance = dyn_zalloc(sizeof *instance);
    atomic_init(&instance->refs, 1);
    instance->serial = atomic_fetch_add_explicit(&last_serial, 1, memory_order_relaxed) + 1;
    instance->name = dyn_slice(dyn_strndup(wanted->name.data, wanted->name.len), wanted->name.len);
    instance->ops = wanted->ops;
    instance->traits = wanted->traits;
    instance->shared = shared;
    instance->json = spelling;
    return instance;
}

/* The same goes on where nothing has changed for it. */
static struct plugin_instance *
instance_of(const struct plugin_wanted *wanted, const struct plugin_set_options *options, struct dyn_err *err)
{
    char *spelling = spelled(wanted);
    const struct plugin_instance *former = plugin_set_find(options->former, wanted->name);
    if (former != NULL && former->ops == wanted->ops && strcmp(former->json, spelling) == 0) {
        free(spelling);
        return plugin_instance_ref(former);
    }
    return instance_new(wanted, spelling, options, former, err);
}

/* ---- sets ---- */

static bool
is_hosted(const struct plugin_wanted *wanted, const struct plugin_set_options *options)
{
    bool is_here = wanted->place == PLUGIN_PLACE_PLUGIN ? options->hosts_plugin : options->hosts_router;
    return wanted->ops != NULL && (is_here || wanted->is_unnamed);
}

plugin_set_t *
plugin_set_new(const struct plugin_set_options *options, struct dyn_err *err)
{
    struct plugin_wanted wanted[PLUGINS_MAX];
    size_t names = plugin_config_names(options->config, options->implied, options->registered);
    size_t n = plugin_config_wanted(options->config, options->registered, wanted);
    n = plugin_config_add_implied(options->config, options->implied, wanted, n);
    if (names > PLUGINS_MAX) { /* one that is left out would be a guardrail that is not there */
        (void)dyn_err_set(err, DYN_E_LIMIT, "%zu plugins are more than the %d that a gateway can have", names,
                          PLUGINS_MAX);
        return NULL;
    }
    plugin_set_t *set = dyn_zalloc(sizeof *set);
    atomic_init(&set->refs, 1);
    atomic_init(&set->holds, 0);
    for (size_t i = 0; i < n; i++) {
        if (!is_hosted(&wanted[i], options)) {
            continue;
        }
        set->items[set->n] = instance_of(&wanted[i], options, err);
        if (set->items[set->n] == NULL) {
            plugin_set_unref(&set);
            return NULL;
        }
        set->n++;
    }
    return set;
}

plugin_set_t *
plugin_set_ref(plugin_set_t *set)
{
    (void)atomic_fetch_add_explicit(&set->refs, 1, memory_order_relaxed);
    return set;
}

void
plugin_set_unref(plugin_set_t **set_p)
{
    plugin_set_t *set = *set_p;
    *set_p = NULL;
    if (set == NULL || atomic_fetch_sub_explicit(&set->refs, 1, memory_order_acq_rel) > 1) {
        return;
    }
    for (size_t i = 0; i < set->n; i++) {
        plugin_instance_unref(set->items[i]);
    }
    free(set);
}

plugin_set_t *
plugin_set_hold(plugin_set_t *set)
{
    (void)atomic_fetch_add_explicit(&set->holds, 1, memory_order_relaxed);
    return plugin_set_ref(set);
}

void
plugin_set_release(plugin_set_t **set_p)
{
    if (*set_p != NULL) {
        (void)atomic_fetch_sub_explicit(&(*set_p)->holds, 1, memory_order_release);
        plugin_set_unref(set_p);
    }
}

bool
plugin_set_is_held(const plugin_set_t *set)
{
    return atomic_load_explicit(&set->holds, memory_order_acquire) > 0;
}

size_t
plugin_set_count(const plugin_set_t *set)
{
    return set != NULL ? set->n : 0;
}

const struct plugin_instance *
plugin_set_at(const plugin_set_t *set, size_t index)
{
    DYN_ASSERT(index < set->n);
    return set->items[index];
}

const struct plugin_instance *
plugin_set_find(const plugin_set_t *set, struct dyn_slice name)
{
    for (size_t i = 0; i < plugin_set_count(set); i++) {
        if (dyn_slice_eq(set->items[i]->name, name)) {
            return set->items[i];
        }
    }
    return NULL;
}
