/* LiteLLM's format as its documentation describes it: model_list, litellm_settings, router_settings,
 * general_settings. A value that begins with os.environ/ is a variable. */
#include "gateway/litellm.h"

#include "actors/providers/provider_rows.h"
#include "actors/providers/provider_url.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define TOKENS_PER_PRICE 1e6
#define PRICE_MAX        1e6
#define WEIGHT_MAX       1e9
#define SECONDS_MAX      86400.0
#define COUNT_MAX        10000.0
#define VARIABLE         "os.environ/"
#define TEXT_MAX         256u /* bytes of a name that is carried over */

static const struct {
    const char *prefix;
    const char *ours;
    const char *key_env;
} providers[] = {
#define PROVIDER(prefix, ours, key_env) {prefix, ours, key_env},
#include "gateway/litellm_providers.def"
#undef PROVIDER
};

/* ---- what is kept ---- */

void
litellm_init(struct litellm *import)
{
    memset(import, 0, sizeof *import);
    arena_init(&import->arena, NULL, 0);
}

void
litellm_fini(struct litellm *import)
{
    arena_fini(&import->arena);
    memset(import, 0, sizeof *import);
}

/* A larger array with the same items, in the arena. */
static void *
grown(struct arena *arena, const void *items, size_t n, size_t *cap, size_t size)
{
    *cap = *cap > 0 ? *cap * 2 : 16;
    void *more = arena_zalloc(arena, *cap * size);
    if (n > 0) {
        memcpy(more, items, n * size);
    }
    return more;
}

void
litellm_note(struct litellm *import, unsigned line, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    config_make_printable(text);
    if (import->n_notes == import->cap_notes) {
        import->notes =
            grown(&import->arena, import->notes, import->n_notes, &import->cap_notes, sizeof *import->notes);
    }
    import->notes[import->n_notes++] =
        (struct litellm_note){line, arena_copy(&import->arena, dyn_slice_str(text)).data};
}

void
litellm_pair_add(struct litellm *import, struct litellm_pairs *pairs, struct litellm_pair pair)
{
    if (pairs->n == pairs->cap) {
        pairs->items = grown(&import->arena, pairs->items, pairs->n, &pairs->cap, sizeof *pairs->items);
    }
    pairs->items[pairs->n++] = pair;
}

/* ---- values ---- */

static bool
is_scalar(const struct config_node *node)
{
    return node->kind == CONFIG_NODE_PLAIN || node->kind == CONFIG_NODE_QUOTED;
}

static const struct config_node *
member(const struct config_node *map, const char *name)
{
    const struct config_node *found = NULL;
    bool is_map = map != NULL && map->kind == CONFIG_NODE_MAP;
    for (const struct config_node *item = is_map ? map->first : NULL; item != NULL; item = item->next) {
        if (item->kind != CONFIG_NODE_NULL && dyn_slice_is(item->key, name)) {
            found = item;
        }
    }
    return found;
}

static bool
begins_with(struct dyn_slice text, const char *prefix)
{
    size_t len = strlen(prefix);
    return text.len >= len && memcmp(text.data, prefix, len) == 0;
}

static bool
is_variable_name(struct dyn_slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!is_letter && (i == 0 || c < '0' || c > '9')) {
            return false;
        }
    }
    return name.len > 0;
}

/* Text that can stand in a configuration; a variable of theirs as a reference of ours. False: it cannot,
 * which is noted. */
static bool
take_text(struct litellm *import, const struct config_node *node, struct dyn_slice *out)
{
    if (!is_scalar(node)) {
        litellm_note(import, node->mark.line, "'%s' is no text", node->key.data);
        return false;
    }
    if (begins_with(node->text, VARIABLE)) {
        size_t len = strlen(VARIABLE);
        struct dyn_slice name = dyn_slice(node->text.data + len, node->text.len - len);
        if (!is_variable_name(name)) {
            litellm_note(import, node->mark.line, "'%s' names no variable", node->key.data);
            return false;
        }
        *out = arena_printf(&import->arena, "${%.*s}", (int)name.len, name.data);
        return true;
    }
    for (size_t i = 0; i < node->text.len; i++) {
        if ((unsigned char)node->text.data[i] < ' ' || node->text.data[i] == 0x7f) {
            litellm_note(import, node->mark.line, "'%s' has a character that no name has", node->key.data);
            return false;
        }
    }
    if (node->text.len == 0 || node->text.len > TEXT_MAX ||
        memmem(node->text.data, node->text.len, "${", 2)) {
        litellm_note(import, node->mark.line, "'%s' is empty, too long or has ${ in it", node->key.data);
        return false;
    }
    *out = node->text;
    return true;
}

