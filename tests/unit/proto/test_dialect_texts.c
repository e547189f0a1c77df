/* What is said in requests, answers and streams of the OpenAI chat dialect, where it stands, and events that
 * are written again with other text. */
#include "core/buf.h"
#include "proto/dialects/dialect.h"
#include "proto/dialects/texts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* As one line each: "kind role pointer text" */
static void
write_down(void *self, const struct dialect_text *text)
{
    static const char *const kinds[] = {"text",      "name",    "arguments", "result",
                                        "reasoning", "refusal", "image",     "member"};
    struct dyn_buf *out = self;
    struct dyn_buf room = DYN_BUF_INIT;
    struct dyn_slice said = dialect_text_decode(text->value, &room);
    dyn_buf_addf(out, "%s %.*s %u %.*s %.*s\n", kinds[text->kind], (int)text->role.len, text->role.data,
                 text->choice, (int)text->at.len, text->at.data, (int)said.len, said.data);
    dyn_buf_fini(&room);
}

static const struct dialect_texts *
chat(void)
{
    return dialect_openai_chat.texts;
}

/* The same whether the scan has noted where its members are or not. */
static bool
texts_of(struct dyn_slice body, struct dyn_buf *out)
{
    struct arena arena;
    struct dialect_request request;
    struct dialect_problem problem;
    struct dyn_buf again = DYN_BUF_INIT;
    size_t before = out->len;
    bool is_uninspectable = chat()->request(body, NULL, write_down, out);
    arena_init(&arena, NULL, 0);
    struct json_places places = {.n = 0};
    if (dialect_openai_chat.read_places(body, &arena, &request, &places, &problem) == 0) {
        assert_true(places.n > 0);
        assert_int_equal(chat()->request(body, &places, write_down, &again), is_uninspectable);
        assert_int_equal(again.len, out->len - before);
        assert_memory_equal(again.data, out->data + before, again.len);
    }
    json_places_fini(&places);
    dyn_buf_fini(&again);
    arena_fini(&arena);
    return is_uninspectable;
}

static void
every_text_of_a_request_is_told(void **state)
{
    (void)state;
    struct dyn_buf out = DYN_BUF_INIT;
    bool is_uninspectable = texts_of(
        DYN_SLICE(
            " {\"model\":\"m\",\"messages\":[{\"role\":\"system\",\"content\":\"be \\u006bind\"},"
            "{\"role\":\"user\",\"name\":\"bob\",\"content\":[{\"type\":\"text\",\"text\":\"one\"},"
            "{\"type\":\"image_url\",\"image_url\":{\"url\":\"http://x/y.png\"}}]},"
            "{\"role\":\"assistant\",\"content\":null,\"refusal\":\"no\",\"reasoning_content\":\"hm\","
            "\"tool_calls\":[{\"id\":\"1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":"
            "\"{\\\"a\\\":1}\"}}]},"
            "{\"content\":\"42\",\"role\":\"tool\",\"tool_call_id\":\"1\"}],"
            "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"description\":\"does f\"}}]}"),
        &out);
    assert_true(is_uninspectable);
    assert_string_equal(dyn_buf_cstr(&out),
                        "text system 0 /messages/0/content be kind\n"
                        "name user 0 /messages/1/name bob\n"
                        "text user 0 /messages/1/content/0/text one\n"
                        "image user 0 /messages/1/content/1/image_url/url http://x/y.png\n"
                        "refusal assistant 0 /messages/2/refusal no\n"
                        "reasoning assistant 0 /messages/2/reasoning_content hm\n"
                        "name assistant 0 /messages/2/tool_calls/0/function/name f\n"
                        "arguments assistant 0 /messages/2/tool_calls/0/function/arguments {\"a\":1}\n"
                        "result tool 0 /messages/3/content 42\n"
                        "name system 0 /tools/0/function/name f\n"
                        "text system 0 /tools/0/function/description does f\n");
    dyn_buf_fini(&out);
}

