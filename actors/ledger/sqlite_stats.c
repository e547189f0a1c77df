/* Sums over the request log: what was asked for how often, what it took and cost, what failed. Sums look at
 * every row that the question fits; times and points at the newest STORE_SCANNED_MAX. */
#include "actors/ledger/sqlite_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { ERRORS_SHOWN = 8 };

/* Columns of a sum, in the order in which take_sum() reads them. */
#define SUMS                                                                                                 \
    "count(*), count(error_code), sum(prompt_tokens), sum(completion_tokens), sum(total_tokens),"            \
    " sum(cost_usd), sum(cost_usd IS NULL AND stage<>'before_request')"

static struct ledger_row
stats_row(const char *dimension)
{
    struct ledger_row row = {.table = LEDGER_LOG_STATS};
    row.of.log_stats = (struct ledger_log_stats){.dimension = dyn_slice_str(dimension),
                                                 .cost_usd = (double)NAN,
                                                 .p50 = (double)NAN,
                                                 .p95 = (double)NAN,
                                                 .p99 = (double)NAN,
                                                 .max = (double)NAN,
                                                 .mean = (double)NAN};
    return row;
}

static void
add_row(struct store_job *job, const struct ledger_row *row)
{
    ledger_row_encode(row, &job->rows);
    job->n_rows++;
}

/* ---- sums ---- */

static uint64_t
number_of(sqlite3_stmt *statement, int column)
{
    int64_t number = sqlite3_column_int64(statement, column);
    return number > 0 ? (uint64_t)number : 0;
}

/* Name, code, and SUMS. */
static void
take_sum(sqlite3_stmt *statement, const char *dimension, struct store_job *job)
{
    struct ledger_row row = stats_row(dimension);
    struct ledger_log_stats *sum = &row.of.log_stats;
    sum->name = sqlite_text(statement, 0);
    if (sqlite3_column_type(statement, 1) != SQLITE_NULL) {
        sum->code = sqlite_text(statement, 1);
    }
    sum->count = number_of(statement, 2);
    sum->errors = number_of(statement, 3);
    sum->prompt_tokens = number_of(statement, 4);
    sum->completion_tokens = number_of(statement, 5);
    sum->total_tokens = number_of(statement, 6);
    if (sqlite3_column_type(statement, 7) != SQLITE_NULL) {
        sum->cost_usd = sqlite3_column_double(statement, 7);
    }
    sum->unpriced = number_of(statement, 8);
    add_row(job, &row);
}

/* `name`: an expression that rows have in common. */
static int
sum_by(struct store_file *store, const struct ledger_message *ask, const char *dimension, const char *name,
       unsigned limit, struct store_job *job, struct dyn_err *err)
{
    struct sqlite_question question = {.sql = DYN_BUF_INIT};
    char head[320], tail[120];
    bool is_error = strcmp(dimension, "error") == 0;
    int rc = SQLITE_ERROR;
    sqlite_where_log(&question, ask);
    (void)snprintf(head, sizeof head, "SELECT %s, %s, " SUMS " FROM request_log", name,
                   is_error ? "error_code" : "NULL");
    (void)snprintf(tail, sizeof tail, "%s GROUP BY 1, 2 ORDER BY 3 DESC, 1 LIMIT %u",
                   is_error ? " AND error_code IS NOT NULL" : "", limit);
    sqlite3_stmt *statement = sqlite_ask_for(store, &question, head, tail, err);
    while (statement != NULL && (rc = sqlite3_step(statement)) == SQLITE_ROW) {
        take_sum(statement, dimension, job);
    }
    rc = rc == SQLITE_DONE ? 0 : sqlite_fail(store, err);
    (void)sqlite3_finalize(statement);
    dyn_buf_fini(&question.sql);
    return rc;
}

