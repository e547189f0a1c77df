/* OpenAI chat requests: what is refused, with the member named; what is understood; what is let through. */
#include "proto/dialects/dialect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct dialect_ops *const chat = &dialect_openai_chat;

/* Most cases are one member or one message inside a request that is right otherwise. */
#define MEMBER(text)  "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]," text "}"
#define MESSAGE(text) "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},{" text "}]}"
#define CONTENT(text) MESSAGE("\"role\":\"user\",\"content\":" text)
#define CALLS(text)   MESSAGE("\"role\":\"assistant\",\"content\":null,\"tool_calls\":" text)

struct bad {
    const char *body;
    const char *param;
};

static const struct bad bad_texts[] = {
    {"", ""},
    {" ", ""},
    {"nonsense", ""},
    {"null", ""},
    {"true", ""},
    {"1", ""},
    {"\"{}\"", ""},
    {"[]", ""},
    {"[{\"model\":\"m\"}]", ""},
    {"{", ""},
    {"}", ""},
    {"{\"model\"}", ""},
    {"{\"model\":}", ""},
    {"{\"model\":\"m\"", ""},
    {"{\"model\":\"m\",}", ""},
    {"{model:\"m\"}", ""},
    {"{'model':'m'}", ""},
    {"{\"model\":\"m\"}{}", ""},
    {"{\"model\":\"m\"} x", ""},
    {MEMBER("\"x\":1") "{}", ""},
    {MEMBER("\"x\":01"), ""},
    {MEMBER("\"x\":1."), ""},
    {MEMBER("\"x\":.5"), ""},
    {MEMBER("\"x\":+1"), ""},
    {MEMBER("\"x\":NaN"), ""},
    {MEMBER("\"x\":Infinity"), ""},
    {MEMBER("\"x\":0x10"), ""},
    {MEMBER("\"x\":tru"), ""},
    {MEMBER("\"x\":TRUE"), ""},
    {MEMBER("\"x\":undefined"), ""},
    {MEMBER("\"x\":[1,]"), ""},
    {MEMBER("\"x\":[1 2]"), ""},
    {MEMBER("\"x\":{\"a\" 1}"), ""},
    {MEMBER("\"x\":\"\\x\""), ""},
    {MEMBER("\"x\":\"\\u12\""), ""},
    {MEMBER("\"x\":\"\\ud800\""), ""},
    {MEMBER("\"x\":\"\\udc00\\ud800\""), ""},
    {MEMBER("\"x\":\"\\u0000\""), ""},
    {MEMBER("\"x\":\"a\nb\""), ""},
    {MEMBER("\"x\":\"a\tb\""), ""},
    {MEMBER("\"x\":\"\x01\""), ""},
    {MEMBER("\"x\":\"\xff\""), ""},
    {MEMBER("\"x\":\"\xc0\xaf\""), ""},
    {MEMBER("\"x\":\"\xed\xa0\x80\""), ""},
    {MEMBER("\"x\":\"\xf4\x90\x80\x80\""), ""},
    {MEMBER("\"x\":\"\xe2\x82\""), ""},
    {MEMBER("\"x\":1,\"x\":1"), ""},
    {MEMBER("\"model\":\"other\""), "model"},
    {MEMBER("\"mod\\u0065l\":\"other\""), "model"},
    {MEMBER("\"messages\":[]"), "messages"},
    {MEMBER("\"stream\":true,\"stream\":true"), "stream"},
    {MEMBER("// no\n\"x\":1"), ""},
    {MEMBER("/* no */\"x\":1"), ""},
    {"\xEF\xBB\xBF{}", ""},
};

static const struct bad bad_models[] = {
    {"{}", "model"},
    {"{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}", "model"},
    {"{\"model\":null,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}", "model"},
    {"{\"model\":\"\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}", "model"},
    {"{\"model\":1,\"messages\":[]}", "model"},
    {"{\"model\":true}", "model"},
    {"{\"model\":[\"m\"]}", "model"},
    {"{\"model\":{\"id\":\"m\"}}", "model"},
    {"{\"Model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}", "model"},
};

