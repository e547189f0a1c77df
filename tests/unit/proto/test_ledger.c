/* The language of the ledger: rows and questions come back as they were written; nothing that comes from
 * outside is believed. */
#include "proto/ledger.h"

#include "core/rand.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static struct ledger_row
log_row(void)
{
    struct ledger_row row = {.table = LEDGER_REQUEST_LOG};
    row.of.request_log = (struct ledger_request_log){
        .request_id = DYN_SLICE("0123456789abcdef0123456789abcdef"),
        .stage = DYN_SLICE("after_request"),
        .created_us = UINT64_C(1700000000000001),
        .model = DYN_SLICE("gpt\xff"),
        .status = 200,
        .duration_ms = 1.5,
        .ttft_ms = (double)NAN,
        .cost_usd = 0,
    };
    return row;
}

/* Every column; what is not known stays not known, and free is not unknown. */
static void
rows_come_back(void **state)
{
    (void)state;
    struct dyn_buf rows = DYN_BUF_INIT;
    struct ledger_row log = log_row();
    struct ledger_row key = {.table = LEDGER_API_KEYS};
    key.of.api_key = (struct ledger_api_key){
        .id = DYN_SLICE("k1"), .salt = {"\0\1", 2}, .hash = {"\xff\0", 2}, .version = 7};
    ledger_row_encode(&log, &rows);
    ledger_row_encode(&key, &rows);
    struct ledger_message ask = {
        .op = DYN_SLICE("rows"), .sequence = 9, .rows = dyn_buf_slice(&rows), .n_rows = 2};
    dyn_block_t *body = ledger_message_encode(&ask);
    struct ledger_message read;
    assert_int_equal(ledger_message_decode(dyn_block_slice(body), &read, NULL), 0);
    assert_true(dyn_slice_is(read.op, "rows"));
    assert_int_equal(read.sequence, 9);
    assert_int_equal(read.n_rows, 2);
    assert_null(read.model.data);
    struct mp_cursor cursor = mp_cursor(read.rows);
    struct ledger_row row;
    assert_true(ledger_row_next(&cursor, &row));
    assert_int_equal(row.table, LEDGER_REQUEST_LOG);
    assert_true(dyn_slice_is(row.of.request_log.stage, "after_request"));
    assert_true(dyn_slice_is(row.of.request_log.model, "gpt?"));
    assert_true(row.of.request_log.created_us == UINT64_C(1700000000000001));
    assert_true(row.of.request_log.duration_ms == 1.5);
    assert_true(isnan(row.of.request_log.ttft_ms));
    assert_true(row.of.request_log.cost_usd == 0);
    assert_null(row.of.request_log.provider.data);
    assert_true(ledger_row_next(&cursor, &row));
    assert_int_equal(row.table, LEDGER_API_KEYS);
    assert_true(dyn_slice_eq(row.of.api_key.salt, dyn_slice("\0\1", 2)));
    assert_true(dyn_slice_eq(row.of.api_key.hash, dyn_slice("\xff\0", 2)));
    assert_int_equal(row.of.api_key.version, 7);
    assert_false(ledger_row_next(&cursor, &row));
    dyn_block_unref(&body);
    dyn_buf_fini(&rows);
}

/* Cut anywhere it is refused as a whole. */
static void
a_cut_question_is_refused(void **state)
{
    (void)state;
    struct dyn_buf rows = DYN_BUF_INIT;
    struct ledger_row log = log_row();
    ledger_row_encode(&log, &rows);
    struct ledger_message ask = {
        .op = DYN_SLICE("rows"), .node = DYN_SLICE("n"), .rows = dyn_buf_slice(&rows), .n_rows = 1};
    dyn_block_t *body = ledger_message_encode(&ask);
    struct dyn_slice whole = dyn_block_slice(body);
    for (size_t i = 0; i < whole.len; i++) {
        struct dyn_err err;
        assert_int_equal(ledger_message_decode(dyn_slice(whole.data, i), &ask, &err), -1);
    }
    dyn_block_unref(&body);
    dyn_buf_fini(&rows);
}

/* Members of other types and names that nobody knows are skipped; a row of no table says so. */
static void
what_is_not_known_is_skipped(void **state)
{
    (void)state;
    static const char body[] = "\x84\xa2op\xa4keys\xa5since\xa1x\xa7unknown\x93\x01\x02\x80\xa4rows\x92"
                               "\x82\xa5table\xa5"
                               "audit\xa6"
                               "action\x05"
                               "\x81\xa5table\xa4none";
    struct ledger_message read;
    assert_int_equal(ledger_message_decode(dyn_slice(body, sizeof body - 1), &read, NULL), 0);
    assert_true(dyn_slice_is(read.op, "keys"));
    assert_int_equal(read.since, 0);
    assert_int_equal(read.n_rows, 2);
    struct mp_cursor cursor = mp_cursor(read.rows);
    struct ledger_row row;
    assert_true(ledger_row_next(&cursor, &row));
    assert_int_equal(row.table, LEDGER_AUDIT);
    assert_null(row.of.audit.action.data);
    assert_true(ledger_row_next(&cursor, &row));
    assert_int_equal(row.table, LEDGER_TABLES);
    assert_false(ledger_row_next(&cursor, &row));
}

