/* Targets: made once at start from configuration and environment, then only read. */
#include "actors/providers/provider_config.h"

#include "actors/providers/provider_resolve.h"
#include "actors/providers/provider_url.h"
#include "core/buf.h"
#include "core/nearest.h"

#include <stdlib.h>

struct provider_targets {
    const struct config_lookup *lookup;
    struct arena arena; /* all texts */
    struct provider_target *items;
    size_t n;
};

provider_targets_t *
provider_targets_new(const struct config_lookup *lookup)
{
    provider_targets_t *targets = dyn_zalloc(sizeof *targets);
    targets->lookup = lookup;
    arena_init(&targets->arena, NULL, 0);
    return targets;
}

void
provider_targets_free(provider_targets_t **targets_p)
{
    provider_targets_t *targets = *targets_p;
    *targets_p = NULL;
    if (targets != NULL) {
        arena_fini(&targets->arena);
        free(targets->items);
        free(targets);
    }
}

size_t
provider_targets_count(const provider_targets_t *targets)
{
    return targets->n;
}

const struct provider_target *
provider_targets_at(const provider_targets_t *targets, size_t index)
{
    DYN_ASSERT(index < targets->n);
    return &targets->items[index];
}

void
provider_targets_list(provider_targets_t *targets, size_t index, const struct dyn_slice *models, size_t n)
{
    struct provider_target *target = &targets->items[index];
    struct arena *arena = &targets->arena;
    struct dyn_slice *all = arena_alloc(arena, (target->n_models + n + 1) * sizeof *all);
    size_t n_written = target->n_models;
    for (size_t i = 0; i < n_written; i++) {
        all[i] = target->models[i];
    }
    target->models = all;
    for (size_t i = 0; i < n; i++) {
        size_t k = 0;
        while (k < n_written && !dyn_slice_eq(all[k], models[i])) {
            k++;
        }
        if (k == n_written) {
            all[target->n_models++] = arena_copy(arena, models[i]);
        }
    }
}

/* ---- making one ---- */

static const char *
text_or_null(provider_targets_t *targets, struct dyn_slice text)
{
    return text.len > 0 ? arena_copy(&targets->arena, text).data : NULL;
}

static struct dyn_slice
first_set(struct dyn_slice a, struct dyn_slice b, struct dyn_slice c)
{
    return a.len > 0 ? a : b.len > 0 ? b : c;
}

static void
set_network(provider_targets_t *targets, const struct provider_upstream_config *upstream,
            struct provider_target *target)
{
    const struct config_lookup *lookup = targets->lookup;
    struct dyn_slice ca_file = first_set(upstream->ca_file, provider_variable(lookup, "CURL_CA_BUNDLE"),
                                         provider_variable(lookup, "SSL_CERT_FILE"));
    target->ca_file = text_or_null(targets, ca_file);
    target->proxy = text_or_null(targets, provider_proxy_for(target->root, upstream->proxy, lookup));
    target->no_proxy = text_or_null(targets, provider_no_proxy_for(upstream->no_proxy, lookup));
}

static void
set_models(provider_targets_t *targets, const struct provider_target_config *config,
           struct provider_target *target)
{
    struct arena *arena = &targets->arena;
    struct dyn_slice *models = arena_alloc(arena, config->models.n * sizeof *models);
    for (size_t i = 0; i < config->models.n; i++) {
        models[i] = arena_copy(arena, config->models.items[i]);
    }
    target->models = models;
    target->n_models = config->models.n;
}

static void
set_renames(provider_targets_t *targets, const struct provider_target_config *config,
            struct provider_target *target)
{
    struct arena *arena = &targets->arena;
    struct provider_model_name *renames = arena_alloc(arena, config->upstream_model.n * sizeof *renames);
    for (size_t i = 0; i < config->upstream_model.n; i++) {
        renames[i].model = arena_copy(arena, config->upstream_model.keys[i]);
        renames[i].upstream = arena_copy(arena, config->upstream_model.values[i]);
    }
    target->renames = renames;
    target->n_renames = config->upstream_model.n;
}

static void
set_headers(provider_targets_t *targets, const struct provider_target_config *config,
            struct provider_target *target)
{
    struct arena *arena = &targets->arena;
    struct http_client_header *headers = arena_alloc(arena, config->headers.n * sizeof *headers);
    for (size_t i = 0; i < config->headers.n; i++) {
        headers[i].name = arena_copy(arena, config->headers.keys[i]);
        headers[i].value = arena_copy(arena, config->headers.values[i]);
    }
    target->headers = headers;
    target->n_headers = config->headers.n;
}

