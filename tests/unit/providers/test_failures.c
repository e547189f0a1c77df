/* Each way in which an upstream can fail, and the one END that comes of it. */
#include "core/rand.h"
#include "proto/sse.h"
#include "tests/unit/providers/scene.h"

#define PLAIN_HEAD(length) "HTTP/1.1 200 OK\r\n" JSON_TYPE "Content-Length: " length "\r\n\r\n"
#define ERROR_EVENT        "data: {\"error\":{\"message\":\"overloaded\",\"type\":\"server_error\"}}\n\n"

/* What the upstream of a case does: says this to the first request, then closes, resets or waits. */
enum then { CLOSES, RESETS, WAITS };

struct failure {
    const char *name;
    const char *request; /* CHAT or CHAT_STREAM */
    const char *says;
    enum then then;
    enum err_code error;
    const char *delivered; /* bytes that came before END; NULL: none */
};

static const struct failure *current;

static void
plays_current(struct upstream *upstream, int fd)
{
    if (!upstream_request(upstream, fd)) {
        return;
    }
    upstream_say(upstream, fd, current->says);
    if (current->then == RESETS) {
        upstream_reset(fd);
    } else if (current->then == WAITS) {
        upstream_wait_for_close(fd);
    }
}

static const struct failure failures[] = {
    {"closes without a word", CHAT, "", CLOSES, ERR_UPSTREAM_CUT, NULL},
    {"resets without a word", CHAT, "", RESETS, ERR_UPSTREAM_CUT, NULL},
    {"closes in the status line", CHAT, "HTTP/1.1 20", CLOSES, ERR_UPSTREAM_CUT, NULL},
    {"closes in the head", CHAT, "HTTP/1.1 200 OK\r\nContent-Le", CLOSES, ERR_UPSTREAM_CUT, NULL},
    {"speaks something else", CHAT, "SSH-2.0-OpenSSH_9.2\r\n", CLOSES, ERR_UPSTREAM_GARBAGE, NULL},
    {"has a bad status line", CHAT, "HTTP/1.1 abc\r\n\r\n", CLOSES, ERR_UPSTREAM_GARBAGE, NULL},
    {"sends bytes", CHAT, "\x01\x02\x03\x04\r\n\r\n", CLOSES, ERR_UPSTREAM_GARBAGE, NULL},
    {"cuts a body of known length", CHAT, PLAIN_HEAD("100") "{\"choices\":[", CLOSES, ERR_UPSTREAM_CUT, NULL},
    {"resets in a body", CHAT, PLAIN_HEAD("100") "{\"choices\":[", RESETS, ERR_UPSTREAM_CUT, NULL},
    {"cuts a chunked body", CHAT,
     "HTTP/1.1 200 OK\r\n" JSON_TYPE "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"cho\r\n", CLOSES,
     ERR_UPSTREAM_CUT, NULL},
    {"has a bad chunk size", CHAT,
     "HTTP/1.1 200 OK\r\n" JSON_TYPE "Transfer-Encoding: chunked\r\n\r\nzz\r\n{\"cho\r\n", WAITS,
     ERR_UPSTREAM_CUT, NULL},
    {"cuts a body that ends with the connection", CHAT, "HTTP/1.1 200 OK\r\n" JSON_TYPE "\r\n{\"choices\":[",
     CLOSES, ERR_UPSTREAM_CUT, NULL},
    {"answers with HTML", CHAT,
     "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n<html></html>", CLOSES,
     ERR_UPSTREAM_GARBAGE, NULL},
    {"answers with nothing", CHAT, PLAIN_HEAD("0"), CLOSES, ERR_UPSTREAM_GARBAGE, NULL},
    {"answers 204", CHAT, "HTTP/1.1 204 No Content\r\n\r\n", CLOSES, ERR_UPSTREAM_GARBAGE, NULL},
    {"answers with JSON that is no answer", CHAT, PLAIN_HEAD("10") "{\"a\":12345", CLOSES,
     ERR_UPSTREAM_GARBAGE, NULL},
    {"answers 200 with an error", CHAT,
     PLAIN_HEAD("44") "{\"error\":{\"message\":\"slow down\",\"code\":429}}", CLOSES, ERR_UPSTREAM_RATE_LIMIT,
     NULL},
    {"compresses", CHAT, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", CLOSES,
     ERR_UPSTREAM_GARBAGE, NULL},
    {"streams unasked", CHAT, SSE_HEAD "e\r\n" DONE "\r\n0\r\n\r\n", CLOSES, ERR_UPSTREAM_GARBAGE, NULL},
    {"never answers", CHAT, "", WAITS, ERR_UPSTREAM_TIMEOUT, NULL},
    {"stops in the head", CHAT, "HTTP/1.1 200 OK\r\nX: ", WAITS, ERR_UPSTREAM_TIMEOUT, NULL},
    {"stops in a body", CHAT, PLAIN_HEAD("100") "{", WAITS, ERR_UPSTREAM_TIMEOUT, NULL},

    {"ends a stream at once", CHAT_STREAM, SSE_HEAD "0\r\n\r\n", CLOSES, ERR_UPSTREAM_CUT, NULL},
    {"ends a stream politely without its marker", CHAT_STREAM,
     "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" DELTA("one") FINISH, CLOSES,
     ERR_UPSTREAM_CUT, DELTA("one") FINISH},
    {"cuts between events", CHAT_STREAM,
     "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9999\r\n\r\n" DELTA("one"),
     CLOSES, ERR_UPSTREAM_CUT, DELTA("one")},
    {"cuts in the middle of an event", CHAT_STREAM,
     "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" DELTA("one") "data: {\"cho", CLOSES,
     ERR_UPSTREAM_CUT, DELTA("one")},
    {"resets a stream", CHAT_STREAM, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: x\n\n",
     RESETS, ERR_UPSTREAM_CUT, NULL},
    {"begins with an error", CHAT_STREAM,
     "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: hello\n\n" ERROR_EVENT DONE, CLOSES,
     ERR_UPSTREAM_ERROR, NULL},
    {"has an error behind the role", CHAT_STREAM,
     "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
     "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n"
     "data: {\"error\":{\"message\":\"m\",\"code\":429}}\n\n",
     CLOSES, ERR_UPSTREAM_RATE_LIMIT, NULL},
    {"has an error in the middle", CHAT_STREAM,
     "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" DELTA("one") ERROR_EVENT DONE, CLOSES,
     ERR_UPSTREAM_ERROR, DELTA("one")},
    {"sends an event that is no JSON", CHAT_STREAM,
     "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" DELTA("one") "data: {oops\n\n", CLOSES,
     ERR_UPSTREAM_GARBAGE, DELTA("one")},
    {"stops in a stream", CHAT_STREAM,
     "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" DELTA("one"), WAITS, ERR_STREAM_IDLE,
     DELTA("one")},
    {"stops before the first event", CHAT_STREAM,
     "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", WAITS, ERR_STREAM_IDLE, NULL},
};

