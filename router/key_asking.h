/* One question of an operator about keys, taken apart, and what it can be answered. Private to the files of
 * /admin/keys: key_admin.c (which question it is), key_change.c, key_usage.c, key_audit.c. */
#pragma once

#include "router/key_admin.h"

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
    bool is_noted;          /* the store has written what was changed, and by whom */
    bool has_moved;         /* somebody else changed keys first: it is to be decided again */
};

/* ---- answers ---- */

/* `text` and `param` are copied; NULL: those of the row, and none. */
struct env *key_asking_fail(const struct asking *asking, enum err_code code, const char *text,
                            const char *param);
struct env *key_asking_answer(const struct asking *asking, uint16_t status, const struct dyn_buf *body);
struct env *key_asking_show(const struct asking *asking, uint16_t status, const struct key_record *record,
                            const char *secret);
struct env *key_asking_too_long(const struct asking *asking);

/* ---- questions ---- */

struct env *key_usage(struct asking *asking);
struct env *key_create(struct asking *asking);
struct env *key_update(struct asking *asking, const struct key_record *former);
struct env *key_revoke(struct asking *asking, const struct key_record *former);
struct env *key_rotate(struct asking *asking, const struct key_record *former);
struct env *key_delete(struct asking *asking, const struct key_record *former);

/* ---- who did what ---- */

/* Texts lie in the question and its arena. `why`: NULL, or the code of the error. `changed`: the key as it is
 * now; NULL: there is nothing to show. */
void key_audit_fill(struct asking *asking, const char *outcome, const char *why,
                    const struct key_record *changed, struct ledger_audit *audit);
/* A line of the log, and a row for the journal where the store has not written it. */
void key_audit_tell(struct asking *asking, const struct env *end, struct dyn_buf *rows);
