/* Calls that lose their router: which go on, for whom, how long, and what they may hold. */
#include "tests/unit/providers/stage.h"

#define LONG_MS   60000
#define MUCH      (64u * 1024 * 1024)
#define A         0u
#define B         1u
#define BIG_BYTES (4u * 1024 * 1024)

/* A plain answer once it may. */
static void
answers_when_told(struct upstream *upstream, int fd)
{
    while (upstream_request(upstream, fd)) {
        stage_await_go(upstream, 1);
        upstream_answer(upstream, fd, "200 OK", JSON_TYPE, ANSWER);
    }
}

/* A stream in two halves. */
static void
streams_when_told(struct upstream *upstream, int fd)
{
    while (upstream_request(upstream, fd)) {
        upstream_say(upstream, fd, SSE_HEAD);
        stage_await_go(upstream, 1);
        upstream_chunk(upstream, fd, DELTA("one"));
        stage_await_go(upstream, 2);
        upstream_chunk(upstream, fd, DELTA("two"));
        upstream_chunk(upstream, fd, FINISH);
        upstream_chunk(upstream, fd, DONE);
        upstream_chunk(upstream, fd, "");
    }
}

/* More than anybody may hold. */
static void
streams_without_end(struct upstream *upstream, int fd)
{
    if (!upstream_request(upstream, fd)) {
        return;
    }
    stage_await_go(upstream, 1);
    upstream_say(upstream, fd, SSE_HEAD);
    for (size_t sent = 0; sent < BIG_BYTES && atomic_load(&upstream->n_closed_early) == 0; sent += 64) {
        upstream_chunk(upstream, fd, DELTA("0123456789"));
    }
    upstream_wait_for_close(fd);
}

static void
never_answers(struct upstream *upstream, int fd)
{
    while (upstream_request(upstream, fd)) {
    }
}

static unsigned
requests(const struct stage *stage)
{
    return atomic_load(&stage->upstream->n_requests);
}

static uint64_t
orphans_kept(const struct stage *stage)
{
    return atomic_load(&stage->orphans.kept);
}

/* The same request as its owner's next router sends it. */
static struct env *
again(const struct env *request, bool attach)
{
    struct env *next = env_clone_request(request);
    next->epoch = request->epoch + 1;
    next->attach = attach;
    return next;
}

/* Of all that came to a router: the same attempt and epoch, CHUNKs counted from 0. */
static void
assert_addressed(const struct stage *stage, size_t router, uint32_t attempt, uint32_t epoch)
{
    uint32_t sequence = 0;
    const struct stage_router *seen = &stage->routers[router];
    for (struct dyn_list *link = seen->seen.next; link != &seen->seen; link = link->next) {
        const struct env *env = DYN_CONTAINER_OF(link, struct env, link);
        assert_int_equal(env->attempt, attempt);
        assert_int_equal(env->epoch, epoch);
        if (env->kind == ENV_CHUNK) {
            assert_int_equal(env->sequence, sequence);
            sequence++;
        }
    }
}

/* ---- nothing has left ---- */

static void
plain_call_goes_on_for_the_next_router(bool told, bool answer_first)
{
    struct stage *stage = stage_new(answers_when_told, LONG_MS, MUCH);
    struct env *request = stage_request(CHAT);
    stage_ask(stage, A, request);
    STAGE_UNTIL(requests(stage) == 1);
    stage_lose(stage, A, told);
    struct env *next = again(request, true);
    if (answer_first) {
        stage_go(stage);
        STAGE_UNTIL(atomic_load(&stage->shared.succeeded) == 1);
        STAGE_UNTIL(orphans_kept(stage) == 1);
        stage_ask(stage, B, next);
    } else {
        stage_ask(stage, B, next);
        stage_go(stage);
    }
    STAGE_UNTIL(stage_ends(stage, B) == 1);
    const struct env *end = stage->routers[B].end;
    assert_int_equal(end->outcome, ENV_OUTCOME_OK);
    assert_int_equal(end->upstream_calls, 1);
    assert_string_equal(dyn_buf_cstr(&stage->routers[B].body), ANSWER);
    assert_addressed(stage, B, 1, 1);
    assert_int_equal(stage_ends(stage, A), 0);
    assert_int_equal(requests(stage), 1);
    assert_int_equal(atomic_load(&stage->orphans.attached), 1);
    assert_int_equal(atomic_load(&stage->orphans.dropped), 0);
    assert_int_equal(atomic_load(&stage->shared.cancelled), 0);
    env_free(&request);
    env_free(&next);
    stage_free(stage);
}

