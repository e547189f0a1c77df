#include "actors/ledger/sqlite_schema.h"

#include <sqlite3.h>

/* "DYNB": what the file says it is (PRAGMA application_id). */
#define APPLICATION_ID 1146703426

/* Each brings a file from one version (PRAGMA user_version, its index) to the next. Never changed once
 * released: another one is added. Columns in the order of proto/ledger_rows.def. */
static const char *const migrations[] = {
    "CREATE TABLE request_log (request_id TEXT NOT NULL, stage TEXT NOT NULL, trace_id TEXT, created_us "
    "INTEGER,"
    " surface TEXT, model TEXT, provider TEXT, target TEXT, api_key_id TEXT, user TEXT, peer TEXT,"
    " status INTEGER, stream INTEGER, attempts INTEGER, prompt_tokens INTEGER, completion_tokens INTEGER,"
    " total_tokens INTEGER, duration_ms REAL, ttft_ms REAL, cost_usd REAL, error_code TEXT,"
    " error_message TEXT, request_body TEXT, response_body TEXT, UNIQUE (request_id, stage));"
    "CREATE INDEX request_log_by_time ON request_log (created_us);"
    "CREATE TABLE audit (id TEXT NOT NULL UNIQUE, occurred_us INTEGER, action TEXT, actor TEXT, actor_id "
    "TEXT,"
    " target_id TEXT, outcome TEXT, detail TEXT, source_ip TEXT, trace_id TEXT);"
    "CREATE INDEX audit_by_time ON audit (occurred_us);"
    "CREATE TABLE api_keys (id TEXT NOT NULL PRIMARY KEY, version INTEGER NOT NULL, deleted_us INTEGER,"
    " name TEXT, salt BLOB, hash BLOB, scopes TEXT, models TEXT, targets TEXT, limits TEXT, budget TEXT,"
    " metadata TEXT, created_us INTEGER, expires_us INTEGER, revoked_us INTEGER, rotated_us INTEGER,"
    " usage_count INTEGER NOT NULL DEFAULT 0, last_used_us INTEGER NOT NULL DEFAULT 0);"
    "CREATE INDEX api_keys_by_version ON api_keys (version);"
    "CREATE TABLE spend (account TEXT NOT NULL, window INTEGER NOT NULL, number INTEGER NOT NULL,"
    " holder TEXT NOT NULL, block INTEGER NOT NULL, PRIMARY KEY (account, window, number, holder))"
    " WITHOUT ROWID;"
    /* The last batch of rows that each process has sent: none is taken twice. */
    "CREATE TABLE senders (node TEXT NOT NULL PRIMARY KEY, sequence INTEGER NOT NULL, seen_us INTEGER NOT "
    "NULL);"
    "CREATE TABLE state (name TEXT NOT NULL PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
    "INSERT INTO state VALUES ('keys_version', 0);",

    "ALTER TABLE api_keys ADD COLUMN tail TEXT; ALTER TABLE api_keys ADD COLUMN owner_group TEXT;",

    /* Without the index on random ids, which cost more than all else of a row. */
    "DROP INDEX request_log_by_time;"
    "ALTER TABLE request_log RENAME TO request_log_former;"
    "CREATE TABLE request_log (request_id TEXT NOT NULL, stage TEXT NOT NULL, trace_id TEXT,"
    " created_us INTEGER,"
    " surface TEXT, model TEXT, provider TEXT, target TEXT, api_key_id TEXT, user TEXT, peer TEXT,"
    " status INTEGER, stream INTEGER, attempts INTEGER, prompt_tokens INTEGER, completion_tokens INTEGER,"
    " total_tokens INTEGER, duration_ms REAL, ttft_ms REAL, cost_usd REAL, error_code TEXT,"
    " error_message TEXT, request_body TEXT, response_body TEXT);"
    "INSERT INTO request_log SELECT * FROM request_log_former;"
    "DROP TABLE request_log_former;"
    "CREATE INDEX request_log_by_time ON request_log (created_us);",
};

static int
ask_number(sqlite3 *db, const char *sql, int64_t *out, struct dyn_err *err)
{
    sqlite3_stmt *statement = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
    if (rc == SQLITE_OK && (rc = sqlite3_step(statement)) == SQLITE_ROW) {
        *out = sqlite3_column_int64(statement, 0);
    }
    (void)sqlite3_finalize(statement);
    return rc == SQLITE_ROW ? 0 : dyn_err_set(err, DYN_E_IO, "%s", sqlite3_errmsg(db));
}

static int
apply(sqlite3 *db, size_t version, struct dyn_err *err)
{
    char *done = sqlite3_mprintf("PRAGMA application_id=%d; PRAGMA user_version=%d; COMMIT;", APPLICATION_ID,
                                 (int)version + 1);
    int rc = sqlite3_exec(db, migrations[version], NULL, NULL, NULL);
    rc = rc == SQLITE_OK ? sqlite3_exec(db, done, NULL, NULL, NULL) : rc;
    sqlite3_free(done);
    return rc == SQLITE_OK ? 0
                           : dyn_err_set(err, DYN_E_IO, "its tables cannot be made: %s", sqlite3_errmsg(db));
}

static int
migrate_in_transaction(sqlite3 *db, bool *is_done, struct dyn_err *err)
{
    int64_t version = 0, application = 0, tables = 0;
    if (ask_number(db, "PRAGMA user_version", &version, err) != 0 ||
        ask_number(db, "PRAGMA application_id", &application, err) != 0 ||
        ask_number(db, "SELECT count(*) FROM sqlite_schema", &tables, err) != 0) {
        return -1;
    }
    if (tables > 0 && application != APPLICATION_ID) {
        return dyn_err_set(err, DYN_E_CONFIG, "it is a database of another program");
    }
    if (version < 0 || version > (int64_t)DYN_ARRAY_LEN(migrations)) {
        return dyn_err_set(err, DYN_E_CONFIG,
                           "it was written by a later version of this program (schema %d, this one knows %d)",
                           (int)version, (int)DYN_ARRAY_LEN(migrations));
    }
    *is_done = version == (int64_t)DYN_ARRAY_LEN(migrations);
    return *is_done ? 0 : apply(db, (size_t)version, err);
}

/* Each step looks at the version again under the file's write lock: two processes may begin at once. */
int
sqlite_schema_migrate(struct sqlite3 *db, struct dyn_err *err)
{
    for (bool is_done = false; !is_done;) {
        if (sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK) {
            return dyn_err_set(err, DYN_E_IO, "%s", sqlite3_errmsg(db));
        }
        int rc = migrate_in_transaction(db, &is_done, err);
        if (sqlite3_get_autocommit(db) == 0) {
            (void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
        }
        if (rc != 0) {
            return -1;
        }
    }
    return 0;
}
