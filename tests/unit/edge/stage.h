/* A bus with one loop whose clock the test moves, and actors that keep what they get. The test's own thread
 * looks at them between turns only. */
#pragma once

#include "tests/conformance/wires.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { STAGE_GOT_MAX = 64, STAGE_START_US = 1000000 };

struct stage {
    bus_t *bus;
    bus_loop_t *loop;
    atomic_uint_fast64_t now_us;
    struct dyn_clock clock;
};

/* An actor that keeps what it is sent, in order. */
struct extra {
    bus_actor_t *me;
    bus_addr_t addr;
    struct env *got[STAGE_GOT_MAX];
    size_t n_got;
    size_t n_taken;
};

static uint64_t
stage_now_us(void *self)
{
    return atomic_load(&((struct stage *)self)->now_us);
}

static int
extra_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    (void)err;
    ((struct extra *)self)->me = me;
    return 0;
}

static void
extra_receive(void *self, struct env **env_p)
{
    struct extra *extra = self;
    CHECK(extra->n_got < STAGE_GOT_MAX);
    extra->got[extra->n_got++] = *env_p;
    *env_p = NULL;
}

static void
extra_stop(void *self)
{
    (void)self; /* the test looks at what it got */
}

static const struct bus_actor_ops extra_ops = {
    .kind = "extra", .start = extra_start, .receive = extra_receive, .stop = extra_stop};

static DYN_UNUSED void
stage_init(struct stage *stage, size_t mailbox_bytes)
{
    struct dyn_err err;
    struct bus_options options = {.mailbox_bytes = mailbox_bytes};
    atomic_init(&stage->now_us, STAGE_START_US);
    stage->clock = (struct dyn_clock){.mono_us = stage_now_us, .wall_us = stage_now_us, .self = stage};
    stage->bus = bus_new(&options, &err);
    stage->loop = bus_add_loop(stage->bus, "stage");
    bus_loop_set_clock(stage->loop, &stage->clock);
}

static void
stage_add(struct stage *stage, struct extra *extra)
{
    extra->addr = bus_add_actor(stage->bus, stage->loop, &extra_ops, extra);
}

static void
stage_start(struct stage *stage)
{
    struct dyn_err err;
    assert_int_equal(bus_start(stage->bus, &err), 0);
}

struct stage_call {
    void (*run)(void *arg);
    void *arg;
    struct gate done;
};

static void
stage_run_call(void *arg)
{
    struct stage_call *call = arg;
    if (call->run != NULL) {
        call->run(call->arg);
    }
    gate_open(&call->done);
}

/* Runs it on the loop; returns when what it sent has been delivered, and what came of that. */
static void
stage_do(struct stage *stage, void (*run)(void *arg), void *arg)
{
    for (unsigned turn = 0; turn < 2; turn++) {
        struct stage_call call = {.run = turn == 0 ? run : NULL, .arg = arg};
        gate_init(&call.done, 1);
        bus_loop_post(stage->loop, stage_run_call, &call);
        gate_wait(&call.done);
    }
}

/* Time goes by, and what was armed until then has fired. */
static DYN_UNUSED void
stage_advance(struct stage *stage, uint64_t ms)
{
    (void)atomic_fetch_add(&stage->now_us, ms * 1000);
    stage_do(stage, NULL, NULL);
    stage_do(stage, NULL, NULL);
}

struct stage_send {
    struct extra *from;
    bus_addr_t to;
    struct env *env;
};

static void
stage_send_on_loop(void *arg)
{
    struct stage_send *send = arg;
    struct dyn_err err;
    if (bus_send(send->from->me, send->to, &send->env, &err) != 0) {
        env_free(&send->env);
    }
}

static void
stage_send(struct stage *stage, struct extra *from, bus_addr_t to, struct env *env)
{
    struct stage_send send = {from, to, env};
    stage_do(stage, stage_send_on_loop, &send);
}

static void
stage_send_and_free(void *arg)
{
    stage_send_on_loop(arg);
    free(arg);
}

/* Does not wait: after what it says the loop may end. */
static DYN_UNUSED void
stage_send_last(struct stage *stage, struct extra *from, bus_addr_t to, struct env *env)
{
    struct stage_send *send = dyn_alloc(sizeof *send);
    *send = (struct stage_send){from, to, env};
    bus_loop_post(stage->loop, stage_send_and_free, send);
}

/* The next envelope that it got, still its own; NULL: there is none. */
static struct env *
extra_next(struct extra *extra)
{
    return extra->n_taken < extra->n_got ? extra->got[extra->n_taken++] : NULL;
}

/* ... which has to be of this kind. */
static DYN_UNUSED struct env *
extra_take(struct extra *extra, enum env_kind kind)
{
    struct env *env = extra_next(extra);
    if (env == NULL) {
        fail_msg("nothing came where a %s should have", env_kind_name(kind));
        abort(); /* not reached; the compiler cannot know */
    }
    assert_string_equal(env_kind_name(env->kind), env_kind_name(kind));
    return env;
}

static DYN_UNUSED void
extra_has_nothing(const struct extra *extra)
{
    if (extra->n_taken < extra->n_got) {
        fail_msg("an unexpected %s", env_kind_name(extra->got[extra->n_taken]->kind));
    }
}

static void
extra_fini(struct extra *extra)
{
    for (size_t i = 0; i < extra->n_got; i++) {
        env_free(&extra->got[i]);
    }
}

static void
stage_stop(struct stage *stage)
{
    (void)bus_stop(stage->bus, 0);
    bus_free(&stage->bus);
}

#define assert_slice_is(slice, text) assert_true(dyn_slice_is((slice), (text)))
