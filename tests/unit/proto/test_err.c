/* The table of errors and the body it makes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/buf.h"
#include "proto/err.h"

static const struct dyn_slice absent = {NULL, 0};

static void
every_row_is_complete(void **state)
{
    (void)state;
    for (unsigned code = ERR_NONE + 1; code < ERR_COUNT; code++) {
        const struct err_row *row = err_row((enum err_code)code);
        assert_in_range(row->http, 400, 599);
        assert_true(row->name[0] >= 'A' && row->name[0] <= 'Z');
        assert_true(strlen(row->code) > 0 && strlen(row->type) > 0 && strlen(row->sentence) > 0);
        assert_int_equal(err_by_name(dyn_slice_str(row->name)), code);
    }
}

/* What a caller did wrong never counts against a provider, and is not tried elsewhere. */
static void
a_clients_mistake_hurts_nobody_else(void **state)
{
    (void)state;
    for (unsigned code = ERR_NONE + 1; code < ERR_COUNT; code++) {
        const struct err_row *row = err_row((enum err_code)code);
        if (row->blame == ERR_BLAME_CLIENT) {
            assert_false(row->counts);
            assert_false(row->retryable);
        }
        if (row->counts) {
            assert_int_equal(row->blame, ERR_BLAME_PROVIDER);
        }
    }
}

static void
an_unknown_code_is_internal(void **state)
{
    (void)state;
    assert_string_equal(err_row(ERR_COUNT)->name, "INTERNAL");
    assert_string_equal(err_row((enum err_code) - 1)->name, "INTERNAL");
    assert_int_equal(err_by_name(DYN_SLICE("NO_SUCH_ROW")), ERR_NONE);
    assert_int_equal(err_by_name(DYN_SLICE("")), ERR_NONE);
    assert_int_equal(err_by_name(DYN_SLICE("NONE")), ERR_NONE);
}

static void
expect_body(enum err_code code, struct dyn_slice message, struct dyn_slice param,
            struct dyn_slice upstream_code, const char *expected)
{
    struct dyn_buf out = DYN_BUF_INIT;
    err_write_openai(&out, code, message, param, upstream_code);
    assert_string_equal(dyn_buf_cstr(&out), expected);
    dyn_buf_fini(&out);
}

static void
bodies_have_the_openai_shape(void **state)
{
    (void)state;
    expect_body(ERR_MODEL_NOT_FOUND, absent, absent, absent,
                "{\"error\":{\"message\":\"no target serves this model\",\"type\":\"invalid_request_error\","
                "\"param\":null,\"code\":\"model_not_found\"}}");
    expect_body(ERR_INVALID_REQUEST, DYN_SLICE("say \"hi\"\n"), DYN_SLICE("messages[0].role"), absent,
                "{\"error\":{\"message\":\"say \\\"hi\\\"\\n\",\"type\":\"invalid_request_error\","
                "\"param\":\"messages[0].role\",\"code\":\"invalid_request\"}}");
    expect_body(ERR_UPSTREAM_INVALID, DYN_SLICE("bad"), absent, DYN_SLICE("context_length_exceeded"),
                "{\"error\":{\"message\":\"bad\",\"type\":\"invalid_request_error\",\"param\":null,"
                "\"code\":\"invalid_request\",\"upstream_code\":\"context_length_exceeded\"}}");
}

static void
the_reference_has_a_line_for_each_row(void **state)
{
    (void)state;
    struct dyn_buf out = DYN_BUF_INIT;
    err_write_reference(&out);
    size_t lines = 0;
    for (size_t i = 1; i < out.len; i++) {
        lines += out.data[i - 1] == '\n' && out.data[i] == '|';
    }
    assert_int_equal(lines, 2 + ERR_COUNT - 1);
    assert_non_null(strstr(dyn_buf_cstr(&out),
                           "| 404 | `model_not_found` | `invalid_request_error` | client | no | no |"
                           " no target serves this model |\n"));
    dyn_buf_fini(&out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_is_complete),
        cmocka_unit_test(a_clients_mistake_hurts_nobody_else),
        cmocka_unit_test(an_unknown_code_is_internal),
        cmocka_unit_test(bodies_have_the_openai_shape),
        cmocka_unit_test(the_reference_has_a_line_for_each_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
