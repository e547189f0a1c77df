/* What accounts may have spent, granted within their limits (limits/limits_store.h). */
#include "actors/ledger/sqlite_file.h"

static void
bind_account(sqlite3_stmt *statement, const struct ledger_spend *spend)
{
    sqlite_put_text(statement, 1, spend->account);
    sqlite_put_number(statement, 2, spend->window);
    sqlite_put_number(statement, 3, spend->number);
}

static void
bind_spend(sqlite3_stmt *statement, const struct ledger_spend *spend)
{
    bind_account(statement, spend);
    sqlite_put_text(statement, 4, spend->holder);
}

/* Raises as far as the limit leaves beside the others; a lower block and one without a limit as they are. */
static uint64_t
granted(const struct ledger_spend *wanted, uint64_t before, uint64_t others)
{
    uint64_t limit = wanted->limit + wanted->credit; /* both below 2^63 */
    uint64_t room = limit > others ? limit - others : 0;
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
    spend->credit = 0;
    bind_account(store->fixed[SQL_SPEND_CREDIT], spend);
    bind_spend(store->fixed[SQL_SPEND_GET], spend);
    bind_spend(store->fixed[SQL_SPEND_OTHERS], spend);
    if (sqlite_number(store, store->fixed[SQL_SPEND_GET], &before, err) != 0 ||
        sqlite_number(store, store->fixed[SQL_SPEND_OTHERS], &others, err) != 0 ||
        sqlite_number(store, store->fixed[SQL_SPEND_CREDIT], &spend->credit, err) != 0) {
        return -1;
    }
    uint64_t block = saves ? granted(spend, before, others) : before;
    if (saves) {
        bind_spend(store->fixed[SQL_SPEND_SET], spend);
        sqlite_put_number(store->fixed[SQL_SPEND_SET], 5, block);
        if (sqlite_run(store, store->fixed[SQL_SPEND_SET], err) != 0) {
            return -1;
        }
    }
    spend->block = block;
    spend->others = others;
    return 0;
}

int
sqlite_spend(struct store_file *store, struct store_job *job, bool saves, struct dyn_err *err)
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
