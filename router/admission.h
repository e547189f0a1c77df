/* Who may send requests: one pure step, the same for every way in (HTTP now, the bus later). */
#pragma once

#include "core/base.h"
#include "proto/err.h"

enum { ADMISSION_KEY_MAX = 512 }; /* bytes of a credential that is looked at */

struct admission {
    struct dyn_slice master_key; /* trimmed; absent: none is set */
    bool open;                   /* ALLOW_UNAUTHENTICATED_PROXY, or loopback only without a key */
};

struct admission_verdict {
    enum err_code refused;   /* ERR_NONE: admitted */
    struct dyn_slice key_id; /* "master", "anonymous"; static */
};

/* `credential` absent: none was sent. Takes the same time for every wrong key of any length. */
struct admission_verdict admission_judge(const struct admission *admission, struct dyn_slice credential);
