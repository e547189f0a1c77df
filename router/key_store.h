/* Where keys survive. A store is called by one thread at a time, which may wait for it: the one of the keys
 * actor. It keeps records and decides nothing. */
#pragma once

#include "proto/ledger.h"
#include "router/key_ring.h"

/* What became of a change. */
enum key_stored {
    KEY_STORED = 0,     /* safe against a crash */
    KEY_NOT_STORED = -1, /* with err. DYN_E_GONE: nobody can say now whether it was done after all */
    KEY_STORE_MOVED = 1, /* somebody else changed keys meanwhile: load, and decide again */
};

struct key_store_ops {
    const char *name; /* "file" */
    bool keeps_audit; /* put() and remove() write `audit`, together with the change */
    /* All records, in the order in which they were created; texts and array in the arena, or of `former`,
     * which is the table that they follow (may be NULL). -1 with err: they can't be read; the keys that are
     * in force stay. A store that does not exist yet has none. */
    int (*load)(void *self, const key_table_t *former, struct arena *arena, struct key_record **records,
                size_t *n, struct dyn_err *err);
    /* The record is new or has changed; `all` has it. */
    enum key_stored (*put)(void *self, const struct key_record *record, const key_table_t *all,
                           const struct ledger_audit *audit, struct dyn_err *err);
    /* That id is gone from `all`. */
    enum key_stored (*remove)(void *self, struct dyn_slice id, const key_table_t *all,
                              const struct ledger_audit *audit, struct dyn_err *err);
    /* Somebody else has changed it since the last load, put or remove. Cheap, but may wait for the store. */
    bool (*has_changed)(void *self);
    /* From now on nobody else changes it, until let_go(); what others did before is to be loaded then. NULL:
     * put() and remove() find out. */
    int (*hold)(void *self, struct dyn_err *err);
    void (*let_go)(void *self);
    /* Before people look: what other processes counted goes into the table's uses. NULL: nobody knows. */
    void (*look_at_uses)(void *self, const key_table_t *table);
    void (*close)(void *self); /* frees it */
};

struct key_store {
    const struct key_store_ops *ops;
    void *self;
};

/* A file of JSON lines, one for each key, mode 0600, replaced as a whole. Several processes of one machine
 * may use the same file: whoever writes holds a lock beside it, and all see what has changed. */
struct key_store key_file_new(const char *path);

/* ---- the ledger's store ---- */

/* Who takes a question to the ledger and waits for its answer, a few seconds at most. */
struct key_courier {
    /* *answer is the END's body, *status its status. -1 with err (DYN_E_GONE) when none came. */
    int (*ask)(void *self, const struct ledger_message *question, dyn_block_t **answer, uint16_t *status,
               struct dyn_err *err);
    void *self;
};

/* The keys that a ledger keeps for all routers of the gateway: asked for what has changed, which confirms the
 * tables of `ring`. A change is refused when it was decided about keys that are not the ledger's any more. */
struct key_store key_ledger_new(key_ring_t *ring);
/* Before anything is asked of it; another one takes its place. */
void key_ledger_set_courier(const struct key_store *store, const struct key_courier *courier);
