/* Whom a limit is for, as 128 bits: SipHash-2-4 with an output of 128 bits (Aumasson, Bernstein, "SipHash:
 * a fast short-input PRF", and its reference's longer output), under a secret of the process. Names come
 * from callers, of any length; two of them meeting takes 2^64 tries by somebody who cannot see the result. */
#pragma once

#include "core/base.h"

struct name_hash {
    uint64_t low, high;
};

struct name_secret {
    uint64_t low, high;
};

struct name_hash name_hash(const struct name_secret *secret, struct dyn_slice name);

static inline bool
name_hash_eq(struct name_hash a, struct name_hash b)
{
    return a.low == b.low && a.high == b.high;
}
