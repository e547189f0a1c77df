/* Events and answers of OpenAI-like upstreams: what each means, and which are garbage. */
#include "core/rand.h"
#include "proto/dialects/dialect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define CHUNK(choice)                                                                                        \
    "{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[" choice  \
    "]"
#define DELTA(delta)                                                                                         \
    CHUNK("{\"index\":0,\"delta\":{" delta "},\"logprobs\":null,\"finish_reason\":null}") ",\"usage\":null}"
#define USAGE "\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":7,\"total_tokens\":18}"

struct event_case {
    const char *type;
    const char *data;
    const char
        *flags; /* t erminal, e rror, c ontent, u sage only, f inished, n umbers of tokens known; ! garbage */
    const char *message;
};

static const struct event_case cases[] = {
    /* the end, and nothing */
    {NULL, "[DONE]", "t", NULL},
    {NULL, "[DONE] ", "t", NULL},
    {NULL, "[DONE]\t\n", "t", NULL},
    {NULL, NULL, "", NULL},
    {NULL, "", "", NULL},
    {NULL, "  ", "", NULL},
    /* garbage */
    {NULL, "[done]", "!", NULL},
    {NULL, "hello", "!", NULL},
    {NULL, "[]", "!", NULL},
    {NULL, "null", "!", NULL},
    {NULL, "\"{}\"", "!", NULL},
    {NULL, "{", "!", NULL},
    {NULL, "}", "!", NULL},
    {NULL, "{\"choices\":", "!", NULL},
    {NULL, "{\"choices\":[{]}", "!", NULL},
    {NULL, "{\"id\":\"\xff\"}", "!", NULL},
    {NULL, "<html></html>", "!", NULL},
    {NULL, "{} {}", "!", NULL},
    {NULL, "{\"a\":1}x}", "!", NULL},
    /* an answer has not begun */
    {NULL, "{}", "", NULL},
    {NULL, "{\"choices\":[]}", "", NULL},
    {NULL, "{\"choices\":null}", "", NULL},
    {NULL, "{\"choices\":{}}", "", NULL},
    {NULL, CHUNK("") "}", "", NULL},
    {NULL, CHUNK("{\"index\":0,\"delta\":{}}") "}", "", NULL},
    {NULL, CHUNK("{\"index\":0}") "}", "", NULL},
    {NULL, CHUNK("{\"index\":0,\"delta\":null}") "}", "", NULL},
    {NULL, CHUNK("{\"index\":0,\"delta\":\"text\"}") "}", "", NULL},
    {NULL, CHUNK("7,null,\"x\"") "}", "", NULL},
    {NULL, DELTA("\"role\":\"assistant\""), "", NULL},
    {NULL, DELTA("\"role\":\"assistant\",\"content\":\"\",\"refusal\":null"), "", NULL},
    {NULL, DELTA("\"content\":\"\""), "", NULL},
    {NULL, DELTA("\"content\":null"), "", NULL},
    {NULL, DELTA("\"content\":[],\"tool_calls\":[]"), "", NULL},
    {NULL, "{\"id\":\"\",\"model\":\"\",\"choices\":[],\"prompt_filter_results\":[{\"prompt_index\":0}]}", "",
     NULL},
    {NULL, CHUNK("{\"index\":0,\"delta\":{},\"finish_reason\":\"\"}") "}", "", NULL},
    {NULL, "{\"x_groq\":{\"id\":\"req\"},\"choices\":[]}", "", NULL},
    {NULL, DELTA("\"role\":\"assistant\",\"content\":\"\"") " ", "", NULL},
    /* it has */
    {NULL, DELTA("\"content\":\"x\""), "c", NULL},
    {NULL, DELTA("\"content\":\" \""), "c", NULL},
    {NULL, DELTA("\"content\":\"\\n\""), "c", NULL},
    {NULL, DELTA("\"content\":\"\\\"\""), "c", NULL},
    {NULL, DELTA("\"role\":\"assistant\",\"content\":\"x\""), "c", NULL},
    {NULL, DELTA("\"content\":\"x\",\"role\":\"assistant\""), "c", NULL},
    {NULL, DELTA("\"content\":[{\"type\":\"text\",\"text\":\"x\"}]"), "c", NULL},
    {NULL, DELTA("\"reasoning_content\":\"x\""), "c", NULL},
    {NULL, DELTA("\"reasoning\":\"x\""), "c", NULL},
    {NULL, DELTA("\"reasoning\":\"\",\"content\":\"x\""), "c", NULL},
    {NULL, DELTA("\"refusal\":\"no\""), "c", NULL},
    {NULL,
     DELTA("\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}}]"),
     "c", NULL},
    {NULL, DELTA("\"function_call\":{\"name\":\"f\"}"), "c", NULL},
    {NULL, DELTA("\"audio\":{\"id\":\"a\"}"), "c", NULL},
    {NULL, " " DELTA("\"content\" : \"x\"") "\n", "c", NULL},
    {NULL, "{\"choices\":[{\"text\":\"x\"}]}", "c", NULL},
    {NULL, "{\"choices\":[{\"delta\":{}},{\"delta\":{\"content\":\"x\"}}]}", "c", NULL},
    {NULL, "{\"choices\":[{\"delta\":{\"content\":\"x\"}},{\"delta\":{\"content\":\"y\"}}]}", "c", NULL},
    {NULL, "{\"choices\":[{\"message\":{\"role\":\"assistant\",\"content\":\"x\"}}]}", "c", NULL},
    /* words that are not what they look like */
    {NULL, DELTA("\"content\":\"error\""), "c", NULL},
    {NULL, DELTA("\"content\":\"usage\""), "c", NULL},
    {NULL, DELTA("\"content\":\"delta\""), "c", NULL},
    {NULL, DELTA("\"content\":\"finish_reason\""), "c", NULL},
    {NULL, DELTA("\"content\":\"\\\"error\\\":{}\""), "c", NULL},
    {NULL, DELTA("\"content\":\"say \\\"error\""), "c", NULL},
    {NULL, DELTA("\"content\":\"say \\\"delta\""), "c", NULL},
    {NULL, DELTA("\"content\":\"\\\"usage\\\":{\\\"prompt_tokens\\\":1}\""), "c", NULL},
    {NULL, DELTA("\"content\":\"[DONE]\""), "c", NULL},
    {NULL, "{\"error\":null,\"choices\":[{\"delta\":{\"content\":\"x\"}}]}", "c", NULL},
    {NULL, "{\"choices\":[{\"delta\":{\"content\":\"x\"}}],\"error\" : null }", "c", NULL},
    {NULL, "{\"choices\":[{\"delta\":{\"content\":\"x\"}}],\"error\":{}}", "c", NULL},
    {NULL, "{\"choices\":[{\"delta\":{\"content\":\"x\"}}],\"error\":\"\"}", "c", NULL},
    {NULL, "{\"choices\":[{\"delta\":{\"content\":\"x\"}}],\"error\":false}", "c", NULL},
    {"message", DELTA("\"content\":\"x\""), "c", NULL},
    /* the finish */
    {NULL, CHUNK("{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}") "}", "cf", NULL},
    {NULL, CHUNK("{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_reason\":\"length\"}") "}", "cf", NULL},
    {NULL, CHUNK("{\"finish_reason\":\"stop\",\"index\":0,\"delta\":{\"content\":\"x\"}}") "}", "cf", NULL},
    {NULL, "{\"choices\":[{\"delta\":{},\"finish_reason\" : \"tool_calls\"}]}", "cf", NULL},
    /* usage, wherever it stands */
    {NULL, CHUNK("") "," USAGE "}", "un", NULL},
    {NULL, "{\"choices\": [ ] , " USAGE "}", "un", NULL},
    {NULL, CHUNK("{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}") "," USAGE "}", "cfn", NULL},
    {NULL, CHUNK("{\"index\":0,\"delta\":{\"content\":\"x\"}}") "," USAGE "}", "cn", NULL},
    {NULL, "{" USAGE ",\"choices\":[{\"delta\":{\"content\":\"x\"}}]}", "cn", NULL},
    {NULL, "{" USAGE "}", "n", NULL},
    {NULL, "{\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"," USAGE "}]}", "cfn", NULL},
    {NULL, "{\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"x_groq\":{\"id\":\"r\"," USAGE "}}",
     "cfn", NULL},
    {NULL, CHUNK("") ",\"usage\":null}", "", NULL},
    {NULL, CHUNK("") ",\"usage\":{}}", "", NULL},
    {NULL, CHUNK("") ",\"usage\":[]}", "", NULL},
    {NULL, CHUNK("") ",\"usage\":{\"prompt_tokens\":0,\"completion_tokens\":0,\"total_tokens\":0}}", "",
     NULL},
    {NULL, CHUNK("{\"delta\":{\"content\":\"x\"}}") ",\"usage\":{\"a\":1}}", "c", NULL},
    /* errors in all their forms */
    {NULL, "{\"error\":{\"message\":\"over\\nloaded\",\"type\":\"server_error\"}}", "e", "over\\nloaded"},
    {NULL, "{\"error\":{\"type\":\"server_error\"}}", "e", NULL},
    {NULL, "{\"error\":{\"message\":7}}", "e", NULL},
    {NULL, "{\"error\":\"broken\"}", "e", "broken"},
    {NULL, "{\"error\":true}", "e", NULL},
    {NULL, "{\"error\" : {\"message\":\"m\"},\"choices\":[]}", "e", "m"},
    {NULL, "{\"choices\":[{\"delta\":{\"content\":\"x\"}}],\"error\":{\"message\":\"m\"}}", "ec", "m"},
    {NULL, "{\"error\":{\"message\":\"m\"},\"choices\":[]," USAGE "}", "en", "m"},
    {NULL, "{\"choices\":[{\"delta\":{\"content\":\"\"},\"error\":{\"message\":\"m\"}}]}", "e", "m"},
    {NULL, "{\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":\"error\"}]}", "ec", NULL},
    {NULL, "{\"choices\":[],\"x_groq\":{\"error\":\"m\"}}", "e", "m"},
    {NULL, "{\"object\":\"error\",\"message\":\"m\",\"code\":400}", "e", "m"},
    {NULL, "{\"type\":\"error\",\"message\":\"m\"}", "e", "m"},
    {NULL, "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"m\"}}", "e", "m"},
    {NULL, "{\"detail\":\"m\"}", "e", "m"},
    {NULL, "{\"detail\":[{\"msg\":\"m\"}]}", "e", NULL},
    {"error", "{\"error\":{\"message\":\"m\"}}", "e", "m"},
    {"error", "{\"message\":\"m\"}", "e", "m"},
    {"error", "{\"code\":1}", "e", NULL},
    {"error", "broken", "e", NULL},
    {"error", "", "e", NULL},
    {"error", NULL, "e", NULL},
    {"error", "[DONE]", "e", NULL},
    /* escapes that only upstreams use: half a character, NUL */
    {NULL, DELTA("\"content\":\"\\ud83d\""), "c", NULL},
    {NULL, CHUNK("{\"delta\":{\"content\":\"\\ud83d\"}}") "," USAGE "}", "cn", NULL},
    {NULL, CHUNK("{\"delta\":{\"content\":\"\\ude00\\u0000\\\\ud83d\"}}") "," USAGE "}", "cn", NULL},
    {NULL, CHUNK("{\"delta\":{\"content\":\"\\ud83d\\ude00\\uD83D\\u0041\"}}") "," USAGE "}", "cn", NULL},
    {NULL, "{\"error\":{\"message\":\"a\\u0000b\"}}", "e", "a\\u0000b"},
    {NULL, CHUNK("{\"delta\":{\"content\":\"\\ud83\"}}") "," USAGE "}", "!", NULL},
    {NULL, CHUNK("{\"delta\":{\"content\":\"\\x\"}}") "," USAGE "}", "!", NULL},
    {NULL, "{\"choices\":[],\"choices\":[]," USAGE "}", "un", NULL},
};

