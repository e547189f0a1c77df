/* Splices in OpenAI chat requests: what changes, and that nothing else does. */
#include "proto/dialects/dialect.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct dyn_slice absent = {NULL, 0};

#define USER "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define ASK  "\"stream_options\":{\"include_usage\":true}"

struct splice_case {
    const char *body;
    const char *model; /* NULL: not replaced */
    bool ask_usage;
    const char *expected; /* NULL: nothing changes */
};

static const struct splice_case cases[] = {
    /* nothing to do */
    {"{\"model\":\"m\"," USER "}", NULL, false, NULL},
    {"{\"model\":\"m\"," USER "}", NULL, true, NULL},
    {"{\"model\":\"m\"," USER "}", "m", true, NULL},
    {"{\"model\":\"m\",\"stream\":false," USER "}", NULL, true, NULL},
    {"{\"model\":\"m\",\"stream\":null," USER "}", NULL, true, NULL},
    {"{\"model\":\"m\",\"stream\":true," ASK "," USER "}", "m", true, NULL},
    {"{\"model\":\"m\",\"stream\":true," USER "}", NULL, false, NULL},
    {"{\"model\":\"\\u006d\"," USER "}", "m", false, NULL},
    /* the model */
    {"{\"model\":\"m\"," USER "}", "gpt-4o", false, "{\"model\":\"gpt-4o\"," USER "}"},
    {"{" USER ",\"model\":\"m\"}", "x", false, "{" USER ",\"model\":\"x\"}"},
    {"{\"model\" : \"m\" ," USER "}", "longer/name:free", false,
     "{\"model\" : \"longer/name:free\" ," USER "}"},
    {"{\"mod\\u0065l\":\"\\u006d\"," USER "}", "x", false, "{\"mod\\u0065l\":\"x\"," USER "}"},
    {"{\"model\":\"m\"," USER "}", "a\"b\\c\n", false, "{\"model\":\"a\\\"b\\\\c\\n\"," USER "}"},
    {"{\"model\":\"m\"," USER "}", "\xC3\xA9", false, "{\"model\":\"\xC3\xA9\"," USER "}"},
    {"{\"metadata\":{\"model\":\"m\"},\"model\":\"m\"," USER "}", "x", false,
     "{\"metadata\":{\"model\":\"m\"},\"model\":\"x\"," USER "}"},
    /* usage */
    {"{\"model\":\"m\",\"stream\":true," USER "}", NULL, true,
     "{" ASK ",\"model\":\"m\",\"stream\":true," USER "}"},
    {" \n{ \"model\":\"m\",\"stream\":true," USER "}", NULL, true,
     " \n{" ASK ", \"model\":\"m\",\"stream\":true," USER "}"},
    {"{\"model\":\"m\",\"stream\":true,\"stream_options\":null," USER "}", NULL, true,
     "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":true}," USER "}"},
    {"{\"model\":\"m\",\"stream\":true,\"stream_options\":{}," USER "}", NULL, true,
     "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":true}," USER "}"},
    {"{\"model\":\"m\",\"stream\":true,\"stream_options\":{ }," USER "}", NULL, true,
     "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":true }," USER "}"},
    {"{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":false}," USER "}", NULL, true,
     "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":true}," USER "}"},
    {"{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\" : null }," USER "}", NULL, true,
     "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\" : true }," USER "}"},
    {"{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_obfuscation\":false}," USER "}", NULL,
     true,
     "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":true,\"include_obfuscation\":"
     "false}," USER "}"},
    {"{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"x\":{\"include_usage\":true}}," USER "}", NULL,
     true,
     "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":true,\"x\":{\"include_usage\":"
     "true}}," USER "}"},
    {"{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"includ\\u0065_usage\":false}," USER "}", NULL,
     true, "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"includ\\u0065_usage\":true}," USER "}"},
    /* both, in both orders; numbers and spaces as they were */
    {"{\"model\":\"m\",\"stream\":true," USER "}", "x", true,
     "{" ASK ",\"model\":\"x\",\"stream\":true," USER "}"},
    {"{\"model\":\"m\",\"stream\":true,\"stream_options\":null," USER ",\"seed\":12345678901234567890}", "x",
     true,
     "{\"model\":\"x\",\"stream\":true,\"stream_options\":{\"include_usage\":true}," USER
     ",\"seed\":12345678901234567890}"},
    {"{\"stream_options\" : { \"include_usage\":false , \"z\":1.0 } ,\"stream\":true," USER
     ",\"model\":\"m\",\"temperature\":1.0}",
     "x", true,
     "{\"stream_options\" : { \"include_usage\":true , \"z\":1.0 } ,\"stream\":true," USER
     ",\"model\":\"x\",\"temperature\":1.0}"},
};

static dyn_block_t *
splice(struct dyn_slice body, struct dyn_slice model, bool ask_usage)
{
    struct arena arena;
    struct dialect_request request;
    struct dialect_problem problem;
    arena_init(&arena, NULL, 0);
    int result = dialect_openai_chat.read_request(body, &arena, &request, &problem);
    if (result != 0) {
        print_error("%s: %s\n", body.data, problem.message);
    }
    assert_int_equal(result, 0);
    const struct dialect_splice splice = {.model = model, .ask_usage = ask_usage};
    dyn_block_t *block = dialect_openai_chat.splice_request(body, &request, &splice);
    arena_fini(&arena);
    return block;
}