/* Of two members with the same key nobody knows which one an upstream reads. */
/* A model reads schemas, predictions and the older spelling of tools as it reads messages. */
static void
every_text_beside_the_messages_is_told(void **state)
{
    (void)state;
    struct dyn_buf out = DYN_BUF_INIT;
    (void)texts_of(
        DYN_SLICE("{\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"strict\":true,"
                  "\"parameters\":"
                  "{\"properties\":{\"a/b~\\u0063\":{\"description\":\"one\",\"enum\":[\"two\",3]}}}}},"
                  "{\"type\":\"custom\",\"custom\":{\"name\":\"g\",\"description\":\"three\"}}],"
                  "\"functions\":[{\"name\":\"h\",\"description\":\"four\"}],"
                  "\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"s\",\"schema\":"
                  "{\"title\":\"five\"}}},"
                  "\"prediction\":{\"type\":\"content\",\"content\":[{\"type\":\"text\",\"text\":\"six\"}]},"
                  "\"messages\":[{\"role\":\"assistant\",\"content\":\"x\",\"thinking\":\"seven\","
                  "\"reasoning_details\":"
                  "[{\"type\":\"reasoning.text\",\"text\":\"eight\"}]}]}"),
        &out);
    assert_string_equal(dyn_buf_cstr(&out),
                        "name system 0 /tools/0/function/name f\n"
                        "member system 0 /tools/0/function/parameters/properties/a~1b~0c a/b~c\n"
                        "text system 0 /tools/0/function/parameters/properties/a~1b~0c/description one\n"
                        "text system 0 /tools/0/function/parameters/properties/a~1b~0c/enum/0 two\n"
                        "name system 0 /tools/1/custom/name g\n"
                        "text system 0 /tools/1/custom/description three\n"
                        "name system 0 /functions/0/name h\n"
                        "text system 0 /functions/0/description four\n"
                        "name system 0 /response_format/json_schema/name s\n"
                        "text system 0 /response_format/json_schema/schema/title five\n"
                        "text assistant 0 /prediction/content/0/type text\n"
                        "text assistant 0 /prediction/content/0/text six\n"
                        "text assistant 0 /messages/0/content x\n"
                        "reasoning assistant 0 /messages/0/thinking seven\n"
                        "reasoning assistant 0 /messages/0/reasoning_details/0/text eight\n");
    dyn_buf_fini(&out);
}

/* It cannot be named, so it cannot be looked at. */
static void
what_lies_too_deep_is_uninspectable(void **state)
{
    (void)state;
    enum { LONGEST = 1024 };
    for (size_t len = 900; len < 1100; len++) {
        struct dyn_buf body = DYN_BUF_INIT;
        struct dyn_buf out = DYN_BUF_INIT;
        dyn_buf_add_str(&body, "{\"functions\":[{\"parameters\":{\"");
        for (size_t i = 0; i < len; i++) {
            dyn_buf_add_char(&body, i % 100 == 0 ? '/' : 'n');
        }
        dyn_buf_add_str(&body, "\":\"deep\"}}]}");
        bool is_uninspectable = texts_of(dyn_buf_slice(&body), &out);
        assert_true(is_uninspectable != (out.len > 0));
        assert_true(out.len < LONGEST + 40);
        dyn_buf_fini(&body);
        dyn_buf_fini(&out);
    }
}

