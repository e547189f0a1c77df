/* See money_impl.h. A block is raised before it is needed and lowered when it is too far ahead. While a
 * raise is being saved the old one counts, while a lower one is being saved the lower one: whichever of
 * the two a crash leaves, what was used is within it. */
#include "limits/money_impl.h"

#include <stdlib.h>

enum { EVICTION_LOOKS = 512 };
#define RETRY_US UINT64_C(1000000) /* a store that failed is not asked with each request */
#define LOOK_US  UINT64_C(1000000) /* nor is one that has nothing to give */

static uint64_t
hash_of(const money_t *money, struct dyn_slice name)
{
    return name_hash(&money->secret, name).low;
}

struct account *
money_account_find(money_t *money, struct dyn_slice name)
{
    uint64_t hash = hash_of(money, name);
    struct account *account = money->accounts[hash & money->accounts_mask];
    while (account != NULL &&
           !(account->hash == hash && dyn_slice_eq(dyn_slice(account->name, account->name_len), name))) {
        account = account->next;
    }
    return account;
}

void
money_account_roll(struct account *account, uint64_t wall_us)
{
    for (size_t w = 0; w < MONEY_WINDOWS; w++) {
        uint32_t number = money_window_number((enum money_window)w, wall_us);
        if (number > account->windows[w].number) { /* a clock that was set back opens no old one */
            account->windows[w] =
                (struct account_window){.number = number, .limit = account->windows[w].limit};
        }
    }
}

struct limits_record
money_account_record(money_t *money, const struct account *account)
{
    struct limits_record record = {.asker = money, .account = {account->name, account->name_len}};
    for (size_t w = 0; w < MONEY_WINDOWS; w++) {
        record.windows[w].number = account->windows[w].number;
        record.windows[w].block = account->windows[w].block;
        record.windows[w].others = account->windows[w].others;
        record.windows[w].limit = account->windows[w].limit;
        record.windows[w].credit = account->windows[w].credit;
    }
    return record;
}

/* What the process before had in its block it may have spent. */
static void
take_loaded(struct account *account, const struct limits_record *record)
{
    for (size_t w = 0; w < MONEY_WINDOWS; w++) {
        struct account_window *window = &account->windows[w];
        if (window->number == record->windows[w].number) {
            window->spent = window->block = record->windows[w].block;
            window->others = record->windows[w].others;
            window->credit = record->windows[w].credit;
        }
    }
    account->state = ACCOUNT_READY;
}

/* Only what others say: what is its own it knows better. */
static void
take_others(struct account *account, const struct limits_record *record)
{
    for (size_t w = 0; w < MONEY_WINDOWS; w++) {
        struct account_window *window = &account->windows[w];
        if (window->number == record->windows[w].number) {
            window->others = record->windows[w].others;
            window->credit = record->windows[w].credit;
        }
    }
}

static void
load_account(money_t *money, struct account *account, uint64_t wall_us)
{
    const struct limits_store *store = money->options.store;
    struct limits_record record = money_account_record(money, account);
    account->state = ACCOUNT_LOADING;
    int result = store == NULL ? 0 : store->load(store->self, &record, NULL);
    if (result == 0) {
        take_loaded(account, &record);
    } else if (result < 0) {
        account->state = ACCOUNT_BROKEN;
        account->retry_at_us = wall_us + RETRY_US;
        money->figures.store_failures++;
    }
}

static void
unlink_account(money_t *money, struct account *account)
{
    struct account **link = &money->accounts[account->hash & money->accounts_mask];
    while (*link != account) {
        link = &(*link)->next;
    }
    *link = account->next;
    dyn_list_remove(&account->link);
    money->figures.bytes -= sizeof *account + account->name_len;
    money->figures.accounts--;
}

void
money_account_free(money_t *money, struct account *account)
{
    unlink_account(money, account);
    free(account);
}

/* Of the next few that nothing is open of, the one that has spent least in all: the least is lost when
 * there is no store, and nothing when there is. */
static bool
evict_account(money_t *money, uint64_t wall_us)
{
    struct account *least = NULL;
    struct dyn_list *link = money->all.next;
    for (int looked = 0; link != &money->all && looked < EVICTION_LOOKS; looked++) {
        struct account *account = DYN_CONTAINER_OF(link, struct account, link);
        link = link->next;
        if (account->n_reservations != 0 || account->is_saving || account->state == ACCOUNT_LOADING) {
            continue;
        }
        if (least == NULL || account->windows[MONEY_TOTAL].spent < least->windows[MONEY_TOTAL].spent) {
            least = account;
        }
    }
    if (least == NULL) {
        return false;
    }
    if (money->options.store != NULL && least->state == ACCOUNT_READY) {
        struct limits_record record = money_account_record(money, least);
        for (size_t w = 0; w < MONEY_WINDOWS; w++) {
            record.windows[w].block = least->windows[w].spent;
        }
        (void)money->options.store->save_block(money->options.store->self, &record, NULL);
    }
    (void)wall_us;
    money_account_free(money, least);
    money->figures.evicted++;
    return true;
}

struct account *
money_account_get(money_t *money, struct dyn_slice name, uint64_t wall_us)
{
    struct account *account = money_account_find(money, name);
    if (account == NULL) {
        if (money->figures.accounts >= money->options.accounts_max && !evict_account(money, wall_us)) {
            return NULL;
        }
        account = dyn_zalloc(sizeof *account + name.len);
        account->hash = hash_of(money, name);
        account->name_len = name.len;
        memcpy(account->name, name.data, name.len);
        struct account **head = &money->accounts[account->hash & money->accounts_mask];
        account->next = *head;
        *head = account;
        dyn_list_append(&money->all, &account->link);
        money->figures.accounts++;
        money->figures.bytes += sizeof *account + name.len;
        money_account_roll(account, wall_us);
        load_account(money, account, wall_us);
    } else if (account->state == ACCOUNT_BROKEN && wall_us >= account->retry_at_us) {
        money_account_roll(account, wall_us);
        load_account(money, account, wall_us);
    }
    if (account->state == ACCOUNT_READY) {
        money_account_roll(account, wall_us);
    }
    return account;
}

