/* A store in one SQLite file: WAL, so that whoever reads it from outside stops nobody; one connection, since
 * the clerk is one thread. With `synchronous` NORMAL a commit survives the end of the process; before what
 * must survive that of the machine it is FULL. A lock of another process is waited for shortly: the clerk
 * asks again, and answers reads in between. */
#include "actors/ledger/sqlite_file.h"
#include "actors/ledger/sqlite_schema.h"
#include "core/clock.h"
#include "core/log.h"
#include "limits/money_window.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    BUSY_MS = 250,
    SENDERS_KEPT_DAYS = 30,
    KEYS_GONE_DAYS = 30,
    CACHE_KB = 2048,
    STEPS_BETWEEN_LOOKS = 10000,
    REMEMBERED_S = 3600,
    CHECKPOINT_PAGES = 4000,
};
#define DAY_US UINT64_C(86400000000)

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
                         " WHERE account=?1 AND window=?2 AND number=?3 AND holder<>?4 AND holder<>'reset'",
    [SQL_SPEND_CREDIT] = "SELECT block FROM spend"
                         " WHERE account=?1 AND window=?2 AND number=?3 AND holder='reset'",
    [SQL_SPEND_SET] = "INSERT INTO spend VALUES (?1, ?2, ?3, ?4, ?5)"
                      " ON CONFLICT (account, window, number, holder) DO UPDATE SET block=excluded.block",
};

/* ---- the ops ---- */

static int
set_durable(struct store_file *store, bool is_durable, struct dyn_err *err)
{
    if (store->is_full == is_durable) {
        return 0;
    }
    store->is_full = is_durable;
    return sqlite_run(store, store->fixed[is_durable ? SQL_FULL : SQL_NORMAL], err);
}

static int
write_one(struct store_file *store, struct store_job *job, uint64_t wall_us, struct dyn_err *err)
{
    job->status = 200;
    job->answer = (struct ledger_message){.n_rows = 0};
    dyn_buf_clear(&job->rows);
    job->n_rows = 0;
    if (dyn_slice_is(job->ask.op, "rows")) {
        return sqlite_write_rows(store, job, wall_us, err);
    }
    if (dyn_slice_is(job->ask.op, "put")) {
        return sqlite_put(store, job, err);
    }
    if (dyn_slice_is(job->ask.op, "spend_save")) {
        return sqlite_spend(store, job, true, err);
    }
    if (dyn_slice_is(job->ask.op, "spend_reset")) {
        return sqlite_reset_spend(store, job, wall_us, err);
    }
    return sqlite_purge(store, job, err);
}

static int
sqlite_write_batch(void *self, struct store_job *const *jobs, size_t n, bool is_durable, uint64_t wall_us,
                   struct dyn_err *err)
{
    struct store_file *store = self;
    if (set_durable(store, is_durable, err) != 0 || sqlite_run(store, store->fixed[SQL_BEGIN], err) != 0) {
        return -1;
    }
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = write_one(store, jobs[i], wall_us, err);
    }
    rc = rc == 0 ? sqlite_run(store, store->fixed[SQL_COMMIT], err) : rc;
    if (rc != 0 && sqlite3_get_autocommit(store->db) == 0) { /* some failures end it themselves */
        (void)sqlite_run(store, store->fixed[SQL_ROLLBACK], NULL);
    }
    (rc == 0 ? recent_keep : recent_undo)(store->recent);
    return rc;
}

static int
read_one(struct store_file *store, struct store_job *job, uint64_t wall_us, struct dyn_err *err)
{
    if (dyn_slice_is(job->ask.op, "keys")) {
        return sqlite_list_keys(store, job, err);
    }
    if (dyn_slice_is(job->ask.op, "spend_load")) {
        return sqlite_spend(store, job, false, err);
    }
    if (dyn_slice_is(job->ask.op, "spend_list")) {
        return sqlite_list_spend(store, job, wall_us, err);
    }
    if (dyn_slice_is(job->ask.op, "stats")) {
        return sqlite_stats(store, job, wall_us, err);
    }
    bool is_audit = dyn_slice_is(job->ask.op, "audit");
    return sqlite_list(store, job, is_audit ? LEDGER_AUDIT : LEDGER_REQUEST_LOG,
                       is_audit ? "occurred_us" : "created_us", err);
}

static int
sqlite_read(void *self, struct store_job *job, uint64_t wall_us, struct dyn_err *err)
{
    struct store_file *store = self;
    job->status = 200;
    store->read_until_us = dyn_mono_us(&dyn_clock_system) + STORE_READ_MS * UINT64_C(1000);
    int rc = read_one(store, job, wall_us, err);
    store->read_until_us = 0;
    if (rc != 0 && sqlite3_errcode(store->db) == SQLITE_INTERRUPT) {
        job->status = 413;
        return 0;
    }
    return rc;
}

/* SQLite asks every now and then: not 0 ends the question. */
static int
is_too_long(void *self)
{
    const struct store_file *store = self;
    return store->read_until_us != 0 && dyn_mono_us(&dyn_clock_system) > store->read_until_us;
}

