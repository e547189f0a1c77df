/* The provider actor against a scripted upstream: answers that go well. */
#include "tests/unit/providers/scene.h"

static void
answers_json(struct upstream *upstream, int fd)
{
    while (upstream_request(upstream, fd)) {
        upstream_answer(upstream, fd, "200 OK",
                        JSON_TYPE
                        "X-Request-Id: req_1\r\nX-RateLimit-Remaining-Tokens: 9\r\nOpenAI-Version: v\r\n"
                        "Set-Cookie: no\r\n",
                        ANSWER);
    }
}

/* The answer comes back byte for byte in END alone, with usage, status and the headers that are of use. */
static void
plain_answer_is_one_end(void **state)
{
    (void)state;
    struct scene *scene = scene_new(answers_json);
    (void)scene_request(scene, CHAT);
    scene_play(scene);
    const struct env *end = scene->end;
    assert_int_equal(scene->n_chunks, 0);
    assert_int_equal(end->outcome, ENV_OUTCOME_OK);
    assert_int_equal(end->status, 200);
    assert_false(end->stream);
    assert_string_equal(dyn_buf_cstr(&scene->body), ANSWER);
    assert_true(dyn_block_headroom(end->body) >= ENV_BODY_HEADROOM);
    assert_true(end->usage.known && !end->usage.estimated);
    assert_int_equal(end->usage.completion_tokens, 4);
    assert_int_equal(end->upstream_calls, 1);
    assert_int_equal(end->body_bytes, strlen(ANSWER));
    assert_true(end->upstream_us > 0 && end->upstream_us <= end->upstream_total_us);
    assert_true(dyn_slice_is(end->content_type, "application/json"));
    assert_string_equal(scene_header(end, "x-upstream-request-id"), "req_1");
    assert_string_equal(scene_header(end, "x-ratelimit-remaining-tokens"), "9");
    assert_string_equal(scene_header(end, "openai-version"), "v");
    assert_null(scene_header(end, "set-cookie"));
    assert_int_equal(scene->calls_left, 0);
    scene_free(scene);
}

static void
streams(struct upstream *upstream, int fd)
{
    while (upstream_request(upstream, fd)) {
        upstream_say(upstream, fd, SSE_HEAD);
        upstream_chunk(upstream, fd, DELTA("one"));
        upstream_chunk(upstream, fd, DELTA("two"));
        upstream_chunk(upstream, fd, FINISH);
        upstream_chunk(upstream, fd, USAGE);
        upstream_chunk(upstream, fd, DONE);
        upstream_chunk(upstream, fd, "");
    }
}

/* The events come back as they were sent; the usage that the client did not ask for is read and withheld. */
static void
stream_is_passed_on(void **state)
{
    (void)state;
    struct scene *scene = scene_new(streams);
    (void)scene_request(scene, CHAT_STREAM);
    scene_play(scene);
    const struct env *first = scene_first(scene);
    assert_true(scene->n_chunks >= 1);
    assert_true(first->stream);
    assert_int_equal(first->status, 200);
    assert_true(dyn_slice_is(first->content_type, "text/event-stream"));
    assert_true(dyn_block_headroom(first->body) >= ENV_BODY_HEADROOM);
    assert_string_equal(dyn_buf_cstr(&scene->body), DELTA("one") DELTA("two") FINISH DONE);
    assert_int_equal(scene->end->outcome, ENV_OUTCOME_OK);
    assert_int_equal(scene->end->status, 0);
    assert_true(scene->end->usage.known && !scene->end->usage.estimated);
    assert_int_equal(scene->end->usage.completion_tokens, 2);
    assert_int_equal(scene->end->body_bytes, scene->body.len);
    assert_non_null(strstr(scene->upstream->request, "\"include_usage\":true"));
    scene_free(scene);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_answer_is_one_end),
        cmocka_unit_test(stream_is_passed_on),
    };
    return SCENE_RUN_BOTH_WAYS(tests, NULL, NULL);
}
