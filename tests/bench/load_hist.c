#include "load_hist.h"

/* Range 0 holds 0..1023 ns one by one; range r holds 2^(r+9)..2^(r+10), each bucket 2^(r-1) wide. */
static size_t
bucket_of(uint64_t ns)
{
    if (ns < LOAD_HIST_SUBS) {
        return (size_t)ns;
    }
    unsigned range = 64u - (unsigned)__builtin_clzll(ns) - LOAD_HIST_SUB_BITS;
    if (range >= LOAD_HIST_RANGES) {
        return (size_t)LOAD_HIST_RANGES * LOAD_HIST_SUBS - 1;
    }
    size_t half = (size_t)(ns >> (range - 1)) & (LOAD_HIST_SUBS - 1);
    return (size_t)range * LOAD_HIST_SUBS + half;
}

static double
bucket_middle_ns(size_t bucket)
{
    size_t range = bucket / LOAD_HIST_SUBS;
    size_t sub = bucket % LOAD_HIST_SUBS;
    if (range == 0) {
        return (double)sub;
    }
    double width = (double)(1ull << (range - 1));
    return ((double)(LOAD_HIST_SUBS + sub) + 0.5) * width;
}

void
load_hist_add(struct load_hist *hist, uint64_t ns)
{
    hist->n++;
    hist->sum_ns += ns;
    if (ns > hist->max_ns) {
        hist->max_ns = ns;
    }
    hist->buckets[bucket_of(ns)]++;
}

double
load_hist_us(const struct load_hist *hist, double share)
{
    uint64_t below = 0;
    uint64_t wanted = (uint64_t)((double)hist->n * share);
    for (size_t i = 0; i < (size_t)LOAD_HIST_RANGES * LOAD_HIST_SUBS; i++) {
        below += hist->buckets[i];
        if (below > wanted || (below == hist->n && hist->n > 0)) {
            return bucket_middle_ns(i) / 1000.0;
        }
    }
    return 0;
}

double
load_hist_mean_us(const struct load_hist *hist)
{
    return hist->n ? (double)hist->sum_ns / (double)hist->n / 1000.0 : 0;
}
