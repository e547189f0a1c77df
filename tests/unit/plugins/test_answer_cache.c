/* The object behind response-cache: what is kept and what leaves, and who of those that wait gets what. */
#include "actors/plugins/answer_cache.h"

#include "core/rand.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define SECOND_US UINT64_C(1000000)

static struct answer_counters counters;
static const struct env_usage usage = {.known = true, .total_tokens = 5};

static void
note_wake(void *arg)
{
    (void)atomic_fetch_add((atomic_uint *)arg, 1);
}

struct seat {
    struct answer_seat seat;
    atomic_uint woken;
};

static void
sit(struct seat *seat)
{
    atomic_init(&seat->woken, 0);
    dyn_list_init(&seat->seat.done);
    seat->seat.wake = note_wake;
    seat->seat.arg = &seat->woken;
}

static answer_cache_t *
cache_with(uint64_t entries, uint64_t bytes)
{
    memset(&counters, 0, sizeof counters);
    struct answer_limits limits = {10 * SECOND_US, entries, bytes};
    return answer_cache_new(&limits, &counters);
}

static struct answer_key
key_of(unsigned number)
{
    struct answer_key key = {{0}};
    memcpy(key.bytes, &number, sizeof number);
    return key;
}

static enum answer_found
ask(answer_cache_t *cache, unsigned number, uint64_t now_us, struct seat *seat, struct answer_call *call)
{
    struct answer_key key = key_of(number);
    struct answer_asking asking = {.reads = true, .stores = true, .max_age_us = UINT64_MAX, .now_us = now_us};
    *call = (struct answer_call){.seat = &seat->seat};
    return answer_cache_ask(cache, &key, &asking, call);
}

static dyn_block_t *
block_of(size_t len)
{
    dyn_block_t *block = dyn_block_new(0, len);
    memset(dyn_block_data(block), 'a', len);
    block->len = len;
    return block;
}

static void
succeed(answer_cache_t *cache, struct answer_call *call, size_t len, uint64_t now_us)
{
    dyn_block_t *answer = block_of(len);
    answer_call_succeeded(cache, call, answer, &usage, now_us);
    answer_call_leave(cache, call);
    dyn_block_unref(&answer);
}

static void
store(answer_cache_t *cache, unsigned number, size_t len, uint64_t now_us)
{
    struct seat seat;
    struct answer_call call;
    sit(&seat);
    assert_int_equal(ask(cache, number, now_us, &seat, &call), ANSWER_LEADS);
    succeed(cache, &call, len, now_us);
}

static bool
has(answer_cache_t *cache, unsigned number, uint64_t now_us)
{
    struct seat seat;
    struct answer_call call;
    sit(&seat);
    bool found = ask(cache, number, now_us, &seat, &call) == ANSWER_HIT;
    if (found) {
        assert_int_equal(call.usage.total_tokens, 5);
        dyn_block_unref(&call.answer);
    } else {
        answer_call_leave(cache, &call);
    }
    return found;
}

static void
old_answers_are_gone(void **state)
{
    (void)state;
    answer_cache_t *cache = cache_with(10, 100000);
    store(cache, 1, 100, 0);
    assert_true(has(cache, 1, 10 * SECOND_US - 1));
    assert_false(has(cache, 1, 10 * SECOND_US));
    assert_int_equal(counters.entries, 0);
    assert_int_equal(counters.bytes, 0);
    answer_cache_unref(&cache);
}

static void
the_least_recently_used_leaves(void **state)
{
    (void)state;
    answer_cache_t *cache = cache_with(3, 100000);
    store(cache, 1, 100, 0);
    store(cache, 2, 100, 0);
    store(cache, 3, 100, 0);
    assert_true(has(cache, 1, 1));
    store(cache, 4, 100, 2);
    assert_false(has(cache, 2, 3));
    assert_true(has(cache, 1, 3));
    assert_true(has(cache, 3, 3));
    assert_true(has(cache, 4, 3));
    assert_int_equal(counters.evicted, 1);
    answer_cache_unref(&cache);
}

/* Thousands of answers of any size: never more bytes than the bound, whatever the bound becomes. */
static void
bytes_never_pass_the_bound(void **state)
{
    (void)state;
    uint64_t bound = 50000;
    answer_cache_t *cache = cache_with(1000, bound);
    struct dyn_rng rng;
    dyn_rng_seed(&rng, 7);
    for (unsigned i = 0; i < 3000; i++) {
        if (i == 1500) {
            bound = 9000;
            answer_cache_limit(cache, &(struct answer_limits){10 * SECOND_US, 1000, bound});
            assert_true(counters.bytes <= bound);
        }
        unsigned number = (unsigned)dyn_rng_below(&rng, 500) + i / 100 * 1000;
        if (!has(cache, number, i)) {
            store(cache, number, (size_t)dyn_rng_below(&rng, 12000), i);
        }
        assert_true(counters.bytes <= bound);
    }
    assert_true(counters.entries > 0);
    answer_cache_limit(cache, &(struct answer_limits){0, 0, 0});
    assert_int_equal(counters.bytes, 0);
    answer_cache_unref(&cache);
}

