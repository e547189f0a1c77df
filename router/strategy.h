/* A strategy decides in which order the candidates are tried: a pure function of what is known about the
 * request, the targets and a source of randomness. One file each in strategies/; it makes no attempt and
 * keeps no state. */
#pragma once

#include "core/rand.h"
#include "proto/env.h"

enum { ROUTE_TARGETS_MAX = 64 };

/* Whether a request whose worker was lost is sent again. In the order of `targets[].redeliver`. */
enum route_redeliver {
    ROUTE_REDELIVER_ALWAYS,
    ROUTE_REDELIVER_UNSENT, /* only when no byte of it has reached an upstream */
    ROUTE_REDELIVER_NEVER,
};

/* A target as the router sees it. */
struct route_target {
    struct dyn_slice name;          /* as in the configuration */
    struct dyn_slice provider;      /* provider id */
    const struct dyn_slice *models; /* declared */
    size_t n_models;                /* 0 and no prefix: any model that no other target declares */
    struct dyn_slice prefix;        /* also every model that begins so; absent: none */
    bus_addr_t addr;                /* its provider actor on this loop; 0: workers serve it */
    enum route_redeliver redeliver; /* unless the request says otherwise */
    bool takes_any;    /* also any model that no other target declares */
    bool is_announced; /* by a worker, not configured: only for models that no configured target serves */
};

struct route_facts {
    enum env_surface surface;
    struct dyn_slice model;
    bool stream;
};

struct route_view {
    const struct route_target *targets;
    size_t n_targets;    /* at most ROUTE_TARGETS_MAX */
    uint64_t candidates; /* bit i: target i can serve the request */
};

struct route_order {
    uint8_t items[ROUTE_TARGETS_MAX]; /* indices of targets, each at most once */
    size_t n;
};

struct route_strategy_ops {
    const char *name; /* as in the configuration */
    void (*order)(const struct route_facts *facts, const struct route_view *view, struct dyn_rng *rng,
                  struct route_order *order);
};

extern const struct route_strategy_ops route_strategy_single;

static inline bool
route_is_candidate(const struct route_view *view, size_t target)
{
    return (view->candidates >> target) & 1;
}

static inline void
route_order_push(struct route_order *order, size_t target)
{
    DYN_ASSERT(order->n < ROUTE_TARGETS_MAX);
    order->items[order->n++] = (uint8_t)target;
}

/* Which targets can serve the model: configured ones that declare it; when none does, announced ones that do;
 * then those that take any model, configured ones before announced ones. So a target that takes any model
 * never gets a prompt meant for another one's model, and one that nobody configured none for a model that
 * somebody did. */
uint64_t route_candidates(const struct route_target *targets, size_t n_targets, struct dyn_slice model);
