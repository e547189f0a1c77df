/* Where spend survives: implemented by the ledger on its database, by tests in memory. A row is one
 * account's windows; `block` is how far it may have been spent, written before it is. After a crash that
 * counts as spent.
 *
 * Where several processes spend from one account the store is the one owner: it keeps a row for each,
 * answers with what the others have, and grants no more than the limit leaves. */
#pragma once

#include "core/err.h"
#include "limits/money_window.h"

struct limits_record {
    void *asker; /* whose it is: the money that money_loaded() and money_saved() are told of */
    struct dyn_slice account;
    struct {
        uint32_t number; /* money_window_number(); another one's row is history */
        uint64_t block;  /* 10^-12 USD. save: wanted, then granted and safe */
        uint64_t others; /* from the store: the blocks of other processes */
        uint64_t limit;  /* UINT64_MAX: none */
        uint64_t credit; /* from the store: what operators have forgiven, of all processes together */
    } windows[MONEY_WINDOWS];
};

enum { LIMITS_STORE_LATER = 1 };

struct limits_store {
    /* Fills `block`, `others` and `credit` of the windows whose numbers the record has; 0: never saved.
     * Returns 0; -1; LIMITS_STORE_LATER: money_loaded() follows, from any thread, not from inside the
     * call. */
    int (*load)(void *self, struct limits_record *record, struct dyn_err *err);
    /* Returns 0 when it is safe from a crash of process and machine; -1: it may or may not be;
     * LIMITS_STORE_LATER: money_saved() follows. Saves of one account are made in the order of the calls. */
    int (*save_block)(void *self, struct limits_record *record, struct dyn_err *err);
    /* Answers nothing to the asker any more once this returns; what it had saved is saved all the same.
     * May be NULL for a store that never says LATER. */
    void (*forget)(void *self, void *asker);
    void *self;
};
