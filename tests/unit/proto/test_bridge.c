/* A bridge's own work: the tool that stands for a schema, what is held meanwhile and how much of it, signs of
 * life; and what the codecs take for a text that says nothing. What goes over a bridge otherwise is in
 * tests/conformance/test_dialects.c. */
#include "proto/dialects/bridge.h"
#include "proto/dialects/chat.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define SCHEMA                                                                                               \
    "\"response_format\":{\"type\":\"json_schema\","                                                         \
    "\"json_schema\":{\"name\":\"n\",\"schema\":{\"type\":\"object\"}}}"
#define USER "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]"

static bridge_t *
open_bridge(const char *body, struct dyn_buf *sent)
{
    struct bridge_options options = {
        .client = &dialect_openai_chat, .upstream = &dialect_anthropic_messages, .now_s = 1};
    struct dialect_problem problem = {.message = ""};
    dyn_block_t *block;
    bridge_t *bridge = bridge_new(&options, dyn_slice_str(body), &block, &problem);
    assert_non_null(bridge);
    dyn_buf_add_slice(sent, dyn_block_slice(block));
    dyn_block_unref(&block);
    return bridge;
}

static bool
has(const struct dyn_buf *text, const char *part)
{
    return text->len > 0 && memmem(text->data, text->len, part, strlen(part)) != NULL;
}

/* What one event makes; appended to `out`. */
static struct dialect_event
feed(bridge_t *bridge, const char *data, struct dyn_buf *out)
{
    struct sse_event event = {.data = dyn_slice_str(data), .raw = dyn_slice_str(data)};
    struct dialect_event seen;
    assert_int_equal(bridge_event(bridge, &event, out, &seen), 0);
    return seen;
}

#define START "{\"type\":\"message_start\",\"message\":{\"id\":\"i\",\"model\":\"m\",\"content\":[]}}"
#define TEXT                                                                                                 \
    "{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}"
#define CALL                                                                                                 \
    "{\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"tool_use\",\"id\":\"t\","   \
    "\"name\":\"structured_answer\",\"input\":{}}}"
#define ARGUMENTS                                                                                            \
    "{\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"input_json_delta\",\"partial_"      \
    "json\":\"{}\"}}"
#define FINISH                                                                                               \
    "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"},\"usage\":{\"output_tokens\":5}}"
#define STOP "{\"type\":\"message_stop\"}"

/* A delta of a text of that many letters. */
static struct dialect_event
feed_text(bridge_t *bridge, char letter, size_t len, struct dyn_buf *out)
{
    struct dyn_buf data = DYN_BUF_INIT;
    dyn_buf_add_str(&data, "{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\","
                           "\"text\":\"");
    memset(dyn_buf_room(&data, len), letter, len);
    data.len += len;
    dyn_buf_add_str(&data, "\"}}");
    struct dialect_event seen = feed(bridge, dyn_buf_cstr(&data), out);
    dyn_buf_fini(&data);
    return seen;
}

static void
words_before_the_answer_are_held_and_dropped(void **state)
{
    struct dyn_buf sent = DYN_BUF_INIT;
    struct dyn_buf out = DYN_BUF_INIT;
    (void)state;
    bridge_t *bridge = open_bridge("{\"model\":\"m\",\"stream\":true," SCHEMA "," USER "}", &sent);
    assert_true(has(&sent, "\"disable_parallel_tool_use\":true"));
    (void)feed(bridge, START, &out);
    (void)feed(bridge, TEXT, &out);
    dyn_buf_clear(&out);
    assert_false(feed_text(bridge, 'a', 100, &out).content); /* an error may still be the whole answer's */
    assert_int_equal(out.len, 0);
    (void)feed(bridge, CALL, &out);
    assert_int_equal(out.len, 0);
    assert_true(feed(bridge, ARGUMENTS, &out).content);
    assert_true(has(&out, "\"content\":\"{}\""));
    assert_true(feed(bridge, FINISH, &out).finished);
    assert_true(has(&out, "\"finish_reason\":\"stop\""));
    assert_true(feed(bridge, STOP, &out).terminal);
    assert_false(has(&out, "aa"));
    dyn_buf_fini(&sent);
    dyn_buf_fini(&out);
    bridge_free(&bridge);
}

