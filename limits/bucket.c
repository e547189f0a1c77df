/* See bucket.h. What a new number is, is decided by pure functions of the old one. While a request holds a
 * bucket nobody else changes it or is refused by it: what is in it may still be as it was before. */
#include "limits/bucket.h"

#include <sched.h>

/* Ticks of a microsecond: with 2^11 the interval of 10,000,000 a second is known to 0.1 %, of 1,000 a
 * second to 10^-7, always rounded so that it is not faster; and 63 bits last 142 years. */
#define TICKS_PER_US 2048u
#define VALUE_BITS   63
#define VALUE_MASK   ((UINT64_C(1) << VALUE_BITS) - 1)
#define HELD         (UINT64_C(1) << VALUE_BITS)
/* Nothing is further ahead than this: 70 years. */
#define TICKS_MAX  (UINT64_C(1) << (VALUE_BITS - 1))
#define PERIOD_MAX (UINT64_C(366) * 86400 * 1000000)

#define COUNT_BITS 32 /* WINDOW: how many were taken */
#define COUNT_MAX  ((UINT64_C(1) << COUNT_BITS) - 1)
#define INDEX_BITS (VALUE_BITS - COUNT_BITS)
#define INDEX_MASK ((UINT64_C(1) << INDEX_BITS) - 1)

#define LEFT_BITS 44 /* ALLOWANCE: what is left */
#define LEFT_MAX  ((UINT64_C(1) << LEFT_BITS) - 1)
#define TAG_MASK  ((UINT64_C(1) << (VALUE_BITS - LEFT_BITS)) - 1)

enum { SPINS_BEFORE_YIELD = 64 };

static int
spec_fits(const struct limit_spec *spec, struct dyn_err *err)
{
    uint64_t shortest = spec->kind == LIMIT_WINDOW ? 1000000 : 1;
    if (spec->amount == 0 || spec->burst == 0) {
        return dyn_err_set(err, DYN_E_INVALID, "a limit of 0 lets nothing pass");
    }
    if (spec->kind != LIMIT_ALLOWANCE && (spec->period_us < shortest || spec->period_us > PERIOD_MAX)) {
        return dyn_err_set(err, DYN_E_INVALID, "a limit's period is a %s to a year",
                           shortest == 1 ? "microsecond" : "second");
    }
    uint64_t most = spec->kind == LIMIT_WINDOW ? COUNT_MAX : LEFT_MAX;
    if (spec->amount > most || spec->burst > most) {
        return dyn_err_set(err, DYN_E_INVALID, "a limit is at most %llu", (unsigned long long)most);
    }
    return 0;
}

int
limit_spec_init(struct limit_spec *spec, enum limit_kind kind, uint64_t amount, uint64_t period_us,
                uint64_t burst, struct dyn_err *err)
{
    *spec = (struct limit_spec){.kind = kind, .amount = amount, .period_us = period_us};
    spec->burst = kind == LIMIT_RATE && burst != 0 ? burst : amount;
    if (spec_fits(spec, err) < 0) {
        return -1;
    }
    if (kind == LIMIT_RATE) {
        __uint128_t ticks = (__uint128_t)period_us * TICKS_PER_US;
        spec->cost = (uint64_t)((ticks + amount - 1) / amount);
        if (spec->cost > TICKS_MAX / spec->burst) {
            return dyn_err_set(err, DYN_E_INVALID, "a limit's burst comes back within a year");
        }
        spec->capacity = spec->burst * spec->cost;
    }
    return 0;
}

static uint64_t
now_ticks(struct limits_now now)
{
    return now.mono_us * TICKS_PER_US & VALUE_MASK;
}

/* How far the time in the word lies ahead of now; what is past is all back. */
static uint64_t
rate_ahead(uint64_t value, struct limits_now now)
{
    int64_t difference = (int64_t)((value - now_ticks(now)) << (64 - VALUE_BITS)) >> (64 - VALUE_BITS);
    return difference > 0 ? (uint64_t)difference : 0;
}

