/* The board's own memory. For health*.c only. */
#pragma once

#include "proto/health.h"

#include <stdatomic.h>

struct health_slot {
    atomic_uint_fast64_t key;        /* health_model_key(); 0: free */
    _Atomic(char *) name;            /* set once, a moment after the key; NULL until then */
    atomic_uint_fast64_t changed_us; /* 0: there are no figures yet */
    atomic_uint ttft_us;
    atomic_uint ttft_p95_us;
    atomic_uint total_us;
    atomic_uint ewma_us;
    atomic_uint samples;
};

struct health_board {
    atomic_uint refs;
    atomic_uint state;
    atomic_uint in_flight;
    atomic_uint queued;
    atomic_uint limit;
    atomic_uint creds;
    atomic_uint creds_aside;
    atomic_uint_fast64_t open_until_us;
    atomic_uint_fast64_t back_at_us; /* all credentials are aside: when the first is back; else 0 */
    struct health_slot slots[HEALTH_MODELS_MAX + 1]; /* the last is shared */
};

static inline uint32_t
health_load(const atomic_uint *number)
{
    return atomic_load_explicit(number, memory_order_relaxed);
}

static inline void
health_store(atomic_uint *number, uint32_t value)
{
    atomic_store_explicit(number, value, memory_order_relaxed);
}

void health_slot_read(const struct health_slot *slot, uint64_t now_us, struct health_latency *latency);
