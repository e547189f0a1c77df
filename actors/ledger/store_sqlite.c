/* A store in one SQLite file: WAL, so that whoever reads it from outside stops nobody; one connection, since
 * the clerk is one thread. With `synchronous` NORMAL a commit survives the end of the process; before what
 * must survive that of the machine it is FULL. A lock of another process is waited for shortly: the clerk
 * asks again, and answers reads in between. */
#include "actors/ledger/sqlite_schema.h"
#include "actors/ledger/store.h"
#include "core/clock.h"
#include "core/log.h"
#include "limits/money_window.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUSY_MS = 250, SENDERS_KEPT_DAYS = 30, KEYS_GONE_DAYS = 30, CACHE_KB = 2048 };
#define DAY_US UINT64_C(86400000000)

enum sql {
    SQL_BEGIN,
    SQL_COMMIT,
    SQL_ROLLBACK,
    SQL_FULL,
    SQL_NORMAL,
    SQL_SENDER_GET,
    SQL_SENDER_SET,
    SQL_KEYS_VERSION,
    SQL_KEYS_VERSION_NEXT,
    SQL_KEY_USED,
    SQL_SPEND_GET,
    SQL_SPEND_OTHERS,
    SQL_SPEND_SET,
    SQL_FIXED
};
static const char *const sql_texts[SQL_FIXED] = {
    [SQL_BEGIN] = "BEGIN IMMEDIATE",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
    [SQL_FULL] = "PRAGMA synchronous=FULL",
    [SQL_NORMAL] = "PRAGMA synchronous=NORMAL",
    [SQL_SENDER_GET] = "SELECT sequence FROM senders WHERE node=?1",
    [SQL_SENDER_SET] = "INSERT INTO senders VALUES (?1, ?2, ?3) ON CONFLICT (node) DO UPDATE SET"
                       " sequence=excluded.sequence, seen_us=excluded.seen_us",
    [SQL_KEYS_VERSION] = "SELECT value FROM state WHERE name='keys_version'",
    [SQL_KEYS_VERSION_NEXT] = "UPDATE state SET value=value+1 WHERE name='keys_version'",
    [SQL_KEY_USED] = "UPDATE api_keys SET usage_count=usage_count+?2, last_used_us=max(last_used_us, ?3)"
                     " WHERE id=?1",
    [SQL_SPEND_GET] = "SELECT block FROM spend WHERE account=?1 AND window=?2 AND number=?3 AND holder=?4",
    [SQL_SPEND_OTHERS] = "SELECT coalesce(sum(block), 0) FROM spend"
                         " WHERE account=?1 AND window=?2 AND number=?3 AND holder<>?4",
    [SQL_SPEND_SET] = "INSERT INTO spend VALUES (?1, ?2, ?3, ?4, ?5)"
                      " ON CONFLICT (account, window, number, holder) DO UPDATE SET block=excluded.block",
};

struct store_file {
    sqlite3 *db;
    sqlite3_stmt *fixed[SQL_FIXED];
    sqlite3_stmt *insert[LEDGER_TABLES]; /* NULL: none for that table */
    sqlite3_stmt *put_key;
    sqlite3_stmt *keys;
    bool is_full; /* what `synchronous` is */
};

/* ---- statements ---- */

static int
fail(struct store_file *store, struct dyn_err *err)
{
    return dyn_err_set(err, DYN_E_IO, "sqlite: %s", sqlite3_errmsg(store->db));
}

/* Runs what returns no row; ready to be used again afterwards. */
static int
run(struct store_file *store, sqlite3_stmt *statement, struct dyn_err *err)
{
    int rc = sqlite3_step(statement);
    int result = rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : fail(store, err);
    (void)sqlite3_reset(statement);
    (void)sqlite3_clear_bindings(statement);
    return result;
}

/* Runs what returns one number; *out stays as it is when there is no row. */
static int
run_number(struct store_file *store, sqlite3_stmt *statement, uint64_t *out, struct dyn_err *err)
{
    int rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW) {
        int64_t number = sqlite3_column_int64(statement, 0);
        *out = number > 0 ? (uint64_t)number : 0;
    }
    int result = rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : fail(store, err);
    (void)sqlite3_reset(statement);
    (void)sqlite3_clear_bindings(statement);
    return result;
}

