/* What accounts have spent, for operators: listed, and forgiven. Blocks stay as their holders have them; what
 * is forgiven is a row beside them, whose holder is `reset`. */
#include "actors/ledger/sqlite_file.h"
#include "limits/money_window.h"

enum { LIST_DEFAULT = 50, LIST_MAX = 200 };

static const char list_sql[] =
    "SELECT spend.account, spend.window, spend.number,"
    " max(0, sum(CASE WHEN holder='reset' THEN -block ELSE block END)) FROM spend JOIN"
    " (SELECT DISTINCT account FROM spend WHERE window=3 AND (?1 IS NULL OR account=?1) ORDER BY account"
    " LIMIT ?2 OFFSET ?3) AS shown ON shown.account=spend.account"
    " WHERE (window=0 AND number=?4) OR (window=1 AND number=?5) OR (window=2 AND number=?6)"
    " OR (window=3 AND number=?7) GROUP BY spend.account, window ORDER BY spend.account, window";
static const char count_sql[] =
    "SELECT count(DISTINCT account) FROM spend WHERE window=3 AND (?1 IS NULL OR account=?1)";
static const char reset_sql[] =
    "INSERT INTO spend SELECT account, window, number, 'reset', sum(block) FROM spend"
    " WHERE account=?1 AND window=?2 AND number=?3 AND holder<>'reset' GROUP BY account, window, number"
    " ON CONFLICT (account, window, number, holder) DO UPDATE SET block=excluded.block";

/* NULL: it cannot be asked now. */
static sqlite3_stmt *
prepare(struct store_file *store, const char *sql, struct dyn_slice account, struct dyn_err *err)
{
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL) != SQLITE_OK) {
        (void)sqlite_fail(store, err);
        return NULL;
    }
    if (account.data != NULL) {
        sqlite_put_text(statement, 1, account);
    }
    return statement;
}

static void
add_row(sqlite3_stmt *statement, struct store_job *job)
{
    struct ledger_row row = {.table = LEDGER_SPEND};
    row.of.spend.account = dyn_slice((const char *)sqlite3_column_text(statement, 0),
                                     (size_t)sqlite3_column_bytes(statement, 0));
    row.of.spend.window = (uint64_t)sqlite3_column_int64(statement, 1);
    row.of.spend.number = (uint64_t)sqlite3_column_int64(statement, 2);
    row.of.spend.block = (uint64_t)sqlite3_column_int64(statement, 3);
    ledger_row_encode(&row, &job->rows);
    job->n_rows++;
}

static int
count_accounts(struct store_file *store, struct store_job *job, struct dyn_err *err)
{
    sqlite3_stmt *statement = prepare(store, count_sql, job->ask.account, err);
    int rc = statement != NULL ? sqlite_number(store, statement, &job->answer.total, err) : -1;
    (void)sqlite3_finalize(statement);
    return rc;
}

int
sqlite_list_spend(struct store_file *store, struct store_job *job, uint64_t wall_us, struct dyn_err *err)
{
    uint64_t wanted = job->ask.limit == 0 ? LIST_DEFAULT : job->ask.limit;
    uint64_t limit = wanted < LIST_MAX ? wanted : LIST_MAX;
    sqlite3_stmt *statement =
        count_accounts(store, job, err) == 0 ? prepare(store, list_sql, job->ask.account, err) : NULL;
    if (statement == NULL) {
        return -1;
    }
    sqlite_put_number(statement, 2, limit);
    sqlite_put_number(statement, 3, job->ask.offset);
    for (int w = 0; w < MONEY_WINDOWS; w++) {
        sqlite_put_number(statement, 4 + w, money_window_number((enum money_window)w, wall_us));
    }
    int rc;
    while ((rc = sqlite3_step(statement)) == SQLITE_ROW && job->rows.len < STORE_ANSWER_MAX) {
        add_row(statement, job);
    }
    int failed = rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : sqlite_fail(store, err);
    (void)sqlite3_finalize(statement);
    return failed;
}

int
sqlite_reset_spend(struct store_file *store, struct store_job *job, uint64_t wall_us, struct dyn_err *err)
{
    if (job->ask.account.data == NULL) {
        job->status = 400;
        return 0;
    }
    sqlite3_stmt *statement = prepare(store, reset_sql, job->ask.account, err);
    int rc = statement != NULL ? 0 : -1;
    for (int w = 0; w < MONEY_WINDOWS && rc == 0; w++) {
        sqlite_put_text(statement, 1, job->ask.account);
        sqlite_put_number(statement, 2, (uint64_t)w);
        sqlite_put_number(statement, 3, money_window_number((enum money_window)w, wall_us));
        rc = sqlite_run(store, statement, err);
        job->answer.changed += rc == 0 ? (uint64_t)sqlite3_changes(store->db) : 0;
    }
    (void)sqlite3_finalize(statement);
    return rc;
}