/* Members of a row, as they are written. */
static const char *const members[] = {
    "\xa5table\xabrequest_log",
    "\xaarequest_id\xa2r1",
    "\xa5stage\xad"
    "after_request",
    "\xa5model\xd9\x21"
    "a model whose name has 33 letters",
    "\xa6status\xcd\x01\x90",
    "\xa8"
    "attempts\x02",
    "\xab"
    "duration_ms\x07",
    "\xa4user\x05", /* a number where a text is meant */
    "\xaa"
    "created_us\xa1x", /* and the other way round */
    "\xa5"
    "statu\xa1y", /* what a name begins with is none */
    "\xa8statuses\x93\x01\x02\x03",
};

static size_t
member_len(size_t i)
{
    static const size_t status_len = 10;
    return i == 4 ? status_len : strlen(members[i]);
}

static void
assert_read(const struct ledger_request_log *log)
{
    assert_true(dyn_slice_is(log->request_id, "r1"));
    assert_true(dyn_slice_is(log->stage, "after_request"));
    assert_int_equal(log->model.len, 33);
    assert_int_equal(log->status, 400);
    assert_int_equal(log->attempts, 2);
    assert_true(log->duration_ms == 7);
    assert_true(isnan(log->ttft_ms));
    assert_null(log->user.data);
    assert_int_equal(log->created_us, 0);
}

/* In whatever order they come, the table in front or not. */
static void
members_are_read_in_any_order(void **state)
{
    struct dyn_rng rng;
    (void)state;
    dyn_rng_seed(&rng, 7);
    for (unsigned round = 0; round < 2000; round++) {
        size_t order[DYN_ARRAY_LEN(members)];
        struct dyn_buf row = DYN_BUF_INIT;
        struct ledger_row read;
        dyn_buf_add_char(&row, (char)(0x80 | DYN_ARRAY_LEN(members)));
        for (size_t i = 0; i < DYN_ARRAY_LEN(members); i++) {
            size_t other = round == 0 ? i : dyn_rng_below(&rng, i + 1);
            order[i] = order[other];
            order[other] = i;
        }
        for (size_t i = 0; i < DYN_ARRAY_LEN(members); i++) {
            dyn_buf_add(&row, members[order[i]], member_len(order[i]));
        }
        struct mp_cursor cursor = mp_cursor(dyn_buf_slice(&row));
        assert_true(ledger_row_next(&cursor, &read));
        assert_int_equal(read.table, LEDGER_REQUEST_LOG);
        assert_read(&read.of.request_log);
        assert_true(cursor.next == cursor.end);
        dyn_buf_fini(&row);
    }
}

/* Columns that are told or not, with values of every length. */
static void
fill_randomly(struct ledger_row *row, struct dyn_rng *rng, const char *text)
{
    static const size_t lengths[] = {0, 1, 7, 31, 32, 255, 256, 70000};
    const struct ledger_schema *schema = &ledger_schemas[row->table];
    for (size_t i = 0; i < schema->n; i++) {
        void *at = (char *)&row->of + schema->columns[i].offset;
        bool is_told = dyn_rng_below(rng, 3) != 0;
        uint64_t number = dyn_rng_next(rng) >> dyn_rng_below(rng, 64);
        size_t len = lengths[dyn_rng_below(rng, dyn_rng_below(rng, 50) == 0 ? 8 : 7)];
        if (schema->columns[i].type == LEDGER_UINT) {
            *(uint64_t *)at = is_told ? number : 0;
        } else if (schema->columns[i].type == LEDGER_REAL) {
            *(double *)at = is_told ? (double)number / 8 : (double)NAN;
        } else {
            *(struct dyn_slice *)at = is_told ? dyn_slice(text, len) : dyn_slice(NULL, 0);
        }
    }
}

static void
assert_same(const struct ledger_row *one, const struct ledger_row *other)
{
    const struct ledger_schema *schema = &ledger_schemas[one->table];
    assert_int_equal(other->table, one->table);
    for (size_t i = 0; i < schema->n; i++) {
        const void *a = (const char *)&one->of + schema->columns[i].offset;
        const void *b = (const char *)&other->of + schema->columns[i].offset;
        const struct dyn_slice *left = a, *right = b;
        if (schema->columns[i].type == LEDGER_UINT || schema->columns[i].type == LEDGER_REAL) {
            assert_memory_equal(a, b, sizeof(uint64_t));
        } else {
            assert_int_equal(left->data != NULL, right->data != NULL);
            assert_true(dyn_slice_eq(*left, *right));
        }
    }
}

