/* A target as the provider actor needs it: the row, the configuration and the environment put together,
 * checked, with its credential resolved. Never changes once made; shared by all loops of the process.
 * How it comes to be is provider_config.h. */
#pragma once

#include "actors/providers/http_client.h"
#include "actors/providers/provider_guard.h"
#include "actors/providers/provider_rows.h"

/* Headers that an operator may add to the requests of a target. */
enum { PROVIDER_HEADERS_MAX = 16 };
/* Credentials of a target. */
enum { PROVIDER_KEYS_MAX = 64 };

/* What the client calls a model, and what the provider does. */
struct provider_model_name {
    struct dyn_slice model;
    struct dyn_slice upstream;
};

/* Whether a request whose worker was lost is sent again. */
enum provider_redeliver {
    PROVIDER_REDELIVER_ALWAYS,
    PROVIDER_REDELIVER_UNSENT, /* only when no byte of it has reached an upstream */
    PROVIDER_REDELIVER_NEVER,
};

/* All texts are terminated and live as long as the target. */
struct provider_target {
    struct dyn_slice name; /* unique in the process */
    const struct provider_row *row;
    const struct provider_row *body_row; /* what changes in bodies instead of the row; NULL: the row does */
    struct dyn_slice root;        /* API root, no slash at its end */
    struct dyn_slice key;         /* absent: none is sent. Never logged, never shown */
    const struct dyn_slice *keys; /* several, which take turns; the first is `key`. None: `key` alone */
    size_t n_keys;
    struct provider_guard_config guard; /* what protects it; credentials and times are filled in later */
    const struct dyn_slice *models;     /* declared; none: any model that no other target declares */
    size_t n_models;
    const struct provider_model_name *renames;
    size_t n_renames;
    const struct http_client_header *headers; /* of the operator, on every request */
    size_t n_headers;
    uint32_t connect_ms;
    uint32_t first_byte_ms;
    uint32_t idle_ms;
    enum provider_redeliver redeliver; /* unless the request says otherwise */
    uint8_t on_unsupported; /* enum provider_on_unsupported */
    bool owns_base_url;     /* the operator says where it is */
    bool ask_usage;       /* ask for usage at the end of streams */
    const char *ca_file;  /* NULL: the system's certificates */
    const char *proxy;    /* NULL: none */
    const char *no_proxy; /* NULL: none */
};

static inline const struct provider_row *
provider_target_body_row(const struct provider_target *target)
{
    return target->body_row != NULL ? target->body_row : target->row;
}
