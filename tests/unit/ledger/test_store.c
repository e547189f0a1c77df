/* The store in SQLite: what is written once stays once, batches are whole, spend is granted within its limit,
 * a file of a later version is left alone. */
#include "actors/ledger/store.h"
#include "core/clock.h"

#include <math.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];
static char path[96];

static int
make_folder(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/dynabus-store-XXXXXX");
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/kept.db", folder);
    return 0;
}

static int
remove_folder(void **state)
{
    static const char *const endings[] = {"", "-wal", "-shm"};
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(endings); i++) {
        char name[128];
        (void)snprintf(name, sizeof name, "%s%s", path, endings[i]);
        (void)unlink(name);
    }
    return rmdir(folder);
}

static void *
open_store(void)
{
    struct dyn_err err = {.text = ""};
    void *store = store_sqlite.open(path, &err);
    assert_string_equal(err.text, "");
    return store;
}

/* Asks with one row; the answer lies in `job`. */
static int
ask(void *store, struct ledger_message question, const struct ledger_row *row, struct store_job *job)
{
    struct dyn_buf rows = DYN_BUF_INIT;
    struct store_job *jobs[] = {job};
    *job = (struct store_job){.ask = question};
    if (row != NULL) {
        ledger_row_encode(row, &rows);
        job->ask.rows = dyn_buf_slice(&rows);
        job->ask.n_rows = 1;
    }
    int rc = store_is_write(question.op) ? store_sqlite.write_batch(store, jobs, 1, true, 1, NULL)
                                         : store_sqlite.read(store, job, 1, NULL);
    job->ask.rows = dyn_slice(NULL, 0);
    dyn_buf_fini(&rows);
    return rc;
}

static struct ledger_row
log_row(const char *id, const char *model)
{
    struct ledger_row row = {.table = LEDGER_REQUEST_LOG};
    row.of.request_log = (struct ledger_request_log){.request_id = dyn_slice_str(id),
                                                     .stage = DYN_SLICE("after_request"),
                                                     .model = dyn_slice_str(model),
                                                     .created_us = 5,
                                                     .duration_ms = 1.5,
                                                     .ttft_ms = (double)NAN,
                                                     .cost_usd = 0};
    return row;
}

static struct ledger_message
batch(const char *node, uint64_t sequence)
{
    return (struct ledger_message){
        .op = DYN_SLICE("rows"), .node = dyn_slice_str(node), .sequence = sequence};
}

/* By its number, and by its key. */
static void
a_row_is_written_once(void **state)
{
    struct store_job job;
    (void)state;
    void *store = open_store();
    struct ledger_row row = log_row("r1", "first");
    assert_int_equal(ask(store, batch("a", 1), &row, &job), 0);
    assert_int_equal(job.answer.changed, 1);
    row = log_row("r2", "never");
    assert_int_equal(ask(store, batch("a", 1), &row, &job), 0);
    assert_int_equal(job.answer.changed, 0);
    row = log_row("r1", "second");
    assert_int_equal(ask(store, batch("b", 1), &row, &job), 0);
    assert_int_equal(job.answer.changed, 0);
    store_sqlite.close(store);
    store = open_store();
    assert_int_equal(ask(store, (struct ledger_message){.op = DYN_SLICE("logs")}, NULL, &job), 0);
    assert_int_equal(job.answer.total, 1);
    struct mp_cursor rows = mp_cursor(dyn_buf_slice(&job.rows));
    assert_true(ledger_row_next(&rows, &row));
    assert_true(dyn_slice_is(row.of.request_log.model, "first"));
    assert_true(row.of.request_log.cost_usd == 0 && isnan(row.of.request_log.ttft_ms));
    dyn_buf_fini(&job.rows);
    store_sqlite.close(store);
}

