/* The upstreams of a gateway: its targets with what their actors share, and the bundled mock of --dev. */
#pragma once

#include "actors/providers/provider.h"
#include "core/config.h"
#include "router/strategy.h"

typedef struct upstreams upstreams_t;

struct upstreams_options {
    bool dev;          /* starts the bundled mock and puts it in front; takes the environment's in any case */
    bool routes_only;  /* nothing is called from here: no credential is read, the environment adds none */
    bool may_be_none;  /* workers may bring their own */
    const char *names; /* of those wanted, comma separated; NULL: all */
};

/* Targets of the configuration; without any there, one for each provider whose key is in the environment.
 * NULL with a sentence when there is no target at all. */
upstreams_t *upstreams_new(const config_t *config, const struct upstreams_options *options,
                           struct dyn_err *err);
/* After the bus is gone. NULL is accepted. */
void upstreams_free(upstreams_t **upstreams_p);

/* 0 of NULL. */
size_t upstreams_count(const upstreams_t *upstreams);
const struct provider_target *upstreams_target(const upstreams_t *upstreams, size_t index);
struct provider_shared *upstreams_shared(const upstreams_t *upstreams, size_t index);
/* The target as a router sees it. */
struct route_target upstreams_route_target(const upstreams_t *upstreams, size_t index);
/* Names in order, comma separated. The caller frees it. */
char *upstreams_names(const upstreams_t *upstreams);