static void
an_orphan_s_answer_goes_to_the_next_router(void **state)
{
    (void)state;
    plain_call_goes_on_for_the_next_router(true, true);
}

static void
an_orphan_that_still_waits_is_taken_over(void **state)
{
    (void)state;
    plain_call_goes_on_for_the_next_router(true, false);
}

/* Nobody told the provider; its END meets nobody. */
static void
an_end_that_could_not_leave_is_kept(void **state)
{
    (void)state;
    plain_call_goes_on_for_the_next_router(false, true);
}

/* The worker has not noticed that the first router is lost; what that one still says is not heard. */
static void
a_call_is_taken_over_from_a_router_that_seems_alive(void **state)
{
    (void)state;
    struct stage *stage = stage_new(answers_when_told, LONG_MS, MUCH);
    struct env *request = stage_request(CHAT);
    struct env *next = again(request, true);
    stage_ask(stage, A, request);
    STAGE_UNTIL(requests(stage) == 1);
    stage_ask(stage, B, next);
    stage_send(stage, A, ENV_CANCEL, request);
    stage_send(stage, A, ENV_CANCEL, next); /* not even by the right epoch: it is not A's any more */
    stage_send(stage, B, ENV_CANCEL, request);
    stage_lose(stage, A, true);
    stage_go(stage);
    STAGE_UNTIL(stage_ends(stage, B) == 1);
    assert_int_equal(stage->routers[B].end->outcome, ENV_OUTCOME_OK);
    assert_addressed(stage, B, 1, 1);
    assert_int_equal(stage_ends(stage, A), 0);
    assert_int_equal(requests(stage), 1);
    assert_int_equal(orphans_kept(stage), 0);
    assert_int_equal(atomic_load(&stage->orphans.attached), 1);
    env_free(&request);
    env_free(&next);
    stage_free(stage);
}

static void
stream_goes_on(bool told)
{
    struct stage *stage = stage_new(streams_when_told, LONG_MS, MUCH);
    struct env *request = stage_request(CHAT_STREAM);
    struct env *next = again(request, true);
    stage_ask(stage, A, request);
    STAGE_UNTIL(requests(stage) == 1);
    stage_lose(stage, A, told);
    stage_go(stage);
    STAGE_UNTIL(orphans_kept(stage) == 1);
    stage_go(stage);
    STAGE_UNTIL(atomic_load(&stage->shared.succeeded) == 1);
    assert_true(atomic_load(&stage->orphans.bytes) > strlen(DELTA("one") DELTA("two")));
    stage_ask(stage, B, next);
    STAGE_UNTIL(stage_ends(stage, B) == 1);
    assert_string_equal(dyn_buf_cstr(&stage->routers[B].body), DELTA("one") DELTA("two") FINISH DONE);
    assert_true(stage_chunks(stage, B) >= 1);
    assert_addressed(stage, B, 1, 1);
    assert_int_equal(stage->routers[B].end->outcome, ENV_OUTCOME_OK);
    assert_int_equal(stage->routers[B].end->upstream_calls, 1);
    assert_int_equal(stage_chunks(stage, A), 0);
    assert_int_equal(requests(stage), 1);
    env_free(&request);
    env_free(&next);
    stage_free(stage);
}

static void
an_orphan_holds_its_stream(void **state)
{
    (void)state;
    stream_goes_on(true);
}

/* The first CHUNK finds nobody: it has not left. */
static void
a_chunk_that_could_not_leave_is_kept(void **state)
{
    (void)state;
    stream_goes_on(false);
}

/* What is held is the window that was granted, however much the upstream has; the next router's window counts
 * from its own start. */
