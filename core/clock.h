/* Time, replaceable by tests. Everything decidable takes a time as a number; only loops and actors
 * read a clock. */
#pragma once

#include "core/base.h"

struct dyn_clock {
    uint64_t (*mono_us)(void *self); /* monotonic microseconds from an arbitrary start, never 0 */
    uint64_t (*wall_us)(void *self); /* microseconds since 1970-01-01 UTC */
    void *self;
};

extern const struct dyn_clock dyn_clock_system;

static inline uint64_t
dyn_mono_us(const struct dyn_clock *clock)
{
    return clock->mono_us(clock->self);
}

static inline uint64_t
dyn_wall_us(const struct dyn_clock *clock)
{
    return clock->wall_us(clock->self);
}

/* "2026-11-22T16:34:05.123Z" into out. */
enum { DYN_TIMESTAMP_SIZE = 25 };
void dyn_timestamp(uint64_t wall_us, char out[DYN_TIMESTAMP_SIZE]);
/* RFC 3339, section 5.6: "2026-11-22T16:34:05Z", with a fraction and an offset or without. false: it is none,
 * or before 1970. */
bool dyn_timestamp_read(struct dyn_slice text, uint64_t *wall_us);
