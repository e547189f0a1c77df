/* The journal: what it says of calls, how it forgets, and the waits that a seed fixes. */
#include "mock/journal.h"
#include "tests/unit/mock/mock_client.h"

static struct mock_record *
begin(struct mock_journal *journal, const char *number)
{
    struct mock_chat chat = {.number = dyn_slice_str(number), .stream = true};
    return mock_journal_begin(journal, &chat, DYN_SLICE("/a/chat/completions"), "0123456789abcdef");
}

static void
assert_written(const struct mock_journal *journal, uint64_t since, bool open_only, const char *expected)
{
    struct dyn_buf text = DYN_BUF_INIT;
    mock_journal_write(journal, since, open_only, &text);
    assert_string_equal(dyn_buf_cstr(&text), expected);
    dyn_buf_fini(&text);
}

#define CALL(call, number, end, tokens, ended)                                                               \
    "{\"call\":" call ",\"number\":\"" number "\",\"nonce\":\"0123456789abcdef\","                           \
    "\"path\":\"/a/chat/completions\",\"stream\":true,\"end\":\"" end "\",\"tokens\":" tokens                \
    ",\"began_us\":0,\"ended_us\":" ended "}"

/* Each call is there with its number and how it ended; pages go on where the last one ended. */
static void
calls_are_told(void **state)
{
    (void)state;
    struct mock_journal journal;
    mock_journal_init(&journal, 8);
    struct mock_record *first = begin(&journal, "a");
    (void)begin(&journal, "b");
    mock_journal_end(first, 1, MOCK_CALL_CANCELLED, 3, 77);
    assert_written(&journal, 0, false,
                   "{\"next\":2,\"calls\":[" CALL("1", "a", "cancelled", "3", "77") ",\n" //
                   CALL("2", "b", "open", "0", "0") "]}\n");
    assert_written(&journal, 1, false, "{\"next\":2,\"calls\":[" CALL("2", "b", "open", "0", "0") "]}\n");
    assert_written(&journal, 0, true, "{\"next\":2,\"calls\":[" CALL("2", "b", "open", "0", "0") "]}\n");
    assert_written(&journal, 2, false, "{\"next\":2,\"calls\":[]}\n");
    mock_journal_fini(&journal);
}

/* A record that became another call's is not changed by the end of the one it was. */
static void
old_calls_make_room(void **state)
{
    (void)state;
    struct mock_journal journal;
    mock_journal_init(&journal, 1);
    struct mock_record *first = begin(&journal, "a");
    (void)begin(&journal, "b");
    mock_journal_end(first, 1, MOCK_CALL_ANSWERED, 9, 99);
    assert_written(&journal, 0, false, "{\"next\":2,\"calls\":[" CALL("2", "b", "open", "0", "0") "]}\n");
    mock_journal_fini(&journal);
}

static void
nothing_is_kept_without_room(void **state)
{
    (void)state;
    struct mock_journal journal;
    mock_journal_init(&journal, 0);
    assert_null(begin(&journal, "a"));
    mock_journal_end(NULL, 1, MOCK_CALL_ANSWERED, 0, 0);
    assert_written(&journal, 0, false, "{\"next\":0,\"calls\":[]}\n");
    mock_journal_fini(&journal);
}

/* Over a socket: a call is listed with the number of its request, its path and how it went. */
static void
mock_keeps_a_journal(void **state)
{
    (void)state;
    mock_t *mock = start_mock((struct mock_options){.journal = 10});
    ask(mock, "mock-tokens-2", ",\"stream\":true,\"user\":\"request-n1\"", "data: [DONE]\n\n\r\n0\r\n\r\n");
    await_count(mock, offsetof(struct mock_stats, answered), 1);
    int fd = connect_to(mock);
    send_text(fd, "GET /mock/calls?since=0 HTTP/1.1\r\nHost: a\r\n\r\n");
    (void)read_answer(fd, "]}\n");
    assert_int_equal(count_of(answer, "\"call\":"), 1);
    assert_holds(answer, "{\"next\":1,\"calls\":[{\"call\":1,\"number\":\"n1\",");
    assert_holds(answer, "/chat/completions\",\"stream\":true,\"end\":\"answered\",\"tokens\":2,");
    (void)close(fd);
    mock_stop(&mock);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_are_told),
        cmocka_unit_test(old_calls_make_room),
        cmocka_unit_test(nothing_is_kept_without_room),
        cmocka_unit_test(mock_keeps_a_journal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
