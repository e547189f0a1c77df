/* What the upstream is sent, over which connections, and what is refused before it is. */
#include "actors/providers/provider_config.h"
#include "tests/unit/providers/scene.h"

static void
answers(struct upstream *upstream, int fd)
{
    while (upstream_request(upstream, fd)) {
        upstream_answer(upstream, fd, "200 OK", JSON_TYPE, ANSWER);
    }
}

static const char *
sent_body(const struct scene *scene)
{
    const char *end = strstr(scene->upstream->request, "\r\n\r\n");
    assert_non_null(end);
    return end + 4;
}

static bool
has_header(const struct scene *scene, const char *line)
{
    struct dyn_buf text = DYN_BUF_INIT;
    dyn_buf_addf(&text, "\r\n%s\r\n", line);
    bool found = strstr(scene->upstream->request, dyn_buf_cstr(&text)) != NULL;
    dyn_buf_fini(&text);
    return found;
}

/* A plain request without a rename goes out as it came in: spaces, order, numbers, unknown members. */
static void
a_plain_body_is_not_touched(void **state)
{
    (void)state;
    const char *body = "{ \"unknown\" : 12345678901234567890, \"model\":\"gpt\",\"temperature\": 1.0 , "
                       "\"messages\":[{\"role\":\"user\",\"content\":\"\\u00e9\"}] }\n";
    struct scene *scene = scene_new(answers);
    (void)scene_request(scene, body);
    scene_play(scene);
    assert_string_equal(sent_body(scene), body);
    assert_memory_equal(scene->upstream->request, "POST /v1/chat/completions HTTP/1.1\r\n", 36);
    assert_true(has_header(scene, "Content-Type: application/json"));
    assert_true(has_header(scene, "Accept-Encoding: identity"));
    assert_true(has_header(scene, "Authorization: Bearer sk-secret-of-the-target"));
    assert_null(strcasestr(scene->upstream->request, "\r\nexpect:"));
    assert_null(strcasestr(scene->upstream->request, "\r\ntraceparent:"));
    scene_free(scene);
}

static void
the_model_is_renamed_in_place(void **state)
{
    (void)state;
    const struct provider_model_name rename = {DYN_SLICE_INIT("gpt"), DYN_SLICE_INIT("gpt-2026")};
    struct scene *scene = scene_new(answers);
    scene->target.renames = &rename;
    scene->target.n_renames = 1;
    (void)scene_request(scene, CHAT);
    scene_play(scene);
    assert_string_equal(sent_body(scene),
                        "{\"model\":\"gpt-2026\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}");
    scene_free(scene);
    scene = scene_new(answers); /* the router's word counts more */
    scene->target.renames = &rename;
    scene->target.n_renames = 1;
    scene_request(scene, CHAT)->upstream_model = DYN_SLICE("other");
    scene_play(scene);
    assert_non_null(strstr(sent_body(scene), "{\"model\":\"other\","));
    scene_free(scene);
}

static void
headers_of_request_and_operator_go_out(void **state)
{
    (void)state;
    const struct http_client_header team = {DYN_SLICE_INIT("X-Team"), DYN_SLICE_INIT("blue")};
    struct scene *scene = scene_new(answers);
    scene->target.headers = &team;
    scene->target.n_headers = 1;
    struct env *first = scene_request(scene, CHAT);
    first->idempotency_key = DYN_SLICE("order-7");
    first->traceparent = DYN_SLICE("00-0123456789abcdef0123456789abcdef-0123456789abcdef-01");
    scene_play(scene);
    assert_true(has_header(scene, "X-Team: blue"));
    assert_true(has_header(scene, "Idempotency-Key: order-7"));
    assert_true(has_header(scene, "traceparent: 00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"));
    scene_free(scene);
}

