/* A row of the request log, which there is for each request: written and read by straight code from the table
 * of its columns. What it writes is what ledger.c writes of any row, and it reads what comes in that order;
 * all else is for ledger.c. For ledger.c only. */
#pragma once

#include "proto/ledger.h"

/* Bytes that it takes at most, and the row, from `at` on; returns where to go on. */
size_t ledger_log_room(const struct ledger_request_log *row);
char *ledger_log_put(char *at, const struct ledger_request_log *row);

/* Takes the members that come in the order of the columns and have a value of the column's type; returns how
 * many of `members` are left. */
uint64_t ledger_log_take(struct mp_cursor *cursor, uint64_t members, struct ledger_request_log *row);
