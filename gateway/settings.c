#include "gateway/settings.h"

#include <arpa/inet.h>
#include <netinet/in.h>
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

int
gateway_choose_listen(const struct dynabus_options *options, struct dyn_slice configured,
                      const struct gateway_env *env, char *out, size_t out_size, struct dyn_err *err)
{
    const char *host = options->dev ? DEV_HOST : "";
    if (options->listen != NULL) {
        (void)snprintf(out, out_size, "%s%s", options->dev && options->listen[0] == ':' ? host : "",
                       options->listen);
    } else if (configured.len > 0) {
        (void)snprintf(out, out_size, "%.*s", (int)configured.len, configured.data);
    } else if (env->port != NULL) {
        if (check_port(env->port, err) != 0) {
            return -1;
        }
        (void)snprintf(out, out_size, "%s:%s", host, env->port);
    } else {
        (void)snprintf(out, out_size, "%s:" PORT_DEFAULT, host);
    }
    if (options->dev && !gateway_is_loopback(out)) {
        return dyn_err_set(
            err, DYN_E_CONFIG,
            "--dev asks nobody for a key, so it listens on loopback only, not on '%s'; leave out "
            "--dev and set MASTER_KEY",
            out);
    }
    return 0;
}

bool
gateway_is_loopback(const char *listen)
{
    const char *colon = strrchr(listen, ':');
    size_t len = colon != NULL ? (size_t)(colon - listen) : strlen(listen);
    char host[INET6_ADDRSTRLEN + 2];
    if (len >= sizeof host) {
        return false;
    }
    memcpy(host, listen, len);
    host[len] = '\0';
    struct in_addr address;
    if (inet_pton(AF_INET, host, &address) == 1) {
        return (ntohl(address.s_addr) >> 24) == IN_LOOPBACKNET;
    }
    return strcmp(host, "[::1]") == 0 || strcmp(host, "localhost") == 0;
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

int
gateway_choose_admission(const struct gateway_env *env, const char *listen, struct admission *admission,
                         const char **auth, struct dyn_err *err)
{
    *admission = (struct admission){.master_key = trimmed(env->master_key)};
    if (admission->master_key.len > ADMISSION_KEY_MAX) {
        return dyn_err_set(err, DYN_E_CONFIG, "MASTER_KEY is longer than %d bytes", ADMISSION_KEY_MAX);
    }
    bool has_key = admission->master_key.len > 0;
    bool opened = env->allow_unauthenticated != NULL && strcasecmp(env->allow_unauthenticated, "true") == 0;
    bool production = env->environment != NULL && strcasecmp(env->environment, "production") == 0;
    if (opened && production) {
        return dyn_err_set(
            err, DYN_E_CONFIG,
            "GATEWAY_ENV=production refuses ALLOW_UNAUTHENTICATED_PROXY=true; unset one of them");
    }
    bool local = listen == NULL || gateway_is_loopback(listen);
    if (!has_key && !opened && !local) {
        return dyn_err_set(
            err, DYN_E_CONFIG,
            "'%s' can be reached from the network and no client key is set; set MASTER_KEY, or "
            "ALLOW_UNAUTHENTICATED_PROXY=true to let everybody in, or listen on 127.0.0.1",
            listen);
    }
    admission->open = opened || !has_key;
    *auth = opened    ? "none (ALLOW_UNAUTHENTICATED_PROXY)"
            : has_key ? "MASTER_KEY"
            : listen  ? "none (loopback only)"
                      : "none (this process only)";
    return 0;
}