static const struct bad bad_messages[] = {
    {"{\"model\":\"m\"}", "messages"},
    {"{\"model\":\"m\",\"messages\":null}", "messages"},
    {"{\"model\":\"m\",\"messages\":\"hi\"}", "messages"},
    {"{\"model\":\"m\",\"messages\":{}}", "messages"},
    {"{\"model\":\"m\",\"messages\":{\"role\":\"user\"}}", "messages"},
    {"{\"model\":\"m\",\"messages\":1}", "messages"},
    {"{\"model\":\"m\",\"messages\":false}", "messages"},
    {"{\"model\":\"m\",\"messages\":[]}", "messages"},
    {"{\"model\":\"m\",\"messages\":[ ]}", "messages"},
    {"{\"model\":\"m\",\"messages\":[null]}", "messages[0]"},
    {"{\"model\":\"m\",\"messages\":[\"hi\"]}", "messages[0]"},
    {"{\"model\":\"m\",\"messages\":[1]}", "messages[0]"},
    {"{\"model\":\"m\",\"messages\":[[]]}", "messages[0]"},
    {"{\"model\":\"m\",\"messages\":[{}]}", "messages[0].role"},
    {"{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"a\"},null]}", "messages[1]"},
    {"{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"user\",\"content\":"
     "\"b\"},7]}",
     "messages[2]"},
    {MESSAGE("\"content\":\"hi\""), "messages[1].role"},
    {MESSAGE("\"Role\":\"user\",\"content\":\"hi\""), "messages[1].role"},
    {MESSAGE("\"role\":null,\"content\":\"hi\""), "messages[1].role"},
    {MESSAGE("\"role\":1,\"content\":\"hi\""), "messages[1].role"},
    {MESSAGE("\"role\":true,\"content\":\"hi\""), "messages[1].role"},
    {MESSAGE("\"role\":[\"user\"],\"content\":\"hi\""), "messages[1].role"},
    {MESSAGE("\"role\":{},\"content\":\"hi\""), "messages[1].role"},
    {MESSAGE("\"role\":\"\",\"content\":\"hi\""), "messages[1].role"},
    {MESSAGE("\"role\":\"User\",\"content\":\"hi\""), "messages[1].role"},
    {MESSAGE("\"role\":\"user \",\"content\":\"hi\""), "messages[1].role"},
    {MESSAGE("\"role\":\"model\",\"content\":\"hi\""), "messages[1].role"},
    {MESSAGE("\"role\":\"human\",\"content\":\"hi\""), "messages[1].role"},
    {MESSAGE("\"role\":\"tools\",\"content\":\"hi\""), "messages[1].role"},
    {MESSAGE("\"role\":\"user\",\"role\":\"system\",\"content\":\"hi\""), "messages[1].role"},
    {MESSAGE("\"role\":\"user\",\"content\":\"a\",\"content\":\"b\""), "messages[1].content"},
    {MESSAGE("\"role\":\"user\",\"content\":\"a\",\"cont\\u0065nt\":\"b\""), "messages[1].content"},
    {MESSAGE("\"role\":\"user\",\"content\":\"a\",\"name\":\"x\",\"name\":\"y\""), "messages[1].name"},
    {MESSAGE("\"role\":\"user\",\"content\":\"a\",\"name\":1"), "messages[1].name"},
    {MESSAGE("\"role\":\"user\",\"content\":\"a\",\"name\":[]"), "messages[1].name"},
    {MESSAGE("\"role\":\"tool\",\"content\":\"a\",\"tool_call_id\":1"), "messages[1].tool_call_id"},
    {MESSAGE("\"role\":\"tool\",\"content\":\"a\",\"tool_call_id\":{}"), "messages[1].tool_call_id"},
    {MESSAGE("\"role\":\"tool\",\"tool_call_id\":\"a\",\"tool_call_id\":\"b\""), "messages[1].tool_call_id"},
};

