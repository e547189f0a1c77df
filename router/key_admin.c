/* See key_admin.h. One function a question; those that change something go through change(). */
#include "router/key_admin.h"

#include "core/clock.h"
#include "core/json_scan.h"
#include "core/log.h"
#include "core/rand.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    USAGE_SHOWN = 20,
    USAGE_SHOWN_MAX = 100,
};

/* One question, taken apart. */
struct asking {
    struct key_admin *admin;
    const struct env *request;
    struct dyn_slice method;
    struct dyn_slice id;     /* of a key; absent: the question is about all */
    struct dyn_slice action; /* behind the id; absent: none */
    struct dyn_slice query;
    struct dyn_slice asker; /* id of the key that asks, or "master" */
    uint64_t now_ms;
    key_table_t *table; /* that is in force */
    struct arena arena;
    const char *audit;      /* "key.create"; NULL: it changes nothing */
    struct dyn_slice about; /* the key that is changed */
};

/* ---- answers ---- */

static struct env *
new_end(const struct asking *asking)
{
    struct env *end = env_about(ENV_END, asking->request);
    env_add_header(end, DYN_SLICE("cache-control"), DYN_SLICE("no-store"));
    return end;
}

static struct env *
fail(const struct asking *asking, enum err_code code, const char *text, const char *param)
{
    struct env *end = new_end(asking);
    end->outcome = ENV_OUTCOME_ERROR;
    end->error = code;
    end->status = err_row(code)->http;
    end->error_text = env_copy(end, dyn_slice_str(text));
    end->error_param = env_copy(end, dyn_slice_str(param != NULL && *param != '\0' ? param : NULL));
    return end;
}

static struct env *
answer(const struct asking *asking, uint16_t status, const struct dyn_buf *body)
{
    struct env *end = new_end(asking);
    end->outcome = ENV_OUTCOME_OK;
    end->status = status;
    if (body != NULL) {
        end->content_type = DYN_SLICE("application/json");
        end->body = dyn_block_copy(ENV_BODY_HEADROOM, dyn_buf_slice(body));
        end->body_bytes = body->len;
    }
    return end;
}

static struct env *
show(const struct asking *asking, uint16_t status, const struct key_record *record, const char *secret)
{
    struct dyn_buf body = DYN_BUF_INIT;
    key_record_show(record, secret, asking->now_ms, &body);
    struct env *end = answer(asking, status, &body);
    dyn_buf_fini(&body);
    return end;
}

static struct env *
too_long(const struct asking *asking)
{
    return fail(asking, ERR_INVALID_REQUEST,
                "the list is longer than an answer may be; ask for "
                "keys/usage, page by page",
                NULL);
}

/* ---- questions ---- */

static struct env *
list(const struct asking *asking)
{
    struct dyn_buf body = DYN_BUF_INIT_LIMIT(ENV_HELD_ANSWER_MAX);
    dyn_buf_add_char(&body, '[');
    for (size_t i = key_table_count(asking->table); i > 0; i--) { /* newest first */
        key_record_show(key_table_at(asking->table, i - 1), NULL, asking->now_ms, &body);
        dyn_buf_add_str(&body, i > 1 ? "," : "");
    }
    dyn_buf_add_char(&body, ']');
    struct env *end = body.failed ? too_long(asking) : answer(asking, 200, &body);
    dyn_buf_fini(&body);
    return end;
}