static void
flags_of(int result, const struct dialect_event *seen, char flags[8])
{
    size_t n = 0;
    const struct {
        bool is_set;
        char flag;
    } all[] = {
        {result != 0, '!'},   {seen->terminal, 't'}, {seen->error, 'e'},       {seen->usage_only, 'u'},
        {seen->content, 'c'}, {seen->finished, 'f'}, {seen->usage.known, 'n'},
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(all); i++) {
        if (all[i].is_set) {
            flags[n++] = all[i].flag;
        }
    }
    flags[n] = '\0';
}

static void
events_mean_what_they_say(void **state)
{
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(cases); i++) {
        const struct event_case *c = &cases[i];
        /* In an allocation of its own length, so that a read beyond is seen. */
        size_t len = c->data != NULL ? strlen(c->data) : 0;
        char *copy = malloc(len > 0 ? len : 1);
        assert_non_null(copy);
        memcpy(copy, c->data != NULL ? c->data : "", len);
        struct sse_event event = {.type = dyn_slice_str(c->type),
                                  .data = {c->data != NULL ? copy : NULL, len}};
        struct dialect_event seen;
        char flags[8];
        int result = dialect_openai_chat.read_event(&event, &seen);
        flags_of(result, &seen, flags);
        if (strcmp(flags, c->flags) != 0) {
            print_error("%s\n", c->data);
        }
        assert_string_equal(flags, c->flags);
        assert_true(dyn_slice_eq(seen.error_message, dyn_slice_str(c->message)));
        if (seen.usage.known) {
            assert_int_equal(seen.usage.prompt_tokens, 11);
            assert_int_equal(seen.usage.completion_tokens, 7);
            assert_int_equal(seen.usage.total_tokens, 18);
        }
        free(copy);
    }
}