static int
sum_all(struct store_file *store, struct store_job *job, struct dyn_err *err)
{
    const struct ledger_message *ask = &job->ask;
    struct ledger_message stages = *ask;
    unsigned top = ask->limit == 0              ? STORE_TOP_DEFAULT
                   : ask->limit < STORE_TOP_MAX ? (unsigned)ask->limit
                                                : STORE_TOP_MAX;
    stages.stage = ask->stage.len > 0 ? ask->stage : DYN_SLICE("all");
    if (sum_by(store, ask, "total", "''", 1, job, err) != 0 ||
        sum_by(store, &stages, "stage", "stage", top, job, err) != 0 ||
        sum_by(store, ask, "provider", "coalesce(provider, '')", top, job, err) != 0 ||
        sum_by(store, ask, "model", "coalesce(model, '')", top, job, err) != 0) {
        return -1;
    }
    return sum_by(store, ask, "error", "coalesce(error_message, '')", ERRORS_SHOWN, job, err);
}

/* ---- times and points ---- */

struct times {
    double *values;
    size_t n;
    double sum;
};

struct point {
    uint64_t requests, errors, prompt_tokens, completion_tokens;
};

struct scan {
    struct times duration, ttft;
    struct point points[STORE_POINTS_MAX];
    size_t n_points;
    uint64_t start_us, end_us;
};

static void
add_time(struct times *times, sqlite3_stmt *statement, int column)
{
    if (sqlite3_column_type(statement, column) != SQLITE_NULL) {
        double value = sqlite3_column_double(statement, column);
        times->values[times->n++] = value;
        times->sum += value;
    }
}

static void
add_point(struct scan *scan, sqlite3_stmt *statement)
{
    uint64_t at_us = number_of(statement, 0);
    if (scan->n_points == 0 || at_us < scan->start_us || at_us >= scan->end_us) {
        return;
    }
    double part = (double)(at_us - scan->start_us) / (double)(scan->end_us - scan->start_us);
    size_t index = (size_t)(part * (double)scan->n_points);
    struct point *point = &scan->points[index < scan->n_points ? index : scan->n_points - 1];
    point->requests++;
    point->errors += number_of(statement, 1);
    point->prompt_tokens += number_of(statement, 2);
    point->completion_tokens += number_of(statement, 3);
}

static int
compare_times(const void *a, const void *b)
{
    const double *left = a;
    const double *right = b;
    return *left < *right ? -1 : *left > *right;
}

/* Nearest rank: the smallest that at least so many per cent do not exceed. */
static double
rank(const struct times *times, unsigned per_cent)
{
    size_t at = (times->n * per_cent + 99) / 100;
    return times->values[at > 0 ? at - 1 : 0];
}

static void
tell_times(struct times *times, const char *dimension, struct store_job *job)
{
    struct ledger_row row = stats_row(dimension);
    struct ledger_log_stats *told = &row.of.log_stats;
    if (times->n == 0) {
        return;
    }
    qsort(times->values, times->n, sizeof *times->values, compare_times);
    told->count = times->n;
    told->p50 = rank(times, 50);
    told->p95 = rank(times, 95);
    told->p99 = rank(times, 99);
    told->max = times->values[times->n - 1];
    told->mean = times->sum / (double)times->n;
    add_row(job, &row);
}

static void
tell_points(const struct scan *scan, struct store_job *job)
{
    double width =
        (double)(scan->end_us - scan->start_us) / (double)(scan->n_points > 0 ? scan->n_points : 1);
    for (size_t i = 0; i < scan->n_points; i++) {
        const struct point *point = &scan->points[i];
        struct ledger_row row = stats_row("point");
        row.of.log_stats.start_us = scan->start_us + (uint64_t)(width * (double)i);
        row.of.log_stats.count = point->requests;
        row.of.log_stats.errors = point->errors;
        row.of.log_stats.prompt_tokens = point->prompt_tokens;
        row.of.log_stats.completion_tokens = point->completion_tokens;
        add_row(job, &row);
    }
}