static const struct bad bad_contents[] = {
    {CONTENT("1"), "messages[1].content"},
    {CONTENT("1.5"), "messages[1].content"},
    {CONTENT("true"), "messages[1].content"},
    {CONTENT("false"), "messages[1].content"},
    {CONTENT("{}"), "messages[1].content"},
    {CONTENT("{\"type\":\"text\",\"text\":\"x\"}"), "messages[1].content"},
    {CONTENT("[\"x\"]"), "messages[1].content[0]"},
    {CONTENT("[null]"), "messages[1].content[0]"},
    {CONTENT("[1]"), "messages[1].content[0]"},
    {CONTENT("[[]]"), "messages[1].content[0]"},
    {CONTENT("[{}]"), "messages[1].content[0].type"},
    {CONTENT("[{\"text\":\"x\"}]"), "messages[1].content[0].type"},
    {CONTENT("[{\"type\":null}]"), "messages[1].content[0].type"},
    {CONTENT("[{\"type\":1,\"text\":\"x\"}]"), "messages[1].content[0].type"},
    {CONTENT("[{\"type\":[\"text\"]}]"), "messages[1].content[0].type"},
    {CONTENT("[{\"type\":\"text\"}]"), "messages[1].content[0].text"},
    {CONTENT("[{\"type\":\"text\",\"text\":null}]"), "messages[1].content[0].text"},
    {CONTENT("[{\"type\":\"text\",\"text\":1}]"), "messages[1].content[0].text"},
    {CONTENT("[{\"type\":\"text\",\"text\":[\"x\"]}]"), "messages[1].content[0].text"},
    {CONTENT("[{\"text\":{},\"type\":\"t\\u0065xt\"}]"), "messages[1].content[0].text"},
    {CONTENT("[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\"}]"), "messages[1].content[1].text"},
    {CONTENT("[{\"type\":\"text\",\"text\":\"a\"},5]"), "messages[1].content[1]"},
    {CONTENT("[{\"type\":\"image_url\",\"image_url\":{}},{}]"), "messages[1].content[1].type"},
};

static const struct bad bad_tool_calls[] = {
    {CALLS("1"), "messages[1].tool_calls"},
    {CALLS("{}"), "messages[1].tool_calls"},
    {CALLS("\"x\""), "messages[1].tool_calls"},
    {CALLS("false"), "messages[1].tool_calls"},
    {CALLS("[],\"tool_calls\":[]"), "messages[1].tool_calls"},
    {CALLS("[1]"), "messages[1].tool_calls[0]"},
    {CALLS("[null]"), "messages[1].tool_calls[0]"},
    {CALLS("[[]]"), "messages[1].tool_calls[0]"},
    {CALLS("[{\"id\":1}]"), "messages[1].tool_calls[0].id"},
    {CALLS("[{\"id\":\"a\",\"type\":1}]"), "messages[1].tool_calls[0].type"},
    {CALLS("[{\"id\":\"a\",\"type\":\"function\",\"function\":1}]"), "messages[1].tool_calls[0].function"},
    {CALLS("[{\"id\":\"a\",\"type\":\"function\",\"function\":{}}]"),
     "messages[1].tool_calls[0].function.name"},
    {CALLS("[{\"function\":{\"name\":1,\"arguments\":\"{}\"}}]"), "messages[1].tool_calls[0].function.name"},
    {CALLS("[{\"function\":{\"name\":\"f\"}}]"), "messages[1].tool_calls[0].function.arguments"},
    {CALLS("[{\"function\":{\"name\":\"f\",\"arguments\":{}}}]"),
     "messages[1].tool_calls[0].function.arguments"},
    {CALLS("[{\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}},{\"id\":[]}]"),
     "messages[1].tool_calls[1].id"},
};