static struct scene *
play_failure(const struct failure *failure)
{
    current = failure;
    struct scene *scene = scene_new(plays_current);
    if (failure->then == WAITS) { /* only the time that shall pass is short: the machine may be busy */
        bool is_silent = failure->says[0] == '\0';
        scene->target.first_byte_ms = is_silent ? 40 : 20000;
        scene->target.idle_ms = is_silent ? 20000 : 40;
    }
    (void)scene_request(scene, failure->request);
    scene_play(scene);
    return scene;
}

static void
each_failure_is_one_end(void **state)
{
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(failures); i++) {
        const struct failure *failure = &failures[i];
        struct scene *scene = play_failure(failure);
        const struct env *end = scene->end;
        const char *delivered = failure->delivered != NULL ? failure->delivered : "";
        if (end->error != failure->error || strcmp(dyn_buf_cstr(&scene->body), delivered) != 0) {
            fail_msg("%s: %s, '%s'", failure->name, err_row(end->error)->name, dyn_buf_cstr(&scene->body));
        }
        assert_int_equal(end->outcome, ENV_OUTCOME_ERROR);
        assert_int_equal(end->status, failure->delivered != NULL ? 0 : err_row(failure->error)->http);
        assert_int_equal(scene->n_ends, 1);
        assert_true(failure->delivered != NULL || scene->n_chunks == 0);
        assert_null(end->error_text.data);
        assert_int_equal(end->upstream_calls, 1);
        assert_int_equal(atomic_load(&scene->upstream->n_requests), 1);
        assert_int_equal(atomic_load(&scene->shared.failed), 1);
        assert_int_equal(scene->calls_left, 0);
        scene_free(scene);
    }
}