static struct answer_call *
taken(answer_cache_t *cache, struct seat *seat, enum answer_outcome outcome)
{
    struct answer_call *call = answer_seat_take(cache, &seat->seat);
    assert_non_null(call);
    assert_int_equal(call->outcome, outcome);
    return call;
}

static void
all_that_wait_get_the_answer(void **state)
{
    (void)state;
    answer_cache_t *cache = cache_with(10, 100000);
    struct seat seats[2];
    struct answer_call calls[5];
    sit(&seats[0]);
    sit(&seats[1]);
    assert_int_equal(ask(cache, 1, 0, &seats[0], &calls[0]), ANSWER_LEADS);
    for (int i = 1; i < 5; i++) {
        assert_int_equal(ask(cache, 1, 0, &seats[i % 2], &calls[i]), ANSWER_WAITS);
    }
    succeed(cache, &calls[0], 10, 0);
    assert_true(seats[0].woken > 0 && seats[1].woken > 0);
    for (int i = 1; i < 5; i++) {
        struct answer_call *call = taken(cache, &seats[i % 2], ANSWER_READY);
        assert_int_equal(call->answer->len, 10);
        answer_call_leave(cache, call);
    }
    assert_null(answer_seat_take(cache, &seats[0].seat));
    assert_int_equal(counters.shared, 4);
    assert_int_equal(counters.misses, 1);
    assert_true(has(cache, 1, 0));
    answer_cache_unref(&cache);
}

static void
one_is_promoted_and_then_all_fail(void **state)
{
    (void)state;
    answer_cache_t *cache = cache_with(10, 100000);
    struct seat seat;
    struct answer_call calls[4];
    sit(&seat);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(ask(cache, 1, 0, &seat, &calls[i]), i == 0 ? ANSWER_LEADS : ANSWER_WAITS);
    }
    answer_call_failed(cache, &calls[0], ERR_UPSTREAM_TIMEOUT, DYN_SLICE("slow"));
    answer_call_leave(cache, &calls[0]);
    assert_ptr_equal(taken(cache, &seat, ANSWER_PROMOTED), &calls[1]);
    assert_null(answer_seat_take(cache, &seat.seat));
    answer_call_failed(cache, &calls[1], ERR_UPSTREAM_TIMEOUT, DYN_SLICE("slow again"));
    answer_call_leave(cache, &calls[1]);
    for (int i = 2; i < 4; i++) {
        struct answer_call *call = taken(cache, &seat, ANSWER_FAILED);
        assert_int_equal(call->error, ERR_UPSTREAM_TIMEOUT);
        assert_string_equal(call->error_text, "slow again");
        answer_call_leave(cache, call);
    }
    assert_int_equal(ask(cache, 1, 0, &seat, &calls[0]), ANSWER_LEADS);
    answer_call_leave(cache, &calls[0]);
    answer_cache_unref(&cache);
}

/* A promotion that nobody takes any more goes on to the next one. */
static void
one_that_leaves_hands_it_on(void **state)
{
    (void)state;
    answer_cache_t *cache = cache_with(10, 100000);
    struct seat seat;
    struct answer_call calls[3];
    sit(&seat);
    for (int i = 0; i < 3; i++) {
        (void)ask(cache, 1, 0, &seat, &calls[i]);
    }
    answer_call_failed(cache, &calls[0], ERR_INTERNAL, DYN_SLICE(""));
    answer_call_leave(cache, &calls[0]);
    answer_call_leave(cache, &calls[1]);
    assert_ptr_equal(taken(cache, &seat, ANSWER_PROMOTED), &calls[2]);
    succeed(cache, &calls[2], 10, 0);
    answer_cache_unref(&cache);
}

static void
a_call_without_its_client_ends_with_the_last_that_waits(void **state)
{
    (void)state;
    answer_cache_t *cache = cache_with(10, 100000);
    struct seat seat;
    struct answer_call calls[3];
    sit(&seat);
    for (int i = 0; i < 3; i++) {
        (void)ask(cache, 1, 0, &seat, &calls[i]);
    }
    assert_false(answer_call_orphaned(cache, &calls[0]));
    answer_call_leave(cache, &calls[1]);
    assert_null(answer_seat_take(cache, &seat.seat));
    answer_call_leave(cache, &calls[2]);
    assert_ptr_equal(taken(cache, &seat, ANSWER_ABANDONED), &calls[0]);
    struct answer_call later; /* has nothing to do with the one that is being cancelled */
    assert_int_equal(ask(cache, 1, 0, &seat, &later), ANSWER_LEADS);
    assert_true(answer_call_orphaned(cache, &later));
    answer_call_leave(cache, &later);
    answer_call_failed(cache, &calls[0], ERR_CLIENT_CLOSED, DYN_SLICE(""));
    answer_call_leave(cache, &calls[0]);
    answer_cache_unref(&cache);
}