static uint64_t
rate_at(uint64_t ahead, struct limits_now now)
{
    return (now_ticks(now) + ahead) & VALUE_MASK;
}

/* A clock that was set back does not open an old window again. */
static uint64_t
window_index(uint64_t value, const struct limit_spec *spec, struct limits_now now)
{
    uint64_t stored = value >> COUNT_BITS, current = now.wall_us / spec->period_us & INDEX_MASK;
    int64_t difference = (int64_t)((current - stored) << (64 - INDEX_BITS));
    return difference > 0 ? current : stored;
}

static uint64_t
window_count(uint64_t value, uint64_t index)
{
    return value >> COUNT_BITS == index ? value & COUNT_MAX : 0;
}

void
bucket_init(struct bucket *bucket, const struct limit_spec *spec, struct limits_now now)
{
    uint64_t value = 0;
    if (spec->kind == LIMIT_RATE) {
        value = now_ticks(now);
    } else if (spec->kind == LIMIT_WINDOW) {
        value = (now.wall_us / spec->period_us & INDEX_MASK) << COUNT_BITS;
    }
    atomic_store_explicit(&bucket->word, value, memory_order_relaxed);
}

/* The value after `n` were taken from it; UINT64_MAX: they are not there. */
static uint64_t
value_without(uint64_t value, const struct limit_take *take, struct limits_now now)
{
    const struct limit_spec *spec = take->spec;
    uint64_t n = take->n;
    if (spec->kind == LIMIT_RATE) {
        uint64_t ahead = rate_ahead(value, now);
        bool fits = n <= spec->burst && ahead + n * spec->cost <= spec->capacity;
        return fits ? rate_at(ahead + n * spec->cost, now) : UINT64_MAX;
    }
    if (spec->kind == LIMIT_WINDOW) {
        uint64_t index = window_index(value, spec, now), count = window_count(value, index);
        return n <= spec->amount && count + n <= spec->amount ? index << COUNT_BITS | (count + n)
                                                              : UINT64_MAX;
    }
    return n <= (value & LEFT_MAX) ? value - n : UINT64_MAX;
}

static uint64_t
ticks_of(const struct limit_spec *spec, uint64_t n)
{
    return n > TICKS_MAX / spec->cost ? TICKS_MAX : n * spec->cost;
}

/* The value after `n` of what was taken came back. */
static uint64_t
value_with(uint64_t value, const struct limit_take *take, uint64_t n, uint64_t now_us)
{
    const struct limit_spec *spec = take->spec;
    if (value == take->after && n == take->n && !take->is_settled) {
        return take->before; /* nobody else was here */
    }
    if (spec->kind == LIMIT_RATE) {
        uint64_t ticks = ticks_of(spec, n), since_us = now_us > take->at_us ? now_us - take->at_us : 0;
        uint64_t returned = since_us < ticks / TICKS_PER_US ? since_us * TICKS_PER_US : ticks;
        return (value - (ticks - returned)) & VALUE_MASK;
    }
    if (spec->kind == LIMIT_WINDOW) {
        bool is_same = value >> COUNT_BITS == take->after >> COUNT_BITS;
        uint64_t count = value & COUNT_MAX;
        return is_same ? value - (n < count ? n : count) : value;
    }
    bool is_same = value >> LEFT_BITS == take->after >> LEFT_BITS;
    return is_same ? value + n : value;
}

/* The value after `n` more were used, there or not. */
static uint64_t
value_owing(uint64_t value, const struct limit_take *take, uint64_t n, struct limits_now now)
{
    const struct limit_spec *spec = take->spec;
    if (spec->kind == LIMIT_RATE) {
        uint64_t ahead = rate_ahead(value, now);
        uint64_t ticks = ticks_of(spec, n);
        ahead = ahead < TICKS_MAX - ticks ? ahead + ticks : TICKS_MAX - 1;
        return rate_at(ahead, now);
    }
    if (spec->kind == LIMIT_WINDOW) {
        uint64_t room = COUNT_MAX - (value & COUNT_MAX);
        bool is_same = value >> COUNT_BITS == take->after >> COUNT_BITS;
        return is_same ? value + (n < room ? n : room) : value;
    }
    uint64_t left = value & LEFT_MAX;
    return value >> LEFT_BITS == take->after >> LEFT_BITS ? value - (n < left ? n : left) : value;
}