static void
bind_text(sqlite3_stmt *statement, int at, struct dyn_slice text)
{
    if (text.data != NULL) {
        (void)sqlite3_bind_text(statement, at, text.data, (int)text.len, SQLITE_STATIC);
    }
}

static void
bind_number(sqlite3_stmt *statement, int at, uint64_t number)
{
    (void)sqlite3_bind_int64(statement, at, (int64_t)(number < LEDGER_UINT_MAX ? number : LEDGER_UINT_MAX));
}

static void
bind_column(sqlite3_stmt *statement, int at, const void *base, const struct ledger_column *column)
{
    const void *value = (const char *)base + column->offset;
    const struct dyn_slice *bytes = value;
    switch (column->type) {
    case LEDGER_UINT:
        bind_number(statement, at, *(const uint64_t *)value);
        break;
    case LEDGER_REAL:
        if (!isnan(*(const double *)value)) {
            (void)sqlite3_bind_double(statement, at, *(const double *)value);
        }
        break;
    case LEDGER_BLOB:
        if (bytes->data != NULL) {
            (void)sqlite3_bind_blob(statement, at, bytes->data, (int)bytes->len, SQLITE_STATIC);
        }
        break;
    case LEDGER_TEXT:
        bind_text(statement, at, *bytes);
        break;
    }
}

/* The statement's columns are those of the table, in its order. Good until its next step. */
static void
read_row(sqlite3_stmt *statement, enum ledger_table table, struct ledger_row *row)
{
    const struct ledger_schema *schema = &ledger_schemas[table];
    *row = (struct ledger_row){.table = table};
    for (size_t i = 0; i < schema->n; i++) {
        void *at = (char *)&row->of + schema->columns[i].offset;
        int column = (int)i;
        bool is_null = sqlite3_column_type(statement, column) == SQLITE_NULL;
        if (schema->columns[i].type == LEDGER_REAL) {
            *(double *)at = is_null ? (double)NAN : sqlite3_column_double(statement, column);
        } else if (schema->columns[i].type == LEDGER_UINT) {
            *(uint64_t *)at = (uint64_t)sqlite3_column_int64(statement, column);
        } else if (!is_null) { /* an empty blob has no address */
            const void *data = schema->columns[i].type == LEDGER_BLOB
                                   ? sqlite3_column_blob(statement, column)
                                   : sqlite3_column_text(statement, column);
            size_t len = (size_t)sqlite3_column_bytes(statement, column);
            *(struct dyn_slice *)at = dyn_slice(data != NULL ? data : "", len);
        }
    }
}

/* ---- writing ---- */

static int
insert(struct store_file *store, const struct ledger_row *row, uint64_t *changed, struct dyn_err *err)
{
    const struct ledger_schema *schema = &ledger_schemas[row->table];
    sqlite3_stmt *statement = store->insert[row->table];
    for (size_t i = 0; i < schema->n; i++) {
        bind_column(statement, (int)i + 1, &row->of, &schema->columns[i]);
    }
    if (run(store, statement, err) != 0) {
        return -1;
    }
    *changed += (uint64_t)sqlite3_changes(store->db);
    return 0;
}

static int
count_use(struct store_file *store, const struct ledger_api_key *key, struct dyn_err *err)
{
    sqlite3_stmt *statement = store->fixed[SQL_KEY_USED];
    bind_text(statement, 1, key->id);
    bind_number(statement, 2, key->usage_count);
    bind_number(statement, 3, key->last_used_us);
    return run(store, statement, err);
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
    bind_text(store->fixed[SQL_SENDER_GET], 1, ask->node);
    if (run_number(store, store->fixed[SQL_SENDER_GET], &last, err) != 0) {
        return -1;
    }
    *is_known = ask->sequence <= last;
    if (*is_known) {
        return 0;
    }
    bind_text(store->fixed[SQL_SENDER_SET], 1, ask->node);
    bind_number(store->fixed[SQL_SENDER_SET], 2, ask->sequence);
    bind_number(store->fixed[SQL_SENDER_SET], 3, wall_us);
    return run(store, store->fixed[SQL_SENDER_SET], err);
}

