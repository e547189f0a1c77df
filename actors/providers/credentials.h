/* Which credential of a target a call takes, and which are set aside for now. One object per target and
 * process, shared by all cells; any thread. It holds no secrets: credentials are numbers here. Pure: told the
 * time and the outcomes.
 *
 *   401  that credential is no good: aside for all models, each time for longer, until it has served a call.
 *   403  it may not be used for this model: aside for this model, the same way.
 *   429  its limit is reached: aside for this model (limits are counted by model) for the time that the
 *        provider names, else for a second, each time for longer.
 *
 * A target's only credential is never set aside but for a time that the provider named itself, and then for
 * no longer than CREDENTIALS_SOLE_MAX_MS: without another one to turn to, asking the provider is what there
 * is, and a time that is wrong by a day must not cost a day. */
#pragma once

#include "proto/err.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    CREDENTIALS_MODELS_MAX = 8,         /* for which one is set aside; with more it is for all */
    CREDENTIALS_REFUSED_MS = 30 * 1000, /* after 401 and 403, the first time; doubles */
    CREDENTIALS_REFUSED_MAX_MS = 10 * 60 * 1000,
    CREDENTIALS_LIMITED_MS = 1000, /* after 429 without a time, the first time; doubles */
    CREDENTIALS_LIMITED_MAX_MS = 60 * 1000,
    CREDENTIALS_SOLE_MAX_MS = 60 * 1000, /* of a target's only credential, whatever the provider names */
    /* So long after its end a pause is forgotten, and the next one is a first one. */
    CREDENTIALS_FORGET_MS = CREDENTIALS_REFUSED_MAX_MS,
};

struct credential_pause {
    uint64_t model_key; /* 0: all models */
    uint64_t until_us;
    enum err_code why;
    uint32_t last_ms; /* how long it was; 0: free */
};

struct credential {
    struct credential_pause all;
    struct credential_pause models[CREDENTIALS_MODELS_MAX];
};

struct credentials {
    struct credential *items;
    size_t n;             /* 0: the target needs none */
    pthread_mutex_t lock; /* of the items */
    atomic_uint turn;
    atomic_bool has_pauses; /* some item has one, or remembers one: else nobody looks at them */
};

void credentials_init(struct credentials *credentials, size_t n);
void credentials_fini(struct credentials *credentials);

struct credentials_choice {
    size_t index;
    enum err_code
        why; /* when there is none: UPSTREAM_RATE_LIMIT where time alone helps, else UPSTREAM_AUTH */
    uint32_t retry_ms; /* ... until the first is back */
};
/* Each in turn, of those that are not aside for the model. -1: there is none. With n = 0 it is 0. */
int credentials_choose(struct credentials *credentials, uint64_t model_key, uint64_t now_us,
                       struct credentials_choice *choice);
/* How many others than that one could be chosen. */
size_t credentials_others(struct credentials *credentials, size_t index, uint64_t model_key, uint64_t now_us);

struct credentials_outcome {
    enum err_code error; /* ERR_NONE: it served a call */
    unsigned status;     /* of the upstream */
    uint32_t retry_ms;   /* that it named; 0: none */
};
/* true: what credentials_state() says has changed. */
bool credentials_settle(struct credentials *credentials, size_t index, uint64_t model_key,
                        const struct credentials_outcome *outcome, uint64_t now_us);

struct credentials_state {
    uint32_t n;
    uint32_t aside;      /* for all models or for some */
    uint64_t back_at_us; /* all are aside for all models: when the first is back; else 0 */
};
void credentials_state(struct credentials *credentials, uint64_t now_us, struct credentials_state *state);
