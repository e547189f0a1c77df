/* See desk_answer.h. Rows of the log and the audit go by their tables (proto/ledger_rows.def): `x_us` is
 * shown as `x_at`, what is not known as null. */
#include "actors/ledger/desk_answer.h"

#include "core/clock.h"
#include "limits/money.h"

#include <math.h>
#include <stdio.h>

static void
add_real(struct dyn_buf *out, double value)
{
    char text[40];
    (void)snprintf(text, sizeof text, "%.10g", value);
    dyn_buf_add_str(out, isfinite(value) ? text : "null");
}

static void
add_time(struct dyn_buf *out, uint64_t us)
{
    char text[DYN_TIMESTAMP_SIZE];
    dyn_timestamp(us, text);
    dyn_buf_addf(out, us > 0 ? "\"%s\"" : "null", text);
}

/* ---- rows of tables ---- */

static bool
ends_in(const char *name, const char *ending)
{
    size_t len = strlen(name);
    size_t end = strlen(ending);
    return len > end && strcmp(name + len - end, ending) == 0;
}

static void
add_uint(struct dyn_buf *out, const char *name, uint64_t value)
{
    if (ends_in(name, "_us")) {
        add_time(out, value);
    } else if (strcmp(name, "stream") == 0) {
        dyn_buf_add_str(out, value != 0 ? "true" : "false");
    } else {
        dyn_buf_add_uint(out, value);
    }
}

static void
add_column(struct dyn_buf *out, const struct ledger_row *row, const struct ledger_column *column)
{
    const void *at = (const char *)&row->of + column->offset;
    size_t len = strlen(column->name);
    bool is_time = ends_in(column->name, "_us");
    dyn_buf_addf(out, "\"%.*s%s\":", (int)(is_time ? len - 2 : len), column->name, is_time ? "at" : "");
    if (column->type == LEDGER_UINT) {
        add_uint(out, column->name, *(const uint64_t *)at);
    } else if (column->type == LEDGER_REAL) {
        add_real(out, *(const double *)at);
    } else if (((const struct dyn_slice *)at)->data != NULL) {
        dyn_buf_add_json_string(out, *(const struct dyn_slice *)at);
    } else {
        dyn_buf_add_str(out, "null");
    }
}

static void
add_row(struct dyn_buf *out, const struct ledger_row *row, bool has_bodies)
{
    const struct ledger_schema *schema = &ledger_schemas[row->table];
    const char *comma = "";
    dyn_buf_add_char(out, '{');
    for (size_t i = 0; i < schema->n; i++) {
        if (has_bodies || !ends_in(schema->columns[i].name, "_body")) {
            dyn_buf_add_str(out, comma);
            add_column(out, row, &schema->columns[i]);
            comma = ",";
        }
    }
    dyn_buf_add_char(out, '}');
}

/* false: it was left out, the answer is full. One that would be too long alone is there without its bodies.
 */
static bool
append(struct dyn_buf *out, const struct ledger_row *row, bool has_bodies, size_t shown)
{
    struct dyn_buf one = DYN_BUF_INIT;
    add_row(&one, row, has_bodies);
    if (one.len > DESK_ANSWER_MAX / 2) {
        dyn_buf_clear(&one);
        add_row(&one, row, false);
    }
    bool fits = out->len + one.len < DESK_ANSWER_MAX;
    if (fits) {
        dyn_buf_add_str(out, shown > 0 ? "," : "");
        dyn_buf_add_slice(out, dyn_buf_slice(&one));
    }
    dyn_buf_fini(&one);
    return fits;
}

static void
write_list(const struct desk_question *question, const struct ledger_message *answer, struct dyn_buf *out)
{
    enum ledger_table table = question->about == DESK_AUDIT ? LEDGER_AUDIT : LEDGER_REQUEST_LOG;
    struct mp_cursor rows = mp_cursor(answer->rows);
    struct ledger_row row;
    size_t shown = 0;
    dyn_buf_add_str(out, "{\"data\":[");
    while (ledger_row_next(&rows, &row)) {
        if (row.table == table && !append(out, &row, question->ask.bodies != 0, shown)) {
            break;
        }
        shown += row.table == table;
    }
    dyn_buf_addf(out, "],\"summary\":{\"total_entries\":%llu,\"returned_entries\":%zu},\"filters\":",
                 (unsigned long long)answer->total, shown);
    desk_question_filters(question, out);
    dyn_buf_add_char(out, '}');
}

