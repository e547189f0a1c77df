/* Envelopes: what they own, what a clone shares and what it must not carry. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/env_fields.h"

#include <stdio.h>

static void
a_new_envelope_is_empty(void **state)
{
    (void)state;
    struct env *env = env_new(ENV_CHUNK);
    assert_int_equal(env->kind, ENV_CHUNK);
    assert_null(env->body);
    assert_int_equal(env_body_len(env), 0);
    assert_null(env->model.data);
    assert_int_equal(env->n_headers, 0);
    assert_false(env->usage.known);
    assert_false(dyn_list_is_linked(&env->link));
    env_free(&env);
    assert_null(env);
    env_free(&env); /* NULL is accepted */
}

/* One allocation of about a kilobyte: the bus counts on it. */
static void
an_envelope_is_small(void **state)
{
    (void)state;
    assert_in_range(sizeof(struct env), 512, 1280);
}

static void
strings_are_copied(void **state)
{
    (void)state;
    char text[] = "gpt";
    struct env *env = env_new(ENV_REQUEST);
    env->model = env_copy(env, dyn_slice_str(text));
    text[0] = 'X';
    assert_true(dyn_slice_is(env->model, "gpt"));
    struct dyn_slice absent = env_copy(env, dyn_slice(NULL, 0));
    assert_null(absent.data);
    struct dyn_slice empty = env_copy(env, DYN_SLICE(""));
    assert_non_null(empty.data);
    assert_int_equal(empty.len, 0);
    env_free(&env);
}

/* What another process would not be told is not there in this one either. */
static void
a_header_that_no_wire_takes_is_left_out(void **state)
{
    (void)state;
    static char text[ENV_HEADER_VALUE_MAX + 1];
    struct env *env = env_new(ENV_REQUEST);
    memset(text, 'x', sizeof text);
    struct dyn_slice longest = dyn_slice(text, ENV_HEADER_VALUE_MAX);
    assert_false(env_add_header(env, DYN_SLICE("a"), dyn_slice(text, sizeof text)));
    assert_false(env_add_header(env, dyn_slice(text, ENV_HEADER_NAME_MAX + 1), DYN_SLICE("v")));
    assert_false(env_add_header(env, DYN_SLICE(""), DYN_SLICE("v")));
    assert_int_equal(env->n_headers, 0);
    assert_true(env_add_header(env, dyn_slice(text, ENV_HEADER_NAME_MAX), longest));
    assert_true(env_add_header(env, DYN_SLICE("b"), longest));
    assert_true(env_add_header(env, DYN_SLICE("c"), longest));
    assert_false(env_add_header(env, DYN_SLICE("d"), longest)); /* all together are too long */
    assert_true(env_add_header(env, DYN_SLICE("e"), DYN_SLICE("short")));
    assert_int_equal(env->n_headers, 4);
    env_free(&env);
}

/* Far beyond the inline memory, and beyond the number of headers that is kept. */
static void
headers_are_kept_up_to_the_limit(void **state)
{
    (void)state;
    struct env *env = env_new(ENV_END);
    for (unsigned i = 0; i < ENV_HEADERS_MAX + 10; i++) {
        char name[32];
        char value[128];
        int name_len = snprintf(name, sizeof name, "x-header-%u", i);
        memset(value, 'a' + (int)(i % 26), sizeof value);
        env_add_header(env, dyn_slice(name, (size_t)name_len), dyn_slice(value, sizeof value));
    }
    assert_int_equal(env->n_headers, ENV_HEADERS_MAX);
    for (unsigned i = 0; i < ENV_HEADERS_MAX; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "x-header-%u", i);
        assert_true(dyn_slice_is(env->headers[i].name, name));
        assert_int_equal(env->headers[i].value.len, 128);
        assert_int_equal(env->headers[i].value.data[127], 'a' + (int)(i % 26));
    }
    env_free(&env);
}

static void
about_the_same_request(void **state)
{
    (void)state;
    struct env *request = env_new(ENV_REQUEST);
    request->id = env_id_random();
    request->attempt = 3;
    request->epoch = 2;
    request->stream = true;
    struct env *cancel = env_about(ENV_CANCEL, request);
    assert_int_equal(cancel->kind, ENV_CANCEL);
    assert_true(env_id_eq(&cancel->id, &request->id));
    assert_int_equal(cancel->attempt, 3);
    assert_int_equal(cancel->epoch, 2);
    assert_false(cancel->stream);
    env_free(&cancel);
    env_free(&request);
}

