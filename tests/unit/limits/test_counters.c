/* Limits by name: found again, bounded, evicted in the right order, exact over cells. */
#include "limits/counters.h"

#include "core/rand.h"
#include "tests/unit/limits/limits_bench.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct name_hash
numbered(const counters_t *counters, unsigned number)
{
    char text[16];
    int len = snprintf(text, sizeof text, "user-%u", number);
    return counters_name(counters, 1, dyn_slice(text, (size_t)len));
}

static bool
take_one(struct counters_cache *cache, unsigned number, const struct limit_spec *spec, uint64_t us)
{
    struct counter *counter = counters_open(cache, numbered(cache->counters, number), spec, at_us(us));
    assert_non_null(counter);
    struct limit_take one = {.bucket = &counter->bucket, .spec = spec, .n = 1};
    bool is_taken = bucket_take(&one, at_us(us));
    counter_close(counter);
    return is_taken;
}

static void
hashes_are_those_of_the_paper(void **state)
{
    (void)state;
    struct name_secret secret = {0x0706050403020100u, 0x0f0e0d0c0b0a0908u};
    char bytes[64];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (char)i;
    }
    struct name_hash none = name_hash(&secret, dyn_slice(bytes, 0));
    assert_true(none.low == 0xe6a825ba047f81a3u && none.high == 0x930255c71472f66du);
    struct name_hash one = name_hash(&secret, dyn_slice(bytes, 1));
    assert_true(one.low == 0x44af996bd8c187dau && one.high == 0x45fc229b11597634u);
    uint64_t low = none.low,
             high = none.high; /* of every length: what whole words leave over is read apart */
    for (unsigned len = 1; len < sizeof bytes; len++) {
        struct name_hash of_len = name_hash(&secret, dyn_slice(bytes, len));
        low ^= of_len.low << len | of_len.low >> (64 - len);
        high ^= of_len.high << len | of_len.high >> (64 - len);
    }
    assert_true(low == 0xd514038185edc58eu && high == 0x24d8f2e088e4a16cu);
}

static void
a_name_keeps_its_limit(void **state)
{
    (void)state;
    counters_t *counters = counters_new(100);
    struct counters_cache a, b; /* of two cells */
    struct limit_spec spec = spec_of(LIMIT_WINDOW, 3, MINUTE_US, 0);
    counters_cache_init(&a, counters);
    counters_cache_init(&b, counters);
    assert_true(take_one(&a, 1, &spec, MINUTE_US));
    assert_true(take_one(&b, 1, &spec, MINUTE_US));
    assert_true(take_one(&b, 2, &spec, MINUTE_US));
    assert_true(take_one(&a, 1, &spec, MINUTE_US));
    assert_false(take_one(&b, 1, &spec, MINUTE_US));
    assert_false(take_one(&a, 1, &spec, MINUTE_US));
    assert_true(take_one(&a, 2, &spec, MINUTE_US));
    counters_cache_fini(&a);
    counters_cache_fini(&b);
    counters_free(&counters);
}

static void
kinds_do_not_meet(void **state)
{
    (void)state;
    counters_t *counters = counters_new(10);
    assert_false(
        name_hash_eq(counters_name(counters, 1, DYN_SLICE("a")), counters_name(counters, 2, DYN_SLICE("a"))));
    assert_true(
        name_hash_eq(counters_name(counters, 1, DYN_SLICE("a")), counters_name(counters, 1, DYN_SLICE("a"))));
    counters_free(&counters);
}

/* The whole ones first, oldest first; then the oldest; never one that is open. */
static void
the_least_recently_used_goes(void **state)
{
    (void)state;
    counters_t *counters = counters_new(4);
    struct counters_cache cache;
    struct counters_figures figures;
    struct limit_spec spec = spec_of(LIMIT_WINDOW, 1, MINUTE_US, 0);
    counters_cache_init(&cache, counters);
    for (unsigned i = 1; i <= 4; i++) {
        assert_true(take_one(&cache, i, &spec, MINUTE_US + i));
    }
    assert_false(take_one(&cache, 1, &spec, MINUTE_US + 5)); /* used again */
    struct counter *two = counters_open(&cache, numbered(counters, 2), &spec, at_us(MINUTE_US + 2));
    assert_non_null(two);
    assert_true(take_one(&cache, 5, &spec, MINUTE_US + 6)); /* instead of 3 */
    assert_false(take_one(&cache, 1, &spec, MINUTE_US + 7));
    assert_false(take_one(&cache, 2, &spec, MINUTE_US + 7));
    assert_false(take_one(&cache, 4, &spec, MINUTE_US + 7));
    assert_false(take_one(&cache, 5, &spec, MINUTE_US + 7));
    counters_figures(counters, &figures);
    assert_int_equal(figures.evicted_early, 1);
    assert_int_equal(figures.evicted, 0);
    assert_true(take_one(&cache, 3, &spec, 2 * MINUTE_US)); /* all are whole again: nothing is lost */
    counters_figures(counters, &figures);
    assert_int_equal(figures.evicted_early, 1);
    assert_int_equal(figures.evicted, 1);
    assert_int_equal(figures.entries, 4);
    counter_close(two);
    counters_cache_fini(&cache);
    counters_free(&counters);
}