/* ---- sums ---- */

static void
add_sum(struct dyn_buf *out, const struct ledger_log_stats *sum)
{
    dyn_buf_addf(
        out, "\"count\":%llu,\"errors\":%llu,\"tokens\":%llu,\"cost_usd\":", (unsigned long long)sum->count,
        (unsigned long long)sum->errors, (unsigned long long)sum->total_tokens);
    add_real(out, isnan(sum->cost_usd) ? 0 : sum->cost_usd);
    dyn_buf_addf(out, ",\"unpriced\":%llu", (unsigned long long)sum->unpriced);
}

static void
add_total(struct dyn_buf *out, const struct ledger_log_stats *sum)
{
    dyn_buf_addf(out,
                 "{\"total_entries\":%llu,\"error_entries\":%llu,\"total_tokens\":%llu,"
                 "\"prompt_tokens\":%llu,\"completion_tokens\":%llu,\"cost_usd\":",
                 (unsigned long long)sum->count, (unsigned long long)sum->errors,
                 (unsigned long long)sum->total_tokens, (unsigned long long)sum->prompt_tokens,
                 (unsigned long long)sum->completion_tokens);
    add_real(out, isnan(sum->cost_usd) ? 0 : sum->cost_usd);
    dyn_buf_addf(out, ",\"unpriced_requests\":%llu}", (unsigned long long)sum->unpriced);
}

static void
add_times(struct dyn_buf *out, const struct ledger_log_stats *times)
{
    const struct {
        const char *name;
        double value;
    } values[] = {{"p50", times->p50},
                  {"p95", times->p95},
                  {"p99", times->p99},
                  {"max", times->max},
                  {"mean", times->mean}};
    dyn_buf_addf(out, "{\"count\":%llu", (unsigned long long)times->count);
    for (size_t i = 0; i < DYN_ARRAY_LEN(values); i++) {
        dyn_buf_addf(out, ",\"%s\":", values[i].name);
        add_real(out, values[i].value);
    }
    dyn_buf_add_char(out, '}');
}

static void
add_point(struct dyn_buf *out, const struct ledger_log_stats *point)
{
    dyn_buf_add_str(out, "{\"start\":");
    add_time(out, point->start_us);
    dyn_buf_addf(out, ",\"requests\":%llu,\"errors\":%llu,\"prompt_tokens\":%llu,\"completion_tokens\":%llu}",
                 (unsigned long long)point->count, (unsigned long long)point->errors,
                 (unsigned long long)point->prompt_tokens, (unsigned long long)point->completion_tokens);
}

static void
add_named(struct dyn_buf *out, const struct ledger_log_stats *sum)
{
    dyn_buf_add_str(out, "{\"name\":");
    dyn_buf_add_json_string(out, sum->name);
    dyn_buf_add_char(out, ',');
    add_sum(out, sum);
    dyn_buf_add_char(out, '}');
}

static void
add_error(struct dyn_buf *out, const struct ledger_log_stats *sum)
{
    dyn_buf_add_str(out, "{\"code\":");
    dyn_buf_add_json_string(out, sum->code);
    dyn_buf_add_str(out, ",\"message\":");
    dyn_buf_add_json_string(out, sum->name);
    dyn_buf_addf(out, ",\"count\":%llu}", (unsigned long long)sum->count);
}

/* All rows of a dimension, with commas between them; how many. */
static size_t
add_each(struct dyn_buf *out, const struct ledger_message *answer, const char *dimension,
         void (*add)(struct dyn_buf *out, const struct ledger_log_stats *row))
{
    struct mp_cursor rows = mp_cursor(answer->rows);
    struct ledger_row row;
    size_t n = 0;
    while (ledger_row_next(&rows, &row)) {
        if (row.table == LEDGER_LOG_STATS && dyn_slice_is(row.of.log_stats.dimension, dimension) &&
            out->len < DESK_ANSWER_MAX) {
            dyn_buf_add_str(out, n++ > 0 ? "," : "");
            add(out, &row.of.log_stats);
        }
    }
    return n;
}