/* Values that would end their line, or the head, are not sent on. */
static void
headers_cannot_be_injected(void **state)
{
    (void)state;
    struct scene *scene = scene_new(answers);
    struct env *request = scene_request(scene, CHAT);
    request->idempotency_key = DYN_SLICE("a\r\nX-Evil: 1");
    request->traceparent = DYN_SLICE("00-\n");
    scene_play(scene);
    assert_null(strcasestr(scene->upstream->request, "evil"));
    assert_null(strcasestr(scene->upstream->request, "idempotency"));
    assert_null(strcasestr(scene->upstream->request, "traceparent"));
    assert_int_equal(scene->end->outcome, ENV_OUTCOME_OK);
    scene_free(scene);
}

static void
another_scheme_of_authentication(void **state)
{
    (void)state;
    struct provider_row row = *provider_row_find(DYN_SLICE("openai"));
    row.auth = PROVIDER_AUTH_HEADER;
    row.auth_header = "api-key";
    struct scene *scene = scene_new(answers);
    scene->target.row = &row;
    (void)scene_request(scene, CHAT);
    scene_play(scene);
    assert_true(has_header(scene, "api-key: sk-secret-of-the-target"));
    assert_null(strcasestr(scene->upstream->request, "authorization"));
    scene_free(scene);
}

static void
usage_is_not_asked_for_when_told_so(void **state)
{
    (void)state;
    struct scene *scene = scene_new(answers);
    scene->target.ask_usage = false;
    (void)scene_request(scene, CHAT_STREAM);
    scene_play(scene);
    assert_string_equal(sent_body(scene), CHAT_STREAM);
    /* The upstream answered a stream request with JSON: that is what the client gets. */
    assert_int_equal(scene->end->outcome, ENV_OUTCOME_OK);
    assert_false(scene->end->stream);
    assert_string_equal(dyn_buf_cstr(&scene->body), ANSWER);
    scene_free(scene);
}

static void
a_large_body_goes_at_once(void **state)
{
    (void)state;
    struct dyn_buf body = DYN_BUF_INIT;
    dyn_buf_add_str(&body, "{\"model\":\"gpt\",\"messages\":[{\"role\":\"user\",\"content\":\"");
    for (unsigned i = 0; i < 3 * 1024 * 1024; i++) {
        dyn_buf_add_char(&body, (char)('a' + i % 26));
    }
    dyn_buf_add_str(&body, "\"}]}");
    struct scene *scene = scene_new(answers);
    (void)scene_request(scene, dyn_buf_cstr(&body));
    scene_play(scene);
    assert_null(strcasestr(scene->upstream->request, "\r\nexpect:"));
    assert_string_equal(sent_body(scene), dyn_buf_cstr(&body));
    assert_int_equal(scene->end->outcome, ENV_OUTCOME_OK);
    dyn_buf_fini(&body);
    scene_free(scene);
}

/* ---- what a row does not take ---- */

#define CHAT_USER "{\"model\":\"gpt\",\"user\":\"u\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"

static struct scene *
play_unsupported(enum provider_on_unsupported mode)
{
    struct scene *scene = scene_new(answers);
    scene->target.row = provider_row_find(DYN_SLICE("mistral"));
    scene->target.on_unsupported = (uint8_t)mode;
    (void)scene_request(scene, CHAT_USER);
    scene_play(scene);
    return scene;
}

static void
unsupported_parameters_are_told_of(void **state)
{
    (void)state;
    struct scene *scene = play_unsupported(PROVIDER_UNSUPPORTED_WARN);
    assert_string_equal(sent_body(scene), CHAT_USER);
    assert_string_equal(scene->end->warnings.data, "mistral does not support user: sent all the same");
    scene_free(scene);
    scene = play_unsupported(PROVIDER_UNSUPPORTED_DROP);
    assert_string_equal(sent_body(scene), CHAT);
    assert_string_equal(scene->end->warnings.data, "mistral does not support user: left out");
    bool is_in_head = false;
    for (size_t i = 0; i < scene->end->n_headers; i++) {
        const struct env_header *header = &scene->end->headers[i];
        is_in_head = is_in_head || (dyn_slice_is(header->name, "x-dynabus-warnings") &&
                                    dyn_slice_is(header->value, "mistral does not support user: left out"));
    }
    assert_true(is_in_head);
    scene_free(scene);
}