static void
answers_in_unusual_places_are_told(void **state)
{
    (void)state;
    struct dyn_buf out = DYN_BUF_INIT;
    assert_int_equal(
        chat()->answer(
            DYN_SLICE("{\"choices\":[{\"message\":{\"content\":{\"text\":\"one\"},"
                      "\"reasoning\":{\"summary\":\"two\"},"
                      "\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":{\"a\":[\"three\"]}}}],"
                      "\"reasoning_details\":[{\"summary\":\"four\"}]}}]}"),
            false, write_down, &out),
        0);
    assert_string_equal(dyn_buf_cstr(&out),
                        "text assistant 0 /choices/0/message/content/text one\n"
                        "text assistant 0 /choices/0/message/reasoning/summary two\n"
                        "name assistant 0 /choices/0/message/tool_calls/0/function/name f\n"
                        "member assistant 0 /choices/0/message/tool_calls/0/function/arguments/a a\n"
                        "text assistant 0 /choices/0/message/tool_calls/0/function/arguments/a/0 three\n"
                        "reasoning assistant 0 /choices/0/message/reasoning_details/0/summary four\n");
    dyn_buf_fini(&out);
}

/* A model reads the names of a schema, and whatever else a provider takes that this dialect does not know. */
static void
all_that_a_model_may_read_is_told(void **state)
{
    (void)state;
    struct dyn_buf out = DYN_BUF_INIT;
    (void)texts_of(
        DYN_SLICE(
            "{\"model\":\"m\",\"seed\":1,\"user\":\"u\",\"metadata\":{\"k\":\"v\"},\"stop\":[\"s\"],"
            "\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"c\"}},"
            "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":"
            "\"object\","
            "\"properties\":{\"a\\u0062\":{\"x-y\":{}}}}}},{\"name\":\"g\",\"input_schema\":{\"z\":1}}],"
            "\"documents\":[{\"about\":\"d\"}],"
            "\"messages\":[{\"role\":\"user\",\"mood\":\"glad\",\"content\":[{\"type\":\"file\",\"file\":"
            "{\"filename\":\"n\",\"file_data\":\"AAAA\"}},{\"type\":\"text\",\"text\":\"t\",\"alt\":\"w\"}]}]"
            "}"),
        &out);
    assert_string_equal(dyn_buf_cstr(&out),
                        "name system 0 /tool_choice/function/name c\n"
                        "name system 0 /tools/0/function/name f\n"
                        "text system 0 /tools/0/function/parameters/type object\n"
                        "member system 0 /tools/0/function/parameters/properties/ab ab\n"
                        "member system 0 /tools/0/function/parameters/properties/ab/x-y x-y\n"
                        "text system 0 /tools/1/name g\n"
                        "member system 0 /tools/1/input_schema input_schema\n"
                        "member system 0 /tools/1/input_schema/z z\n"
                        "member system 0 /documents documents\n"
                        "member system 0 /documents/0/about about\n"
                        "text system 0 /documents/0/about d\n"
                        "member user 0 /messages/0/mood mood\n"
                        "text user 0 /messages/0/mood glad\n"
                        "name user 0 /messages/0/content/0/file/filename n\n"
                        "text user 0 /messages/0/content/1/text t\n"
                        "member user 0 /messages/0/content/1/alt alt\n"
                        "text user 0 /messages/0/content/1/alt w\n");
    dyn_buf_fini(&out);
}

static void
what_stands_twice_is_told_twice(void **state)
{
    (void)state;
    struct dyn_buf out = DYN_BUF_INIT;
    bool is_uninspectable = texts_of(DYN_SLICE("{\"messages\":[{\"role\":\"user\",\"tool_calls\":[{"
                                               "\"function\":{\"name\":\"f\",\"arguments\":\"a\","
                                               "\"arguments\":\"b\"}}]}]}"),
                                     &out);
    assert_false(is_uninspectable);
    assert_non_null(strstr(dyn_buf_cstr(&out), "arguments a\n"));
    assert_non_null(strstr(dyn_buf_cstr(&out), "arguments b\n"));
    dyn_buf_fini(&out);
}

static void
every_text_of_an_answer_is_told(void **state)
{
    (void)state;
    struct dyn_buf out = DYN_BUF_INIT;
    assert_int_equal(
        chat()->answer(DYN_SLICE("{\"choices\":[{\"index\":1,\"message\":{\"role\":\"assistant\","
                                 "\"content\":\"a\\ud83d b\",\"reasoning\":\"r\"}},"
                                 "{\"message\":{\"content\":[{\"type\":\"text\",\"text\":\"p\"}]}}]}"),
                       false, write_down, &out),
        0);
    assert_string_equal(dyn_buf_cstr(&out), "text assistant 1 /choices/0/message/content a\xEF\xBF\xBD b\n"
                                            "reasoning assistant 1 /choices/0/message/reasoning r\n"
                                            "text assistant 1 /choices/1/message/content/0/text p\n");
    assert_int_equal(chat()->answer(DYN_SLICE("{\"choices\":[{\"message\":{\"audio\":{\"data\":\"..\"}}}]}"),
                                    false, write_down, &out),
                     1);
    assert_int_equal(chat()->answer(DYN_SLICE("<html>"), false, write_down, &out), -1);
    dyn_buf_fini(&out);
}

static struct dialect_event_texts
read_event(struct dialect_texts_state *reading, const char *data)
{
    struct dialect_event_texts seen;
    struct sse_event event = {.data = dyn_slice_str(data)};
    assert_int_equal(chat()->event(reading, &event, &seen), 0);
    return seen;
}

static void
events_say_what_they_add_and_what_they_wait_for(void **state)
{
    (void)state;
    struct dialect_texts_state reading = {0};
    struct dialect_event_texts seen = read_event(
        &reading,
        "{\"id\":\"x\",\"choices\":[{\"index\":2,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}");
    assert_int_equal(seen.n, 0);
    assert_int_equal(seen.scope, DIALECT_EVENT_PIECES);
    assert_int_equal(seen.choice, 2);
    seen = read_event(&reading,
                      "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\",\"reasoning\":\"so\","
                      "\"tool_calls\":[{\"index\":3,\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}]},"
                      "\"logprobs\":{\"content\":[{\"token\":\"hi\"}]},\"finish_reason\":null}]}");
    assert_int_equal(seen.n, 4);
    assert_int_equal(seen.n_repeats, 1);
    assert_int_equal(seen.pieces[0].channel.kind, VOTE_TEXT);
    assert_int_equal(seen.pieces[1].channel.kind, VOTE_TEXT_REASONING);
    assert_int_equal(seen.pieces[2].channel.kind, VOTE_TEXT_NAME);
    assert_int_equal(seen.pieces[3].channel.kind, VOTE_TEXT_TOOL_ARGUMENTS);
    assert_int_equal(seen.pieces[3].channel.tool, 3);
    seen = read_event(&reading, "{\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}");
    assert_int_equal(seen.scope, DIALECT_EVENT_CHOICE);
    seen = read_event(&reading, "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}},{\"index\":1,"
                                "\"delta\":{\"content\":\"b\"}}]}");
    assert_int_equal(seen.scope, DIALECT_EVENT_ALL);
    assert_int_equal(seen.n, 2);
    assert_int_equal(seen.pieces[1].channel.choice, 1);
    seen = read_event(&reading, "{\"choices\":[],\"usage\":{\"prompt_tokens\":1}}");
    assert_int_equal(seen.scope, DIALECT_EVENT_ALL);
    seen = read_event(&reading, "{\"error\":{\"message\":\"bad\"}}");
    assert_true(seen.is_error);
    seen = read_event(&reading, " [DONE]");
    assert_true(seen.is_end);
    assert_true(read_event(&reading, "").is_silent);
    struct sse_event garbage = {.data = DYN_SLICE("{\"choices\":")};
    assert_int_equal(chat()->event(&reading, &garbage, &seen), -1);
    dialect_texts_state_fini(&reading);
}

static void
calls_without_numbers_are_told_apart_by_ids(void **state)
{
    (void)state;
    struct dialect_texts_state reading = {0};
    static const struct {
        const char *call;
        uint32_t tool;
    } calls[] = {
        {"\"id\":\"a\",\"function\":{\"name\":\"f\"}", 0},
        {"\"function\":{\"arguments\":\"1\"}", 0},
        {"\"id\":\"b\",\"function\":{\"name\":\"g\"}", 1},
        {"\"function\":{\"arguments\":\"2\"}", 1},
    };
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        char data[200];
        (void)snprintf(data, sizeof data, "{\"choices\":[{\"delta\":{\"tool_calls\":[{%s}]}}]}",
                       calls[i].call);
        struct dialect_event_texts seen = read_event(&reading, data);
        assert_int_equal(seen.n, 1);
        assert_int_equal(seen.pieces[0].channel.tool, calls[i].tool);
    }
    dialect_texts_state_fini(&reading);
}