/* What a stream that broke off has cost is estimated, and said to be. */
static void
a_broken_stream_is_estimated(void **state)
{
    (void)state;
    static const struct failure cut = {
        "",
        CHAT_STREAM,
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" DELTA("a") DELTA("b"),
        CLOSES,
        ERR_UPSTREAM_CUT,
        NULL};
    struct scene *scene = play_failure(&cut);
    assert_true(scene->end->usage.known && scene->end->usage.estimated);
    assert_int_equal(scene->end->usage.completion_tokens, 2);
    assert_true(scene->end->usage.prompt_tokens > 0);
    scene_free(scene);
}

/* ---- no connection ---- */

static void
nobody_listens(void **state)
{
    (void)state;
    struct upstream *gone = upstream_new(plays_current, NULL);
    struct scene *scene = scene_new(NULL);
    (void)snprintf(scene->root, sizeof scene->root, "http://127.0.0.1:%u/v1", gone->port);
    scene->target.root = dyn_slice_str(scene->root);
    upstream_free(gone);
    (void)scene_request(scene, CHAT);
    scene_play(scene);
    assert_int_equal(scene->end->error, ERR_UPSTREAM_UNREACHABLE);
    assert_int_equal(scene->end->upstream_calls, 0);
    assert_int_equal(scene->calls_left, 0);
    scene_free(scene);
}

static void
says_nothing(struct upstream *upstream, int fd)
{
    (void)upstream;
    upstream_wait_for_close(fd);
}

/* A TLS handshake that is never answered is a connection that was not made in time. */
static void
connecting_takes_too_long(void **state)
{
    (void)state;
    struct scene *scene = scene_new(says_nothing);
    (void)snprintf(scene->root, sizeof scene->root, "https://127.0.0.1:%u/v1", scene->upstream->port);
    scene->target.root = dyn_slice_str(scene->root);
    scene->target.connect_ms = 40;
    (void)scene_request(scene, CHAT);
    scene_play(scene);
    assert_int_equal(scene->end->error, ERR_UPSTREAM_TIMEOUT);
    assert_int_equal(scene->end->upstream_calls, 0);
    assert_int_equal(scene->calls_left, 0);
    scene_free(scene);
}

static void
the_deadline_ends_a_call(void **state)
{
    (void)state;
    struct scene *scene = scene_new(says_nothing);
    scene_request(scene, CHAT)->deadline_ms = 40;
    scene_play(scene);
    assert_int_equal(scene->end->error, ERR_GATEWAY_TIMEOUT);
    assert_int_equal(scene->calls_left, 0);
    scene_free(scene);
}

static void
streams_slowly(struct upstream *upstream, int fd)
{
    if (upstream_request(upstream, fd)) {
        upstream_say(upstream, fd, SSE_HEAD);
        upstream_chunk(upstream, fd, DELTA("one"));
        (void)usleep(600 * 1000);
        upstream_chunk(upstream, fd, DONE);
        upstream_chunk(upstream, fd, "");
    }
}

/* The deadline bounds a stream to its first content only. */
static void
a_stream_may_outlive_the_deadline(void **state)
{
    (void)state;
    struct scene *scene = scene_new(streams_slowly);
    scene_request(scene, CHAT_STREAM)->deadline_ms = 500;
    scene_play(scene);
    assert_int_equal(scene->end->outcome, ENV_OUTCOME_OK);
    assert_string_equal(dyn_buf_cstr(&scene->body), DELTA("one") DONE);
    scene_free(scene);
}