static void
full_of_open_ones_it_refuses(void **state)
{
    (void)state;
    counters_t *counters = counters_new(3);
    struct counters_cache cache;
    struct counter *open[3];
    struct limit_spec spec = spec_of(LIMIT_RATE, 1, MINUTE_US, 0);
    counters_cache_init(&cache, counters);
    for (unsigned i = 0; i < 3; i++) {
        open[i] = counters_open(&cache, numbered(counters, i), &spec, at_us(MINUTE_US));
        assert_non_null(open[i]);
    }
    assert_null(counters_open(&cache, numbered(counters, 9), &spec, at_us(MINUTE_US)));
    counter_close(open[1]);
    struct counter *nine = counters_open(&cache, numbered(counters, 9), &spec, at_us(MINUTE_US));
    assert_ptr_equal(nine, open[1]); /* the place, not the name */
    counter_close(nine);
    counter_close(open[0]);
    counter_close(open[2]);
    counters_cache_fini(&cache);
    counters_free(&counters);
}

static void
bytes_are_bounded(void **state)
{
    (void)state;
    enum { MAX = 5000 };
    counters_t *counters = counters_new(MAX);
    struct counters_cache cache;
    struct counters_figures figures;
    struct limit_spec spec = spec_of(LIMIT_RATE, 1, MINUTE_US, 0);
    counters_cache_init(&cache, counters);
    for (unsigned i = 0; i < 20 * MAX; i++) {
        assert_true(take_one(&cache, i, &spec, MINUTE_US + i));
    }
    counters_figures(counters, &figures);
    assert_int_equal(figures.entries, MAX);
    assert_true(figures.bytes <= MAX * (sizeof(struct counter) + 8) + 4096);
    assert_int_equal(figures.evicted + figures.evicted_early, 19 * MAX);
    assert_int_equal(figures.refused, 0);
    counters_cache_fini(&cache);
    counters_free(&counters);
}

enum { CROWD_NAMES = 40, CROWD_LIMIT = 50, CROWD_ASKS = 6000 };

struct crowd {
    counters_t *counters;
    struct limit_spec spec;
    uint64_t seed;
    atomic_uint_fast64_t passed[CROWD_NAMES];
    atomic_uint strangers;
};

/* Asks for known names, and for ever new ones that push the table to its bound. */
static void *
be_a_cell(void *self)
{
    struct crowd *crowd = self;
    struct counters_cache cache;
    struct dyn_rng rng;
    counters_cache_init(&cache, crowd->counters);
    dyn_rng_seed(&rng, crowd->seed + atomic_fetch_add(&crowd->strangers, 1));
    for (int i = 0; i < CROWD_ASKS; i++) {
        unsigned name = (unsigned)dyn_rng_below(&rng, CROWD_NAMES);
        if (take_one(&cache, name, &crowd->spec, MINUTE_US)) {
            (void)atomic_fetch_add(&crowd->passed[name], 1);
        }
        if (i % 3 == 0) { /* a name never seen, opened and not charged: whole, so it goes first */
            unsigned stranger = CROWD_NAMES + atomic_fetch_add(&crowd->strangers, 1);
            struct counter *counter =
                counters_open(&cache, numbered(crowd->counters, stranger), &crowd->spec, at_us(MINUTE_US));
            assert_non_null(counter);
            counter_close(counter);
        }
    }
    counters_cache_fini(&cache);
    return NULL;
}

static void
cells_are_exact_while_others_are_evicted(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct crowd crowd = {.counters = counters_new(CROWD_NAMES + 16),
                              .seed = seed * 1000,
                              .spec = spec_of(LIMIT_WINDOW, CROWD_LIMIT, MINUTE_US, 0)};
        pthread_t threads[4];
        size_t n_threads = 2 + seed % 3;
        struct counters_cache first;
        struct counters_figures figures;
        counters_cache_init(&first, crowd.counters);
        for (unsigned i = 0; i < CROWD_NAMES; i++) { /* all are in use before anything is evicted */
            assert_true(take_one(&first, i, &crowd.spec, MINUTE_US));
            atomic_store(&crowd.passed[i], 1);
        }
        for (size_t i = 0; i < n_threads; i++) {
            assert_int_equal(pthread_create(&threads[i], NULL, be_a_cell, &crowd), 0);
        }
        for (size_t i = 0; i < n_threads; i++) {
            assert_int_equal(pthread_join(threads[i], NULL), 0);
        }
        counters_figures(crowd.counters, &figures);
        assert_int_equal(figures.evicted_early, 0);
        assert_true(figures.evicted > CROWD_ASKS / 3);
        for (size_t i = 0; i < CROWD_NAMES; i++) {
            assert_true(atomic_load(&crowd.passed[i]) == CROWD_LIMIT);
        }
        counters_cache_fini(&first);
        counters_free(&crowd.counters);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes_are_those_of_the_paper),
        cmocka_unit_test(a_name_keeps_its_limit),
        cmocka_unit_test(kinds_do_not_meet),
        cmocka_unit_test(the_least_recently_used_goes),
        cmocka_unit_test(full_of_open_ones_it_refuses),
        cmocka_unit_test(bytes_are_bounded),
        cmocka_unit_test(cells_are_exact_while_others_are_evicted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
