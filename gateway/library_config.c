/* The configuration as the library's user sees it (dynabus.h). */
#include "core/log.h"
#include "gateway/gateway.h"

#include <stdio.h>
#include <stdlib.h>

struct dynabus_config {
    char *text;
    char hash[BUS_CONFIG_HASH_SIZE];
    uint64_t version;
};

static dynabus_config_t *
config_of(const char *source, const config_t *config, uint64_t version)
{
    struct dynabus_config *made = dyn_zalloc(sizeof *made);
    made->text = dyn_strdup(source != NULL ? source : "");
    made->version = version;
    if (config_digest(config) != 0) {
        (void)snprintf(made->hash, sizeof made->hash, "%016llx", (unsigned long long)config_digest(config));
    }
    return made;
}

/* Checked as a process with all roles would, but nobody's secrets are needed for that. */
static dynabus_config_t *
check(const char *path, const char *text, char *why, size_t why_size)
{
    dynabus_t whole = {.roles = GATEWAY_ROLES_ALL};
    struct dyn_buf problems = DYN_BUF_INIT;
    char *source = NULL;
    config_t *config = gateway_read_config(&whole, path, text, &source, &problems);
    dynabus_config_t *made = config != NULL ? config_of(source, config, 0) : NULL;
    gateway_tell_why(why, why_size, dyn_buf_slice(&problems));
    config_free(&config);
    free(source);
    dyn_buf_fini(&problems);
    return made;
}

dynabus_config_t *
dynabus_load_config(const char *path, char *why, size_t why_size)
{
    return check(path, NULL, why, why_size);
}

int
dynabus_validate_config(const char *text, char *why, size_t why_size)
{
    dynabus_config_t *config = check(NULL, text, why, why_size);
    int rc = config != NULL ? 0 : -1;
    dynabus_config_free(&config);
    return rc;
}

void
dynabus_config_free(dynabus_config_t **config_p)
{
    dynabus_config_t *config = *config_p;
    *config_p = NULL;
    if (config != NULL) {
        free(config->text);
        free(config);
    }
}

const char *
dynabus_config_text(const dynabus_config_t *config)
{
    return config->text;
}

const char *
dynabus_config_hash(const dynabus_config_t *config)
{
    return config->hash;
}

uint64_t
dynabus_config_version(const dynabus_config_t *config)
{
    return config->version;
}

dynabus_config_t *
dynabus_get_config(dynabus_t *gateway)
{
    struct gateway_edition *now = gateway_edition_now(gateway);
    dynabus_config_t *config = config_of(now->source, now->config, now->number);
    gateway_edition_unref(&now);
    return config;
}

int
dynabus_reload(dynabus_t *gateway, char *why, size_t why_size)
{
    struct dyn_buf problems = DYN_BUF_INIT;
    enum gateway_reload_result result = gateway_reload_all(gateway, NULL, &problems);
    int rc = result == GATEWAY_RELOAD_REFUSED || result == GATEWAY_RELOAD_PARTLY ? -1 : 0;
    gateway_tell_why(why, why_size, dyn_buf_slice(&problems));
    dyn_buf_fini(&problems);
    return rc;
}

int
dynabus_reload_config(dynabus_t *gateway, const dynabus_config_t *config, char *why, size_t why_size)
{
    struct dyn_buf problems = DYN_BUF_INIT;
    int rc = gateway_take_up(gateway, config->text, NULL, &problems) == GATEWAY_RELOAD_REFUSED ? -1 : 0;
    gateway_tell_why(why, why_size, dyn_buf_slice(&problems));
    dyn_buf_fini(&problems);
    return rc;
}

int
dynabus_register_provider(dynabus_t *gateway, const struct dynabus_provider *provider, char *why,
                          size_t why_size)
{
    struct dyn_err err;
    struct registered *registered = registered_new(provider, &err);
    if (registered == NULL || gateway_register(gateway, &registered, &err) != 0) {
        gateway_tell_why(why, why_size, dyn_slice_str(err.text));
        if (registered != NULL) {
            registered->provider.freed = NULL; /* it stays the caller's */
        }
        registered_unref(&registered);
        return -1;
    }
    gateway_tell_why(why, why_size, dyn_slice(NULL, 0));
    return 0;
}