static void
unsupported_parameters_are_refused_where_told_so(void **state)
{
    (void)state;
    struct scene *scene = play_unsupported(PROVIDER_UNSUPPORTED_REJECT);
    assert_int_equal(scene->end->error, ERR_UNSUPPORTED_PARAMETER);
    assert_int_equal(scene->end->status, 400);
    assert_int_equal(scene->end->upstream_calls, 0);
    assert_string_equal(scene->end->error_text.data, "the provider mistral does not support user");
    assert_string_equal(scene->end->error_param.data, "user");
    assert_int_equal(atomic_load(&scene->upstream->n_requests), 0);
    scene_free(scene);
}

static void
a_prefix_of_the_model_and_fixed_headers_are_the_rows(void **state)
{
    (void)state;
    struct scene *scene = scene_new(answers);
    scene->target.row = provider_row_find(DYN_SLICE("ollama-cloud"));
    struct env *request = scene_request(
        scene, "{\"model\":\"ollama-cloud/gpt\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}");
    request->model = DYN_SLICE("ollama-cloud/gpt");
    scene_play(scene);
    assert_string_equal(sent_body(scene), CHAT);
    scene_free(scene);
    scene = scene_new(answers);
    scene->target.row = provider_row_find(DYN_SLICE("azure-foundry"));
    (void)scene_request(scene, CHAT);
    scene_play(scene);
    assert_true(has_header(scene, "extra-parameters: drop"));
    assert_true(has_header(scene, "api-key: sk-secret-of-the-target"));
    scene_free(scene);
}

/* ---- connections ---- */

static void
sends_the_next(struct scene *scene, struct env *env)
{
    size_t *left = scene->user;
    if (env->kind == ENV_END && *left > 0) {
        --*left;
        struct env *next = env_clone_request(scene->template);
        next->id = env_id_random();
        scene_send(scene, next);
    }
}

/* One after the other: the connection is kept, and so is the handle. */
static void
play_in_a_row(struct scene *scene, size_t times)
{
    size_t left = times - 1;
    scene->user = &left;
    scene->on_envelope = sends_the_next;
    scene->n_expected = (unsigned)times;
    scene->template = env_clone_request(scene_request(scene, CHAT));
    scene_play(scene);
    env_free(&scene->template);
}

static void
connections_are_kept(void **state)
{
    (void)state;
    struct scene *scene = scene_new(answers);
    play_in_a_row(scene, 20);
    assert_int_equal(scene->n_ends, 20);
    assert_int_equal(atomic_load(&scene->upstream->n_requests), 20);
    assert_int_equal(atomic_load(&scene->upstream->n_connections), 1);
    scene_free(scene);
}

static void
answers_once(struct upstream *upstream, int fd)
{
    if (upstream_request(upstream, fd)) {
        upstream_answer(upstream, fd, "200 OK", JSON_TYPE, ANSWER);
        (void)upstream_request(upstream, fd); /* and hangs up instead of answering */
    }
}

/* A kept connection that turns out to be closed costs a second call, not an error. */
static void
a_stale_connection_is_replaced(void **state)
{
    (void)state;
    struct scene *scene = scene_new(answers_once);
    play_in_a_row(scene, 2);
    assert_int_equal(scene->end->outcome, ENV_OUTCOME_OK);
    assert_int_equal(scene->end->upstream_calls, 2);
    assert_int_equal(atomic_load(&scene->upstream->n_connections), 2);
    assert_int_equal(atomic_load(&scene->upstream->n_requests), 3);
    scene_free(scene);
}

/* ---- what is refused ---- */

