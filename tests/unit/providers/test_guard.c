/* Breaker, limiter and credentials around real calls: one target, its provider actors in two cells, and an
 * upstream that does what the request's body says. */
#include "tests/unit/providers/stage.h"

#include "core/clock.h"

/* ---- the upstream: {"say":"503"}, {"say":"hold"}, {"say":"cut"}, {"say":"keys"} ---- */

static const char *
status_line(const char *word)
{
    static const struct {
        const char *word;
        const char *line;
    } lines[] = {
        {"400", "400 Bad Request"},
        {"401", "401 Unauthorized"},
        {"404", "404 Not Found"},
        {"413", "413 Payload Too Large"},
        {"422", "422 Unprocessable Entity"},
        {"429", "429 Too Many Requests"},
        {"500", "500 Internal Error"},
        {"503", "503 Unavailable"},
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(lines); i++) {
        if (strcmp(lines[i].word, word) == 0) {
            return lines[i].line;
        }
    }
    return "200 OK";
}

static void
hold(struct upstream *upstream, int fd)
{
    stage_await_go(upstream, 1);
    upstream_answer(upstream, fd, "200 OK", JSON_TYPE, ANSWER);
}

static void
stream_until_go(struct upstream *upstream, int fd)
{
    upstream_say(upstream, fd, SSE_HEAD);
    upstream_chunk(upstream, fd, DELTA("a"));
    stage_await_go(upstream, 1);
    upstream_chunk(upstream, fd, FINISH DONE);
    upstream_chunk(upstream, fd, "");
}

/* Ends the connection in the middle of the answer. */
static void
cut_stream(struct upstream *upstream, int fd)
{
    upstream_say(upstream, fd, SSE_HEAD);
    upstream_chunk(upstream, fd, DELTA("a"));
    (void)shutdown(fd, SHUT_RDWR);
}

static bool
has(struct upstream *upstream, const char *text)
{
    pthread_mutex_lock(&upstream->lock);
    bool found = strstr(upstream->request, text) != NULL;
    pthread_mutex_unlock(&upstream->lock);
    return found;
}

/* The first key is no good, the second has come to its limit. */
static void
judge_key(struct upstream *upstream, int fd)
{
    if (has(upstream, "sk-bad-key")) {
        upstream_answer(upstream, fd, "401 Unauthorized", JSON_TYPE,
                        "{\"error\":{\"message\":\"sk-bad-key\"}}");
    } else if (has(upstream, "sk-limited-key")) {
        upstream_answer(upstream, fd, "429 Too Many Requests", JSON_TYPE "Retry-After: 7\r\n", "{}");
    } else {
        upstream_answer(upstream, fd, "200 OK", JSON_TYPE, ANSWER);
    }
}

static void
serve_what_is_said(struct upstream *upstream, int fd)
{
    static const char *const statuses[] = {"200", "400", "401", "404", "413", "422", "429", "500", "503"};
    while (upstream_request(upstream, fd)) {
        if (has(upstream, "\"hold\"")) {
            hold(upstream, fd);
        } else if (has(upstream, "\"flow\"")) {
            stream_until_go(upstream, fd);
        } else if (has(upstream, "\"cut\"")) {
            cut_stream(upstream, fd);
        } else if (has(upstream, "\"keys\"")) {
            judge_key(upstream, fd);
        }
        for (size_t i = 0; i < DYN_ARRAY_LEN(statuses); i++) {
            char word[16];
            (void)snprintf(word, sizeof word, "\"say\":\"%s\"", statuses[i]);
            if (has(upstream, word)) {
                upstream_answer(upstream, fd, status_line(statuses[i]), JSON_TYPE,
                                strcmp(statuses[i], "200") == 0 ? ANSWER
                                                                : "{\"error\":{\"message\":\"no\"}}");
            }
        }
    }
}

/* ---- the stage: time can be moved on ---- */

static atomic_uint_fast64_t skipped_us;
static atomic_uint_fast64_t tick_us; /* how far each look at the clock moves it on */

static uint64_t
mono_us(void *self)
{
    (void)self;
    uint64_t ahead_us = atomic_fetch_add(&skipped_us, atomic_load(&tick_us));
    return dyn_mono_us(&dyn_clock_system) + ahead_us;
}

static uint64_t
wall_us(void *self)
{
    (void)self;
    return dyn_wall_us(&dyn_clock_system) + atomic_load(&skipped_us);
}

