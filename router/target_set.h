/* A set of targets by their numbers: as many bits as a router can hold targets, passed by value. */
#pragma once

#include "core/base.h"

/* Configured and announced ones together. A number fits into a byte. */
enum { ROUTE_TARGETS_MAX = 256, ROUTE_SET_WORDS = ROUTE_TARGETS_MAX / 64 };

struct route_set {
    uint64_t words[ROUTE_SET_WORDS];
};

static inline void
route_set_add(struct route_set *set, size_t target)
{
    set->words[target / 64] |= UINT64_C(1) << (target % 64);
}

static inline void
route_set_remove(struct route_set *set, size_t target)
{
    set->words[target / 64] &= ~(UINT64_C(1) << (target % 64));
}

static inline bool
route_set_has(const struct route_set *set, size_t target)
{
    return (set->words[target / 64] >> (target % 64)) & 1;
}

static inline bool
route_set_is_empty(const struct route_set *set)
{
    uint64_t any = 0;
    for (size_t i = 0; i < ROUTE_SET_WORDS; i++) {
        any |= set->words[i];
    }
    return any == 0;
}

static inline size_t
route_set_count(const struct route_set *set)
{
    size_t n = 0;
    for (size_t i = 0; i < ROUTE_SET_WORDS; i++) {
        n += (size_t)__builtin_popcountll(set->words[i]);
    }
    return n;
}

static inline void
route_set_add_all(struct route_set *set, const struct route_set *other)
{
    for (size_t i = 0; i < ROUTE_SET_WORDS; i++) {
        set->words[i] |= other->words[i];
    }
}

static inline void
route_set_keep(struct route_set *set, const struct route_set *other)
{
    for (size_t i = 0; i < ROUTE_SET_WORDS; i++) {
        set->words[i] &= other->words[i];
    }
}

/* The first one that is not before `from`; ROUTE_TARGETS_MAX: there is none. */
static inline size_t
route_set_next(const struct route_set *set, size_t from)
{
    size_t word = from / 64;
    if (word >= ROUTE_SET_WORDS) {
        return ROUTE_TARGETS_MAX;
    }
    uint64_t left = set->words[word] >> (from % 64) << (from % 64);
    while (left == 0 && ++word < ROUTE_SET_WORDS) {
        left = set->words[word];
    }
    return left != 0 ? word * 64 + (size_t)__builtin_ctzll(left) : ROUTE_TARGETS_MAX;
}

/* for (ROUTE_SET_EACH(i, &set)) { ... }: in ascending order. */
#define ROUTE_SET_EACH(i, set)                                                                               \
    size_t i = route_set_next((set), 0);                                                                     \
    (i) < ROUTE_TARGETS_MAX;                                                                                 \
    (i) = route_set_next((set), (i) + 1)