static uint32_t
timeout_or(uint64_t configured_ms, uint32_t row_ms)
{
    return configured_ms > 0 ? (uint32_t)configured_ms : row_ms;
}

static struct provider_target *
append(provider_targets_t *targets)
{
    targets->items = dyn_realloc(targets->items, (targets->n + 1) * sizeof *targets->items);
    targets->items[targets->n] = (struct provider_target){.row = NULL};
    return &targets->items[targets->n];
}

static const struct provider_row *
find_row(const struct provider_target_config *config, struct dyn_err *err)
{
    struct dyn_slice id = provider_target_provider(config);
    const struct provider_row *row = provider_row_find(id);
    if (row == NULL) {
        (void)dyn_err_set(err, DYN_E_CONFIG, "there is no provider '%.*s'", (int)id.len,
                          id.data ? id.data : "");
    }
    return row;
}

/* What a router needs to know of a target. It counts once targets->n is raised. */
static struct provider_target *
begin(provider_targets_t *targets, const struct provider_target_config *config,
      const struct provider_row *row)
{
    struct provider_target *target = append(targets);
    target->row = row;
    target->name = arena_copy(&targets->arena, provider_target_name(config));
    target->redeliver = (enum provider_redeliver)config->redeliver;
    target->owns_base_url = row->root == NULL || config->base_url.len > 0 ||
                            provider_variable(targets->lookup, row->base_url_env).len > 0;
    set_models(targets, config, target);
    return target;
}

/* Several credentials instead of the one. */
static int
set_keys(provider_targets_t *targets, const struct provider_target_config *config,
         struct provider_target *target, struct dyn_err *err)
{
    struct arena *arena = &targets->arena;
    if (config->api_keys.n == 0) {
        return 0;
    }
    if (config->api_keys.n > PROVIDER_KEYS_MAX) {
        return dyn_err_set(err, DYN_E_CONFIG, "target '%s' has %zu keys, at most %d can take turns",
                           target->name.data, config->api_keys.n, PROVIDER_KEYS_MAX);
    }
    struct dyn_slice *keys = arena_alloc(arena, config->api_keys.n * sizeof *keys);
    for (size_t i = 0; i < config->api_keys.n; i++) {
        keys[i] = arena_copy(arena, config->api_keys.items[i]);
    }
    target->keys = keys;
    target->n_keys = config->api_keys.n;
    target->key = keys[0];
    return 0;
}

static void
set_guard(const struct provider_target_config *config, struct provider_target *target)
{
    const struct provider_breaker_config *breaker = &config->breaker;
    const struct provider_concurrency_config *concurrency = &config->concurrency;
    if (config->has_breaker) {
        target->guard.breaker = (struct breaker_config){
            .failure_threshold = (uint32_t)breaker->failure_threshold,
            .success_threshold = (uint32_t)breaker->success_threshold,
            .probes_max = (uint32_t)breaker->max_probes,
            .open_us = breaker->open_ms * UINT64_C(1000),
            .failure_percent = (uint32_t)breaker->failure_rate,
            .calls_min = (uint32_t)breaker->minimum_calls,
            .window_us = breaker->window_ms * UINT64_C(1000),
        };
    }
    if (config->has_concurrency) {
        target->guard.limit = (uint32_t)concurrency->max_concurrency;
        target->guard.queue_max = (uint32_t)concurrency->queue_size;
        target->guard.queue_timeout_ms = (uint32_t)concurrency->queue_timeout_ms;
    }
}

static bool
is_at(struct dyn_slice host, struct dyn_slice home)
{
    struct dyn_slice end = host.len > home.len ? dyn_slice(host.data + host.len - home.len, home.len) : host;
    return dyn_slice_ieq(end, home) && (end.len == host.len || end.data[-1] == '.');
}

static void
set_body_row(provider_targets_t *targets, const struct provider_target_config *config,
             struct provider_target *target)
{
    const struct provider_row *row = target->row;
    bool is_home =
        row->renames_at == NULL || is_at(provider_url_host(target->root), dyn_slice_str(row->renames_at));
    bool renames = config->rename_params == PROVIDER_RENAME_ALWAYS ||
                   (config->rename_params == PROVIDER_RENAME_ROW && is_home);
    if (!renames) {
        struct provider_row *own = arena_alloc(&targets->arena, sizeof *own);
        *own = *row;
        own->renames[0].from = NULL;
        target->body_row = own;
    }
}

