/* See sqlite_file.h. */
#include "actors/ledger/sqlite_file.h"

#include <math.h>

int
sqlite_fail(struct store_file *store, struct dyn_err *err)
{
    return dyn_err_set(err, DYN_E_IO, "sqlite: %s", sqlite3_errmsg(store->db));
}

/* Runs what returns no row; ready to be used again afterwards. */
int
sqlite_run(struct store_file *store, sqlite3_stmt *statement, struct dyn_err *err)
{
    int rc = sqlite3_step(statement);
    int result = rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : sqlite_fail(store, err);
    (void)sqlite3_reset(statement);
    (void)sqlite3_clear_bindings(statement);
    return result;
}

/* Runs what returns one number; *out stays as it is when there is no row. */
int
sqlite_number(struct store_file *store, sqlite3_stmt *statement, uint64_t *out, struct dyn_err *err)
{
    int rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW) {
        int64_t number = sqlite3_column_int64(statement, 0);
        *out = number > 0 ? (uint64_t)number : 0;
    }
    int result = rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : sqlite_fail(store, err);
    (void)sqlite3_reset(statement);
    (void)sqlite3_clear_bindings(statement);
    return result;
}

void
sqlite_put_text(sqlite3_stmt *statement, int at, struct dyn_slice text)
{
    if (text.data != NULL) {
        (void)sqlite3_bind_text(statement, at, text.data, (int)text.len, SQLITE_STATIC);
    }
}

void
sqlite_put_number(sqlite3_stmt *statement, int at, uint64_t number)
{
    (void)sqlite3_bind_int64(statement, at, (int64_t)(number < LEDGER_UINT_MAX ? number : LEDGER_UINT_MAX));
}

void
sqlite_put_column(sqlite3_stmt *statement, int at, const void *base, const struct ledger_column *column)
{
    const void *value = (const char *)base + column->offset;
    const struct dyn_slice *bytes = value;
    switch (column->type) {
    case LEDGER_UINT:
        sqlite_put_number(statement, at, *(const uint64_t *)value);
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
        sqlite_put_text(statement, at, *bytes);
        break;
    }
}

struct dyn_slice
sqlite_text(sqlite3_stmt *statement, int column)
{
    const void *text = sqlite3_column_text(statement, column);
    return dyn_slice(text != NULL ? text : "", (size_t)sqlite3_column_bytes(statement, column));
}

/* The statement's columns are those of the table, in its order. Good until its next step. */
void
sqlite_get_row(sqlite3_stmt *statement, enum ledger_table table, struct ledger_row *row)
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

void
sqlite_columns_of(enum ledger_table table, struct dyn_buf *out)
{
    const struct ledger_schema *schema = &ledger_schemas[table];
    for (size_t i = 0; i < schema->n; i++) {
        dyn_buf_addf(out, "%s%s", i > 0 ? ", " : "", schema->columns[i].name);
    }
}
