/* A limit that several threads take from: one 64-bit number, changed by compare-and-swap. Exact: in no
 * order of events do more pass than the limit says, and none is refused for what somebody else gives back
 * because another limit refused him. It knows nobody's name; who is limited is limits/counters.h.
 *
 * RATE is GCRA (ITU-T I.371, the virtual scheduling algorithm): `amount` come back evenly over
 * `period_us`, and `burst` are there from rest. WINDOW is `amount` for each piece of the calendar of that
 * length. ALLOWANCE is what somebody else put there and may be used until a time (limits/lease_holder.h). */
#pragma once

#include "core/clock.h"
#include "core/err.h"

#include <stdatomic.h>

enum limit_kind { LIMIT_RATE, LIMIT_WINDOW, LIMIT_ALLOWANCE };

/* What it is, beside its number: never changes once made, may be shared by any number of buckets. */
struct limit_spec {
    enum limit_kind kind;
    uint64_t amount;
    uint64_t period_us;
    uint64_t burst;    /* RATE: the most at once. Else the same as amount */
    uint64_t cost;     /* RATE: ticks until one has come back */
    uint64_t capacity; /* RATE: ticks until all have */
    const atomic_uint_fast64_t *until_us; /* ALLOWANCE: monotonic; nothing is taken from then on */
};

/* What time it is: RATE and ALLOWANCE read the one, WINDOW the other. Threads may be apart by what a loop
 * keeps a time for: the number never goes back. */
struct limits_now {
    uint64_t mono_us;
    uint64_t wall_us;
};

/* The top bit: somebody holds it, see limit_take_all(). 63 bits by kind: RATE the time when all is back,
 * in ticks; WINDOW 31 bits for which, 32 for how many were taken; ALLOWANCE 19 bits for which, 44 for what
 * is left. */
struct bucket {
    atomic_uint_fast64_t word;
};

/* Of a period: a microsecond to a year; WINDOW: a second to a year. A `burst` of 0 is the amount. -1 when
 * the numbers do not fit (a year's worth and more at once) or nothing could ever pass. */
int limit_spec_init(struct limit_spec *spec, enum limit_kind kind, uint64_t amount, uint64_t period_us,
                    uint64_t burst, struct dyn_err *err);
void bucket_init(struct bucket *bucket, const struct limit_spec *spec, struct limits_now now);

/* One part of a request's charge. What is written by taking says how to give it back. */
struct limit_take {
    struct bucket *bucket;
    const struct limit_spec *spec;
    uint64_t n;      /* what is taken; after settling what was charged for it */
    uint64_t before; /* the number, and what it became */
    uint64_t after;
    uint64_t at_us; /* monotonic */
    bool is_settled;
};

/* True: `n` were there and are taken now. */
bool bucket_take(struct limit_take *take, struct limits_now now);
/* From all of them or from none, whatever other threads do: the index of the first that had not enough, or
 * `count`. The buckets are different ones, and all callers name them in the same order. Who is refused has
 * changed nothing. All but the last are held while the rest is taken, which others wait for: some ten
 * nanoseconds. One alone is never held. */
size_t limit_take_all(struct limit_take *takes, size_t count, struct limits_now now);
/* As if it had not been taken. RATE, when others took since: without what has come back of it since, which
 * may have been used. The clock is read after the number, so that nobody's time is later who changed it. */
void bucket_give_back(const struct limit_take *take, const struct dyn_clock *clock);
/* What was taken turned out to be worth `actual`: the rest comes back in the same way, or is owed and
 * comes back later. Nothing is refused for it here. What an ALLOWANCE has not got any more is returned:
 * who gave it has to be told. */
uint64_t bucket_settle(struct limit_take *take, uint64_t actual, const struct dyn_clock *clock);

/* What a header shows. A moment's picture. */
struct bucket_level {
    uint64_t limit;     /* what is there at most */
    uint64_t left;
    uint64_t reset_us;  /* until all of it is there */
    uint64_t wait_us;   /* until `n` are there: 0 when they are; LIMIT_NEVER: more than the limit */
};
#define LIMIT_NEVER UINT64_MAX

struct bucket_level bucket_look(const struct bucket *bucket, const struct limit_spec *spec, uint64_t n,
                                struct limits_now now);

/* ALLOWANCE, its owner alone: another window begins, with nothing in it. Returns its tag. */
uint32_t bucket_allowance_begin(struct bucket *bucket);
void bucket_allowance_add(struct bucket *bucket, uint64_t n);
/* Takes out what is there, at most `n`: how much that was. */
uint64_t bucket_allowance_remove(struct bucket *bucket, uint64_t n);
