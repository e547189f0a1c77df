/* What no single key of the providers' configuration can say about itself. */
#include "actors/providers/provider_config_check.h"

#include "actors/providers/provider_resolve.h"
#include "actors/providers/provider_url.h"
#include "core/buf.h"
#include "core/nearest.h"
#include "core/text.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define NAME_MAX_BYTES    64u
#define HEADER_MAX        1024u
#define KEYS_MAX          64u /* credentials of one target */
#define BREAKER_FAILURES  5
#define BREAKER_OPEN_MS   (30u * 1000)
#define BREAKER_CALLS_MIN 20
#define BREAKER_WINDOW_MS (10u * 1000)
#define QUEUE_SIZE        1000

/* ---- providers ---- */

/* "openai, groq" for a sentence. */
static void
list_rows(struct dyn_buf *out)
{
    const struct provider_row *row;
    for (size_t i = 0; (row = provider_row_at(i)) != NULL; i++) {
        dyn_buf_addf(out, "%s%s", i > 0 ? ", " : "", row->id);
    }
}

static const char *
nearest_row(struct dyn_slice id)
{
    const char *ids[PROVIDER_ROWS_MAX];
    const struct provider_row *row;
    size_t n = 0;
    while (n < PROVIDER_ROWS_MAX && (row = provider_row_at(n)) != NULL) {
        ids[n++] = row->id;
    }
    return dyn_nearest(id, ids, n);
}

/* Providers of Ferro that have no row yet. */
static bool
is_to_come(struct dyn_slice id)
{
    static const char *const to_come[] = {"bedrock", "cohere", "gemini", "replicate", "vertex-ai"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(to_come); i++) {
        if (dyn_slice_is(id, to_come[i])) {
            return true;
        }
    }
    return false;
}

static void
unknown_provider(struct provider_target_config *target, struct dyn_slice id, struct config_problems *problems)
{
    const void *field = target->provider.data != NULL ? &target->provider : &target->virtual_key;
    struct config_mark mark = config_mark_of(problems, field);
    if (is_to_come(id)) {
        char what[NAME_MAX_BYTES + sizeof "the provider ''"];
        (void)snprintf(what, sizeof what, "the provider '%.*s'", (int)id.len, id.data);
        config_problem_unsupported(problems, mark, what);
        target->is_left_out = true;
        return;
    }
    const char *near = nearest_row(id);
    struct dyn_buf known = DYN_BUF_INIT;
    list_rows(&known);
    config_problem_add(problems, mark, false, "there is no provider '%.*s'%s%s%s; known are: %s", (int)id.len,
                       id.data, near != NULL ? ", did you mean '" : "", near != NULL ? near : "",
                       near != NULL ? "'?" : "", dyn_buf_cstr(&known));
    dyn_buf_fini(&known);
}

static bool
is_printable(struct dyn_slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if ((unsigned char)text.data[i] < ' ' || text.data[i] == 0x7f) {
            return false;
        }
    }
    return text.len > 0;
}

/* ---- names ---- */

static void
check_name(const struct provider_target_config *target, bool is_repeated, struct config_problems *problems)
{
    struct dyn_slice name = provider_target_name(target);
    struct config_mark mark = config_mark_of(problems, &target->name);
    if (!is_printable(name) || name.len > NAME_MAX_BYTES || memchr(name.data, ',', name.len) != NULL) {
        config_problem_add(problems, mark, false, "a target's name has 1 to %u printable bytes and no comma",
                           NAME_MAX_BYTES);
    } else if (is_repeated) {
        config_problem_add(problems, mark, false,
                           "two targets are named '%.*s'; give one of them another `name`", (int)name.len,
                           name.data);
    }
}

static void
check_names(const struct provider_config *config, struct config_problems *problems)
{
    const struct provider_target_config *targets = config->targets.items;
    size_t n = config->targets.n;
    struct dyn_slice *names = dyn_alloc((n + 1) * sizeof *names);
    size_t *first = dyn_alloc((n + 1) * sizeof *first);
    for (size_t i = 0; i < n; i++) {
        names[i] = provider_target_name(&targets[i]);
    }
    dyn_slices_first_equal(names, n, first);
    for (size_t i = 0; i < n; i++) {
        if (provider_target_provider(&targets[i]).len > 0) {
            check_name(&targets[i], first[i] != i, problems);
        }
    }
    free(names);
    free(first);
}

static void
check_model(const struct dyn_slice *model, bool is_repeated, struct config_problems *problems)
{
    struct config_mark mark = config_mark_of(problems, model);
    if (!is_printable(*model) || memchr(model->data, '*', model->len) != NULL ||
        memchr(model->data, '?', model->len) != NULL) {
        config_problem_add(problems, mark, false, "a model is named in full, without * and ?");
    } else if (is_repeated) {
        config_problem_add(problems, mark, false, "the model '%.*s' is named twice", (int)model->len,
                           model->data);
    }
}