static const struct dyn_clock clock_ahead = {.mono_us = mono_us, .wall_us = wall_us};

static void
note_turn(void *gate)
{
    gate_open(gate);
}

/* Both loops have begun a turn since: they know the new time. */
static void
skip_ms(struct stage *stage, uint64_t ms)
{
    (void)atomic_fetch_add(&skipped_us, ms * 1000);
    for (size_t i = 0; i < STAGE_CELLS; i++) {
        struct gate turned;
        gate_init(&turned, 1);
        bus_loop_post(stage->loops[i], note_turn, &turned);
        gate_wait(&turned);
    }
}

static struct provider_guard_config wanted;
static struct dyn_slice wanted_keys[3];
static size_t n_wanted_keys;

static void
prepare(struct stage *stage)
{
    stage->target.guard = wanted;
    stage->target.keys = wanted_keys;
    stage->target.n_keys = n_wanted_keys;
    stage->target.key = n_wanted_keys > 0 ? wanted_keys[0] : stage->target.key;
    for (size_t i = 0; i < STAGE_CELLS; i++) {
        bus_loop_set_clock(stage->loops[i], &clock_ahead);
    }
}

static struct stage *
stage_of(struct provider_guard_config config)
{
    wanted = config;
    n_wanted_keys = 0;
    stage_prepare = prepare;
    return stage_new(serve_what_is_said, 0, 0);
}

static struct stage *
stage_with_keys(const char *a, const char *b, const char *c)
{
    wanted = (struct provider_guard_config){0};
    wanted_keys[0] = dyn_slice_str(a);
    wanted_keys[1] = dyn_slice_str(b);
    wanted_keys[2] = dyn_slice_str(c);
    n_wanted_keys = c != NULL ? 3 : 2;
    stage_prepare = prepare;
    return stage_new(serve_what_is_said, 0, 0);
}

static const struct provider_guard_config breaking = {
    .breaker = {.failure_threshold = 2, .success_threshold = 1, .probes_max = 1, .open_us = 1000000}};

static struct env *
saying(const char *what)
{
    char body[160];
    bool is_stream = strcmp(what, "cut") == 0 || strcmp(what, "flow") == 0;
    (void)snprintf(
        body, sizeof body,
        "{\"model\":\"gpt\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"say\":\"%s\"%s}", what,
        is_stream ? ",\"stream\":true" : "");
    return stage_request(body);
}

/* In that cell, without waiting for the end. */
static struct env *
begin(struct stage *stage, size_t cell, size_t router, const char *what)
{
    struct env *request = saying(what);
    stage->provider = stage->cells[cell];
    stage_ask(stage, router, request);
    return request;
}

static enum err_code
await_end(struct stage *stage, size_t router, unsigned n_ends)
{
    STAGE_UNTIL(stage_ends(stage, router) >= n_ends);
    (void)pthread_mutex_lock(&stage->lock);
    enum err_code code = stage->routers[router].end->error;
    (void)pthread_mutex_unlock(&stage->lock);
    return code;
}

/* Its END, which stays with the stage. */
static const struct env *
call(struct stage *stage, size_t cell, const char *what)
{
    unsigned n = stage_ends(stage, 0);
    struct env *request = begin(stage, cell, 0, what);
    (void)await_end(stage, 0, n + 1);
    env_free(&request);
    return stage->routers[0].end;
}

static struct health_view
view_of(struct stage *stage)
{
    struct health_view view;
    health_view(provider_guard_board(stage->shared.guard), DYN_SLICE("gpt"), mono_us(NULL), &view);
    return view;
}

static unsigned
n_calls(const struct stage *stage)
{
    return atomic_load(&stage->upstream->n_requests);
}

/* ---- breaker ---- */