static bool
is_over(const struct limit_spec *spec, struct limits_now now)
{
    return spec->kind == LIMIT_ALLOWANCE &&
           now.mono_us >= atomic_load_explicit(spec->until_us, memory_order_acquire);
}

/* The number when nobody holds it. */
static uint64_t
load(const struct bucket *bucket)
{
    uint64_t value = atomic_load_explicit(&bucket->word, memory_order_acquire);
    for (unsigned rounds = 1; DYN_UNLIKELY(value & HELD); rounds++) {
        if (rounds % SPINS_BEFORE_YIELD == 0) {
            (void)sched_yield(); /* the holder's thread may not be running */
        }
        value = atomic_load_explicit(&bucket->word, memory_order_acquire);
    }
    return value;
}

static bool
swap(struct bucket *bucket, uint64_t before, uint64_t after)
{
    return atomic_compare_exchange_weak_explicit(&bucket->word, &before, after, memory_order_acq_rel,
                                                 memory_order_relaxed);
}

/* Takes, and with HELD goes on holding. */
static bool
take_part(struct limit_take *take, struct limits_now now, uint64_t held)
{
    if (is_over(take->spec, now)) {
        return false;
    }
    do {
        take->before = load(take->bucket);
        take->after = value_without(take->before, take, now);
        if (take->after == UINT64_MAX) {
            return false;
        }
    } while (!swap(take->bucket, take->before, take->after | held));
    take->at_us = now.mono_us;
    return true;
}

bool
bucket_take(struct limit_take *take, struct limits_now now)
{
    return take_part(take, now, 0);
}

/* The first that refuses right now; `count`: none. Most refusals end here, and nothing was touched. */
static size_t
first_refusal(const struct limit_take *takes, size_t count, struct limits_now now)
{
    for (size_t i = 0; i < count; i++) {
        const struct limit_take *take = &takes[i];
        if (is_over(take->spec, now) || value_without(load(take->bucket), take, now) == UINT64_MAX) {
            return i;
        }
    }
    return count;
}

static void
let_go(const struct limit_take *take, uint64_t value)
{
    atomic_store_explicit(&take->bucket->word, value, memory_order_release);
}

size_t
limit_take_all(struct limit_take *takes, size_t count, struct limits_now now)
{
    size_t refusal = count > 1 ? first_refusal(takes, count, now) : count;
    if (refusal < count) {
        return refusal;
    }
    for (size_t i = 0; i < count; i++) {
        bool is_last = i + 1 == count; /* nothing can refuse after it */
        if (!take_part(&takes[i], now, is_last ? 0 : HELD)) {
            for (size_t back = i; back-- > 0;) {
                let_go(&takes[back], takes[back].before);
            }
            return i;
        }
    }
    for (size_t i = 0; i + 1 < count; i++) {
        let_go(&takes[i], takes[i].after);
    }
    return count;
}

static void
give(const struct limit_take *take, uint64_t n, const struct dyn_clock *clock)
{
    uint64_t before, after;
    do {
        before = load(take->bucket);
        after = value_with(before, take, n, dyn_mono_us(clock));
    } while (!swap(take->bucket, before, after));
}

void
bucket_give_back(const struct limit_take *take, const struct dyn_clock *clock)
{
    give(take, take->n, clock);
}

/* How much of it there was to take: all, but of an allowance. */
static uint64_t
owe(const struct limit_take *take, uint64_t n, const struct dyn_clock *clock)
{
    uint64_t before, after;
    do {
        before = load(take->bucket);
        struct limits_now now = {.mono_us = dyn_mono_us(clock)};
        after = value_owing(before, take, n, now);
    } while (!swap(take->bucket, before, after));
    return take->spec->kind == LIMIT_ALLOWANCE ? before - after : n;
}

