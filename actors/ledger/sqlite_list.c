/* Lists of rows by what is asked of them, and rows that go by the same. */
#include "actors/ledger/sqlite_file.h"

#include <stdio.h>

static void
where_audit(struct sqlite_question *question, const struct ledger_message *ask)
{
    sqlite_where_text(question, "action=?", ask->action);
    sqlite_where_text(question, "outcome=?", ask->outcome);
    sqlite_where_text(question, "actor_id=?", ask->key_id);
    sqlite_where_time(question, "occurred_us>=?", ask->since);
    sqlite_where_time(question, "occurred_us<?", ask->before);
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

/* Bodies only where they are asked for: they are most of a row. */
static void
list_columns(enum ledger_table table, bool has_bodies, struct dyn_buf *out)
{
    static const char ending[] = "_body";
    const struct ledger_schema *schema = &ledger_schemas[table];
    for (size_t i = 0; i < schema->n; i++) {
        const char *name = schema->columns[i].name;
        size_t len = strlen(name);
        bool is_body = len >= sizeof ending && strcmp(name + len - (sizeof ending - 1), ending) == 0;
        dyn_buf_addf(out, "%s%s", i > 0 ? ", " : "", is_body && !has_bodies ? "NULL" : name);
    }
}

int
sqlite_list(struct store_file *store, struct store_job *job, enum ledger_table table, const char *order,
            struct dyn_err *err)
{
    struct sqlite_question question = {.sql = DYN_BUF_INIT};
    struct dyn_buf head = DYN_BUF_INIT;
    char tail[128];
    bool is_cut;
    uint64_t limit = job->ask.limit == 0 ? STORE_LIST_DEFAULT : job->ask.limit;
    (table == LEDGER_AUDIT ? where_audit : sqlite_where_log)(&question, &job->ask);
    dyn_buf_addf(&head, "SELECT count(*) FROM %s", ledger_schemas[table].name);
    sqlite3_stmt *count = sqlite_ask_for(store, &question, dyn_buf_cstr(&head), "", err);
    int rc = count != NULL ? sqlite_number(store, count, &job->answer.total, err) : -1;
    (void)sqlite3_finalize(count);
    dyn_buf_clear(&head);
    dyn_buf_add_str(&head, "SELECT ");
    list_columns(table, job->ask.bodies != 0, &head);
    dyn_buf_addf(&head, " FROM %s", ledger_schemas[table].name);
    (void)snprintf(tail, sizeof tail, " ORDER BY %s DESC, rowid DESC LIMIT %u OFFSET %lld", order,
                   (unsigned)(limit < STORE_LIST_MAX ? limit : STORE_LIST_MAX),
                   (long long)(job->ask.offset < LEDGER_UINT_MAX ? job->ask.offset : LEDGER_UINT_MAX));
    sqlite3_stmt *rows = rc == 0 ? sqlite_ask_for(store, &question, dyn_buf_cstr(&head), tail, err) : NULL;
    rc = rows != NULL ? gather(store, rows, table, job, &is_cut, err) : -1;
    (void)sqlite3_finalize(rows);
    dyn_buf_fini(&head);
    dyn_buf_fini(&question.sql);
    return rc;
}

int
sqlite_purge(struct store_file *store, struct store_job *job, struct dyn_err *err)
{
    struct sqlite_question question = {.sql = DYN_BUF_INIT};
    if (job->ask.before == 0) { /* nobody deletes everything by leaving a word out */
        job->status = 400;
        return 0;
    }
    struct ledger_message ask = job->ask;
    ask.stage = ask.stage.len > 0 ? ask.stage : DYN_SLICE("all");
    sqlite_where_log(&question, &ask);
    bool is_bounded = ask.limit > 0;
    char tail[60];
    (void)snprintf(tail, sizeof tail, " ORDER BY created_us LIMIT %llu)", (unsigned long long)ask.limit);
    sqlite3_stmt *statement =
        sqlite_ask_for(store, &question,
                       is_bounded ? "DELETE FROM request_log WHERE rowid IN (SELECT rowid FROM request_log"
                                  : "DELETE FROM request_log",
                       is_bounded ? tail : "", err);
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
