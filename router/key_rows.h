/* Keys as the rows of a ledger (06-LEDGER, api_keys), and back. Knows no store and no bus. */
#pragma once

#include "proto/ledger.h"
#include "router/keys.h"

/* Texts that are no part of the record go into the arena, all others are borrowed. */
void key_row_fill(const struct key_record *record, struct arena *arena, struct ledger_api_key *row);
/* What is left of a key that is deleted: so that all hear of it. */
void key_row_fill_deleted(struct dyn_slice id, uint64_t now_ms, struct ledger_api_key *row);
/* Texts go into the arena. -1 with err: it is no key. A row that says that its key is deleted is none. */
int key_row_read(const struct ledger_api_key *row, struct arena *arena, struct key_record *record,
                 struct dyn_err *err);