/* ---- opening ---- */

/* "INSERT OR IGNORE INTO audit (id, ..) VALUES (?, ..)" */
static void
insert_text(enum ledger_table table, const char *verb, struct dyn_buf *out)
{
    dyn_buf_addf(out, "%s INTO %s (", verb, ledger_schemas[table].name);
    sqlite_columns_of(table, out);
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
    return rc == SQLITE_OK ? 0 : sqlite_fail(store, err);
}

static int
prepare_all(struct store_file *store, struct dyn_err *err)
{
    struct dyn_buf sql = DYN_BUF_INIT;
    int rc = 0;
    for (size_t i = 0; i < SQL_FIXED && rc == 0; i++) {
        rc = prepare(store, sql_texts[i], &store->fixed[i], err);
    }
    insert_text(LEDGER_AUDIT, "INSERT OR IGNORE", &sql);
    rc = rc == 0 ? prepare(store, dyn_buf_cstr(&sql), &store->insert[LEDGER_AUDIT], err) : rc;
    rc = rc == 0 ? sqlite_incoming_open(store, err) : rc;
    rc = rc == 0 ? prepare(store, "INSERT OR IGNORE INTO request_log SELECT * FROM incoming",
                           &store->insert_incoming, err)
                 : rc;
    dyn_buf_clear(&sql);
    put_key_text(&sql);
    rc = rc == 0 ? prepare(store, dyn_buf_cstr(&sql), &store->put_key, err) : rc;
    dyn_buf_clear(&sql);
    dyn_buf_add_str(&sql, "SELECT ");
    sqlite_columns_of(LEDGER_API_KEYS, &sql);
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
                   "PRAGMA trusted_schema=OFF; PRAGMA cache_size=-%d; PRAGMA journal_size_limit=67108864;"
                   "PRAGMA wal_autocheckpoint=%d;",
                   CACHE_KB, CHECKPOINT_PAGES);
    if (sqlite3_exec(store->db, pragmas, NULL, NULL, NULL) != SQLITE_OK) {
        return sqlite_fail(store, err);
    }
    if (sqlite_schema_migrate(store->db, err) != 0) {
        return -1;
    }
    (void)sqlite3_busy_timeout(store->db, BUSY_MS);
    sqlite3_progress_handler(store->db, STEPS_BETWEEN_LOOKS, is_too_long, store);
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
    sql = sqlite3_mprintf("DELETE FROM spend WHERE window=%d AND number<%lld", (int)LEDGER_SPEND_LEASE,
                          (long long)(now_us / DAY_US) - 1);
    (void)sqlite3_exec(store->db, sql, NULL, NULL, NULL);
    sqlite3_free(sql);
}

/* What was written before the process began anew, as far as a request may still come again. */
static void
remember_recent(struct store_file *store)
{
    sqlite3_stmt *statement = NULL;
    uint64_t since_us = dyn_wall_us(&dyn_clock_system) - REMEMBERED_S * UINT64_C(1000000);
    char sql[200];
    (void)snprintf(sql, sizeof sql,
                   "SELECT request_id, stage FROM request_log WHERE created_us>=%llu"
                   " ORDER BY created_us DESC LIMIT %d",
                   (unsigned long long)since_us, RECENT_ROWS / 4);
    if (sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL) != SQLITE_OK) {
        return;
    }
    while (sqlite3_step(statement) == SQLITE_ROW) {
        (void)recent_add(store->recent, sqlite_text(statement, 0), sqlite_text(statement, 1));
    }
    (void)sqlite3_finalize(statement);
    recent_keep(store->recent);
}

/* Pages of the file: the system has them, too. */
static void
sqlite_shed(void *self)
{
    const struct store_file *store = self;
    (void)sqlite3_db_release_memory(store->db);
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
    (void)sqlite3_finalize(store->insert_incoming);
    (void)sqlite3_finalize(store->put_key);
    (void)sqlite3_finalize(store->keys);
    (void)sqlite3_close(store->db);
    recent_free(&store->recent);
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
    store->recent = recent_new();
    path_of(dsn, path, sizeof path);
    bool is_memory = strcmp(path, ":memory:") == 0;
    int rc = is_memory ? 0 : make_file(path, &why);
    if (rc == 0 &&
        sqlite3_open_v2(path, &store->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK) {
        rc = sqlite_fail(store, &why);
    }
    if (rc != 0 || configure(store, &why) != 0) {
        (void)dyn_err_set(err, DYN_E_CONFIG, "the store '%.200s' cannot be used: %.150s", path, why.text);
        sqlite_close(store);
        return NULL;
    }
    forget_old(store);
    remember_recent(store);
    return store;
}

const struct store_ops store_sqlite = {
    .name = "sqlite",
    .open = sqlite_open,
    .write_batch = sqlite_write_batch,
    .read = sqlite_read,
    .shed = sqlite_shed,
    .close = sqlite_close,
};
