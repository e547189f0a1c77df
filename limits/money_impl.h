/* What money.c and money_accounts.c share: accounts in memory, and how they stay covered by saved blocks.
 * All of it with the lock of the money. */
#pragma once

#include "core/list.h"
#include "limits/money.h"
#include "limits/name_hash.h"

#include <pthread.h>

enum account_state { ACCOUNT_LOADING, ACCOUNT_READY, ACCOUNT_BROKEN };

struct account_window {
    uint32_t number;
    uint64_t spent;    /* settled, and what was in the block of a process before */
    uint64_t reserved;
    uint64_t block;    /* safe: spent + reserved is within it. While a lower one is being saved, that */
    uint64_t others;
    uint64_t credit;   /* forgiven: so much more than the limit may have been spent */
    uint64_t limit;    /* as it was last asked with */
};

struct account {
    struct account *next; /* in its chain */
    struct dyn_list link; /* of all */
    uint64_t hash;
    enum account_state state;
    bool is_saving;
    bool is_looking; /* at what others have spent */
    uint32_t n_reservations;
    uint64_t awaited; /* what a block was raised for whose request has still to come back for it */
    uint64_t retry_at_us; /* the store failed: not before */
    uint64_t looked_at_us; /* the store was asked what others have spent, because a limit is reached */
    struct account_window windows[MONEY_WINDOWS];
    size_t name_len;
    char name[];
};

struct reservation_part {
    struct account *account;
    uint32_t numbers[MONEY_WINDOWS];
};

struct reservation {
    struct reservation *next; /* in its chain, or in the list of free ones */
    struct money_id id;
    uint64_t amount;
    size_t n_parts;
    struct reservation_part parts[MONEY_ACCOUNTS_PER_REQUEST];
};

struct money {
    struct money_options options;
    struct name_secret secret;
    pthread_mutex_t lock; /* all below */
    struct account **accounts; /* heads of chains */
    size_t accounts_mask;
    struct dyn_list all;
    struct reservation **reservations;
    size_t reservations_mask;
    struct reservation *free_reservations;
    struct money_figures figures;
};

/* NULL: there is none. */
struct account *money_account_find(money_t *money, struct dyn_slice name);
/* The same, made and loaded when it is new. NULL: full of accounts with reservations. */
struct account *money_account_get(money_t *money, struct dyn_slice name, uint64_t wall_us);
/* A window that is over begins anew. */
void money_account_roll(struct account *account, uint64_t wall_us);
static inline uint64_t
account_used(const struct account_window *window)
{
    return window->spent + window->reserved;
}
/* By all processes, without what was forgiven. */
static inline uint64_t
money_account_net(const struct account_window *window)
{
    uint64_t all = account_used(window) + window->others;
    return all > window->credit ? all - window->credit : 0;
}
/* Sees to it that `more` on top of what is used is within blocks that are safe. 0: it is; -1: the store
 * failed, or grants no more; LIMITS_STORE_LATER: when it has been saved. */
int money_account_cover(money_t *money, struct account *account, uint64_t more, uint64_t wall_us);
/* A limit is reached: asks the store whether others have given something up, or an operator forgave it. */
void money_account_look(money_t *money, struct account *account, uint64_t wall_us);
/* After something was given up: a block that is more than one ahead is saved lower. */
void money_account_lower(money_t *money, struct account *account, uint64_t wall_us);
/* As it is now, for the store. */
struct limits_record money_account_record(money_t *money, const struct account *account);
void money_account_free(money_t *money, struct account *account);