static void
an_unfit_answer_is_nobody_elses(void **state)
{
    (void)state;
    answer_cache_t *cache = cache_with(10, 100000);
    struct seat seat;
    struct answer_call calls[3];
    sit(&seat);
    for (int i = 0; i < 3; i++) {
        (void)ask(cache, 1, 0, &seat, &calls[i]);
    }
    answer_call_unfit(cache, &calls[0]);
    answer_call_leave(cache, &calls[0]);
    for (int i = 1; i < 3; i++) {
        succeed(cache, taken(cache, &seat, ANSWER_PROMOTED), 10, 0);
    }
    assert_true(has(cache, 1, 0));
    answer_cache_unref(&cache);
}

static void
who_will_not_read_goes_alone(void **state)
{
    (void)state;
    answer_cache_t *cache = cache_with(10, 100000);
    struct seat seat;
    struct answer_call calls[2];
    struct answer_key key = key_of(1);
    struct answer_asking asking = {.stores = true, .max_age_us = UINT64_MAX, .now_us = 5};
    sit(&seat);
    store(cache, 1, 10, 0);
    calls[0] = (struct answer_call){.seat = &seat.seat};
    calls[1] = (struct answer_call){.seat = &seat.seat};
    assert_int_equal(answer_cache_ask(cache, &key, &asking, &calls[0]), ANSWER_LEADS);
    assert_int_equal(answer_cache_ask(cache, &key, &asking, &calls[1]), ANSWER_LEADS);
    succeed(cache, &calls[1], 20, 5);
    succeed(cache, &calls[0], 30, 6);
    assert_int_equal(counters.entries, 1);
    answer_cache_unref(&cache);
}

/* ---- threads ---- */

enum { THREADS = 4, ROUNDS = 3000, KEYS = 5 };

struct worker {
    pthread_t thread;
    answer_cache_t *cache;
    struct seat seat;
    unsigned number;
    unsigned served;
    unsigned failed;
    unsigned led;
};

/* Ends what it leads in one way or another, and takes what was decided for it. */
static void
end(struct worker *w, struct answer_call *call, struct dyn_rng *rng)
{
    uint64_t way = dyn_rng_below(rng, 8);
    if (way == 0) {
        answer_call_failed(w->cache, call, ERR_INTERNAL, DYN_SLICE("x"));
        answer_call_leave(w->cache, call);
    } else if (way == 1) {
        answer_call_unfit(w->cache, call);
        answer_call_leave(w->cache, call);
    } else {
        succeed(w->cache, call, (size_t)dyn_rng_below(rng, 300), 0);
    }
    w->led++;
}

static void *
work(void *arg)
{
    struct worker *w = arg;
    struct dyn_rng rng;
    dyn_rng_seed(&rng, w->number);
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct answer_call call;
        enum answer_found found = ask(w->cache, (unsigned)dyn_rng_below(&rng, KEYS), i, &w->seat, &call);
        if (found == ANSWER_HIT) {
            dyn_block_unref(&call.answer);
            w->served++;
            continue;
        }
        if (found == ANSWER_LEADS) {
            if (dyn_rng_below(&rng, 4) == 0) {
                (void)answer_call_orphaned(w->cache, &call);
            }
            end(w, &call, &rng);
            continue;
        }
        if (dyn_rng_below(&rng, 3) == 0) {
            answer_call_leave(w->cache, &call);
            continue;
        }
        struct answer_call *decided;
        while ((decided = answer_seat_take(w->cache, &w->seat.seat)) == NULL) {
            sched_yield();
        }
        if (decided->outcome == ANSWER_PROMOTED) {
            end(w, decided, &rng);
        } else {
            w->served += decided->outcome == ANSWER_READY;
            w->failed += decided->outcome == ANSWER_FAILED;
            answer_call_leave(w->cache, decided);
        }
    }
    return NULL;
}

/* Each call ends, whatever others do at the same time: nobody waits for ever, nothing is left. */
static void
threads_share_calls(void **state)
{
    (void)state;
    answer_cache_t *cache = cache_with(3, 2000);
    struct worker workers[THREADS];
    unsigned served = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.cache = cache, .number = i + 1};
        sit(&workers[i].seat);
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        (void)pthread_join(workers[i].thread, NULL);
        assert_null(answer_seat_take(cache, &workers[i].seat.seat));
        served += workers[i].served;
    }
    assert_true(served > 0);
    assert_true(counters.bytes <= 2000);
    answer_cache_unref(&cache);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(old_answers_are_gone),
        cmocka_unit_test(the_least_recently_used_leaves),
        cmocka_unit_test(bytes_never_pass_the_bound),
        cmocka_unit_test(all_that_wait_get_the_answer),
        cmocka_unit_test(one_is_promoted_and_then_all_fail),
        cmocka_unit_test(one_that_leaves_hands_it_on),
        cmocka_unit_test(a_call_without_its_client_ends_with_the_last_that_waits),
        cmocka_unit_test(an_unfit_answer_is_nobody_elses),
        cmocka_unit_test(who_will_not_read_goes_alone),
        cmocka_unit_test(threads_share_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
