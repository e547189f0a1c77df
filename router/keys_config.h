/* The sections `keys` and `auth` of the configuration file: where keys of clients are kept, and how those are
 * slowed that try out wrong ones. */
#pragma once

#include "core/config.h"

struct keys_config {
    struct dyn_slice file; /* absent: there are no keys but MASTER_KEY */
    uint64_t max_stale_ms;
};

struct auth_config {
    int64_t max_failures; /* 0: nobody is slowed */
    uint64_t failure_window_ms;
};

struct admission_config {
    struct keys_config keys;
    struct auth_config auth;
};

extern const struct config_part keys_config_part;
