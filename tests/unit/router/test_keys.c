/* Keys: their texts, their records as JSON, and the table that finds them. */
#include "router/keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { NOW_MS = 1764000000 };

static key_table_t *
table_of(const struct key_record *records, size_t n)
{
    struct dyn_err err = {.text = ""};
    key_table_t *table = key_table_new(records, n, 7, NULL, &err);
    assert_string_equal(err.text, "");
    assert_non_null(table);
    return table;
}

static void
a_credential_finds_its_key_and_no_other(void **state)
{
    (void)state;
    enum { N = 500 };
    static struct key_record records[N];
    static char ids[N][KEY_ID_LEN + 1];
    static char texts[N][KEY_TEXT_SIZE];
    memset(records, 0, sizeof records);
    for (size_t i = 0; i < N; i++) {
        key_id_new(ids[i]);
        records[i].id = dyn_slice(ids[i], KEY_ID_LEN);
        key_secret_new(&records[i], texts[i]);
    }
    key_table_t *table = table_of(records, N);
    for (size_t i = 0; i < N; i++) {
        const struct key_record *found = key_table_verify(table, dyn_slice_str(texts[i]));
        assert_ptr_equal(found, key_table_at(table, i));
        char other[KEY_TEXT_SIZE]; /* the secret of the next one under this one's id */
        memcpy(other, texts[i], sizeof other);
        memcpy(other + KEY_TEXT_LEN - KEY_SECRET_LEN, texts[(i + 1) % N] + KEY_TEXT_LEN - KEY_SECRET_LEN,
               KEY_SECRET_LEN);
        assert_null(key_table_verify(table, dyn_slice_str(other)));
    }
    key_table_unref(&table);
}

/* Each byte of a key's text counts. */
static void
a_changed_byte_is_another_key(void **state)
{
    (void)state;
    struct key_record record = {.id = DYN_SLICE("0123456789abcdef")};
    char text[KEY_TEXT_SIZE];
    key_secret_new(&record, text);
    key_table_t *table = table_of(&record, 1);
    assert_non_null(key_table_verify(table, dyn_slice(text, KEY_TEXT_LEN)));
    for (size_t i = 0; i < KEY_TEXT_LEN; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            text[i] = (char)(text[i] ^ (1 << bit));
            assert_null(key_table_verify(table, dyn_slice(text, KEY_TEXT_LEN)));
            text[i] = (char)(text[i] ^ (1 << bit));
        }
    }
    assert_null(key_table_verify(table, dyn_slice(text, KEY_TEXT_LEN - 1)));
    assert_null(key_table_verify(table, dyn_slice(text, 0)));
    assert_null(key_table_verify(NULL, dyn_slice(text, KEY_TEXT_LEN)));
    key_table_unref(&table);
}

static void
two_keys_of_one_id_are_refused(void **state)
{
    (void)state;
    struct key_record twice[2] = {{.id = DYN_SLICE("0123456789abcdef")},
                                  {.id = DYN_SLICE("0123456789abcdef")}};
    struct dyn_err err;
    assert_null(key_table_new(twice, 2, 1, NULL, &err));
}

/* What was counted goes from one table to the next, and a record that came from a store brings what it
 * had. */
static void
uses_go_with_the_key(void **state)
{
    (void)state;
    struct key_record record = {.id = DYN_SLICE("0123456789abcdef"), .stored_uses = 40};
    key_table_t *first = table_of(&record, 1);
    atomic_fetch_add(&key_table_at(first, 0)->uses->count, 2);
    key_table_t *second = key_table_new(&record, 1, 8, first, NULL);
    key_table_unref(&first);
    assert_int_equal(atomic_load(&key_table_at(second, 0)->uses->count), 42);
    key_table_unref(&second);
}

static void
lists_and_scopes(void **state)
{
    (void)state;
    const struct dyn_slice items[] = {DYN_SLICE("gpt-4o"), DYN_SLICE("claude-*")};
    const struct key_list list = {items, 2};
    const struct key_list all = {NULL, 0};
    const struct dyn_slice any[] = {DYN_SLICE("*")};
    const struct key_list star = {any, 1};
    assert_true(key_list_has(&list, DYN_SLICE("gpt-4o")));
    assert_true(key_list_has(&list, DYN_SLICE("claude-3")));
    assert_true(key_list_has(&list, DYN_SLICE("claude-")));
    assert_false(key_list_has(&list, DYN_SLICE("gpt-4o-mini")));
    assert_false(key_list_has(&list, DYN_SLICE("claude")));
    assert_false(key_list_has(&list, DYN_SLICE("")));
    assert_true(key_list_has(&all, DYN_SLICE("x")));
    assert_true(key_list_has(&star, DYN_SLICE("x")));
    for (uint32_t scope = 1; scope <= KEY_SCOPES_ALL; scope <<= 1) {
        assert_int_equal(key_scope_by_name(dyn_slice_str(key_scope_name(scope))), scope);
    }
    assert_int_equal(key_scope_by_name(DYN_SLICE("root")), 0);
}