static const struct bad bad_members[] = {
    {MEMBER("\"stream\":1"), "stream"},
    {MEMBER("\"stream\":\"true\""), "stream"},
    {MEMBER("\"stream\":[]"), "stream"},
    {MEMBER("\"stream\":{}"), "stream"},
    {MEMBER("\"stream_options\":true"), "stream_options"},
    {MEMBER("\"stream_options\":\"x\""), "stream_options"},
    {MEMBER("\"stream_options\":[]"), "stream_options"},
    {MEMBER("\"stream_options\":1"), "stream_options"},
    {MEMBER("\"stream_options\":{\"include_usage\":1}"), "stream_options.include_usage"},
    {MEMBER("\"stream_options\":{\"include_usage\":\"true\"}"), "stream_options.include_usage"},
    {MEMBER("\"stream_options\":{\"include_usage\":{}}"), "stream_options.include_usage"},
    {MEMBER("\"stream_options\":{\"include_usage\":[]}"), "stream_options.include_usage"},
    {MEMBER("\"stream_options\":{\"include_usage\":true,\"include_usage\":false}"),
     "stream_options.include_usage"},
    {MEMBER("\"temperature\":-0.1"), "temperature"},
    {MEMBER("\"temperature\":2.1"), "temperature"},
    {MEMBER("\"temperature\":2.0000001"), "temperature"},
    {MEMBER("\"temperature\":-1e-9"), "temperature"},
    {MEMBER("\"temperature\":1e400"), "temperature"},
    {MEMBER("\"temperature\":\"1\""), "temperature"},
    {MEMBER("\"temperature\":true"), "temperature"},
    {MEMBER("\"temperature\":[]"), "temperature"},
    {MEMBER("\"temperature\":{}"), "temperature"},
    {MEMBER("\"t\\u0065mperature\":3"), "temperature"},
    {MEMBER("\"top_p\":-0.01"), "top_p"},
    {MEMBER("\"top_p\":1.01"), "top_p"},
    {MEMBER("\"top_p\":2"), "top_p"},
    {MEMBER("\"top_p\":\"0.5\""), "top_p"},
    {MEMBER("\"top_p\":false"), "top_p"},
    {MEMBER("\"max_tokens\":0"), "max_tokens"},
    {MEMBER("\"max_tokens\":-1"), "max_tokens"},
    {MEMBER("\"max_tokens\":-0"), "max_tokens"},
    {MEMBER("\"max_tokens\":0.5"), "max_tokens"},
    {MEMBER("\"max_tokens\":1.5"), "max_tokens"},
    {MEMBER("\"max_tokens\":15e-1"), "max_tokens"},
    {MEMBER("\"max_tokens\":1e400"), "max_tokens"},
    {MEMBER("\"max_tokens\":\"10\""), "max_tokens"},
    {MEMBER("\"max_tokens\":true"), "max_tokens"},
    {MEMBER("\"max_tokens\":[]"), "max_tokens"},
    {MEMBER("\"max_tokens\":{}"), "max_tokens"},
    {MEMBER("\"max_completion_tokens\":0"), "max_completion_tokens"},
    {MEMBER("\"max_completion_tokens\":-5"), "max_completion_tokens"},
    {MEMBER("\"max_completion_tokens\":2.5"), "max_completion_tokens"},
    {MEMBER("\"max_completion_tokens\":\"1\""), "max_completion_tokens"},
    {MEMBER("\"max_completion_tokens\":true"), "max_completion_tokens"},
    {MEMBER("\"presence_penalty\":-2.1"), "presence_penalty"},
    {MEMBER("\"presence_penalty\":2.1"), "presence_penalty"},
    {MEMBER("\"presence_penalty\":\"0\""), "presence_penalty"},
    {MEMBER("\"frequency_penalty\":-3"), "frequency_penalty"},
    {MEMBER("\"frequency_penalty\":3"), "frequency_penalty"},
    {MEMBER("\"frequency_penalty\":[0]"), "frequency_penalty"},
    {MEMBER("\"n\":0"), "n"},
    {MEMBER("\"n\":-1"), "n"},
    {MEMBER("\"n\":1.5"), "n"},
    {MEMBER("\"n\":\"1\""), "n"},
    {MEMBER("\"n\":true"), "n"},
    {MEMBER("\"seed\":1.5"), "seed"},
    {MEMBER("\"seed\":\"1\""), "seed"},
    {MEMBER("\"seed\":true"), "seed"},
    {MEMBER("\"seed\":[1]"), "seed"},
    {MEMBER("\"seed\":1e400"), "seed"},
    {MEMBER("\"stop\":1"), "stop"},
    {MEMBER("\"stop\":true"), "stop"},
    {MEMBER("\"stop\":{}"), "stop"},
    {MEMBER("\"stop\":[1]"), "stop[0]"},
    {MEMBER("\"stop\":[null]"), "stop[0]"},
    {MEMBER("\"stop\":[\"a\",\"b\",3]"), "stop[2]"},
    {MEMBER("\"stop\":[\"a\",[\"b\"]]"), "stop[1]"},
    {MEMBER("\"logprobs\":1.5"), "logprobs"},
    {MEMBER("\"logprobs\":-1"), "logprobs"},
    {MEMBER("\"logprobs\":{}"), "logprobs"},
    {MEMBER("\"logprobs\":\"true\""), "logprobs"},
    {MEMBER("\"top_logprobs\":-2"), "top_logprobs"},
    {MEMBER("\"top_logprobs\":1.5"), "top_logprobs"},
    {MEMBER("\"top_logprobs\":\"1\""), "top_logprobs"},
    {MEMBER("\"top_logprobs\":true"), "top_logprobs"},
    {MEMBER("\"logit_bias\":[]"), "logit_bias"},
    {MEMBER("\"logit_bias\":1"), "logit_bias"},
    {MEMBER("\"logit_bias\":\"x\""), "logit_bias"},
    {MEMBER("\"user\":1"), "user"},
    {MEMBER("\"user\":{}"), "user"},
    {MEMBER("\"user\":true"), "user"},
    {MEMBER("\"metadata\":[]"), "metadata"},
    {MEMBER("\"metadata\":\"x\""), "metadata"},
    {MEMBER("\"store\":1"), "store"},
    {MEMBER("\"store\":\"x\""), "store"},
    {MEMBER("\"parallel_tool_calls\":1"), "parallel_tool_calls"},
    {MEMBER("\"parallel_tool_calls\":\"no\""), "parallel_tool_calls"},
    {MEMBER("\"reasoning_effort\":[]"), "reasoning_effort"},
    {MEMBER("\"reasoning_effort\":{}"), "reasoning_effort"},
    {MEMBER("\"service_tier\":[]"), "service_tier"},
    {MEMBER("\"modalities\":\"text\""), "modalities"},
    {MEMBER("\"modalities\":[1]"), "modalities[0]"},
    {MEMBER("\"response_format\":\"json\""), "response_format"},
    {MEMBER("\"response_format\":[]"), "response_format"},
    {MEMBER("\"response_format\":true"), "response_format"},
    {MEMBER("\"tool_choice\":1"), "tool_choice"},
    {MEMBER("\"tool_choice\":[]"), "tool_choice"},
    {MEMBER("\"tool_choice\":true"), "tool_choice"},
    {MEMBER("\"tools\":1"), "tools"},
    {MEMBER("\"tools\":{}"), "tools"},
    {MEMBER("\"tools\":\"x\""), "tools"},
    {MEMBER("\"tools\":[1]"), "tools[0]"},
    {MEMBER("\"tools\":[null]"), "tools[0]"},
    {MEMBER("\"tools\":[\"f\"]"), "tools[0]"},
    {MEMBER("\"tools\":[{\"type\":1}]"), "tools[0].type"},
    {MEMBER("\"tools\":[{\"type\":\"function\",\"function\":1}]"), "tools[0].function"},
    {MEMBER("\"tools\":[{\"type\":\"function\",\"function\":[]}]"), "tools[0].function"},
    {MEMBER("\"tools\":[{\"type\":\"function\",\"function\":{}},{\"type\":2}]"), "tools[1].type"},
    {MEMBER("\"functions\":{}"), "functions"},
    {MEMBER("\"functions\":[1]"), "functions[0]"},
    {MEMBER("\"function_call\":1"), "function_call"},
};