static void
two_cells_open_it_and_one_of_them_probes(void **state)
{
    (void)state;
    struct stage *stage = stage_of(breaking);
    assert_int_equal(call(stage, 0, "503")->error, ERR_UPSTREAM_ERROR);
    assert_int_equal(call(stage, 1, "500")->error, ERR_UPSTREAM_ERROR);
    assert_int_equal(view_of(stage).state, HEALTH_OPEN);
    for (size_t cell = 0; cell < STAGE_CELLS; cell++) {
        const struct env *refused = call(stage, cell, "200");
        assert_int_equal(refused->error, ERR_UPSTREAM_UNAVAILABLE);
        assert_int_equal(refused->status, 503);
        assert_int_equal(refused->upstream_calls, 0);
        assert_in_range(refused->retry_ms, 1, 1000);
    }
    assert_int_equal(n_calls(stage), 2);
    skip_ms(stage, 1000);
    struct env *probe = begin(stage, 0, 1, "hold");
    STAGE_UNTIL(n_calls(stage) == 3);
    assert_int_equal(call(stage, 1, "200")->error, ERR_UPSTREAM_UNAVAILABLE);
    stage->provider = stage->cells[0];
    stage_send(stage, 1, ENV_CANCEL, probe); /* the client has gone: nothing is known, the permit is free */
    (void)await_end(stage, 1, 1);
    assert_int_equal(call(stage, 1, "429")->error, ERR_UPSTREAM_RATE_LIMIT);
    assert_int_equal(view_of(stage).state, HEALTH_HALF_OPEN);
    assert_int_equal(call(stage, 1, "200")->error, ERR_NONE);
    assert_int_equal(view_of(stage).state, HEALTH_CLOSED);
    env_free(&probe);
    stage_free(stage);
}

static void
a_clients_mistakes_never_open_it(void **state)
{
    (void)state;
    static const char *const mistakes[] = {"400", "404", "413", "422", "401", "429"};
    struct stage *stage = stage_of(breaking);
    (void)call(stage, 0, "503");
    for (size_t i = 0; i < DYN_ARRAY_LEN(mistakes); i++) {
        assert_int_not_equal(call(stage, i % 2, mistakes[i])->error, ERR_UPSTREAM_UNAVAILABLE);
    }
    assert_int_equal(view_of(stage).state, HEALTH_CLOSED);
    assert_int_equal(call(stage, 0, "200")->error, ERR_NONE); /* and a success forgets what was */
    (void)call(stage, 1, "503");
    assert_int_equal(view_of(stage).state, HEALTH_CLOSED);
    stage_free(stage);
}

static void
a_stream_that_the_upstream_cuts_counts(void **state)
{
    (void)state;
    struct stage *stage = stage_of(breaking);
    assert_int_equal(call(stage, 0, "cut")->error, ERR_UPSTREAM_CUT);
    assert_int_equal(call(stage, 1, "cut")->error, ERR_UPSTREAM_CUT);
    assert_int_equal(view_of(stage).state, HEALTH_OPEN);
    stage_free(stage);
}

/* The router's time for the attempt is up and nothing came: that is the target's silence. A client that goes
 * says nothing, and neither does one whose deadline was too short. */
static void
a_silent_upstream_counts_when_the_router_gives_up(void **state)
{
    (void)state;
    struct stage *stage = stage_of(breaking);
    static const struct {
        uint64_t waits_ms;
        const char *reason;
        enum health_state then;
    } rounds[] = {{9000, "client", HEALTH_CLOSED},
                  {1000, "deadline", HEALTH_CLOSED},
                  {9000, "hedged", HEALTH_CLOSED},
                  {6000, "attempt", HEALTH_CLOSED},
                  {6000, "deadline", HEALTH_OPEN}};
    for (unsigned i = 0; i < DYN_ARRAY_LEN(rounds); i++) {
        struct env *request = begin(stage, i % 2, 0, "hold");
        STAGE_UNTIL(n_calls(stage) == i + 1);
        skip_ms(stage, rounds[i].waits_ms);
        struct env *cancel = env_about(ENV_CANCEL, request);
        cancel->reason = dyn_slice_str(rounds[i].reason);
        stage_step(stage, 0, cancel);
        (void)await_end(stage, 0, i + 1);
        assert_int_equal(view_of(stage).state, rounds[i].then);
        env_free(&request);
    }
    stage_free(stage);
}

/* ---- places ---- */