static void
an_orphan_holds_one_window(void **state)
{
    (void)state;
    struct stage *stage = stage_new(streams_without_end, LONG_MS, MUCH);
    struct env *request = stage_request(CHAT_STREAM);
    struct env *next = again(request, true);
    request->credit = next->credit = ENV_WINDOW_FIRST / 4;
    stage_step(stage, A, env_new(ENV_GOODBYE)); /* about nothing */
    stage_ask(stage, A, request);
    STAGE_UNTIL(requests(stage) == 1);
    stage_lose(stage, A, true);
    stage_go(stage);
    STAGE_UNTIL(atomic_load(&stage->orphans.bytes) > request->credit);
    size_t held = atomic_load(&stage->orphans.bytes);
    assert_true(held < request->credit + 64u * 1024); /* what libcurl had in hand, the call, the request */
    stage_ask(stage, B, next);
    STAGE_UNTIL(stage_body(stage, B) > request->credit / 2);
    assert_true(stage_body(stage, B) <= request->credit);
    stage_send(stage, B, ENV_CREDIT, next);
    STAGE_UNTIL(stage_body(stage, B) > request->credit + ENV_WINDOW_FIRST / 2);
    assert_true(stage_body(stage, B) <= request->credit + ENV_WINDOW_FIRST);
    stage_send(stage, B, ENV_CANCEL, next);
    STAGE_UNTIL(stage_ends(stage, B) == 1);
    assert_int_equal(stage->routers[B].end->outcome, ENV_OUTCOME_CANCELLED);
    assert_addressed(stage, B, 1, 1);
    env_free(&request);
    env_free(&next);
    stage_free(stage);
}

/* An error of the upstream is an answer too: the next router hears it and moves on. */
static void
refuses_when_told(struct upstream *upstream, int fd)
{
    while (upstream_request(upstream, fd)) {
        stage_await_go(upstream, 1);
        upstream_answer(upstream, fd, "503 Busy", JSON_TYPE, "{\"error\":{\"message\":\"busy\"}}");
    }
}

static void
an_orphan_s_error_is_kept(void **state)
{
    (void)state;
    struct stage *stage = stage_new(refuses_when_told, LONG_MS, MUCH);
    struct env *request = stage_request(CHAT);
    struct env *next = again(request, true);
    stage_ask(stage, A, request);
    STAGE_UNTIL(requests(stage) == 1);
    stage_lose(stage, A, true);
    stage_go(stage);
    STAGE_UNTIL(atomic_load(&stage->shared.failed) == 1);
    stage_ask(stage, B, next);
    STAGE_UNTIL(stage_ends(stage, B) == 1);
    assert_int_equal(stage->routers[B].end->outcome, ENV_OUTCOME_ERROR);
    assert_int_equal(stage->routers[B].end->error, ERR_UPSTREAM_ERROR);
    assert_addressed(stage, B, 1, 1);
    env_free(&request);
    env_free(&next);
    stage_free(stage);
}

/* Routers may be lost one after the other. */
static void
an_orphan_may_lose_its_next_router_too(void **state)
{
    (void)state;
    struct stage *stage = stage_new(answers_when_told, LONG_MS, MUCH);
    struct env *request = stage_request(CHAT);
    struct env *second = again(request, true);
    struct env *third = again(second, true);
    stage_ask(stage, A, request);
    STAGE_UNTIL(requests(stage) == 1);
    stage_step(stage, A, env_new(ENV_GOODBYE));
    stage_ask(stage, B, second);
    stage_step(stage, B, env_new(ENV_GOODBYE));
    stage_ask(stage, A, third);
    stage_go(stage);
    STAGE_UNTIL(stage_ends(stage, A) == 1);
    assert_addressed(stage, A, 1, 2);
    assert_int_equal(stage_ends(stage, B), 0);
    assert_int_equal(orphans_kept(stage), 2);
    assert_int_equal(atomic_load(&stage->orphans.attached), 2);
    assert_int_equal(requests(stage), 1);
    env_free(&request);
    env_free(&second);
    env_free(&third);
    stage_free(stage);
}

/* ---- something has left ---- */

static void
a_call_of_which_something_left_is_cancelled(bool told)
{
    struct stage *stage = stage_new(streams_when_told, LONG_MS, MUCH);
    struct env *request = stage_request(CHAT_STREAM);
    stage_ask(stage, A, request);
    stage_go(stage);
    STAGE_UNTIL(stage_chunks(stage, A) == 1);
    stage_lose(stage, A, told);
    if (!told) {
        stage_go(stage);
    }
    STAGE_UNTIL(atomic_load(&stage->shared.in_flight) == 0);
    assert_int_equal(orphans_kept(stage), 0);
    env_free(&request);
    stage_free(stage);
}