/* The value of a parameter, its escapes undone; absent: it is not there, or broken. */
static struct dyn_slice
parameter(struct asking *asking, const char *name)
{
    struct dyn_slice rest = asking->query;
    while (rest.len > 0) {
        const char *end = memchr(rest.data, '&', rest.len);
        struct dyn_slice pair = dyn_slice(rest.data, end != NULL ? (size_t)(end - rest.data) : rest.len);
        const char *equals = pair.len > 0 ? memchr(pair.data, '=', pair.len) : NULL;
        size_t name_len = equals != NULL ? (size_t)(equals - pair.data) : pair.len;
        if (equals != NULL && dyn_slice_is(dyn_slice(pair.data, name_len), name)) {
            char *out = arena_alloc(&asking->arena, pair.len + 1);
            size_t len = 0;
            for (size_t i = name_len + 1; i < pair.len; i++, len++) {
                uint8_t byte = (uint8_t)pair.data[i];
                if (byte == '%' &&
                    (pair.len - i < 3 || dyn_hex_decode(&byte, 1, dyn_slice(pair.data + i + 1, 2)) != 0)) {
                    return dyn_slice(NULL, 0);
                }
                i += pair.data[i] == '%' ? 2 : 0;
                out[len] = (char)byte;
            }
            return dyn_slice(out, len);
        }
        size_t used = pair.len + (end != NULL);
        rest = dyn_slice(rest.data + used, rest.len - used);
    }
    return dyn_slice(NULL, 0);
}

/* -1: it is there and no number up to `max`. */
static int
number_parameter(struct asking *asking, const char *name, size_t preset, size_t max, size_t *out)
{
    struct dyn_slice text = parameter(asking, name);
    size_t number = 0;
    *out = preset;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9' || number > max) {
            return -1;
        }
        number = number * 10 + (size_t)(text.data[i] - '0');
    }
    *out = text.data != NULL ? number : preset;
    return number > max || (text.data != NULL && text.len == 0) ? -1 : 0;
}

struct usage_query {
    size_t limit;
    size_t offset;
    bool by_last_used;
    int active; /* -1: both */
    uint64_t since_ms;
};

static const char *
read_usage_query(struct asking *asking, struct usage_query *query)
{
    struct dyn_slice sort = parameter(asking, "sort");
    struct dyn_slice active = parameter(asking, "active");
    struct dyn_slice since = parameter(asking, "since");
    query->by_last_used = dyn_slice_is(sort, "last_used");
    query->active = active.data == NULL ? -1 : dyn_slice_is(active, "true");
    query->since_ms = since.data != NULL ? key_time_read(since) : 0;
    if (number_parameter(asking, "limit", USAGE_SHOWN, USAGE_SHOWN_MAX, &query->limit) != 0 ||
        query->limit == 0) {
        return "limit";
    }
    if (number_parameter(asking, "offset", 0, KEYS_MAX, &query->offset) != 0) {
        return "offset";
    }
    if (sort.data != NULL && !query->by_last_used && !dyn_slice_is(sort, "usage")) {
        return "sort";
    }
    if (active.data != NULL && query->active == 0 && !dyn_slice_is(active, "false")) {
        return "active";
    }
    return since.data != NULL && query->since_ms == 0 ? "since" : NULL;
}

/* A copy of what changes while it is sorted. */
struct used {
    const struct key_record *record;
    uint64_t sorted_by;
};

static int
compare_used(const void *a, const void *b)
{
    const struct used *left = a;
    const struct used *right = b;
    if (left->sorted_by != right->sorted_by) {
        return left->sorted_by < right->sorted_by ? 1 : -1;
    }
    return memcmp(left->record->id.data, right->record->id.data, KEY_ID_LEN);
}

static size_t
select_used(struct asking *asking, const struct usage_query *query, struct used *found, uint64_t *total,
            size_t *usable)
{
    size_t n = 0;
    *total = 0;
    *usable = 0;
    for (size_t i = 0; i < key_table_count(asking->table); i++) {
        const struct key_record *record = key_table_at(asking->table, i);
        uint64_t count = atomic_load(&record->uses->count);
        uint64_t last_ms = atomic_load(&record->uses->last_ms);
        bool is_usable = key_is_usable(record, asking->now_ms);
        *total += count;
        *usable += is_usable;
        if ((query->active < 0 || query->active == is_usable) &&
            (query->since_ms == 0 || last_ms >= query->since_ms)) {
            found[n++] = (struct used){record, query->by_last_used ? last_ms : count};
        }
    }
    if (n > 1) {
        qsort(found, n, sizeof *found, compare_used);
    }
    return n;
}