static uint64_t
put_key(void *store, const char *id, uint64_t if_version, uint16_t expected)
{
    struct store_job job;
    struct ledger_row row = {.table = LEDGER_API_KEYS};
    row.of.api_key = (struct ledger_api_key){.id = dyn_slice_str(id), .salt = DYN_SLICE("s")};
    struct ledger_message put = {.op = DYN_SLICE("put"), .if_version = if_version};
    assert_int_equal(ask(store, put, &row, &job), 0);
    assert_int_equal(job.status, expected);
    return job.answer.version;
}

/* Whoever asks with the version that he knows hears of every change since, and of nothing else. */
static void
keys_are_told_by_version(void **state)
{
    struct store_job job;
    struct ledger_row row = {.table = LEDGER_API_KEYS};
    (void)state;
    void *store = open_store();
    assert_int_equal(put_key(store, "k1", 0, 200), 1);
    assert_int_equal(put_key(store, "k2", 1, 200), 2);
    assert_int_equal(put_key(store, "k3", 1, 409), 2);
    row.of.api_key = (struct ledger_api_key){.id = DYN_SLICE("k1"), .usage_count = 3, .last_used_us = 9};
    assert_int_equal(ask(store, batch("a", 1), &row, &job), 0);
    assert_int_equal(put_key(store, "k1", 0, 200), 3);
    struct ledger_message keys = {.op = DYN_SLICE("keys"), .since = 2};
    assert_int_equal(ask(store, keys, NULL, &job), 0);
    assert_int_equal(job.n_rows, 1);
    assert_int_equal(job.answer.version, 3);
    struct mp_cursor rows = mp_cursor(dyn_buf_slice(&job.rows));
    assert_true(ledger_row_next(&rows, &row));
    assert_true(dyn_slice_is(row.of.api_key.id, "k1"));
    assert_int_equal(row.of.api_key.usage_count, 3); /* a put leaves it */
    dyn_buf_fini(&job.rows);
    store_sqlite.close(store);
}

static struct ledger_spend
save(void *store, const char *holder, uint64_t block, uint64_t limit)
{
    struct store_job job;
    struct ledger_row row = {.table = LEDGER_SPEND};
    row.of.spend = (struct ledger_spend){
        .account = DYN_SLICE("k"), .holder = dyn_slice_str(holder), .block = block, .limit = limit};
    assert_int_equal(ask(store, (struct ledger_message){.op = DYN_SLICE("spend_save")}, &row, &job), 0);
    struct mp_cursor rows = mp_cursor(dyn_buf_slice(&job.rows));
    assert_true(ledger_row_next(&rows, &row));
    struct ledger_spend granted = {.block = row.of.spend.block, .others = row.of.spend.others};
    dyn_buf_fini(&job.rows);
    return granted;
}

/* Two processes never hold more than the limit together; what a dead one held counts. */
static void
spend_is_granted_within_the_limit(void **state)
{
    (void)state;
    void *store = open_store();
    assert_int_equal(save(store, "a", 60, 100).block, 60);
    struct ledger_spend second = save(store, "b", 60, 100);
    assert_int_equal(second.block, 40);
    assert_int_equal(second.others, 60);
    assert_int_equal(save(store, "a", 30, 100).block, 30);
    assert_int_equal(save(store, "b", 90, 100).block, 70);
    assert_int_equal(save(store, "b", 500, UINT64_MAX).block, 500);
    store_sqlite.close(store);
}

static void
add_log(void *store, uint64_t number, bool has_failed)
{
    struct store_job job;
    char id[16];
    (void)snprintf(id, sizeof id, "r%u", (unsigned)number);
    struct ledger_row row = log_row(id, has_failed ? "b" : "a");
    struct ledger_request_log *log = &row.of.request_log;
    log->created_us = number * 100;
    log->duration_ms = (double)number;
    log->cost_usd = has_failed ? (double)NAN : 0.5;
    log->prompt_tokens = 2;
    log->total_tokens = 3;
    log->error_code = has_failed ? DYN_SLICE("upstream_error") : log->error_code;
    log->error_message = has_failed ? DYN_SLICE("it broke") : log->error_message;
    assert_int_equal(ask(store, batch("a", number), &row, &job), 0);
}

