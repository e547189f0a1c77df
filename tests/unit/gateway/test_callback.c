/* The actor of a registered provider and its sender, scripted: windows that are small or used up, mailboxes
 * that are full, and what dynabus_call_write() says of it. */
#include "gateway/callback.h"

#include "bus/credit.h"
#include "tests/conformance/wires.h"

#include <stdlib.h>

enum {
    MIB = 1024 * 1024,
    BEHIND = 256 * 1024, /* dynabus.h */
    WAITING_MAX = 16 * MIB,
    TURNS_MAX = 20000,
};

struct stage {
    bus_t *bus;
    bus_loop_t *loop;
    bus_actor_t *me;
    bus_addr_t provider;
    struct env_id id;

    /* What the sender does; on the loop. */
    uint32_t window; /* granted again as it is passed on; 0: by hand */
    bool is_stream;
    uint32_t grant; /* by hand */
    struct credit_receiver credit;

    /* What it got. */
    atomic_uint_fast64_t bytes;
    uint32_t chunks;
    size_t longest;
    bool is_broken; /* out of order, or without credit */
    enum env_outcome outcome;
    size_t end_bytes;
    atomic_uint ends; /* counted last */

    struct gate called;
    dynabus_call_t *call;
    unsigned cancelled;
};

/* ---- the provider ---- */

static void
take_call(void *user, dynabus_call_t *call)
{
    struct stage *stage = user;
    stage->call = call;
    gate_open(&stage->called);
}

static void
note_cancelled(void *user, dynabus_call_t *call)
{
    struct stage *stage = user;
    CHECK(dynabus_call_write(call, "x", 1) == -1);
    stage->cancelled++;
}

/* ---- who sends ---- */

/* The answer is the words 0, 1, 2, .. */
static void
check_bytes(struct stage *stage, struct dyn_slice bytes)
{
    for (size_t i = 0; i < bytes.len; i++) {
        uint64_t at = stage->bytes + i;
        uint32_t word = (uint32_t)(at / sizeof word);
        stage->is_broken = stage->is_broken || bytes.data[i] != ((const char *)&word)[at % sizeof word];
    }
    stage->bytes += bytes.len;
}

static void
give(struct stage *stage, uint32_t bytes)
{
    struct env *env = env_new(ENV_CREDIT);
    env->id = stage->id;
    env->credit = bytes;
    stage->credit.outstanding += bytes;
    CHECK(bus_send(stage->me, stage->provider, &env, NULL) == 0);
}

static void
stage_receive(void *self, struct env **env_p)
{
    struct stage *stage = self;
    const struct env *env = *env_p;
    struct dyn_slice body = dyn_block_slice(env->body);
    check_bytes(stage, body);
    if (env->kind == ENV_CHUNK) {
        stage->is_broken = stage->is_broken || env->sequence != stage->chunks || body.len > ENV_CHUNK_MAX ||
                           !credit_receiver_arrived(&stage->credit, body.len) ||
                           (env->sequence == 0 && env->status != 200);
        stage->chunks++;
        stage->longest = body.len > stage->longest ? body.len : stage->longest;
        uint32_t grant = stage->window > 0 ? credit_receiver_consumed(&stage->credit, body.len) : 0;
        if (grant > 0) {
            stage->credit.outstanding -= grant; /* give() counts it */
            give(stage, grant);
        }
    } else if (env->kind == ENV_END) {
        stage->outcome = env->outcome;
        stage->end_bytes = body.len;
        stage->ends++;
    }
    env_free(env_p);
}

static int
stage_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct stage *stage = self;
    (void)err;
    stage->me = me;
    return 0;
}

static void
stage_stop(void *self)
{
    (void)self;
}

static const struct bus_actor_ops stage_ops = {
    .kind = "stage", .start = stage_start, .receive = stage_receive, .stop = stage_stop};

struct turn {
    struct stage *stage;
    void (*fn)(struct stage *stage);
    struct gate gate;
};