static void
a_begun_answer_dies_with_its_router(void **state)
{
    (void)state;
    a_call_of_which_something_left_is_cancelled(true);
    a_call_of_which_something_left_is_cancelled(false);
}

/* The owner's answer has not begun, ours has: it starts over, and what the first call cost is not lost. */
static void
a_begun_answer_begins_anew_for_the_next_router(void **state)
{
    (void)state;
    struct stage *stage = stage_new(streams_when_told, LONG_MS, MUCH);
    struct env *request = stage_request(CHAT_STREAM);
    struct env *next = again(request, true);
    stage_ask(stage, A, request);
    stage_go(stage);
    STAGE_UNTIL(stage_chunks(stage, A) == 1);
    stage_ask(stage, B, next);
    STAGE_UNTIL(requests(stage) == 2);
    stage_go(stage);
    STAGE_UNTIL(stage_ends(stage, B) == 1);
    assert_string_equal(dyn_buf_cstr(&stage->routers[B].body), DELTA("one") DELTA("two") FINISH DONE);
    assert_addressed(stage, B, 1, 1);
    assert_int_equal(stage->routers[B].end->upstream_calls, 2);
    assert_int_equal(stage_ends(stage, A), 0);
    assert_int_equal(stage_chunks(stage, A), 1);
    assert_int_equal(atomic_load(&stage->orphans.attached), 0);
    env_free(&request);
    env_free(&next);
    stage_free(stage);
}

/* ---- who may ask for it ---- */

static void
without_attach_it_begins_anew(void **state)
{
    (void)state;
    struct stage *stage = stage_new(answers_when_told, LONG_MS, MUCH);
    struct env *request = stage_request(CHAT);
    struct env *next = again(request, false);
    stage_ask(stage, A, request);
    STAGE_UNTIL(requests(stage) == 1);
    stage_lose(stage, A, true);
    stage_ask(stage, B, next);
    STAGE_UNTIL(requests(stage) == 2);
    stage_go(stage);
    STAGE_UNTIL(stage_ends(stage, B) == 1);
    assert_int_equal(stage->routers[B].end->upstream_calls, 2);
    assert_addressed(stage, B, 1, 1);
    env_free(&request);
    env_free(&next);
    stage_free(stage);
}

static void
what_is_not_there_is_an_ordinary_request(void **state)
{
    (void)state;
    struct stage *stage = stage_new(answers_when_told, LONG_MS, MUCH);
    struct env *request = stage_request(CHAT);
    struct env *next = again(request, true);
    stage_ask(stage, B, next);
    stage_go(stage);
    STAGE_UNTIL(stage_ends(stage, B) == 1);
    assert_int_equal(stage->routers[B].end->outcome, ENV_OUTCOME_OK);
    assert_addressed(stage, B, 1, 1);
    assert_int_equal(requests(stage), 1);
    env_free(&request);
    env_free(&next);
    stage_free(stage);
}

/* The same again from the same router is a repeat, an earlier one was overtaken: both change nothing. */
static void
repeats_are_ignored(void **state)
{
    (void)state;
    struct stage *stage = stage_new(answers_when_told, LONG_MS, MUCH);
    struct env *request = stage_request(CHAT);
    struct env *next = again(request, true);
    stage_ask(stage, A, next);
    STAGE_UNTIL(requests(stage) == 1);
    stage_ask(stage, A, next);
    stage_ask(stage, A, request);
    stage_ask(stage, B, request);
    stage_go(stage);
    STAGE_UNTIL(stage_ends(stage, A) == 1);
    stage_send(stage, A, ENV_CANCEL, next);
    assert_int_equal(requests(stage), 1);
    assert_int_equal(stage_ends(stage, A), 1);
    assert_int_equal(stage_ends(stage, B), 0);
    env_free(&request);
    env_free(&next);
    stage_free(stage);
}

