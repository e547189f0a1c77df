/* dynabus admin logs .. and audit: the request log and the audit log of a running gateway. Filters are the
 * parameters of its /admin/logs and /admin/audit, which says what is wrong with them. */
#include "cli/admin.h"
#include "cli/cli.h"
#include "core/clock.h"

#include <stdlib.h>
#include <string.h>

struct column {
    const char *title;
    const char *member;
    int width; /* 0: the last one */
};

static const struct column log_columns[] = {
    {"TIME", "created_at", 26},  {"STAGE", "stage", 16},     {"MODEL", "model", 28},
    {"TARGET", "target", 16},    {"STATUS", "status", 8},    {"TOKENS", "total_tokens", 9},
    {"MS", "duration_ms", 10},   {"USD", "cost_usd", 12},    {"KEY", "api_key_id", 18},
    {"REQUEST", "trace_id", 34}, {"ERROR", "error_code", 0},
};
static const struct column audit_columns[] = {
    {"TIME", "occurred_at", 26}, {"ACTION", "action", 18},    {"OUTCOME", "outcome", 9},
    {"ACTOR", "actor_id", 18},   {"TARGET", "target_id", 18}, {"FROM", "source_ip", 18},
    {"DETAIL", "detail", 0},
};
static const struct column sum_columns[] = {
    {"NAME", "name", 40},     {"ROWS", "count", 10},   {"ERRORS", "errors", 10},
    {"TOKENS", "tokens", 14}, {"USD", "cost_usd", 14}, {"UNPRICED", "unpriced", 0},
};
static const struct column error_columns[] = {
    {"ROWS", "count", 10},
    {"CODE", "code", 28},
    {"MESSAGE", "message", 0},
};

/* ---- tables ---- */

static void
print_rows(struct json_value list, const struct column *columns, size_t n)
{
    struct json_member item;
    for (size_t i = 0; i < n; i++) {
        (void)printf("%-*s", columns[i].width, columns[i].title);
    }
    (void)putchar('\n');
    for (struct json_iter it = json_iter(list); json_iter_next(&it, &item);) {
        for (size_t i = 0; i < n; i++) {
            admin_print_text(stdout, item.value, columns[i].member, "-", columns[i].width);
        }
        (void)putchar('\n');
    }
}

static void
print_list(struct json_value answer, const struct column *columns, size_t n)
{
    struct json_value list, summary;
    if (json_find(answer, "data", &list)) {
        print_rows(list, columns, n);
    }
    if (json_find(answer, "summary", &summary)) {
        (void)fputs("\n", stdout);
        admin_print_text(stdout, summary, "returned_entries", "0", 0);
        (void)fputs(" of ", stdout);
        admin_print_text(stdout, summary, "total_entries", "0", 0);
        (void)putchar('\n');
    }
}

static void
print_times(struct json_value answer, const char *member, const char *title)
{
    static const char *const figures[] = {"p50", "p95", "p99", "max", "mean"};
    struct json_value times;
    if (!json_find(answer, member, &times) || times.type != JSON_OBJECT) {
        return;
    }
    (void)printf("%s", title);
    for (size_t i = 0; i < DYN_ARRAY_LEN(figures); i++) {
        (void)printf("  %s ", figures[i]);
        admin_print_text(stdout, times, figures[i], "-", 0);
    }
    (void)putchar('\n');
}

static void
print_stats(struct json_value answer)
{
    static const char *const dimensions[][2] = {
        {"by_stage", "by stage"}, {"by_provider", "by provider"}, {"by_model", "by model"}};
    static const char *const totals[] = {"total_entries", "error_entries", "total_tokens", "cost_usd",
                                         "unpriced_requests"};
    struct json_value part;
    for (size_t i = 0; json_find(answer, "summary", &part) && i < DYN_ARRAY_LEN(totals); i++) {
        (void)printf("%-20s", totals[i]);
        admin_print_text(stdout, part, totals[i], "0", 0);
        (void)putchar('\n');
    }
    print_times(answer, "latency_ms", "duration, ms      ");
    print_times(answer, "ttft_ms", "first content, ms ");
    for (size_t i = 0; i < DYN_ARRAY_LEN(dimensions); i++) {
        (void)printf("\n%s\n", dimensions[i][1]);
        if (json_find(answer, dimensions[i][0], &part)) {
            print_rows(part, sum_columns, DYN_ARRAY_LEN(sum_columns));
        }
    }
    (void)puts("\nerrors");
    if (json_find(answer, "top_errors", &part)) {
        print_rows(part, error_columns, DYN_ARRAY_LEN(error_columns));
    }
}