static void
run_turn(void *arg)
{
    struct turn *turn = arg;
    if (turn->fn != NULL) {
        turn->fn(turn->stage);
    }
    gate_open(&turn->gate);
}

/* On the loop, behind all that was posted to it before. */
static void
turn(struct stage *stage, void (*fn)(struct stage *stage))
{
    struct turn turn = {.stage = stage, .fn = fn};
    gate_init(&turn.gate, 1);
    bus_loop_post(stage->loop, run_turn, &turn);
    gate_wait(&turn.gate);
}

static void
send_request(struct stage *stage)
{
    struct env *request = env_new(ENV_REQUEST);
    request->id = stage->id;
    request->surface = ENV_SURFACE_CHAT;
    request->stream = stage->is_stream;
    request->credit = (uint32_t)stage->credit.outstanding;
    request->body = dyn_block_copy(0, DYN_SLICE("{}"));
    CHECK(bus_send(stage->me, stage->provider, &request, NULL) == 0);
}

static void
send_cancel(struct stage *stage)
{
    struct env *env = env_new(ENV_CANCEL);
    env->id = stage->id;
    CHECK(bus_send(stage->me, stage->provider, &env, NULL) == 0);
}

static void
send_grant(struct stage *stage)
{
    give(stage, stage->grant);
}

/* The call is there when this returns. `window` 0: `credit` is all there is, until more is given by hand. */
static void
open_stage(struct stage *stage, bool is_stream, uint32_t window, uint32_t credit, size_t mailbox_bytes)
{
    struct bus_options options = {.mailbox_bytes = mailbox_bytes};
    struct dynabus_provider provider = DYNABUS_PROVIDER_INIT;
    provider.name = "mine";
    provider.call = take_call;
    provider.cancelled = note_cancelled;
    provider.user = stage;
    *stage = (struct stage){.window = window, .is_stream = is_stream};
    credit_receiver_init(&stage->credit, window > 0 ? window : credit);
    gate_init(&stage->called, 1);
    struct registered *registered = registered_new(&provider, NULL);
    stage->bus = bus_new(&options, NULL);
    stage->loop = bus_add_loop(stage->bus, "stage");
    stage->provider = bus_add_actor(stage->bus, stage->loop, &callback_actor_ops, callback_new(registered));
    (void)bus_add_actor(stage->bus, stage->loop, &stage_ops, stage);
    registered_unref(&registered);
    assert_int_equal(bus_start(stage->bus, NULL), 0);
    turn(stage, send_request);
    gate_wait(&stage->called);
}

static void
close_stage(struct stage *stage)
{
    (void)bus_stop(stage->bus, 1000);
    bus_free(&stage->bus);
    assert_false(stage->is_broken);
}

static bool
has_end(struct stage *stage)
{
    bool has = false;
    for (unsigned i = 0; i < TURNS_MAX && !has; i++) {
        turn(stage, NULL);
        has = stage->ends > 0;
    }
    return has;
}

static char *
words(size_t bytes)
{
    char *text = dyn_alloc(bytes + sizeof(uint32_t));
    for (uint32_t i = 0; i <= bytes / sizeof i; i++) {
        memcpy(text + i * sizeof i, &i, sizeof i);
    }
    return text;
}

/* ---- the tests ---- */

