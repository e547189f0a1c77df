/* What several strategies do with their candidates: sort, shuffle, draw by weight. Private to strategies/. */
#pragma once

#include "router/strategy.h"

struct route_rank {
    uint64_t key; /* the least comes first */
    size_t target;
};

/* Equal keys stay as they are. */
void route_rank_sort(struct route_rank *ranks, size_t n);
void route_rank_shuffle(struct route_rank *ranks, size_t n, struct dyn_rng *rng);
void route_rank_push(const struct route_rank *ranks, size_t n, struct route_order *order);

/* Uniform in [0, 1), 53 bits. */
static inline double
route_draw_unit(struct dyn_rng *rng)
{
    return (double)(dyn_rng_next(rng) >> 11) * 0x1p-53;
}

/* An index by its share of the sum; n when no weight is positive. One draw. */
size_t route_draw_weight(const double *weights, size_t n, struct dyn_rng *rng);

/* The same bytes give the same number in every process and version: callers stay where they are. */
uint64_t route_hash(struct dyn_slice bytes);
uint64_t route_hash_mix(uint64_t hash);
