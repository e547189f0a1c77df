/* The grammar of model names. */
#include "mock/behaviour.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct mock_behaviour
behaviour_of(const char *model)
{
    struct mock_behaviour behaviour;
    struct dyn_err err = {0};
    if (mock_behaviour_of_model(&behaviour, dyn_slice_str(model), &err) != 0) {
        fail_msg("%s: %s", model, err.text);
    }
    return behaviour;
}

/* The complaint about a model's name. */
static const char *
complaint(const char *model)
{
    static struct dyn_err err;
    struct mock_behaviour behaviour;
    memset(&err, 0, sizeof err);
    assert_int_equal(mock_behaviour_of_model(&behaviour, dyn_slice_str(model), &err), -1);
    return err.text;
}

static void
plain_names_mean_the_default(void **state)
{
    (void)state;
    const char *const names[] = {"mock", "gpt-4o-mini", "mockingbird-7b", "dev/mock", ""};
    struct mock_behaviour expected;
    mock_behaviour_init(&expected);
    for (size_t i = 0; i < DYN_ARRAY_LEN(names); i++) {
        struct mock_behaviour behaviour = behaviour_of(names[i]);
        assert_memory_equal(&behaviour, &expected, sizeof expected);
    }
}

static void
keys_take_their_values(void **state)
{
    (void)state;
    struct mock_behaviour behaviour =
        behaviour_of("mock-tokens-50-pace-20-delay-200to2000-status-429-retry-3-cut-body-reset-lines-crlf");
    assert_int_equal(behaviour.tokens, 50);
    assert_int_equal(behaviour.pace_ms.from, 20);
    assert_int_equal(behaviour.pace_ms.to, 20);
    assert_int_equal(behaviour.delay_ms.from, 200);
    assert_int_equal(behaviour.delay_ms.to, 2000);
    assert_int_equal(behaviour.status, 429);
    assert_int_equal(behaviour.retry_s, 3);
    assert_int_equal(behaviour.cut, MOCK_CUT_BODY);
    assert_true(behaviour.reset);
    assert_int_equal(behaviour.line_end, MOCK_LINE_END_CRLF);
    assert_int_equal(behaviour_of("any/prefix/mock-echo").echo, true);
}

/* A mistyped name is an error, not another answer: a test would pass for the wrong reason. */
static void
mistakes_are_named(void **state)
{
    (void)state;
    assert_non_null(strstr(complaint("mock-token-5"), "did you mean 'tokens'"));
    assert_non_null(strstr(complaint("mock-"), "knows no ''"));
    assert_non_null(strstr(complaint("mock-tokens"), "0 to 100000"));
    assert_non_null(strstr(complaint("mock-tokens-x"), "not 'x'"));
    assert_non_null(strstr(complaint("mock-tokens-5to9"), "not '5to9'"));
    assert_non_null(strstr(complaint("mock-tokens-100001"), "0 to 100000"));
    assert_non_null(strstr(complaint("mock-tokens-99999999999999999999"), "0 to 100000"));
    assert_non_null(strstr(complaint("mock-delay-9to5"), "not '9to5'"));
    assert_non_null(strstr(complaint("mock-cut-tail"), "one of no, start, head, body, event, done"));
    assert_non_null(strstr(complaint("mock-echo-echo"), "twice"));
    assert_non_null(strstr(complaint("mock-status-42"), "100 to 599"));
}

static void
healing_leaves_only_what_is_no_fault(void **state)
{
    (void)state;
    struct mock_behaviour behaviour =
        behaviour_of("mock-tokens-3-pace-7-status-500-retry-1-cut-head-drip-5-line-9");
    mock_behaviour_heal(&behaviour);
    struct mock_behaviour expected = behaviour_of("mock-tokens-3-pace-7");
    assert_memory_equal(&behaviour, &expected, sizeof expected);
}

/* Every key of the table stands in the user's page, with the same words. */
static void
page_has_the_table(void **state)
{
    (void)state;
    struct dyn_buf table = DYN_BUF_INIT;
    mock_behaviour_write_table(&table);
    FILE *file = fopen(DYNABUS_SOURCE_DIR "/docs/mock.md", "rb");
    assert_non_null(file);
    static char page[65536];
    size_t len = fread(page, 1, sizeof page, file);
    (void)fclose(file);
    assert_non_null(memmem(page, len, table.data, table.len));
    dyn_buf_fini(&table);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_names_mean_the_default),
        cmocka_unit_test(keys_take_their_values),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(healing_leaves_only_what_is_no_fault),
        cmocka_unit_test(page_has_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