/* Nothing that was said is lost when no answer comes, and what is held has a bound. */
static void
more_words_than_an_introduction_has_are_the_answer(void **state)
{
    enum { PIECE = 10000, PIECES = 20 };
    struct dyn_buf sent = DYN_BUF_INIT;
    struct dyn_buf out = DYN_BUF_INIT;
    size_t letters = 0;
    (void)state;
    bridge_t *bridge = open_bridge("{\"model\":\"m\",\"stream\":true," SCHEMA "," USER "}", &sent);
    (void)feed(bridge, START, &out);
    (void)feed(bridge, TEXT, &out);
    dyn_buf_clear(&out);
    for (size_t i = 0; i < PIECES; i++) {
        (void)feed_text(bridge, 'Z', PIECE, &out);
        assert_true(out.len > 0 || (i + 1) * PIECE <= (size_t)64 * 1024);
    }
    (void)feed(bridge, CALL, &out);
    (void)feed(bridge, ARGUMENTS, &out);
    (void)feed(bridge, FINISH, &out);
    for (size_t i = 0; i < out.len; i++) {
        letters += out.data[i] == 'Z' ? 1 : 0;
    }
    assert_int_equal(letters, PIECE * PIECES);
    assert_false(has(&out, "{}\""));
    assert_false(has(&out, "tool_calls"));
    dyn_buf_fini(&sent);
    dyn_buf_fini(&out);
    bridge_free(&bridge);
}

static void
a_ping_is_a_comment_and_no_content(void **state)
{
    struct dyn_buf sent = DYN_BUF_INIT;
    struct dyn_buf out = DYN_BUF_INIT;
    (void)state;
    for (int has_begun = 0; has_begun < 2; has_begun++) {
        bridge_t *bridge = open_bridge("{\"model\":\"m\",\"stream\":true," USER "}", &sent);
        if (has_begun) {
            (void)feed(bridge, START, &out);
        }
        dyn_buf_clear(&out);
        struct dialect_event seen = feed(bridge, "{\"type\":\"ping\"}", &out);
        assert_false(seen.content || seen.finished || seen.terminal || seen.error || seen.usage.known);
        assert_string_equal(dyn_buf_cstr(&out), ": ping\n\n");
        bridge_free(&bridge);
    }
    dyn_buf_fini(&sent);
    dyn_buf_fini(&out);
}

/* What thinks is not forced. */
static void
a_schema_gives_way_to_thinking(void **state)
{
    static const struct {
        const char *thinking;
        bool is_lost;
    } cases[] = {{"{\"type\":\"enabled\",\"budget_tokens\":2048}", true},
                 {"{\"type\":\"adaptive\"}", true},
                 {"{\"type\":\"disabled\"}", false}};
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(cases); i++) {
        struct dyn_buf body = DYN_BUF_INIT;
        struct dyn_buf sent = DYN_BUF_INIT;
        dyn_buf_addf(&body, "{\"model\":\"m\",\"thinking\":%s," SCHEMA "," USER "}", cases[i].thinking);
        bridge_t *bridge = open_bridge(dyn_buf_cstr(&body), &sent);
        assert_int_equal(dyn_slice_is(bridge_losses(bridge), "response_format"), cases[i].is_lost);
        assert_int_equal(has(&sent, "structured_answer"), !cases[i].is_lost);
        assert_true(has(&sent, cases[i].thinking));
        bridge_free(&bridge);
        dyn_buf_fini(&sent);
        dyn_buf_fini(&body);
    }
}

/* The id stands in every chunk for the client. */
static void
an_upstream_cannot_make_chunks_long_by_its_id(void **state)
{
    enum { LONG = 100000 };
    struct dyn_buf sent = DYN_BUF_INIT;
    struct dyn_buf out = DYN_BUF_INIT;
    struct dyn_buf begin = DYN_BUF_INIT;
    (void)state;
    bridge_t *bridge = open_bridge("{\"model\":\"m\",\"stream\":true," USER "}", &sent);
    dyn_buf_add_str(&begin, "{\"type\":\"message_start\",\"message\":{\"model\":\"m\",\"id\":\"");
    memset(dyn_buf_room(&begin, LONG), 'i', LONG);
    begin.len += LONG;
    dyn_buf_add_str(&begin, "\"}}");
    (void)feed(bridge, dyn_buf_cstr(&begin), &out);
    (void)feed(bridge, TEXT, &out);
    (void)feed_text(bridge, 'a', 10, &out);
    assert_true(out.len < 1000);
    assert_true(has(&out, "\"id\":\"\"") && has(&out, "aaaaaaaaaa"));
    dyn_buf_fini(&begin);
    dyn_buf_fini(&sent);
    dyn_buf_fini(&out);
    bridge_free(&bridge);
}

