/* Where keys survive. A store is called by one thread at a time, which may wait for it: the one of the keys
 * actor. It keeps records and decides nothing. */
#pragma once

#include "router/keys.h"

struct key_store_ops {
    const char *name; /* "file" */
    /* All records, in the order in which they were created; texts and array in the arena. -1 with err: it
     * can't be read; the keys that are in force stay. A store that does not exist yet has none. */
    int (*load)(void *self, struct arena *arena, struct key_record **records, size_t *n, struct dyn_err *err);
    /* The record is new or has changed; `all` has it. Safe against a crash when it returns 0. */
    int (*put)(void *self, const struct key_record *record, const key_table_t *all, struct dyn_err *err);
    /* That id is gone from `all`. */
    int (*remove)(void *self, struct dyn_slice id, const key_table_t *all, struct dyn_err *err);
    /* Somebody else has changed it since the last load, put or remove. Cheap. */
    bool (*has_changed)(void *self);
    /* From now on nobody else changes it, until let_go(); what others did before is to be loaded then. */
    int (*hold)(void *self, struct dyn_err *err);
    void (*let_go)(void *self);
    void (*close)(void *self); /* frees it */
};

struct key_store {
    const struct key_store_ops *ops;
    void *self;
};

/* A file of JSON lines, one for each key, mode 0600, replaced as a whole. Several processes of one machine
 * may use the same file: whoever writes holds a lock beside it, and all see what has changed. */
struct key_store key_file_new(const char *path);
