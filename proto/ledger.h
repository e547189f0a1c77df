/* The language of the ledger (specified in proto/06-LEDGER.md): what is asked of it, and the rows that it
 * keeps. Both are MessagePack maps in the body of a REQUEST of the surface `ledger` and of its END. Says
 * nothing about how rows are stored (actors/ledger) nor who may ask (the router).
 *
 * Who has rows to write sends them to the process's journal (actors/ledger/journal.h; plugins:
 * host->ledger), which keeps them until the ledger has them; nothing waits for it. */
#pragma once

#include "core/block.h"
#include "core/buf.h"
#include "core/err.h"
#include "proto/mp.h"
#include "proto/mp_write.h"

#include <stdatomic.h>

enum ledger_table { LEDGER_REQUEST_LOG, LEDGER_AUDIT, LEDGER_API_KEYS, LEDGER_SPEND,
                    LEDGER_LOG_STATS, LEDGER_LEASE, LEDGER_TABLES };
/* `window` of a row of `spend` that says how much of a limit may have been lent out. */
enum { LEDGER_SPEND_LEASE = 4 };

/* Bytes of a question's and of an answer's body. */
enum { LEDGER_BODY_MAX = 1024 * 1024, LEDGER_VALUES_MAX = 128 * 1024, LEDGER_COLUMNS_MAX = 32 };
/* What a column of numbers holds at most: SQL databases count to 2^63 - 1. */
#define LEDGER_UINT_MAX ((uint64_t)INT64_MAX)

#define LEDGER_TYPE_TEXT struct dyn_slice
#define LEDGER_TYPE_BLOB struct dyn_slice
#define LEDGER_TYPE_UINT uint64_t
#define LEDGER_TYPE_REAL double

struct ledger_request_log {
#define REQUEST_LOG(type, name, key, help) LEDGER_TYPE_##type name;
#include "proto/ledger_rows.def"
};
struct ledger_audit {
#define AUDIT(type, name, key, help) LEDGER_TYPE_##type name;
#include "proto/ledger_rows.def"
};
struct ledger_api_key {
#define API_KEY(type, name, key, help) LEDGER_TYPE_##type name;
#include "proto/ledger_rows.def"
};
struct ledger_spend {
#define SPEND(type, name, key, help) LEDGER_TYPE_##type name;
#include "proto/ledger_rows.def"
};
struct ledger_log_stats {
#define LOG_STATS(type, name, key, help) LEDGER_TYPE_##type name;
#include "proto/ledger_rows.def"
};
struct ledger_lease {
#define LEASE(type, name, key, help) LEDGER_TYPE_##type name;
#include "proto/ledger_rows.def"
};

/* Texts and blobs are borrowed. */
struct ledger_row {
    enum ledger_table table;
    union {
        struct ledger_request_log request_log;
        struct ledger_audit       audit;
        struct ledger_api_key     api_key;
        struct ledger_spend       spend;
        struct ledger_log_stats   log_stats;
        struct ledger_lease       lease;
    } of;
};

/* ---- the tables as data, for codec and stores ---- */

enum ledger_type { LEDGER_TEXT, LEDGER_BLOB, LEDGER_UINT, LEDGER_REAL };

struct ledger_column {
    const char      *name;
    enum ledger_type type;
    size_t           offset; /* in the struct of its table, which is that of ledger_row.of */
    bool             is_key;
    struct mp_key    key; /* the name as it is written */
};
struct ledger_schema {
    const char                 *name; /* "request_log" */
    const struct ledger_column *columns;
    size_t                      n;
};
extern const struct ledger_schema ledger_schemas[LEDGER_TABLES];

/* ---- rows on the bus: a map each, one behind the other ---- */

/* Text that is not UTF-8 is spelled with question marks. */
void ledger_row_encode(const struct ledger_row *row, struct dyn_buf *out);
/* The next row of ledger_message.rows: texts point into it. One of a table that is not known here has
 * LEDGER_TABLES. false: there is none, or what comes is no map. */
bool ledger_row_next(struct mp_cursor *rows, struct ledger_row *row);

/* ---- what a process says of its rows: readiness and counters ---- */

enum ledger_state {
    LEDGER_NONE,        /* this process has no store */
    LEDGER_OK,
    LEDGER_BEHIND,      /* rows wait longer than they should */
    LEDGER_UNREACHABLE, /* nobody is there who takes them */
    LEDGER_LOSING,      /* more waited than may: the oldest were lost, not long ago */
};
const char *ledger_state_name(enum ledger_state state); /* "ok" */

/* Written by the journal, read by anybody. */
struct ledger_gauges {
    atomic_uint          state; /* enum ledger_state */
    atomic_uint_fast64_t pending_bytes;
    atomic_uint_fast64_t pending_rows;
    atomic_uint_fast64_t taken_rows; /* since the start */
    atomic_uint_fast64_t dropped_rows;
};

/* Written by the ledger, read by anybody. */
struct ledger_store_gauges {
    atomic_uint          is_failing; /* 1: the store takes nothing now */
    atomic_uint_fast64_t pending_bytes;
    atomic_uint_fast64_t written_rows; /* since the start, as all below */
    atomic_uint_fast64_t failures;
    atomic_uint_fast64_t batches; /* of rows, that were written */
    atomic_uint_fast64_t batch_us; /* how long these took together */
};

/* ---- questions and answers ---- */

struct ledger_message {
#define LEDGER_FIELD(type, name, where, help) LEDGER_TYPE_##type name;
#include "proto/ledger_fields.def"
#undef LEDGER_FIELD
    struct dyn_slice rows; /* as ledger_row_encode() wrote them */
    size_t           n_rows;
};

dyn_block_t *ledger_message_encode(const struct ledger_message *message) __attribute__((returns_nonnull));
/* The same up to its rows, with room for so many bytes of them, which the caller appends. */
dyn_block_t *ledger_message_begin(const struct ledger_message *message, size_t row_bytes)
    __attribute__((returns_nonnull));
/* Texts and rows point into `body`, which may come from anywhere; unknown members are skipped. Rows are
 * maps, whatever is in them. */
DYN_MUST_CHECK int ledger_message_decode(struct dyn_slice body, struct ledger_message *message,
                                         struct dyn_err *err);
/* The same for a body that ledger_message_encode() has made in this process (env->is_own), of rows that were
 * checked or made here: it and its rows are not looked through. */
DYN_MUST_CHECK int ledger_message_read(struct dyn_slice body, struct ledger_message *message,
                                       struct dyn_err *err);