static bool
take_number(struct litellm *import, const struct config_node *node, double max, double *out)
{
    char *end = NULL;
    double value = is_scalar(node) && node->text.len > 0 ? strtod(node->text.data, &end) : -1;
    if (end == NULL || *end != '\0' || !isfinite(value) || value < 0 || value > max) {
        litellm_note(import, node->mark.line, "'%s' is no number from 0 to %.0f", node->key.data, max);
        return false;
    }
    *out = value;
    return true;
}

static bool
take_count(struct litellm *import, const struct config_node *node, uint64_t *out)
{
    double value;
    if (!take_number(import, node, COUNT_MAX, &value)) {
        return false;
    }
    *out = (uint64_t)value;
    return true;
}

/* Seconds as milliseconds; nothing at all counts as not given. */
static void
take_seconds(struct litellm *import, const struct config_node *node, uint64_t *out_ms)
{
    double value;
    if (take_number(import, node, SECONDS_MAX, &value) && value > 0) {
        *out_ms = value * 1000 < 1 ? 1 : (uint64_t)(value * 1000);
    }
}

static bool
is_true(const struct config_node *node)
{
    return is_scalar(node) &&
           (dyn_slice_ieq(node->text, DYN_SLICE("true")) || dyn_slice_ieq(node->text, DYN_SLICE("yes")));
}

static void
not_carried(struct litellm *import, const char *section, const struct config_node *item)
{
    litellm_note(import, item->key_mark.line, "%s.%s", section, config_name(item->key, 60).text);
}

/* ---- deployments ---- */

/* The variable that stands for a secret that was written out as `what`: the same for the same secret. */
static struct dyn_slice
variable_for(struct litellm *import, unsigned line, const char *kind, const char *what, struct dyn_slice key,
             struct dyn_slice provider)
{
    struct litellm_pairs *literals = &import->literals;
    for (size_t i = 0; i < literals->n; i++) {
        if (dyn_slice_eq(literals->items[i].value, key)) {
            return literals->items[i].name;
        }
    }
    char name[100];
    (void)snprintf(name, sizeof name, "%.*s_%s_%zu", (int)provider.len, provider.data, kind, literals->n + 1);
    for (char *c = name; *c != '\0'; c++) {
        *c = (char)(*c == '-' ? '_' : *c >= 'a' && *c <= 'z' ? *c - 'a' + 'A' : *c);
    }
    struct dyn_slice kept = arena_copy(&import->arena, dyn_slice_str(name));
    litellm_pair_add(import, literals, (struct litellm_pair){line, kept, key});
    litellm_note(import, line, "%s: a secret that is written out is not copied; set the variable %s to it",
                 what, name);
    return kept;
}

static void
take_key(struct litellm *import, const struct config_node *node, struct litellm_deployment *deployment)
{
    struct dyn_slice key = {NULL, 0};
    if (!is_scalar(node) || node->text.len == 0) {
        return;
    }
    if (begins_with(node->text, VARIABLE)) {
        (void)take_text(import, node, &deployment->api_key);
        return;
    }
    key = variable_for(import, node->mark.line, "KEY", "api_key", node->text, deployment->provider);
    deployment->api_key = arena_printf(&import->arena, "${%s}", key.data);
}