/* Whatever the text of a delta, however long, the quick look and the thorough one agree. */
static void
the_quick_look_agrees_with_the_thorough_one(void **state)
{
    (void)state;
    static const char *const pieces[] = {"a",     " ",       "\\\"",     "\\\\",   "usage", "error",
                                         "delta", ":",       "{",        "}",      ",",     "finish_reason",
                                         "null",  "\\u00e9", "\xC3\xA9", "[DONE]", "\\n"};
    struct dyn_rng rng;
    dyn_rng_seed(&rng, 3);
    for (int round = 0; round < 20000; round++) {
        char text[256] = "";
        size_t len = 0;
        for (uint64_t n = 1 + dyn_rng_below(&rng, 12); n > 0; n--) {
            const char *piece = pieces[dyn_rng_below(&rng, DYN_ARRAY_LEN(pieces))];
            memcpy(text + len, piece, strlen(piece) + 1);
            len += strlen(piece);
        }
        char quick[512];
        char thorough[512];
        (void)snprintf(quick, sizeof quick, DELTA("\"content\":\"%s\""), text);
        (void)snprintf(thorough, sizeof thorough, "{\"choices\":[{\"delta\":{ \"content\":\"%s\"}}]}", text);
        struct sse_event event = {.data = dyn_slice_str(quick)};
        struct dialect_event a;
        struct dialect_event b;
        assert_int_equal(dialect_openai_chat.read_event(&event, &a), 0);
        event.data = dyn_slice_str(thorough);
        assert_int_equal(dialect_openai_chat.read_event(&event, &b), 0);
        assert_true(a.content && b.content);
        assert_false(a.error || a.finished || a.terminal || a.usage_only || a.usage.known);
        assert_false(b.error || b.finished || b.terminal || b.usage_only || b.usage.known);
    }
}