struct read {
    struct arena arena;
    struct dialect_request request;
    struct dialect_problem problem;
    char *copy; /* of the body, exactly as long, so that a read beyond is seen */
    size_t len;
};

static int
read_body(struct read *read, struct dyn_slice body)
{
    arena_init(&read->arena, NULL, 0);
    read->copy = malloc(body.len > 0 ? body.len : 1);
    assert_non_null(read->copy);
    memcpy(read->copy, body.data, body.len);
    read->len = body.len;
    memset(&read->problem, 0x55, sizeof read->problem);
    return chat->read_request(dyn_slice(read->copy, body.len), &read->arena, &read->request, &read->problem);
}

static void
read_done(struct read *read)
{
    arena_fini(&read->arena);
    free(read->copy);
}

static void
expect_refused(const struct bad *bad)
{
    struct read read;
    int result = read_body(&read, dyn_slice_str(bad->body));
    if (result != -1 || strcmp(read.problem.param, bad->param) != 0) {
        print_error("%s\n  expected '%s'\n", bad->body, bad->param);
    }
    assert_int_equal(result, -1);
    assert_string_equal(read.problem.param, bad->param);
    assert_in_range(strlen(read.problem.message), 10, sizeof read.problem.message - 1);
    if (bad->param[0] != '\0') { /* the sentence begins with what is wrong */
        assert_int_equal(strncmp(read.problem.message, bad->param, strlen(bad->param)), 0);
    }
    read_done(&read);
}

