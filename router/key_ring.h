/* The table of keys that is in force in this process, shared by its cells, and one cell's look at it. Whoever
 * changes keys sets another table; a cell finds out with one relaxed load a request, and requests that are
 * under way keep the table that admitted them. */
#pragma once

#include "router/keys.h"

typedef struct key_ring key_ring_t;

/* Without a table: nobody has a key. `max_stale_us` is how long a table is good that nobody confirms;
 * 0: for ever, its owner is in this process. */
key_ring_t *key_ring_new(uint64_t max_stale_us);
/* After all cells are gone. */
void key_ring_free(key_ring_t **ring_p);

/* Takes the table. Any thread. */
void key_ring_set(key_ring_t *ring, key_table_t **table_p);
/* A reference to the one in force; NULL: there is none yet. Any thread. */
key_table_t *key_ring_get(key_ring_t *ring);
/* The owner of the keys was heard of at that time (monotonic). Any thread. */
void key_ring_confirm(key_ring_t *ring, uint64_t now_us);
/* There was one. Any thread. */
bool key_ring_has_table(const key_ring_t *ring);
/* There is one, and it may be told by it who is valid. */
bool key_ring_is_fresh(const key_ring_t *ring, uint64_t now_us);

/* ---- one cell ---- */

/* A table as one cell holds it: counted without atomics, on the cell's loop only. */
struct key_view {
    key_table_t *table;
    size_t refs;
};

enum { KEY_CELL_KNOWN = 256 }; /* credentials a cell knows at sight */
struct key_known {
    const struct key_record *record; /* NULL: none */
    char text[KEY_TEXT_LEN];
};

struct key_cell {
    key_ring_t *ring; /* NULL: there are no keys */
    uint64_t seen;
    struct key_view *view;   /* the newest; NULL: none yet */
    struct key_known *known; /* of `view`; NULL until a key was seen */
};

void key_cell_init(struct key_cell *cell, key_ring_t *ring);
void key_cell_fini(struct key_cell *cell);
/* The newest table; borrowed until the next call. NULL: there is none. */
struct key_view *key_cell_look(struct key_cell *cell);
/* As key_table_verify(); one lookup and one comparison of constant time for what was verified lately. */
const struct key_record *key_cell_verify(struct key_cell *cell, struct dyn_slice credential);
/* What keeps a record over a request. NULL is accepted. */
struct key_view *key_view_ref(struct key_view *view);
void key_view_unref(struct key_view **view_p);
