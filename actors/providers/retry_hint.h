/* When an upstream says to come back: Retry-After and its relatives, read from answers of status 4xx and 5xx.
 * Pure; what it reads comes from outside. */
#pragma once

#include "core/base.h"

enum {
    RETRY_HINT_MAX_MS = 24 * 60 * 60 * 1000, /* whatever was said; of reset headers more is not believed */
    RETRY_HINT_LIMITS = 5,                   /* kinds of limits that have reset headers */
};

struct retry_hint {
    uint32_t after_ms; /* retry-after, retry-after-ms; 0: not said */
    bool is_exact;     /* it was in milliseconds */
    struct {
        uint32_t reset_ms; /* 0: not said */
        bool is_used_up;   /* nothing remains of it */
    } limits[RETRY_HINT_LIMITS];
};

/* One header of the answer, its name in lower case; others than those it knows are passed over. */
void retry_hint_header(struct retry_hint *hint, struct dyn_slice name, struct dyn_slice value,
                       uint64_t wall_us);
/* All headers have been seen: milliseconds from now, 0: nothing was said. Retry-After goes before the resets;
 * of these counts what is used up, else the latest. */
uint32_t retry_hint_ms(const struct retry_hint *hint);

/* The forms of values, each in milliseconds from now; 0: not understood, or not in the future. At most
 * RETRY_HINT_MAX_MS; a reset beyond it is 0. */
uint32_t retry_hint_after(struct dyn_slice value, uint64_t wall_us); /* "120", or an HTTP date */
uint32_t retry_hint_after_ms(struct dyn_slice value);                /* "1500", "1500.5" */
/* "30", "0.5", "1m26.4s", "20ms", an RFC 3339 time, or a time since 1970 in seconds or milliseconds. */
uint32_t retry_hint_reset(struct dyn_slice value, uint64_t wall_us);