static void
check_models(struct provider_target_config *target, struct config_problems *problems)
{
    struct config_strings *models = &target->models;
    size_t *first = dyn_alloc((models->n + 1) * sizeof *first);
    for (size_t i = 0; i < models->n; i++) {
        models->items[i] = dyn_slice_trim(models->items[i]);
    }
    dyn_slices_first_equal(models->items, models->n, first);
    for (size_t i = 0; i < models->n; i++) {
        check_model(&models->items[i], first[i] != i, problems);
    }
    free(first);
    for (size_t i = 0; i < target->upstream_model.n; i++) {
        if (!is_printable(target->upstream_model.values[i])) {
            config_problem_add(problems, config_mark_of(problems, &target->upstream_model.values[i]), false,
                               "the upstream's name of '%.*s' is empty",
                               (int)target->upstream_model.keys[i].len, target->upstream_model.keys[i].data);
        }
    }
}

/* ---- headers ---- */

/* RFC 9110 5.6.2 */
static bool
is_token(struct dyn_slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        if (!isalnum((unsigned char)name.data[i]) && strchr("!#$%&'*+-.^_`|~", name.data[i]) == NULL) {
            return false;
        }
    }
    return name.len > 0;
}

/* Headers that frame the request, or that we speak for. */
static bool
is_ours(struct dyn_slice name)
{
    static const struct dyn_slice ours[] = {
        DYN_SLICE_INIT("host"),   DYN_SLICE_INIT("content-length"), DYN_SLICE_INIT("transfer-encoding"),
        DYN_SLICE_INIT("te"),     DYN_SLICE_INIT("connection"),     DYN_SLICE_INIT("accept-encoding"),
        DYN_SLICE_INIT("expect"), DYN_SLICE_INIT("upgrade"),        DYN_SLICE_INIT("content-type"),
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(ours); i++) {
        if (dyn_slice_ieq(name, ours[i])) {
            return true;
        }
    }
    return false;
}

static void
check_headers(const struct provider_target_config *target, struct config_problems *problems)
{
    const struct config_map *headers = &target->headers;
    struct config_mark mark = config_mark_of(problems, headers);
    if (headers->n > PROVIDER_HEADERS_MAX) {
        config_problem_add(problems, mark, false, "at most %d headers can be added", PROVIDER_HEADERS_MAX);
    }
    for (size_t i = 0; i < headers->n; i++) {
        struct dyn_slice name = headers->keys[i];
        mark = config_mark_of(problems, &headers->keys[i]);
        if (!is_token(name)) {
            config_problem_add(problems, mark, false, "'%.*s' is no name of a header", (int)name.len,
                               name.data);
        } else if (is_ours(name)) {
            config_problem_add(problems, mark, false, "the header '%.*s' is set by the gateway itself",
                               (int)name.len, name.data);
        } else if (!is_printable(headers->values[i]) || headers->values[i].len > HEADER_MAX) {
            config_problem_add(problems, mark, false, "the value of '%.*s' has 1 to %u printable bytes",
                               (int)name.len, name.data, HEADER_MAX);
        }
    }
}

/* ---- credentials and addresses ---- */

/* Where references stay as they are written, only what has none can be judged. */
static bool
is_known(struct dyn_slice text, const struct config_problems *problems)
{
    return problems->has_resolved || (text.len > 0 && memmem(text.data, text.len, "${", 2) == NULL);
}

static void
check_key_text(struct dyn_slice key, struct config_mark mark, struct config_problems *problems)
{
    if (key.len > 0 && !is_printable(key)) {
        config_problem_add(problems, mark, false,
                           "the key has a character that no header can carry, such as a line end");
    }
}

static void
check_several_keys(const struct provider_target_config *target, struct config_problems *problems)
{
    const struct config_strings *keys = &target->api_keys;
    size_t *first = dyn_alloc((keys->n + 1) * sizeof *first);
    dyn_slices_first_equal(keys->items, keys->n, first);
    for (size_t i = 0; i < keys->n; i++) {
        struct config_mark mark = config_mark_of(problems, &keys->items[i]);
        check_key_text(keys->items[i], mark, problems);
        if (keys->items[i].len == 0) {
            config_problem_add(problems, mark, false, "this key is empty");
        } else if (first[i] != i) {
            config_problem_add(problems, mark, false, "this key is the same as api_keys[%zu]", first[i]);
        }
    }
    free(first);
    struct config_mark mark = config_mark_of(problems, keys);
    if (keys->n > KEYS_MAX) {
        config_problem_add(problems, mark, false, "a target has at most %u keys", KEYS_MAX);
    }
    if (keys->n > 0 && target->api_key.len > 0) {
        config_problem_add(problems, mark, false, "write either `api_key` or `api_keys`");
    }
}

/* In Ferro's notation, where a provider without its variables is passed over in silence. */
static bool
may_be_left_out(const struct provider_target_config *target)
{
    return target->provider.data == NULL && target->api_key.data == NULL;
}

static bool
lacks_key(const struct provider_target_config *target, const struct provider_row *row)
{
    return target->api_keys.n == 0 && row->auth != PROVIDER_AUTH_NONE && !row->key_optional &&
           provider_target_key(target->api_key, row, NULL).len == 0;
}