static struct env *
usage(struct asking *asking)
{
    struct usage_query query;
    uint64_t total;
    size_t usable;
    const char *wrong = read_usage_query(asking, &query);
    if (wrong != NULL) {
        char text[120];
        (void)snprintf(
            text, sizeof text,
            "'%s' is wrong; there are limit (1 to %d), offset, sort (usage, last_used), active and since",
            wrong, USAGE_SHOWN_MAX);
        return fail(asking, ERR_INVALID_REQUEST, text, wrong);
    }
    size_t all = key_table_count(asking->table);
    struct used *found = dyn_alloc((all + 1) * sizeof *found);
    size_t n = select_used(asking, &query, found, &total, &usable);
    struct dyn_buf body = DYN_BUF_INIT_LIMIT(ENV_HELD_ANSWER_MAX);
    size_t shown = 0;
    dyn_buf_add_str(&body, "{\"data\":[");
    for (size_t i = query.offset; i < n && shown < query.limit; i++, shown++) {
        dyn_buf_add_str(&body, shown > 0 ? "," : "");
        key_record_show(found[i].record, NULL, asking->now_ms, &body);
    }
    free(found);
    dyn_buf_addf(&body,
                 "],\"summary\":{\"total_keys\":%zu,\"active_keys\":%zu,\"total_usage\":%llu,"
                 "\"returned_keys\":%zu},\"filters\":{\"limit\":%zu,\"offset\":%zu,\"sort\":\"%s\"}}",
                 all, usable, (unsigned long long)total, shown, query.limit, query.offset,
                 query.by_last_used ? "last_used" : "usage");
    struct env *end = body.failed ? too_long(asking) : answer(asking, 200, &body);
    dyn_buf_fini(&body);
    return end;
}

/* ---- changes ---- */

static struct env *
not_found(const struct asking *asking)
{
    return fail(asking, ERR_RESOURCE_NOT_FOUND, "there is no key with this id", NULL);
}

/* All records of the table with `changed` in the place of the one with its id, or at the end; `without`: that
 * one is left out instead. */
static key_table_t *
next_table(const struct asking *asking, const struct key_record *changed, struct dyn_slice without,
           struct dyn_err *err)
{
    size_t n = key_table_count(asking->table);
    struct key_record *records = dyn_alloc((n + 1) * sizeof *records);
    size_t filled = 0;
    bool is_new = changed != NULL;
    for (size_t i = 0; i < n; i++) {
        const struct key_record *record = key_table_at(asking->table, i);
        bool is_it = changed != NULL && dyn_slice_eq(record->id, changed->id);
        if (without.data == NULL || !dyn_slice_eq(record->id, without)) {
            records[filled++] = is_it ? *changed : *record;
        }
        is_new = is_new && !is_it;
    }
    if (is_new) {
        records[filled++] = *changed;
    }
    key_table_t *table = key_table_new(records, filled, asking->admin->version + 1, asking->table, err);
    free(records);
    return table;
}

/* Stored, then in force. NULL, or the END that says why not. */
static struct env *
commit(struct asking *asking, const struct key_record *changed, struct dyn_slice without)
{
    struct key_admin *admin = asking->admin;
    struct dyn_err err;
    key_table_t *table = next_table(asking, changed, without, &err);
    if (table == NULL) {
        return fail(asking, ERR_INVALID_REQUEST, err.text, NULL);
    }
    int rc = changed != NULL
                 ? admin->store.ops->put(admin->store.self, key_table_find(table, changed->id), table, &err)
                 : admin->store.ops->remove(admin->store.self, without, table, &err);
    if (rc != 0) {
        key_table_unref(&table);
        dyn_log(DYN_LOG_ERROR, "keys.store", "keys can't be stored: nothing was changed",
                DYN_LOG_STR("why", err.text));
        return fail(asking, ERR_INTERNAL, "the key could not be stored; nothing was changed", NULL);
    }
    admin->version++;
    key_ring_set(admin->ring, &table);
    if (admin->changed != NULL) {
        admin->changed(admin->self);
    }
    return NULL;
}

