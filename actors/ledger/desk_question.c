/* See desk_question.h. Everything goes by the table of parameters. */
#include "actors/ledger/desk_question.h"

#include "core/clock.h"
#include "core/rand.h"

#include <stdio.h>

#define FOR(about) (1u << DESK_##about)
#define ALL_LOGS   (FOR(LOGS) | FOR(STATS) | FOR(PURGE))

enum kind { TEXT, WORD, NUMBER, TIME, FLAG };

struct parameter {
    const char *name;
    unsigned abouts; /* which questions know it */
    enum kind kind;
    size_t offset;            /* in struct ledger_message */
    uint64_t min, max;        /* NUMBER */
    const char *const *words; /* WORD */
};

static const char *const stages[] = {"all", "before_request", "after_request", "on_error", NULL};
static const char *const outcomes[] = {"ok", "denied", "error", NULL};

#define AT(member) offsetof(struct ledger_message, member)
static const struct parameter parameters[] = {
    {"limit", FOR(LOGS) | FOR(AUDIT) | FOR(BUDGETS), NUMBER, AT(limit), 1, DESK_LIST_MAX, NULL},
    {"limit", FOR(STATS), NUMBER, AT(limit), 1, DESK_TOP_MAX, NULL},
    {"offset", FOR(LOGS) | FOR(AUDIT) | FOR(BUDGETS), NUMBER, AT(offset), 0, LEDGER_UINT_MAX, NULL},
    {"buckets", FOR(STATS), NUMBER, AT(buckets), 0, DESK_POINTS_MAX, NULL},
    {"stage", ALL_LOGS, WORD, AT(stage), 0, 0, stages},
    {"model", ALL_LOGS, TEXT, AT(model), 0, 0, NULL},
    {"provider", ALL_LOGS, TEXT, AT(provider), 0, 0, NULL},
    {"api_key_id", ALL_LOGS, TEXT, AT(key_id), 0, 0, NULL},
    {"trace_id", FOR(LOGS), TEXT, AT(trace_id), 0, 0, NULL},
    {"bodies", FOR(LOGS), FLAG, AT(bodies), 0, 0, NULL},
    {"account", FOR(BUDGETS), TEXT, AT(account), 0, 0, NULL},
    {"action", FOR(AUDIT), TEXT, AT(action), 0, 0, NULL},
    {"actor_id", FOR(AUDIT), TEXT, AT(key_id), 0, 0, NULL},
    {"outcome", FOR(AUDIT), WORD, AT(outcome), 0, 0, outcomes},
    {"since", FOR(LOGS) | FOR(STATS) | FOR(AUDIT), TIME, AT(since), 0, 0, NULL},
    {"before", ALL_LOGS | FOR(AUDIT), TIME, AT(before), 0, 0, NULL},
};

static const struct path {
    const char *path;
    const char *method;
    const char *op;
    enum desk_about about;
} paths[] = {
    {"logs", "GET", "logs", DESK_LOGS},
    {"logs/stats", "GET", "stats", DESK_STATS},
    {"logs", "DELETE", "purge", DESK_PURGE},
    {"audit", "GET", "audit", DESK_AUDIT},
    {"budgets", "GET", "spend_list", DESK_BUDGETS},
};

static int
refuse(struct desk_refusal *refusal, enum err_code code, const char *param)
{
    refusal->code = code;
    refusal->param = param;
    return -1;
}

/* ---- values ---- */

static void
list_words(const char *const *words, char *out, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; words[i] != NULL && used < size; i++) {
        const char *glue = i == 0 ? "" : words[i + 1] != NULL ? ", " : " or ";
        used += (size_t)snprintf(out + used, size - used, "%s%s", glue, words[i]);
    }
}

static int
wrong_value(const struct parameter *parameter, struct desk_refusal *refusal)
{
    char words[120];
    switch (parameter->kind) {
    case NUMBER:
        (void)snprintf(refusal->text, sizeof refusal->text, "'%s' is a number from %llu to %llu",
                       parameter->name, (unsigned long long)parameter->min,
                       (unsigned long long)parameter->max);
        break;
    case WORD:
        list_words(parameter->words, words, sizeof words);
        (void)snprintf(refusal->text, sizeof refusal->text, "'%s' is %s", parameter->name, words);
        break;
    case TIME:
        (void)snprintf(refusal->text, sizeof refusal->text,
                       "'%s' is a time as RFC 3339 has it: 2026-12-31T23:59:59Z", parameter->name);
        break;
    case FLAG:
        (void)snprintf(refusal->text, sizeof refusal->text, "'%s' is true or false", parameter->name);
        break;
    case TEXT:
        (void)snprintf(refusal->text, sizeof refusal->text, "'%s' has no value", parameter->name);
        break;
    }
    return refuse(refusal, ERR_INVALID_REQUEST, parameter->name);
}

