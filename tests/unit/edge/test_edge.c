/* What the edge makes of requests and of the router's answers. */
#include "tests/unit/edge/edge_fixture.h"

#include <sched.h>
#include <semaphore.h>

#define CHAT_HEAD "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
#define CHAT      CHAT_HEAD "Authorization: Bearer secret\r\nContent-Length: 2\r\n\r\n{}"
#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"

/* ---- requests ---- */

static void
a_chat_request_becomes_an_envelope(void **state)
{
    (void)state;
    struct world *world = world_start();
    struct caller caller = caller_connect(world);
    caller_send(&caller, CHAT_HEAD
                "Authorization: bearer  s3cret \r\nIdempotency-Key: once\r\nContent-Length: 11\r\n"
                "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n{\"a\":12.00}");
    struct env *request = router_take(world, ENV_REQUEST);
    assert_int_equal(request->surface, ENV_SURFACE_CHAT);
    assert_int_equal(request->refuse, ERR_NONE);
    assert_int_equal(request->attempt, 0);
    assert_int_equal(request->credit, ENV_WINDOW_FIRST);
    assert_slice_equal(request->dialect, "openai_chat");
    assert_slice_equal(request->credential, "s3cret");
    assert_slice_equal(request->idempotency_key, "once");
    assert_slice_equal(request->trace_id, "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_slice_equal(request->traceparent, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    assert_slice_equal(dyn_block_slice(request->body), "{\"a\":12.00}");
    assert_true(request->peer.len > 10 && memcmp(request->peer.data, "127.0.0.1:", 10) == 0);
    assert_true(request->received_us > 0);
    struct env *end = end_for(request, "{\"ok\":1}");
    env_add_header(end, DYN_SLICE("x-ratelimit-remaining-requests"), DYN_SLICE("17"));
    router_send(world, end);
    caller_wait_answer(&caller);
    assert_int_equal(caller_status(&caller), 200);
    caller_assert_has(&caller, "x-request-id: 4bf92f3577b34da6a3ce929d0e0e4736\r\n");
    caller_assert_has(&caller, "x-dynabus-provider: openai\r\n");
    caller_assert_has(&caller, "x-dynabus-target: main\r\n");
    caller_assert_has(&caller, "x-dynabus-attempts: 1\r\n");
    caller_assert_has(&caller, "x-dynabus-overhead-us: ");
    caller_assert_has(&caller, "x-ratelimit-remaining-requests: 17\r\n");
    caller_assert_has(&caller, "x-content-type-options: nosniff\r\n");
    caller_assert_has(&caller, "content-type: application/json\r\n");
    caller_assert_has(&caller, "\r\n\r\n{\"ok\":1}");
    env_free(&request);
    caller_close(&caller);
    world_stop(world);
}

static void
questions_carry_their_model(void **state)
{
    (void)state;
    static const struct {
        const char *request;
        enum env_surface surface;
        const char *model;
    } rows[] = {
        {GET("/v1/models"), ENV_SURFACE_MODELS, NULL},
        {GET("/v1/models/gpt-4o"), ENV_SURFACE_MODEL, "gpt-4o"},
        {GET("/v1/models/a/b%2Fc%20d?x=y"), ENV_SURFACE_MODEL, "a/b/c d"},
        {GET("/health"), ENV_SURFACE_HEALTH, NULL},
        {GET("/readyz"), ENV_SURFACE_READY, NULL},
        {"HEAD /v1/models HTTP/1.1\r\nHost: x\r\n\r\n", ENV_SURFACE_MODELS, NULL},
    };
    struct world *world = world_start();
    struct caller caller = caller_connect(world);
    for (size_t i = 0; i < DYN_ARRAY_LEN(rows); i++) {
        caller_forget(&caller);
        caller_send(&caller, rows[i].request);
        struct env *request = router_take(world, ENV_REQUEST);
        assert_int_equal(request->surface, rows[i].surface);
        assert_int_equal(request->refuse, ERR_NONE);
        assert_true(dyn_slice_eq(request->model, dyn_slice_str(rows[i].model)));
        router_send(world, end_for(request, "{}"));
        caller_wait(&caller, rows[i].request[0] == 'H' ? "\r\n\r\n" : "\r\n\r\n{}");
        env_free(&request);
    }
    caller_close(&caller);
    world_stop(world);
}

/* Below /v1 the router says what is wrong, after it has looked at the key; bodies stay behind. */
static void
refusals_go_through_the_router(void **state)
{
    (void)state;
    static const struct {
        const char *request;
        enum err_code refuse;
    } rows[] = {
        {GET("/v1/nothing"), ERR_NOT_FOUND},
        {GET("/v1"), ERR_NOT_FOUND},
        {GET("/v1/models/"), ERR_NOT_FOUND},
        {"POST /v1/rerank HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", ERR_NOT_FOUND},
        {GET("/v1/chat/completions"), ERR_METHOD_NOT_ALLOWED},
        {GET("/v1/embeddings"), ERR_METHOD_NOT_ALLOWED},
        {"DELETE /v1/models/x HTTP/1.1\r\nHost: x\r\n\r\n", ERR_METHOD_NOT_ALLOWED},
        {"OPTIONS /v1/models HTTP/1.1\r\nHost: x\r\n\r\n", ERR_METHOD_NOT_ALLOWED},
        {GET("/v1/models/%zz"), ERR_INVALID_REQUEST},
        {GET("/v1/models/a%00b"), ERR_INVALID_REQUEST},
        {"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
         ERR_UNSUPPORTED_MEDIA},
        {CHAT_HEAD "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", ERR_UNSUPPORTED_MEDIA},
        {CHAT_HEAD "Expect: miracles\r\nContent-Length: 2\r\n\r\n{}", ERR_EXPECTATION_FAILED},
    };
    struct world *world = world_start();
    struct caller caller = caller_connect(world);
    for (size_t i = 0; i < DYN_ARRAY_LEN(rows); i++) {
        caller_forget(&caller);
        caller_send(&caller, rows[i].request);
        struct env *request = router_take(world, ENV_REQUEST);
        assert_int_equal(request->refuse, rows[i].refuse);
        assert_null(request->body);
        router_send(world, error_for(request, rows[i].refuse));
        caller_wait_answer(&caller);
        assert_int_equal(caller_status(&caller), err_row(rows[i].refuse)->http);
        assert_int_equal(caller_has(&caller, "\r\nallow: "), rows[i].refuse == ERR_METHOD_NOT_ALLOWED);
        assert_false(caller_has(&caller, "connection: close"));
        env_free(&request);
    }
    caller_forget(&caller); /* without a key it only learns that the key is missing */
    caller_send(&caller, "POST /v1/models HTTP/1.1\r\nHost: x\r\n\r\n");
    struct env *request = router_take(world, ENV_REQUEST);
    assert_int_equal(request->refuse, ERR_METHOD_NOT_ALLOWED);
    assert_null(request->credential.data);
    router_send(world, error_for(request, ERR_MISSING_API_KEY));
    caller_wait_answer(&caller);
    assert_int_equal(caller_status(&caller), 401);
    caller_assert_has(&caller, "www-authenticate: Bearer\r\n");
    assert_false(caller_has(&caller, "\r\nallow: "));
    env_free(&request);
    caller_close(&caller);
    world_stop(world);
}

/* ---- answers of the edge's own ---- */

static void
the_edge_answers_what_is_not_the_apis(void **state)
{
    (void)state;
    struct world *world = world_start();
    struct caller caller = caller_connect(world);
    caller_ask(&caller, GET("/livez"));
    assert_int_equal(caller_status(&caller), 200);
    caller_assert_has(&caller, "\r\n\r\n{\"status\":\"ok\"}");
    caller_assert_has(&caller, "x-request-id: ");
    caller_ask(&caller, GET("/nothing"));
    assert_int_equal(caller_status(&caller), 404);
    caller_assert_has(&caller, "\"code\":\"not_found\"");
    caller_ask(&caller, "PUT /health HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
    assert_int_equal(caller_status(&caller), 405);
    caller_assert_has(&caller, "allow: GET, HEAD\r\n");
    caller_ask(&caller, "PROPFIND /v1/models HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(caller_status(&caller), 501);
    caller_assert_has(&caller, "\"code\":\"method_not_supported\"");
    caller_ask(&caller,
               "GET / HTTP/1.1\r\nHost: x\r\nX-Request-ID: ABCDEF0123456789ABCDEF0123456789\r\n\r\n");
    caller_assert_has(&caller, "x-request-id: abcdef0123456789abcdef0123456789\r\n");
    caller_ask(&caller, "NONSENSE\r\n\r\n");
    assert_int_equal(caller_status(&caller), 400);
    caller_assert_has(&caller, "\"code\":\"malformed_request\"");
    caller_assert_has(&caller, "x-request-id: ");
    caller_assert_has(&caller, "x-content-type-options: nosniff\r\n");
    assert_null(router_take_within(world, 0));
    caller_close(&caller);
    world_stop(world);
}

static void
dev_refuses_what_a_web_page_could_send(void **state)
{
    (void)state;
    static const struct {
        const char *headers;
        unsigned status;
    } rows[] = {
        {"Host: localhost:8080\r\n", 200},
        {"Host: 127.0.0.1\r\n", 200},
        {"Host: [::1]:1\r\nOrigin: http://localhost:3000\r\n", 200},
        {"Host: evil.example\r\n", 403},
        {"Host: evil.example:8080\r\n", 403},
        {"Host: localhost.evil.example\r\n", 403},
        {"Host: localhost:8080x\r\n", 403},
        {"Host: localhost\r\nOrigin: https://evil.example\r\n", 403},
        {"Host: localhost\r\nOrigin: null\r\n", 403},
        {"Host: localhost\r\nOrigin: http://localhost@evil.example\r\n", 403},
        {"Host: \r\n", 403},
    };
    struct world *world = world_start_with(&(struct world_options){.dev = true});
    struct caller caller = caller_connect(world);
    for (size_t i = 0; i < DYN_ARRAY_LEN(rows); i++) {
        char request[300];
        (void)snprintf(request, sizeof request, "GET /livez HTTP/1.1\r\n%s\r\n", rows[i].headers);
        caller_ask(&caller, request);
        if (caller_status(&caller) != rows[i].status) {
            fail_msg("%s: %u", rows[i].headers, caller_status(&caller));
        }
        assert_false(caller_has(&caller, "access-control"));
    }
    caller_ask(&caller, "GET http://evil.example/livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_int_equal(caller_status(&caller), 403);
    caller_assert_has(&caller, "\"code\":\"forbidden_origin\"");
    caller_close(&caller);
    world_stop(world);
}

/* ---- plain answers ---- */

static void
a_plain_answer_is_held_until_its_end(void **state)
{
    (void)state;
    struct world *world = world_start();
    struct caller caller = caller_connect(world);
    caller_send(&caller, CHAT);
    struct env *request = router_take(world, ENV_REQUEST);
    router_send(world, first_chunk_for(request, false, "{\"a\":"));
    router_send(world, chunk_for(request, "\"b\""));
    struct env *end = end_for(request, "}");
    end->body_bytes = 9;
    end->status = 0; /* it stood in the first CHUNK */
    end->content_type = dyn_slice(NULL, 0);
    router_send(world, end);
    caller_wait_answer(&caller);
    caller_assert_has(&caller, "content-length: 9\r\n");
    caller_assert_has(&caller, "content-type: application/json\r\n");
    caller_assert_has(&caller, "\r\n\r\n{\"a\":\"b\"}");
    env_free(&request);

    caller_forget(&caller); /* a failure in its middle is an answer of its own */
    caller_send(&caller, CHAT);
    request = router_take(world, ENV_REQUEST);
    router_send(world, first_chunk_for(request, false, "{\"a\":"));
    end = error_for(request, ERR_UPSTREAM_CUT);
    end->retry_after_s = 7;
    router_send(world, end);
    caller_wait_answer(&caller);
    assert_int_equal(caller_status(&caller), 502);
    caller_assert_has(&caller, "retry-after: 7\r\n");
    caller_assert_has(&caller, "\"code\":\"upstream_cut\"");
    assert_false(caller_has(&caller, "{\"a\":"));
    env_free(&request);
    caller_close(&caller);
    world_stop(world);
}

static char *
text_of(size_t len)
{
    char *text = malloc(len + 1);
    memset(text, 'x', len);
    text[len] = '\0';
    return text;
}

/* Sends `total` bytes as CHUNKs, as far as credit goes. Returns how often credit came. */
static unsigned
send_with_credit(struct world *world, const struct env *request, bool stream, size_t total)
{
    char *text = text_of(ENV_CHUNK_MAX);
    size_t credit = request->credit;
    unsigned grants = 0;
    for (size_t sent = 0; sent < total;) {
        if (credit < ENV_CHUNK_MAX) {
            struct env *more = router_take(world, ENV_CREDIT);
            credit += more->credit;
            env_free(&more);
            grants++;
            continue;
        }
        router_send(world, sent == 0 ? first_chunk_for(request, stream, text) : chunk_for(request, text));
        sent += ENV_CHUNK_MAX;
        credit -= ENV_CHUNK_MAX;
    }
    free(text);
    return grants;
}

static void
a_long_plain_answer_is_streamed(void **state)
{
    (void)state;
    enum { TOTAL = 3 * 1024 * 1024 };
    struct world *world = world_start();
    struct caller caller = caller_connect(world);
    caller_send(&caller, CHAT);
    struct env *request = router_take(world, ENV_REQUEST);
    /* Held bytes are paid for at once; what is streamed, when the client has read. */
    assert_true(send_with_credit(world, request, false, ENV_HELD_ANSWER_MAX) > 0);
    router_send(world, chunk_for(request, "and more")); /* on the last grant's rest */
    caller_wait(&caller, "and more");
    caller_assert_has(&caller, "transfer-encoding: chunked\r\n");
    router_send(world, end_for(request, "the end"));
    caller_wait(&caller, "the end\r\n0\r\n\r\n");
    env_free(&request);
    struct env *late;
    while ((late = router_take_within(world, 0)) != NULL) {
        assert_int_equal(late->kind, ENV_CREDIT);
        env_free(&late);
    }

    caller_forget(&caller); /* and when it fails in the middle the connection ends */
    caller_send(&caller, CHAT);
    request = router_take(world, ENV_REQUEST);
    (void)send_with_credit(world, request, false, ENV_HELD_ANSWER_MAX + ENV_CHUNK_MAX);
    router_send(world, error_for(request, ERR_UPSTREAM_CUT));
    caller_wait_end(&caller);
    assert_false(caller_has(&caller, "\r\n0\r\n\r\n"));
    assert_false(caller_has(&caller, "error"));
    env_free(&request);
    caller_close(&caller);
    world_stop(world);
}

/* ---- streams ---- */

static void
a_stream_passes_through(void **state)
{
    (void)state;
    struct world *world = world_start();
    struct caller caller = caller_connect(world);
    caller_send(&caller, CHAT);
    struct env *request = router_take(world, ENV_REQUEST);
    router_send(world, first_chunk_for(request, true, "data: 1\n\n"));
    caller_wait(&caller, "data: 1\n\n");
    assert_int_equal(caller_status(&caller), 200);
    caller_assert_has(&caller, "content-type: text/event-stream\r\n");
    caller_assert_has(&caller, "cache-control: no-cache, no-transform\r\n");
    caller_assert_has(&caller, "x-accel-buffering: no\r\n");
    caller_assert_has(&caller, "transfer-encoding: chunked\r\n");
    caller_assert_has(&caller, "x-dynabus-target: main\r\n");
    caller_assert_has(&caller, "x-request-id: ");
    router_send(world, chunk_for(request, "data: 2\n\n"));
    caller_wait(&caller, "9\r\ndata: 2\n\n\r\n");
    router_send(world, end_for(request, "data: [DONE]\n\n"));
    caller_wait(&caller, "data: [DONE]\n\n\r\n0\r\n\r\n");
    env_free(&request);
    caller_forget(&caller); /* the connection goes on */
    caller_ask(&caller, GET("/livez"));
    assert_int_equal(caller_status(&caller), 200);
    caller_close(&caller);
    world_stop(world);
}

/* Its provider is lost behind the last event and before its END: the client has everything, and is told
 * nothing else. */
static void
a_stream_that_fails_behind_its_end_is_whole(void **state)
{
    (void)state;
    struct world *world = world_start();
    struct caller caller = caller_connect(world);
    caller_send(&caller, CHAT);
    struct env *request = router_take(world, ENV_REQUEST);
    router_send(world, first_chunk_for(request, true, "data: 1\n\ndata: [DONE]\n\n"));
    router_send(world, error_for(request, ERR_WORKER_LOST));
    caller_wait(&caller, "data: [DONE]\n\n\r\n0\r\n\r\n");
    assert_false(caller_has(&caller, "error"));
    env_free(&request);
    caller_close(&caller);
    world_stop(world);
}

static void
a_stream_that_fails_says_so(void **state)
{
    (void)state;
    struct world *world = world_start();
    struct caller caller = caller_connect(world);
    caller_send(&caller, CHAT);
    struct env *request = router_take(world, ENV_REQUEST);
    router_send(world, first_chunk_for(request, true, "data: 1\n\n"));
    router_send(world, error_for(request, ERR_STREAM_IDLE));
    caller_wait(&caller, "0\r\n\r\n");
    caller_assert_has(&caller, "data: 1\n\n");
    caller_assert_has(&caller, "\"code\":\"stream_timeout\"");
    assert_false(caller_has(&caller, "[DONE]"));
    env_free(&request);
    caller_forget(&caller); /* before the first byte it is a plain error */
    caller_send(&caller, CHAT);
    request = router_take(world, ENV_REQUEST);
    struct env *dispatched = env_about(ENV_DISPATCHED, request);
    dispatched->stream = true;
    router_send(world, dispatched);
    router_send(world, error_for(request, ERR_UPSTREAM_RATE_LIMIT));
    caller_wait_answer(&caller);
    assert_int_equal(caller_status(&caller), 429);
    caller_assert_has(&caller, "retry-after: 1\r\n");
    caller_assert_has(&caller, "content-type: application/json\r\n");
    env_free(&request);
    caller_close(&caller);
    world_stop(world);
}

static void
silence_is_filled_with_comments(void **state)
{
    (void)state;
    struct world *world = world_start_with(&(struct world_options){.sse_keepalive_ms = 20});
    struct caller caller = caller_connect(world);
    caller_send(&caller, CHAT);
    struct env *request = router_take(world, ENV_REQUEST);
    struct env *dispatched = env_about(ENV_DISPATCHED, request);
    dispatched->stream = true;
    router_send(world, dispatched);
    caller_wait(&caller, ": keep-alive\n\n"); /* before anybody has answered */
    assert_int_equal(caller_status(&caller), 200);
    caller_assert_has(&caller, "content-type: text/event-stream\r\n");
    router_send(world, first_chunk_for(request, true, "data: 1\n\n"));
    caller_wait(&caller, "data: 1\n\n");
    caller_forget(&caller);
    caller_wait(&caller, ": keep-alive\n\n");
    router_send(world, chunk_for(request, "data: ha")); /* not inside an event */
    caller_wait(&caller, "data: ha");
    assert_null(router_take_within(world, 100));
    router_send(world, chunk_for(request, "lf\n\n"));
    caller_wait(&caller, "8\r\ndata: ha\r\n4\r\nlf\n\n\r\n");
    router_send(world, end_for(request, NULL));
    caller_wait(&caller, "0\r\n\r\n");
    env_free(&request);

    caller_forget(&caller); /* behind a comment a failure is an event */
    caller_send(&caller, CHAT);
    request = router_take(world, ENV_REQUEST);
    dispatched = env_about(ENV_DISPATCHED, request);
    dispatched->stream = true;
    router_send(world, dispatched);
    caller_wait(&caller, ": keep-alive\n\n");
    router_send(world, error_for(request, ERR_UPSTREAM_ERROR));
    caller_wait(&caller, "0\r\n\r\n");
    assert_int_equal(caller_status(&caller), 200);
    caller_assert_has(&caller, "\"code\":\"upstream_error\"");
    env_free(&request);
    caller_close(&caller);
    world_stop(world);
}

/* The client does not read: credit stops. It reads: credit comes back, all of it. */
static void
a_slow_client_stops_the_credit(void **state)
{
    (void)state;
    enum { TOTAL = 64 * 1024 * 1024 };
    struct world *world = world_start();
    struct caller caller = caller_connect(world);
    caller_send(&caller, CHAT);
    struct env *request = router_take(world, ENV_REQUEST);
    char *text = text_of(ENV_CHUNK_MAX);
    size_t credit = request->credit;
    size_t sent = 0;
    for (;;) {
        while (credit >= ENV_CHUNK_MAX) {
            router_send(world, sent == 0 ? first_chunk_for(request, true, text) : chunk_for(request, text));
            sent += ENV_CHUNK_MAX;
            credit -= ENV_CHUNK_MAX;
        }
        assert_true(sent < TOTAL);
        struct env *more = router_take_within(world, 300);
        if (more == NULL) {
            break; /* the kernel's buffers are full and nobody reads */
        }
        credit += more->credit;
        env_free(&more);
    }
    while (caller.len < sent) {
        assert_true(caller_read(&caller));
    }
    struct env *more = router_take(world, ENV_CREDIT);
    env_free(&more);
    router_send(world, end_for(request, NULL));
    caller_wait(&caller, "\r\n0\r\n\r\n");
    free(text);
    env_free(&request);
    caller_close(&caller);
    world_stop(world);
}

static void
an_answer_beyond_its_credit_is_ended(void **state)
{
    (void)state;
    struct world *world = world_start();
    struct caller caller = caller_connect(world);
    char *text = text_of(ENV_WINDOW_FIRST + 1);
    caller_send(&caller, CHAT);
    struct env *request = router_take(world, ENV_REQUEST);
    router_send(world, first_chunk_for(request, false, text));
    caller_wait_answer(&caller);
    assert_int_equal(caller_status(&caller), 500);
    struct env *cancel = router_take(world, ENV_CANCEL);
    assert_true(env_id_eq(&cancel->id, &request->id));
    free(text);
    env_free(&cancel);
    env_free(&request);
    caller_close(&caller);
    world_stop(world);
}

/* ---- leaving ---- */

static void
a_client_that_leaves_cancels(void **state)
{
    (void)state;
    struct world *world = world_start();
    struct caller caller = caller_connect(world);
    caller_send(&caller, CHAT);
    struct env *request = router_take(world, ENV_REQUEST);
    caller_close(&caller); /* before an answer */
    struct env *cancel = router_take(world, ENV_CANCEL);
    assert_true(env_id_eq(&cancel->id, &request->id));
    assert_slice_equal(cancel->reason, "client");
    router_send(world, end_for(request, "too late"));
    env_free(&cancel);
    env_free(&request);

    caller = caller_connect(world);
    caller_send(&caller, CHAT);
    request = router_take(world, ENV_REQUEST);
    router_send(world, first_chunk_for(request, true, "data: 1\n\n"));
    caller_wait(&caller, "data: 1\n\n");
    caller_close(&caller); /* in the middle of a stream */
    cancel = router_take(world, ENV_CANCEL);
    assert_true(env_id_eq(&cancel->id, &request->id));
    router_send(world, chunk_for(request, "data: 2\n\n"));
    router_send(world, end_for(request, NULL));
    env_free(&cancel);
    env_free(&request);
    caller = caller_connect(world); /* late ones were dropped and counted, the edge lives */
    caller_ask(&caller, GET("/livez"));
    assert_int_equal(caller_status(&caller), 200);
    assert_int_equal(atomic_load(&world->group->counters.late_envelopes), 3);
    assert_int_equal(atomic_load(&world->group->counters.clients_gone), 2);
    caller_close(&caller);
    world_stop(world);
}

static void
envelopes_about_nothing_are_dropped(void **state)
{
    (void)state;
    struct world *world = world_start();
    struct env *nobody = env_new(ENV_END);
    nobody->id = env_id_random();
    router_send(world, nobody);
    struct env *strange = env_new(ENV_VOTE);
    router_send(world, strange);
    struct caller caller = caller_connect(world);
    caller_ask(&caller, GET("/livez"));
    assert_int_equal(atomic_load(&world->group->counters.late_envelopes), 2);
    caller_close(&caller);
    world_stop(world);
}

static void
hold_the_loop(void *arg)
{
    (void)sem_post(&((sem_t *)arg)[0]);
    (void)sem_wait(&((sem_t *)arg)[1]);
}

/* The mailbox takes one envelope of any size; two requests in one turn are one too many. */
static void
a_full_router_is_429(void **state)
{
    (void)state;
    struct world *world = world_start_with(&(struct world_options){.mailbox_bytes = 1});
    struct caller callers[2];
    sem_t held_and_go[2];
    for (unsigned i = 0; i < 2; i++) {
        callers[i] = caller_connect(world);
        caller_ask(&callers[i], GET("/livez")); /* both are accepted and watched */
        caller_forget(&callers[i]);
        assert_int_equal(sem_init(&held_and_go[i], 0, 0), 0);
    }
    bus_loop_post(world->router->loop, hold_the_loop, held_and_go);
    assert_int_equal(sem_wait(&held_and_go[0]), 0);
    caller_send(&callers[0], CHAT);
    caller_send(&callers[1], CHAT);
    assert_int_equal(sem_post(&held_and_go[1]), 0);
    struct env *request = router_take(world, ENV_REQUEST);
    router_send(world, end_for(request, "{}"));
    env_free(&request);
    caller_wait_answer(&callers[0]);
    caller_wait_answer(&callers[1]);
    struct caller *full = &callers[caller_status(&callers[0]) == 429 ? 0 : 1];
    assert_int_equal(caller_status(&callers[0]) + caller_status(&callers[1]), 200 + 429);
    caller_assert_has(full, "retry-after: 1\r\n");
    caller_assert_has(full, "\"code\":\"gateway_saturated\"");
    caller_assert_has(full, "x-request-id: ");
    for (unsigned i = 0; i < 2; i++) {
        caller_close(&callers[i]);
        (void)sem_destroy(&held_and_go[i]);
    }
    world_stop(world);
}

static void
a_router_that_is_gone_is_503(void **state)
{
    (void)state;
    struct world *world = world_start_with(&(struct world_options){.no_router = true});
    struct caller caller = caller_connect(world);
    caller_ask(&caller, CHAT);
    assert_int_equal(caller_status(&caller), 503);
    caller_assert_has(&caller, "retry-after: 1\r\n");
    caller_ask(&caller, GET("/v1/models")); /* the connection goes on */
    assert_int_equal(caller_status(&caller), 503);
    caller_ask(&caller, GET("/livez"));
    assert_int_equal(caller_status(&caller), 200);
    caller_close(&caller);
    world_stop(world);
}

/* ---- draining ---- */

static void *
drain_thread(void *arg)
{
    struct world *world = arg;
    return world_drain(world, 10000) == 0 ? world : NULL;
}

static void
draining_finishes_what_runs(void **state)
{
    (void)state;
    struct world *world = world_start();
    struct caller stream = caller_connect(world);
    struct caller probe = caller_connect(world);
    caller_send(&stream, CHAT);
    struct env *request = router_take(world, ENV_REQUEST);
    router_send(world, first_chunk_for(request, true, "data: 1\n\n"));
    caller_wait(&stream, "data: 1\n\n");
    caller_ask(&probe, GET("/livez"));
    pthread_t thread;
    void *result;
    assert_int_equal(pthread_create(&thread, NULL, drain_thread, world), 0);
    while (atomic_load(&world->group->cells[0].accepts)) { /* until the drain has begun */
        (void)sched_yield();
    }
    caller_forget(&probe);
    caller_send(&probe, GET("/readyz"));
    caller_wait_end(&probe);
    assert_int_equal(caller_status(&probe), 503);
    caller_assert_has(&probe, "connection: close\r\n");
    caller_assert_has(&probe, "not_ready");
    router_send(world, chunk_for(request, "data: 2\n\n"));
    router_send(world, end_for(request, "data: [DONE]\n\n"));
    caller_wait_end(&stream);
    caller_assert_has(&stream, "data: [DONE]\n\n\r\n0\r\n\r\n");
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_non_null(result); /* everybody was idle in time */
    env_free(&request);
    caller_close(&stream);
    caller_close(&probe);
    world_stop(world);
}

/* What does not end in the drain time is ended, visibly, and cancelled. */
static void
draining_ends_what_does_not(void **state)
{
    (void)state;
    struct world *world = world_start();
    struct caller stream = caller_connect(world);
    struct caller plain = caller_connect(world);
    caller_send(&stream, CHAT);
    struct env *request = router_take(world, ENV_REQUEST);
    router_send(world, first_chunk_for(request, true, "data: 1\n\n"));
    caller_wait(&stream, "data: 1\n\n");
    caller_send(&plain, CHAT);
    struct env *second = router_take(world, ENV_REQUEST);
    assert_int_equal(world_drain(world, 2500), 0);
    caller_wait_end(&stream);
    caller_wait_end(&plain);
    caller_assert_has(&stream, "\"code\":\"gateway_draining\"");
    caller_assert_has(&stream, "0\r\n\r\n");
    assert_int_equal(caller_status(&plain), 503);
    caller_assert_has(&plain, "retry-after: 1\r\n");
    for (unsigned i = 0; i < 2; i++) {
        struct env *cancel = router_take(world, ENV_CANCEL);
        env_free(&cancel);
    }
    env_free(&request);
    env_free(&second);
    caller_close(&stream);
    caller_close(&plain);
    world_stop(world);
}

/* Stopped without a drain: nothing leaks, everything open is cancelled. */
static void
a_sudden_stop_cancels_everything(void **state)
{
    (void)state;
    struct world *world = world_start();
    struct caller callers[3];
    for (unsigned i = 0; i < 3; i++) {
        callers[i] = caller_connect(world);
        caller_send(&callers[i], CHAT);
        struct env *request = router_take(world, ENV_REQUEST);
        if (i > 0) {
            router_send(world, first_chunk_for(request, i == 1, "data: 1\n\n"));
        }
        env_free(&request);
    }
    caller_wait(&callers[1], "data: 1\n\n");
    (void)world_drain(world, 0);
    for (unsigned i = 0; i < 3; i++) {
        struct env *cancel = router_take(world, ENV_CANCEL);
        env_free(&cancel);
        caller_wait_end(&callers[i]);
        caller_close(&callers[i]);
    }
    world_stop(world);
}

static void
it_works_over_the_inproc_wire(void **state)
{
    (void)state;
    struct world *world = world_start_with(&(struct world_options){.inproc = true});
    struct caller caller = caller_connect(world);
    caller_send(&caller, CHAT);
    struct env *request = router_take(world, ENV_REQUEST);
    assert_slice_equal(dyn_block_slice(request->body), "{}");
    router_send(world, first_chunk_for(request, true, "data: 1\n\n"));
    router_send(world, end_for(request, "data: [DONE]\n\n"));
    caller_wait(&caller, "data: [DONE]\n\n\r\n0\r\n\r\n");
    caller_assert_has(&caller, "9\r\ndata: 1\n\n\r\n");
    env_free(&request);
    caller_close(&caller);
    world_stop(world);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chat_request_becomes_an_envelope),
        cmocka_unit_test(questions_carry_their_model),
        cmocka_unit_test(refusals_go_through_the_router),
        cmocka_unit_test(the_edge_answers_what_is_not_the_apis),
        cmocka_unit_test(dev_refuses_what_a_web_page_could_send),
        cmocka_unit_test(a_plain_answer_is_held_until_its_end),
        cmocka_unit_test(a_long_plain_answer_is_streamed),
        cmocka_unit_test(a_stream_passes_through),
        cmocka_unit_test(a_stream_that_fails_behind_its_end_is_whole),
        cmocka_unit_test(a_stream_that_fails_says_so),
        cmocka_unit_test(silence_is_filled_with_comments),
        cmocka_unit_test(a_slow_client_stops_the_credit),
        cmocka_unit_test(an_answer_beyond_its_credit_is_ended),
        cmocka_unit_test(a_client_that_leaves_cancels),
        cmocka_unit_test(envelopes_about_nothing_are_dropped),
        cmocka_unit_test(a_full_router_is_429),
        cmocka_unit_test(a_router_that_is_gone_is_503),
        cmocka_unit_test(draining_finishes_what_runs),
        cmocka_unit_test(draining_ends_what_does_not),
        cmocka_unit_test(a_sudden_stop_cancels_everything),
        cmocka_unit_test(it_works_over_the_inproc_wire),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
