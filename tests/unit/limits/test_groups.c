/* Several limits of one request: all or none, over threads. */
#include "core/rand.h"
#include "tests/unit/limits/limits_bench.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { LEVELS = 4, NAMES = 3, ASKS = 4000, THREADS_MAX = 4 };

struct field {
    struct bucket buckets[LEVELS][NAMES]; /* global, key, user, address; of the first only one is used */
    struct limit_spec specs[LEVELS];
    uint64_t seed;
    atomic_uint_fast64_t passed[LEVELS][NAMES];
    atomic_bool was_refused[NAMES][NAMES][NAMES];
};

struct walker {
    struct field *field;
    uint64_t seed;
};

static void
field_init(struct field *field, uint64_t seed)
{
    struct dyn_rng rng;
    dyn_rng_seed(&rng, seed);
    *field = (struct field){.seed = seed};
    for (size_t level = 0; level < LEVELS; level++) {
        enum limit_kind kind = dyn_rng_below(&rng, 2) ? LIMIT_RATE : LIMIT_WINDOW;
        uint64_t most = level == 0 ? 3000 : 1500; /* sometimes the one is nearer, sometimes the other */
        field->specs[level] = spec_of(kind, 200 + dyn_rng_below(&rng, most), MINUTE_US, 0);
        for (size_t name = 0; name < NAMES; name++) {
            bucket_init(&field->buckets[level][name], &field->specs[level], at_us(MINUTE_US));
        }
    }
}

/* One request of the key, user and address; returns who refused. */
static size_t
ask(struct field *field, const size_t names[LEVELS])
{
    struct limit_take takes[LEVELS];
    for (size_t level = 0; level < LEVELS; level++) {
        takes[level] = (struct limit_take){
            .bucket = &field->buckets[level][names[level]], .spec = &field->specs[level], .n = 1};
    }
    size_t refuser = limit_take_all(takes, LEVELS, at_us(MINUTE_US));
    for (size_t level = 0; level < LEVELS && refuser == LEVELS; level++) {
        (void)atomic_fetch_add(&field->passed[level][names[level]], 1);
    }
    return refuser;
}

static void *
walk(void *self)
{
    struct walker *walker = self;
    struct field *field = walker->field;
    struct dyn_rng rng;
    dyn_rng_seed(&rng, walker->seed);
    for (int i = 0; i < ASKS; i++) {
        size_t names[LEVELS] = {0, dyn_rng_below(&rng, NAMES), dyn_rng_below(&rng, NAMES),
                                dyn_rng_below(&rng, NAMES)};
        if (ask(field, names) < LEVELS) {
            atomic_store(&field->was_refused[names[1]][names[2]][names[3]], true);
        }
    }
    return NULL;
}

static uint64_t
left_of(const struct field *field, size_t level, size_t name)
{
    return bucket_look(&field->buckets[level][name], &field->specs[level], 0, at_us(MINUTE_US)).left;
}

/* Time stands still, so what was used up stays so: whoever was refused finds one of his limits at nothing. A
 * refusal for what another request only held for a moment would leave all of them with something. */
static void
check_refusals(struct field *field)
{
    for (size_t key = 0; key < NAMES; key++) {
        for (size_t user = 0; user < NAMES; user++) {
            for (size_t address = 0; address < NAMES; address++) {
                bool is_used_up = left_of(field, 0, 0) == 0 || left_of(field, 1, key) == 0 ||
                                  left_of(field, 2, user) == 0 || left_of(field, 3, address) == 0;
                assert_true(is_used_up || !atomic_load(&field->was_refused[key][user][address]));
            }
        }
    }
}

static void
all_or_none_over_threads(void **state)
{
    (void)state;
    static struct field field;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        pthread_t threads[THREADS_MAX];
        struct walker walkers[THREADS_MAX];
        size_t n_threads = 2 + seed % 3;
        field_init(&field, seed);
        for (size_t i = 0; i < n_threads; i++) {
            walkers[i] = (struct walker){&field, seed * 100 + i};
            assert_int_equal(pthread_create(&threads[i], NULL, walk, &walkers[i]), 0);
        }
        for (size_t i = 0; i < n_threads; i++) {
            assert_int_equal(pthread_join(threads[i], NULL), 0);
        }
        for (size_t level = 0; level < LEVELS; level++) {
            for (size_t name = 0; name < (level == 0 ? 1 : NAMES); name++) {
                uint64_t passed = atomic_load(&field.passed[level][name]);
                assert_true(passed + left_of(&field, level, name) == field.specs[level].amount);
            }
        }
        check_refusals(&field);
    }
}