static void
apply_saved(struct account *account, const struct limits_record *record)
{
    for (size_t w = 0; w < MONEY_WINDOWS; w++) {
        struct account_window *window = &account->windows[w];
        if (window->number == record->windows[w].number) {
            window->block = record->windows[w].block;
            window->others = record->windows[w].others;
            window->credit = record->windows[w].credit;
        }
    }
}

/* Saves blocks that lie half a block above what is used and `more`, as far as limits reach. */
static int
save_account(money_t *money, struct account *account, uint64_t more, uint64_t wall_us)
{
    const struct limits_store *store = money->options.store;
    struct limits_record record = money_account_record(money, account);
    for (size_t w = 0; w < MONEY_WINDOWS; w++) {
        struct account_window *window = &account->windows[w];
        uint64_t needed = account_used(window) + more, ahead = needed + money->options.block / 2;
        bool is_bound = window->limit < UINT64_MAX - window->credit;
        uint64_t limit = is_bound ? window->limit + window->credit : UINT64_MAX;
        uint64_t most = limit > needed ? limit : needed;
        record.windows[w].block = ahead < most ? ahead : most;
        if (record.windows[w].block < window->block) {
            window->block = record.windows[w].block;
        }
    }
    money->figures.saves++;
    account->is_saving = true;
    int result = store->save_block(store->self, &record, NULL);
    if (result == LIMITS_STORE_LATER) {
        return result;
    }
    account->is_saving = false;
    if (result < 0) {
        account->retry_at_us = wall_us + RETRY_US;
        money->figures.store_failures++;
        return -1;
    }
    apply_saved(account, &record);
    return 0;
}

static bool
is_covered(const struct account *account, uint64_t more)
{
    for (size_t w = 0; w < MONEY_WINDOWS; w++) {
        if (account_used(&account->windows[w]) + more > account->windows[w].block) {
            return false;
        }
    }
    return true;
}

int
money_account_cover(money_t *money, struct account *account, uint64_t more, uint64_t wall_us)
{
    if (money->options.store == NULL || is_covered(account, more)) {
        return 0;
    }
    if (account->is_saving) {
        return LIMITS_STORE_LATER;
    }
    if (wall_us < account->retry_at_us) {
        return -1;
    }
    int result = save_account(money, account, more, wall_us);
    if (result == LIMITS_STORE_LATER && more > account->awaited) {
        account->awaited = more;
    }
    if (result == 0 && !is_covered(account, more)) {
        return -1;
    }
    return result;
}

void
money_account_look(money_t *money, struct account *account, uint64_t wall_us)
{
    const struct limits_store *store = money->options.store;
    bool is_time = wall_us - account->looked_at_us >= LOOK_US && wall_us >= account->retry_at_us;
    if (store == NULL || account->state != ACCOUNT_READY || account->is_looking || !is_time) {
        return;
    }
    struct limits_record record = money_account_record(money, account);
    account->looked_at_us = wall_us;
    int result = store->load(store->self, &record, NULL);
    account->is_looking = result == LIMITS_STORE_LATER;
    if (result == 0) {
        take_others(account, &record);
    }
}

void
money_account_lower(money_t *money, struct account *account, uint64_t wall_us)
{
    if (money->options.store == NULL || account->is_saving || account->state != ACCOUNT_READY ||
        wall_us < account->retry_at_us) {
        return;
    }
    for (size_t w = 0; w < MONEY_WINDOWS; w++) {
        const struct account_window *window = &account->windows[w];
        uint64_t used = account_used(window) + account->awaited;
        if (window->block > used && window->block - used > money->options.block) {
            (void)save_account(money, account, account->awaited, wall_us);
            return;
        }
    }
}

void
money_loaded(money_t *money, const struct limits_record *record, bool ok, uint64_t wall_us)
{
    (void)pthread_mutex_lock(&money->lock);
    struct account *account = money_account_find(money, record->account);
    if (account != NULL && account->state == ACCOUNT_LOADING) {
        if (ok) {
            take_loaded(account, record);
        } else {
            account->state = ACCOUNT_BROKEN;
            account->retry_at_us = wall_us + RETRY_US;
            money->figures.store_failures++;
        }
    } else if (account != NULL && account->is_looking) {
        account->is_looking = false;
        if (ok) {
            take_others(account, record);
        }
    }
    (void)pthread_mutex_unlock(&money->lock);
    if (money->options.ready != NULL) {
        money->options.ready(money->options.self);
    }
}

void
money_saved(money_t *money, const struct limits_record *record, bool ok, uint64_t wall_us)
{
    (void)pthread_mutex_lock(&money->lock);
    struct account *account = money_account_find(money, record->account);
    if (account != NULL && account->is_saving) {
        account->is_saving = false;
        if (ok) {
            apply_saved(account, record);
        } else {
            account->retry_at_us = wall_us + RETRY_US;
            money->figures.store_failures++;
        }
        /* more may have been settled in the meantime than was reserved, or much less */
        if (ok && money_account_cover(money, account, 0, wall_us) == 0) {
            money_account_lower(money, account, wall_us);
        }
    }
    (void)pthread_mutex_unlock(&money->lock);
    if (money->options.ready != NULL) {
        money->options.ready(money->options.self);
    }
}
