#include "gateway/settings.h"

#include "core/log.h"
#include "edge/cors.h"
#include "edge/listen.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define DEV_HOST     "127.0.0.1"
#define PORT_DEFAULT "8080"

static const char *
non_empty(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && *value != '\0' ? value : NULL;
}

struct gateway_env
gateway_env_read(void)
{
    return (struct gateway_env){
        .master_key = non_empty("MASTER_KEY"),
        .allow_unauthenticated = non_empty("ALLOW_UNAUTHENTICATED_PROXY"),
        .environment = non_empty("GATEWAY_ENV"),
        .port = non_empty("PORT"),
        .cors_origins = non_empty("CORS_ORIGINS"),
        .trusted_proxies = non_empty("TRUSTED_PROXIES"),
    };
}

static int
check_port(const char *text, struct dyn_err *err)
{
    char *end = NULL;
    unsigned long port = strtoul(text, &end, 10);
    if (*end != '\0' || text[0] == '-' || port > 65535) {
        return dyn_err_set(err, DYN_E_CONFIG,
                           "PORT is '%s', which is no port; set it to a number from 0 to 65535", text);
    }
    return 0;
}

/* ":8080" and "8080" name no host. */
static bool
has_host(struct dyn_slice address)
{
    size_t digits = 0;
    while (digits < address.len && address.data[digits] >= '0' && address.data[digits] <= '9') {
        digits++;
    }
    return address.len > 0 && address.data[0] != ':' && digits < address.len;
}

static int
check_dev(const char *listen, struct dyn_err *err)
{
    bool is_loopback;
    if (listen_is_loopback(dyn_slice_str(listen), &is_loopback, err) != 0) {
        return -1;
    }
    if (!is_loopback) {
        return dyn_err_set(
            err, DYN_E_CONFIG,
            "--dev asks nobody for a key, so it listens on loopback only, not on '%s'; leave out "
            "--dev and set MASTER_KEY",
            listen);
    }
    return 0;
}

int
gateway_choose_listen(const struct dynabus_options *options, struct dyn_slice configured,
                      const struct gateway_env *env, char *out, size_t out_size, struct dyn_err *err)
{
    struct dyn_slice chosen = DYN_SLICE(PORT_DEFAULT);
    if (options->listen != NULL) {
        chosen = dyn_slice_str(options->listen);
    } else if (configured.len > 0) {
        chosen = configured;
    } else if (env->port != NULL) {
        if (check_port(env->port, err) != 0) {
            return -1;
        }
        chosen = dyn_slice_str(env->port);
    }
    bool bare = !has_host(chosen);
    bool colon = bare && (chosen.len == 0 || chosen.data[0] != ':');
    int len = snprintf(out, out_size, "%s%s%.*s", bare && options->dev ? DEV_HOST : "", colon ? ":" : "",
                       (int)chosen.len, chosen.data);
    if (len < 0 || (size_t)len >= out_size) {
        return dyn_err_set(err, DYN_E_CONFIG, "the address to listen on is longer than %zu bytes",
                           out_size - 1);
    }
    return options->dev ? check_dev(out, err) : 0;
}

static struct dyn_slice
trimmed(const char *text)
{
    struct dyn_slice slice = dyn_slice_str(text);
    while (slice.len > 0 && strchr(" \t\r\n", slice.data[0]) != NULL) {
        slice.data++;
        slice.len--;
    }
    while (slice.len > 0 && strchr(" \t\r\n", slice.data[slice.len - 1]) != NULL) {
        slice.len--;
    }
    return slice;
}

static bool
is_production(const struct gateway_env *env)
{
    return env->environment != NULL && strcasecmp(env->environment, "production") == 0;
}

int
gateway_check_origins(const struct gateway_env *env, const struct edge_cors *cors, struct dyn_err *err)
{
    if (!edge_cors_has(cors, DYN_SLICE("*"))) {
        return 0;
    }
    if (is_production(env)) {
        return dyn_err_set(err, DYN_E_CONFIG,
                           "GATEWAY_ENV=production refuses the origin '*': name those that may, "
                           "https://chat.example, in `cors_origins` or CORS_ORIGINS");
    }
    dyn_log(DYN_LOG_WARN, "edge.cors", "the origin '*' matches no page: name each, https://chat.example");
    return 0;
}

int
gateway_choose_admission(const struct gateway_env *env, const char *listen, const char *bus,
                         struct admission *admission, const char **auth, struct dyn_err *err)
{
    *admission = (struct admission){.master_key = trimmed(env->master_key)};
    if (admission->master_key.len > ADMISSION_KEY_MAX) {
        return dyn_err_set(err, DYN_E_CONFIG, "MASTER_KEY is longer than %d bytes", ADMISSION_KEY_MAX);
    }
    bool has_master = admission->master_key.len > 0;
    bool has_stored = env->keys_in_store && env->has_usable_key && env->knows_keys;
    bool has_key = has_master || env->has_keys || has_stored;
    bool opened = env->allow_unauthenticated != NULL && strcasecmp(env->allow_unauthenticated, "true") == 0;
    if (opened && is_production(env)) {
        return dyn_err_set(
            err, DYN_E_CONFIG,
            "GATEWAY_ENV=production refuses ALLOW_UNAUTHENTICATED_PROXY=true; unset one of them");
    }
    bool local = true;
    if (listen != NULL && listen_is_loopback(dyn_slice_str(listen), &local, err) != 0) {
        return -1;
    }
    if (!has_master && !opened && env->has_keys && !env->has_usable_key) {
        return dyn_err_set(
            err, DYN_E_CONFIG,
            "no key of `keys.file` can be used, so nobody could use the gateway; set MASTER_KEY, which "
            "creates the first one by POST /admin/keys");
    }
    const char *public = local ? bus : listen;
    bool may_have_key = env->keys_in_store && !env->knows_keys;
    if (!has_key && !opened && public != NULL && !may_have_key) {
        return dyn_err_set(
            err, DYN_E_CONFIG,
            "'%s' can be reached from the network and no client key is set; set MASTER_KEY, or "
            "ALLOW_UNAUTHENTICATED_PROXY=true to let everybody in, or listen on 127.0.0.1",
            public);
    }
    bool has_source = env->has_keys || env->keys_in_store;
    admission->open = opened || (!has_key && !env->keys_in_store);
    admission->open_without_keys = !has_key && env->keys_in_store && public == NULL;
    *auth = opened                     ? "none (ALLOW_UNAUTHENTICATED_PROXY)"
            : has_master && has_source ? "MASTER_KEY and keys"
            : has_master               ? "MASTER_KEY"
            : has_key                  ? "keys"
            : public != NULL           ? "keys"
            : listen                   ? "none (loopback only)"
                                       : "none (this process only)";
    return 0;
}
