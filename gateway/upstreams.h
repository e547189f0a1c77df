/* The upstreams of one configuration: its targets, with what all actors of each share. A target that the
 * next configuration leaves as it is keeps what is shared. Any thread, once made. */
#pragma once

#include "actors/providers/provider.h"
#include "core/config.h"
#include "gateway/registered.h"
#include "router/strategy.h"

#include <pthread.h>

typedef struct upstreams upstreams_t;
struct discovery;

/* What was counted by all upstreams of a gateway, those that are gone as well. Zero-initialised, then
 * upstream_tally_init(). Any thread. */
struct upstream_tally {
    pthread_mutex_t lock;
    struct dyn_list shared; /* of those that are there */
    struct provider_shared gone;
};
void upstream_tally_init(struct upstream_tally *tally);
void upstream_tally_fini(struct upstream_tally *tally);
/* Calls `add` for each, one at a time; `add` must not block. */
void upstream_tally_each(struct upstream_tally *tally,
                         void (*add)(void *arg, const struct provider_shared *shared), void *arg);

struct upstreams_options {
    struct upstream_tally *tally; /* outlives all upstreams */
    bool dev;                     /* takes the targets of the environment in any case */
    const char *mock_url;         /* the bundled mock, put in front; NULL: there is none */
    bool routes_only;  /* nothing is called from here: no credential is read, the environment adds none */
    bool may_be_none;  /* workers may bring their own */
    const char *names; /* of those wanted, comma separated; NULL: all */
    struct registered *const *registered; /* stand behind the others; a reference of each is taken */
    size_t n_registered;
    const struct discovery *discovery; /* models that providers said they have; NULL: not asked */
    const upstreams_t *former; /* whose unchanged targets go on; NULL: there is none */
};

/* Targets of the configuration; without any there, one for each provider whose key is in the environment.
 * NULL with a sentence when there is no target at all. `config` outlives them. */
upstreams_t *upstreams_new(const config_t *config, const struct upstreams_options *options,
                           struct dyn_err *err);
/* After the actors of its targets are gone. NULL is accepted. */
void upstreams_free(upstreams_t **upstreams_p);

#define UPSTREAMS_NONE SIZE_MAX
/* Where `former` has the target that number `index` goes on with: of the same name, and called in the same
 * way with the same limits. UPSTREAMS_NONE: it is new, or another one by now. */
size_t upstreams_former(const upstreams_t *upstreams, size_t index, const upstreams_t *former);

/* 0 of NULL. */
size_t upstreams_count(const upstreams_t *upstreams);
const struct provider_target *upstreams_target(const upstreams_t *upstreams, size_t index);
struct provider_shared *upstreams_shared(const upstreams_t *upstreams, size_t index);
/* NULL: it is called over HTTP. */
struct registered *upstreams_registered(const upstreams_t *upstreams, size_t index);
/* The target as a router sees it. */
struct route_target upstreams_route_target(const upstreams_t *upstreams, size_t index);
/* Names in order, comma separated. The caller frees it. */
char *upstreams_names(const upstreams_t *upstreams);
