/* What operators do to keys: the questions of the surface `admin` that are about keys, answered. Each
 * change is checked, stored, and then in force: a table is swapped, and cells see it with their next
 * request. Runs on a thread that may wait for the store; knows no HTTP but words. */
#pragma once

#include "proto/env.h"
#include "router/key_ring.h"
#include "router/key_store.h"

struct key_admin {
    key_ring_t *ring; /* whose tables it sets */
    struct key_store store;
    uint64_t version; /* of the last table */
    void (*changed)(void *self); /* another table is in force; may be NULL */
    void *self;
};

/* Reads the store. -1 with err: what was in force stays. */
int key_admin_load(struct key_admin *admin, struct dyn_err *err);
/* Reads it again when somebody else has changed it. */
void key_admin_look(struct key_admin *admin);
/* `request`: its `model` is "METHOD keys/..", its header x-dynabus-key says who asks. The END for it. A row
 * of what was changed, or tried, goes to `audit`, for the journal; not when the store has written it
 * already. */
struct env *key_admin_answer(struct key_admin *admin, const struct env *request, uint64_t now_ms,
                             struct dyn_buf *audit);