static bool
read_number(struct dyn_slice text, uint64_t min, uint64_t max, uint64_t *out)
{
    uint64_t number = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9' || number > max / 10) {
            return false;
        }
        number = number * 10 + (uint64_t)(text.data[i] - '0');
    }
    *out = number;
    return text.len > 0 && number >= min && number <= max;
}

static bool
is_word(struct dyn_slice text, const char *const *words)
{
    bool found = false;
    for (size_t i = 0; words[i] != NULL && !found; i++) {
        found = dyn_slice_is(text, words[i]);
    }
    return found;
}

static bool
take_value(const struct parameter *parameter, struct dyn_slice value, struct ledger_message *ask)
{
    void *at = (char *)ask + parameter->offset;
    switch (parameter->kind) {
    case NUMBER:
        return read_number(value, parameter->min, parameter->max, at);
    case TIME:
        return dyn_timestamp_read(value, at) && *(uint64_t *)at > 0;
    case FLAG:
        *(uint64_t *)at = dyn_slice_is(value, "true");
        return *(uint64_t *)at != 0 || dyn_slice_is(value, "false");
    case WORD:
        *(struct dyn_slice *)at = value;
        return is_word(value, parameter->words);
    case TEXT:
        *(struct dyn_slice *)at = value;
        return value.len > 0;
    }
    return false;
}

/* ---- the query ---- */

/* Escapes undone; absent: one is broken. */
static struct dyn_slice
decode(struct dyn_slice text, struct arena *arena)
{
    char *out = arena_alloc(arena, text.len + 1);
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t byte = (uint8_t)text.data[i];
        if (byte == '%') {
            if (text.len - i < 3 || dyn_hex_decode(&byte, 1, dyn_slice(text.data + i + 1, 2)) != 0) {
                return dyn_slice(NULL, 0);
            }
            i += 2;
        }
        out[len++] = (char)byte;
    }
    return dyn_slice(out, len);
}

static const struct parameter *
find(enum desk_about about, struct dyn_slice name)
{
    for (size_t i = 0; i < DYN_ARRAY_LEN(parameters); i++) {
        if ((parameters[i].abouts & 1u << about) != 0 && dyn_slice_is(name, parameters[i].name)) {
            return &parameters[i];
        }
    }
    return NULL;
}

static int
unknown(enum desk_about about, struct dyn_slice name, struct desk_refusal *refusal)
{
    char known[160];
    size_t used = 0;
    for (size_t i = 0; i < DYN_ARRAY_LEN(parameters); i++) {
        if ((parameters[i].abouts & 1u << about) != 0 && used < sizeof known) {
            used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", used > 0 ? ", " : "",
                                     parameters[i].name);
        }
    }
    (void)snprintf(refusal->text, sizeof refusal->text, "there is no parameter '%.*s'; there are %s",
                   name.len < 40 ? (int)name.len : 40, name.data, known);
    return refuse(refusal, ERR_INVALID_REQUEST, NULL);
}

static int
take_pair(struct desk_question *question, struct dyn_slice pair, struct arena *arena,
          struct desk_refusal *refusal)
{
    const char *equals = memchr(pair.data, '=', pair.len);
    size_t name_len = equals != NULL ? (size_t)(equals - pair.data) : pair.len;
    struct dyn_slice name = dyn_slice(pair.data, name_len);
    const struct parameter *parameter = find(question->about, name);
    if (parameter == NULL) {
        return unknown(question->about, name, refusal);
    }
    struct dyn_slice raw = equals != NULL ? dyn_slice(equals + 1, pair.len - name_len - 1) : dyn_slice("", 0);
    struct dyn_slice value = decode(raw, arena);
    bool is_good = value.data != NULL && take_value(parameter, value, &question->ask);
    return is_good ? 0 : wrong_value(parameter, refusal);
}

static int
read_query(struct desk_question *question, struct dyn_slice query, struct arena *arena,
           struct desk_refusal *refusal)
{
    while (query.len > 0) {
        const char *end = memchr(query.data, '&', query.len);
        size_t len = end != NULL ? (size_t)(end - query.data) : query.len;
        if (len > 0 && take_pair(question, dyn_slice(query.data, len), arena, refusal) != 0) {
            return -1;
        }
        size_t used = len + (end != NULL);
        query = dyn_slice(query.data + used, query.len - used);
    }
    if (question->about == DESK_PURGE && question->ask.before == 0) {
        (void)snprintf(refusal->text, sizeof refusal->text,
                       "what is to be deleted must have a 'before': 2026-12-31T23:59:59Z");
        return refuse(refusal, ERR_INVALID_REQUEST, "before");
    }
    return 0;
}