static void
bad_bodies_are_refused_with_the_member_named(void **state)
{
    (void)state;
    static const struct {
        const struct bad *cases;
        size_t n;
    } tables[] = {
        {bad_texts, DYN_ARRAY_LEN(bad_texts)},           {bad_models, DYN_ARRAY_LEN(bad_models)},
        {bad_messages, DYN_ARRAY_LEN(bad_messages)},     {bad_contents, DYN_ARRAY_LEN(bad_contents)},
        {bad_tool_calls, DYN_ARRAY_LEN(bad_tool_calls)}, {bad_members, DYN_ARRAY_LEN(bad_members)},
    };
    size_t n = 0;
    for (size_t t = 0; t < DYN_ARRAY_LEN(tables); t++) {
        for (size_t i = 0; i < tables[t].n; i++, n++) {
            expect_refused(&tables[t].cases[i]);
        }
    }
    assert_true(n >= 200);
}

/* Every prefix of a request is no request. */
static void
a_cut_body_is_refused(void **state)
{
    (void)state;
    struct dyn_slice body =
        DYN_SLICE(CALLS("[{\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]"));
    for (size_t len = 0; len < body.len; len++) {
        struct read read;
        assert_int_equal(read_body(&read, dyn_slice(body.data, len)), -1);
        assert_string_equal(read.problem.param, "");
        read_done(&read);
    }
}

static void
depth_is_limited(void **state)
{
    (void)state;
    enum { DEPTH = 10000 };
    struct dyn_buf body = DYN_BUF_INIT;
    struct read read;
    dyn_buf_add_str(&body, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"x\":");
    for (int i = 0; i < DEPTH; i++) {
        dyn_buf_add_char(&body, '[');
    }
    for (int i = 0; i < DEPTH; i++) {
        dyn_buf_add_char(&body, ']');
    }
    dyn_buf_add_char(&body, '}');
    assert_int_equal(read_body(&read, dyn_buf_slice(&body)), -1);
    assert_non_null(strstr(read.problem.message, "deep"));
    read_done(&read);
    dyn_buf_fini(&body);
}

static void
a_model_name_has_a_limit(void **state)
{
    (void)state;
    char body[1200];
    char name[600];
    struct read read;
    memset(name, 'm', sizeof name);
    (void)snprintf(body, sizeof body, "{\"model\":\"%.513s\",\"messages\":[{\"role\":\"user\"}]}", name);
    assert_int_equal(read_body(&read, dyn_slice_str(body)), -1);
    assert_string_equal(read.problem.param, "model");
    read_done(&read);
    (void)snprintf(body, sizeof body, "{\"model\":\"%.512s\",\"messages\":[{\"role\":\"user\"}]}", name);
    assert_int_equal(read_body(&read, dyn_slice_str(body)), 0);
    read_done(&read);
}

