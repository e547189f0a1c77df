/* What tests of limits share: a clock that stands where it is put, and specs in one line. */
#pragma once

#include "limits/bucket.h"

#define SECOND_US UINT64_C(1000000)
#define MINUTE_US (60 * SECOND_US)

enum { SEEDS = 20 };

struct hands {
    atomic_uint_fast64_t mono_us;
};

static DYN_UNUSED uint64_t
hands_read(void *self)
{
    return atomic_load(&((struct hands *)self)->mono_us);
}

static DYN_UNUSED struct dyn_clock
clock_of(struct hands *hands)
{
    return (struct dyn_clock){hands_read, hands_read, hands};
}

static DYN_UNUSED struct limits_now
at_us(uint64_t us)
{
    return (struct limits_now){us, us};
}

static DYN_UNUSED struct limit_spec
spec_of(enum limit_kind kind, uint64_t amount, uint64_t period_us, uint64_t burst)
{
    struct limit_spec spec;
    struct dyn_err err;
    DYN_ASSERT(limit_spec_init(&spec, kind, amount, period_us, burst, &err) == 0);
    return spec;
}