/* The configuration's checks have said all this with a place in the file; here it is said again for
 * targets that come from elsewhere. */
static int
add(provider_targets_t *targets, const struct provider_target_config *config,
    const struct provider_config *common, struct dyn_err *err)
{
    static const struct provider_upstream_config nothing;
    const struct provider_row *row = find_row(config, err);
    if (row == NULL) {
        return -1;
    }
    struct provider_target *target = begin(targets, config, row);
    target->key = arena_copy(&targets->arena, provider_target_key(config->api_key, row, targets->lookup));
    if (set_keys(targets, config, target, err) != 0) {
        return -1;
    }
    set_guard(config, target);
    if (provider_target_root(config->base_url, row, targets->lookup, &targets->arena, &target->root, err) !=
        0) {
        return -1;
    }
    if (target->key.len == 0 && row->auth != PROVIDER_AUTH_NONE && !row->key_optional) {
        return dyn_err_set(err, DYN_E_CONFIG, "target '%s' has no key: set %s or its api_key",
                           target->name.data, row->key_env);
    }
    set_body_row(targets, config, target);
    set_renames(targets, config, target);
    set_headers(targets, config, target);
    set_network(targets, common != NULL ? &common->upstream : &nothing, target);
    target->connect_ms = timeout_or(config->timeouts.connect_ms, row->connect_ms);
    target->first_byte_ms = timeout_or(config->timeouts.first_byte_ms, row->first_byte_ms);
    target->idle_ms = timeout_or(config->timeouts.idle_ms, row->idle_ms);
    target->on_unsupported = common != NULL ? (uint8_t)common->compatibility.on_unsupported_param : 0;
    target->ask_usage = config->stream_usage == PROVIDER_USAGE_ROW
                            ? !row->never_ask_usage
                            : config->stream_usage == PROVIDER_USAGE_ASK;
    targets->n++;
    return 0;
}

/* ---- where they come from ---- */

int
provider_targets_add_config(provider_targets_t *targets, const struct provider_config *config,
                            struct dyn_err *err)
{
    const struct provider_target_config *items = config->targets.items;
    for (size_t i = 0; i < config->targets.n; i++) {
        if (!items[i].is_left_out && add(targets, &items[i], config, err) != 0) {
            return -1;
        }
    }
    return 0;
}

int
provider_targets_add_routing(provider_targets_t *targets, const struct provider_config *config,
                             struct dyn_err *err)
{
    const struct provider_target_config *items = config->targets.items;
    for (size_t i = 0; i < config->targets.n; i++) {
        if (items[i].is_left_out) {
            continue;
        }
        const struct provider_row *row = find_row(&items[i], err);
        if (row == NULL) {
            return -1;
        }
        (void)begin(targets, &items[i], row);
        targets->n++;
    }
    return 0;
}

/* Whether all that the row must have from the environment is there. One without variables never is. */
static bool
is_in_environment(const struct provider_row *row, const struct config_lookup *lookup)
{
    bool has_base_url = provider_variable(lookup, row->base_url_env).len > 0;
    bool has_key = provider_variable(lookup, row->key_env).len > 0;
    if (row->key_env != NULL ? !has_key : !has_base_url) {
        return false;
    }
    bool has_root =
        row->root != NULL && (row->root_env == NULL || provider_variable(lookup, row->root_env).len > 0);
    return has_base_url || has_root;
}

/* A folder, as the variable OLLAMA_MODELS of an Ollama server has: no list of names. */
static bool
is_path(struct dyn_slice text)
{
    bool is_drive = text.len > 2 && text.data[1] == ':' && (text.data[2] == '/' || text.data[2] == '\\');
    bool starts_so = text.len > 0 && (text.data[0] == '/' || text.data[0] == '~' || text.data[0] == '.');
    return (is_drive || starts_so) && memchr(text.data, ',', text.len) == NULL;
}

