/* Who may send requests, and what: one step, the same for every way in, HTTP and bus. A credential becomes
 * the name of who asks, what that one may do, and the record of its key. What is refused is refused in the
 * same words and with the same work, whether there is such a key or not. */
#pragma once

#include "core/base.h"
#include "proto/err.h"
#include "router/guessing.h"
#include "router/key_ring.h"

enum {
    ADMISSION_KEY_MAX = 512,      /* bytes of a credential that is looked at */
    ADMISSION_UNSURE_RETRY_S = 1, /* the ledger may be back by then */
};

struct admission {
    struct dyn_slice master_key; /* trimmed; absent: none is set */
    struct dyn_slice own_key;    /* of this process's own callers, as good as the master key; absent: none */
    bool open;                   /* ALLOW_UNAUTHENTICATED_PROXY, or loopback only without a key */
    bool open_without_keys;      /* as `open`, as long as `keys` has not a single one */
    key_ring_t *keys;            /* NULL: there are none but the master key */
    guessing_t *guessing;        /* NULL: nobody is slowed */
};

struct admission_asker {
    struct dyn_slice credential; /* absent: none was sent */
    struct dyn_slice peer;       /* its address; absent: not known */
    uint64_t now_us;             /* monotonic */
    uint64_t wall_ms;
};

struct admission_verdict {
    enum err_code refused;        /* ERR_NONE: admitted */
    struct dyn_slice key_id;      /* "master", "anonymous": static; a key's: as long as its table */
    uint32_t scopes;              /* what it may do */
    const struct key_record *key; /* as long as its table, see key_view_ref(); NULL: it is no key's */
    /* With RATE_LIMITED and KEYS_UNAVAILABLE. With "anonymous": its credential was not looked at, until then.
     */
    uint32_t retry_s;
};

/* `cell` is the caller's own look at admission->keys. */
struct admission_verdict admission_judge(const struct admission *admission, struct key_cell *cell,
                                         const struct admission_asker *asker);