static void
times_are_those_of_rfc_3339(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t ms;
    } times[] = {
        {"1970-01-01T00:00:01Z", 1000},
        {"2026-11-23T03:05:00Z", UINT64_C(1795403100000)},
        {"2026-11-23T03:05:00.25Z", UINT64_C(1795403100250)},
        {"2026-11-23t03:05:00.123456789z", UINT64_C(1795403100123)},
        {"2026-11-23T04:05:00+01:00", UINT64_C(1795403100000)},
        {"2026-11-22T22:35:00-04:30", UINT64_C(1795403100000)},
        {"2028-02-29T00:00:00Z", UINT64_C(1835395200000)},
        {"2026-02-29T00:00:00Z", 0},
        {"2026-11-31T00:00:00Z", 0},
        {"2026-13-01T00:00:00Z", 0},
        {"2026-00-01T00:00:00Z", 0},
        {"2026-11-23T24:00:00Z", 0},
        {"2026-11-23T03:05:00", 0},
        {"2026-11-23T03:05:00+1:00", 0},
        {"2026-11-23T03:05:00.5", 0},
        {"2026-11-23", 0},
        {"1969-12-31T23:59:59Z", 0},
        {"", 0},
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(times); i++) {
        assert_int_equal(key_time_read(dyn_slice_str(times[i].text)), times[i].ms);
    }
}

static const char everything[] =
    "{\"name\":\"caf\\u00e9 \\\"x\\\"\",\"scopes\":[\"admin\",\"inference\"],\"models\":[\"gpt-4o\",\"a*\"],"
    "\"targets\":[\"one\"],\"expires_at\":\"2999-01-01T00:00:00Z\",\"group\":\"g\","
    "\"limits\":{\"requests_per_minute\":60,\"tokens_per_day\":1000000},"
    "\"budget\":{\"day_usd\":0.000000000001,\"month_usd\":1000000},\"metadata\":{\"a\":{\"b\":[1,2]}}}";

static void
what_was_written_is_read_again(void **state)
{
    (void)state;
    struct arena arena;
    struct key_problem problem;
    struct key_record record = {.created_ms = NOW_MS};
    struct key_record again;
    struct dyn_buf line = DYN_BUF_INIT;
    struct dyn_buf twice = DYN_BUF_INIT;
    struct dyn_err err = {.text = ""};
    char text[KEY_TEXT_SIZE];
    arena_init(&arena, NULL, 0);
    assert_int_equal(key_record_take(dyn_slice_str(everything), &arena, NOW_MS, &record, &problem), 0);
    record.id = DYN_SLICE("0123456789abcdef");
    record.revoked_ms = NOW_MS + 5;
    key_secret_new(&record, text);
    key_record_write(&record, &line);
    assert_int_equal(key_record_read(dyn_buf_slice(&line), &arena, &again, &err), 0);
    key_record_write(&again, &twice);
    assert_string_equal(dyn_buf_cstr(&line), dyn_buf_cstr(&twice));
    assert_memory_equal(again.digest, record.digest, sizeof record.digest);
    assert_int_equal(again.budget.day, 1);
    assert_int_equal(again.budget.month, UINT64_C(1000000000000000000));
    assert_int_equal(again.scopes, KEY_SCOPE_ADMIN | KEY_SCOPE_INFERENCE);
    assert_true(dyn_slice_is(again.name, "caf\xc3\xa9 \"x\""));
    assert_null(strchr(dyn_buf_cstr(&line), '\n'));
    dyn_buf_fini(&line);
    dyn_buf_fini(&twice);
    arena_fini(&arena);
}

