/* Usage in the spellings of the OpenAI family. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/dialects/openai_chat.h"
#include "proto/dialects/openai_usage.h"

#include <stdio.h>

static struct env_usage
read(const char *text)
{
    struct json_value value;
    struct env_usage usage = {.known = false};
    assert_int_equal(json_scan(dyn_slice_str(text), 8, &value, NULL), 0);
    assert_true(openai_usage_read(value, &usage));
    return usage;
}

static void
details_are_told_apart(void **state)
{
    (void)state;
    struct env_usage usage = read(
        "{\"prompt_tokens\":100,\"completion_tokens\":50,\"prompt_tokens_details\":{\"cached_tokens\":40,"
        "\"audio_tokens\":10},\"completion_tokens_details\":{\"reasoning_tokens\":5,\"audio_tokens\":7}}");
    assert_int_equal(usage.total_tokens, 150);
    assert_int_equal(usage.cached_tokens, 40);
    assert_int_equal(usage.audio_in_tokens, 10);
    assert_int_equal(usage.reasoning_tokens, 5);
    assert_int_equal(usage.audio_out_tokens, 7);
    assert_int_equal(usage.cache_write_tokens, 0);
}

/* Some count what was written to a cache as part of the prompt; our record has it beside it. */
static void
what_was_written_to_a_cache_is_counted_once(void **state)
{
    (void)state;
    const char *const within[] = {
        "{\"prompt_tokens\":1000,\"completion_tokens\":5,\"total_tokens\":1005,"
        "\"prompt_tokens_details\":{\"cached_tokens\":200,\"cache_write_tokens\":300}}",
        "{\"prompt_tokens\":1000,\"completion_tokens\":5,\"total_tokens\":1005,"
        "\"prompt_tokens_details\":{\"cached_tokens\":200},\"cache_creation_input_tokens\":300}",
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(within); i++) {
        struct env_usage usage = read(within[i]);
        assert_int_equal(usage.prompt_tokens, 700);
        assert_int_equal(usage.cache_write_tokens, 300);
        assert_int_equal(usage.cached_tokens, 200);
        assert_int_equal(usage.total_tokens, 1005);
    }
    struct env_usage beside =
        read("{\"prompt_tokens\":10000,\"completion_tokens\":50,\"cache_read_tokens\":8000,"
             "\"cache_write_tokens\":600}");
    assert_int_equal(beside.prompt_tokens, 10000);
    assert_int_equal(beside.cache_write_tokens, 600);
    struct env_usage liar =
        read("{\"prompt_tokens\":3,\"completion_tokens\":5,\"cache_creation_input_tokens\":9}");
    assert_int_equal(liar.prompt_tokens, 3);
    assert_int_equal(liar.cache_write_tokens, 0);
}

static void
what_has_a_price_of_its_own_is_counted(void **state)
{
    (void)state;
    struct env_usage searched = read("{\"prompt_tokens\":10,\"completion_tokens\":5,\"total_tokens\":15,"
                                     "\"num_search_queries\":3}");
    assert_int_equal(searched.searches, 3);
    struct env_usage seen = read(
        "{\"prompt_tokens\":300,\"completion_tokens\":50,\"prompt_tokens_details\":{\"image_tokens\":258},"
        "\"completion_tokens_details\":{\"image_tokens\":40},\"server_tool_use\":"
        "{\"web_search_requests\":2}}");
    assert_int_equal(seen.image_in_tokens, 258);
    assert_int_equal(seen.image_out_tokens, 40);
    assert_int_equal(seen.searches, 2);
    struct env_usage kept =
        read("{\"prompt_tokens\":1000,\"completion_tokens\":5,\"prompt_tokens_details\":{\"cached_tokens\":0,"
             "\"cache_creation_token_details\":{\"ephemeral_1h_input_tokens\":100}},"
             "\"cache_creation_input_tokens\":600}");
    assert_int_equal(kept.cache_write_tokens, 600);
    assert_int_equal(kept.cache_write_1h_tokens, 100);
}

/* How it was sold stands beside the usage, in answers and in the last event of a stream. */
static void
how_it_was_sold_is_read(void **state)
{
    (void)state;
    static const struct {
        const char *word;
        enum env_service service;
    } words[] = {{"null", ENV_SERVICE_STANDARD},     {"\"default\"", ENV_SERVICE_STANDARD},
                 {"\"auto\"", ENV_SERVICE_STANDARD}, {"\"on_demand\"", ENV_SERVICE_STANDARD},
                 {"\"flex\"", ENV_SERVICE_FLEX},     {"\"priority\"", ENV_SERVICE_PRIORITY},
                 {"\"batch\"", ENV_SERVICE_BATCH},   {"\"scale\"", ENV_SERVICE_OTHER}};
    for (size_t i = 0; i < DYN_ARRAY_LEN(words); i++) {
        char text[300];
        struct env_usage usage;
        struct dialect_event seen;
        int len = snprintf(text, sizeof text,
                           "{\"service_tier\":%s,\"choices\":[],\"usage\":{\"prompt_tokens\":4,"
                           "\"completion_tokens\":5}}",
                           words[i].word);
        assert_int_equal(dialect_openai_chat.read_answer(dyn_slice(text, (size_t)len), &usage), 0);
        assert_int_equal(usage.service, words[i].service);
        const struct sse_event event = {.data = {text, (size_t)len}};
        assert_int_equal(dialect_openai_chat.read_event(&event, &seen), 0);
        assert_true(seen.usage_only);
        assert_int_equal(seen.usage.service, words[i].service);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(details_are_told_apart),
        cmocka_unit_test(what_was_written_to_a_cache_is_counted_once),
        cmocka_unit_test(what_has_a_price_of_its_own_is_counted),
        cmocka_unit_test(how_it_was_sold_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