/* ---- error statuses ---- */

static void
refuses(struct upstream *upstream, int fd)
{
    const char *const *answer = ((struct scene *)upstream->user)->user; /* status, headers, body */
    while (upstream_request(upstream, fd)) {
        upstream_answer(upstream, fd, answer[0], answer[1], answer[2]);
    }
}

static struct scene *
play_refusal(const char *status, const char *headers, const char *body)
{
    const char *answer[] = {status, headers, body};
    struct scene *scene = scene_new(refuses);
    scene->user = answer;
    (void)scene_request(scene, CHAT);
    scene_play(scene);
    assert_int_equal(scene->end->outcome, ENV_OUTCOME_ERROR);
    assert_int_equal(scene->n_chunks, 0);
    assert_int_equal(scene->body.len, 0);
    return scene;
}

/* 400 and 422 speak of the caller's request: their text passes, without the key. */
static void
a_bad_request_says_why(void **state)
{
    (void)state;
    struct scene *scene =
        play_refusal("400 Bad Request", JSON_TYPE,
                     "{\"error\":{\"message\":\"no such field; key sk-secret-of-the-target\","
                     "\"param\":\"messages\",\"code\":\"bad_field\"}}");
    assert_int_equal(scene->end->error, ERR_UPSTREAM_INVALID);
    assert_int_equal(scene->end->status, 400);
    assert_true(dyn_slice_is(scene->end->error_text, "no such field; key [redacted]"));
    assert_true(dyn_slice_is(scene->end->error_param, "messages"));
    assert_true(dyn_slice_is(scene->end->upstream_code, "bad_field"));
    scene_free(scene);
    scene = play_refusal("422 Unprocessable", JSON_TYPE, "{\"detail\":[{\"msg\":\"too long\"}]}");
    assert_int_equal(scene->end->error, ERR_UPSTREAM_UNPROCESSABLE);
    assert_true(dyn_slice_is(scene->end->error_text, "too long"));
    scene_free(scene);
}

static void
other_statuses_keep_their_text(void **state)
{
    (void)state;
    static const struct {
        const char *status;
        enum err_code error;
    } cases[] = {{"401 Unauthorized", ERR_UPSTREAM_AUTH},       {"404 Not Found", ERR_UPSTREAM_NOT_FOUND},
                 {"500 Internal", ERR_UPSTREAM_ERROR},          {"503 Unavailable", ERR_UPSTREAM_ERROR},
                 {"504 Gateway Timeout", ERR_UPSTREAM_TIMEOUT}, {"413 Too Large", ERR_UPSTREAM_TOO_LARGE}};
    for (size_t i = 0; i < DYN_ARRAY_LEN(cases); i++) {
        struct scene *scene =
            play_refusal(cases[i].status, JSON_TYPE, "{\"error\":{\"message\":\"internal host db-7\"}}");
        assert_int_equal(scene->end->error, cases[i].error);
        assert_null(scene->end->error_text.data);
        scene_free(scene);
    }
}

static void
a_rate_limit_says_when_to_come_back(void **state)
{
    (void)state;
    struct scene *scene =
        play_refusal("429 Too Many Requests", "Retry-After: 7\r\nX-RateLimit-Limit-Requests: 60\r\n", "{}");
    assert_int_equal(scene->end->error, ERR_UPSTREAM_RATE_LIMIT);
    assert_int_equal(scene->end->retry_after_s, 7);
    assert_string_equal(scene_header(scene->end, "x-ratelimit-limit-requests"), "60");
    assert_string_equal(scene_header(scene->end, "retry-after"), "7");
    scene_free(scene);
    scene = play_refusal("429 Too Many Requests", "retry-after-ms: 1500\r\n", "{}");
    assert_int_equal(scene->end->retry_after_s, 2);
    assert_int_equal(scene->end->retry_ms, 1500);
    assert_int_equal(scene->end->upstream_status, 429);
    scene_free(scene);
    scene = play_refusal("429 Too Many Requests",
                         "x-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: 1m2s\r\n"
                         "x-ratelimit-remaining-tokens: 90\r\nx-ratelimit-reset-tokens: 2h\r\n",
                         "{}");
    assert_int_equal(scene->end->retry_ms, 62000);
    assert_int_equal(scene->end->retry_after_s, 62);
    scene_free(scene);
}