static int
write_rows(struct store_file *store, struct store_job *job, uint64_t wall_us, struct dyn_err *err)
{
    struct mp_cursor rows = mp_cursor(job->ask.rows);
    struct ledger_row row;
    bool is_known;
    job->answer.sequence = job->ask.sequence;
    if (is_known_batch(store, &job->ask, wall_us, &is_known, err) != 0) {
        return -1;
    }
    while (!is_known && ledger_row_next(&rows, &row)) {
        int rc = 0;
        if (row.table == LEDGER_API_KEYS) {
            rc = count_use(store, &row.of.api_key, err);
        } else if (row.table == LEDGER_REQUEST_LOG || row.table == LEDGER_AUDIT) {
            rc = insert(store, &row, &job->answer.changed, err);
        }
        if (rc != 0) {
            return -1;
        }
    }
    return 0;
}

static int
put_key(struct store_file *store, struct ledger_row *row, struct dyn_err *err)
{
    const struct ledger_schema *schema = &ledger_schemas[LEDGER_API_KEYS];
    if (run(store, store->fixed[SQL_KEYS_VERSION_NEXT], err) != 0 ||
        run_number(store, store->fixed[SQL_KEYS_VERSION], &row->of.api_key.version, err) != 0) {
        return -1;
    }
    for (size_t i = 0; i < schema->n; i++) {
        bind_column(store->put_key, (int)i + 1, &row->of, &schema->columns[i]);
    }
    return run(store, store->put_key, err);
}

static int
put(struct store_file *store, struct store_job *job, struct dyn_err *err)
{
    struct mp_cursor rows = mp_cursor(job->ask.rows);
    struct ledger_row row;
    if (run_number(store, store->fixed[SQL_KEYS_VERSION], &job->answer.version, err) != 0) {
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
    return run_number(store, store->fixed[SQL_KEYS_VERSION], &job->answer.version, err);
}

/* ---- spend ---- */

static void
bind_spend(sqlite3_stmt *statement, const struct ledger_spend *spend)
{
    bind_text(statement, 1, spend->account);
    bind_number(statement, 2, spend->window);
    bind_number(statement, 3, spend->number);
    bind_text(statement, 4, spend->holder);
}

/* Raises as far as the limit leaves beside the others; a lower block and one without a limit as they are. */
static uint64_t
granted(const struct ledger_spend *wanted, uint64_t before, uint64_t others)
{
    uint64_t room = wanted->limit > others ? wanted->limit - others : 0;
    uint64_t most = wanted->block < room ? wanted->block : room;
    if (wanted->block <= before || others == 0 || wanted->limit >= LEDGER_UINT_MAX) {
        return wanted->block;
    }
    return most > before ? most : before;
}

static int
spend_row(struct store_file *store, struct ledger_spend *spend, bool saves, struct dyn_err *err)
{
    uint64_t before = 0, others = 0;
    bind_spend(store->fixed[SQL_SPEND_GET], spend);
    bind_spend(store->fixed[SQL_SPEND_OTHERS], spend);
    if (run_number(store, store->fixed[SQL_SPEND_GET], &before, err) != 0 ||
        run_number(store, store->fixed[SQL_SPEND_OTHERS], &others, err) != 0) {
        return -1;
    }
    uint64_t block = saves ? granted(spend, before, others) : before;
    if (saves) {
        bind_spend(store->fixed[SQL_SPEND_SET], spend);
        bind_number(store->fixed[SQL_SPEND_SET], 5, block);
        if (run(store, store->fixed[SQL_SPEND_SET], err) != 0) {
            return -1;
        }
    }
    spend->block = block;
    spend->others = others;
    return 0;
}

static int
spend(struct store_file *store, struct store_job *job, bool saves, struct dyn_err *err)
{
    struct mp_cursor rows = mp_cursor(job->ask.rows);
    struct ledger_row row;
    while (ledger_row_next(&rows, &row)) {
        bool is_sound = row.table == LEDGER_SPEND && row.of.spend.account.data != NULL &&
                        row.of.spend.holder.data != NULL;
        if (!is_sound) {
            job->status = 400;
            return 0;
        }
        if (spend_row(store, &row.of.spend, saves, err) != 0) {
            return -1;
        }
        ledger_row_encode(&row, &job->rows);
        job->n_rows++;
    }
    return 0;
}

/* ---- lists ---- */

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
        (void)fail(store, err);
    }
    for (size_t i = 0; statement != NULL && i < question->n; i++) {
        if (question->texts[i].data != NULL) {
            bind_text(statement, (int)i + 1, question->texts[i]);
        } else {
            bind_number(statement, (int)i + 1, question->numbers[i]);
        }
    }
    dyn_buf_fini(&sql);
    return statement;
}