static size_t
find_stats(const struct store_job *job, const char *dimension, const char *name, struct ledger_row *found)
{
    struct mp_cursor rows = mp_cursor(dyn_buf_slice(&job->rows));
    struct ledger_row row;
    size_t n = 0;
    while (ledger_row_next(&rows, &row)) {
        if (dyn_slice_is(row.of.log_stats.dimension, dimension) &&
            (name == NULL || dyn_slice_is(row.of.log_stats.name, name))) {
            *found = row;
            n++;
        }
    }
    return n;
}

/* Twenty rows from 100 to 2,000 us, each fifth one failed. */
static void
the_log_is_summed_up(void **state)
{
    struct store_job job;
    struct ledger_row row;
    (void)state;
    void *store = open_store();
    for (uint64_t i = 1; i <= 20; i++) {
        add_log(store, i, i % 5 == 0);
    }
    struct ledger_message stats = {.op = DYN_SLICE("stats"), .buckets = 2, .before = 2100, .since = 100};
    assert_int_equal(ask(store, stats, NULL, &job), 0);
    assert_int_equal(find_stats(&job, "total", "", &row), 1);
    assert_int_equal(row.of.log_stats.count, 20);
    assert_int_equal(row.of.log_stats.errors, 4);
    assert_int_equal(row.of.log_stats.total_tokens, 60);
    assert_int_equal(row.of.log_stats.unpriced, 4);
    assert_true(row.of.log_stats.cost_usd == 8.0);
    assert_int_equal(find_stats(&job, "model", "b", &row), 1);
    assert_int_equal(row.of.log_stats.count, 4);
    assert_int_equal(find_stats(&job, "error", "it broke", &row), 1);
    assert_true(dyn_slice_is(row.of.log_stats.code, "upstream_error"));
    assert_int_equal(find_stats(&job, "ttft_ms", NULL, &row), 0);
    assert_int_equal(find_stats(&job, "duration_ms", NULL, &row), 1);
    assert_true(row.of.log_stats.p50 == 10 && row.of.log_stats.p95 == 19 && row.of.log_stats.p99 == 20);
    assert_true(row.of.log_stats.max == 20 && row.of.log_stats.mean == 10.5);
    assert_int_equal(find_stats(&job, "point", NULL, &row), 2);
    assert_int_equal(row.of.log_stats.start_us, 1100);
    assert_int_equal(row.of.log_stats.count, 10);
    assert_int_equal(job.answer.truncated, 0);
    dyn_buf_fini(&job.rows);
    store_sqlite.close(store);
}

static uint64_t
purge(void *store, uint64_t before, uint64_t limit)
{
    struct store_job job;
    struct ledger_message ask_for = {.op = DYN_SLICE("purge"), .before = before, .limit = limit};
    assert_int_equal(ask(store, ask_for, NULL, &job), 0);
    return job.answer.changed;
}

/* Between two writes, and between a write and a question. */
static void
a_store_that_gave_memory_back_knows_all_that_it_knew(void **state)
{
    enum { N_ROWS = 40 };
    static char model[8192];
    struct store_job job;
    struct ledger_row row;
    int before = 0;
    int after = 0;
    int most = 0;
    (void)state;
    memset(model, 'm', sizeof model - 1);
    void *store = open_store();
    for (unsigned i = 0; i < N_ROWS; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "r%u", i);
        row = log_row(id, model);
        assert_int_equal(ask(store, batch("a", i + 1), &row, &job), 0);
    }
    assert_int_equal(sqlite3_status(SQLITE_STATUS_MEMORY_USED, &before, &most, 0), SQLITE_OK);
    store_sqlite.shed(store);
    assert_int_equal(sqlite3_status(SQLITE_STATUS_MEMORY_USED, &after, &most, 0), SQLITE_OK);
    assert_true(after < before - N_ROWS * 4096);
    row = log_row("r7", "again");
    assert_int_equal(ask(store, batch("b", 1), &row, &job), 0);
    assert_int_equal(job.answer.changed, 0);
    store_sqlite.shed(store);
    struct ledger_message stats = {.op = DYN_SLICE("stats"), .buckets = 2, .before = 2100};
    assert_int_equal(ask(store, stats, NULL, &job), 0);
    assert_int_equal(find_stats(&job, "total", "", &row), 1);
    assert_int_equal(row.of.log_stats.count, N_ROWS);
    dyn_buf_fini(&job.rows);
    store_sqlite.close(store);
}