/* The credential would go to wherever the redirect points. */
static void
redirects_are_not_followed(void **state)
{
    (void)state;
    struct scene *scene = play_refusal("307 Temporary Redirect", "Location: /elsewhere\r\n", "");
    assert_int_equal(scene->end->error, ERR_UPSTREAM_ERROR);
    assert_int_equal(atomic_load(&scene->upstream->n_requests), 1);
    scene_free(scene);
}

/* ---- too much ---- */

static void
sends_a_huge_event(struct upstream *upstream, int fd)
{
    static char bytes[65536];
    memset(bytes, 'x', sizeof bytes - 1);
    if (upstream_request(upstream, fd)) {
        upstream_say(upstream, fd,
                     "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" DELTA("one") "data: ");
        for (size_t sent = 0; sent < (size_t)4 * SSE_EVENT_MAX; sent += sizeof bytes) {
            upstream_say(upstream, fd, bytes);
        }
    }
}

static void
a_huge_event_ends_the_stream(void **state)
{
    (void)state;
    struct scene *scene = scene_new(sends_a_huge_event);
    (void)scene_request(scene, CHAT_STREAM);
    scene_play(scene);
    assert_int_equal(scene->end->error, ERR_UPSTREAM_GARBAGE);
    assert_string_equal(dyn_buf_cstr(&scene->body), DELTA("one"));
    assert_int_equal(scene->calls_left, 0);
    scene_free(scene);
}

static void
sends_a_huge_head(struct upstream *upstream, int fd)
{
    if (upstream_request(upstream, fd)) {
        upstream_say(upstream, fd, "HTTP/1.1 200 OK\r\n");
        for (unsigned i = 0; i < 4000; i++) {
            upstream_say(upstream, fd, "X-Filler: 0123456789012345678901234567890123456789\r\n");
        }
        upstream_wait_for_close(fd);
    }
}

static void
a_huge_head_is_garbage(void **state)
{
    (void)state;
    struct scene *scene = scene_new(sends_a_huge_head);
    (void)scene_request(scene, CHAT);
    scene_play(scene);
    assert_int_equal(scene->end->error, ERR_UPSTREAM_GARBAGE);
    assert_int_equal(scene->calls_left, 0);
    scene_free(scene);
}

static void
sends_without_end(struct upstream *upstream, int fd)
{
    static char bytes[65536];
    memset(bytes, 'x', sizeof bytes - 1);
    if (upstream_request(upstream, fd)) {
        upstream_say(upstream, fd, "HTTP/1.1 200 OK\r\n" JSON_TYPE "\r\n{\"choices\":[\"");
        for (size_t sent = 0; sent < (size_t)2 * PROVIDER_ANSWER_MAX; sent += sizeof bytes) {
            upstream_say(upstream, fd, bytes);
        }
    }
}

static void
an_answer_without_end_is_given_up(void **state)
{
    (void)state;
    struct scene *scene = scene_new(sends_without_end);
    (void)scene_request(scene, CHAT);
    scene_play(scene);
    assert_int_equal(scene->end->error, ERR_UPSTREAM_GARBAGE);
    assert_true(scene->body.len <= PROVIDER_ANSWER_MAX);
    assert_int_equal(scene->calls_left, 0);
    scene_free(scene);
}

/* ---- all of it at once ---- */

enum { ROUGH_REQUESTS = 600, ROUGH_AT_ONCE = 30 };

static atomic_uint rough_turn;

