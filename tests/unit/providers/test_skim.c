/* The short object that is left of a long one. */
#include "actors/providers/provider_skim.h"
#include "core/json_scan.h"
#include "core/rand.h"
#include "proto/dialects/dialect.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* Fed in pieces of that size; the result as text, "" when there is none. */
static void
assert_skims_to(const char *text, size_t piece, const char *expected)
{
    struct provider_skim skim;
    provider_skim_init(&skim);
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i += piece) {
        provider_skim_feed(&skim, dyn_slice(text + i, len - i < piece ? len - i : piece));
    }
    struct dyn_slice result = provider_skim_result(&skim);
    if (expected == NULL) {
        assert_null(result.data);
    } else {
        assert_int_equal(result.len, strlen(expected));
        assert_memory_equal(result.data, expected, result.len);
    }
    provider_skim_fini(&skim);
}

static void
short_values_stay_at_every_split(void **state)
{
    (void)state;
    const char *text = " {\"a\":1, \"b\":\"x\\\"}\\\\\",\n\"c\":[1,{\"d\":\"]\"}],\"e\":{},\"f\":null }\n";
    const char *expected = "{\"a\":1,\"b\":\"x\\\"}\\\\\",\"c\":[1,{\"d\":\"]\"}],\"e\":{},\"f\":null }";
    for (size_t piece = 1; piece <= strlen(text); piece++) {
        assert_skims_to(text, piece, expected);
    }
}

static void
long_values_are_left_empty(void **state)
{
    (void)state;
    struct dyn_buf text = DYN_BUF_INIT;
    dyn_buf_add_str(&text, "{\"s\":\"");
    for (unsigned i = 0; i < PROVIDER_SKIM_VALUE_MAX; i++) {
        dyn_buf_add_str(&text, "\\\"");
    }
    dyn_buf_add_str(&text, "\",\"a\":[");
    for (unsigned i = 0; i < PROVIDER_SKIM_VALUE_MAX; i++) {
        dyn_buf_addf(&text, "%s{\"k\":[%u]}", i > 0 ? "," : "", i);
    }
    dyn_buf_add_str(&text, "],\"o\":{\"x\":\"");
    for (unsigned i = 0; i < PROVIDER_SKIM_VALUE_MAX; i++) {
        dyn_buf_add_str(&text, "}]");
    }
    dyn_buf_add_str(&text, "\"},\"usage\":{\"total_tokens\":7}}");
    const size_t pieces[] = {1, 2, 3, 1000, 4096, 100000};
    for (size_t i = 0; i < DYN_ARRAY_LEN(pieces); i++) {
        assert_skims_to(dyn_buf_cstr(&text), pieces[i],
                        "{\"s\":\"\",\"a\":[],\"o\":{},\"usage\":{\"total_tokens\":7}}");
    }
    dyn_buf_fini(&text);
}

static void
what_is_no_whole_object_has_no_result(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",     "[]",        "\"x\"",    "{",           "{\"a\":[}",        "{\"a\":1}}",
        "{} {", "{\"a\":\"", "{\"a\":]", "{\"a\":1} x", "{\"a\":{\"b\":1}", "<html>",
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(texts); i++) {
        assert_skims_to(texts[i], 1, NULL);
        assert_skims_to(texts[i], 100, NULL);
    }
}

static void
depth_and_length_are_limited(void **state)
{
    (void)state;
    struct dyn_buf text = DYN_BUF_INIT;
    dyn_buf_add_str(&text, "{\"a\":");
    for (unsigned i = 0; i < PROVIDER_SKIM_DEPTH_MAX; i++) {
        dyn_buf_add_char(&text, '[');
    }
    assert_skims_to(dyn_buf_cstr(&text), 64, NULL);
    dyn_buf_clear(&text);
    dyn_buf_add_char(&text, '{');
    for (unsigned i = 0; text.len <= PROVIDER_SKIM_TOTAL_MAX; i++) {
        dyn_buf_addf(&text, "%s\"key%u\":%u", i > 0 ? "," : "", i, i);
    }
    dyn_buf_add_char(&text, '}');
    assert_skims_to(dyn_buf_cstr(&text), 1024, NULL);
    dyn_buf_fini(&text);
}

/* Usage read from the short object is that of the long one. */
static void
usage_is_the_same(void **state)
{
    (void)state;
    struct dyn_buf text = DYN_BUF_INIT;
    dyn_buf_add_str(&text, "{\"choices\":[{\"message\":{\"content\":\"");
    for (unsigned i = 0; i < 20000; i++) {
        dyn_buf_add_str(&text, "say \\\"hi\\\" \\\\");
    }
    dyn_buf_add_str(&text,
                    "\"}}],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":22,\"total_tokens\":33}}");
    struct env_usage whole = {0};
    struct env_usage skimmed = {0};
    struct provider_skim skim;
    provider_skim_init(&skim);
    provider_skim_feed(&skim, dyn_buf_slice(&text));
    assert_int_equal(dialect_openai_chat.read_answer(dyn_buf_slice(&text), &whole), 0);
    assert_int_equal(dialect_openai_chat.read_answer(provider_skim_result(&skim), &skimmed), 0);
    assert_memory_equal(&whole, &skimmed, sizeof whole);
    assert_int_equal(skimmed.total_tokens, 33);
    provider_skim_fini(&skim);
    dyn_buf_fini(&text);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(short_values_stay_at_every_split),
        cmocka_unit_test(long_values_are_left_empty),
        cmocka_unit_test(what_is_no_whole_object_has_no_result),
        cmocka_unit_test(depth_and_length_are_limited),
        cmocka_unit_test(usage_is_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
