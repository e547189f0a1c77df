/* The inside of the mock: what its server and its calls share. Everything is used on the mock's loop,
 * but for the tally, which other threads read. */
#pragma once

#include "core/rand.h"
#include "edge/http_server.h"
#include "mock/counts.h"
#include "mock/journal.h"
#include "mock/mock.h"
#include "mock/pacer.h"
#include "mock/script.h"

#include <stdatomic.h>

/* Written by the loop only. */
struct mock_tally {
    atomic_uint_fast64_t requests;
    atomic_uint_fast64_t calls;
    atomic_uint_fast64_t answered;
    atomic_uint_fast64_t faults;
    atomic_uint_fast64_t cancels;
    atomic_uint_fast64_t open;
    atomic_uint_fast64_t open_streams;
    atomic_uint_fast64_t tokens;
    atomic_uint_fast64_t bytes;
};

struct mock_core {
    bus_loop_t *loop;
    http_server_t *server;
    struct mock_pacer pacer;
    mock_script_t *script; /* NULL: none */
    struct dyn_rng rng;
    uint64_t seed; /* 0: none was given */
    struct mock_journal journal;
    struct mock_counts counts;
    struct mock_tally tally;
    atomic_uint_fast64_t connections;
};

/* One writer: no locked instruction is needed. */
static inline void
mock_tally_add(atomic_uint_fast64_t *counter, int64_t n)
{
    uint64_t now = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, now + (uint64_t)n, memory_order_relaxed);
}
