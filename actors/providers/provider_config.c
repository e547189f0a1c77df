/* Keys of the providers: the tables. Checks that no single key can express are provider_config_check.c; what
 * a target is made of once there is no problem is provider_target.c. */
#include "actors/providers/provider_config_check.h"

#define TIMEOUT_MAX_MS    (24.0 * 3600 * 1000)
#define BREAKER_COUNT_MAX 1e6
#define CONCURRENCY_MAX   10000
#define QUEUE_DEFAULT     "1000"

#define TIMEOUT(key, field, text)                                                                            \
    {                                                                                                        \
        .name = (key), .type = CONFIG_DURATION, .offset = offsetof(struct provider_timeouts_config, field),  \
        .min = 1, .max = TIMEOUT_MAX_MS, .help = (text)                                                      \
    }

/* The names are the order of enum provider_redeliver. */
static const char *const redeliver_names[] = {"always", "unsent", "never", NULL};
static const char *const scope_names[] = {"process", NULL};
static const char *const scope_names_to_come[] = {"fleet", NULL};
static const char *const on_unsupported_names[] = {"warn", "drop", "reject", NULL};
static const char *const rename_params_names[] = {"default", "always", "never", NULL};
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
    {.name = "failure_rate",
     .type = CONFIG_INT,
     .offset = offsetof(struct provider_breaker_config, failure_rate),
     .default_text = "0",
     .min = 0,
     .max = 100,
     .help = "Percent of the calls in the `window` that must have failed as well before failures in a row "
             "open it. `0`: failures in a row are enough."},
    {.name = "minimum_calls",
     .type = CONFIG_INT,
     .offset = offsetof(struct provider_breaker_config, minimum_calls),
     .default_text = "20",
     .min = 0,
     .max = BREAKER_COUNT_MAX,
     .help = "With `failure_rate`: with fewer calls in the `window` it does not open. `0`: the default."},
    {.name = "window",
     .type = CONFIG_DURATION,
     .offset = offsetof(struct provider_breaker_config, window_ms),
     .default_text = "10s",
     .min = 0,
     .max = TIMEOUT_MAX_MS,
     .help = "With `failure_rate`: the time over which calls are counted. `0`: the default."},
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
    {.name = "rename_params",
     .type = CONFIG_ENUM,
     .offset = offsetof(struct provider_target_config, rename_params),
     .default_text = "default",
     .names = rename_params_names,
     .help = "Whether parameters that the provider has under another name get that name. `default`: as is "
             "known of the provider; with `openai` only at api.openai.com, so that another server behind a "
             "base_url gets the client's own bytes."},
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
    .check = provider_config_check,
};
