#include "router/strategies/rank.h"

static void
merge(const struct route_rank *from, size_t begin, size_t middle, size_t end, struct route_rank *to)
{
    size_t left = begin;
    size_t right = middle;
    for (size_t i = begin; i < end; i++) {
        bool takes_left = left < middle && (right >= end || from[left].key <= from[right].key);
        to[i] = takes_left ? from[left++] : from[right++];
    }
}

static void
sort_run(struct route_rank *ranks, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        struct route_rank rank = ranks[i];
        size_t at = i;
        for (; at > 0 && ranks[at - 1].key > rank.key; at--) {
            ranks[at] = ranks[at - 1];
        }
        ranks[at] = rank;
    }
}

/* Runs that are sorted in place, merged to and fro. */
void
route_rank_sort(struct route_rank *ranks, size_t n)
{
    enum { RUN = 8 };
    struct route_rank other[ROUTE_TARGETS_MAX];
    struct route_rank *from = ranks;
    struct route_rank *to = other;
    for (size_t i = 0; i < n; i += RUN) {
        sort_run(ranks + i, n - i < RUN ? n - i : RUN);
    }
    for (size_t width = RUN; width < n; width *= 2) {
        for (size_t i = 0; i < n; i += 2 * width) {
            size_t middle = i + width < n ? i + width : n;
            merge(from, i, middle, i + 2 * width < n ? i + 2 * width : n, to);
        }
        struct route_rank *swap = from;
        from = to;
        to = swap;
    }
    if (from != ranks) {
        memcpy(ranks, from, n * sizeof *ranks);
    }
}

void
route_rank_shuffle(struct route_rank *ranks, size_t n, struct dyn_rng *rng)
{
    for (size_t i = n; i > 1; i--) {
        size_t other = (size_t)dyn_rng_below(rng, i);
        struct route_rank rank = ranks[i - 1];
        ranks[i - 1] = ranks[other];
        ranks[other] = rank;
    }
}

void
route_rank_push(const struct route_rank *ranks, size_t n, struct route_order *order)
{
    for (size_t i = 0; i < n; i++) {
        route_order_push(order, ranks[i].target);
    }
}

size_t
route_draw_weight(const double *weights, size_t n, struct dyn_rng *rng)
{
    double sum = 0;
    size_t last = n;
    for (size_t i = 0; i < n; i++) {
        if (weights[i] > 0) {
            sum += weights[i];
            last = i;
        }
    }
    if (last == n) {
        return n;
    }
    double left = route_draw_unit(rng) * sum;
    for (size_t i = 0; i < last; i++) {
        if (weights[i] > 0 && (left -= weights[i]) < 0) {
            return i;
        }
    }
    return last; /* also when rounding left a little over */
}

/* The finalizer of MurmurHash3: every bit of the input changes half of those of the output. */
uint64_t
route_hash_mix(uint64_t hash)
{
    hash = (hash ^ (hash >> 33)) * UINT64_C(0xff51afd7ed558ccd);
    hash = (hash ^ (hash >> 33)) * UINT64_C(0xc4ceb9fe1a85ec53);
    return hash ^ (hash >> 33);
}

/* FNV-1a. */
uint64_t
route_hash(struct dyn_slice bytes)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < bytes.len; i++) {
        hash = (hash ^ (unsigned char)bytes.data[i]) * UINT64_C(0x100000001b3);
    }
    return route_hash_mix(hash);
}
