/* The dialect of embeddings: what is refused before anyone is asked, what is read, what is changed. */
#include "proto/dialects/dialect.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct {
    const char *body;
    const char *param; /* NULL: it is a request */
} requests[] = {
    {"{\"model\":\"m\",\"input\":\"x\"}", NULL},
    {" {\"input\":[\"a\",\"b\"],\"dimensions\":3,\"model\":\"m\",\"encoding_format\":\"base64\"}\n", NULL},
    {"{\"model\":\"m\",\"input\":[1,2,3]}", NULL},
    {"{\"model\":\"m\",\"input\":[[1],[2,3]],\"input_type\":\"query\"}", NULL},
    {"{\"mod\\u0065l\":\"\\u006d\",\"input\":\"\"}", NULL},
    {"{\"input\":\"x\"}", "model"},
    {"{\"model\":7,\"input\":\"x\"}", "model"},
    {"{\"model\":\"\",\"input\":\"x\"}", "model"},
    {"{\"model\":\"m\"}", "input"},
    {"{\"model\":\"m\",\"input\":null}", "input"},
    {"{\"model\":\"m\",\"input\":[]}", "input"},
    {"{\"model\":\"m\",\"input\":{\"a\":1}}", "input"},
    {"{\"model\":\"m\",\"input\":\"x\",\"model\":\"n\"}", ""},
    {"[]", ""},
    {"{\"model\":\"m\",\"input\":\"x\"", ""},
    {"", ""},
};

static void
requests_are_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(requests); i++) {
        struct arena arena;
        struct dialect_request request;
        struct dialect_problem problem = {.message = ""};
        struct dyn_slice body = dyn_slice_str(requests[i].body);
        arena_init(&arena, NULL, 0);
        int rc = dialect_openai_embeddings.read_request(body, &arena, &request, &problem);
        assert_int_equal(rc, requests[i].param == NULL ? 0 : -1);
        if (rc == 0) {
            assert_true(dyn_slice_is(request.model, "m"));
            assert_false(request.stream);
        } else {
            assert_string_equal(problem.param, requests[i].param);
            assert_true(problem.message[0] != '\0');
        }
        arena_fini(&arena);
    }
}

static void
only_the_model_is_changed(void **state)
{
    (void)state;
    struct arena arena;
    struct dialect_request request;
    struct dialect_problem problem;
    struct dyn_slice body = DYN_SLICE("{ \"input\":[1, 2],\"model\" : \"m\",\"dimensions\":1e2 }");
    arena_init(&arena, NULL, 0);
    assert_int_equal(dialect_openai_embeddings.read_request(body, &arena, &request, &problem), 0);
    const struct dialect_splice same = {.model = {NULL, 0}, .ask_usage = true};
    assert_null(dialect_openai_embeddings.splice_request(body, &request, &same));
    const struct dialect_splice other = {.model = DYN_SLICE("longer")};
    dyn_block_t *block = dialect_openai_embeddings.splice_request(body, &request, &other);
    assert_true(dyn_slice_is(dyn_block_slice(block),
                             "{ \"input\":[1, 2],\"model\" : \"longer\",\"dimensions\":1e2 }"));
    dyn_block_unref(&block);
    arena_fini(&arena);
}

static void
usage_is_read_from_answers(void **state)
{
    (void)state;
    struct env_usage usage;
    struct dyn_slice answer = DYN_SLICE("{\"data\":[{\"embedding\":\"AAAA\",\"index\":0}],"
                                        "\"usage\":{\"prompt_tokens\":8,\"total_tokens\":8}}");
    assert_int_equal(dialect_openai_embeddings.read_answer(answer, &usage), 0);
    assert_true(usage.known);
    assert_int_equal(usage.prompt_tokens, 8);
    assert_int_equal(usage.completion_tokens, 0);
    assert_int_equal(usage.total_tokens, 8);
    assert_int_equal(dialect_openai_embeddings.read_answer(DYN_SLICE("{\"data\":[]}"), &usage), 0);
    assert_false(usage.known);
    assert_int_equal(dialect_openai_embeddings.read_answer(DYN_SLICE("{\"error\":{}}"), &usage), -1);
    assert_int_equal(dialect_openai_embeddings.read_answer(DYN_SLICE("<html>"), &usage), -1);
}

static void
a_surface_has_its_dialect(void **state)
{
    (void)state;
    assert_ptr_equal(dialect_of_surface(ENV_SURFACE_CHAT), &dialect_openai_chat);
    assert_ptr_equal(dialect_of_surface(ENV_SURFACE_EMBEDDINGS), &dialect_openai_embeddings);
    assert_null(dialect_of_surface(ENV_SURFACE_METRICS));
    assert_ptr_equal(dialect_find(DYN_SLICE("openai_embeddings")), &dialect_openai_embeddings);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_read),
        cmocka_unit_test(only_the_model_is_changed),
        cmocka_unit_test(usage_is_read_from_answers),
        cmocka_unit_test(a_surface_has_its_dialect),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