/* A worker and a router died at once: the second router does not know how far the first had counted. */
static void
the_same_epoch_of_another_router_is_news(void **state)
{
    (void)state;
    struct stage *stage = stage_new(answers_when_told, LONG_MS, MUCH);
    struct env *request = stage_request(CHAT);
    stage_ask(stage, A, request);
    STAGE_UNTIL(requests(stage) == 1);
    stage_lose(stage, A, true);
    stage_ask(stage, B, request);
    STAGE_UNTIL(requests(stage) == 2);
    stage_go(stage);
    STAGE_UNTIL(stage_ends(stage, B) == 1);
    assert_int_equal(stage->routers[B].end->outcome, ENV_OUTCOME_OK);
    env_free(&request);
    stage_free(stage);
}

/* The owner turned to a router that knows less: the lost one was at another attempt already. */
static void
a_later_sending_counts_more_than_an_attempt(void **state)
{
    (void)state;
    struct stage *stage = stage_new(answers_when_told, LONG_MS, MUCH);
    struct env *request = stage_request(CHAT);
    struct env *next = again(request, true);
    next->epoch = 65536;
    request->attempt = 2;
    request->epoch = 3;
    stage_ask(stage, A, request);
    STAGE_UNTIL(requests(stage) == 1);
    stage_ask(stage, B, next);
    STAGE_UNTIL(requests(stage) == 2);
    stage_ask(stage, A, request); /* on its way for long */
    stage_go(stage);
    STAGE_UNTIL(stage_ends(stage, B) == 1);
    assert_int_equal(stage->routers[B].end->outcome, ENV_OUTCOME_OK);
    assert_int_equal(stage_ends(stage, A), 0);
    assert_int_equal(requests(stage), 2);
    env_free(&request);
    env_free(&next);
    stage_free(stage);
}

/* What is held was cut for larger grants than the next router gives: it would never fit. */
static void
a_smaller_window_begins_anew(void **state)
{
    (void)state;
    struct stage *stage = stage_new(streams_when_told, LONG_MS, MUCH);
    struct env *request = stage_request(CHAT_STREAM);
    struct env *next = again(request, true);
    next->credit = 64;
    stage_ask(stage, A, request);
    STAGE_UNTIL(requests(stage) == 1);
    stage_lose(stage, A, true);
    stage_go(stage);
    stage_go(stage);
    STAGE_UNTIL(atomic_load(&stage->shared.succeeded) == 1);
    stage_ask(stage, B, next);
    STAGE_UNTIL(requests(stage) == 2);
    for (unsigned i = 0; i < 10; i++) {
        stage_send(stage, B, ENV_CREDIT, next);
    }
    STAGE_UNTIL(stage_ends(stage, B) == 1);
    assert_string_equal(dyn_buf_cstr(&stage->routers[B].body), DELTA("one") DELTA("two") FINISH DONE);
    assert_addressed(stage, B, 1, 1);
    env_free(&request);
    env_free(&next);
    stage_free(stage);
}

/* ---- limits ---- */

static void
nobody_asked_in_time(void **state)
{
    (void)state;
    struct stage *stage = stage_new(never_answers, 20, MUCH);
    struct env *requests_[3];
    for (size_t i = 0; i < DYN_ARRAY_LEN(requests_); i++) {
        requests_[i] = stage_request(CHAT);
        stage_ask(stage, A, requests_[i]);
    }
    STAGE_UNTIL(requests(stage) == 3);
    stage_lose(stage, A, true);
    STAGE_UNTIL(atomic_load(&stage->orphans.dropped) == 3);
    STAGE_UNTIL(atomic_load(&stage->shared.in_flight) == 0);
    assert_int_equal(orphans_kept(stage), 3);
    assert_int_equal(atomic_load(&stage->shared.cancelled), 3);
    assert_int_equal(atomic_load(&stage->orphans.bytes), 0);
    for (size_t i = 0; i < DYN_ARRAY_LEN(requests_); i++) {
        env_free(&requests_[i]);
    }
    stage_free(stage);
}