static void
requests_for_others_are_refused(void **state)
{
    (void)state;
    struct scene *scene = scene_new(answers);
    scene_request(scene, CHAT)->dialect = DYN_SLICE("cohere_v2");
    scene_request(scene, CHAT)->surface = ENV_SURFACE_MODELS;
    dyn_block_unref(&scene_request(scene, CHAT)->body);
    scene_play(scene);
    assert_int_equal(scene->n_ends, 3);
    assert_int_equal(scene->end->error, ERR_INVALID_REQUEST);
    assert_int_equal(scene->end->upstream_calls, 0);
    assert_int_equal(atomic_load(&scene->upstream->n_requests), 0);
    scene_free(scene);
}

static void
a_request_that_cannot_be_spliced_says_why(void **state)
{
    (void)state;
    struct scene *scene = scene_new(answers);
    struct env *request = scene_request(scene, "{\"model\":\"gpt\",\"messages\":[]}");
    request->stream = true;
    scene_play(scene);
    assert_int_equal(scene->end->error, ERR_INVALID_REQUEST);
    assert_true(dyn_slice_is(scene->end->error_param, "messages"));
    assert_true(scene->end->error_text.len > 0);
    scene_free(scene);
}

/* The same attempt again is the same request; a later one takes over. */
static void
repeats_are_ignored(void **state)
{
    (void)state;
    struct scene *scene = scene_new(answers);
    struct env *request = scene_request(scene, CHAT);
    struct env *again = env_clone_request(request);
    scene->requests[scene->n_requests++] = again;
    scene->n_expected = 1;
    scene_play(scene);
    assert_int_equal(scene->n_ends, 1);
    assert_int_equal(atomic_load(&scene->upstream->n_requests), 1);
    scene_free(scene);
    scene = scene_new(answers);
    request = scene_request(scene, CHAT);
    struct env *later = env_clone_request(request);
    later->epoch = 1;
    scene->requests[scene->n_requests++] = later;
    scene->n_expected = 1;
    scene_play(scene);
    assert_int_equal(scene->n_ends, 1);
    assert_int_equal(scene->end->epoch, 1);
    scene_free(scene);
}

static void
too_many_calls_are_refused(void **state)
{
    (void)state;
    struct scene *scene = scene_new(answers);
    scene->calls_max = 2;
    for (unsigned i = 0; i < 5; i++) {
        (void)scene_request(scene, CHAT);
    }
    scene_play(scene);
    assert_int_equal(atomic_load(&scene->upstream->n_requests), 2);
    size_t refused = 0;
    for (struct dyn_list *link = scene->seen.next; link != &scene->seen; link = link->next) {
        refused += DYN_CONTAINER_OF(link, struct env, link)->error == ERR_SATURATED;
    }
    assert_int_equal(refused, 3);
    scene_free(scene);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_body_is_not_touched),
        cmocka_unit_test(the_model_is_renamed_in_place),
        cmocka_unit_test(headers_of_request_and_operator_go_out),
        cmocka_unit_test(headers_cannot_be_injected),
        cmocka_unit_test(another_scheme_of_authentication),
        cmocka_unit_test(usage_is_not_asked_for_when_told_so),
        cmocka_unit_test(unsupported_parameters_are_told_of),
        cmocka_unit_test(unsupported_parameters_are_refused_where_told_so),
        cmocka_unit_test(a_prefix_of_the_model_and_fixed_headers_are_the_rows),
        cmocka_unit_test(a_large_body_goes_at_once),
        cmocka_unit_test(connections_are_kept),
        cmocka_unit_test(a_stale_connection_is_replaced),
        cmocka_unit_test(requests_for_others_are_refused),
        cmocka_unit_test(a_request_that_cannot_be_spliced_says_why),
        cmocka_unit_test(repeats_are_ignored),
        cmocka_unit_test(too_many_calls_are_refused),
    };
    return SCENE_RUN_BOTH_WAYS(tests, NULL, NULL);
}
