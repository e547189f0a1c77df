/* Rows that have come, as a table that SQL can read: one statement writes all rows of the request log that a
 * message has, and what SQLite does for each statement it does once. The rows are read as it asks for them,
 * and their texts are copied into its pages from where they lie. Those of other tables are passed over. */
#include "actors/ledger/sqlite_file.h"

#include <math.h>
#include <stdlib.h>

/* Any; it is the only table of its statement. */
#define ROWS_ESTIMATED 1000

struct incoming_table {
    sqlite3_vtab base;
    struct store_file *store;
};

struct incoming_cursor {
    sqlite3_vtab_cursor base;
    struct ledger_row row;
    sqlite3_int64 number;
    bool is_at_end;
};

static struct store_file *
store_of(const struct incoming_cursor *cursor)
{
    return ((struct incoming_table *)cursor->base.pVtab)->store;
}

static int
incoming_connect(sqlite3 *db, void *store, int argc, const char *const *argv, sqlite3_vtab **out,
                 char **error)
{
    struct dyn_buf sql = DYN_BUF_INIT;
    struct incoming_table *table = dyn_zalloc(sizeof *table);
    (void)argc;
    (void)argv;
    (void)error;
    dyn_buf_add_str(&sql, "CREATE TABLE incoming (");
    sqlite_columns_of(LEDGER_REQUEST_LOG, &sql);
    dyn_buf_add_char(&sql, ')');
    int rc = sqlite3_declare_vtab(db, dyn_buf_cstr(&sql));
    dyn_buf_fini(&sql);
    table->store = store;
    *out = &table->base;
    return rc;
}

static int
incoming_disconnect(sqlite3_vtab *table)
{
    free(table);
    return SQLITE_OK;
}

static int
incoming_plan(sqlite3_vtab *table, sqlite3_index_info *plan)
{
    (void)table;
    plan->estimatedCost = ROWS_ESTIMATED;
    plan->estimatedRows = ROWS_ESTIMATED;
    return SQLITE_OK;
}

static int
incoming_open(sqlite3_vtab *table, sqlite3_vtab_cursor **out)
{
    struct incoming_cursor *cursor = dyn_zalloc(sizeof *cursor);
    (void)table;
    *out = &cursor->base;
    return SQLITE_OK;
}

static int
incoming_close(sqlite3_vtab_cursor *cursor)
{
    free(cursor);
    return SQLITE_OK;
}

/* To the next row that was not written before. */
static int
incoming_next(sqlite3_vtab_cursor *base)
{
    struct incoming_cursor *cursor = (struct incoming_cursor *)base;
    struct store_file *store = store_of(cursor);
    const struct ledger_request_log *log = &cursor->row.of.request_log;
    cursor->number++;
    while (ledger_row_next(&store->incoming, &cursor->row)) {
        if (cursor->row.table != LEDGER_REQUEST_LOG) {
            store->has_others = true;
        } else if (recent_add(store->recent, log->request_id, log->stage)) {
            return SQLITE_OK;
        }
    }
    cursor->is_at_end = true;
    return SQLITE_OK;
}

static int
incoming_filter(sqlite3_vtab_cursor *base, int plan, const char *text, int argc, sqlite3_value **argv)
{
    (void)plan;
    (void)text;
    (void)argc;
    (void)argv;
    return incoming_next(base);
}

static int
incoming_is_at_end(sqlite3_vtab_cursor *base)
{
    return ((struct incoming_cursor *)base)->is_at_end;
}

static uint64_t
at_most(uint64_t number)
{
    return number < LEDGER_UINT_MAX ? number : LEDGER_UINT_MAX;
}

/* What is said nothing of is NULL. */
static int
incoming_column(sqlite3_vtab_cursor *base, sqlite3_context *context, int i)
{
    const struct incoming_cursor *cursor = (struct incoming_cursor *)base;
    const struct ledger_column *column = &ledger_schemas[LEDGER_REQUEST_LOG].columns[i];
    const void *value = (const char *)&cursor->row.of + column->offset;
    const struct dyn_slice *bytes = value;
    switch (column->type) {
    case LEDGER_UINT:
        sqlite3_result_int64(context, (sqlite3_int64)at_most(*(const uint64_t *)value));
        break;
    case LEDGER_REAL:
        if (!isnan(*(const double *)value)) {
            sqlite3_result_double(context, *(const double *)value);
        }
        break;
    case LEDGER_TEXT:
        if (bytes->data != NULL) {
            sqlite3_result_text(context, bytes->data, (int)bytes->len, SQLITE_STATIC);
        }
        break;
    case LEDGER_BLOB:
        if (bytes->data != NULL) {
            sqlite3_result_blob(context, bytes->data, (int)bytes->len, SQLITE_STATIC);
        }
        break;
    }
    return SQLITE_OK;
}

static int
incoming_number(sqlite3_vtab_cursor *base, sqlite3_int64 *out)
{
    *out = ((struct incoming_cursor *)base)->number;
    return SQLITE_OK;
}

/* Nothing makes it (no xCreate): it is there under its name. */
static const sqlite3_module incoming_module = {
    .xConnect = incoming_connect,
    .xBestIndex = incoming_plan,
    .xDisconnect = incoming_disconnect,
    .xOpen = incoming_open,
    .xClose = incoming_close,
    .xFilter = incoming_filter,
    .xNext = incoming_next,
    .xEof = incoming_is_at_end,
    .xColumn = incoming_column,
    .xRowid = incoming_number,
};

int
sqlite_incoming_open(struct store_file *store, struct dyn_err *err)
{
    int rc = sqlite3_create_module(store->db, "incoming", &incoming_module, store);
    return rc == SQLITE_OK ? 0 : sqlite_fail(store, err);
}