static void
a_freed_place_wakes_who_waits_in_the_other_cell(void **state)
{
    (void)state;
    struct stage *stage = stage_of((struct provider_guard_config){.limit = 1, .queue_max = 1});
    struct env *first = begin(stage, 0, 0, "hold");
    STAGE_UNTIL(n_calls(stage) == 1);
    struct env *second = begin(stage, 1, 1, "200");
    STAGE_UNTIL(view_of(stage).queued == 1);
    const struct env *third = call(stage, 0, "200");
    assert_int_equal(third->error, ERR_PROVIDER_SATURATED);
    assert_int_equal(third->status, 429);
    assert_int_equal(third->upstream_calls, 0);
    assert_int_equal(n_calls(stage), 1);
    assert_int_equal(view_of(stage).in_flight, 1);
    assert_int_equal(view_of(stage).limit, 1);
    stage_go(stage);
    assert_int_equal(await_end(stage, 1, 1), ERR_NONE);
    assert_int_equal(n_calls(stage), 2);
    STAGE_UNTIL(stage_ends(stage, 0) == 2);
    assert_int_equal(view_of(stage).queued, 0);
    env_free(&first);
    env_free(&second);
    stage_free(stage);
}

static void
who_waits_too_long_is_told_that_it_is_saturated(void **state)
{
    (void)state;
    struct stage *stage =
        stage_of((struct provider_guard_config){.limit = 1, .queue_max = 10, .queue_timeout_ms = 3000});
    struct env *first = begin(stage, 0, 0, "hold");
    STAGE_UNTIL(n_calls(stage) == 1);
    struct env *second = begin(stage, 1, 1, "200");
    STAGE_UNTIL(view_of(stage).queued == 1);
    skip_ms(stage, 2000);
    assert_int_equal(stage_ends(stage, 1), 0);
    skip_ms(stage, 1000);
    assert_int_equal(await_end(stage, 1, 1), ERR_PROVIDER_SATURATED);
    assert_int_equal(view_of(stage).queued, 0);
    stage_go(stage);
    assert_int_equal(await_end(stage, 0, 1), ERR_NONE);
    assert_int_equal(n_calls(stage), 1);
    env_free(&first);
    env_free(&second);
    stage_free(stage);
}

static void
who_is_cancelled_while_waiting_leaves_the_queue(void **state)
{
    (void)state;
    struct stage *stage = stage_of((struct provider_guard_config){.limit = 1, .queue_max = 10});
    struct env *first = begin(stage, 0, 0, "hold");
    STAGE_UNTIL(n_calls(stage) == 1);
    struct env *second = begin(stage, 1, 1, "200");
    STAGE_UNTIL(view_of(stage).queued == 1);
    stage_send(stage, 1, ENV_CANCEL, second);
    (void)await_end(stage, 1, 1);
    assert_int_equal(stage->routers[1].end->outcome, ENV_OUTCOME_CANCELLED);
    assert_int_equal(stage->routers[1].end->upstream_calls, 0);
    assert_int_equal(view_of(stage).queued, 0);
    stage_go(stage);
    (void)await_end(stage, 0, 1);
    assert_int_equal(n_calls(stage), 1);
    env_free(&first);
    env_free(&second);
    stage_free(stage);
}

static void
a_stream_keeps_its_place_to_its_end(void **state)
{
    (void)state;
    struct stage *stage = stage_of((struct provider_guard_config){.limit = 1, .queue_max = 1});
    struct env *first = begin(stage, 0, 0, "flow");
    STAGE_UNTIL(stage_chunks(stage, 0) > 0);
    struct env *second = begin(stage, 1, 1, "200");
    STAGE_UNTIL(view_of(stage).queued == 1);
    assert_int_equal(n_calls(stage), 1);
    stage_go(stage);
    assert_int_equal(await_end(stage, 1, 1), ERR_NONE);
    assert_int_equal(await_end(stage, 0, 1), ERR_NONE);
    assert_true(view_of(stage).ttft_us > 0);
    assert_int_equal(view_of(stage).samples, 2);
    env_free(&first);
    env_free(&second);
    stage_free(stage);
}

/* What failed while they waited keeps them from being sent. */
static void
who_waited_for_a_target_that_failed_is_not_sent(void **state)
{
    (void)state;
    struct provider_guard_config config = breaking;
    config.breaker.failure_threshold = 1;
    config.limit = 1;
    config.queue_max = 10;
    struct stage *stage = stage_of(config);
    struct env *first = begin(stage, 0, 0, "hold");
    STAGE_UNTIL(n_calls(stage) == 1);
    struct env *second = begin(stage, 1, 1, "200");
    STAGE_UNTIL(view_of(stage).queued == 1);
    skip_ms(stage, 6000);
    struct env *cancel = env_about(ENV_CANCEL, first);
    cancel->reason = DYN_SLICE("attempt");
    stage->provider = stage->cells[0];
    stage_step(stage, 0, cancel);
    assert_int_equal(await_end(stage, 1, 1), ERR_UPSTREAM_UNAVAILABLE);
    assert_true(stage->routers[1].end->retry_ms > 0);
    assert_int_equal(n_calls(stage), 1);
    env_free(&first);
    env_free(&second);
    stage_free(stage);
}