static void
print_deleted(struct json_value answer)
{
    admin_print_text(stdout, answer, "deleted", "0", 0);
    (void)puts(" deleted");
}

static void
print_logs(struct json_value answer)
{
    print_list(answer, log_columns, DYN_ARRAY_LEN(log_columns));
}

static void
print_audit(struct json_value answer)
{
    print_list(answer, audit_columns, DYN_ARRAY_LEN(audit_columns));
}

/* ---- the question ---- */

/* "24h" is the time that long ago. */
static void
add_filter(struct dyn_buf *path, const struct admin_filter *filter)
{
    char time[DYN_TIMESTAMP_SIZE];
    const char *value = filter->value;
    bool is_time = strcmp(filter->name, "since") == 0 || strcmp(filter->name, "before") == 0;
    uint64_t ago_us = is_time ? admin_seconds_of(value) * 1000000 : 0;
    uint64_t now_us = dyn_wall_us(&dyn_clock_system);
    if (ago_us > 0 && ago_us < now_us) {
        dyn_timestamp(now_us - ago_us, time);
        value = time;
    }
    dyn_buf_addf(path, "%c%s=", memchr(path->data, '?', path->len) != NULL ? '&' : '?', filter->name);
    admin_add_escaped(path, value);
}

static int
ask_for(const struct admin_wanted *wanted, const char *method, const char *what,
        void (*print)(struct json_value answer))
{
    struct dyn_buf path = DYN_BUF_INIT, answer = DYN_BUF_INIT_LIMIT(ADMIN_ANSWER_MAX);
    struct dyn_slice body = {NULL, 0};
    struct json_value value;
    dyn_buf_add_str(&path, what);
    for (size_t i = 0; i < wanted->n_filters; i++) {
        add_filter(&path, &wanted->filters[i]);
    }
    if (wanted->models.n > 0) {
        struct admin_filter model = {"model", wanted->models.items[0]};
        add_filter(&path, &model);
    }
    int code = CLI_FAILED;
    if (admin_ask(wanted, method, dyn_buf_cstr(&path), body, &answer) == 0) {
        unsigned status = admin_take_apart(&answer, &body);
        bool is_good = status == 200 && json_scan(body, JSON_DEPTH_DEFAULT, &value, NULL) == 0 &&
                       value.type == JSON_OBJECT;
        code = is_good ? CLI_OK : admin_tell_error(status, body);
        if (is_good && wanted->is_json) {
            (void)printf("%.*s\n", (int)body.len, body.data);
        } else if (is_good) {
            print(value);
        }
    }
    dyn_buf_fini(&path);
    dyn_buf_fini(&answer);
    return code;
}

int
admin_choose_logs(char **words, int n, const struct admin_wanted *wanted)
{
    static const struct {
        const char *word;
        const char *action; /* "list" may be left out */
        const char *method;
        const char *path;
        void (*print)(struct json_value answer);
    } commands[] = {
        {"logs", "list", "GET", "logs", print_logs},
        {"logs", "stats", "GET", "logs/stats", print_stats},
        {"logs", "purge", "DELETE", "logs", print_deleted},
        {"audit", "list", "GET", "audit", print_audit},
    };
    const char *action = n > 1 ? words[1] : "list";
    for (size_t i = 0; n <= 2 && i < DYN_ARRAY_LEN(commands); i++) {
        if (strcmp(words[0], commands[i].word) == 0 && strcmp(action, commands[i].action) == 0) {
            return ask_for(wanted, commands[i].method, commands[i].path, commands[i].print);
        }
    }
    return cli_wrong_usage("admin");
}
