/* The store of spend (limits/limits_store.h) as it is reached from a plugin: questions to the ledger, by
 * way of the cell that happens to run. A question that is not answered in time, or not at all, has failed. */
#pragma once

#include "actors/plugins/plugin.h"
#include "limits/money.h"
#include "proto/env_map.h"

typedef struct budget_store budget_store_t;

/* One life of one process: what it had before it died belongs to another. */
budget_store_t *budget_store_new(void) __attribute__((returns_nonnull));
void budget_store_free(budget_store_t **store_p); /* NULL is accepted; the money is gone */
const struct limits_store *budget_store_ops(const budget_store_t *store);

/* What a cell has asked. Its own loop only. */
struct budget_line {
    budget_store_t *store; /* NULL: there is no ledger, and nothing here does anything */
    plugin_cell_t *cell;
    struct env_map asked;
    struct dyn_list in_order; /* oldest first */
};
void budget_line_init(struct budget_line *line, budget_store_t *store, plugin_cell_t *cell);
void budget_line_fini(struct budget_line *line); /* what is not answered has failed */
/* Sends what the money has asked meanwhile. Call it after everything that may have made it ask. */
void budget_line_flush(struct budget_line *line, uint64_t now_us, uint64_t wall_us);
/* An END that came to the cell; false: it answers nothing that was asked here. */
bool budget_line_receive(struct budget_line *line, const struct env *end, uint64_t wall_us);
