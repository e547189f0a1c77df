/* Keys that are made, changed, rotated, revoked and deleted: each change is checked, stored, and then in
 * force. */
#include "core/log.h"
#include "router/key_asking.h"

#include <stdlib.h>

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

static enum key_stored
store(struct asking *asking, const key_table_t *table, const struct key_record *changed,
      struct dyn_slice without, struct dyn_err *err)
{
    const struct key_store *to = &asking->admin->store;
    struct ledger_audit audit;
    key_audit_fill(asking, "ok", NULL, changed, &audit);
    return changed != NULL ? to->ops->put(to->self, key_table_find(table, changed->id), table, &audit, err)
                           : to->ops->remove(to->self, without, table, &audit, err);
}

static struct env *
not_stored(const struct asking *asking, const struct dyn_err *err)
{
    if (asking->has_moved) {
        return key_asking_fail(asking, ERR_LEDGER_UNAVAILABLE, "others change keys all the time; try again",
                               NULL);
    }
    dyn_log(DYN_LOG_ERROR, "keys.store", "keys can't be stored", DYN_LOG_STR("why", err->text));
    return err->code == DYN_E_GONE
               ? key_asking_fail(asking, ERR_LEDGER_UNAVAILABLE,
                                 "the ledger did not say whether it has stored the change; look before you "
                                 "try again",
                                 NULL)
               : key_asking_fail(asking, ERR_INTERNAL, "the key could not be stored; nothing was changed",
                                 NULL);
}

/* Stored, then in force. NULL, or the END that says why not. */
static struct env *
commit(struct asking *asking, const struct key_record *changed, struct dyn_slice without)
{
    struct key_admin *admin = asking->admin;
    struct dyn_err err;
    key_table_t *table = next_table(asking, changed, without, &err);
    if (table == NULL) {
        return key_asking_fail(asking, ERR_INVALID_REQUEST, err.text, NULL);
    }
    enum key_stored stored = store(asking, table, changed, without, &err);
    if (stored != KEY_STORED) {
        key_table_unref(&table);
        asking->has_moved = stored == KEY_STORE_MOVED;
        return not_stored(asking, &err);
    }
    asking->is_noted = admin->store.ops->keeps_audit;
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
        return key_asking_fail(asking, ERR_SELF_MUTATION, NULL, NULL);
    }
    return is_last_admin(asking, record) ? key_asking_fail(asking, ERR_LAST_ADMIN_KEY, NULL, NULL) : NULL;
}

static struct env *
wrong(const struct asking *asking, const struct key_problem *problem)
{
    return key_asking_fail(asking, problem->is_scope ? ERR_INVALID_SCOPE : ERR_INVALID_REQUEST, problem->text,
                           problem->param);
}

struct env *
key_create(struct asking *asking)
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
    return end != NULL ? end : key_asking_show(asking, 201, &record, secret);
}

struct env *
key_update(struct asking *asking, const struct key_record *former)
{
    struct key_record record = *former;
    struct key_problem problem;
    if (key_record_take(dyn_block_slice(asking->request->body), &asking->arena, asking->now_ms, &record,
                        &problem) != 0) {
        return wrong(asking, &problem);
    }
    bool was_admin = (former->scopes & KEY_SCOPE_ADMIN) != 0;
    bool loses_scope = was_admin && (record.scopes & KEY_SCOPE_ADMIN) == 0;
    bool ends_sooner =
        record.expires_ms != 0 && (former->expires_ms == 0 || record.expires_ms < former->expires_ms);
    if (loses_scope || ends_sooner) {
        struct env *refusal = guard(asking, former);
        if (refusal != NULL) {
            return refusal;
        }
    }
    struct env *end = commit(asking, &record, dyn_slice(NULL, 0));
    return end != NULL ? end : key_asking_show(asking, 200, &record, NULL);
}

struct env *
key_revoke(struct asking *asking, const struct key_record *former)
{
    struct key_record record = *former;
    struct dyn_buf body = DYN_BUF_INIT;
    struct env *end = guard(asking, former);
    if (end == NULL && former->revoked_ms == 0) {
        record.revoked_ms = asking->now_ms;
        end = commit(asking, &record, dyn_slice(NULL, 0));
    }
    dyn_buf_add_str(&body, "{\"status\":\"revoked\"}");
    end = end != NULL ? end : key_asking_answer(asking, 200, &body);
    dyn_buf_fini(&body);
    return end;
}

struct env *
key_rotate(struct asking *asking, const struct key_record *former)
{
    char secret[KEY_TEXT_SIZE];
    struct key_record record = *former;
    if (former->revoked_ms != 0) {
        return key_asking_fail(asking, ERR_INVALID_REQUEST,
                               "a revoked key can't be rotated; create another one", NULL);
    }
    key_secret_new(&record, secret);
    record.rotated_ms = asking->now_ms;
    struct env *end = commit(asking, &record, dyn_slice(NULL, 0));
    return end != NULL ? end : key_asking_show(asking, 200, &record, secret);
}

struct env *
key_delete(struct asking *asking, const struct key_record *former)
{
    struct env *end = guard(asking, former);
    if (end == NULL) {
        end = commit(asking, NULL, asking->about);
    }
    return end != NULL ? end : key_asking_answer(asking, 204, NULL);
}
