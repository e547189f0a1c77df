/* Keys of the providers and the checks that no single key can express. What a target is made of once
 * there is no problem is provider_target.c. */
#include "actors/providers/provider_config.h"

#include "actors/providers/provider_resolve.h"
#include "actors/providers/provider_url.h"
#include "core/buf.h"
#include "core/nearest.h"

#include <ctype.h>
#include <errno.h>
#include <unistd.h>

#define TIMEOUT_MAX_MS    (24.0 * 3600 * 1000)
#define BREAKER_COUNT_MAX 1e6
#define BREAKER_FAILURES  5
#define BREAKER_OPEN_MS   (30u * 1000)
#define CONCURRENCY_MAX   10000
#define QUEUE_DEFAULT     "1000"
#define QUEUE_SIZE        1000
#define NAME_MAX_BYTES    64u
#define HEADER_MAX        1024u

#define TIMEOUT(key, field, text)                                                                            \
    {                                                                                                        \
        .name = (key), .type = CONFIG_DURATION, .offset = offsetof(struct provider_timeouts_config, field),  \
        .min = 1, .max = TIMEOUT_MAX_MS, .help = (text)                                                      \
    }

/* ---- checks ---- */

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

static void
unknown_provider(const struct provider_target_config *target, struct dyn_slice id,
                 struct config_problems *problems)
{
    const void *field = target->provider.data != NULL ? &target->provider : &target->virtual_key;
    const char *near = nearest_row(id);
    struct dyn_buf known = DYN_BUF_INIT;
    list_rows(&known);
    config_problem_add(problems, config_mark_of(problems, field), false,
                       "there is no provider '%.*s'%s%s%s; known are: %s", (int)id.len, id.data,
                       near != NULL ? ", did you mean '" : "", near != NULL ? near : "",
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

static void
check_name(const struct provider_config *config, size_t index, struct config_problems *problems)
{
    const struct provider_target_config *targets = config->targets.items;
    struct dyn_slice name = provider_target_name(&targets[index]);
    struct config_mark mark = config_mark_of(problems, &targets[index].name);
    if (!is_printable(name) || name.len > NAME_MAX_BYTES) {
        config_problem_add(problems, mark, false, "a target's name has 1 to %u printable bytes",
                           NAME_MAX_BYTES);
    }
    for (size_t i = 0; i < index; i++) {
        if (dyn_slice_eq(provider_target_name(&targets[i]), name)) {
            config_problem_add(problems, mark, false,
                               "two targets are named '%.*s'; give one of them another `name`", (int)name.len,
                               name.data);
            return;
        }
    }
}

static void
check_models(const struct provider_target_config *target, struct config_problems *problems)
{
    const struct config_strings *models = &target->models;
    for (size_t i = 0; i < models->n; i++) {
        struct dyn_slice model = models->items[i];
        struct config_mark mark = config_mark_of(problems, &models->items[i]);
        if (!is_printable(model) || memchr(model.data, '*', model.len) != NULL ||
            memchr(model.data, '?', model.len) != NULL) {
            config_problem_add(problems, mark, false, "a model is named in full, without * and ?");
        }
        for (size_t j = 0; j < i; j++) {
            if (dyn_slice_eq(models->items[j], model)) {
                config_problem_add(problems, mark, false, "the model '%.*s' is named twice", (int)model.len,
                                   model.data);
            }
        }
    }
    for (size_t i = 0; i < target->upstream_model.n; i++) {
        if (!is_printable(target->upstream_model.values[i])) {
            config_problem_add(problems, config_mark_of(problems, &target->upstream_model), false,
                               "the upstream's name of '%.*s' is empty",
                               (int)target->upstream_model.keys[i].len, target->upstream_model.keys[i].data);
        }
    }
}

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

static void
check_key(const struct provider_target_config *target, const struct provider_row *row, size_t index,
          struct config_problems *problems)
{
    struct config_mark mark = config_mark_of(problems, &target->api_key);
    struct dyn_slice key = provider_target_key(target->api_key, row, NULL);
    if (key.len > 0 && !is_printable(key)) {
        config_problem_add(problems, mark, false,
                           "the key has a character that no header can carry, such as a line end");
    }
    if (!problems->has_resolved || key.len > 0 || row->auth == PROVIDER_AUTH_NONE || row->key_optional) {
        return;
    }
    config_problem_add(problems, mark, false, "there is no key for '%s': set %s or targets[%zu].api_key",
                       row->id, row->key_env, index);
}

/* Where references stay as they are written, only what has none can be judged. */
static bool
is_known(struct dyn_slice text, const struct config_problems *problems)
{
    return problems->has_resolved || (text.len > 0 && memmem(text.data, text.len, "${", 2) == NULL);
}

static void
check_target(const struct provider_config *config, size_t index, struct config_problems *problems)
{
    const struct provider_target_config *target =
        (struct provider_target_config *)config->targets.items + index;
    struct dyn_slice id = provider_target_provider(target);
    if (id.len == 0) {
        config_problem_add(problems, target->mark, false, "a target needs a `provider` (or `virtual_key`)");
        return;
    }
    check_name(config, index, problems);
    check_models(target, problems);
    check_headers(target, problems);
    const struct provider_row *row = provider_row_find(id);
    if (row == NULL) {
        unknown_provider(target, id, problems);
        return;
    }
    check_key(target, row, index, problems);
    struct dyn_slice root;
    struct dyn_err err;
    if (is_known(target->base_url, problems) &&
        provider_target_root(target->base_url, row, NULL, problems->arena, &root, &err) != 0) {
        config_problem_add(problems, config_mark_of(problems, &target->base_url), false, "%s", err.text);
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

static void
check(void *values, struct config_problems *problems)
{
    const struct provider_config *config = values;
    struct provider_target_config *targets = config->targets.items;
    for (size_t i = 0; i < config->targets.n; i++) {
        check_target(config, i, problems);
        fill_zeros(&targets[i]);
    }
    check_upstream(&config->upstream, problems);
}

/* ---- keys ---- */

/* The names are the order of enum provider_redeliver. */
static const char *const redeliver_names[] = {"always", "unsent", "never", NULL};
static const char *const scope_names[] = {"process", NULL};
static const char *const scope_names_to_come[] = {"fleet", NULL};
static const char *const on_unsupported_names[] = {"warn", "drop", "reject", NULL};
static const char *const stream_usage_names[] = {"default", "ask", "never", NULL};

static const struct config_key timeouts_keys[] = {
    TIMEOUT("connect", connect_ms, "Name, TCP and TLS together. Default 10s."),
    TIMEOUT("first_byte", first_byte_ms,
            "From there to the first byte of the answer. A plain answer of a model that thinks comes late. "
            "Default 5m."),
    TIMEOUT("idle", idle_ms, "Between two bytes of an answer. Default 2m."),
    {.name = NULL},
};

static const struct config_section timeouts_section = {
    .keys = timeouts_keys, .size = sizeof(struct provider_timeouts_config), .mark_offset = SIZE_MAX};

static const struct config_key breaker_keys[] = {
    {.name = "failure_threshold",
     .type = CONFIG_INT,
     .offset = offsetof(struct provider_breaker_config, failure_threshold),
     .default_text = "5",
     .min = 0,
     .max = BREAKER_COUNT_MAX,
     .help = "So many failures in a row open it. What a client does wrong, a refused key and 429 are none."},
    {.name = "success_threshold",
     .type = CONFIG_INT,
     .offset = offsetof(struct provider_breaker_config, success_threshold),
     .default_text = "1",
     .min = 0,
     .max = BREAKER_COUNT_MAX,
     .help = "So many probes that succeed close it again."},
    {.name = "max_half_threshold",
     .type = CONFIG_INT,
     .offset = offsetof(struct provider_breaker_config, max_probes),
     .default_text = "1",
     .min = 0,
     .max = BREAKER_COUNT_MAX,
     .help = "So many probes may be under way at the same time."},
    {.name = "timeout",
     .type = CONFIG_DURATION,
     .offset = offsetof(struct provider_breaker_config, open_ms),
     .default_text = "30s",
     .min = 0,
     .max = TIMEOUT_MAX_MS,
     .help = "How long it stays open before a request goes through as a probe. `0`: the default, as for the "
             "other keys here."},
    {.name = NULL},
};

static const struct config_section breaker_section = {
    .keys = breaker_keys, .size = sizeof(struct provider_breaker_config), .mark_offset = SIZE_MAX};

static const struct config_key concurrency_keys[] = {
    {.name = "max_concurrency",
     .type = CONFIG_INT,
     .offset = offsetof(struct provider_concurrency_config, max_concurrency),
     .required = true,
     .min = 1,
     .max = CONCURRENCY_MAX,
     .help = "So many requests at the same time."},
    {.name = "queue_size",
     .type = CONFIG_INT,
     .offset = offsetof(struct provider_concurrency_config, queue_size),
     .default_text = QUEUE_DEFAULT,
     .min = 0,
     .max = CONCURRENCY_MAX,
     .help = "So many more wait; those beyond them are refused at once. `0`: the default."},
    {.name = "queue_timeout",
     .type = CONFIG_DURATION,
     .offset = offsetof(struct provider_concurrency_config, queue_timeout_ms),
     .default_text = "0",
     .min = 0,
     .max = TIMEOUT_MAX_MS,
     .help = "How long one may wait. `0`: as long as the request may take."},
    {.name = "scope",
     .type = CONFIG_ENUM,
     .offset = offsetof(struct provider_concurrency_config, scope),
     .default_text = "process",
     .names = scope_names,
     .unsupported_names = scope_names_to_come,
     .help = "What the number is for: each provider process."},
    {.name = NULL},
};

static const struct config_section concurrency_section = {
    .keys = concurrency_keys,
    .size = sizeof(struct provider_concurrency_config),
    .mark_offset = offsetof(struct provider_concurrency_config, mark),
};

static const struct config_key target_keys[] = {
    {.name = "virtual_key",
     .type = CONFIG_STRING,
     .offset = offsetof(struct provider_target_config, virtual_key),
     .every_role = true,
     .help = "The id of a provider, which is the target's name too."},
    {.name = "name",
     .type = CONFIG_STRING,
     .offset = offsetof(struct provider_target_config, name),
     .every_role = true,
     .help =
         "What the target is called in logs, headers and metrics. Default: `virtual_key`, else `provider`."},
    {.name = "provider",
     .type = CONFIG_STRING,
     .offset = offsetof(struct provider_target_config, provider),
     .every_role = true,
     .help = "The id of the provider. Default: `virtual_key`."},
    {.name = "base_url",
     .type = CONFIG_STRING,
     .offset = offsetof(struct provider_target_config, base_url),
     .help = "The API root, such as `https://host/v1`. A URL without a path gets the version of the "
             "provider's own "
             "root. Default: the provider's variable, else its own root."},
    {.name = "api_key",
     .type = CONFIG_SECRET,
     .offset = offsetof(struct provider_target_config, api_key),
     .help = "The credential for the provider. Default: the provider's variable."},
    {.name = "api_keys",
     .type = CONFIG_SECRET_LIST,
     .offset = offsetof(struct provider_target_config, api_keys),
     .help = "Several credentials for the provider, used in turn; one that is refused or out of quota is set "
             "aside. Instead of `api_key`."},
    {.name = "models",
     .type = CONFIG_STRING_LIST,
     .offset = offsetof(struct provider_target_config, models),
     .every_role = true,
     .help = "The models that this target serves. Without any it serves those that no other target names."},
    {.name = "upstream_model",
     .type = CONFIG_STRING_MAP,
     .offset = offsetof(struct provider_target_config, upstream_model),
     .help = "What the provider calls a model, by what clients call it."},
    {.name = "headers",
     .type = CONFIG_STRING_MAP,
     .offset = offsetof(struct provider_target_config, headers),
     .help = "Headers to add to every request to the provider."},
    {.name = "timeouts",
     .type = CONFIG_SECTION,
     .offset = offsetof(struct provider_target_config, timeouts),
     .section = &timeouts_section,
     .help = "How long the provider may take."},
    {.name = "stream_usage",
     .type = CONFIG_ENUM,
     .offset = offsetof(struct provider_target_config, stream_usage),
     .default_text = "default",
     .names = stream_usage_names,
     .help = "Whether the provider is asked for usage at the end of a stream. `default`: as is known of the "
             "provider."},
    {.name = "redeliver",
     .type = CONFIG_ENUM,
     .offset = offsetof(struct provider_target_config, redeliver),
     .default_text = "always",
     .names = redeliver_names,
     .help = "Whether a request is sent again when the process that worked on it is lost before the answer "
             "has begun: `always`, `unsent` (only if no byte of it had reached the provider) or `never`. The "
             "request header `x-dynabus-redeliver` says so for one request."},
    {.name = "circuit_breaker",
     .type = CONFIG_SECTION,
     .offset = offsetof(struct provider_target_config, breaker),
     .section = &breaker_section,
     .set_offset = offsetof(struct provider_target_config, has_breaker),
     .help = "When a target that fails is left alone for a while. Without this section never."},
    {.name = "concurrency",
     .type = CONFIG_SECTION,
     .offset = offsetof(struct provider_target_config, concurrency),
     .section = &concurrency_section,
     .set_offset = offsetof(struct provider_target_config, has_concurrency),
     .help = "How many requests the target gets at the same time. Without this section any number."},
    {.name = NULL},
};

static const struct config_section target_section = {
    .keys = target_keys,
    .size = sizeof(struct provider_target_config),
    .mark_offset = offsetof(struct provider_target_config, mark),
};

static const struct config_key upstream_keys[] = {
    {.name = "ca_file",
     .type = CONFIG_STRING,
     .offset = offsetof(struct provider_upstream_config, ca_file),
     .help = "Certificates (PEM) to trust instead of the system's. Default: CURL_CA_BUNDLE, SSL_CERT_FILE, "
             "the system's."},
    {.name = "proxy",
     .type = CONFIG_STRING,
     .offset = offsetof(struct provider_upstream_config, proxy),
     .help = "The proxy for all providers but those on loopback, or `none`. Default: HTTPS_PROXY, "
             "http_proxy, ALL_PROXY."},
    {.name = "no_proxy",
     .type = CONFIG_STRING,
     .offset = offsetof(struct provider_upstream_config, no_proxy),
     .help = "Hosts that are reached without the proxy, with commas between. Default: NO_PROXY."},
    {.name = NULL},
};

static const struct config_section upstream_section = {
    .keys = upstream_keys, .size = sizeof(struct provider_upstream_config), .mark_offset = SIZE_MAX};

static const struct config_key compatibility_keys[] = {
    {.name = "on_unsupported_param",
     .type = CONFIG_ENUM,
     .offset = offsetof(struct provider_compatibility_config, on_unsupported_param),
     .default_text = "warn",
     .names = on_unsupported_names,
     .help = "What is done with a parameter that the provider does not take: `warn` sends it where the "
             "provider's language has a place for it and says so, `drop` leaves it out, `reject` refuses the "
             "request."},
    {.name = NULL},
};

static const struct config_section compatibility_section = {
    .keys = compatibility_keys,
    .size = sizeof(struct provider_compatibility_config),
    .mark_offset = SIZE_MAX,
};

static const struct config_key provider_keys[] = {
    {.name = "targets",
     .type = CONFIG_SECTION_LIST,
     .offset = offsetof(struct provider_config, targets),
     .section = &target_section,
     .help = "Where requests go, in order."},
    {.name = "upstream",
     .type = CONFIG_SECTION,
     .offset = offsetof(struct provider_config, upstream),
     .section = &upstream_section,
     .help = "What is the same for all connections to providers."},
    {.name = "compatibility",
     .type = CONFIG_SECTION,
     .offset = offsetof(struct provider_config, compatibility),
     .section = &compatibility_section,
     .help = "Where providers differ."},
    {.name = NULL},
};

const struct config_part provider_config_part = {
    .folder = "actors/providers",
    .section = {.keys = provider_keys, .size = sizeof(struct provider_config), .mark_offset = SIZE_MAX},
    .check = check,
};
