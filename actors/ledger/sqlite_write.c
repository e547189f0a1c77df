/* Rows that come: each is written once. Keys: each change has the next version. */
#include "actors/ledger/sqlite_file.h"

static int
insert(struct store_file *store, const struct ledger_row *row, uint64_t *changed, struct dyn_err *err)
{
    const struct ledger_schema *schema = &ledger_schemas[row->table];
    sqlite3_stmt *statement = store->insert[row->table];
    for (size_t i = 0; i < schema->n; i++) {
        sqlite_put_column(statement, (int)i + 1, &row->of, &schema->columns[i]);
    }
    if (sqlite_run(store, statement, err) != 0) {
        return -1;
    }
    *changed += (uint64_t)sqlite3_changes(store->db);
    return 0;
}

static int
count_use(struct store_file *store, const struct ledger_api_key *key, struct dyn_err *err)
{
    sqlite3_stmt *statement = store->fixed[SQL_KEY_USED];
    sqlite_put_text(statement, 1, key->id);
    sqlite_put_number(statement, 2, key->usage_count);
    sqlite_put_number(statement, 3, key->last_used_us);
    return sqlite_run(store, statement, err);
}

/* Whether the batch was taken before; else it counts as taken now. */
static int
is_known_batch(struct store_file *store, const struct ledger_message *ask, uint64_t wall_us, bool *is_known,
               struct dyn_err *err)
{
    uint64_t last = 0;
    *is_known = false;
    if (ask->node.len == 0) {
        return 0;
    }
    sqlite_put_text(store->fixed[SQL_SENDER_GET], 1, ask->node);
    if (sqlite_number(store, store->fixed[SQL_SENDER_GET], &last, err) != 0) {
        return -1;
    }
    *is_known = ask->sequence <= last;
    if (*is_known) {
        return 0;
    }
    sqlite_put_text(store->fixed[SQL_SENDER_SET], 1, ask->node);
    sqlite_put_number(store->fixed[SQL_SENDER_SET], 2, ask->sequence);
    sqlite_put_number(store->fixed[SQL_SENDER_SET], 3, wall_us);
    return sqlite_run(store, store->fixed[SQL_SENDER_SET], err);
}

/* Those of the request log are written. */
static int
write_others(struct store_file *store, struct store_job *job, struct dyn_err *err)
{
    struct mp_cursor rows = mp_cursor(job->ask.rows);
    struct ledger_row row;
    int rc = 0;
    while (rc == 0 && ledger_row_next(&rows, &row)) {
        if (row.table == LEDGER_API_KEYS) {
            rc = count_use(store, &row.of.api_key, err);
        } else if (row.table == LEDGER_AUDIT) {
            rc = insert(store, &row, &job->answer.changed, err);
        }
    }
    return rc;
}

int
sqlite_write_rows(struct store_file *store, struct store_job *job, uint64_t wall_us, struct dyn_err *err)
{
    bool is_known;
    job->answer.sequence = job->ask.sequence;
    if (is_known_batch(store, &job->ask, wall_us, &is_known, err) != 0) {
        return -1;
    }
    if (is_known) {
        return 0;
    }
    store->incoming = mp_cursor(job->ask.rows);
    store->has_others = false;
    if (sqlite_run(store, store->insert_incoming, err) != 0) {
        return -1;
    }
    job->answer.changed += (uint64_t)sqlite3_changes(store->db);
    return store->has_others ? write_others(store, job, err) : 0;
}

static int
put_key(struct store_file *store, struct ledger_row *row, struct dyn_err *err)
{
    const struct ledger_schema *schema = &ledger_schemas[LEDGER_API_KEYS];
    if (sqlite_run(store, store->fixed[SQL_KEYS_VERSION_NEXT], err) != 0 ||
        sqlite_number(store, store->fixed[SQL_KEYS_VERSION], &row->of.api_key.version, err) != 0) {
        return -1;
    }
    for (size_t i = 0; i < schema->n; i++) {
        sqlite_put_column(store->put_key, (int)i + 1, &row->of, &schema->columns[i]);
    }
    return sqlite_run(store, store->put_key, err);
}

int
sqlite_put(struct store_file *store, struct store_job *job, struct dyn_err *err)
{
    struct mp_cursor rows = mp_cursor(job->ask.rows);
    struct ledger_row row;
    if (sqlite_number(store, store->fixed[SQL_KEYS_VERSION], &job->answer.version, err) != 0) {
        return -1;
    }
    if (job->ask.if_version != 0 && job->ask.if_version != job->answer.version) {
        job->status = 409;
        return 0;
    }
    while (ledger_row_next(&rows, &row)) {
        int rc = 0;
        if (row.table == LEDGER_API_KEYS) {
            rc = put_key(store, &row, err);
        } else if (row.table == LEDGER_AUDIT) {
            rc = insert(store, &row, &job->answer.changed, err);
        }
        if (rc != 0) {
            return -1;
        }
    }
    return sqlite_number(store, store->fixed[SQL_KEYS_VERSION], &job->answer.version, err);
}