static void
columns_of(enum ledger_table table, struct dyn_buf *out)
{
    const struct ledger_schema *schema = &ledger_schemas[table];
    for (size_t i = 0; i < schema->n; i++) {
        dyn_buf_addf(out, "%s%s", i > 0 ? ", " : "", schema->columns[i].name);
    }
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
        read_row(statement, table, &row);
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
    return rc == SQLITE_DONE ? 0 : fail(store, err);
}

static int
list(struct store_file *store, struct store_job *job, enum ledger_table table, const char *order,
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
    int rc = count != NULL ? run_number(store, count, &job->answer.total, err) : -1;
    (void)sqlite3_finalize(count);
    dyn_buf_clear(&head);
    dyn_buf_add_str(&head, "SELECT ");
    columns_of(table, &head);
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

static int
purge(struct store_file *store, struct store_job *job, struct dyn_err *err)
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
    int rc = statement != NULL ? run(store, statement, err) : -1;
    job->answer.changed = rc == 0 ? (uint64_t)sqlite3_changes(store->db) : 0;
    (void)sqlite3_finalize(statement);
    dyn_buf_fini(&question.sql);
    return rc;
}

static int
list_keys(struct store_file *store, struct store_job *job, struct dyn_err *err)
{
    bool is_cut;
    uint64_t version = 0;
    if (run_number(store, store->fixed[SQL_KEYS_VERSION], &version, err) != 0) {
        return -1;
    }
    bind_number(store->keys, 1, job->ask.since);
    int rc = gather(store, store->keys, LEDGER_API_KEYS, job, &is_cut, err);
    (void)sqlite3_reset(store->keys);
    (void)sqlite3_clear_bindings(store->keys);
    job->answer.more = rc == 0 && is_cut;
    job->answer.version = is_cut ? job->answer.version : version;
    return rc;
}

/* ---- the ops ---- */

static int
set_durable(struct store_file *store, bool is_durable, struct dyn_err *err)
{
    if (store->is_full == is_durable) {
        return 0;
    }
    store->is_full = is_durable;
    return run(store, store->fixed[is_durable ? SQL_FULL : SQL_NORMAL], err);
}

static int
write_one(struct store_file *store, struct store_job *job, uint64_t wall_us, struct dyn_err *err)
{
    job->status = 200;
    job->answer = (struct ledger_message){.n_rows = 0};
    dyn_buf_clear(&job->rows);
    job->n_rows = 0;
    if (dyn_slice_is(job->ask.op, "rows")) {
        return write_rows(store, job, wall_us, err);
    }
    if (dyn_slice_is(job->ask.op, "put")) {
        return put(store, job, err);
    }
    if (dyn_slice_is(job->ask.op, "spend_save")) {
        return spend(store, job, true, err);
    }
    return purge(store, job, err);
}

static int
sqlite_write_batch(void *self, struct store_job *const *jobs, size_t n, bool is_durable, uint64_t wall_us,
                   struct dyn_err *err)
{
    struct store_file *store = self;
    if (set_durable(store, is_durable, err) != 0 || run(store, store->fixed[SQL_BEGIN], err) != 0) {
        return -1;
    }
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = write_one(store, jobs[i], wall_us, err);
    }
    rc = rc == 0 ? run(store, store->fixed[SQL_COMMIT], err) : rc;
    if (rc != 0 && sqlite3_get_autocommit(store->db) == 0) { /* some failures end it themselves */
        (void)run(store, store->fixed[SQL_ROLLBACK], NULL);
    }
    return rc;
}