/* The sum over all of them counts, in all cells: those that still fit stay. */
static void
orphans_hold_so_much_together(void **state)
{
    (void)state;
    struct stage *stage = stage_new(answers_when_told, LONG_MS, 5 * 1024);
    enum { N = 20 };
    struct env *asked[N];
    for (size_t i = 0; i < N; i++) {
        asked[i] = stage_request(CHAT);
        stage->provider = stage->cells[i % STAGE_CELLS];
        stage_ask(stage, A, asked[i]);
    }
    STAGE_UNTIL(requests(stage) == N);
    for (size_t i = 0; i < STAGE_CELLS; i++) {
        stage->provider = stage->cells[i];
        stage_step(stage, A, env_new(ENV_GOODBYE));
    }
    STAGE_UNTIL(orphans_kept(stage) == N);
    STAGE_UNTIL(atomic_load(&stage->orphans.dropped) > 0);
    STAGE_UNTIL(atomic_load(&stage->orphans.bytes) <= 5 * 1024);
    uint64_t left = N - atomic_load(&stage->orphans.dropped);
    assert_true(left > 0);
    STAGE_UNTIL(atomic_load(&stage->shared.in_flight) == left);
    for (size_t i = 0; i < N; i++) {
        struct env *next = again(asked[i], true);
        stage->provider = stage->cells[i % STAGE_CELLS];
        stage_ask(stage, B, next);
        env_free(&next);
        env_free(&asked[i]);
    }
    stage_go(stage);
    STAGE_UNTIL(stage_ends(stage, B) == N);
    assert_int_equal(atomic_load(&stage->orphans.attached), left);
    assert_int_equal(requests(stage), N + N - left);
    stage_free(stage);
}

/* An answer that grows beyond the limit while nobody is there. */
static void
an_orphan_that_grows_too_large_is_cancelled(void **state)
{
    (void)state;
    struct stage *stage = stage_new(streams_without_end, LONG_MS, 16 * 1024);
    struct env *request = stage_request(CHAT_STREAM);
    request->credit = 1024 * 1024;
    stage_ask(stage, A, request);
    STAGE_UNTIL(requests(stage) == 1);
    stage_lose(stage, A, true);
    stage_go(stage);
    STAGE_UNTIL(atomic_load(&stage->orphans.dropped) == 1);
    STAGE_UNTIL(atomic_load(&stage->shared.in_flight) == 0);
    env_free(&request);
    stage_free(stage);
}

/* In one process with the router nothing outlives it. */
static void
where_none_are_kept_all_are_cancelled(void **state)
{
    (void)state;
    struct stage *stage = stage_new(never_answers, 0, 0);
    struct env *request = stage_request(CHAT);
    stage_ask(stage, A, request);
    STAGE_UNTIL(requests(stage) == 1);
    stage_lose(stage, A, true);
    STAGE_UNTIL(atomic_load(&stage->shared.in_flight) == 0);
    assert_int_equal(atomic_load(&stage->shared.cancelled), 1);
    env_free(&request);
    stage_free(stage);
}

/* Nobody asks a worker that drains for them any more: it does not wait. */
static void
a_drain_ends_orphans(void **state)
{
    (void)state;
    struct stage *stage = stage_new(never_answers, LONG_MS, MUCH);
    struct env *request = stage_request(CHAT);
    stage_ask(stage, A, request);
    STAGE_UNTIL(requests(stage) == 1);
    stage_lose(stage, A, true);
    STAGE_UNTIL(orphans_kept(stage) == 1);
    env_free(&request);
    assert_int_equal(bus_stop(stage->bus, LONG_MS), 0);
    assert_int_equal(atomic_load(&stage->orphans.dropped), 1);
    assert_int_equal(atomic_load(&stage->shared.in_flight), 0);
    stage_free(stage);
}

/* ---- DISPATCHED ---- */

static void
who_wants_to_hear_is_told_that_the_request_went_out(void **state)
{
    (void)state;
    struct stage *stage = stage_new(answers_when_told, LONG_MS, MUCH);
    struct env *request = stage_request(CHAT);
    request->redeliver = DYN_SLICE("unsent");
    struct env *next = again(request, true);
    stage_ask(stage, A, request);
    STAGE_UNTIL(stage_count(stage, &stage->routers[A].n_dispatched) == 1);
    const struct env *first = DYN_CONTAINER_OF(stage->routers[A].seen.next, struct env, link);
    assert_int_equal(first->kind, ENV_DISPATCHED);
    assert_true(first->sent);
    assert_addressed(stage, A, 1, 0);
    stage_ask(stage, B, next); /* it has gone out already: the next router hears at once */
    STAGE_UNTIL(stage_count(stage, &stage->routers[B].n_dispatched) == 1);
    assert_int_equal(stage_ends(stage, B), 0);
    stage_go(stage);
    STAGE_UNTIL(stage_ends(stage, B) == 1);
    assert_int_equal(stage->routers[A].n_dispatched, 1);
    assert_int_equal(stage->routers[B].n_dispatched, 1);
    assert_addressed(stage, B, 1, 1);
    env_free(&request);
    env_free(&next);
    stage_free(stage);
}