/* In whatever order they came, and of those that come twice the first; of the stream's first event alone. */
static void
what_every_event_begins_with_is_kept_once(void **state)
{
    (void)state;
    struct dialect_texts_state reading = {0};
    struct dyn_buf out = DYN_BUF_INIT;
    struct dialect_event_texts seen =
        read_event(&reading, "{\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"error\":null,"
                             "\"system_fingerprint\":\"f\",\"model\":\"m\",\"model\":\"n\",\"id\":7,"
                             "\"error\":\"late\"}");
    assert_false(seen.is_error);
    seen = read_event(&reading, "{\"id\":8,\"error\":\"bad\",\"choices\":[{\"delta\":{\"content\":\"b\"}}]}");
    assert_true(seen.is_error);
    chat()->write(&reading, (struct vote_channel){0, VOTE_TEXT, 0}, DYN_SLICE("so"), &out);
    assert_string_equal(dyn_buf_cstr(&out),
                        "data: {\"id\":7,\"model\":\"m\",\"system_fingerprint\":\"f\",\"choices\":[{"
                        "\"index\":0,\"delta\":{\"content\":\"so\"},\"finish_reason\":null}]}\n\n");
    dialect_texts_state_fini(&reading);
    dyn_buf_fini(&out);
}

static void
an_event_is_written_again_with_other_text(void **state)
{
    (void)state;
    struct dialect_texts_state reading = {0};
    struct dialect_event_texts seen;
    struct dyn_buf out = DYN_BUF_INIT;
    struct sse_event event = {.type = DYN_SLICE("x"),
                              .data =
                                  DYN_SLICE("{\"id\":\"c\",\"model\":\"m\",\"new\":[1e2],\"choices\":[{"
                                            "\"index\":0,\"logprobs\":{\"content\":[]},"
                                            "\"delta\":{\"content\":\"a\\ud83d\",\"reasoning\":\"r\"}}]}")};
    assert_int_equal(chat()->event(&reading, &event, &seen), 0);
    struct dyn_slice texts[] = {DYN_SLICE("say \"***\""), DYN_SLICE("")};
    chat()->rewrite(&event, &seen, texts, &out);
    assert_string_equal(
        dyn_buf_cstr(&out),
        "event: x\ndata: {\"id\":\"c\",\"model\":\"m\",\"new\":[1e2],\"choices\":[{\"index\":0,"
        "\"logprobs\":null,\"delta\":{\"content\":\"say \\\"***\\\"\",\"reasoning\":\"\"}}]}\n\n");
    dyn_buf_clear(&out);
    chat()->write(&reading, (struct vote_channel){1, VOTE_TEXT_REASONING, 0}, DYN_SLICE("so"), &out);
    assert_string_equal(dyn_buf_cstr(&out),
                        "data: {\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"index\":1,\"delta\":{"
                        "\"reasoning\":\"so\"},\"finish_reason\":null}]}\n\n");
    dyn_buf_clear(&out);
    chat()->write(&reading, (struct vote_channel){0, VOTE_TEXT_TOOL_ARGUMENTS, 2}, DYN_SLICE("{\"a"), &out);
    assert_string_equal(dyn_buf_cstr(&out),
                        "data: {\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{"
                        "\"tool_calls\":[{\"index\":2,\"function\":{\"arguments\":\"{\\\"a\"}}]},"
                        "\"finish_reason\":null}]}\n\n");
    dyn_buf_clear(&out);
    uint32_t choice = 0;
    chat()->close(&reading, &choice, 1, DYN_SLICE("Removed."), &out);
    assert_string_equal(dyn_buf_cstr(&out),
                        "data: {\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{"
                        "\"content\":\"Removed.\"},\"finish_reason\":\"content_filter\"}]}\n\n"
                        "data: [DONE]\n\n");
    dyn_buf_fini(&out);
    dialect_texts_state_fini(&reading);
}

