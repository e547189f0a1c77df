/* An open SQLite file of the ledger, and how its statements are used. Private to the files of this folder
 * that speak SQL (store_sqlite.c opens it); one thread. */
#pragma once

#include "actors/ledger/recent.h"
#include "actors/ledger/store.h"

#include <sqlite3.h>

/* Statements that are there from the beginning. */
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
    SQL_SPEND_CREDIT,
    SQL_SPEND_SET,
    SQL_FIXED
};

struct store_file {
    sqlite3 *db;
    sqlite3_stmt *fixed[SQL_FIXED];
    sqlite3_stmt *insert[LEDGER_TABLES]; /* NULL: none for that table */
    sqlite3_stmt *insert_incoming; /* rows of the request log, all that `incoming` has */
    sqlite3_stmt *put_key;
    sqlite3_stmt *keys;
    recent_t *recent;
    struct mp_cursor incoming; /* rows that are being written */
    bool has_others; /* some of these are not of the request log */
    bool is_full; /* what `synchronous` is */
    uint64_t read_until_us; /* monotonic: what is asked now has no longer; 0: as long as it takes */
};

/* ---- statements (sqlite_file.c) ---- */

/* -1 with what SQLite says. */
int sqlite_fail(struct store_file *store, struct dyn_err *err);
/* Runs what returns no row; ready to be used again afterwards. */
int sqlite_run(struct store_file *store, sqlite3_stmt *statement, struct dyn_err *err);
/* Runs what returns one number; *out stays as it is when there is no row. */
int sqlite_number(struct store_file *store, sqlite3_stmt *statement, uint64_t *out, struct dyn_err *err);
void sqlite_put_text(sqlite3_stmt *statement, int at, struct dyn_slice text);
void sqlite_put_number(sqlite3_stmt *statement, int at, uint64_t number);
void sqlite_put_column(sqlite3_stmt *statement, int at, const void *base, const struct ledger_column *column);
/* A column of the row; "" where it is null. Good until its next step. */
struct dyn_slice sqlite_text(sqlite3_stmt *statement, int column);
/* The statement's columns are those of the table, in its order. Good until its next step. */
void sqlite_get_row(sqlite3_stmt *statement, enum ledger_table table, struct ledger_row *row);
/* "id, occurred_us, .." */
void sqlite_columns_of(enum ledger_table table, struct dyn_buf *out);

/* The table `incoming` (sqlite_incoming.c), before there is a statement that reads it. */
int sqlite_incoming_open(struct store_file *store, struct dyn_err *err);

/* ---- questions that are made as they are asked (sqlite_question.c) ---- */

/* Conditions and what is bound to them, in order; begins as {.sql = DYN_BUF_INIT}, and its owner frees
 * `sql`. */
struct sqlite_question {
    struct dyn_buf sql;
    struct dyn_slice texts[8];
    uint64_t numbers[8];
    size_t n;
};
/* Nothing when the text is empty, or the time 0. */
void sqlite_where_text(struct sqlite_question *question, const char *condition, struct dyn_slice text);
void sqlite_where_time(struct sqlite_question *question, const char *condition, uint64_t time_us);
void sqlite_where_log(struct sqlite_question *question, const struct ledger_message *ask);
/* "head WHERE 1 AND .. tail", bound. NULL: it cannot be asked now. */
sqlite3_stmt *sqlite_ask_for(struct store_file *store, const struct sqlite_question *question,
                             const char *head, const char *tail, struct dyn_err *err);

/* ---- what is asked, each inside a transaction or beside one ---- */

int sqlite_write_rows(struct store_file *store, struct store_job *job, uint64_t wall_us, struct dyn_err *err);
int sqlite_put(struct store_file *store, struct store_job *job, struct dyn_err *err);
/* `saves`: blocks are granted and kept; else they are only looked up. */
int sqlite_spend(struct store_file *store, struct store_job *job, bool saves, struct dyn_err *err);
/* What accounts have spent, and that it is forgiven (sqlite_budgets.c). */
int sqlite_list_spend(struct store_file *store, struct store_job *job, uint64_t wall_us, struct dyn_err *err);
int sqlite_reset_spend(struct store_file *store, struct store_job *job, uint64_t wall_us,
                       struct dyn_err *err);
int sqlite_list_keys(struct store_file *store, struct store_job *job, struct dyn_err *err);
int sqlite_list(struct store_file *store, struct store_job *job, enum ledger_table table, const char *order,
                struct dyn_err *err);
int sqlite_stats(struct store_file *store, struct store_job *job, uint64_t wall_us, struct dyn_err *err);
int sqlite_purge(struct store_file *store, struct store_job *job, struct dyn_err *err);
