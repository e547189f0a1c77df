#include "gateway/registered.h"

#include <stdlib.h>

enum { NAME_MAX_BYTES = 64, MODELS_MAX = 4096, MODEL_MAX_BYTES = 256 };

/* The name stands in headers, logs and labels. */
static bool
is_plain(struct dyn_slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!is_letter && strchr("-_.", c) == NULL) {
            return false;
        }
    }
    return name.len > 0 && name.len <= NAME_MAX_BYTES;
}

static int
check(const struct dynabus_provider *provider, struct dyn_err *err)
{
    if (provider->call == NULL || provider->name == NULL || !is_plain(dyn_slice_str(provider->name))) {
        return dyn_err_set(
            err, DYN_E_INVALID,
            "a provider has a function `call` and a name of 1 to %d letters, digits, -, _ and .",
            NAME_MAX_BYTES);
    }
    if (provider->n_models > MODELS_MAX) {
        return dyn_err_set(err, DYN_E_LIMIT, "'%s' has %zu models, more than %d", provider->name,
                           provider->n_models, MODELS_MAX);
    }
    for (size_t i = 0; i < provider->n_models; i++) {
        size_t len = provider->models[i] != NULL ? strlen(provider->models[i]) : 0;
        if (len == 0 || len > MODEL_MAX_BYTES) {
            return dyn_err_set(err, DYN_E_INVALID, "'%s': a model's name has 1 to %d bytes", provider->name,
                               MODEL_MAX_BYTES);
        }
    }
    return 0;
}

static void
fill_target(struct registered *registered)
{
    struct dynabus_provider *provider = &registered->provider;
    struct arena *arena = &registered->arena;
    struct dyn_slice *models = arena_alloc(arena, (provider->n_models + 1) * sizeof *models);
    for (size_t i = 0; i < provider->n_models; i++) {
        models[i] = arena_copy(arena, dyn_slice_str(provider->models[i]));
    }
    struct dyn_slice name = arena_copy(arena, dyn_slice_str(provider->name));
    provider->name = name.data;
    provider->models = NULL;
    registered->row = (struct provider_row){.id = name.data, .dialect = "openai_chat", .key_optional = true};
    registered->target = (struct provider_target){
        .name = name, .row = &registered->row, .models = models, .n_models = provider->n_models};
}

struct registered *
registered_new(const struct dynabus_provider *provider, struct dyn_err *err)
{
    struct dynabus_provider known = DYNABUS_PROVIDER_INIT;
    memcpy(&known, provider, provider->size < sizeof known ? provider->size : sizeof known);
    if (check(&known, err) != 0) {
        return NULL;
    }
    struct registered *registered = dyn_zalloc(sizeof *registered);
    atomic_init(&registered->refs, 1);
    arena_init(&registered->arena, NULL, 0);
    registered->provider = known;
    fill_target(registered);
    return registered;
}

struct registered *
registered_ref(struct registered *registered)
{
    (void)atomic_fetch_add_explicit(&registered->refs, 1, memory_order_relaxed);
    return registered;
}

void
registered_unref(struct registered **registered_p)
{
    struct registered *registered = *registered_p;
    *registered_p = NULL;
    if (registered == NULL || atomic_fetch_sub_explicit(&registered->refs, 1, memory_order_acq_rel) > 1) {
        return;
    }
    if (registered->provider.freed != NULL) {
        registered->provider.freed(registered->provider.user);
    }
    arena_fini(&registered->arena);
    free(registered);
}