static void
whatever_is_told_comes_back(void **state)
{
    static char text[70000];
    struct dyn_rng rng;
    (void)state;
    dyn_rng_seed(&rng, 11);
    memset(text, 'x', sizeof text);
    for (unsigned round = 0; round < 2000; round++) {
        struct ledger_row row = {.table = round % 4 == 0 ? LEDGER_AUDIT : LEDGER_REQUEST_LOG};
        struct ledger_row read;
        struct dyn_buf rows = DYN_BUF_INIT;
        fill_randomly(&row, &rng, text);
        ledger_row_encode(&row, &rows);
        assert_int_equal(mp_check(dyn_buf_slice(&rows), 100, NULL), 0);
        struct mp_cursor cursor = mp_cursor(dyn_buf_slice(&rows));
        assert_true(ledger_row_next(&cursor, &read));
        assert_same(&row, &read);
        assert_true(cursor.next == cursor.end);
        dyn_buf_fini(&rows);
    }
}

/* Of bytes that end where they must not nothing behind is looked at. */
static void
a_row_that_is_cut_is_read_to_its_end(void **state)
{
    (void)state;
    struct dyn_buf rows = DYN_BUF_INIT;
    struct ledger_row log = log_row();
    struct ledger_row read;
    ledger_row_encode(&log, &rows);
    for (size_t len = 0; len <= rows.len; len++) {
        char *bytes = dyn_alloc(len + 1);
        memcpy(bytes, rows.data, len);
        struct mp_cursor cursor = mp_cursor(dyn_slice(bytes, len));
        (void)ledger_row_next(&cursor, &read);
        assert_true(cursor.next <= cursor.end);
        free(bytes);
    }
    dyn_buf_fini(&rows);
}

static struct ledger_lease
lease_of(const char *hex)
{
    static uint8_t bytes[512];
    struct ledger_message message;
    struct ledger_row row;
    size_t len = strlen(hex) / 2;
    assert_true(len <= sizeof bytes);
    assert_int_equal(dyn_hex_decode(bytes, len, dyn_slice_str(hex)), 0);
    assert_int_equal(ledger_message_decode(dyn_slice((const char *)bytes, len), &message, NULL), 0);
    assert_int_equal(message.n_rows, 1);
    struct mp_cursor rows = mp_cursor(message.rows);
    assert_true(ledger_row_next(&rows, &row));
    assert_int_equal(row.table, LEDGER_LEASE);
    assert_int_equal(row.of.lease.name.len, 16);
    return row.of.lease;
}

/* The vectors of 06-LEDGER: request_lease, end_lease. */
static void
leases_are_read(void **state)
{
    (void)state;
    struct ledger_lease ask =
        lease_of("82a26f70a56c65617365a4726f7773918ba57461626c65a56c65617365a46e616d65c410001122334455667788"
                 "99aabbccddeeffa6686f6c646572cf0123456789abcdefa56c696d697464a9706572696f645f7573ce03938700"
                 "a56f776e6572cf1122334455667788a873657175656e636502a677696e646f77ce01c09800a47573656414a872"
                 "657475726e656404a577616e747301");
    assert_true(ask.holder == UINT64_C(0x0123456789abcdef) && ask.owner == UINT64_C(0x1122334455667788));
    assert_int_equal(ask.limit, 100);
    assert_int_equal(ask.period_us, 60000000);
    assert_int_equal(ask.sequence, 2);
    assert_int_equal(ask.window, 29399040);
    assert_int_equal(ask.used, 20);
    assert_int_equal(ask.returned, 4);
    assert_int_equal(ask.wants, 1);
    assert_int_equal(ask.goodbye, 0);
    struct ledger_lease grant =
        lease_of("81a4726f7773918da57461626c65a56c65617365a46e616d65c41000112233445566778899aabbccddeeffa668"
                 "6f6c646572cf0123456789abcdefa56c696d697464a9706572696f645f7573ce03938700a56f776e6572cf1122"
                 "334455667788a873657175656e636502a677696e646f77ce01c09800a5676976656e22a76c6566745f7573ce00"
                 "e4e1c0a46c65667446a7686f6c6465727302a86d61795f636f6d6501");
    assert_true(grant.holder == ask.holder && grant.owner == ask.owner && grant.sequence == ask.sequence);
    assert_int_equal(grant.given, 34);
    assert_int_equal(grant.left_us, 15000000);
    assert_int_equal(grant.left, 70);
    assert_int_equal(grant.holders, 2);
    assert_int_equal(grant.may_come, 1);
    assert_int_equal(grant.wanted_back, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_come_back),
        cmocka_unit_test(a_cut_question_is_refused),
        cmocka_unit_test(what_is_not_known_is_skipped),
        cmocka_unit_test(members_are_read_in_any_order),
        cmocka_unit_test(whatever_is_told_comes_back),
        cmocka_unit_test(a_row_that_is_cut_is_read_to_its_end),
        cmocka_unit_test(leases_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