static bool
has_word(struct dyn_slice text, const char *const *words, size_t n)
{
    char lower[TEXT_MAX + 1];
    size_t len = text.len < TEXT_MAX ? text.len : TEXT_MAX;
    for (size_t i = 0; i < len; i++) {
        char c = text.data[i];
        lower[i] = (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    }
    lower[len] = '\0';
    for (size_t i = 0; i < n; i++) {
        if (strstr(lower, words[i]) != NULL) {
            return true;
        }
    }
    return false;
}

/* Rather too many than too few: a variable does no harm. */
static bool
is_secret(struct dyn_slice name, struct dyn_slice value)
{
    static const char *const names[] = {"auth",    "key",      "token",      "secret",   "cookie",
                                        "session", "password", "credential", "signature"};
    static const char *const values[] = {"bearer ", "basic ", "sk-", "eyj", "key-", "secret"};
    return has_word(name, names, DYN_ARRAY_LEN(names)) || has_word(value, values, DYN_ARRAY_LEN(values));
}

/* A header's value; the secrets among them as a reference. */
static bool
take_header(struct litellm *import, const struct config_node *item,
            const struct litellm_deployment *deployment, struct dyn_slice *value)
{
    bool is_literal = is_scalar(item) && item->text.len > 0 && !begins_with(item->text, VARIABLE);
    if (!is_literal || !is_secret(item->key, item->text)) {
        return take_text(import, item, value);
    }
    struct config_name name = config_name(item->key, 60);
    struct dyn_slice what = arena_printf(&import->arena, "extra_headers.%s", name.text);
    struct dyn_slice variable =
        variable_for(import, item->mark.line, "HEADER", what.data, item->text, deployment->provider);
    *value = arena_printf(&import->arena, "${%s}", variable.data);
    return true;
}

static void
take_headers(struct litellm *import, const struct config_node *node, struct litellm_deployment *deployment)
{
    bool is_map = node->kind == CONFIG_NODE_MAP;
    for (const struct config_node *item = is_map ? node->first : NULL; item != NULL; item = item->next) {
        struct dyn_slice value;
        if (take_header(import, item, deployment, &value)) {
            litellm_pair_add(import, &deployment->headers,
                             (struct litellm_pair){item->mark.line, item->key, value});
        }
    }
}

static void
take_base_url(struct litellm *import, const struct config_node *node, struct litellm_deployment *deployment)
{
    struct dyn_slice given;
    struct dyn_slice root;
    struct dyn_err err;
    if (!take_text(import, node, &given)) {
        return;
    }
    const char *host = memmem(given.data, given.len, "://", 3);
    if (host != NULL && memchr(host, '@', (size_t)(given.data + given.len - host)) != NULL) {
        given = variable_for(import, node->mark.line, "BASE", "api_base", given, deployment->provider);
        given = arena_printf(&import->arena, "${%s}", given.data);
    }
    if (!begins_with(given, "${") &&
        provider_url_root(given, "https://h/v1", &import->arena, &root, &err) != 0) {
        litellm_note(import, node->mark.line, "api_base: %s", err.text);
        return;
    }
    deployment->base_url = given;
}

/* Per token with them, per million tokens with us. */
static void
take_price(struct litellm *import, const struct config_node *node, double *price, bool *has_price)
{
    double value;
    if (!*has_price && take_number(import, node, PRICE_MAX / TOKENS_PER_PRICE, &value)) {
        *price = value * TOKENS_PER_PRICE;
        *has_price = true;
    }
}

static bool
take_weight(struct litellm *import, const struct config_node *node, struct litellm_deployment *deployment)
{
    if (!deployment->has_weight) {
        deployment->has_weight = take_number(import, node, WEIGHT_MAX, &deployment->weight);
    }
    return true;
}

static void
take_parameter(struct litellm *import, const struct config_node *item, struct litellm_deployment *deployment)
{
    struct dyn_slice key = item->key;
    struct dyn_slice value;
    if (dyn_slice_is(key, "api_key")) {
        take_key(import, item, deployment);
    } else if (dyn_slice_is(key, "api_base") || dyn_slice_is(key, "base_url")) {
        take_base_url(import, item, deployment);
    } else if (dyn_slice_is(key, "weight")) {
        (void)take_weight(import, item, deployment);
    } else if (dyn_slice_is(key, "timeout")) {
        take_seconds(import, item, &deployment->timeout_ms);
    } else if (dyn_slice_is(key, "max_retries") || dyn_slice_is(key, "num_retries")) {
        deployment->has_retries = take_count(import, item, &deployment->retries);
    } else if (dyn_slice_is(key, "max_parallel_requests")) {
        (void)take_count(import, item, &deployment->max_concurrency);
    } else if (dyn_slice_is(key, "organization")) {
        if (take_text(import, item, &value)) {
            litellm_pair_add(import, &deployment->headers,
                             (struct litellm_pair){item->mark.line, DYN_SLICE("OpenAI-Organization"), value});
        }
    } else if (dyn_slice_is(key, "extra_headers")) {
        take_headers(import, item, deployment);
    } else if (dyn_slice_is(key, "input_cost_per_token")) {
        take_price(import, item, &deployment->input_price, &deployment->has_input_price);
    } else if (dyn_slice_is(key, "output_cost_per_token")) {
        take_price(import, item, &deployment->output_price, &deployment->has_output_price);
    } else if (dyn_slice_is(key, "api_version")) {
        litellm_note(import, item->key_mark.line, "api_version: the version without a date is used");
    } else if (!dyn_slice_is(key, "model") && !dyn_slice_is(key, "rpm") && !dyn_slice_is(key, "tpm") &&
               !dyn_slice_is(key, "custom_llm_provider")) {
        not_carried(import, "litellm_params", item);
    }
}

/* Without a weight requests go by how many are allowed a minute. */
static void
take_limits(struct litellm *import, const struct config_node *params, struct litellm_deployment *deployment)
{
    static const char *const limits[] = {"rpm", "tpm"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(limits); i++) {
        const struct config_node *limit = member(params, limits[i]);
        if (limit != NULL) {
            (void)take_weight(import, limit, deployment);
            litellm_note(import, limit->key_mark.line, "litellm_params.%s: it is a weight here, not a limit",
                         limits[i]);
        }
    }
}

static size_t
find_provider(struct dyn_slice prefix)
{
    size_t i = 0;
    while (i < DYN_ARRAY_LEN(providers) && !dyn_slice_is(prefix, providers[i].prefix)) {
        i++;
    }
    return i;
}

/* A model without a provider in front of it is known by its name. */
static const char *
guess_provider(struct dyn_slice model, bool has_base)
{
    if (begins_with(model, "claude")) {
        return "anthropic";
    }
    if (begins_with(model, "command")) {
        return "cohere";
    }
    if (begins_with(model, "gemini")) {
        return "gemini";
    }
    bool is_openai = begins_with(model, "gpt") || begins_with(model, "o1") || begins_with(model, "o3") ||
                     begins_with(model, "o4") || begins_with(model, "text-embedding") ||
                     begins_with(model, "chatgpt");
    return has_base && !is_openai ? "openai-compatible" : "openai";
}

/* "azure/my-deployment" is the provider azure and the model my-deployment. */
static void
split_model(struct litellm *import, const struct config_node *params, struct dyn_slice given,
            struct litellm_deployment *deployment)
{
    const struct config_node *custom = member(params, "custom_llm_provider");
    bool has_base = member(params, "api_base") != NULL || member(params, "base_url") != NULL;
    const char *slash = memchr(given.data, '/', given.len);
    size_t head = slash != NULL ? (size_t)(slash - given.data) : 0;
    size_t found = find_provider(dyn_slice(given.data, head));
    deployment->model = given;
    if (custom != NULL && is_scalar(custom) && find_provider(custom->text) < DYN_ARRAY_LEN(providers)) {
        found = find_provider(custom->text);
    } else if (found < DYN_ARRAY_LEN(providers)) {
        deployment->model = dyn_slice(given.data + head + 1, given.len - head - 1);
    }
    bool is_found = found < DYN_ARRAY_LEN(providers);
    const char *ours = is_found ? providers[found].ours : guess_provider(given, has_base);
    deployment->provider = dyn_slice_str(ours);
    deployment->row = provider_row_find(deployment->provider);
    if (is_found && providers[found].key_env != NULL && member(params, "api_key") == NULL) {
        deployment->api_key = arena_printf(&import->arena, "${%s}", providers[found].key_env);
    }
}

static void
take_info(struct litellm *import, const struct config_node *info, struct litellm_deployment *deployment)
{
    bool is_map = info != NULL && info->kind == CONFIG_NODE_MAP;
    for (const struct config_node *item = is_map ? info->first : NULL; item != NULL; item = item->next) {
        if (dyn_slice_is(item->key, "input_cost_per_token")) {
            take_price(import, item, &deployment->input_price, &deployment->has_input_price);
        } else if (dyn_slice_is(item->key, "output_cost_per_token")) {
            take_price(import, item, &deployment->output_price, &deployment->has_output_price);
        } else {
            not_carried(import, "model_info", item);
        }
    }
}

static bool
has_star(struct dyn_slice text)
{
    return memchr(text.data, '*', text.len) != NULL || memchr(text.data, '?', text.len) != NULL;
}

static void
keep_deployment(struct litellm *import, const struct litellm_deployment *deployment)
{
    if (import->n == import->cap) {
        import->deployments =
            grown(&import->arena, import->deployments, import->n, &import->cap, sizeof *import->deployments);
    }
    import->deployments[import->n++] = *deployment;
}

/* Whether a target can be made of it; why not is noted. */
static bool
is_usable(struct litellm *import, const struct litellm_deployment *deployment)
{
    if (deployment->row == NULL) {
        litellm_note(import, deployment->line,
                     "model_list: the provider '%s' of '%.*s' is not supported in this "
                     "version",
                     deployment->provider.data, (int)deployment->group.len, deployment->group.data);
        return false;
    }
    bool needs_root = deployment->row->root == NULL && deployment->row->base_url_env == NULL;
    if (needs_root && deployment->base_url.len == 0) {
        litellm_note(import, deployment->line, "model_list: '%.*s' has no api_base, which it needs",
                     (int)deployment->group.len, deployment->group.data);
        return false;
    }
    return true;
}

static void
read_deployment(struct litellm *import, const struct config_node *item)
{
    struct litellm_deployment deployment = {.line = item->mark.line};
    const struct config_node *group = member(item, "model_name");
    const struct config_node *params = member(item, "litellm_params");
    const struct config_node *model = member(params, "model");
    struct dyn_slice given;
    if (group == NULL || model == NULL) {
        litellm_note(import, item->mark.line,
                     "model_list: an entry needs model_name and litellm_params.model");
        return;
    }
    if (!take_text(import, group, &deployment.group) || !take_text(import, model, &given)) {
        return;
    }
    split_model(import, params, given, &deployment);
    for (const struct config_node *at = params->first; at != NULL; at = at->next) {
        if (at->kind != CONFIG_NODE_NULL) {
            take_parameter(import, at, &deployment);
        }
    }
    take_limits(import, params, &deployment);
    take_info(import, member(item, "model_info"), &deployment);
    deployment.takes_any = has_star(deployment.group) || has_star(deployment.model);
    if (deployment.takes_any) {
        litellm_note(import, group->mark.line,
                     "model_list: '%.*s' takes any model of '%s', by the provider's own names; so it has a "
                     "part in those of other entries that have such a name",
                     (int)deployment.group.len, deployment.group.data, deployment.provider.data);
    }
    for (const struct config_node *at = item->first; at != NULL; at = at->next) {
        if (at != group && at != params && !dyn_slice_is(at->key, "model_info")) {
            not_carried(import, "model_list", at);
        }
    }
    if (deployment.model.len > 0 && is_usable(import, &deployment)) {
        keep_deployment(import, &deployment);
    }
}

/* ---- settings ---- */

/* [{"a": ["b", "c"]}, ...] */
static void
read_fallbacks(struct litellm *import, const struct config_node *list)
{
    bool is_list = list->kind == CONFIG_NODE_LIST;
    for (const struct config_node *map = is_list ? list->first : NULL; map != NULL; map = map->next) {
        bool is_map = map->kind == CONFIG_NODE_MAP;
        for (const struct config_node *from = is_map ? map->first : NULL; from != NULL; from = from->next) {
            bool has_items = from->kind == CONFIG_NODE_LIST;
            for (const struct config_node *to = has_items ? from->first : NULL; to != NULL; to = to->next) {
                struct dyn_slice name;
                if (take_text(import, to, &name)) {
                    litellm_pair_add(import, &import->fallbacks,
                                     (struct litellm_pair){to->mark.line, from->key, name});
                }
            }
        }
    }
    if (!is_list) {
        litellm_note(import, list->mark.line, "fallbacks: it is no list");
    }
}

/* {alias: group} or {alias: {model: group, hidden: true}} */
static void
read_aliases(struct litellm *import, const struct config_node *map)
{
    bool is_map = map->kind == CONFIG_NODE_MAP;
    for (const struct config_node *item = is_map ? map->first : NULL; item != NULL; item = item->next) {
        const struct config_node *model = item->kind == CONFIG_NODE_MAP ? member(item, "model") : item;
        struct dyn_slice name;
        if (model == NULL || !take_text(import, model, &name)) {
            continue;
        }
        if (item->key.len == 0 || dyn_slice_eq(item->key, name)) {
            litellm_note(import, item->key_mark.line, "model_group_alias: an alias of itself");
            continue;
        }
        if (member(item, "hidden") != NULL) {
            litellm_note(import, item->key_mark.line, "model_group_alias.%s.hidden",
                         config_name(item->key, 60).text);
        }
        litellm_pair_add(import, &import->aliases,
                         (struct litellm_pair){item->key_mark.line, item->key, name});
    }
}

/* What both sections of settings may say. */
static bool
read_common(struct litellm *import, const struct config_node *item)
{
    if (dyn_slice_is(item->key, "fallbacks")) {
        read_fallbacks(import, item);
    } else if (dyn_slice_is(item->key, "num_retries")) {
        import->has_retries = take_count(import, item, &import->retries);
    } else if (dyn_slice_is(item->key, "allowed_fails")) {
        import->has_allowed_fails = take_count(import, item, &import->allowed_fails);
    } else if (dyn_slice_is(item->key, "timeout") || dyn_slice_is(item->key, "request_timeout")) {
        take_seconds(import, item, &import->timeout_ms);
    } else if (dyn_slice_is(item->key, "cooldown_time")) {
        take_seconds(import, item, &import->cooldown_ms);
    } else if (dyn_slice_is(item->key, "model_group_alias") || dyn_slice_is(item->key, "model_alias_map")) {
        read_aliases(import, item);
    } else {
        return false;
    }
    return true;
}

static void
read_settings(struct litellm *import, const struct config_node *section, const char *name)
{
    bool is_map = section->kind == CONFIG_NODE_MAP;
    for (const struct config_node *item = is_map ? section->first : NULL; item != NULL; item = item->next) {
        if (item->kind == CONFIG_NODE_NULL || read_common(import, item)) {
            continue;
        }
        if (dyn_slice_is(item->key, "routing_strategy")) {
            (void)take_text(import, item, &import->routing);
        } else if (dyn_slice_is(item->key, "drop_params")) {
            import->drops_params = is_true(item);
        } else {
            not_carried(import, name, item);
        }
    }
}

static void
read_general(struct litellm *import, const struct config_node *section)
{
    bool is_map = section->kind == CONFIG_NODE_MAP;
    for (const struct config_node *item = is_map ? section->first : NULL; item != NULL; item = item->next) {
        if (dyn_slice_is(item->key, "master_key")) {
            litellm_note(import, item->key_mark.line,
                         "general_settings.master_key: set the variable MASTER_KEY");
        } else {
            not_carried(import, "general_settings", item);
        }
    }
}

/* ---- the file ---- */

static void
read_section(struct litellm *import, const struct config_node *item)
{
    if (dyn_slice_is(item->key, "model_list")) {
        bool is_list = item->kind == CONFIG_NODE_LIST;
        for (const struct config_node *at = is_list ? item->first : NULL; at != NULL; at = at->next) {
            read_deployment(import, at);
        }
    } else if (dyn_slice_is(item->key, "litellm_settings")) {
        read_settings(import, item, "litellm_settings");
    } else if (dyn_slice_is(item->key, "router_settings")) {
        read_settings(import, item, "router_settings");
    } else if (dyn_slice_is(item->key, "general_settings")) {
        read_general(import, item);
    } else if (dyn_slice_is(item->key, "model_group_alias")) {
        read_aliases(import, item);
    } else {
        litellm_note(import, item->key_mark.line, "%s", config_name(item->key, 60).text);
    }
}

int
litellm_read(struct litellm *import, struct dyn_slice text, struct dyn_err *err)
{
    struct config_problems problems = {.arena = &import->arena};
    struct config_tree tree = {.arena = &import->arena, .problems = &problems, .text = text};
    int result = config_tree_read(&tree);
    for (size_t i = 0; i < problems.n && result == 0; i++) {
        litellm_note(import, problems.items[i].mark.line, "%s", problems.items[i].text);
    }
    if (result != 0 || tree.root == NULL || tree.root->kind != CONFIG_NODE_MAP) {
        const char *why = problems.n > 0 ? problems.items[0].text : "expected keys and values at the top";
        return dyn_err_set(err, DYN_E_CONFIG, "line %u: %s", problems.n > 0 ? problems.items[0].mark.line : 1,
                           why);
    }
    if (member(tree.root, "model_list") == NULL) {
        return dyn_err_set(err, DYN_E_CONFIG, "there is no model_list; is it a configuration of LiteLLM?");
    }
    for (const struct config_node *item = tree.root->first; item != NULL; item = item->next) {
        if (item->kind != CONFIG_NODE_NULL) {
            read_section(import, item);
        }
    }
    return 0;
}