static void
characters_cut_between_pieces_are_put_together(void **state)
{
    (void)state;
    struct dyn_buf out = DYN_BUF_INIT;
    uint16_t half = 0;
    struct json_value first = {JSON_STRING, DYN_SLICE("\"a\\u00e9\\n\\ud83d\"")};
    struct json_value second = {JSON_STRING, DYN_SLICE("\"\\uDE00b\"")};
    struct json_value lone = {JSON_STRING, DYN_SLICE("\"\\ude00\\u0000\\ud83dx\"")};
    assert_false(dialect_piece_decode(first, &half, &out));
    assert_int_equal(half, 0xD83D);
    assert_false(dialect_piece_decode(second, &half, &out));
    assert_int_equal(half, 0);
    assert_true(dialect_piece_decode(lone, &half, &out));
    assert_string_equal(dyn_buf_cstr(&out), "a\xC3\xA9\n\xF0\x9F\x98\x80"
                                            "b\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBDx");
    dyn_buf_fini(&out);
}

static void
embeddings_have_texts_or_tokens(void **state)
{
    (void)state;
    struct dyn_buf out = DYN_BUF_INIT;
    const struct dialect_texts *texts = dialect_openai_embeddings.texts;
    assert_false(texts->request(DYN_SLICE("{\"input\":\"a\"}"), NULL, write_down, &out));
    assert_false(texts->request(DYN_SLICE("{\"input\":[\"b\",\"c\"]}"), NULL, write_down, &out));
    assert_true(texts->request(DYN_SLICE("{\"input\":[[1,2]]}"), NULL, write_down, &out));
    assert_string_equal(dyn_buf_cstr(&out),
                        "text user 0 /input a\ntext user 0 /input/0 b\ntext user 0 /input/1 c\n");
    dyn_buf_fini(&out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_text_of_a_request_is_told),
        cmocka_unit_test(every_text_beside_the_messages_is_told),
        cmocka_unit_test(what_lies_too_deep_is_uninspectable),
        cmocka_unit_test(answers_in_unusual_places_are_told),
        cmocka_unit_test(all_that_a_model_may_read_is_told),
        cmocka_unit_test(what_stands_twice_is_told_twice),
        cmocka_unit_test(every_text_of_an_answer_is_told),
        cmocka_unit_test(events_say_what_they_add_and_what_they_wait_for),
        cmocka_unit_test(calls_without_numbers_are_told_apart_by_ids),
        cmocka_unit_test(what_every_event_begins_with_is_kept_once),
        cmocka_unit_test(an_event_is_written_again_with_other_text),
        cmocka_unit_test(characters_cut_between_pieces_are_put_together),
        cmocka_unit_test(embeddings_have_texts_or_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