static void
counts_beyond_belief_do_not_wrap(void **state)
{
    static const char answer[] =
        "{\"type\":\"message\",\"content\":[],\"usage\":{\"input_tokens\":9223372036854775807,"
        "\"cache_read_input_tokens\":1e300,\"output_tokens\":9223372036854775807}}";
    struct dyn_buf sent = DYN_BUF_INIT;
    struct dyn_buf out = DYN_BUF_INIT;
    struct env_usage usage;
    (void)state;
    bridge_t *bridge = open_bridge("{\"model\":\"m\"," USER "}", &sent);
    assert_int_equal(bridge_answer(bridge, dyn_slice_str(answer), &out, &usage), 0);
    assert_true(usage.known);
    assert_int_equal(usage.prompt_tokens, UINT64_C(1) << 54);
    assert_int_equal(usage.total_tokens, (UINT64_C(1) << 54) + (UINT64_C(1) << 53));
    dyn_buf_fini(&sent);
    dyn_buf_fini(&out);
    bridge_free(&bridge);
}

/* A record is many times larger than the shortest text of a part. */
static void
what_is_refused_anyway_is_read_no_further(void **state)
{
    struct dyn_buf body = DYN_BUF_INIT;
    struct dialect_problem problem = {.message = ""};
    struct chat_request request;
    struct arena arena;
    (void)state;
    dyn_buf_add_str(&body, "{\"model\":\"m\",\"tools\":[{\"type\":\"x\"}");
    for (size_t i = 0; i < 1000; i++) {
        dyn_buf_add_str(&body, ",{}");
    }
    dyn_buf_add_str(&body, "],\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"x\"}");
    for (size_t i = 0; i < 1000; i++) {
        dyn_buf_add_str(&body, ",{\"type\":\"x\"}");
    }
    dyn_buf_add_str(&body, "]}]}");
    arena_init(&arena, NULL, 0);
    assert_int_equal(dialect_openai_chat.chat->read_request(dyn_buf_slice(&body), &arena, &request, &problem),
                     0);
    assert_ptr_equal(request.tools, request.last_tool);
    assert_ptr_equal(request.messages->parts.first, request.messages->parts.last);
    struct bridge_options options = {.client = &dialect_openai_chat, .upstream = &dialect_anthropic_messages};
    dyn_block_t *block;
    assert_null(bridge_new(&options, dyn_buf_slice(&body), &block, &problem));
    assert_string_equal(problem.param, "tools[0]");
    arena_fini(&arena);
    dyn_buf_fini(&body);
}

static void
white_space_of_any_kind_says_nothing(void **state)
{
    static const char *const blank[] = {
        "\"\"",          "\" \"", "\"\\n\\t\\r\"", "\"\\u0020\\u00a0\\u3000\"", "\"\xC2\xA0\xE2\x80\x83\"",
        "\"\\u001f\\f\""};
    static const char *const visible[] = {"\"x\"",        "\"  .\"",     "\"\\n\\\\\"",
                                          "\"\\\"\"",     "\"\\u0041\"", "\"\\ud83d\\ude42\"",
                                          "\"\xC3\xBC\"", "\" \\/\""};
    (void)state;
    assert_true(chat_is_blank(dyn_slice(NULL, 0)));
    for (size_t i = 0; i < DYN_ARRAY_LEN(blank); i++) {
        assert_true(chat_is_blank(dyn_slice_str(blank[i])));
    }
    for (size_t i = 0; i < DYN_ARRAY_LEN(visible); i++) {
        assert_false(chat_is_blank(dyn_slice_str(visible[i])));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_before_the_answer_are_held_and_dropped),
        cmocka_unit_test(more_words_than_an_introduction_has_are_the_answer),
        cmocka_unit_test(a_ping_is_a_comment_and_no_content),
        cmocka_unit_test(a_schema_gives_way_to_thinking),
        cmocka_unit_test(an_upstream_cannot_make_chunks_long_by_its_id),
        cmocka_unit_test(counts_beyond_belief_do_not_wrap),
        cmocka_unit_test(what_is_refused_anyway_is_read_no_further),
        cmocka_unit_test(white_space_of_any_kind_says_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