/* However often the loop turns in between: what counts is what has not left. */
static void
for_a_client_that_takes_nothing_16_mib_wait_and_no_more(void **state)
{
    enum { WRITES = 64, WINDOW = 64 * 1024 };
    struct stage stage;
    (void)state;
    for (unsigned is_stream = 0; is_stream < 2; is_stream++) {
        char *text = words(WRITES * MIB);
        size_t taken = 0;
        open_stage(&stage, is_stream != 0, 0, WINDOW, 0);
        for (unsigned i = 0; i < WRITES; i++) {
            int rc = dynabus_call_write(stage.call, text + taken, MIB);
            size_t least_waiting = taken + MIB > WINDOW ? taken + MIB - WINDOW : 0;
            assert_true(rc == 1 || (rc == -1 && least_waiting + WINDOW > WAITING_MAX));
            taken += rc >= 0 ? MIB : 0;
            turn(&stage, NULL);
        }
        assert_true(taken >= WAITING_MAX && taken <= WAITING_MAX + WINDOW);
        stage.grant = 2 * MIB;
        turn(&stage, send_grant);
        turn(&stage, NULL);
        assert_int_equal(dynabus_call_write(stage.call, text + taken, MIB), 1);
        turn(&stage, send_cancel);
        turn(&stage, NULL);
        assert_int_equal(stage.cancelled, 1);
        assert_int_equal(dynabus_call_write(stage.call, text, 1), -1);
        assert_true(stage.bytes >= 2 * MIB);
        dynabus_call_end(stage.call, NULL);
        close_stage(&stage);
        free(text);
    }
}

static void
a_client_that_follows_is_not_behind(void **state)
{
    enum { STEP = 32 * 1024, STEPS = 64 * MIB / STEP };
    struct stage stage;
    char *text = words(64 * MIB);
    (void)state;
    open_stage(&stage, true, 64 * 1024, 64 * 1024, 0);
    for (unsigned i = 0; i < STEPS; i++) {
        assert_int_equal(dynabus_call_write(stage.call, text + (size_t)i * STEP, STEP), 0);
        while (stage.bytes < (uint64_t)i * STEP) {
            turn(&stage, NULL);
        }
    }
    dynabus_call_end(stage.call, NULL);
    assert_true(has_end(&stage));
    assert_int_equal(stage.bytes, 64 * MIB);
    close_stage(&stage);
    free(text);
}

static void
behind_begins_at_256_kib(void **state)
{
    struct stage stage;
    char *text = words(BEHIND + 1024);
    (void)state;
    open_stage(&stage, true, 0, 0, 0);
    assert_int_equal(dynabus_call_write(stage.call, text, BEHIND), 0);
    turn(&stage, NULL);
    assert_int_equal(dynabus_call_write(stage.call, text + BEHIND, 1), 1);
    dynabus_call_end(stage.call, NULL);
    stage.grant = BEHIND + 1;
    turn(&stage, send_grant);
    assert_true(has_end(&stage));
    assert_int_equal(stage.bytes, BEHIND + 1);
    close_stage(&stage);
    free(text);
}

/* As of a request that is sent again with what was left of its window. */
static void
a_small_window_is_enough(void **state)
{
    static const uint32_t windows[] = {1000, 2, 1, 30000, 65536};
    enum { BYTES = 40 * 1024 };
    struct stage stage;
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(windows); i++) {
        char *text = words(BYTES);
        open_stage(&stage, true, windows[i], windows[i], 0);
        assert_int_equal(dynabus_call_write(stage.call, text, BYTES), 0);
        dynabus_call_end(stage.call, NULL);
        assert_true(has_end(&stage));
        assert_int_equal(stage.outcome, ENV_OUTCOME_OK);
        assert_int_equal(stage.bytes, BYTES);
        assert_true(stage.longest <= (windows[i] > 1 ? windows[i] / 2 : 1));
        close_stage(&stage);
        free(text);
    }
}

/* ... and pieces grow again with what is granted later. */
static void
pieces_follow_what_is_granted(void **state)
{
    enum { BYTES = 1024 * 1024 };
    struct stage stage;
    char *text = words(BYTES);
    (void)state;
    open_stage(&stage, true, 0, 10, 0);
    assert_int_equal(dynabus_call_write(stage.call, text, BYTES), 1);
    turn(&stage, NULL);
    turn(&stage, NULL);
    assert_int_equal(stage.bytes, 10);
    stage.grant = BYTES;
    turn(&stage, send_grant);
    dynabus_call_end(stage.call, NULL);
    assert_true(has_end(&stage));
    assert_int_equal(stage.longest, ENV_CHUNK_MAX);
    assert_int_equal(stage.bytes, BYTES);
    close_stage(&stage);
    free(text);
}