static int
sqlite_read(void *self, struct store_job *job, struct dyn_err *err)
{
    struct store_file *store = self;
    job->status = 200;
    if (dyn_slice_is(job->ask.op, "keys")) {
        return list_keys(store, job, err);
    }
    if (dyn_slice_is(job->ask.op, "spend_load")) {
        return spend(store, job, false, err);
    }
    bool is_audit = dyn_slice_is(job->ask.op, "audit");
    return list(store, job, is_audit ? LEDGER_AUDIT : LEDGER_REQUEST_LOG,
                is_audit ? "occurred_us" : "created_us", err);
}

/* ---- opening ---- */

/* "INSERT OR IGNORE INTO audit (id, ..) VALUES (?, ..)" */
static void
insert_text(enum ledger_table table, const char *verb, struct dyn_buf *out)
{
    dyn_buf_addf(out, "%s INTO %s (", verb, ledger_schemas[table].name);
    columns_of(table, out);
    dyn_buf_add_str(out, ") VALUES (");
    for (size_t i = 0; i < ledger_schemas[table].n; i++) {
        dyn_buf_add_str(out, i > 0 ? ", ?" : "?");
    }
    dyn_buf_add_char(out, ')');
}

/* All columns but what counts uses. */
static void
put_key_text(struct dyn_buf *out)
{
    const struct ledger_schema *schema = &ledger_schemas[LEDGER_API_KEYS];
    const char *comma = "";
    insert_text(LEDGER_API_KEYS, "INSERT", out);
    dyn_buf_add_str(out, " ON CONFLICT (id) DO UPDATE SET ");
    for (size_t i = 1; i < schema->n; i++) {
        const char *name = schema->columns[i].name;
        if (strcmp(name, "usage_count") != 0 && strcmp(name, "last_used_us") != 0) {
            dyn_buf_addf(out, "%s%s=excluded.%s", comma, name, name);
            comma = ", ";
        }
    }
}

static int
prepare(struct store_file *store, const char *sql, sqlite3_stmt **out, struct dyn_err *err)
{
    int rc = sqlite3_prepare_v3(store->db, sql, -1, SQLITE_PREPARE_PERSISTENT, out, NULL);
    return rc == SQLITE_OK ? 0 : fail(store, err);
}

static int
prepare_all(struct store_file *store, struct dyn_err *err)
{
    struct dyn_buf sql = DYN_BUF_INIT;
    int rc = 0;
    for (size_t i = 0; i < SQL_FIXED && rc == 0; i++) {
        rc = prepare(store, sql_texts[i], &store->fixed[i], err);
    }
    static const enum ledger_table inserted[] = {LEDGER_REQUEST_LOG, LEDGER_AUDIT};
    for (size_t i = 0; i < DYN_ARRAY_LEN(inserted) && rc == 0; i++) {
        dyn_buf_clear(&sql);
        insert_text(inserted[i], "INSERT OR IGNORE", &sql);
        rc = prepare(store, dyn_buf_cstr(&sql), &store->insert[inserted[i]], err);
    }
    dyn_buf_clear(&sql);
    put_key_text(&sql);
    rc = rc == 0 ? prepare(store, dyn_buf_cstr(&sql), &store->put_key, err) : rc;
    dyn_buf_clear(&sql);
    dyn_buf_add_str(&sql, "SELECT ");
    columns_of(LEDGER_API_KEYS, &sql);
    dyn_buf_add_str(&sql, " FROM api_keys WHERE version>? ORDER BY version");
    rc = rc == 0 ? prepare(store, dyn_buf_cstr(&sql), &store->keys, err) : rc;
    dyn_buf_fini(&sql);
    return rc;
}

static int
configure(struct store_file *store, struct dyn_err *err)
{
    char pragmas[256];
    (void)sqlite3_busy_timeout(store->db, BUSY_MS * 8); /* another one may be just starting, too */
    (void)snprintf(pragmas, sizeof pragmas,
                   "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA temp_store=MEMORY;"
                   "PRAGMA trusted_schema=OFF; PRAGMA cache_size=-%d; PRAGMA journal_size_limit=67108864;",
                   CACHE_KB);
    if (sqlite3_exec(store->db, pragmas, NULL, NULL, NULL) != SQLITE_OK) {
        return fail(store, err);
    }
    if (sqlite_schema_migrate(store->db, err) != 0) {
        return -1;
    }
    (void)sqlite3_busy_timeout(store->db, BUSY_MS);
    return prepare_all(store, err);
}

