/* The circuit breaker of one target in one process: what keeps calls away from an upstream that fails them.
 * Shared by all cells; any thread. Pure: it is told the time and the outcomes, and does not know what counts
 * as a failure (proto/errors.def does).
 *
 *   CLOSED --failure_threshold failures in a row [and failure_percent]--> OPEN --open_us later--> HALF_OPEN
 *   HALF_OPEN --success_threshold successes--> CLOSED;  --any failure--> OPEN
 *
 * Failures in a row come soon where failures come fast and answers slowly, also of an upstream that serves
 * most of its calls. With failure_percent so many of the calls that went out in the last window_us must have
 * failed as well, and there must have been calls_min of them. Calls that went out are counted, not those that
 * are over: the slow answers are not there yet when the fast failures are.
 *
 * While it is closed and nothing fails, a call costs two loads; with failure_percent one addition more. */
#pragma once

#include "proto/health.h"

#include <pthread.h>
#include <stdatomic.h>

enum { BREAKER_PROBES_MAX = 64, BREAKER_SLOTS = 10 };

struct breaker_config {
    uint32_t failure_threshold; /* 0: there is no breaker, everything is admitted */
    uint32_t success_threshold;
    uint32_t probes_max; /* in flight while half-open; at most BREAKER_PROBES_MAX are */
    uint64_t open_us;
    uint32_t failure_percent; /* 0: not asked for */
    uint32_t calls_min;       /* in the window, before it opens */
    uint64_t window_us;
};

/* A tenth of the window. */
struct breaker_slot {
    atomic_uint_fast64_t number; /* of time; changes with the lock, counts do without */
    atomic_uint begun;
    atomic_uint failed;
};

struct breaker_lease {
    uint64_t id; /* 0: free */
    uint64_t until_us;
};

struct breaker {
    struct breaker_config config;
    pthread_mutex_t lock;   /* of what follows; the atomics may be read without */
    atomic_uint state;      /* enum health_state */
    atomic_uint failures;   /* in a row, while closed */
    atomic_uint generation; /* changes with the state: outcomes of calls from before mean nothing any more */
    atomic_uint_fast64_t open_until_us;
    uint32_t successes; /* while half-open */
    uint64_t last_lease;
    struct breaker_lease leases[BREAKER_PROBES_MAX]; /* probes under way */
    struct breaker_slot slots[BREAKER_SLOTS];        /* since it closed */
};

/* What an admitted call holds until its outcome is told. Zero-initialised: nothing. */
struct breaker_permit {
    uint64_t lease; /* 0: it is no probe */
    uint32_t generation;
};

enum breaker_verdict { BREAKER_ADMITS, BREAKER_PROBES, BREAKER_REFUSES };

enum breaker_outcome {
    BREAKER_SUCCESS,
    BREAKER_FAILURE,
    BREAKER_NEUTRAL, /* says nothing about the target: its probe is given back */
};

void breaker_init(struct breaker *breaker, const struct breaker_config *config);
void breaker_fini(struct breaker *breaker);
/* A probe that is not heard of for `lease_us` is given up, so that a call that never ends keeps no other out.
 * REFUSES: *retry_ms, when it makes sense to ask again. */
enum breaker_verdict breaker_admit(struct breaker *breaker, uint64_t now_us, uint64_t lease_us,
                                   struct breaker_permit *permit, uint32_t *retry_ms);
/* Whether a permit from before is still as good as a new one, for a call that goes out only now: a probe has
 * `lease_us` from here, unless another one took its place while it was waiting. */
bool breaker_holds(struct breaker *breaker, const struct breaker_permit *permit, uint64_t now_us,
                   uint64_t lease_us);
/* A call that was admitted goes out now. */
void breaker_begun(struct breaker *breaker, uint64_t now_us);
/* Once for each permit; clears it. true: the state has changed. */
bool breaker_settle(struct breaker *breaker, struct breaker_permit *permit, enum breaker_outcome outcome,
                    uint64_t now_us);
enum health_state breaker_state(const struct breaker *breaker, uint64_t now_us);