/* Whether there is another usable key with the scope admin. */
static bool
is_last_admin(const struct asking *asking, const struct key_record *record)
{
    bool is_admin = (record->scopes & KEY_SCOPE_ADMIN) != 0 && key_is_usable(record, asking->now_ms);
    return is_admin && key_table_admins(asking->table, asking->now_ms) == 1;
}

/* What would take rights of an operator: NULL when it may be done. */
static struct env *
guard(const struct asking *asking, const struct key_record *record)
{
    if (dyn_slice_eq(record->id, asking->asker)) {
        return fail(asking, ERR_SELF_MUTATION, NULL, NULL);
    }
    return is_last_admin(asking, record) ? fail(asking, ERR_LAST_ADMIN_KEY, NULL, NULL) : NULL;
}

static struct env *
wrong(const struct asking *asking, const struct key_problem *problem)
{
    return fail(asking, problem->is_scope ? ERR_INVALID_SCOPE : ERR_INVALID_REQUEST, problem->text,
                problem->param);
}

static struct env *
create(struct asking *asking)
{
    char id[KEY_ID_LEN + 1];
    char secret[KEY_TEXT_SIZE];
    struct key_record record = {.scopes = KEY_SCOPE_INFERENCE, .created_ms = asking->now_ms};
    struct key_problem problem;
    if (key_record_take(dyn_block_slice(asking->request->body), &asking->arena, asking->now_ms, &record,
                        &problem) != 0) {
        return wrong(asking, &problem);
    }
    do {
        key_id_new(id);
        record.id = dyn_slice(id, KEY_ID_LEN);
    } while (key_table_find(asking->table, record.id) != NULL);
    key_secret_new(&record, secret);
    asking->about = arena_copy(&asking->arena, record.id);
    struct env *end = commit(asking, &record, dyn_slice(NULL, 0));
    return end != NULL ? end : show(asking, 201, &record, secret);
}

static struct env *
update(struct asking *asking, const struct key_record *former)
{
    struct key_record record = *former;
    struct key_problem problem;
    if (key_record_take(dyn_block_slice(asking->request->body), &asking->arena, asking->now_ms, &record,
                        &problem) != 0) {
        return wrong(asking, &problem);
    }
    bool was_admin = (former->scopes & KEY_SCOPE_ADMIN) != 0;
    bool loses_scope = was_admin && (record.scopes & KEY_SCOPE_ADMIN) == 0;
    bool expires = record.expires_ms != 0 && record.expires_ms != former->expires_ms;
    bool is_own = dyn_slice_eq(record.id, asking->asker);
    if (loses_scope || (expires && is_own)) {
        struct env *refusal = guard(asking, former);
        if (refusal != NULL) {
            return refusal;
        }
    }
    struct env *end = commit(asking, &record, dyn_slice(NULL, 0));
    return end != NULL ? end : show(asking, 200, &record, NULL);
}

static struct env *
revoke(struct asking *asking, const struct key_record *former)
{
    struct key_record record = *former;
    struct dyn_buf body = DYN_BUF_INIT;
    struct env *end = guard(asking, former);
    if (end == NULL && former->revoked_ms == 0) {
        record.revoked_ms = asking->now_ms;
        end = commit(asking, &record, dyn_slice(NULL, 0));
    }
    dyn_buf_add_str(&body, "{\"status\":\"revoked\"}");
    end = end != NULL ? end : answer(asking, 200, &body);
    dyn_buf_fini(&body);
    return end;
}

