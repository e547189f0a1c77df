/* See name_hash.h. */
#include "limits/name_hash.h"

struct state {
    uint64_t v0, v1, v2, v3;
};

static uint64_t
rotated(uint64_t word, unsigned by)
{
    return word << by | word >> (64 - by);
}

static void
mix(struct state *s, int rounds)
{
    for (int i = 0; i < rounds; i++) {
        s->v0 += s->v1;
        s->v2 += s->v3;
        s->v1 = rotated(s->v1, 13) ^ s->v0;
        s->v3 = rotated(s->v3, 16) ^ s->v2;
        s->v0 = rotated(s->v0, 32);
        s->v2 += s->v1;
        s->v0 += s->v3;
        s->v1 = rotated(s->v1, 17) ^ s->v2;
        s->v3 = rotated(s->v3, 21) ^ s->v0;
        s->v2 = rotated(s->v2, 32);
    }
}

static uint64_t
little_endian(const char *bytes, size_t len)
{
    uint64_t word = 0;
    for (size_t i = len; i-- > 0;) {
        word = word << 8 | (uint8_t)bytes[i];
    }
    return word;
}

static void
absorb(struct state *s, uint64_t word)
{
    s->v3 ^= word;
    mix(s, 2);
    s->v0 ^= word;
}

struct name_hash
name_hash(const struct name_secret *secret, struct dyn_slice name)
{
    /* the constants of the paper; the second has the mark of the longer output */
    struct state s = {secret->low ^ 0x736f6d6570736575u, secret->high ^ 0x646f72616e646f6du ^ 0xee,
                      secret->low ^ 0x6c7967656e657261u, secret->high ^ 0x7465646279746573u};
    size_t whole = name.len & ~(size_t)7;
    for (size_t i = 0; i < whole; i += 8) {
        absorb(&s, little_endian(name.data + i, 8));
    }
    absorb(&s, (uint64_t)name.len << 56 | little_endian(name.data + whole, name.len - whole));
    s.v2 ^= 0xee;
    mix(&s, 4);
    uint64_t low = s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
    s.v1 ^= 0xdd;
    mix(&s, 4);
    return (struct name_hash){low, s.v0 ^ s.v1 ^ s.v2 ^ s.v3};
}