/* The next name of the list, without the spaces around it; false behind the last. */
static bool
next_name(struct dyn_slice *rest, struct dyn_slice *name)
{
    if (rest->data == NULL) {
        return false;
    }
    const char *comma = memchr(rest->data, ',', rest->len);
    size_t len = comma != NULL ? (size_t)(comma - rest->data) : rest->len;
    *name = dyn_slice(rest->data, len);
    *rest = comma != NULL ? dyn_slice(comma + 1, rest->len - len - 1) : dyn_slice(NULL, 0);
    while (name->len > 0 && name->data[0] == ' ') {
        *name = dyn_slice(name->data + 1, name->len - 1);
    }
    while (name->len > 0 && name->data[name->len - 1] == ' ') {
        name->len--;
    }
    return true;
}

/* The list of models that the environment has for the row; each once. */
static struct config_strings
models_in_environment(provider_targets_t *targets, const struct provider_row *row)
{
    struct dyn_slice list = {NULL, 0};
    for (size_t i = 0; i < PROVIDER_ROW_MODEL_VARIABLES_MAX && list.len == 0; i++) {
        list = provider_variable(targets->lookup, row->models_env[i]);
        list = is_path(list) ? dyn_slice(NULL, 0) : list;
    }
    struct config_strings models = {.items = arena_alloc(&targets->arena, (list.len + 1) * sizeof list)};
    struct dyn_slice name;
    while (next_name(&list, &name)) {
        bool is_new = name.len > 0;
        for (size_t i = 0; i < models.n && is_new; i++) {
            is_new = !dyn_slice_eq(models.items[i], name);
        }
        if (is_new) {
            models.items[models.n++] = name;
        }
    }
    return models;
}

int
provider_targets_add_env(provider_targets_t *targets, const struct provider_config *config,
                         struct dyn_err *err)
{
    const struct provider_row *row;
    for (size_t i = 0; (row = provider_row_at(i)) != NULL; i++) {
        if (!is_in_environment(row, targets->lookup)) {
            continue;
        }
        struct provider_target_config target = {.provider = dyn_slice_str(row->id),
                                                .models = models_in_environment(targets, row)};
        if (add(targets, &target, config, err) != 0) {
            return -1;
        }
    }
    return 0;
}

int
provider_targets_add(provider_targets_t *targets, const struct provider_config *config, const char *name,
                     const char *provider, const char *base_url, struct dyn_err *err)
{
    struct provider_target_config target = {.name = dyn_slice_str(name),
                                            .provider = dyn_slice_str(provider),
                                            .base_url = dyn_slice_str(base_url)};
    return add(targets, &target, config, err);
}

/* ---- those of one process ---- */

static size_t
find_target(const provider_targets_t *targets, struct dyn_slice name)
{
    size_t i = 0;
    while (i < targets->n && !dyn_slice_eq(targets->items[i].name, name)) {
        i++;
    }
    return i;
}

static int
unknown_target(const provider_targets_t *targets, struct dyn_slice name, struct dyn_err *err)
{
    const char **words = dyn_alloc((targets->n + 1) * sizeof *words);
    struct dyn_buf known = DYN_BUF_INIT;
    for (size_t i = 0; i < targets->n; i++) {
        words[i] = targets->items[i].name.data;
        dyn_buf_addf(&known, "%s%s", i > 0 ? ", " : "", words[i]);
    }
    const char *near = dyn_nearest(name, words, targets->n);
    (void)dyn_err_set(err, DYN_E_CONFIG, "there is no target '%.*s'%s%s%s; known are: %s", (int)name.len,
                      name.data, near != NULL ? ", did you mean '" : "", near != NULL ? near : "",
                      near != NULL ? "'?" : "", known.len > 0 ? dyn_buf_cstr(&known) : "none");
    dyn_buf_fini(&known);
    free(words);
    return -1;
}

int
provider_targets_select(provider_targets_t *targets, struct dyn_slice names, struct dyn_err *err)
{
    bool *is_named = dyn_zalloc((targets->n + 1) * sizeof *is_named);
    struct dyn_slice name;
    while (next_name(&names, &name)) {
        size_t found = find_target(targets, name);
        if (found == targets->n) {
            free(is_named);
            return unknown_target(targets, name, err);
        }
        is_named[found] = true;
    }
    size_t kept = 0;
    for (size_t i = 0; i < targets->n; i++) {
        if (is_named[i]) {
            targets->items[kept++] = targets->items[i];
        }
    }
    targets->n = kept;
    free(is_named);
    return 0;
}
