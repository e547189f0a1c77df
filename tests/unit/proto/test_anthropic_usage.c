/* Usage as the Messages API tells it, in answers and in the events of a stream. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/dialects/anthropic_codec.h"
#include "proto/dialects/dialect.h"

#include <stdio.h>

static struct env_usage
read(const char *usage)
{
    char text[1000];
    struct env_usage read = {.known = false};
    int len = snprintf(text, sizeof text, "{\"type\":\"message\",\"content\":[],\"usage\":%s}", usage);
    assert_int_equal(dialect_anthropic_messages.read_answer(dyn_slice(text, (size_t)len), &read), 0);
    assert_true(read.known);
    return read;
}

static void
what_is_kept_for_an_hour_is_told_apart(void **state)
{
    (void)state;
    struct env_usage usage =
        read("{\"input_tokens\":10,\"cache_creation_input_tokens\":100000,\"cache_creation\":"
             "{\"ephemeral_5m_input_tokens\":1000,\"ephemeral_1h_input_tokens\":99000},"
             "\"output_tokens\":1}");
    assert_int_equal(usage.prompt_tokens, 10);
    assert_int_equal(usage.cache_write_tokens, 100000);
    assert_int_equal(usage.cache_write_1h_tokens, 99000);
    assert_int_equal(usage.service, ENV_SERVICE_STANDARD);
}

static void
searches_and_services_are_read(void **state)
{
    (void)state;
    struct env_usage usage = read("{\"input_tokens\":10,\"output_tokens\":1,\"service_tier\":\"priority\","
                                  "\"server_tool_use\":{\"web_search_requests\":2}}");
    assert_int_equal(usage.searches, 2);
    assert_int_equal(usage.service, ENV_SERVICE_PRIORITY);
    assert_int_equal(read("{\"input_tokens\":1,\"output_tokens\":1,\"service_tier\":\"standard\"}").service,
                     ENV_SERVICE_STANDARD);
    assert_int_equal(read("{\"input_tokens\":1,\"output_tokens\":1,\"service_tier\":\"standard\",\"speed\":"
                          "\"fast\"}")
                         .service,
                     ENV_SERVICE_OTHER);
    assert_int_equal(read("{\"input_tokens\":1,\"output_tokens\":1,\"inference_geo\":\"us\"}").service,
                     ENV_SERVICE_OTHER);
}

/* What we write is what we read. */
static void
usage_is_written_as_it_is_read(void **state)
{
    (void)state;
    struct dyn_buf text = DYN_BUF_INIT;
    const struct env_usage usage = {.known = true,
                                    .prompt_tokens = 30,
                                    .completion_tokens = 4,
                                    .total_tokens = 34,
                                    .cached_tokens = 20,
                                    .cache_write_tokens = 600,
                                    .cache_write_1h_tokens = 100,
                                    .searches = 2};
    anthropic_put_usage(&text, &usage);
    struct env_usage again = read(dyn_buf_cstr(&text));
    assert_memory_equal(&again, &usage, sizeof usage);
    dyn_buf_fini(&text);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_kept_for_an_hour_is_told_apart),
        cmocka_unit_test(searches_and_services_are_read),
        cmocka_unit_test(usage_is_written_as_it_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