static const char *const good[] = {
    "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}",
    " \t\r\n{ \"model\" : \"m\" , \"messages\" : [ { \"role\" : \"user\" , \"content\" : \"hi\" } ] } \n",
    "{\"messages\":[{\"content\":\"hi\",\"role\":\"user\"}],\"model\":\"m\"}",
    MESSAGE("\"role\":\"system\",\"content\":\"x\""),
    MESSAGE("\"role\":\"developer\",\"content\":\"x\""),
    MESSAGE("\"role\":\"assistant\",\"content\":\"x\""),
    MESSAGE("\"role\":\"function\",\"name\":\"f\",\"content\":null"),
    MESSAGE("\"role\":\"tool\",\"tool_call_id\":\"c\",\"content\":\"x\""),
    MESSAGE("\"role\":\"assistant\""),
    MESSAGE(
        "\"role\":\"us\\u0065r\",\"content\":\"x\",\"name\":null,\"tool_calls\":null,\"tool_call_id\":null"),
    MESSAGE("\"role\":\"assistant\",\"content\":\"x\",\"reasoning_content\":\"because\",\"refusal\":null,"
            "\"odd\":[1]"),
    CONTENT("null"),
    CONTENT("\"\""),
    CONTENT("[]"),
    CONTENT("[{\"type\":\"text\",\"text\":\"\"}]"),
    CONTENT("[{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:,\",\"detail\":\"low\"}},{\"type\":"
            "\"text\",\"text\":\"x\"}]"),
    CONTENT("[{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"\",\"format\":\"wav\"}},{\"type\":\"of "
            "the future\"}]"),
    CALLS("[]"),
    CALLS("[{\"id\":\"a\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}}]"),
    CALLS("[{\"id\":\"a\",\"type\":\"custom\",\"custom\":{\"name\":\"f\",\"input\":\"x\"}}]"),
    MEMBER("\"temperature\":0,\"top_p\":0,\"presence_penalty\":-2,\"frequency_penalty\":-2.0"),
    MEMBER("\"temperature\":2,\"top_p\":1,\"presence_penalty\":2,\"frequency_penalty\":2e0"),
    MEMBER("\"temperature\":0.7000000000000000000000000001,\"top_p\":1e-5"),
    MEMBER("\"temperature\":null,\"top_p\":null,\"n\":null,\"stop\":null,\"seed\":null,\"max_tokens\":null,"
           "\"user\":null"),
    MEMBER("\"stream\":null,\"stream_options\":null,\"tools\":null,\"tool_choice\":null,\"response_format\":"
           "null"),
    MEMBER("\"logprobs\":null,\"top_logprobs\":null,\"logit_bias\":null,\"metadata\":null,\"store\":null"),
    MEMBER("\"max_completion_tokens\":null,\"parallel_tool_calls\":null,\"functions\":null,\"function_call\":"
           "null"),
    MEMBER("\"n\":1,\"seed\":-12345678901234567890,\"top_logprobs\":0,\"logprobs\":false"),
    MEMBER("\"n\":128,\"seed\":12345678901234567890,\"top_logprobs\":20,\"logprobs\":true"),
    MEMBER("\"max_tokens\":1e2,\"seed\":1.0,\"n\":2.0"),
    /* Members that some provider documents in another form than OpenAI. */
    MEMBER("\"logprobs\":5,\"top_logprobs\":-1"),
    MEMBER("\"logprobs\":0,\"reasoning_effort\":512"),
    MEMBER("\"reasoning_effort\":false"),
    MEMBER("\"tools\":[{\"function\":{\"name\":\"f\"}},{\"type\":null,\"function\":{\"name\":\"g\"}}]"),
    /* What a client's record writes for the members that it does not use. */
    MEMBER("\"tools\":[{\"type\":\"custom\",\"function\":null,\"custom\":{\"name\":\"f\"}}]"),
    CALLS("[{\"id\":\"a\",\"type\":\"custom\",\"function\":null,"
          "\"custom\":{\"name\":\"f\",\"input\":\"x\"}}]"),
    CALLS("[{\"id\":null,\"type\":null,\"function\":{\"name\":\"f\",\"arguments\":\"\"}}]"),
    MEMBER("\"reasoning_effort\":null,\"service_tier\":null,\"modalities\":null,"
           "\"audio\":null,\"prediction\":null"),
    MEMBER("\"web_search_options\":{},\"verbosity\":\"low\",\"top_k\":40,\"min_p\":0.05,"
           "\"extra_body\":{\"a\":1}"),
    CONTENT("[{\"type\":\"refusal\",\"refusal\":\"no\"},{\"type\":\"file\",\"file\":{\"file_id\":\"f\"}},"
            "{\"type\":\"text\",\"text\":\"x\",\"cache_control\":{\"type\":\"ephemeral\"}}]"),
    MESSAGE("\"role\":\"assistant\",\"audio\":{\"id\":\"a\"}"),
    MESSAGE("\"role\":\"assistant\",\"content\":null,"
            "\"function_call\":{\"name\":\"f\",\"arguments\":\"{}\"}"),
    MEMBER("\"stop\":\"\""),
    MEMBER("\"stop\":[]"),
    MEMBER("\"stop\":[\"a\",\"b\",\"c\",\"d\",\"e\"]"),
    MEMBER("\"tools\":[]"),
    MEMBER("\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":"
           "\"object\"}}}]"),
    MEMBER("\"tools\":[{\"type\":\"web_search\"}],\"tool_choice\":\"auto\""),
    MEMBER("\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"f\"}}"),
    MEMBER("\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"x\",\"schema\":{}}}"),
    MEMBER("\"functions\":[{\"name\":\"f\"}],\"function_call\":\"auto\",\"modalities\":[\"text\"]"),
    MEMBER("\"unknown\":{\"deep\":[1,[2,[3,{\"x\":null}]]]},\"Temperature\":99,\"\":1,\"temperature \":9"),
    MEMBER("\"stream_options\":{\"include_obfuscation\":false}"),
    MEMBER("\"stream_options\":{\"include_usage\":null}"),
    MEMBER("\"stream_options\":{}"),
};

