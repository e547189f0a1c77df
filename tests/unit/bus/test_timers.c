/* The heap of timers against a naive model, and what laziness must not change. */
#include "bus/timers.h"
#include "core/rand.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void
arm(struct timer_heap *heap, struct bus_timer *timer, uint64_t at_us)
{
    timer->at_us = at_us;
    timer_heap_armed(heap, timer);
}

static void
timers_come_in_order_of_time(void **state)
{
    (void)state;
    struct timer_heap heap = {0};
    struct bus_timer timers[5] = {0};
    const uint64_t at_us[5] = {50, 10, 40, 20, 30};
    for (size_t i = 0; i < 5; i++) {
        arm(&heap, &timers[i], at_us[i]);
    }
    assert_int_equal(timer_heap_next_us(&heap), 10);
    assert_null(timer_heap_pop_due(&heap, 9));
    assert_ptr_equal(timer_heap_pop_due(&heap, 10), &timers[1]);
    assert_null(timer_heap_pop_due(&heap, 10));
    assert_ptr_equal(timer_heap_pop_due(&heap, 100), &timers[3]);
    assert_ptr_equal(timer_heap_pop_due(&heap, 100), &timers[4]);
    assert_ptr_equal(timer_heap_pop_due(&heap, 100), &timers[2]);
    assert_ptr_equal(timer_heap_pop_due(&heap, 100), &timers[0]);
    assert_null(timer_heap_pop_due(&heap, 100));
    assert_int_equal(timer_heap_next_us(&heap), 0);
    timer_heap_fini(&heap);
}

/* Postponed a hundred times it fires once, at its last time; earlier it only costs a look. */
static void
a_postponed_timer_fires_at_its_last_time(void **state)
{
    (void)state;
    struct timer_heap heap = {0};
    struct bus_timer timer = {0};
    for (uint64_t at_us = 10; at_us <= 1000; at_us += 10) {
        arm(&heap, &timer, at_us);
    }
    assert_int_equal(heap.n, 1);
    assert_int_equal(timer_heap_next_us(&heap), 10);
    assert_null(timer_heap_pop_due(&heap, 500));
    assert_int_equal(timer_heap_next_us(&heap), 1000);
    assert_null(timer_heap_pop_due(&heap, 999));
    assert_ptr_equal(timer_heap_pop_due(&heap, 1000), &timer);
    assert_false(bus_timer_is_armed(&timer));
    timer_heap_fini(&heap);
}

static void
a_timer_brought_forward_fires_early(void **state)
{
    (void)state;
    struct timer_heap heap = {0};
    struct bus_timer first = {0};
    struct bus_timer second = {0};
    arm(&heap, &first, 100);
    arm(&heap, &second, 200);
    arm(&heap, &second, 50);
    assert_ptr_equal(timer_heap_pop_due(&heap, 60), &second);
    assert_null(timer_heap_pop_due(&heap, 60));
    timer_heap_fini(&heap);
    assert_int_equal(first.place, 0);
}

enum { MODEL_TIMERS = 200, MODEL_STEPS = 20000 };

static size_t
model_due(const struct bus_timer *timers, uint64_t now_us)
{
    size_t due = 0;
    for (size_t i = 0; i < MODEL_TIMERS; i++) {
        due += timers[i].at_us != 0 && timers[i].at_us <= now_us;
    }
    return due;
}

/* Random arming, disarming, removal and time: exactly those that are due come out, in order. */
static void
random_operations_agree_with_a_scan(void **state)
{
    (void)state;
    struct dyn_rng rng;
    dyn_rng_seed(&rng, 7);
    struct timer_heap heap = {0};
    struct bus_timer *timers = dyn_zalloc(MODEL_TIMERS * sizeof *timers);
    uint64_t now_us = 1;
    size_t due = 0;
    for (unsigned step = 0; step < MODEL_STEPS; step++) {
        struct bus_timer *timer = &timers[dyn_rng_below(&rng, MODEL_TIMERS)];
        switch (dyn_rng_below(&rng, 8)) {
        case 0:
            timer->at_us = 0;
            break;
        case 1:
            timer->at_us = 0;
            timer_heap_remove(&heap, timer);
            break;
        case 2:
            now_us += dyn_rng_below(&rng, 50);
            due = model_due(timers, now_us);
            while (timer_heap_pop_due(&heap, now_us) != NULL) {
                assert_true(due > 0);
                due--;
            }
            assert_int_equal(due, 0);
            break;
        default:
            arm(&heap, timer, now_us + dyn_rng_below(&rng, 1000));
            break;
        }
    }
    timer_heap_fini(&heap);
    free(timers);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_come_in_order_of_time),
        cmocka_unit_test(a_postponed_timer_fires_at_its_last_time),
        cmocka_unit_test(a_timer_brought_forward_fires_early),
        cmocka_unit_test(random_operations_agree_with_a_scan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