static void
a_refusal_leaves_the_others_bit_for_bit(void **state)
{
    (void)state;
    static struct field field;
    for (size_t refuser = 0; refuser < LEVELS; refuser++) {
        field_init(&field, 7);
        const size_t names[LEVELS] = {0, 1, 2, 0};
        uint64_t before[LEVELS];
        assert_int_equal(ask(&field, names), LEVELS);
        field.specs[refuser] = spec_of(LIMIT_WINDOW, 1, MINUTE_US, 0);
        bucket_init(&field.buckets[refuser][names[refuser]], &field.specs[refuser], at_us(MINUTE_US));
        struct limit_take one = {
            .bucket = &field.buckets[refuser][names[refuser]], .spec = &field.specs[refuser], .n = 1};
        assert_true(bucket_take(&one, at_us(MINUTE_US)));
        for (size_t level = 0; level < LEVELS; level++) {
            before[level] = atomic_load(&field.buckets[level][names[level]].word);
        }
        assert_int_equal(ask(&field, names), refuser);
        for (size_t level = 0; level < LEVELS; level++) {
            assert_true(atomic_load(&field.buckets[level][names[level]].word) == before[level]);
        }
    }
}

/* Two threads of opposite luck: one is always refused by its last limit, after all the others were free. The
 * other must never notice. */
struct pair {
    struct bucket shared, other, own;
    struct limit_spec shared_spec, free_spec, none_spec;
    atomic_bool is_over;
};

static void *
be_refused(void *self)
{
    struct pair *pair = self;
    while (!atomic_load(&pair->is_over)) {
        struct limit_take takes[] = {{.bucket = &pair->shared, .spec = &pair->shared_spec, .n = 1},
                                     {.bucket = &pair->other, .spec = &pair->free_spec, .n = 1},
                                     {.bucket = &pair->own, .spec = &pair->none_spec, .n = 1}};
        struct limits_now now = at_us(MINUTE_US);
        assert_true(limit_take_all(takes, 3, now) < 3);
    }
    return NULL;
}

static void
nobody_is_refused_for_what_another_gives_back(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct pair pair = {.shared_spec = spec_of(LIMIT_RATE, 5000, MINUTE_US, 0),
                            .free_spec = spec_of(LIMIT_WINDOW, 1000000, MINUTE_US, 0),
                            .none_spec = spec_of(LIMIT_WINDOW, 1, MINUTE_US, 0)};
        bucket_init(&pair.shared, &pair.shared_spec, at_us(MINUTE_US));
        bucket_init(&pair.other, &pair.free_spec, at_us(MINUTE_US));
        bucket_init(&pair.own, &pair.none_spec, at_us(MINUTE_US));
        struct limit_take last = {.bucket = &pair.own, .spec = &pair.none_spec, .n = 1};
        assert_true(bucket_take(&last, at_us(MINUTE_US)));
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, be_refused, &pair), 0);
        for (int i = 0; i < 5000; i++) {
            struct limit_take one = {.bucket = &pair.shared, .spec = &pair.shared_spec, .n = 1};
            assert_true(bucket_take(&one, at_us(MINUTE_US)));
        }
        struct limit_take one = {.bucket = &pair.shared, .spec = &pair.shared_spec, .n = 1};
        assert_false(bucket_take(&one, at_us(MINUTE_US)));
        atomic_store(&pair.is_over, true);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(bucket_look(&pair.other, &pair.free_spec, 0, at_us(MINUTE_US)).left, 1000000);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_or_none_over_threads),
        cmocka_unit_test(a_refusal_leaves_the_others_bit_for_bit),
        cmocka_unit_test(nobody_is_refused_for_what_another_gives_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