static void
a_plain_answer_comes_in_its_end(void **state)
{
    struct stage stage;
    char *text = words(MIB);
    (void)state;
    open_stage(&stage, false, 0, 0, 0); /* which needs no credit */
    for (unsigned i = 0; i < MIB / 1024; i++) {
        assert_true(dynabus_call_write(stage.call, text + (size_t)i * 1024, 1024) >= 0);
        turn(&stage, NULL);
    }
    dynabus_call_end(stage.call, NULL);
    assert_true(has_end(&stage));
    assert_int_equal(stage.chunks, 0);
    assert_int_equal(stage.end_bytes, MIB);
    close_stage(&stage);
    free(text);
}

struct writer {
    struct stage *stage;
    const char *text;
    size_t bytes;
};

/* In pieces of all lengths; what is not taken is written again. */
static void *
write_all(void *arg)
{
    struct writer *writer = arg;
    size_t done = 0;
    for (size_t len = 1; done < writer->bytes; len = len * 7 % 50021) {
        size_t left = writer->bytes - done;
        size_t now = len < left ? len : left;
        int rc = dynabus_call_write(writer->stage->call, writer->text + done, now);
        done += rc >= 0 ? now : 0;
    }
    dynabus_call_end(writer->stage->call, NULL);
    return NULL;
}

/* By credit, by the mailbox of who receives, by both. */
static void
a_slow_client_gets_all_that_another_thread_writes(void **state)
{
    static const struct {
        uint32_t window;
        size_t mailbox;
    } rows[] = {{64 * 1024, 0}, {3000, 0}, {1024 * 1024, 40 * 1024}, {64 * 1024, 100 * 1024}};
    enum { BYTES = 24 * MIB / WIRES_SLOWER };
    char *text = words(BYTES);
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(rows); i++) {
        struct stage stage;
        struct writer writer = {&stage, text, i == 0 ? BYTES : BYTES / 8};
        pthread_t thread;
        open_stage(&stage, true, rows[i].window, rows[i].window, rows[i].mailbox);
        assert_int_equal(pthread_create(&thread, NULL, write_all, &writer), 0);
        (void)pthread_join(thread, NULL);
        while (stage.ends == 0) { /* it hangs here when something is lost */
            turn(&stage, NULL);
        }
        assert_int_equal(stage.outcome, ENV_OUTCOME_OK);
        assert_int_equal(stage.bytes, writer.bytes);
        close_stage(&stage);
    }
    free(text);
}

static void
what_waits_is_dropped_when_the_answer_fails(void **state)
{
    struct stage stage;
    struct dynabus_result result = DYNABUS_RESULT_INIT;
    char *text = words(MIB);
    (void)state;
    open_stage(&stage, true, 0, 1024, 0);
    assert_int_equal(dynabus_call_write(stage.call, text, MIB), 1);
    result.error_code = "upstream_error";
    dynabus_call_end(stage.call, &result);
    assert_true(has_end(&stage));
    assert_int_equal(stage.outcome, ENV_OUTCOME_ERROR);
    assert_true(stage.bytes <= 1024);
    close_stage(&stage);
    free(text);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(for_a_client_that_takes_nothing_16_mib_wait_and_no_more),
        cmocka_unit_test(a_client_that_follows_is_not_behind),
        cmocka_unit_test(behind_begins_at_256_kib),
        cmocka_unit_test(a_small_window_is_enough),
        cmocka_unit_test(pieces_follow_what_is_granted),
        cmocka_unit_test(a_plain_answer_comes_in_its_end),
        cmocka_unit_test(a_slow_client_gets_all_that_another_thread_writes),
        cmocka_unit_test(what_waits_is_dropped_when_the_answer_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
