/* An event of the same bytes around its text as one before it is not read again: what it says has to be what
 * reading it says. Every pair and triple of events is read both ways. */
#include "core/buf.h"
#include "proto/dialects/dialect.h"
#include "proto/dialects/texts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define TEXT(value)                                                                                          \
    "{\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{\"content\":" value "},\"finish_reason\":null}]}"
#define WITH_ROLE(value)                                                                                     \
    "{\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":" value "}}]}"
#define THOUGHT(value)   "{\"choices\":[{\"delta\":{\"reasoning\":" value "}}]}"
#define OTHER(value)     "{\"choices\":[{\"delta\":{\"content\":" value "},\"index\":1}]}"
#define CALL(value)      "{\"choices\":[{\"delta\":{\"tool_calls\":[{\"function\":" ARGUMENTS(value) "}]}}]}"
#define ARGUMENTS(value) "{\"arguments\":" value "}"

static const char *const events[] = {
    TEXT("\"a\""),
    TEXT("\"hello, \\u00e9 \\\"you\\\"\""),
    TEXT("\"\""),
    TEXT("null"),
    TEXT("12"),
    TEXT(" \"a\""),
    TEXT("[{\"text\":\"in parts\"}]"),
    TEXT("\"a\",\"refusal\":\"no\""),
    TEXT("\"a\"},\"x\":{\"y\":\"b\""),
    TEXT("\"\\ud83d\""),
    TEXT("\"\\u0000\""),
    TEXT("\"cut"),
    TEXT("\"bad \xFF\""),
    TEXT("\"a\\\""),
    " " TEXT("\"space\"") " ",
    WITH_ROLE("\"a\""),
    WITH_ROLE("\"bc\""),
    THOUGHT("\"so\""),
    THOUGHT("\"that\""),
    OTHER("\"a\""),
    OTHER("\"bb\""),
    CALL("\"{\""),
    CALL("\"}\""),
    "{\"choices\":[{\"delta\":{\"tool_calls\":[{\"id\":\"b\",\"function\":{\"name\":\"g\"}}]}}]}",
    "{\"choices\":[{\"delta\":{\"content\":\"l\"},\"logprobs\":{\"content\":[]}}]}",
    "{\"choices\":[{\"delta\":{\"content\":\"m\"},\"logprobs\":{\"content\":[]}}]}",
    "{\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}",
    "{\"error\":{\"message\":\"bad\"},\"choices\":[{\"delta\":{\"content\":\"e\"}}]}",
    "[DONE]",
    "",
};

/* Two readers of the same stream: one forgets what it could go by before each event. */
struct readers {
    struct dialect_texts_state quick;
    struct dialect_texts_state slow;
};

static void
assert_same(const struct dialect_event_texts *a, const struct dialect_event_texts *b)
{
    assert_int_equal(a->scope, b->scope);
    assert_int_equal(a->choice, b->choice);
    assert_int_equal(a->is_end, b->is_end);
    assert_int_equal(a->is_error, b->is_error);
    assert_int_equal(a->is_silent, b->is_silent);
    assert_int_equal(a->is_only_text, b->is_only_text);
    assert_int_equal(a->n, b->n);
    assert_int_equal(a->n_repeats, b->n_repeats);
    for (size_t i = 0; i < a->n; i++) {
        assert_int_equal(a->pieces[i].channel.choice, b->pieces[i].channel.choice);
        assert_int_equal(a->pieces[i].channel.kind, b->pieces[i].channel.kind);
        assert_int_equal(a->pieces[i].channel.tool, b->pieces[i].channel.tool);
        assert_int_equal(a->pieces[i].value.type, b->pieces[i].value.type);
        assert_ptr_equal(a->pieces[i].value.raw.data, b->pieces[i].value.raw.data);
        assert_int_equal(a->pieces[i].value.raw.len, b->pieces[i].value.raw.len);
    }
}

static void
both_read(struct readers *readers, const char *data, const char *type)
{
    struct sse_event event = {.data = dyn_slice_str(data), .type = dyn_slice_str(type)};
    struct dialect_event_texts quick;
    struct dialect_event_texts slow;
    dyn_buf_fini(&readers->slow.shape);
    int rc = dialect_openai_chat.texts->event(&readers->quick, &event, &quick);
    assert_int_equal(dialect_openai_chat.texts->event(&readers->slow, &event, &slow), rc);
    if (rc == 0) {
        assert_same(&quick, &slow);
    }
    assert_int_equal(readers->quick.n_tools, readers->slow.n_tools);
    assert_int_equal(readers->quick.with_role, readers->slow.with_role);
    assert_int_equal(readers->quick.reasoning == NULL, readers->slow.reasoning == NULL);
    assert_true(dyn_slice_eq(dyn_buf_slice(&readers->quick.head), dyn_buf_slice(&readers->slow.head)));
}

static void
both_end(struct readers *readers)
{
    dialect_texts_state_fini(&readers->quick);
    dialect_texts_state_fini(&readers->slow);
}

static void
events_of_one_shape_say_what_reading_them_says(void **state)
{
    (void)state;
    enum { N = sizeof events / sizeof events[0] };
    for (size_t i = 0; i < N * N * N; i++) {
        struct readers readers = {.quick = {.n_tools = 0}};
        both_read(&readers, events[i / N / N], NULL);
        both_read(&readers, events[i / N % N], NULL);
        both_read(&readers, events[i % N], NULL);
        both_end(&readers);
    }
}

static void
an_error_of_that_shape_is_an_error(void **state)
{
    (void)state;
    struct readers readers = {.quick = {.n_tools = 0}};
    both_read(&readers, TEXT("\"a\""), NULL);
    both_read(&readers, TEXT("\"b\""), "error");
    both_end(&readers);
}

static void
a_shape_is_kept_within_bounds(void **state)
{
    (void)state;
    struct readers readers = {.quick = {.n_tools = 0}};
    struct dyn_buf big = DYN_BUF_INIT;
    both_read(&readers, TEXT("\"a\""), NULL);
    assert_int_equal(readers.quick.shape.len, sizeof TEXT("") - 1);
    for (char text = 'a'; text < 'c'; text++) {
        dyn_buf_clear(&big);
        dyn_buf_addf(&big, "{\"pad\":\"%01100d\",\"choices\":[{\"delta\":{\"content\":\"%c\"}}]}", 0, text);
        both_read(&readers, dyn_buf_cstr(&big), NULL);
    }
    assert_int_equal(readers.quick.shape.len, sizeof TEXT("") - 1);
    dyn_buf_fini(&big);
    both_end(&readers);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_of_one_shape_say_what_reading_them_says),
        cmocka_unit_test(an_error_of_that_shape_is_an_error),
        cmocka_unit_test(a_shape_is_kept_within_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
