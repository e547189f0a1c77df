/* Conditions of what is asked, and the statements that they make. */
#include "actors/ledger/sqlite_file.h"

static void
where(struct sqlite_question *question, const char *condition, struct dyn_slice text, uint64_t number)
{
    dyn_buf_addf(&question->sql, " AND %s", condition);
    if (strchr(condition, '?') != NULL) {
        question->texts[question->n] = text;
        question->numbers[question->n++] = number;
    }
}

void
sqlite_where_text(struct sqlite_question *question, const char *condition, struct dyn_slice text)
{
    if (text.len > 0) {
        where(question, condition, text, 0);
    }
}

void
sqlite_where_time(struct sqlite_question *question, const char *condition, uint64_t time_us)
{
    if (time_us > 0) {
        where(question, condition, dyn_slice(NULL, 0), time_us);
    }
}

void
sqlite_where_log(struct sqlite_question *question, const struct ledger_message *ask)
{
    if (ask->stage.len == 0) {
        where(question, "stage IN ('after_request', 'on_error')", ask->stage, 0);
    } else if (!dyn_slice_is(ask->stage, "all")) {
        sqlite_where_text(question, "stage=?", ask->stage);
    }
    sqlite_where_text(question, "trace_id=?", ask->trace_id);
    sqlite_where_text(question, "model=?", ask->model);
    sqlite_where_text(question, "provider=?", ask->provider);
    if (dyn_slice_is(ask->key_id, "none")) {
        where(question, "(api_key_id IS NULL OR api_key_id='anonymous')", ask->key_id, 0);
    } else {
        sqlite_where_text(question, "api_key_id=?", ask->key_id);
    }
    sqlite_where_time(question, "created_us>=?", ask->since);
    sqlite_where_time(question, "created_us<?", ask->before);
}

sqlite3_stmt *
sqlite_ask_for(struct store_file *store, const struct sqlite_question *question, const char *head,
               const char *tail, struct dyn_err *err)
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