/* What was only kept so that others hear of it, or send it twice. */
static void
forget_old(struct store_file *store)
{
    uint64_t now_us = dyn_wall_us(&dyn_clock_system);
    char *sql = sqlite3_mprintf("DELETE FROM senders WHERE seen_us<%lld;"
                                "DELETE FROM api_keys WHERE deleted_us>0 AND deleted_us<%lld;",
                                (long long)(now_us - SENDERS_KEPT_DAYS * DAY_US),
                                (long long)(now_us - KEYS_GONE_DAYS * DAY_US));
    (void)sqlite3_exec(store->db, sql, NULL, NULL, NULL);
    sqlite3_free(sql);
    for (int w = 0; w < MONEY_TOTAL; w++) { /* windows that are over; the last one stays, for who looks */
        uint32_t number = money_window_number((enum money_window)w, now_us);
        sql = sqlite3_mprintf("DELETE FROM spend WHERE window=%d AND number<%lld", w, (long long)number - 1);
        (void)sqlite3_exec(store->db, sql, NULL, NULL, NULL);
        sqlite3_free(sql);
    }
}

static void
sqlite_close(void *self)
{
    struct store_file *store = self;
    if (store == NULL) {
        return;
    }
    for (size_t i = 0; i < SQL_FIXED; i++) {
        (void)sqlite3_finalize(store->fixed[i]);
    }
    for (size_t i = 0; i < LEDGER_TABLES; i++) {
        (void)sqlite3_finalize(store->insert[i]);
    }
    (void)sqlite3_finalize(store->put_key);
    (void)sqlite3_finalize(store->keys);
    (void)sqlite3_close(store->db);
    free(store);
}

/* The file is there before SQLite writes to it, and nobody else can read it; its -wal and -shm get the same
 * mode. */
static int
make_file(const char *path, struct dyn_err *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
    if (fd < 0) {
        return dyn_err_set(err, DYN_E_CONFIG, "%s", strerror(errno));
    }
    struct stat status;
    if (fstat(fd, &status) == 0 && (status.st_mode & 077) != 0) {
        dyn_log(DYN_LOG_WARN, "ledger.mode", "others can read the store: chmod 600",
                DYN_LOG_STR("file", path));
    }
    (void)close(fd);
    return 0;
}

/* The path of `file:` URIs: an authority may be empty or localhost; parameters are not for us. */
static void
path_of(const char *dsn, char *out, size_t size)
{
    bool is_uri = strncmp(dsn, "file:", 5) == 0;
    const char *at = is_uri ? dsn + 5 : dsn;
    if (is_uri && strncmp(at, "//localhost/", 12) == 0) {
        at += 11;
    } else if (is_uri && strncmp(at, "///", 3) == 0) {
        at += 2;
    }
    size_t len = is_uri ? strcspn(at, "?#") : strlen(at);
    (void)snprintf(out, size, "%.*s", (int)len, at);
}

static void *
sqlite_open(const char *dsn, struct dyn_err *err)
{
    char path[4096];
    struct dyn_err why = {.text = ""};
    struct store_file *store = dyn_zalloc(sizeof *store);
    path_of(dsn, path, sizeof path);
    bool is_memory = strcmp(path, ":memory:") == 0;
    int rc = is_memory ? 0 : make_file(path, &why);
    if (rc == 0 &&
        sqlite3_open_v2(path, &store->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK) {
        rc = fail(store, &why);
    }
    if (rc != 0 || configure(store, &why) != 0) {
        (void)dyn_err_set(err, DYN_E_CONFIG, "the store '%.200s' cannot be used: %.150s", path, why.text);
        sqlite_close(store);
        return NULL;
    }
    forget_old(store);
    return store;
}

const struct store_ops store_sqlite = {
    .name = "sqlite",
    .open = sqlite_open,
    .write_batch = sqlite_write_batch,
    .read = sqlite_read,
    .close = sqlite_close,
};
