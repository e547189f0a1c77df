/* Counts of nanoseconds, fine enough to subtract two medians: a log-linear histogram whose buckets are
 * at most 0.1 % wide. Adding is O(1) and allocates nothing, so that measuring does not disturb. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum {
    LOAD_HIST_SUB_BITS = 10, /* 1,024 buckets for each doubling: 0.1 % */
    LOAD_HIST_SUBS = 1 << LOAD_HIST_SUB_BITS,
    LOAD_HIST_RANGES = 32, /* up to 2^41 ns, 36 minutes; longer ones count as that */
};

struct load_hist {
    uint64_t n;
    uint64_t sum_ns;
    uint64_t max_ns;
    uint64_t buckets[LOAD_HIST_RANGES * LOAD_HIST_SUBS];
};

void load_hist_add(struct load_hist *hist, uint64_t ns);
/* Microseconds below which `share` (0..1) of the samples lie; 0 without samples. */
double load_hist_us(const struct load_hist *hist, double share);
double load_hist_mean_us(const struct load_hist *hist);
