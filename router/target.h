/* A target as the router sees it: what it is called, what it serves, and what the configuration says about
 * trying it. How to call it is known to its provider actor alone. */
#pragma once

#include "proto/env.h"
#include "proto/health.h"
#include "router/target_set.h"

/* Whether a request whose worker was lost is sent again. In the order of `targets[].redeliver`. */
enum route_redeliver {
    ROUTE_REDELIVER_ALWAYS,
    ROUTE_REDELIVER_UNSENT, /* only when no byte of it has reached an upstream */
    ROUTE_REDELIVER_NEVER,
};

/* Tries at one target before the next one has its turn. */
struct route_retry {
    uint32_t attempts;        /* at least 1 */
    const int64_t *on_status; /* of the upstream; none: 408, 429 and 500 up */
    size_t n_on_status;
    uint32_t base_ms;
    uint32_t max_ms;
};

/* A second attempt while the first one is silent. */
struct route_hedge {
    bool is_on;
    uint32_t after_ms;    /* 0: the target's own 95th percentile of time to the first byte */
    uint32_t max_percent; /* of requests */
};

/* What may be spent beside requests themselves: so many percent of those of the last seconds, and so many a
 * second whatever they are. */
struct route_share {
    uint32_t percent;
    uint32_t min_per_second;
};

struct route_target {
    struct dyn_slice name;          /* as in the configuration */
    struct dyn_slice provider;      /* provider id */
    const struct dyn_slice *models; /* declared */
    size_t n_models;                /* 0 and no prefix: any model that no other target declares */
    struct dyn_slice prefix;        /* also every model that begins so; absent: none */
    enum route_redeliver redeliver; /* unless the request says otherwise */
    uint32_t surfaces;              /* bits 1 << enum env_surface; 0: chat */
    bool takes_any;                 /* also any model that no other target declares */
    bool is_announced;  /* by a worker, not configured: only for models that no configured target serves */
    bool any_model;     /* its provider takes any model that nobody else owns */
    bool owns_base_url; /* the operator says where it is; the same then, when it declares no models */
    bool models_only;   /* what it declares is all that it serves, whatever the catalogue says */
    double weight;      /* finite, not negative */
    struct route_retry retry;
    struct route_hedge hedge; /* is_on: instead of the plan's */
    health_board_t *health;   /* of this process; NULL: its target is not called from here */
};