/* Whether one of the targets has all that it needs. */
static bool
is_any_usable(const struct provider_config *config)
{
    const struct provider_target_config *targets = config->targets.items;
    for (size_t i = 0; i < config->targets.n; i++) {
        const struct provider_row *row = provider_row_find(provider_target_provider(&targets[i]));
        if (row != NULL && !lacks_key(&targets[i], row)) {
            return true;
        }
    }
    return false;
}

static void
check_key(struct provider_target_config *target, const struct provider_row *row, size_t index,
          bool is_other_usable, struct config_problems *problems)
{
    struct config_mark mark = config_mark_of(problems, &target->api_key);
    check_key_text(provider_target_key(target->api_key, row, NULL), mark, problems);
    check_several_keys(target, problems);
    if (!problems->has_resolved || !lacks_key(target, row)) {
        return;
    }
    target->is_left_out = is_other_usable && may_be_left_out(target);
    config_problem_add(problems, mark, target->is_left_out,
                       "there is no key for '%s': set %s or targets[%zu].api_key%s", row->id, row->key_env,
                       index, target->is_left_out ? "; the target is left out" : "");
}

static void
check_base_url(const struct provider_target_config *target, const struct provider_row *row,
               struct config_problems *problems)
{
    struct config_mark mark = config_mark_of(problems, &target->base_url);
    struct dyn_slice root;
    struct dyn_err err;
    if (!is_known(target->base_url, problems)) {
        return;
    }
    if (target->base_url.data != NULL && target->base_url.len == 0) {
        config_problem_add(problems, mark, false, "'base_url' is empty; leave it out for the default");
    } else if (provider_target_root(target->base_url, row, NULL, problems->arena, &root, &err) != 0) {
        config_problem_add(problems, mark, false, "%s", err.text);
    }
}

/* ---- all ---- */

static void
check_target(const struct provider_config *config, size_t index, bool is_other_usable,
             struct config_problems *problems)
{
    struct provider_target_config *target = (struct provider_target_config *)config->targets.items + index;
    struct dyn_slice id = provider_target_provider(target);
    if (id.len == 0 && target->mark.line == 0) {
        return; /* it is no section at all, which has been said */
    }
    if (id.len == 0) {
        config_problem_add(problems, target->mark, false, "a target needs a `provider` (or `virtual_key`)");
        return;
    }
    check_models(target, problems);
    check_headers(target, problems);
    const struct provider_row *row = provider_row_find(id);
    if (row == NULL) {
        unknown_provider(target, id, problems);
        return;
    }
    check_key(target, row, index, is_other_usable, problems);
    if (!target->is_left_out) {
        check_base_url(target, row, problems);
    }
}

/* Zero means the default, as an unwritten value does in Go. */
static void
fill_zeros(struct provider_target_config *target)
{
    struct provider_breaker_config *breaker = &target->breaker;
    breaker->failure_threshold =
        breaker->failure_threshold > 0 ? breaker->failure_threshold : BREAKER_FAILURES;
    breaker->success_threshold = breaker->success_threshold > 0 ? breaker->success_threshold : 1;
    breaker->max_probes = breaker->max_probes > 0 ? breaker->max_probes : 1;
    breaker->open_ms = breaker->open_ms > 0 ? breaker->open_ms : BREAKER_OPEN_MS;
    breaker->minimum_calls = breaker->minimum_calls > 0 ? breaker->minimum_calls : BREAKER_CALLS_MIN;
    breaker->window_ms = breaker->window_ms > 0 ? breaker->window_ms : BREAKER_WINDOW_MS;
    struct provider_concurrency_config *concurrency = &target->concurrency;
    concurrency->queue_size = concurrency->queue_size > 0 ? concurrency->queue_size : QUEUE_SIZE;
}

static void
check_upstream(const struct provider_upstream_config *upstream, struct config_problems *problems)
{
    if (problems->has_resolved && upstream->ca_file.len > 0 && access(upstream->ca_file.data, R_OK) != 0) {
        config_problem_add(problems, config_mark_of(problems, &upstream->ca_file), false,
                           "the file '%s' cannot be read: %s", upstream->ca_file.data, strerror(errno));
    }
    if (upstream->proxy.len > 0 && is_known(upstream->proxy, problems) &&
        !provider_proxy_is_valid(upstream->proxy)) {
        config_problem_add(
            problems, config_mark_of(problems, &upstream->proxy), false,
            "a proxy is written like http://host:port (also https, socks5, socks5h), or `none`");
    }
}

void
provider_config_check(void *values, struct config_problems *problems)
{
    const struct provider_config *config = values;
    struct provider_target_config *targets = config->targets.items;
    bool is_usable = is_any_usable(config);
    check_names(config, problems);
    for (size_t i = 0; i < config->targets.n; i++) {
        check_target(config, i, is_usable, problems);
        fill_zeros(&targets[i]);
    }
    check_upstream(&config->upstream, problems);
}
