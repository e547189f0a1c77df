/* Where rows are kept: one struct of callbacks for each database. Blocks, so it is called on the clerk's
 * thread alone (clerk.h). It knows no bus and no request; what is asked and answered is proto/ledger.h. */
#pragma once

#include "proto/ledger.h"

/* A question, and what came of it. */
struct store_job {
    struct ledger_message ask;    /* borrowed */
    struct ledger_message answer; /* numbers; its rows are those below */
    struct dyn_buf rows;
    size_t n_rows;
    /* 200; 409: not the version that it names; 400: no such question; 413: it takes too long */
    uint16_t status;
};

enum {
    STORE_ANSWER_MAX = LEDGER_BODY_MAX - 64 * 1024, /* bytes of rows in an answer */
    STORE_LIST_DEFAULT = 50,
    STORE_LIST_MAX = 200,
    STORE_TOP_DEFAULT = 10,
    STORE_TOP_MAX = 100,
    STORE_POINTS_MAX = 240,
    STORE_SCANNED_MAX = 20000, /* rows that times and points are made of */
    STORE_READ_MS = 2000,      /* of one question: rows wait meanwhile */
};

struct store_ops {
    const char *name; /* "sqlite" */
    /* Makes it where there is none, and brings an older one up to date. NULL with a sentence. */
    void *(*open)(const char *dsn, struct dyn_err *err);
    /* `rows`, `put`, `purge`, `spend_save`: all of them in one transaction, or none: -1, then nothing has
     * changed and the same may be asked again. Safe from the end of this process when it returns;
     * `is_durable`: from that of the machine, too. */
    int (*write_batch)(void *store, struct store_job *const *jobs, size_t n, bool is_durable,
                       uint64_t wall_us, struct dyn_err *err);
    /* `keys`, `logs`, `stats`, `audit`, `spend_load`. */
    int (*read)(void *store, struct store_job *job, uint64_t wall_us, struct dyn_err *err);
    /* Nothing is asked at the moment: gives memory back that only makes the next question quicker. */
    void (*shed)(void *store);
    void (*close)(void *store);
};

extern const struct store_ops store_sqlite;

bool store_is_write(struct dyn_slice op);
bool store_is_read(struct dyn_slice op);