static void
nobody_else_is_told(void **state)
{
    (void)state;
    static const struct dyn_slice policies[] = {DYN_SLICE_INIT("always"), DYN_SLICE_INIT("never"), {NULL, 0}};
    for (size_t i = 0; i < DYN_ARRAY_LEN(policies); i++) {
        struct stage *stage = stage_new(answers_when_told, LONG_MS, MUCH);
        struct env *request = stage_request(CHAT);
        request->redeliver = policies[i];
        stage_ask(stage, A, request);
        stage_go(stage);
        STAGE_UNTIL(stage_ends(stage, A) == 1);
        assert_int_equal(stage->routers[A].n_dispatched, 0);
        env_free(&request);
        stage_free(stage);
    }
}

/* No byte reached an upstream that is not there: it is not said. */
static void
nothing_is_told_without_a_connection(void **state)
{
    (void)state;
    struct stage *stage = stage_new(answers_when_told, LONG_MS, MUCH);
    struct env *request = stage_request(CHAT);
    request->redeliver = DYN_SLICE("unsent");
    (void)shutdown(stage->upstream->listener, SHUT_RDWR); /* nobody listens any more */
    stage_ask(stage, A, request);
    STAGE_UNTIL(stage_ends(stage, A) == 1);
    assert_int_equal(stage->routers[A].end->error, ERR_UPSTREAM_UNREACHABLE);
    assert_int_equal(stage->routers[A].end->upstream_calls, 0);
    assert_int_equal(stage->routers[A].n_dispatched, 0);
    env_free(&request);
    stage_free(stage);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_orphan_s_answer_goes_to_the_next_router),
        cmocka_unit_test(an_orphan_that_still_waits_is_taken_over),
        cmocka_unit_test(an_end_that_could_not_leave_is_kept),
        cmocka_unit_test(a_call_is_taken_over_from_a_router_that_seems_alive),
        cmocka_unit_test(an_orphan_holds_its_stream),
        cmocka_unit_test(a_chunk_that_could_not_leave_is_kept),
        cmocka_unit_test(an_orphan_holds_one_window),
        cmocka_unit_test(an_orphan_s_error_is_kept),
        cmocka_unit_test(an_orphan_may_lose_its_next_router_too),
        cmocka_unit_test(a_begun_answer_dies_with_its_router),
        cmocka_unit_test(a_begun_answer_begins_anew_for_the_next_router),
        cmocka_unit_test(without_attach_it_begins_anew),
        cmocka_unit_test(what_is_not_there_is_an_ordinary_request),
        cmocka_unit_test(repeats_are_ignored),
        cmocka_unit_test(the_same_epoch_of_another_router_is_news),
        cmocka_unit_test(a_later_sending_counts_more_than_an_attempt),
        cmocka_unit_test(a_smaller_window_begins_anew),
        cmocka_unit_test(nobody_asked_in_time),
        cmocka_unit_test(orphans_hold_so_much_together),
        cmocka_unit_test(an_orphan_that_grows_too_large_is_cancelled),
        cmocka_unit_test(where_none_are_kept_all_are_cancelled),
        cmocka_unit_test(a_drain_ends_orphans),
        cmocka_unit_test(who_wants_to_hear_is_told_that_the_request_went_out),
        cmocka_unit_test(nobody_else_is_told),
        cmocka_unit_test(nothing_is_told_without_a_connection),
    };
    int failed = cmocka_run_group_tests_name("local wire", tests, NULL, NULL);
    stage_inproc = true;
    return failed + cmocka_run_group_tests_name("inproc wire", tests, NULL, NULL);
}