struct two_steps {
    struct stage *stage;
    struct env *first, *second;
    struct gate done;
};

static void
do_two_steps(void *steps_)
{
    struct two_steps *steps = steps_;
    const struct stage *stage = steps->stage;
    CHECK(bus_send_as(stage->port, stage->routers[1].addr, stage->provider, &steps->first, NULL) == 0);
    CHECK(bus_send_as(stage->port, stage->routers[0].addr, stage->provider, &steps->second, NULL) == 0);
    gate_open(&steps->done);
}

/* A request that comes and gets its place in one turn has come, by the clock, after that turn began. */
static void
who_waited_for_less_than_a_turn_keeps_his_time(void **state)
{
    (void)state;
    struct stage *stage = stage_of((struct provider_guard_config){.limit = 1, .queue_max = 1});
    struct env *first = begin(stage, 0, 0, "hold");
    STAGE_UNTIL(n_calls(stage) == 1);
    struct env *second = saying("hold");
    second->deadline_ms = 30000;
    atomic_store(&tick_us, 10);
    struct two_steps steps = {
        .stage = stage, .first = env_clone_request(second), .second = env_about(ENV_CANCEL, first)};
    gate_init(&steps.done, 1);
    bus_loop_post(stage->loop, do_two_steps, &steps);
    gate_wait(&steps.done);
    STAGE_UNTIL(n_calls(stage) == 2);
    skip_ms(stage, 1000);
    skip_ms(stage, 1000);
    assert_int_equal(stage_ends(stage, 1), 0);
    stage_go(stage);
    assert_int_equal(await_end(stage, 1, 1), ERR_NONE);
    atomic_store(&tick_us, 0);
    env_free(&first);
    env_free(&second);
    stage_free(stage);
}

/* First in a queue, with a deadline of its own. */
static struct env *
begin_with_deadline(struct stage *stage, size_t cell, size_t router, uint32_t deadline_ms)
{
    struct env *request = saying("200");
    request->deadline_ms = deadline_ms;
    stage->provider = stage->cells[cell];
    stage_ask(stage, router, request);
    STAGE_UNTIL(view_of(stage).queued == 1);
    return request;
}

/* Its router has given up, or is about to: an upstream call would be for nobody. */
static void
who_has_no_time_left_is_not_sent(void **state)
{
    (void)state;
    struct stage *stage = stage_of((struct provider_guard_config){.limit = 1, .queue_max = 1});
    struct env *first = begin(stage, 0, 0, "hold");
    STAGE_UNTIL(n_calls(stage) == 1);
    struct env *second = begin_with_deadline(stage, 1, 1, 1000);
    skip_ms(stage, 1000);
    stage_go(stage);
    assert_int_equal(await_end(stage, 0, 1), ERR_NONE);
    assert_int_equal(await_end(stage, 1, 1), ERR_GATEWAY_TIMEOUT);
    assert_int_equal(stage->routers[1].end->upstream_calls, 0);
    assert_int_equal(n_calls(stage), 1);
    assert_int_equal(view_of(stage).in_flight, 0);
    env_free(&first);
    env_free(&second);
    stage_free(stage);
}

/* The router that takes over a call that waits says how much time there is. */
static void
who_waits_and_is_taken_over_has_the_new_deadline(void **state)
{
    (void)state;
    struct stage *stage = stage_of((struct provider_guard_config){.limit = 1, .queue_max = 1});
    struct env *first = begin(stage, 0, 0, "hold");
    STAGE_UNTIL(n_calls(stage) == 1);
    struct env *second = begin_with_deadline(stage, 1, 1, 1000);
    struct env *next = env_clone_request(second);
    next->epoch = 1;
    next->attach = true;
    next->deadline_ms = 60000;
    skip_ms(stage, 900);
    stage_ask(stage, 0, next);
    skip_ms(stage, 5000);
    assert_int_equal(view_of(stage).queued, 1);
    stage_go(stage);
    assert_int_equal(await_end(stage, 0, 2), ERR_NONE);
    assert_int_equal(n_calls(stage), 2);
    assert_int_equal(stage_ends(stage, 1), 0);
    env_free(&first);
    env_free(&second);
    env_free(&next);
    stage_free(stage);
}

