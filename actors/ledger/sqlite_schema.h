/* The tables of a ledger in SQLite, and how those of an earlier version become today's. Private to
 * store_sqlite.c; knows SQL, not what it is for. */
#pragma once

#include "core/err.h"

struct sqlite3;

/* 0: it is a ledger of this version now. -1 with a sentence: it is another program's, or of a later
 * version. */
int sqlite_schema_migrate(struct sqlite3 *db, struct dyn_err *err);
