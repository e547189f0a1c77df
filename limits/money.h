/* Money that may be spent: what each account (a key, a group) has spent and reserved in its windows, in
 * 10^-12 USD. A request reserves the most that it can cost, under its id, and settles what it did cost:
 * once, however often it is told. More than a limit is never reserved; what an upstream bills beyond what
 * it was asked is booked, and is all that a limit can be passed by.
 *
 * What is reserved or spent lies within a block that the store has saved before. A crash counts the block
 * as spent: nothing is lost, and the reservations that were open and at most one block too much are
 * counted. When the store fails spending goes on to the end of the block.
 *
 * Shared by the cells of a process, behind a lock of its own. Accounts and reservations are bounded. */
#pragma once

#include "limits/limits_store.h"

typedef struct money money_t;

#define MONEY_PER_USD   UINT64_C(1000000000000)
#define MONEY_UNLIMITED UINT64_MAX /* counted, never refused */

struct money_options {
    const struct limits_store *store; /* NULL: a restart forgets */
    uint64_t block;                   /* how much is written ahead, at least 1 */
    size_t accounts_max;              /* 0: a million */
    size_t reservations_max;          /* 0: 65,536 */
    /* Something that was waited for is there. Any thread, not under the lock. May be NULL. */
    void (*ready)(void *self);
    void *self;
};
money_t *money_new(const struct money_options *options);
/* In order: what is not used of the blocks is given up, so that nothing is counted too much. */
void money_close(money_t *money, uint64_t wall_us);
void money_free(money_t **money_p);

/* Nearest; negative is 0, and too much is the most. */
uint64_t money_from_usd(double usd);

struct money_id {
    uint8_t bytes[16];
};

/* Who pays: all of them, or the request is refused. */
struct money_account {
    struct dyn_slice name;
    uint64_t limits[MONEY_WINDOWS];
};
enum { MONEY_ACCOUNTS_PER_REQUEST = 4 };

enum money_verdict {
    MONEY_RESERVED,
    MONEY_OVER,   /* a limit: see the refusal */
    MONEY_WAIT,   /* for the store: ask again when ready() was called */
    MONEY_BROKEN, /* the store failed and the block is used up */
    MONEY_FULL,   /* of accounts or reservations that are open */
};
struct money_refusal {
    size_t account; /* index */
    enum money_window window;
    uint64_t limit;
    uint64_t spent; /* by all processes, with what is reserved */
    uint64_t resets_at_us; /* UINT64_MAX: never */
};

/* `amount` 0: passes until the limit is reached. A second time for the same id changes nothing. */
enum money_verdict money_reserve(money_t *money, const struct money_id *id,
                                 const struct money_account *accounts, size_t n_accounts, uint64_t amount,
                                 uint64_t wall_us, struct money_refusal *refusal);
#define MONEY_AS_RESERVED UINT64_MAX
/* What it did cost instead of what was reserved, in the windows that it was reserved in. 0: it costs
 * nothing. False: the id has nothing open, nothing changed. */
bool money_settle(money_t *money, const struct money_id *id, uint64_t cost, uint64_t wall_us);
/* The same for a cost that nobody billed: it was guessed, so never more than was reserved. */
bool money_settle_guess(money_t *money, const struct money_id *id, uint64_t cost, uint64_t wall_us);

struct money_state {
    uint64_t spent[MONEY_WINDOWS]; /* settled */
    uint64_t reserved[MONEY_WINDOWS];
    uint64_t block[MONEY_WINDOWS];  /* up to where it is safe */
    uint64_t others[MONEY_WINDOWS];
    uint64_t credit[MONEY_WINDOWS]; /* forgiven by operators */
};
/* False: no such account is in memory. */
bool money_look(money_t *money, struct dyn_slice account, uint64_t wall_us, struct money_state *state);
/* Forgets what an account has spent in its windows as they are now; reservations stay. False as above. */
bool money_reset(money_t *money, struct dyn_slice account, uint64_t wall_us);

/* The store's answers to LATER; `ok` false: it failed. */
void money_loaded(money_t *money, const struct limits_record *record, bool ok, uint64_t wall_us);
void money_saved(money_t *money, const struct limits_record *record, bool ok, uint64_t wall_us);

struct money_figures {
    uint64_t accounts;
    uint64_t reservations;
    uint64_t bytes;
    uint64_t evicted;   /* accounts that left memory */
    uint64_t overspent; /* 10^-12 USD settled beyond what was reserved */
    uint64_t saves;
    uint64_t store_failures;
};
void money_figures(money_t *money, struct money_figures *figures);
