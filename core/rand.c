#include "core/rand.h"

#include <errno.h>
#include <sys/random.h>

/* 64 request ids a system call. */
#define POOL_BYTES 1024u

static uint64_t
rotate_left(uint64_t x, unsigned by)
{
    return (x << by) | (x >> (64 - by));
}

/* SplitMix64: spreads a seed over a state that must not be all zero. */
static uint64_t
split_mix(uint64_t *seed)
{
    *seed += 0x9E3779B97F4A7C15u;
    uint64_t z = *seed;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

void
dyn_rng_seed(struct dyn_rng *rng, uint64_t seed)
{
    for (size_t i = 0; i < DYN_ARRAY_LEN(rng->state); i++) {
        rng->state[i] = split_mix(&seed);
    }
}

uint64_t
dyn_rng_next(struct dyn_rng *rng)
{
    uint64_t *s = rng->state;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t shifted = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint64_t
dyn_rng_below(struct dyn_rng *rng, uint64_t bound)
{
    DYN_ASSERT(bound > 0);
    uint64_t uneven = (0 - bound) % bound; /* 2^64 mod bound: draws below it would favour small values */
    uint64_t draw;
    do {
        draw = dyn_rng_next(rng);
    } while (draw < uneven);
    return draw % bound;
}

static void
fill_from_kernel(uint8_t *out, size_t len)
{
    while (len > 0) {
        ssize_t got = getrandom(out, len, 0);
        if (got < 0) {
            DYN_ASSERT(errno == EINTR); /* without randomness no id or key may be made */
            continue;
        }
        out += got;
        len -= (size_t)got;
    }
}

void
dyn_random_bytes(void *out, size_t len)
{
    static _Thread_local uint8_t pool[POOL_BYTES];
    static _Thread_local size_t left;
    if (len > POOL_BYTES) {
        fill_from_kernel(out, len);
        return;
    }
    if (left < len) {
        fill_from_kernel(pool, POOL_BYTES);
        left = POOL_BYTES;
    }
    left -= len;
    if (len > 0) {
        memcpy(out, pool + left, len);
        memset(pool + left, 0, len); /* what was handed out cannot be read back from here */
    }
}

void
dyn_hex_encode(char *out, const uint8_t *bytes, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 0xFu];
    }
}

static int
hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return -1;
}

int
dyn_hex_decode(uint8_t *out, size_t len, struct dyn_slice hex)
{
    if (hex.len != 2 * len) {
        return -1;
    }
    for (size_t i = 0; i < len; i++) {
        int high = hex_value(hex.data[2 * i]);
        int low = hex_value(hex.data[2 * i + 1]);
        if (high < 0 || low < 0) {
            return -1;
        }
        out[i] = (uint8_t)(high * 16 + low);
    }
    return 0;
}
