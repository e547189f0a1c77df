/* The pacer on a clock that the test moves. */
#include "mock/pacer.h"

#include "core/rand.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { QUIET_TURNS = 4 };

struct fixture {
    bus_loop_t *loop;
    uint64_t now_us;
    struct dyn_clock clock;
    struct mock_pacer pacer;
};

struct seen {
    struct mock_wait wait;
    struct fixture *fixture;
    uint64_t fired_ms; /* 0: not yet */
    unsigned times;
    uint32_t again_ms;   /* waits anew for so long */
    struct seen *cancel; /* takes this one out */
};

static uint64_t
clock_us(void *self)
{
    return *(uint64_t *)self;
}

static struct fixture *
start(void)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->loop = bus_loop_new("test");
    f->now_us = 5000000;
    f->clock = (struct dyn_clock){.mono_us = clock_us, .wall_us = clock_us, .self = &f->now_us};
    bus_loop_set_clock(f->loop, &f->clock);
    mock_pacer_init(&f->pacer, f->loop);
    return f;
}

static void
stop(struct fixture *f)
{
    mock_pacer_fini(&f->pacer);
    bus_loop_free(&f->loop);
    free(f);
}

static void
advance(struct fixture *f, uint64_t ms)
{
    f->now_us += ms * 1000;
    for (unsigned i = 0; i < QUIET_TURNS; i++) {
        bus_loop_run_once(f->loop, 0);
    }
}

static void
on_fire(struct mock_wait *wait)
{
    struct seen *seen = DYN_CONTAINER_OF(wait, struct seen, wait);
    struct mock_pacer *pacer = &seen->fixture->pacer;
    seen->fired_ms = mock_pacer_now_ms(pacer);
    seen->times++;
    if (seen->cancel != NULL) {
        mock_pacer_cancel(pacer, &seen->cancel->wait);
    }
    if (seen->again_ms > 0) {
        mock_pacer_add(pacer, wait, wait->due_ms + seen->again_ms);
    }
}

static struct seen
seen_by(struct fixture *f)
{
    return (struct seen){.wait = {.fire = on_fire}, .fixture = f};
}

static void
fires_when_due_and_not_before(void **state)
{
    (void)state;
    struct fixture *f = start();
    struct seen seen = seen_by(f);
    dyn_list_init(&seen.wait.link);
    mock_pacer_add(&f->pacer, &seen.wait, 5010);
    advance(f, 9);
    assert_int_equal(seen.times, 0);
    advance(f, 1);
    assert_int_equal(seen.times, 1);
    advance(f, 5000);
    assert_int_equal(seen.times, 1);
    stop(f);
}

/* Longer than the wheel goes round, and what was due long ago. */
static void
far_and_past(void **state)
{
    (void)state;
    struct fixture *f = start();
    struct seen far = seen_by(f);
    struct seen past = seen_by(f);
    dyn_list_init(&far.wait.link);
    dyn_list_init(&past.wait.link);
    mock_pacer_add(&f->pacer, &far.wait, 5000 + 3 * MOCK_PACER_SLOTS + 7);
    mock_pacer_add(&f->pacer, &past.wait, 17);
    advance(f, 1);
    assert_int_equal(past.times, 1);
    for (uint64_t ms = 1; ms < 3 * MOCK_PACER_SLOTS + 6; ms += 1000) {
        assert_int_equal(far.times, 0);
        advance(f, 1000);
    }
    advance(f, MOCK_PACER_SLOTS);
    assert_int_equal(far.times, 1);
    stop(f);
}

/* A pace counts from what was due: late by a few milliseconds each time, it still fires as often. */
static void
a_pace_does_not_drift(void **state)
{
    (void)state;
    struct fixture *f = start();
    struct seen seen = seen_by(f);
    seen.again_ms = 10;
    dyn_list_init(&seen.wait.link);
    mock_pacer_add(&f->pacer, &seen.wait, 5010);
    for (unsigned i = 0; i < 100; i++) {
        advance(f, 13);
    }
    assert_in_range(seen.times, 128, 130);
    mock_pacer_cancel(&f->pacer, &seen.wait);
    stop(f);
}

static void
cancelled_in_the_same_tick(void **state)
{
    (void)state;
    struct fixture *f = start();
    struct seen first = seen_by(f);
    struct seen second = seen_by(f);
    first.cancel = &second;
    dyn_list_init(&first.wait.link);
    dyn_list_init(&second.wait.link);
    mock_pacer_add(&f->pacer, &first.wait, 5003);
    mock_pacer_add(&f->pacer, &second.wait, 5003);
    advance(f, 5);
    assert_int_equal(first.times, 1);
    assert_int_equal(second.times, 0);
    mock_pacer_cancel(&f->pacer, &second.wait); /* does nothing */
    stop(f);
}

/* Each of many fires once, in the first turn at or behind its time. */
static void
many_at_random(void **state)
{
    (void)state;
    enum { MANY = 3000, HORIZON_MS = 20000, STEP_MS = 37 };
    struct fixture *f = start();
    struct dyn_rng rng;
    dyn_rng_seed(&rng, 9);
    struct seen *all = calloc(MANY, sizeof *all);
    assert_non_null(all);
    for (unsigned i = 0; i < MANY; i++) {
        all[i] = seen_by(f);
        dyn_list_init(&all[i].wait.link);
        mock_pacer_add(&f->pacer, &all[i].wait, 5001 + dyn_rng_below(&rng, HORIZON_MS));
    }
    for (uint64_t ms = 0; ms <= HORIZON_MS; ms += STEP_MS) {
        advance(f, STEP_MS);
    }
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(all[i].times, 1);
        assert_in_range(all[i].fired_ms, all[i].wait.due_ms, all[i].wait.due_ms + STEP_MS);
    }
    free(all);
    stop(f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fires_when_due_and_not_before),
        cmocka_unit_test(far_and_past),
        cmocka_unit_test(a_pace_does_not_drift),
        cmocka_unit_test(cancelled_in_the_same_tick),
        cmocka_unit_test(many_at_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