/* When the oldest of the newest rows was made: where times and points begin. */
static int
find_start(struct store_file *store, const struct sqlite_question *question, struct scan *scan,
           struct store_job *job, struct dyn_err *err)
{
    char tail[120];
    uint64_t first_us = 0, beyond_us = 0;
    (void)snprintf(tail, sizeof tail, " ORDER BY created_us DESC LIMIT %d)", STORE_SCANNED_MAX);
    sqlite3_stmt *first = sqlite_ask_for(
        store, question, "SELECT min(created_us) FROM (SELECT created_us FROM request_log", tail, err);
    (void)snprintf(tail, sizeof tail, " ORDER BY created_us DESC LIMIT 1 OFFSET %d", STORE_SCANNED_MAX);
    sqlite3_stmt *beyond =
        first != NULL ? sqlite_ask_for(store, question, "SELECT created_us FROM request_log", tail, err)
                      : NULL;
    int rc = beyond != NULL && sqlite_number(store, first, &first_us, err) == 0
                 ? sqlite_number(store, beyond, &beyond_us, err)
                 : -1;
    (void)sqlite3_finalize(first);
    (void)sqlite3_finalize(beyond);
    job->answer.truncated = beyond_us > 0;
    bool is_cut = beyond_us > 0 || job->ask.since == 0;
    scan->start_us = is_cut && first_us > 0 ? first_us : job->ask.since;
    return rc;
}

static int
scan_rows(struct store_file *store, struct sqlite_question *question, struct scan *scan, struct dyn_err *err)
{
    char tail[80];
    int rc = SQLITE_ERROR;
    (void)snprintf(tail, sizeof tail, " ORDER BY created_us DESC LIMIT %d", STORE_SCANNED_MAX);
    sqlite3_stmt *rows =
        sqlite_ask_for(store, question,
                       "SELECT created_us, error_code IS NOT NULL, prompt_tokens, completion_tokens,"
                       " duration_ms, ttft_ms FROM request_log",
                       tail, err);
    while (rows != NULL && (rc = sqlite3_step(rows)) == SQLITE_ROW) {
        add_point(scan, rows);
        add_time(&scan->duration, rows, 4);
        add_time(&scan->ttft, rows, 5);
    }
    rc = rc == SQLITE_DONE ? 0 : sqlite_fail(store, err);
    (void)sqlite3_finalize(rows);
    return rc;
}

static int
look_at_newest(struct store_file *store, struct store_job *job, uint64_t wall_us, struct dyn_err *err)
{
    struct sqlite_question question = {.sql = DYN_BUF_INIT};
    struct scan *scan = dyn_zalloc(sizeof *scan);
    scan->duration.values = dyn_alloc(STORE_SCANNED_MAX * sizeof(double));
    scan->ttft.values = dyn_alloc(STORE_SCANNED_MAX * sizeof(double));
    scan->end_us = job->ask.before > 0 ? job->ask.before : wall_us + 1;
    sqlite_where_log(&question, &job->ask);
    int rc = find_start(store, &question, scan, job, err);
    bool has_points = rc == 0 && scan->start_us < scan->end_us;
    scan->n_points = !has_points                           ? 0
                     : job->ask.buckets < STORE_POINTS_MAX ? (size_t)job->ask.buckets
                                                           : STORE_POINTS_MAX;
    rc = rc == 0 ? scan_rows(store, &question, scan, err) : rc;
    if (rc == 0) {
        tell_times(&scan->duration, "duration_ms", job);
        tell_times(&scan->ttft, "ttft_ms", job);
        tell_points(scan, job);
        job->answer.since = scan->start_us;
        job->answer.before = scan->end_us;
    }
    free(scan->duration.values);
    free(scan->ttft.values);
    free(scan);
    dyn_buf_fini(&question.sql);
    return rc;
}

int
sqlite_stats(struct store_file *store, struct store_job *job, uint64_t wall_us, struct dyn_err *err)
{
    return sum_all(store, job, err) != 0 ? -1 : look_at_newest(store, job, wall_us, err);
}