static void
write_stats(const struct desk_question *question, const struct ledger_message *answer, struct dyn_buf *out)
{
    static const struct ledger_log_stats nothing = {.cost_usd = 0};
    static const char *const times[][2] = {{"latency_ms", "duration_ms"}, {"ttft_ms", "ttft_ms"}};
    static const char *const named[][2] = {
        {"by_stage", "stage"}, {"by_provider", "provider"}, {"by_model", "model"}};
    dyn_buf_add_str(out, "{\"summary\":");
    if (add_each(out, answer, "total", add_total) == 0) {
        add_total(out, &nothing);
    }
    for (size_t i = 0; i < DYN_ARRAY_LEN(times); i++) {
        dyn_buf_addf(out, ",\"%s\":", times[i][0]);
        if (add_each(out, answer, times[i][1], add_times) == 0) {
            dyn_buf_add_str(out, "null");
        }
    }
    for (size_t i = 0; i < DYN_ARRAY_LEN(named); i++) {
        dyn_buf_addf(out, ",\"%s\":[", named[i][0]);
        (void)add_each(out, answer, named[i][1], add_named);
        dyn_buf_add_char(out, ']');
    }
    dyn_buf_add_str(out, ",\"top_errors\":[");
    (void)add_each(out, answer, "error", add_error);
    dyn_buf_add_str(out, "],\"series\":{\"points\":[");
    (void)add_each(out, answer, "point", add_point);
    dyn_buf_addf(out, "],\"truncated\":%s,\"start\":", answer->truncated != 0 ? "true" : "false");
    add_time(out, answer->since);
    dyn_buf_add_str(out, ",\"end\":");
    add_time(out, answer->before);
    dyn_buf_add_str(out, "},\"filters\":");
    desk_question_filters(question, out);
    dyn_buf_add_char(out, '}');
}

/* ---- budgets ---- */

static void
add_usd(struct dyn_buf *out, uint64_t pico)
{
    dyn_buf_addf(out, "%llu.%012llu", (unsigned long long)(pico / MONEY_PER_USD),
                 (unsigned long long)(pico % MONEY_PER_USD));
}

/* Rows come by account, one for each window that something was spent in. */
static void
write_budgets(const struct desk_question *question, const struct ledger_message *answer, struct dyn_buf *out)
{
    struct mp_cursor rows = mp_cursor(answer->rows);
    struct ledger_row row;
    struct dyn_slice account = {NULL, 0};
    size_t shown = 0;
    dyn_buf_add_str(out, "{\"data\":[");
    while (ledger_row_next(&rows, &row) && out->len < DESK_ANSWER_MAX) {
        if (row.table != LEDGER_SPEND || row.of.spend.window >= MONEY_WINDOWS) {
            continue;
        }
        if (shown == 0 || !dyn_slice_eq(account, row.of.spend.account)) {
            account = row.of.spend.account;
            dyn_buf_addf(out, "%s{\"account\":", shown++ > 0 ? "}," : "");
            dyn_buf_add_json_string(out, account);
        }
        dyn_buf_addf(out, ",\"%s_usd\":", money_window_name((enum money_window)row.of.spend.window));
        add_usd(out, row.of.spend.block);
    }
    dyn_buf_addf(out, "%s],\"summary\":{\"total_entries\":%llu,\"returned_entries\":%zu},\"filters\":",
                 shown > 0 ? "}" : "", (unsigned long long)answer->total, shown);
    desk_question_filters(question, out);
    dyn_buf_add_char(out, '}');
}

void
desk_answer_write(const struct desk_question *question, const struct ledger_message *answer,
                  struct dyn_buf *out)
{
    if (question->about == DESK_STATS) {
        write_stats(question, answer, out);
    } else if (question->about == DESK_BUDGETS) {
        write_budgets(question, answer, out);
    } else if (question->about == DESK_RESET) {
        dyn_buf_add_str(out, "{\"account\":");
        dyn_buf_add_json_string(out, question->ask.account);
        dyn_buf_add_str(out, ",\"reset\":true}");
    } else if (question->about == DESK_PURGE) {
        dyn_buf_addf(out, "{\"deleted\":%llu,\"filters\":", (unsigned long long)answer->changed);
        desk_question_filters(question, out);
        dyn_buf_add_char(out, '}');
    } else {
        write_list(question, answer, out);
    }
}
