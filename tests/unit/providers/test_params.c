/* What rows change in the body of a request. */
#include "actors/providers/provider_params.h"
#include "core/buf.h"
#include "proto/dialects/dialect.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define USER "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

enum { WARN = PROVIDER_UNSUPPORTED_WARN, DROP = PROVIDER_UNSUPPORTED_DROP };

struct params_case {
    const char *row;
    int mode;
    const char *body;
    const char *expected;    /* NULL: the same bytes */
    const char *unsupported; /* names; "" for none */
};

static const struct params_case cases[] = {
    /* one name for another, in place */
    {"openai", WARN, "{\"model\":\"m\", \"max_tokens\" : 5 ," USER "}",
     "{\"model\":\"m\", \"max_completion_tokens\" : 5 ," USER "}", ""},
    {"openai", WARN, "{\"model\":\"m\",\"max_completion_tokens\":5," USER "}", NULL, ""},
    {"openai", WARN, "{\"max_tokens\":9,\"model\":\"m\",\"max_completion_tokens\":5," USER "}",
     "{\"model\":\"m\",\"max_completion_tokens\":5," USER "}", ""},
    {"mistral", WARN, "{\"model\":\"m\",\"seed\":7," USER ",\"max_completion_tokens\":5}",
     "{\"model\":\"m\",\"random_seed\":7," USER ",\"max_tokens\":5}", ""},
    {"mistral", WARN, "{\"model\":\"m\",\"seed\":7," USER ",\"random_seed\":8}",
     "{\"model\":\"m\"," USER ",\"random_seed\":8}", ""},
    {"deepseek", WARN, "{\"us\\u0065r\":\"u\",\"model\":\"m\"," USER "}",
     "{\"user_id\":\"u\",\"model\":\"m\"," USER "}", ""},
    /* what stands deeper, or is no parameter, is left alone */
    {"openai", WARN, "{\"model\":\"m\",\"metadata\":{\"max_tokens\":\"5\"}," USER "}", NULL, ""},
    {"xai", DROP, "{\"model\":\"m\",\"n\":2,\"user\":\"u\",\"logit_bias\":{}," USER "}", NULL, ""},
    /* unsupported: told of, or taken out wherever they stand */
    {"mistral", WARN, "{\"model\":\"m\",\"user\":\"u\",\"logprobs\":true," USER "}", NULL, "logprobs, user"},
    {"mistral", DROP, "{\"user\":\"u\",\"model\":\"m\"," USER "}", "{\"model\":\"m\"," USER "}", "user"},
    {"mistral", DROP, "{\"model\":\"m\", \"user\":\"u\", \"logprobs\":true, " USER " }",
     "{\"model\":\"m\", " USER " }", "logprobs, user"},
    {"mistral", DROP, "{\"model\":\"m\"," USER ",\"user\":\"u\" , \"logit_bias\":{\"1\":2}}",
     "{\"model\":\"m\"," USER "}", "user, logit_bias"},
    {"mistral", DROP, "{\"user\":\"u\",\"model\":\"m\",\"logprobs\":true," USER ",\"top_logprobs\":2}",
     "{\"model\":\"m\"," USER "}", "logprobs, top_logprobs, user"},
    {"mistral", DROP, "{\"model\":\"m\",\"user\":null," USER "}", NULL, ""},
    {"mistral", DROP, "{\"seed\":1,\"user\":\"u\",\"model\":\"m\"," USER "}",
     "{\"random_seed\":1,\"model\":\"m\"," USER "}", "user"},
    /* one choice */
    {"groq", DROP, "{\"model\":\"m\",\"n\":1," USER "}", NULL, ""},
    {"groq", WARN, "{\"model\":\"m\",\"n\":2," USER "}", NULL, "n"},
    {"groq", DROP, "{\"model\":\"m\",\"n\":2," USER "}", "{\"model\":\"m\"," USER "}", "n"},
    /* names of messages, and of nothing else */
    {"groq", WARN,
     "{\"model\":\"m\",\"messages\":[{\"name\":\"x\",\"role\":\"user\",\"content\":\"a\"},"
     "{\"role\":\"user\",\"content\":\"b\",\"name\":\"y\"}],\"tools\":[{\"name\":\"t\"}],\"max_tokens\":5}",
     "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"a\"},"
     "{\"role\":\"user\",\"content\":\"b\"}],\"tools\":[{\"name\":\"t\"}],\"max_completion_tokens\":5}",
     ""},
    {"groq", WARN, "{\"model\":\"m\",\"tools\":[{\"name\":\"t\"}]," USER "}", NULL, ""},
    /* a count instead of a boolean */
    {"together", WARN, "{\"model\":\"m\",\"logprobs\":true,\"top_logprobs\":3," USER "}",
     "{\"model\":\"m\",\"logprobs\":3," USER "}", ""},
    {"together", WARN, "{\"model\":\"m\"," USER ",\"logprobs\":true}",
     "{\"model\":\"m\"," USER ",\"logprobs\":1}", ""},
    {"together", WARN, "{\"model\":\"m\"," USER ",\"logprobs\":false}", "{\"model\":\"m\"," USER "}", ""},
    {"together", WARN, "{\"model\":\"m\"," USER ",\"logprobs\":2}", NULL, ""},
};