uint64_t
bucket_settle(struct limit_take *take, uint64_t actual, const struct dyn_clock *clock)
{
    uint64_t charged = actual;
    if (actual < take->n) {
        give(take, take->n - actual, clock);
    } else if (actual > take->n) {
        charged = take->n + owe(take, actual - take->n, clock);
    }
    take->n = charged;
    take->is_settled = true;
    return actual - charged;
}

static uint64_t
ticks_to_us(uint64_t ticks)
{
    return (ticks + TICKS_PER_US - 1) / TICKS_PER_US;
}

static struct bucket_level
rate_look(uint64_t value, const struct limit_spec *spec, uint64_t n, struct limits_now now)
{
    uint64_t ahead = rate_ahead(value, now);
    struct bucket_level level = {.limit = spec->burst, .reset_us = ticks_to_us(ahead)};
    level.left = ahead < spec->capacity ? (spec->capacity - ahead) / spec->cost : 0;
    if (n > spec->burst) {
        level.wait_us = LIMIT_NEVER;
    } else if (ahead + n * spec->cost > spec->capacity) {
        level.wait_us = ticks_to_us(ahead + n * spec->cost - spec->capacity);
    }
    return level;
}

static struct bucket_level
window_look(uint64_t value, const struct limit_spec *spec, uint64_t n, struct limits_now now)
{
    uint64_t index = window_index(value, spec, now), count = window_count(value, index);
    uint64_t windows_on =
        (index - now.wall_us / spec->period_us) & INDEX_MASK; /* a clock that was set back */
    struct bucket_level level = {.limit = spec->amount};
    level.left = count < spec->amount ? spec->amount - count : 0;
    level.reset_us = (windows_on + 1) * spec->period_us - now.wall_us % spec->period_us;
    if (n > spec->amount) {
        level.wait_us = LIMIT_NEVER;
    } else if (n > level.left) {
        level.wait_us = level.reset_us;
    }
    return level;
}

static struct bucket_level
allowance_look(uint64_t value, const struct limit_spec *spec, uint64_t n, struct limits_now now)
{
    uint64_t until = atomic_load_explicit(spec->until_us, memory_order_acquire);
    struct bucket_level level = {.limit = spec->amount};
    level.left = now.mono_us < until ? value & LEFT_MAX : 0;
    level.reset_us = now.mono_us < until ? until - now.mono_us : 0;
    level.wait_us = n > spec->amount ? LIMIT_NEVER : n > level.left ? level.reset_us : 0;
    return level;
}

struct bucket_level
bucket_look(const struct bucket *bucket, const struct limit_spec *spec, uint64_t n, struct limits_now now)
{
    uint64_t value = load(bucket);
    if (spec->kind == LIMIT_RATE) {
        return rate_look(value, spec, n, now);
    }
    return spec->kind == LIMIT_WINDOW ? window_look(value, spec, n, now)
                                      : allowance_look(value, spec, n, now);
}

uint32_t
bucket_allowance_begin(struct bucket *bucket)
{
    uint64_t before, tag;
    do {
        before = load(bucket);
        tag = ((before >> LEFT_BITS) + 1) & TAG_MASK;
    } while (!swap(bucket, before, tag << LEFT_BITS));
    return (uint32_t)tag;
}

void
bucket_allowance_add(struct bucket *bucket, uint64_t n)
{
    uint64_t before, room;
    do {
        before = load(bucket);
        room = LEFT_MAX - (before & LEFT_MAX);
    } while (!swap(bucket, before, before + (n < room ? n : room)));
}

uint64_t
bucket_allowance_remove(struct bucket *bucket, uint64_t n)
{
    uint64_t before, taken;
    do {
        before = load(bucket);
        taken = (before & LEFT_MAX) < n ? before & LEFT_MAX : n;
    } while (!swap(bucket, before, before - taken));
    return taken;
}