struct answer_case {
    const char *body;
    int result;
    struct env_usage usage;
};

#define ANSWER(usage)                                                                                        \
    "{\"id\":\"x\",\"choices\":[{\"index\":0,\"message\":{\"content\":\"hi\"}}],\"usage\":" usage "}"
#define FOLDED(cached, reason)                                                                               \
    {                                                                                                        \
        .known = true, .prompt_tokens = 11, .completion_tokens = 7, .total_tokens = 18,                      \
        .cached_tokens = (cached), .reasoning_tokens = (reason)                                              \
    }
#define COUNTS "\"prompt_tokens\":11,\"completion_tokens\":7,\"total_tokens\":18"

static const struct answer_case answers[] = {
    {"", -1, {0}},
    {"x", -1, {0}},
    {"[]", -1, {0}},
    {"{}", -1, {0}},
    {"{\"error\":{\"message\":\"m\"}}", -1, {0}},
    {"{\"choices\":{}}", -1, {0}},
    {"{\"choices\":null}", -1, {0}},
    {"{\"choices\":[]", -1, {0}},
    {"{\"choices\":[]}}", -1, {0}},
    {"{\"choices\":[\"\xff\"]}", -1, {0}},
    {"<html>{\"choices\":[]}</html>", -1, {0}},
    {"{\"message\":{\"choices\":[]}}", -1, {0}},
    {"{\"choices\":[]}", 0, {0}},
    {"\n\n {\"choices\":[]} \n", 0, {0}},
    {ANSWER("null"), 0, {0}},
    {ANSWER("[]"), 0, {0}},
    {ANSWER("{}"), 0, {0}},
    {ANSWER("{\"prompt_tokens\":0,\"completion_tokens\":0}"), 0, {0}},
    {ANSWER("{\"prompt_tokens\":-11,\"completion_tokens\":\"7\"}"), 0, {0}},
    {ANSWER("{" COUNTS "}"), 0, FOLDED(0, 0)},
    {ANSWER("{\"prompt_tokens\":11,\"completion_tokens\":7}"), 0, FOLDED(0, 0)},
    {ANSWER("{\"prompt_tokens\":11.0,\"completion_tokens\":7.0,\"total_tokens\":1.8e1}"), 0, FOLDED(0, 0)},
    {ANSWER("{\"prompt_tok\\u0065ns\":11,\"completion_tokens\":7}"), 0, FOLDED(0, 0)},
    {ANSWER("{" COUNTS ",\"prompt_tokens_details\":{\"cached_tokens\":4,\"audio_tokens\":1},"
            "\"completion_tokens_details\":{\"reasoning_tokens\":3}}"),
     0, FOLDED(4, 3)},
    {ANSWER("{" COUNTS ",\"prompt_tokens_details\":null,\"completion_tokens_details\":null}"), 0,
     FOLDED(0, 0)},
    {ANSWER("{" COUNTS ",\"prompt_tokens_details\":[],\"completion_tokens_details\":7}"), 0, FOLDED(0, 0)},
    {ANSWER("{" COUNTS ",\"prompt_cache_hit_tokens\":4,\"prompt_cache_miss_tokens\":7}"), 0, FOLDED(4, 0)},
    {ANSWER("{" COUNTS ",\"cache_read_tokens\":4,\"reasoning_tokens\":3}"), 0, FOLDED(4, 3)},
    {ANSWER("{" COUNTS ",\"cached_tokens\":4}"), 0, FOLDED(4, 0)},
    {ANSWER("{" COUNTS ",\"cached_tokens\":0,\"prompt_tokens_details\":{\"cached_tokens\":4}}"), 0,
     FOLDED(4, 0)},
    {ANSWER("{" COUNTS ",\"cached_tokens\":4,\"prompt_tokens_details\":{\"cached_tokens\":9}}"), 0,
     FOLDED(4, 0)},
    {ANSWER("{" COUNTS ",\"cost\":0.1,\"queue_time\":1e-3,\"x\":{\"prompt_tokens\":1}}"), 0, FOLDED(0, 0)},
    {"{\"usage\":{" COUNTS "},\"choices\":[]}", 0, FOLDED(0, 0)},
    {"{\"usage\":{" COUNTS "},\"choices\":[],\"choices\":[]}", 1, FOLDED(0, 0)},
    {"{\"usage\":{" COUNTS "},\"choices\":[{\"message\":{\"content\":\"\\u0000\\ud83d\"}}]}", 1,
     FOLDED(0, 0)},
    {"{\"usage\":{" COUNTS "},\"choices\":[\"\\u00\"]}", -1, {0}},
    {ANSWER("{\"prompt_tokens\":1e300,\"completion_tokens\":7,\"total_tokens\":18}"),
     0,
     {.known = true, .prompt_tokens = (uint64_t)1 << 53, .completion_tokens = 7, .total_tokens = 18}},
};

static bool
is_same_usage(const struct env_usage *a, const struct env_usage *b)
{
    return a->known == b->known && a->estimated == b->estimated && a->prompt_tokens == b->prompt_tokens &&
           a->completion_tokens == b->completion_tokens && a->total_tokens == b->total_tokens &&
           a->cached_tokens == b->cached_tokens && a->reasoning_tokens == b->reasoning_tokens;
}

static void
answers_are_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(answers); i++) {
        struct env_usage usage;
        size_t len = strlen(answers[i].body);
        char *copy = malloc(len > 0 ? len : 1);
        assert_non_null(copy);
        memcpy(copy, answers[i].body, len);
        int result = dialect_openai_chat.read_answer(dyn_slice(copy, len), &usage);
        if (result != answers[i].result || !is_same_usage(&usage, &answers[i].usage)) {
            print_error("%s\n", answers[i].body);
        }
        assert_int_equal(result, answers[i].result);
        assert_true(is_same_usage(&usage, &answers[i].usage));
        free(copy);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_mean_what_they_say),
        cmocka_unit_test(the_quick_look_agrees_with_the_thorough_one),
        cmocka_unit_test(answers_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