/* The body that goes out, in memory of the arena; absent: the same. */
static struct dyn_slice
changed(const struct params_case *c, struct dyn_slice model, bool ask_usage, struct arena *arena,
        uint32_t *unsupported)
{
    const struct provider_row *row = provider_row_find(dyn_slice_str(c->row));
    struct dyn_slice body = dyn_slice_str(c->body);
    struct dialect_request request;
    struct dialect_problem problem;
    struct provider_params params = {.n_edits = 0};
    assert_non_null(row);
    if (dialect_openai_chat.read_request(body, arena, &request, &problem) != 0) {
        fail_msg("%s: %s", c->body, problem.message);
    }
    if (provider_params_concern(row, request.params)) {
        enum provider_on_unsupported mode = (enum provider_on_unsupported)c->mode;
        provider_params_read(row, mode, body, request.params, arena, &params);
    }
    *unsupported = params.unsupported;
    const struct dialect_splice splice = {model, ask_usage, params.edits, params.n_edits};
    dyn_block_t *block = dialect_openai_chat.splice_request(body, &request, &splice);
    struct dyn_slice result = arena_copy(arena, dyn_block_slice(block));
    dyn_block_unref(&block);
    return result;
}

static void
bodies_are_changed_by_the_row(void **state)
{
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(cases); i++) {
        struct arena arena;
        struct dyn_buf names = DYN_BUF_INIT;
        uint32_t unsupported = 0;
        arena_init(&arena, NULL, 0);
        struct dyn_slice body = changed(&cases[i], dyn_slice(NULL, 0), false, &arena, &unsupported);
        provider_params_names(&names, unsupported);
        assert_string_equal(names.len > 0 ? dyn_buf_cstr(&names) : "", cases[i].unsupported);
        if (cases[i].expected == NULL) {
            assert_null(body.data);
        } else {
            assert_non_null(body.data);
            assert_string_equal(body.data, cases[i].expected);
            assert_int_equal(json_scan(body, JSON_DEPTH_DEFAULT, NULL, NULL), 0);
        }
        dyn_buf_fini(&names);
        arena_fini(&arena);
    }
}

/* All at once, in one copy: the model's name, usage asked for, and what the row changes at the same place. */
static void
edits_of_row_and_dialect_go_together(void **state)
{
    (void)state;
    const struct params_case c = {
        "mistral", DROP, "{\"user\":\"u\",\"model\":\"m\",\"stream\":true,\"seed\":1," USER "}", NULL, ""};
    struct arena arena;
    uint32_t unsupported = 0;
    arena_init(&arena, NULL, 0);
    struct dyn_slice body = changed(&c, DYN_SLICE("other"), true, &arena, &unsupported);
    assert_string_equal(body.data, "{\"stream_options\":{\"include_usage\":true},\"model\":\"other\","
                                   "\"stream\":true,\"random_seed\":1," USER "}");
    arena_fini(&arena);
}

/* A thousand messages with names: as many edits, and still one JSON text. */
static void
many_edits(void **state)
{
    (void)state;
    struct dyn_buf text = DYN_BUF_INIT;
    struct arena arena;
    uint32_t unsupported = 0;
    dyn_buf_add_str(&text, "{\"model\":\"m\",\"messages\":[");
    for (unsigned i = 0; i < 1000; i++) {
        dyn_buf_addf(&text, "%s{\"role\":\"user\",\"name\":\"n%u\",\"content\":\"c\"}", i > 0 ? "," : "", i);
    }
    dyn_buf_add_str(&text, "]}");
    arena_init(&arena, NULL, 0);
    const struct params_case c = {"groq", WARN, dyn_buf_cstr(&text), NULL, ""};
    struct dyn_slice body = changed(&c, dyn_slice(NULL, 0), false, &arena, &unsupported);
    assert_int_equal(json_scan(body, JSON_DEPTH_DEFAULT, NULL, NULL), 0);
    assert_null(memmem(body.data, body.len, "name", 4));
    arena_fini(&arena);
    dyn_buf_fini(&text);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_are_changed_by_the_row),
        cmocka_unit_test(edits_of_row_and_dialect_go_together),
        cmocka_unit_test(many_edits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