/* People never see what a key could be made of. */
static void
what_is_shown_has_no_digest(void **state)
{
    (void)state;
    struct key_record record = {
        .id = DYN_SLICE("0123456789abcdef"), .name = DYN_SLICE("n"), .scopes = KEY_SCOPE_INFERENCE};
    struct dyn_buf shown = DYN_BUF_INIT;
    char text[KEY_TEXT_SIZE];
    key_secret_new(&record, text);
    key_record_show(&record, NULL, NOW_MS, &shown);
    assert_null(strstr(dyn_buf_cstr(&shown), "digest"));
    assert_null(strstr(dyn_buf_cstr(&shown), "salt"));
    assert_null(strstr(dyn_buf_cstr(&shown), text + KEY_TEXT_LEN - KEY_SECRET_LEN));
    assert_non_null(strstr(dyn_buf_cstr(&shown), "\"active\":true"));
    dyn_buf_fini(&shown);
}

static void
what_is_wrong_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        const char *param;
        bool is_scope;
    } wrong[] = {
        {"{}", "name", false},
        {"", "", false},
        {"[]", "", false},
        {"{\"name\":\"x\",\"name\":\"y\"}", "", false},
        {"{\"name\":5}", "name", false},
        {"{\"name\":\"\"}", "name", false},
        {"{\"name\":\"a\\u0007\"}", "name", false},
        {"{\"name\":\"x\",\"scopes\":[\"root\"]}", "scopes", true},
        {"{\"name\":\"x\",\"scopes\":\"admin\"}", "scopes", true},
        {"{\"name\":\"x\",\"models\":[1]}", "models", false},
        {"{\"name\":\"x\",\"models\":[null]}", "models", false},
        {"{\"name\":\"x\",\"expires_at\":5}", "expires_at", false},
        {"{\"name\":\"x\",\"expires_at\":\"1970-01-02T00:00:00Z\"}", "expires_at", false},
        {"{\"name\":\"x\",\"limits\":{\"rpm\":5}}", "limits", false},
        {"{\"name\":\"x\",\"limits\":{\"requests_per_minute\":1.5}}", "limits", false},
        {"{\"name\":\"x\",\"limits\":{\"requests_per_minute\":-1}}", "limits", false},
        {"{\"name\":\"x\",\"budget\":{\"day_usd\":1000001}}", "budget", false},
        {"{\"name\":\"x\",\"metadata\":[]}", "metadata", false},
        {"{\"name\":\"x\",\"salt\":\"00\"}", "", false},
        {"{\"name\":\"x\",\"id\":\"0123456789abcdef\"}", "", false},
        {"{\"name\":\"x\",\"clear_expiration\":true,\"expires_at\":\"2999-01-01T00:00:00Z\"}",
         "clear_expiration", false},
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(wrong); i++) {
        struct arena arena;
        struct key_problem problem;
        struct key_record record = {.created_ms = UINT64_C(1795403100000)};
        arena_init(&arena, NULL, 0);
        int rc =
            key_record_take(dyn_slice_str(wrong[i].body), &arena, UINT64_C(1795403100000), &record, &problem);
        assert_int_equal(rc, -1);
        assert_string_equal(problem.param, wrong[i].param);
        assert_int_equal(problem.is_scope, wrong[i].is_scope);
        assert_true(problem.text[0] != '\0');
        arena_fini(&arena);
    }
}

static void
a_line_of_a_later_version_is_understood(void **state)
{
    (void)state;
    struct arena arena;
    struct key_record record;
    struct dyn_err err = {.text = ""};
    arena_init(&arena, NULL, 0);
    struct dyn_slice line =
        DYN_SLICE("{\"id\":\"0123456789abcdef\",\"name\":\"n\",\"scopes\":[\"admin\"],"
                  "\"color\":\"red\",\"limits\":{\"images_per_day\":4},\"usage_count\":9}");
    assert_int_equal(key_record_read(line, &arena, &record, &err), 0);
    assert_int_equal(record.stored_uses, 9);
    assert_int_equal(key_record_read(DYN_SLICE("{\"name\":\"n\"}"), &arena, &record, &err), -1);
    assert_int_equal(key_record_read(DYN_SLICE("{\"id\":\"xyz\"}"), &arena, &record, &err), -1);
    arena_fini(&arena);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_credential_finds_its_key_and_no_other),
        cmocka_unit_test(a_changed_byte_is_another_key),
        cmocka_unit_test(two_keys_of_one_id_are_refused),
        cmocka_unit_test(uses_go_with_the_key),
        cmocka_unit_test(lists_and_scopes),
        cmocka_unit_test(times_are_those_of_rfc_3339),
        cmocka_unit_test(what_was_written_is_read_again),
        cmocka_unit_test(what_is_shown_has_no_digest),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(a_line_of_a_later_version_is_understood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
