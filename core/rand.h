/* Randomness: a seeded generator for draws that tests repeat (jitter, weights), and the kernel's for
 * what must not be guessed (request ids, keys). */
#pragma once

#include "core/base.h"

/* xoshiro256** (Blackman, Vigna: "Scrambled linear pseudorandom number generators", 2018). */
struct dyn_rng {
    uint64_t state[4];
};

void dyn_rng_seed(struct dyn_rng *rng, uint64_t seed); /* the same seed gives the same draws */
uint64_t dyn_rng_next(struct dyn_rng *rng);
uint64_t dyn_rng_below(struct dyn_rng *rng, uint64_t bound); /* uniform in [0, bound); bound > 0 */

/* Bytes nobody can predict, from getrandom(2); buffered per thread so that an id costs no call. */
void dyn_random_bytes(void *out, size_t len);

/* Lower-case hex. `out` takes 2 * len bytes, not terminated. */
void dyn_hex_encode(char *out, const uint8_t *bytes, size_t len);
/* 0, or -1 when a character is not hex or the length is not 2 * len. Accepts both cases. */
int dyn_hex_decode(uint8_t *out, size_t len, struct dyn_slice hex);