/* What came and what will be sent are two bodies, where the upstream calls the model by another name. */
static void
who_waits_without_a_router_is_counted_whole(void **state)
{
    (void)state;
    enum { LONG_MS = 60000, BODY = 100 * 1024 };
    static char body[BODY + 1];
    wanted = (struct provider_guard_config){.limit = 1, .queue_max = 1};
    n_wanted_keys = 0;
    stage_prepare = prepare;
    struct stage *stage = stage_new(serve_what_is_said, LONG_MS, 64u * 1024 * 1024);
    struct env *first = begin(stage, 0, 0, "hold");
    STAGE_UNTIL(n_calls(stage) == 1);
    memset(body, ' ', BODY);
    struct env *like = saying("200");
    memcpy(body, dyn_block_slice(like->body).data, dyn_block_slice(like->body).len);
    struct env *second = stage_request(body);
    second->upstream_model = DYN_SLICE("another");
    stage_ask(stage, 1, second);
    STAGE_UNTIL(view_of(stage).queued == 1);
    stage_lose(stage, 1, true);
    STAGE_UNTIL(atomic_load(&stage->orphans.kept) == 1);
    STAGE_UNTIL(atomic_load(&stage->orphans.bytes) > 0);
    assert_true(atomic_load(&stage->orphans.bytes) >= 2 * BODY);
    stage_go(stage);
    assert_int_equal(await_end(stage, 0, 1), ERR_NONE);
    STAGE_UNTIL(n_calls(stage) == 2);
    env_free(&first);
    env_free(&second);
    env_free(&like);
    stage_free(stage);
}

/* Two cells, few places, many calls: all are answered. */
static void
many_calls_share_few_places(void **state)
{
    (void)state;
    enum { CALLS = 200 };
    struct stage *stage = stage_of((struct provider_guard_config){.limit = 2, .queue_max = CALLS});
    for (unsigned i = 0; i < CALLS; i++) {
        struct env *request = begin(stage, i % 2, 0, "200");
        env_free(&request);
    }
    STAGE_UNTIL(stage_ends(stage, 0) == CALLS);
    assert_int_equal(n_calls(stage), CALLS);
    assert_int_equal(view_of(stage).in_flight, 0);
    assert_int_equal(view_of(stage).queued, 0);
    stage_free(stage);
}

/* ---- credentials ---- */

static void
a_bad_key_is_set_aside_and_the_other_one_serves(void **state)
{
    (void)state;
    struct stage *stage = stage_with_keys("sk-bad-key", "sk-good-key", NULL);
    unsigned n_auth = 0;
    for (unsigned i = 0; i < 6; i++) {
        const struct env *end = call(stage, i % 2, "keys");
        n_auth += end->error == ERR_UPSTREAM_AUTH;
        if (end->error == ERR_UPSTREAM_AUTH) {
            assert_int_equal(end->creds, 1); /* worth another try at once */
            assert_null(memmem(end->error_text.data != NULL ? end->error_text.data : "", end->error_text.len,
                               "sk-bad-key", 10));
        }
    }
    assert_int_equal(n_auth, 1);
    assert_int_equal(view_of(stage).creds, 2);
    assert_int_equal(view_of(stage).creds_aside, 1);
    stage_free(stage);
}

static void
with_all_keys_aside_nobody_is_called(void **state)
{
    (void)state;
    struct stage *stage = stage_with_keys("sk-bad-key", "sk-limited-key", NULL);
    (void)call(stage, 0, "keys");
    (void)call(stage, 1, "keys");
    assert_int_equal(n_calls(stage), 2);
    const struct env *end = call(stage, 0, "keys");
    assert_int_equal(end->error, ERR_UPSTREAM_RATE_LIMIT);
    assert_int_equal(end->upstream_calls, 0);
    assert_int_equal(end->creds, 0);
    assert_in_range(end->retry_ms, 5000, 7000);
    assert_int_equal(n_calls(stage), 2);
    skip_ms(stage, 7000);
    assert_int_equal(call(stage, 1, "keys")->error, ERR_UPSTREAM_RATE_LIMIT); /* asked again, limited again */
    assert_int_equal(n_calls(stage), 3);
    stage_free(stage);
}

