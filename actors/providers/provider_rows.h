/* What is known of a provider without asking anybody: the rows of providers.def as data. */
#pragma once

#include "core/base.h"

enum provider_auth {
    PROVIDER_AUTH_NONE,
    PROVIDER_AUTH_BEARER, /* Authorization: Bearer KEY */
    PROVIDER_AUTH_HEADER, /* KEY as the value of `auth_header` */
};

/* Defaults of a row, milliseconds. */
enum {
    PROVIDER_CONNECT_MS = 10 * 1000,     /* name, TCP and TLS; nobody waits longer for a host that is up */
    PROVIDER_FIRST_BYTE_MS = 300 * 1000, /* the longest a model was seen to think before a plain answer */
    PROVIDER_IDLE_MS = 120 * 1000,       /* between two bytes of an answer */
};

enum {
    PROVIDER_ROW_RENAMES_MAX = 2,
    PROVIDER_ROW_HEADERS_MAX = 2,
    PROVIDER_ROW_MODEL_VARIABLES_MAX = 2,
};

/* A member of the request that the provider has under another name. Where the client gave both, the second
 * one stays as it is and the first one goes. */
struct provider_rename {
    const char *from; /* NULL behind the last */
    const char *to;
};

struct provider_row_header {
    const char *name; /* NULL behind the last */
    const char *value;
};

struct provider_row {
    const char *id;
    const char *dialect;
    const char *root; /* default API root without a slash at its end; NULL: the target gives one */
    enum provider_auth auth;
    const char *key_env;      /* variable that holds the key; NULL: none is documented */
    const char *base_url_env; /* variable that replaces the root */
    const char *source;       /* where the row's facts are from */
    const char *auth_header;  /* PROVIDER_AUTH_HEADER: its name, lower case */
    bool key_optional;        /* works without a key: a server of one's own */
    bool any_model;           /* takes any model that nobody else owns */
    bool never_ask_usage;     /* the provider refuses stream_options */
    bool has_embeddings;      /* POST {root}/embeddings in OpenAI's form */

    /* roots that are more than an address */
    const char *root_env;    /* variable whose value stands for the "{}" in the root */
    const char *root_tail;   /* base URLs are hosts and get this behind them, unless it is there: "/v1" */
    const char *root_scheme; /* in front of a base URL that has none: "https://" */

    const char *models_env[PROVIDER_ROW_MODEL_VARIABLES_MAX]; /* list of models; the first that is set */
    const char *model_prefix; /* clients may write it in front of a model, the provider does not know it */

    /* the body; proto/dialects/params.def has the names */
    uint32_t unsupported;                                     /* DIALECT_PARAM_* */
    const char *dimensions; /* of an embedding; NULL: as OpenAI has it */
    struct provider_rename renames[PROVIDER_ROW_RENAMES_MAX];
    const char *renames_at; /* only at this host and those below it; NULL: wherever the target's root is */
    bool one_choice;      /* `n` is 1 or not given */
    bool no_names;        /* messages have no `name` */
    bool counts_logprobs; /* `logprobs` is the number that OpenAI has in `top_logprobs` */
    struct provider_row_header headers[PROVIDER_ROW_HEADERS_MAX]; /* on every request */

    uint32_t connect_ms;
    uint32_t first_byte_ms;
    uint32_t idle_ms;
};

enum { PROVIDER_ROWS_MAX = 64 }; /* what users of all rows may size by */

/* Bits 1 << enum env_surface. */
uint32_t provider_row_surfaces(const struct provider_row *row);
/* NULL when there is no such provider. */
const struct provider_row *provider_row_find(struct dyn_slice id);
/* All rows in order of the table; NULL behind the last. */
const struct provider_row *provider_row_at(size_t index);
