#include "router/keys_config.h"

/* A person who mistypes a key tries a few times; thirty guesses a minute never find one. */
#define MAX_FAILURES_DEFAULT "30"
#define WINDOW_DEFAULT       "1m"
#define STALE_DEFAULT        "60s"

static const struct config_key keys_keys[] = {
    {.name = "file",
     .type = CONFIG_STRING,
     .offset = offsetof(struct keys_config, file),
     .help =
         "The file that keeps the keys of clients (salted digests, no secrets), made when the first one is "
         "created. A process with the role router reads it and writes it; several on one machine may share "
         "it. "
         "It goes before the `store`; without both MASTER_KEY is the only key. Read at the start."},
    {.name = "max_stale",
     .type = CONFIG_DURATION,
     .offset = offsetof(struct keys_config, max_stale_ms),
     .default_text = STALE_DEFAULT,
     .min = 1000,
     .max = 24.0 * 3600 * 1000,
     .help =
         "How long a router that has its keys from the ledger of another process goes on with those it knows "
         "when that ledger can't be asked; then it answers requests with a key 503. Read at the start."},
    {.name = NULL},
};

static const struct config_section keys_section = {
    .keys = keys_keys, .size = sizeof(struct keys_config), .mark_offset = SIZE_MAX};

static const struct config_key auth_keys[] = {
    {.name = "max_failures",
     .type = CONFIG_INT,
     .offset = offsetof(struct auth_config, max_failures),
     .default_text = MAX_FAILURES_DEFAULT,
     .min = 0,
     .max = 1000000,
     .help =
         "So many requests with a wrong key are answered 401 in each `failure_window`, from one address (of "
         "IPv6 its first 64 bits); further ones 429, whatever their key, unless it is a valid one of `keys`. "
         "0: no limit. Read at the start."},
    {.name = "failure_window",
     .type = CONFIG_DURATION,
     .offset = offsetof(struct auth_config, failure_window_ms),
     .default_text = WINDOW_DEFAULT,
     .min = 1000,
     .max = 24.0 * 3600 * 1000,
     .help = "See `max_failures`. Read at the start."},
    {.name = NULL},
};

static const struct config_section auth_section = {
    .keys = auth_keys, .size = sizeof(struct auth_config), .mark_offset = SIZE_MAX};

static const struct config_key admission_keys[] = {
    {.name = "keys",
     .type = CONFIG_SECTION,
     .offset = offsetof(struct admission_config, keys),
     .section = &keys_section,
     .help = "Keys of clients: created, listed and revoked by /admin/keys and `dynabus admin keys`."},
    {.name = "auth",
     .type = CONFIG_SECTION,
     .offset = offsetof(struct admission_config, auth),
     .section = &auth_section,
     .help = "How wrong keys are dealt with."},
    {.name = NULL},
};

const struct config_part keys_config_part = {
    .folder = "router",
    .section = {.keys = admission_keys, .size = sizeof(struct admission_config), .mark_offset = SIZE_MAX},
};