/* Any failure of the table, or an answer that goes well, whatever was asked. */
static void
fails_at_random(struct upstream *upstream, int fd)
{
    while (upstream_request(upstream, fd)) {
        unsigned turn = atomic_fetch_add(&rough_turn, 7);
        const struct failure *failure = &failures[turn % DYN_ARRAY_LEN(failures)];
        if (turn % 3 == 0) {
            upstream_answer(upstream, fd, "200 OK", JSON_TYPE, ANSWER);
            continue;
        }
        upstream_say(upstream, fd, failure->says);
        if (failure->then == RESETS) {
            upstream_reset(fd);
        } else if (failure->then == WAITS) {
            upstream_wait_for_close(fd);
        }
        return;
    }
}

struct rough {
    struct dyn_rng rng;
    unsigned started;
};

static void
start_rough(struct scene *scene)
{
    struct rough *rough = scene->user;
    uint64_t dice = dyn_rng_next(&rough->rng);
    struct env *request = env_clone_request(scene->template);
    request->id = env_id_random();
    request->stream = dice & 1;
    request->credit = dice & 2 ? ENV_WINDOW_FIRST : 300;
    request->deadline_ms = dice & 4 ? 0 : 30;
    rough->started++;
    struct env *cancel = (dice >> 3) % 5 == 0 ? env_about(ENV_CANCEL, request) : NULL;
    scene_send(scene, request);
    if (cancel != NULL) {
        scene_send(scene, cancel);
    }
}

static void
rough_owner(struct scene *scene, struct env *env)
{
    struct rough *rough = scene->user;
    if (env->kind == ENV_END && rough->started < ROUGH_REQUESTS) {
        start_rough(scene);
    } else if (env->kind == ENV_CHUNK && dyn_rng_below(&rough->rng, 4) == 0) {
        scene_send(scene, env_about(ENV_CANCEL, env));
    }
}

static void
start_rough_ones(bus_actor_t *me, struct scene *scene)
{
    (void)me;
    for (unsigned i = 0; i < ROUGH_AT_ONCE; i++) {
        start_rough(scene);
    }
}

/* Failures, cancels, deadlines and short credit in any order: each request has its one END, and nothing of
 * any is left. */
static void
a_rough_day_leaves_nothing(void **state)
{
    (void)state;
    struct rough rough = {.started = 0};
    dyn_rng_seed(&rough.rng, 11);
    struct scene *scene = scene_new(fails_at_random);
    scene->user = &rough;
    scene->on_start = start_rough_ones;
    scene->on_envelope = rough_owner;
    scene->n_expected = ROUGH_REQUESTS;
    scene->target.first_byte_ms = scene->target.idle_ms = 25;
    scene->template = scene_request(scene, CHAT_STREAM);
    scene->n_requests = 0;
    scene_play(scene);
    assert_int_equal(scene->n_ends, ROUGH_REQUESTS);
    uint64_t ended = atomic_load(&scene->shared.succeeded) + atomic_load(&scene->shared.failed) +
                     atomic_load(&scene->shared.cancelled);
    assert_int_equal(ended, ROUGH_REQUESTS);
    assert_int_equal(scene->calls_left, 0);
    env_free(&scene->template);
    scene_free(scene);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_failure_is_one_end),
        cmocka_unit_test(a_broken_stream_is_estimated),
        cmocka_unit_test(nobody_listens),
        cmocka_unit_test(connecting_takes_too_long),
        cmocka_unit_test(the_deadline_ends_a_call),
        cmocka_unit_test(a_stream_may_outlive_the_deadline),
        cmocka_unit_test(a_bad_request_says_why),
        cmocka_unit_test(other_statuses_keep_their_text),
        cmocka_unit_test(a_rate_limit_says_when_to_come_back),
        cmocka_unit_test(redirects_are_not_followed),
        cmocka_unit_test(a_huge_event_ends_the_stream),
        cmocka_unit_test(a_huge_head_is_garbage),
        cmocka_unit_test(an_answer_without_end_is_given_up),
        cmocka_unit_test(a_rough_day_leaves_nothing),
    };
    return SCENE_RUN_BOTH_WAYS(tests, NULL, NULL);
}
