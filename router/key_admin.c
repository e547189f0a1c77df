/* See key_admin.h: which question it is, and what is done around it. */
#include "core/log.h"
#include "router/key_asking.h"

static struct env *
new_end(const struct asking *asking)
{
    struct env *end = env_about(ENV_END, asking->request);
    env_add_header(end, DYN_SLICE("cache-control"), DYN_SLICE("no-store"));
    return end;
}

struct env *
key_asking_fail(const struct asking *asking, enum err_code code, const char *text, const char *param)
{
    struct env *end = new_end(asking);
    end->outcome = ENV_OUTCOME_ERROR;
    end->error = code;
    end->status = err_row(code)->http;
    end->error_text = env_copy(end, dyn_slice_str(text));
    end->error_param = env_copy(end, dyn_slice_str(param != NULL && *param != '\0' ? param : NULL));
    return end;
}

struct env *
key_asking_answer(const struct asking *asking, uint16_t status, const struct dyn_buf *body)
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

struct env *
key_asking_show(const struct asking *asking, uint16_t status, const struct key_record *record,
                const char *secret)
{
    struct dyn_buf body = DYN_BUF_INIT;
    key_record_show(record, secret, asking->now_ms, &body);
    struct env *end = key_asking_answer(asking, status, &body);
    dyn_buf_fini(&body);
    return end;
}

struct env *
key_asking_too_long(const struct asking *asking)
{
    return key_asking_fail(asking, ERR_INVALID_REQUEST,
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
    struct env *end = body.failed ? key_asking_too_long(asking) : key_asking_answer(asking, 200, &body);
    dyn_buf_fini(&body);
    return end;
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
    {"PUT", NULL, "key.update", key_update},
    {"DELETE", NULL, "key.delete", key_delete},
    {"POST", "revoke", "key.revoke", key_revoke},
    {"POST", "rotate", "key.rotate", key_rotate},
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
        return key_asking_fail(asking, ERR_METHOD_NOT_ALLOWED, NULL, NULL);
    }
    if (record == NULL) {
        return key_asking_fail(asking, ERR_RESOURCE_NOT_FOUND, "there is no key with this id", NULL);
    }
    return is_get ? key_asking_show(asking, 200, record, NULL) : row->run(asking, record);
}

static struct env *
about_all(struct asking *asking)
{
    if (dyn_slice_is(asking->method, "GET")) {
        return list(asking);
    }
    if (dyn_slice_is(asking->method, "POST")) {
        asking->audit = "key.create";
        return key_create(asking);
    }
    return key_asking_fail(asking, ERR_METHOD_NOT_ALLOWED, NULL, NULL);
}

static struct env *
decide(struct asking *asking)
{
    if (asking->table == NULL) {
        return key_asking_fail(asking, ERR_KEYS_UNAVAILABLE, NULL, NULL);
    }
    if (asking->id.data == NULL) {
        return about_all(asking);
    }
    bool is_usage = dyn_slice_is(asking->id, "usage") && asking->action.data == NULL;
    return is_usage && dyn_slice_is(asking->method, "GET") ? key_usage(asking) : about_one(asking);
}

/* ---- around a question ---- */

/* The router's own is the last one; it leaves none of the client's. */
static struct dyn_slice
asker_of(const struct env *request)
{
    for (size_t i = request->n_headers; i > 0; i--) {
        if (dyn_slice_ieq(request->headers[i - 1].name, DYN_SLICE("x-dynabus-key"))) {
            return request->headers[i - 1].value;
        }
    }
    return DYN_SLICE("-");
}

/* Whoever reads sees what others have changed; whoever writes keeps them from changing it meanwhile. */
static struct env *
look_and_decide(struct asking *asking, bool is_get)
{
    const struct key_store *store = &asking->admin->store;
    struct dyn_err err;
    bool has_lock = !is_get && store->ops->hold != NULL;
    if (has_lock && store->ops->hold(store->self, &err) != 0) {
        dyn_log(DYN_LOG_ERROR, "keys.store", "keys can't be locked", DYN_LOG_STR("why", err.text));
        return key_asking_fail(asking, err.code == DYN_E_FULL ? ERR_KEYS_UNAVAILABLE : ERR_INTERNAL,
                               err.code == DYN_E_FULL
                                   ? "another process holds the file of the keys; nothing was changed"
                                   : "the keys could not be locked; nothing was changed",
                               NULL);
    }
    key_admin_look(asking->admin);
    asking->table = key_ring_get(asking->admin->ring);
    if (is_get && asking->table != NULL && store->ops->look_at_uses != NULL) {
        store->ops->look_at_uses(store->self, asking->table);
    }
    struct env *end = decide(asking);
    if (has_lock) {
        store->ops->let_go(store->self);
    }
    return end;
}

struct env *
key_admin_answer(struct key_admin *admin, const struct env *request, uint64_t now_ms, struct dyn_buf *audit)
{
    enum { TRIES = 8 };
    struct asking asking = {.admin = admin, .request = request, .asker = asker_of(request), .now_ms = now_ms};
    struct env *end = NULL;
    arena_init(&asking.arena, NULL, 0);
    take_apart(&asking, request->model);
    bool is_get = dyn_slice_is(asking.method, "GET");
    for (int i = 0; i < TRIES && (i == 0 || asking.has_moved); i++) {
        env_free(&end);
        key_table_unref(&asking.table);
        asking.has_moved = false;
        end = look_and_decide(&asking, is_get);
    }
    if (asking.audit != NULL) {
        key_audit_tell(&asking, end, audit);
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
    key_table_t *former = key_ring_get(admin->ring);
    int rc = admin->store.ops->load(admin->store.self, former, &arena, &records, &n, err);
    if (rc == 0) {
        key_table_t *table = key_table_new(records, n, admin->version + 1, former, err);
        rc = table != NULL ? 0 : -1;
        if (table != NULL) {
            admin->version++;
            key_ring_set(admin->ring, &table);
            if (admin->changed != NULL) {
                admin->changed(admin->self);
            }
        }
    }
    key_table_unref(&former);
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