static struct env *
rotate(struct asking *asking, const struct key_record *former)
{
    char secret[KEY_TEXT_SIZE];
    struct key_record record = *former;
    if (former->revoked_ms != 0) {
        return fail(asking, ERR_INVALID_REQUEST, "a revoked key can't be rotated; create another one", NULL);
    }
    key_secret_new(&record, secret);
    record.rotated_ms = asking->now_ms;
    struct env *end = commit(asking, &record, dyn_slice(NULL, 0));
    return end != NULL ? end : show(asking, 200, &record, secret);
}

static struct env *
delete_key(struct asking *asking, const struct key_record *former)
{
    struct env *end = guard(asking, former);
    if (end == NULL) {
        end = commit(asking, NULL, asking->about);
    }
    return end != NULL ? end : answer(asking, 204, NULL);
}

/* ---- which question it is ---- */

/* "keys/ID/ACTION?QUERY" behind the method; the path begins with "keys". */
static void
take_apart(struct asking *asking, struct dyn_slice question)
{
    static const size_t word = sizeof "keys" - 1;
    const char *blank = memchr(question.data, ' ', question.len);
    size_t at = (size_t)(blank - question.data);
    asking->method = dyn_slice(question.data, at);
    struct dyn_slice path = dyn_slice(blank + 1 + word, question.len - at - 1 - word);
    const char *mark = path.len > 0 ? memchr(path.data, '?', path.len) : NULL;
    if (mark != NULL) {
        size_t len = (size_t)(mark - path.data);
        asking->query = dyn_slice(mark + 1, path.len - len - 1);
        path.len = len;
    }
    if (path.len < 2) { /* "" and "/" */
        return;
    }
    path = dyn_slice(path.data + 1, path.len - 1);
    const char *slash = memchr(path.data, '/', path.len);
    size_t id_len = slash != NULL ? (size_t)(slash - path.data) : path.len;
    asking->id = dyn_slice(path.data, id_len);
    if (slash != NULL) {
        asking->action = dyn_slice(slash + 1, path.len - id_len - 1);
    }
}

struct row {
    const char *method;
    const char *action; /* NULL: none */
    const char *audit;
    struct env *(*run)(struct asking *asking, const struct key_record *record);
};

static const struct row rows[] = {
    {"PUT", NULL, "key.update", update},
    {"DELETE", NULL, "key.delete", delete_key},
    {"POST", "revoke", "key.revoke", revoke},
    {"POST", "rotate", "key.rotate", rotate},
};

static struct env *
about_one(struct asking *asking)
{
    const struct row *row = NULL;
    for (size_t i = 0; i < DYN_ARRAY_LEN(rows) && row == NULL; i++) {
        bool is_action = rows[i].action == NULL ? asking->action.data == NULL
                                                : dyn_slice_is(asking->action, rows[i].action);
        row = is_action && dyn_slice_is(asking->method, rows[i].method) ? &rows[i] : NULL;
    }
    bool is_get = dyn_slice_is(asking->method, "GET") && asking->action.data == NULL;
    asking->about = arena_copy(&asking->arena, asking->id);
    asking->audit = row != NULL ? row->audit : NULL;
    const struct key_record *record = key_table_find(asking->table, asking->id);
    if (row == NULL && !is_get) {
        return fail(asking, ERR_METHOD_NOT_ALLOWED, NULL, NULL);
    }
    if (record == NULL) {
        return not_found(asking);
    }
    return is_get ? show(asking, 200, record, NULL) : row->run(asking, record);
}

static struct env *
about_all(struct asking *asking)
{
    if (dyn_slice_is(asking->method, "GET")) {
        return list(asking);
    }
    if (dyn_slice_is(asking->method, "POST")) {
        asking->audit = "key.create";
        return create(asking);
    }
    return fail(asking, ERR_METHOD_NOT_ALLOWED, NULL, NULL);
}