static void
good_bodies_are_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(good); i++) {
        struct read read;
        int result = read_body(&read, dyn_slice_str(good[i]));
        if (result != 0) {
            print_error("%s\n  %s\n", good[i], read.problem.message);
        }
        assert_int_equal(result, 0);
        assert_true(dyn_slice_is(read.request.model, "m"));
        assert_true(dyn_slice_is(read.request.model_value.raw, "\"m\""));
        assert_int_equal(read.copy[read.request.object_start - 1], '{');
        assert_false(read.request.is_empty_object);
        read_done(&read);
    }
}

static void
what_the_gateway_needs_is_found(void **state)
{
    (void)state;
    struct read read;
    assert_int_equal(
        read_body(&read, DYN_SLICE(MEMBER("\"stream\":true,\"stream_options\":{\"include_usage\":true}"))),
        0);
    assert_true(read.request.stream);
    assert_true(read.request.wants_usage);
    assert_true(dyn_slice_is(read.request.stream_options.raw, "{\"include_usage\":true}"));
    assert_int_equal(read.request.max_output_tokens, 0);
    read_done(&read);

    assert_int_equal(read_body(&read, DYN_SLICE(MEMBER("\"stream\":false,\"stream_options\":null"))), 0);
    assert_false(read.request.stream);
    assert_false(read.request.wants_usage);
    assert_true(dyn_slice_is(read.request.stream_options.raw, "null"));
    read_done(&read);

    assert_int_equal(read_body(&read, DYN_SLICE(MEMBER("\"stream\":true"))), 0);
    assert_true(read.request.stream);
    assert_null(read.request.stream_options.raw.data);
    read_done(&read);
}

/* Of two the larger, in either order: which of them a provider looks at is not known. */
static void
the_token_limit_is_found(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        uint64_t limit;
    } limits[] = {
        {MEMBER("\"max_tokens\":7"), 7},
        {MEMBER("\"max_completion_tokens\":9"), 9},
        {MEMBER("\"max_tokens\":7,\"max_completion_tokens\":9"), 9},
        {MEMBER("\"max_completion_tokens\":9,\"max_tokens\":7"), 9},
        {MEMBER("\"max_completion_tokens\":1,\"max_tokens\":700"), 700},
        {MEMBER("\"max_tokens\":700,\"max_completion_tokens\":1"), 700},
        {MEMBER("\"max_completion_tokens\":null,\"max_tokens\":7"), 7},
        {MEMBER("\"max_tokens\":1e3"), 1000},
        {MEMBER("\"max_tokens\":99999999999999999999999"), (uint64_t)INT64_MAX},
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(limits); i++) {
        struct read read;
        assert_int_equal(read_body(&read, dyn_slice_str(limits[i].body)), 0);
        assert_int_equal(read.request.max_output_tokens, limits[i].limit);
        read_done(&read);
    }
}

static void
the_number_of_choices_is_found(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        uint64_t n;
    } choices[] = {
        {MEMBER("\"seed\":1"), 0},
        {MEMBER("\"n\":null"), 0},
        {MEMBER("\"n\":1"), 1},
        {MEMBER("\"n\":128"), 128},
        {MEMBER("\"n\":99999999999999999999999"), (uint64_t)INT64_MAX},
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(choices); i++) {
        struct read read;
        assert_int_equal(read_body(&read, dyn_slice_str(choices[i].body)), 0);
        assert_int_equal(read.request.n_choices, choices[i].n);
        read_done(&read);
    }
}

static void
an_escaped_model_is_decoded(void **state)
{
    (void)state;
    struct read read;
    struct dyn_slice body =
        DYN_SLICE("{\"mod\\u0065l\":\"a\\/b\\u00e9\",\"messages\":[{\"role\":\"user\"}]}");
    assert_int_equal(read_body(&read, body), 0);
    assert_true(dyn_slice_is(read.request.model, "a/b\xC3\xA9"));
    assert_true(dyn_slice_is(read.request.model_value.raw, "\"a\\/b\\u00e9\""));
    read_done(&read);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_bodies_are_refused_with_the_member_named),
        cmocka_unit_test(a_cut_body_is_refused),
        cmocka_unit_test(depth_is_limited),
        cmocka_unit_test(a_model_name_has_a_limit),
        cmocka_unit_test(good_bodies_are_read),
        cmocka_unit_test(what_the_gateway_needs_is_found),
        cmocka_unit_test(the_token_limit_is_found),
        cmocka_unit_test(the_number_of_choices_is_found),
        cmocka_unit_test(an_escaped_model_is_decoded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
