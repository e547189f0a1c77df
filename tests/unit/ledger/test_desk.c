/* What operators ask of the ledger: paths become questions, answers JSON. */
#include "actors/ledger/desk_answer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/json_scan.h"

static struct arena arena;

static int
set_up(void **state)
{
    (void)state;
    arena_init(&arena, NULL, 0);
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

static void
a_path_becomes_a_question(void **state)
{
    (void)state;
    struct desk_question question;
    struct desk_refusal refusal;
    struct dyn_buf filters = DYN_BUF_INIT;
    const char *text =
        "GET logs?model=a%20b&since=1970-01-01T00:00:01.5+00:00&stage=all&limit=200&bodies=true&";
    assert_int_equal(desk_question_read(dyn_slice_str(text), &arena, &question, &refusal), 0);
    assert_true(dyn_slice_is(question.ask.op, "logs"));
    assert_true(dyn_slice_is(question.ask.model, "a b"));
    assert_int_equal(question.ask.since, 1500000);
    assert_int_equal(question.ask.limit, 200);
    assert_int_equal(question.ask.bodies, 1);
    desk_question_filters(&question, &filters);
    assert_string_equal(dyn_buf_cstr(&filters),
                        "{\"limit\":200,\"offset\":0,\"stage\":\"all\",\"model\":\"a b\",\"bodies\":true,"
                        "\"since\":\"1970-01-01T00:00:01.500Z\"}");
    dyn_buf_fini(&filters);
}

static void
refused_as(const char *text, enum err_code code, const char *param)
{
    struct desk_question question;
    struct desk_refusal refusal;
    assert_int_equal(desk_question_read(dyn_slice_str(text), &arena, &question, &refusal), -1);
    assert_int_equal(refusal.code, code);
    if (param == NULL) {
        assert_null(refusal.param);
    } else {
        assert_string_equal(refusal.param, param);
    }
}

/* Nothing is guessed: a filter that is spelled wrongly would delete more than was meant. */
static void
a_wrong_question_is_refused(void **state)
{
    (void)state;
    refused_as("", ERR_NOT_FOUND, NULL);
    refused_as("GET logs/", ERR_NOT_FOUND, NULL);
    refused_as("GET log", ERR_NOT_FOUND, NULL);
    refused_as("POST logs", ERR_METHOD_NOT_ALLOWED, NULL);
    refused_as("DELETE audit?before=2026-01-01T00:00:00Z", ERR_METHOD_NOT_ALLOWED, NULL);
    refused_as("DELETE logs", ERR_INVALID_REQUEST, "before");
    refused_as("DELETE logs?before=2026-01-01T00:00:00Z&modle=x", ERR_INVALID_REQUEST, NULL);
    refused_as("DELETE logs?before=2026-01-01T00:00:00Z&model=", ERR_INVALID_REQUEST, "model");
    refused_as("DELETE logs?before=2026-02-29T00:00:00Z", ERR_INVALID_REQUEST, "before");
    refused_as("GET logs?limit=201", ERR_INVALID_REQUEST, "limit");
    refused_as("GET logs?limit=99999999999999999999", ERR_INVALID_REQUEST, "limit");
    refused_as("GET logs?limit", ERR_INVALID_REQUEST, "limit");
    refused_as("GET logs?model=%4", ERR_INVALID_REQUEST, "model");
    refused_as("GET logs?bodies=1", ERR_INVALID_REQUEST, "bodies");
    refused_as("GET logs/stats?limit=101", ERR_INVALID_REQUEST, "limit");
    refused_as("GET audit?outcome=fine", ERR_INVALID_REQUEST, "outcome");
}

static struct ledger_row
log_row(struct dyn_slice body)
{
    struct ledger_row row = {.table = LEDGER_REQUEST_LOG};
    row.of.request_log = (struct ledger_request_log){.request_id = DYN_SLICE("r\"1"),
                                                     .created_us = 1500000,
                                                     .stream = 1,
                                                     .duration_ms = 2.5,
                                                     .ttft_ms = (double)NAN,
                                                     .cost_usd = 0,
                                                     .request_body = body};
    return row;
}

static void
rows_are_shown_as_json(void **state)
{
    (void)state;
    struct desk_question question;
    struct desk_refusal refusal;
    struct dyn_buf rows = DYN_BUF_INIT, out = DYN_BUF_INIT;
    struct ledger_row row = log_row(DYN_SLICE("{}"));
    struct json_value value;
    ledger_row_encode(&row, &rows);
    struct ledger_message answer = {.rows = dyn_buf_slice(&rows), .n_rows = 1, .total = 7};
    assert_int_equal(desk_question_read(DYN_SLICE("GET logs"), &arena, &question, &refusal), 0);
    desk_answer_write(&question, &answer, &out);
    const char *text = dyn_buf_cstr(&out);
    assert_int_equal(json_scan(dyn_buf_slice(&out), JSON_DEPTH_DEFAULT, &value, NULL), 0);
    assert_non_null(strstr(text, "\"request_id\":\"r\\\"1\""));
    assert_non_null(strstr(text, "\"created_at\":\"1970-01-01T00:00:01.500Z\""));
    assert_non_null(strstr(text, "\"stream\":true"));
    assert_non_null(strstr(text, "\"duration_ms\":2.5,\"ttft_ms\":null,\"cost_usd\":0"));
    assert_null(strstr(text, "request_body"));
    assert_non_null(strstr(text, "\"summary\":{\"total_entries\":7,\"returned_entries\":1}"));
    dyn_buf_fini(&rows);
    dyn_buf_fini(&out);
}

/* An answer ends where it is full, and says how far it came; what is too long alone is there without bodies.
 */
static void
an_answer_is_never_too_long(void **state)
{
    (void)state;
    static char body[200 * 1024];
    struct desk_question question;
    struct desk_refusal refusal;
    struct dyn_buf rows = DYN_BUF_INIT, out = DYN_BUF_INIT;
    memset(body, '"', sizeof body); /* twice as long in JSON */
    struct ledger_row row = log_row(dyn_slice(body, sizeof body));
    for (int i = 0; i < 4; i++) {
        ledger_row_encode(&row, &rows);
    }
    memset(body, '\1', sizeof body); /* six times */
    ledger_row_encode(&row, &rows);
    struct ledger_message answer = {.rows = dyn_buf_slice(&rows), .n_rows = 5, .total = 5};
    assert_int_equal(desk_question_read(DYN_SLICE("GET logs?bodies=true"), &arena, &question, &refusal), 0);
    desk_answer_write(&question, &answer, &out);
    assert_in_range(out.len, 1, DESK_ANSWER_MAX + 1024);
    assert_non_null(strstr(dyn_buf_cstr(&out), "\"total_entries\":5,\"returned_entries\":2"));
    struct mp_cursor cursor = mp_cursor(answer.rows);
    for (int i = 0; i < 4; i++) {
        assert_true(ledger_row_next(&cursor, &row));
    }
    answer.rows = dyn_slice((const char *)cursor.next, (size_t)(cursor.end - cursor.next));
    dyn_buf_clear(&out);
    desk_answer_write(&question, &answer, &out);
    assert_non_null(strstr(dyn_buf_cstr(&out), "\"returned_entries\":1"));
    assert_in_range(out.len, 1, 2048);
    dyn_buf_fini(&rows);
    dyn_buf_fini(&out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_path_becomes_a_question, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_wrong_question_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(rows_are_shown_as_json, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_answer_is_never_too_long, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