static struct env *
decide(struct asking *asking)
{
    if (asking->table == NULL) {
        return fail(asking, ERR_KEYS_UNAVAILABLE, NULL, NULL);
    }
    if (asking->id.data == NULL) {
        return about_all(asking);
    }
    bool is_usage = dyn_slice_is(asking->id, "usage") && asking->action.data == NULL;
    return is_usage && dyn_slice_is(asking->method, "GET") ? usage(asking) : about_one(asking);
}

/* ---- around a question ---- */

static void
tell_audit(const struct asking *asking, const struct env *end)
{
    bool is_ok = end->outcome == ENV_OUTCOME_OK;
    const char *outcome = is_ok ? "ok" : end->status >= 500 ? "error" : "denied";
    dyn_log(DYN_LOG_INFO, "audit", "an operator changed keys, or tried to",
            DYN_LOG_STR("action", asking->audit), DYN_LOG_SLICE("actor_id", asking->asker),
            DYN_LOG_SLICE("target_id", asking->about), DYN_LOG_STR("outcome", outcome),
            DYN_LOG_STR("why", is_ok ? NULL : err_row(end->error)->code),
            DYN_LOG_SLICE("source_ip", asking->request->peer),
            DYN_LOG_SLICE("trace_id", asking->request->trace_id));
}

static struct dyn_slice
asker_of(const struct env *request)
{
    for (size_t i = 0; i < request->n_headers; i++) {
        if (dyn_slice_is(request->headers[i].name, "x-dynabus-key")) {
            return request->headers[i].value;
        }
    }
    return DYN_SLICE("-");
}

struct env *
key_admin_answer(struct key_admin *admin, const struct env *request, uint64_t now_ms)
{
    struct asking asking = {.admin = admin, .request = request, .asker = asker_of(request), .now_ms = now_ms};
    struct dyn_err err;
    arena_init(&asking.arena, NULL, 0);
    take_apart(&asking, request->model);
    bool is_get = dyn_slice_is(asking.method, "GET");
    bool is_held = !is_get && admin->store.ops->hold(admin->store.self, &err) == 0;
    key_admin_look(admin);
    asking.table = key_ring_get(admin->ring);
    struct env *end;
    if (!is_get && !is_held) {
        dyn_log(DYN_LOG_ERROR, "keys.store", "keys can't be locked", DYN_LOG_STR("why", err.text));
        end = fail(&asking, ERR_INTERNAL, "the keys could not be locked; nothing was changed", NULL);
    } else {
        end = decide(&asking);
    }
    if (is_held) {
        admin->store.ops->let_go(admin->store.self);
    }
    if (asking.audit != NULL) {
        tell_audit(&asking, end);
    }
    key_table_unref(&asking.table);
    arena_fini(&asking.arena);
    return end;
}

int
key_admin_load(struct key_admin *admin, struct dyn_err *err)
{
    struct arena arena;
    struct key_record *records = NULL;
    size_t n = 0;
    arena_init(&arena, NULL, 0);
    int rc = admin->store.ops->load(admin->store.self, &arena, &records, &n, err);
    if (rc == 0) {
        key_table_t *former = key_ring_get(admin->ring);
        key_table_t *table = key_table_new(records, n, admin->version + 1, former, err);
        key_table_unref(&former);
        rc = table != NULL ? 0 : -1;
        if (table != NULL) {
            admin->version++;
            key_ring_set(admin->ring, &table);
            if (admin->changed != NULL) {
                admin->changed(admin->self);
            }
        }
    }
    arena_fini(&arena);
    return rc;
}

void
key_admin_look(struct key_admin *admin)
{
    struct dyn_err err;
    if (!admin->store.ops->has_changed(admin->store.self)) {
        return;
    }
    if (key_admin_load(admin, &err) != 0) {
        dyn_log(DYN_LOG_ERROR, "keys.load", "keys can't be read: those that were in force stay",
                DYN_LOG_STR("why", err.text));
        return;
    }
    dyn_log(DYN_LOG_INFO, "keys.load", "keys were changed by another process and read again");
}