static void
only_the_splice_changes(void **state)
{
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(cases); i++) {
        const struct splice_case *c = &cases[i];
        dyn_block_t *block = splice(dyn_slice_str(c->body), dyn_slice_str(c->model), c->ask_usage);
        if (c->expected == NULL) {
            assert_null(block);
            continue;
        }
        assert_non_null(block);
        struct dyn_slice got = dyn_block_slice(block);
        if (!dyn_slice_is(got, c->expected)) {
            print_error("got      %.*s\nexpected %s\n", (int)got.len, got.data, c->expected);
        }
        assert_true(dyn_slice_is(got, c->expected));
        dyn_block_unref(&block);
    }
}

/* A spliced request is read again as what it was made to be, and splicing it again changes nothing. */
static void
a_spliced_request_needs_no_other_splice(void **state)
{
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(cases); i++) {
        dyn_block_t *once = splice(dyn_slice_str(cases[i].body), DYN_SLICE("target"), true);
        assert_non_null(once);
        assert_null(splice(dyn_block_slice(once), DYN_SLICE("target"), true));
        dyn_block_unref(&once);
    }
}

/* 64 KB of conversation: one copy, the rest byte for byte. */
static void
a_long_body_is_kept(void **state)
{
    (void)state;
    struct dyn_buf body = DYN_BUF_INIT;
    dyn_buf_add_str(&body, "{\"messages\":[{\"role\":\"user\",\"content\":\"");
    for (int i = 0; i < 8000; i++) {
        dyn_buf_add_str(&body, "\\u20ac\xE2\x82\xAC\\\"x ");
    }
    dyn_buf_add_str(&body, "\"}],\"model\":\"m\",\"stream\":true}");
    dyn_block_t *block = splice(dyn_buf_slice(&body), DYN_SLICE("mm"), true);
    assert_non_null(block);
    struct dyn_slice got = dyn_block_slice(block);
    struct dyn_slice added = DYN_SLICE(ASK ",");
    assert_int_equal(got.len, body.len + added.len + 1);
    assert_memory_equal(got.data + 1, added.data, added.len);
    assert_memory_equal(got.data + 1 + added.len, body.data + 1, body.len - 31);
    dyn_block_unref(&block);
    dyn_buf_fini(&body);
}

static void
errors_are_written(void **state)
{
    (void)state;
    struct dyn_buf out = DYN_BUF_INIT;
    dialect_openai_chat.write_stream_error(&out, ERR_UPSTREAM_CUT, absent);
    assert_string_equal(
        dyn_buf_cstr(&out),
        "data: {\"error\":{\"message\":\"the provider's answer ended before it was complete\","
        "\"type\":\"upstream_error\",\"param\":null,\"code\":\"upstream_cut\"}}\n\n");
    dyn_buf_clear(&out);
    dialect_openai_chat.write_stream_error(&out, ERR_STREAM_IDLE, DYN_SLICE("two\nlines"));
    assert_string_equal(dyn_buf_cstr(&out),
                        "data: {\"error\":{\"message\":\"two\\nlines\",\"type\":\"timeout_error\","
                        "\"param\":null,\"code\":\"stream_timeout\"}}\n\n");
    dyn_buf_fini(&out);
}

static void
the_end_of_a_stream_is_known(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        bool is_end;
    } rows[] = {
        {"data: [DONE]\n\n", true},
        {"data:[DONE]\n\n", true},
        {"data: [DONE]\r\n\r\n", true},
        {"data: [DONE]\r\r", true},
        {"data: {\"choices\":[]}\n\ndata: [DONE]\n\n", true},
        {"", false},
        {"\n\n", false},
        {"[DONE]\n\n", false},
        {"data: [DONE]", false},
        {"data: [DONE]\n", false},
        {"data: [DONE]\n\n: kept alive", false},
        {"data: x [DONE]\n\n", false},
        {"data: {\"content\":\"data: [DONE]\n\n", false},
        {"event: data: [DONE]\n\n", false},
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(rows); i++) {
        assert_int_equal(dialect_openai_chat.is_stream_end(dyn_slice_str(rows[i].bytes)), rows[i].is_end);
    }
}

static void
dialects_are_found_by_name(void **state)
{
    (void)state;
    assert_ptr_equal(dialect_find(DYN_SLICE("openai_chat")), &dialect_openai_chat);
    assert_null(dialect_find(DYN_SLICE("openai_cha")));
    assert_null(dialect_find(DYN_SLICE("")));
    assert_null(dialect_find(absent));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_splice_changes),
        cmocka_unit_test(a_spliced_request_needs_no_other_splice),
        cmocka_unit_test(a_long_body_is_kept),
        cmocka_unit_test(errors_are_written),
        cmocka_unit_test(the_end_of_a_stream_is_known),
        cmocka_unit_test(dialects_are_found_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
