/* Lists of rows by what is asked of them, and rows that go by the same. */
#include "actors/ledger/sqlite_file.h"

#include <stdio.h>

/* Conditions and what is bound to them, in order. */
struct question {
    struct dyn_buf sql;
    struct dyn_slice texts[8];
    uint64_t numbers[8];
    size_t n;
};

static void
where(struct question *question, const char *condition, struct dyn_slice text, uint64_t number)
{
    dyn_buf_addf(&question->sql, " AND %s", condition);
    if (strchr(condition, '?') != NULL) {
        question->texts[question->n] = text;
        question->numbers[question->n++] = number;
    }
}

static void
where_text(struct question *question, const char *condition, struct dyn_slice text)
{
    if (text.len > 0) {
        where(question, condition, text, 0);
    }
}

static void
where_time(struct question *question, const char *condition, uint64_t time_us)
{
    if (time_us > 0) {
        where(question, condition, dyn_slice(NULL, 0), time_us);
    }
}

static void
where_log(struct question *question, const struct ledger_message *ask)
{
    if (ask->stage.len == 0) {
        where(question, "stage IN ('after_request', 'on_error')", ask->stage, 0);
    } else if (!dyn_slice_is(ask->stage, "all")) {
        where_text(question, "stage=?", ask->stage);
    }
    where_text(question, "model=?", ask->model);
    where_text(question, "provider=?", ask->provider);
    if (dyn_slice_is(ask->key_id, "none")) {
        where(question, "(api_key_id IS NULL OR api_key_id='anonymous')", ask->key_id, 0);
    } else {
        where_text(question, "api_key_id=?", ask->key_id);
    }
    where_time(question, "created_us>=?", ask->since);
    where_time(question, "created_us<?", ask->before);
}

static void
where_audit(struct question *question, const struct ledger_message *ask)
{
    where_text(question, "action=?", ask->action);
    where_text(question, "outcome=?", ask->outcome);
    where_text(question, "actor_id=?", ask->key_id);
    where_time(question, "occurred_us>=?", ask->since);
    where_time(question, "occurred_us<?", ask->before);
}

/* "head WHERE 1 AND .. tail", bound. NULL: it cannot be asked now. */
static sqlite3_stmt *
ask_for(struct store_file *store, const struct question *question, const char *head, const char *tail,
        struct dyn_err *err)
{
    struct dyn_buf sql = DYN_BUF_INIT;
    sqlite3_stmt *statement = NULL;
    dyn_buf_addf(&sql, "%s WHERE 1", head);
    dyn_buf_add_slice(&sql, dyn_buf_slice(&question->sql));
    dyn_buf_add_str(&sql, tail);
    if (sqlite3_prepare_v2(store->db, dyn_buf_cstr(&sql), -1, &statement, NULL) != SQLITE_OK) {
        (void)sqlite_fail(store, err);
    }
    for (size_t i = 0; statement != NULL && i < question->n; i++) {
        if (question->texts[i].data != NULL) {
            sqlite_put_text(statement, (int)i + 1, question->texts[i]);
        } else {
            sqlite_put_number(statement, (int)i + 1, question->numbers[i]);
        }
    }
    dyn_buf_fini(&sql);
    return statement;
}

/* Rows of a running statement into the answer, as many as fit. *is_cut: there are more. */
static int
gather(struct store_file *store, sqlite3_stmt *statement, enum ledger_table table, struct store_job *job,
       bool *is_cut, struct dyn_err *err)
{
    int rc;
    struct ledger_row row;
    *is_cut = false;
    while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
        size_t before = job->rows.len;
        sqlite_get_row(statement, table, &row);
        ledger_row_encode(&row, &job->rows);
        if (job->rows.len > STORE_ANSWER_MAX && job->n_rows > 0) {
            job->rows.len = before;
            *is_cut = true;
            return 0;
        }
        job->n_rows++;
        if (table == LEDGER_API_KEYS) {
            job->answer.version = row.of.api_key.version;
        }
    }
    return rc == SQLITE_DONE ? 0 : sqlite_fail(store, err);
}

int
sqlite_list(struct store_file *store, struct store_job *job, enum ledger_table table, const char *order,
            struct dyn_err *err)
{
    struct question question = {.sql = DYN_BUF_INIT};
    struct dyn_buf head = DYN_BUF_INIT;
    char tail[128];
    bool is_cut;
    uint64_t limit = job->ask.limit == 0 ? STORE_LIST_DEFAULT : job->ask.limit;
    (table == LEDGER_AUDIT ? where_audit : where_log)(&question, &job->ask);
    dyn_buf_addf(&head, "SELECT count(*) FROM %s", ledger_schemas[table].name);
    sqlite3_stmt *count = ask_for(store, &question, dyn_buf_cstr(&head), "", err);
    int rc = count != NULL ? sqlite_number(store, count, &job->answer.total, err) : -1;
    (void)sqlite3_finalize(count);
    dyn_buf_clear(&head);
    dyn_buf_add_str(&head, "SELECT ");
    sqlite_columns_of(table, &head);
    dyn_buf_addf(&head, " FROM %s", ledger_schemas[table].name);
    (void)snprintf(tail, sizeof tail, " ORDER BY %s DESC, rowid DESC LIMIT %u OFFSET %lld", order,
                   (unsigned)(limit < STORE_LIST_MAX ? limit : STORE_LIST_MAX),
                   (long long)(job->ask.offset < LEDGER_UINT_MAX ? job->ask.offset : LEDGER_UINT_MAX));
    sqlite3_stmt *rows = rc == 0 ? ask_for(store, &question, dyn_buf_cstr(&head), tail, err) : NULL;
    rc = rows != NULL ? gather(store, rows, table, job, &is_cut, err) : -1;
    (void)sqlite3_finalize(rows);
    dyn_buf_fini(&head);
    dyn_buf_fini(&question.sql);
    return rc;
}

int
sqlite_purge(struct store_file *store, struct store_job *job, struct dyn_err *err)
{
    struct question question = {.sql = DYN_BUF_INIT};
    if (job->ask.before == 0) { /* nobody deletes everything by leaving a word out */
        job->status = 400;
        return 0;
    }
    struct ledger_message ask = job->ask;
    ask.stage = ask.stage.len > 0 ? ask.stage : DYN_SLICE("all");
    where_log(&question, &ask);
    sqlite3_stmt *statement = ask_for(store, &question, "DELETE FROM request_log", "", err);
    int rc = statement != NULL ? sqlite_run(store, statement, err) : -1;
    job->answer.changed = rc == 0 ? (uint64_t)sqlite3_changes(store->db) : 0;
    (void)sqlite3_finalize(statement);
    dyn_buf_fini(&question.sql);
    return rc;
}

int
sqlite_list_keys(struct store_file *store, struct store_job *job, struct dyn_err *err)
{
    bool is_cut;
    uint64_t version = 0;
    if (sqlite_number(store, store->fixed[SQL_KEYS_VERSION], &version, err) != 0) {
        return -1;
    }
    sqlite_put_number(store->keys, 1, job->ask.since);
    int rc = gather(store, store->keys, LEDGER_API_KEYS, job, &is_cut, err);
    (void)sqlite3_reset(store->keys);
    (void)sqlite3_clear_bindings(store->keys);
    job->answer.more = rc == 0 && is_cut;
    job->answer.version = is_cut ? job->answer.version : version;
    return rc;
}