/* "budgets/ACCOUNT/reset", the account with its slashes escaped. Absent: it is something else. */
static struct dyn_slice
reset_account(struct dyn_slice path, struct arena *arena)
{
    static const char head[] = "budgets/", tail[] = "/reset";
    size_t around = sizeof head - 1 + sizeof tail - 1;
    bool is_it = path.len > around && memcmp(path.data, head, sizeof head - 1) == 0 &&
                 memcmp(path.data + path.len - (sizeof tail - 1), tail, sizeof tail - 1) == 0;
    return is_it ? decode(dyn_slice(path.data + sizeof head - 1, path.len - around), arena)
                 : dyn_slice(NULL, 0);
}

static int
find_path(struct dyn_slice method, struct dyn_slice path, struct desk_question *question,
          struct desk_refusal *refusal)
{
    bool is_path = false;
    for (size_t i = 0; i < DYN_ARRAY_LEN(paths); i++) {
        bool is_it = dyn_slice_is(path, paths[i].path);
        if (is_it && dyn_slice_is(method, paths[i].method)) {
            question->about = paths[i].about;
            question->ask.op = dyn_slice_str(paths[i].op);
            return 0;
        }
        is_path = is_path || is_it;
    }
    return refuse(refusal, is_path ? ERR_METHOD_NOT_ALLOWED : ERR_NOT_FOUND, NULL);
}

int
desk_question_read(struct dyn_slice text, struct arena *arena, struct desk_question *question,
                   struct desk_refusal *refusal)
{
    *question = (struct desk_question){.ask = {.n_rows = 0}};
    *refusal = (struct desk_refusal){.code = ERR_NONE};
    const char *blank = text.len > 0 ? memchr(text.data, ' ', text.len) : NULL;
    if (blank == NULL) {
        return refuse(refusal, ERR_NOT_FOUND, NULL);
    }
    size_t method_len = (size_t)(blank - text.data);
    struct dyn_slice path = dyn_slice(blank + 1, text.len - method_len - 1);
    struct dyn_slice query = {NULL, 0};
    const char *mark = path.len > 0 ? memchr(path.data, '?', path.len) : NULL;
    if (mark != NULL) {
        size_t path_len = (size_t)(mark - path.data);
        query = dyn_slice(mark + 1, path.len - path_len - 1);
        path.len = path_len;
    }
    question->ask.account = reset_account(path, arena);
    if (question->ask.account.data != NULL) {
        question->about = DESK_RESET;
        question->ask.op = DYN_SLICE("spend_reset");
        bool is_post = method_len == 4 && memcmp(text.data, "POST", 4) == 0;
        return is_post ? read_query(question, query, arena, refusal)
                       : refuse(refusal, ERR_METHOD_NOT_ALLOWED, NULL);
    }
    if (find_path(dyn_slice(text.data, method_len), path, question, refusal) != 0) {
        return -1;
    }
    question->ask.limit = question->about == DESK_PURGE   ? 0
                          : question->about == DESK_STATS ? DESK_TOP_DEFAULT
                                                          : DESK_LIST_DEFAULT;
    question->ask.buckets = question->about == DESK_STATS ? DESK_POINTS_DEFAULT : 0;
    return read_query(question, query, arena, refusal);
}

/* ---- what counted ---- */

static void
write_value(const struct parameter *parameter, const void *at, struct dyn_buf *out)
{
    char time[DYN_TIMESTAMP_SIZE];
    uint64_t number = parameter->kind == TEXT || parameter->kind == WORD ? 0 : *(const uint64_t *)at;
    switch (parameter->kind) {
    case TEXT:
    case WORD:
        dyn_buf_add_json_string(out, *(const struct dyn_slice *)at);
        break;
    case TIME:
        dyn_timestamp(number, time);
        dyn_buf_addf(out, "\"%s\"", time);
        break;
    case FLAG:
        dyn_buf_add_str(out, number != 0 ? "true" : "false");
        break;
    case NUMBER:
        dyn_buf_add_uint(out, number);
        break;
    }
}

void
desk_question_filters(const struct desk_question *question, struct dyn_buf *out)
{
    const char *comma = "";
    dyn_buf_add_char(out, '{');
    for (size_t i = 0; i < DYN_ARRAY_LEN(parameters); i++) {
        const struct parameter *parameter = &parameters[i];
        const void *at = (const char *)&question->ask + parameter->offset;
        bool is_text = parameter->kind == TEXT || parameter->kind == WORD;
        bool is_set = is_text                     ? ((const struct dyn_slice *)at)->data != NULL
                      : parameter->kind == NUMBER ? true
                                                  : *(const uint64_t *)at != 0;
        if ((parameter->abouts & 1u << question->about) != 0 && is_set) {
            dyn_buf_addf(out, "%s\"%s\":", comma, parameter->name);
            write_value(parameter, at, out);
            comma = ",";
        }
    }
    dyn_buf_add_char(out, '}');
}