/* The oldest first, as many as are asked for. */
static void
old_rows_are_deleted(void **state)
{
    struct store_job job;
    (void)state;
    void *store = open_store();
    for (uint64_t i = 1; i <= 20; i++) {
        add_log(store, i, false);
    }
    assert_int_equal(purge(store, 1001, 6), 6);
    assert_int_equal(ask(store, (struct ledger_message){.op = DYN_SLICE("logs"), .before = 700}, NULL, &job),
                     0);
    assert_int_equal(job.answer.total, 0);
    dyn_buf_fini(&job.rows);
    assert_int_equal(purge(store, 1001, 6), 4);
    assert_int_equal(purge(store, 1001, 6), 0);
    assert_int_equal(purge(store, UINT64_MAX, 0), 10);
    store_sqlite.close(store);
}

/* Rows of a file that had an index on ids are there, and stay known. */
static void
a_file_of_an_earlier_version_is_taken_over(void **state)
{
    struct store_job job;
    sqlite3 *db = NULL;
    (void)state;
    uint64_t now_us = dyn_wall_us(&dyn_clock_system);
    char *sql = sqlite3_mprintf(
        "DROP TABLE request_log;"
        "CREATE TABLE request_log (request_id TEXT NOT NULL, stage TEXT NOT NULL, trace_id TEXT,"
        " created_us INTEGER, surface TEXT, model TEXT, provider TEXT, target TEXT, api_key_id TEXT,"
        " user TEXT, peer TEXT, status INTEGER, stream INTEGER, attempts INTEGER, prompt_tokens INTEGER,"
        " completion_tokens INTEGER, total_tokens INTEGER, duration_ms REAL, ttft_ms REAL, cost_usd REAL,"
        " error_code TEXT, error_message TEXT, request_body TEXT, response_body TEXT,"
        " UNIQUE (request_id, stage));"
        "CREATE INDEX request_log_by_time ON request_log (created_us);"
        "INSERT INTO request_log (request_id, stage, created_us, model)"
        " VALUES ('r1', 'after_request', %lld, 'm'); PRAGMA user_version=2;",
        (long long)now_us);
    store_sqlite.close(open_store());
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    sqlite3_free(sql);
    void *store = open_store();
    struct ledger_row row = log_row("r1", "again");
    assert_int_equal(ask(store, batch("a", 1), &row, &job), 0);
    assert_int_equal(job.answer.changed, 0);
    assert_int_equal(ask(store, (struct ledger_message){.op = DYN_SLICE("logs")}, NULL, &job), 0);
    assert_int_equal(job.answer.total, 1);
    dyn_buf_fini(&job.rows);
    store_sqlite.close(store);
}

static void
a_file_of_a_later_version_is_left_alone(void **state)
{
    struct dyn_err err = {.text = ""};
    sqlite3 *db = NULL;
    (void)state;
    store_sqlite.close(open_store());
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version=99", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    assert_null(store_sqlite.open(path, &err));
    assert_non_null(strstr(err.text, "later version"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_row_is_written_once, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_store_that_gave_memory_back_knows_all_that_it_knew, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(keys_are_told_by_version, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(spend_is_granted_within_the_limit, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(the_log_is_summed_up, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(old_rows_are_deleted, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_file_of_an_earlier_version_is_taken_over, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(a_file_of_a_later_version_is_left_alone, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