static struct env *
full_request(void)
{
    struct env *request = env_new(ENV_REQUEST);
    request->id = env_id_random();
    request->attempt = 1;
    request->surface = ENV_SURFACE_CHAT;
    request->refuse = ERR_INVALID_REQUEST;
    request->refuse_text = env_copy(request, DYN_SLICE("no"));
    request->error_param = env_copy(request, DYN_SLICE("model"));
    request->dialect = env_copy(request, DYN_SLICE("openai_chat"));
    request->model = env_copy(request, DYN_SLICE("m"));
    request->upstream_model = env_copy(request, DYN_SLICE("u"));
    request->target = env_copy(request, DYN_SLICE("t"));
    request->credential = env_copy(request, DYN_SLICE("secret"));
    request->idempotency_key = env_copy(request, DYN_SLICE("k"));
    request->peer = env_copy(request, DYN_SLICE("::1"));
    request->trace_id = env_copy(request, DYN_SLICE("0123"));
    request->traceparent = env_copy(request, DYN_SLICE("00-0123"));
    request->deadline_ms = 5;
    request->attempts_left = 4;
    request->received_us = 99;
    request->credit = ENV_WINDOW_FIRST;
    request->stream = true;
    request->body = dyn_block_copy(0, DYN_SLICE("{}"));
    return request;
}

/* Everything but the credential; the body is shared, the strings are not. */
static void
a_clone_outlives_its_original(void **state)
{
    (void)state;
    struct env *request = full_request();
    struct env *clone = env_clone_request(request);
    assert_true(dyn_block_is_shared(request->body));
    assert_ptr_equal(clone->body, request->body);
    struct env_id id = request->id;
    env_free(&request);
    assert_false(dyn_block_is_shared(clone->body));
    assert_int_equal(clone->kind, ENV_REQUEST);
    assert_true(env_id_eq(&clone->id, &id));
    assert_null(clone->credential.data);
    assert_true(dyn_slice_is(clone->dialect, "openai_chat"));
    assert_true(dyn_slice_is(clone->model, "m"));
    assert_true(dyn_slice_is(clone->upstream_model, "u"));
    assert_true(dyn_slice_is(clone->target, "t"));
    assert_true(dyn_slice_is(clone->idempotency_key, "k"));
    assert_true(dyn_slice_is(clone->peer, "::1"));
    assert_true(dyn_slice_is(clone->trace_id, "0123"));
    assert_true(dyn_slice_is(clone->traceparent, "00-0123"));
    assert_true(dyn_slice_is(clone->refuse_text, "no"));
    assert_true(dyn_slice_is(clone->error_param, "model"));
    assert_int_equal(clone->refuse, ERR_INVALID_REQUEST);
    assert_int_equal(clone->surface, ENV_SURFACE_CHAT);
    assert_int_equal(clone->deadline_ms, 5);
    assert_int_equal(clone->attempts_left, 4);
    assert_int_equal(clone->received_us, 99);
    assert_int_equal(clone->credit, ENV_WINDOW_FIRST);
    assert_true(clone->stream);
    env_free(&clone);
}

static void
random_ids_differ(void **state)
{
    (void)state;
    struct env_id a = env_id_random();
    struct env_id b = env_id_random();
    assert_false(env_id_eq(&a, &b));
    assert_true(env_id_eq(&a, &a));
}

static void
names_are_words(void **state)
{
    (void)state;
    for (int kind = ENV_REQUEST; kind < ENV_KIND_COUNT; kind++) {
        assert_string_not_equal(env_kind_name((enum env_kind)kind), "unknown");
    }
    assert_string_equal(env_kind_name(ENV_REQUEST), "request");
    assert_string_equal(env_kind_name((enum env_kind)0), "unknown");
    assert_string_equal(env_kind_name(ENV_KIND_COUNT), "unknown");
    assert_string_equal(env_kind_name((enum env_kind) - 1), "unknown");
    assert_string_equal(env_surface_name(ENV_SURFACE_CHAT), "chat");
    assert_string_equal(env_surface_name(ENV_SURFACE_COUNT), "unknown");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_envelope_is_empty),
        cmocka_unit_test(an_envelope_is_small),
        cmocka_unit_test(strings_are_copied),
        cmocka_unit_test(headers_are_kept_up_to_the_limit),
        cmocka_unit_test(a_header_that_no_wire_takes_is_left_out),
        cmocka_unit_test(about_the_same_request),
        cmocka_unit_test(a_clone_outlives_its_original),
        cmocka_unit_test(random_ids_differ),
        cmocka_unit_test(names_are_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