static void
keys_take_turns_over_both_cells(void **state)
{
    (void)state;
    struct stage *stage = stage_with_keys("sk-key-one", "sk-key-two", "sk-key-three");
    static const char *const headers[] = {"Bearer sk-key-one\r\n", "Bearer sk-key-two\r\n",
                                          "Bearer sk-key-three\r\n"};
    unsigned counts[3] = {0};
    for (unsigned i = 0; i < 12; i++) {
        assert_int_equal(call(stage, i % 2, "200")->error, ERR_NONE);
        for (size_t k = 0; k < 3; k++) {
            counts[k] += has(stage->upstream, headers[k]) ? 1 : 0;
        }
    }
    assert_int_equal(counts[0], 4);
    assert_int_equal(counts[1], 4);
    assert_int_equal(counts[2], 4);
    stage_free(stage);
}

/* ---- who hears of it ---- */

static unsigned
seen(struct stage *stage, size_t router, enum env_kind kind)
{
    unsigned n = 0;
    (void)pthread_mutex_lock(&stage->lock);
    struct dyn_list *head = &stage->routers[router].seen;
    for (struct dyn_list *link = head->next; link != head; link = link->next) {
        const struct env *env = DYN_CONTAINER_OF(link, struct env, link);
        n += env->kind == kind;
        if (env->kind == ENV_EVENT) {
            assert_true(dyn_slice_is(env->topic, HEALTH_EVENT));
        }
    }
    (void)pthread_mutex_unlock(&stage->lock);
    return n;
}

static void
a_change_is_told_to_those_who_listen(void **state)
{
    (void)state;
    struct stage *stage = stage_of(breaking);
    provider_guard_listen(stage->shared.guard, stage->routers[1].addr);
    atomic_store(&stage->shared.events, stage->routers[1].addr);
    (void)call(stage, 0, "503");
    assert_int_equal(seen(stage, 1, ENV_HEARTBEAT), 0);
    (void)call(stage, 1, "503");
    STAGE_UNTIL(seen(stage, 1, ENV_HEARTBEAT) == 1);
    STAGE_UNTIL(seen(stage, 1, ENV_EVENT) == 1);
    (void)call(stage, 1, "200"); /* refused: nothing new */
    assert_int_equal(seen(stage, 1, ENV_HEARTBEAT), 1);
    skip_ms(stage, 1000);
    (void)call(stage, 0, "200");
    STAGE_UNTIL(seen(stage, 1, ENV_EVENT) >= 2);
    assert_int_equal(view_of(stage).state, HEALTH_CLOSED);
    stage_free(stage);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_cells_open_it_and_one_of_them_probes),
        cmocka_unit_test(a_clients_mistakes_never_open_it),
        cmocka_unit_test(a_stream_that_the_upstream_cuts_counts),
        cmocka_unit_test(a_silent_upstream_counts_when_the_router_gives_up),
        cmocka_unit_test(a_freed_place_wakes_who_waits_in_the_other_cell),
        cmocka_unit_test(who_waits_too_long_is_told_that_it_is_saturated),
        cmocka_unit_test(who_is_cancelled_while_waiting_leaves_the_queue),
        cmocka_unit_test(a_stream_keeps_its_place_to_its_end),
        cmocka_unit_test(who_waited_for_a_target_that_failed_is_not_sent),
        cmocka_unit_test(who_waited_for_less_than_a_turn_keeps_his_time),
        cmocka_unit_test(who_has_no_time_left_is_not_sent),
        cmocka_unit_test(who_waits_and_is_taken_over_has_the_new_deadline),
        cmocka_unit_test(who_waits_without_a_router_is_counted_whole),
        cmocka_unit_test(many_calls_share_few_places),
        cmocka_unit_test(a_bad_key_is_set_aside_and_the_other_one_serves),
        cmocka_unit_test(with_all_keys_aside_nobody_is_called),
        cmocka_unit_test(keys_take_turns_over_both_cells),
        cmocka_unit_test(a_change_is_told_to_those_who_listen),
    };
    int failed = cmocka_run_group_tests_name("local wire", tests, NULL, NULL);
    stage_inproc = true;
    return failed + cmocka_run_group_tests_name("inproc wire", tests, NULL, NULL);
}
