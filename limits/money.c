/* See money.h. */
#include "limits/money_impl.h"

#include "core/rand.h"

#include <stdlib.h>

enum { ACCOUNTS_DEFAULT = 1000000, RESERVATIONS_DEFAULT = 65536, HEADS_MAX = 65536 };
/* Sums of two such stay within 64 bits: 4 million USD in one window. */
#define AMOUNT_MAX (UINT64_MAX / 4)

uint64_t
money_from_usd(double usd)
{
    double units = usd * (double)MONEY_PER_USD + 0.5;
    return !(units >= 1) ? 0 : units >= (double)AMOUNT_MAX ? AMOUNT_MAX : (uint64_t)units;
}

static size_t
heads_for(size_t n)
{
    size_t heads = 64;
    while (heads < n && heads < HEADS_MAX) {
        heads *= 2;
    }
    return heads;
}

money_t *
money_new(const struct money_options *options)
{
    money_t *money = dyn_zalloc(sizeof *money);
    money->options = *options;
    if (money->options.accounts_max == 0) {
        money->options.accounts_max = ACCOUNTS_DEFAULT;
    }
    if (money->options.reservations_max == 0) {
        money->options.reservations_max = RESERVATIONS_DEFAULT;
    }
    size_t accounts = heads_for(money->options.accounts_max);
    size_t reservations = heads_for(money->options.reservations_max);
    money->accounts = dyn_zalloc(accounts * sizeof(struct account *));
    money->accounts_mask = accounts - 1;
    money->reservations = dyn_zalloc(reservations * sizeof(struct reservation *));
    money->reservations_mask = reservations - 1;
    money->figures.bytes = sizeof *money + (accounts + reservations) * sizeof(void *);
    dyn_list_init(&money->all);
    dyn_random_bytes(&money->secret, sizeof money->secret);
    (void)pthread_mutex_init(&money->lock, NULL);
    return money;
}

static struct reservation **
chain_of(money_t *money, const struct money_id *id)
{
    uint64_t hash;
    memcpy(&hash, id->bytes, sizeof hash); /* ids are random */
    return &money->reservations[hash & money->reservations_mask];
}

/* Where the link to it is; what it links to is NULL when there is none. */
static struct reservation **
find_reservation(money_t *money, const struct money_id *id)
{
    struct reservation **link = chain_of(money, id);
    while (*link != NULL && memcmp((*link)->id.bytes, id->bytes, sizeof id->bytes) != 0) {
        link = &(*link)->next;
    }
    return link;
}

static struct reservation *
add_reservation(money_t *money, const struct money_id *id)
{
    struct reservation *reservation = money->free_reservations;
    if (reservation != NULL) {
        money->free_reservations = reservation->next;
    } else {
        reservation = dyn_alloc(sizeof *reservation);
        money->figures.bytes += sizeof *reservation;
    }
    struct reservation **head = chain_of(money, id);
    *reservation = (struct reservation){.next = *head, .id = *id};
    *head = reservation;
    money->figures.reservations++;
    return reservation;
}

static void
remove_reservation(money_t *money, struct reservation **link)
{
    struct reservation *reservation = *link;
    *link = reservation->next;
    reservation->next = money->free_reservations;
    money->free_reservations = reservation;
    money->figures.reservations--;
}

/* Sets the limits, and returns the first window that is passed; MONEY_WINDOWS: none. */
static size_t
passed_window(struct account *account, const struct money_account *asked, uint64_t amount)
{
    size_t passed = MONEY_WINDOWS;
    for (size_t w = 0; w < MONEY_WINDOWS; w++) {
        struct account_window *window = &account->windows[w];
        window->limit = asked->limits[w];
        uint64_t used = money_account_net(window);
        bool is_passed =
            amount == 0 ? used >= window->limit : amount > window->limit || used > window->limit - amount;
        if (passed == MONEY_WINDOWS && window->limit != MONEY_UNLIMITED && is_passed) {
            passed = w;
        }
    }
    return passed;
}

struct asking {
    money_t *money;
    const struct money_account *asked;
    size_t n;
    uint64_t amount;
    uint64_t wall_us;
    struct account *accounts[MONEY_ACCOUNTS_PER_REQUEST];
};

/* An account that stands in the list is not evicted for the next one. */
static enum money_verdict
find_accounts(money_t *money, struct asking *asking)
{
    enum money_verdict verdict = MONEY_RESERVED;
    size_t n = 0;
    for (; n < asking->n && verdict == MONEY_RESERVED; n++) {
        struct account *account = money_account_get(money, asking->asked[n].name, asking->wall_us);
        asking->accounts[n] = account;
        if (account == NULL) {
            verdict = MONEY_FULL;
            break;
        }
        account->n_reservations++;
        verdict = account->state == ACCOUNT_LOADING  ? MONEY_WAIT
                  : account->state == ACCOUNT_BROKEN ? MONEY_BROKEN
                                                     : MONEY_RESERVED;
    }
    for (size_t i = 0; i < n; i++) {
        asking->accounts[i]->n_reservations--;
    }
    return verdict;
}

static enum money_verdict
check_limits(struct asking *asking, struct money_refusal *refusal)
{
    enum money_verdict verdict = MONEY_RESERVED;
    for (size_t i = 0; i < asking->n; i++) {
        size_t w = passed_window(asking->accounts[i], &asking->asked[i], asking->amount);
        if (w == MONEY_WINDOWS || verdict != MONEY_RESERVED) {
            continue;
        }
        const struct account_window *window = &asking->accounts[i]->windows[w];
        *refusal = (struct money_refusal){.account = i,
                                          .window = (enum money_window)w,
                                          .limit = window->limit,
                                          .spent = money_account_net(window),
                                          .resets_at_us =
                                              money_window_end_us((enum money_window)w, asking->wall_us)};
        verdict = MONEY_OVER;
        money_account_look(asking->money, asking->accounts[i], asking->wall_us);
    }
    return verdict;
}

static enum money_verdict
cover(money_t *money, struct asking *asking)
{
    for (size_t i = 0; i < asking->n; i++) {
        int result = money_account_cover(money, asking->accounts[i], asking->amount, asking->wall_us);
        if (result != 0) {
            return result < 0 ? MONEY_BROKEN : MONEY_WAIT;
        }
    }
    return MONEY_RESERVED;
}

static void
book(money_t *money, const struct money_id *id, const struct asking *asking)
{
    struct reservation *reservation = add_reservation(money, id);
    reservation->amount = asking->amount;
    reservation->n_parts = asking->n;
    for (size_t i = 0; i < asking->n; i++) {
        struct account *account = asking->accounts[i];
        struct reservation_part *part = &reservation->parts[i];
        part->account = account;
        account->n_reservations++;
        account->awaited = 0;
        for (size_t w = 0; w < MONEY_WINDOWS; w++) {
            account->windows[w].reserved += asking->amount;
            part->numbers[w] = account->windows[w].number;
        }
        money_account_lower(money, account, asking->wall_us); /* it was raised for one that asked for more */
    }
}

static enum money_verdict
reserve(money_t *money, const struct money_id *id, struct asking *asking, struct money_refusal *refusal)
{
    if (*find_reservation(money, id) != NULL) {
        return MONEY_RESERVED;
    }
    if (money->figures.reservations >= money->options.reservations_max) {
        return MONEY_FULL;
    }
    enum money_verdict verdict = find_accounts(money, asking);
    if (verdict == MONEY_RESERVED) {
        verdict = check_limits(asking, refusal);
    }
    if (verdict == MONEY_RESERVED) {
        verdict = cover(money, asking);
        /* the store may have told what others have spent since */
        if (verdict != MONEY_WAIT && check_limits(asking, refusal) != MONEY_RESERVED) {
            verdict = MONEY_OVER;
        }
    }
    if (verdict == MONEY_RESERVED) {
        book(money, id, asking);
    }
    return verdict;
}

enum money_verdict
money_reserve(money_t *money, const struct money_id *id, const struct money_account *accounts,
              size_t n_accounts, uint64_t amount, uint64_t wall_us, struct money_refusal *refusal)
{
    DYN_ASSERT(n_accounts <= MONEY_ACCOUNTS_PER_REQUEST);
    struct asking asking = {.money = money,
                            .asked = accounts,
                            .n = n_accounts,
                            .amount = amount < AMOUNT_MAX ? amount : AMOUNT_MAX,
                            .wall_us = wall_us};
    (void)pthread_mutex_lock(&money->lock);
    enum money_verdict verdict = reserve(money, id, &asking, refusal);
    (void)pthread_mutex_unlock(&money->lock);
    return verdict;
}

static void
book_cost(struct reservation_part *part, uint64_t amount, uint64_t cost)
{
    for (size_t w = 0; w < MONEY_WINDOWS; w++) {
        struct account_window *window = &part->account->windows[w];
        if (window->number != part->numbers[w]) {
            continue; /* that one is over */
        }
        window->reserved -= amount;
        window->spent += cost < AMOUNT_MAX - window->spent ? cost : AMOUNT_MAX - window->spent;
    }
}

/* What costs more than was reserved is made safe before it is booked, as far as the store can. */
static void
settle(money_t *money, struct reservation *reservation, uint64_t cost, uint64_t wall_us)
{
    uint64_t more = cost > reservation->amount ? cost - reservation->amount : 0;
    money->figures.overspent += more;
    for (size_t i = 0; i < reservation->n_parts; i++) {
        struct account *account = reservation->parts[i].account;
        money_account_roll(account, wall_us);
        if (more != 0) {
            (void)money_account_cover(money, account, more, wall_us);
        }
        book_cost(&reservation->parts[i], reservation->amount, cost);
        account->n_reservations--;
        money_account_lower(money, account, wall_us);
    }
}

static bool
settle_one(money_t *money, const struct money_id *id, uint64_t cost, bool is_guess, uint64_t wall_us)
{
    (void)pthread_mutex_lock(&money->lock);
    struct reservation **link = find_reservation(money, id);
    bool is_open = *link != NULL;
    if (is_open) {
        bool is_bound = cost == MONEY_AS_RESERVED || (is_guess && cost > (*link)->amount);
        uint64_t known = is_bound ? (*link)->amount : cost;
        settle(money, *link, known < AMOUNT_MAX ? known : AMOUNT_MAX, wall_us);
        remove_reservation(money, link);
    }
    (void)pthread_mutex_unlock(&money->lock);
    return is_open;
}

bool
money_settle(money_t *money, const struct money_id *id, uint64_t cost, uint64_t wall_us)
{
    return settle_one(money, id, cost, false, wall_us);
}

bool
money_settle_guess(money_t *money, const struct money_id *id, uint64_t cost, uint64_t wall_us)
{
    return settle_one(money, id, cost, true, wall_us);
}

bool
money_look(money_t *money, struct dyn_slice name, uint64_t wall_us, struct money_state *state)
{
    (void)pthread_mutex_lock(&money->lock);
    struct account *account = money_account_find(money, name);
    if (account != NULL) {
        if (account->state == ACCOUNT_READY) {
            money_account_roll(account, wall_us);
        }
        for (size_t w = 0; w < MONEY_WINDOWS; w++) {
            const struct account_window *window = &account->windows[w];
            state->spent[w] = window->spent;
            state->reserved[w] = window->reserved;
            state->block[w] = window->block;
            state->others[w] = window->others;
            state->credit[w] = window->credit;
        }
    }
    (void)pthread_mutex_unlock(&money->lock);
    return account != NULL;
}

bool
money_reset(money_t *money, struct dyn_slice name, uint64_t wall_us)
{
    (void)pthread_mutex_lock(&money->lock);
    struct account *account = money_account_find(money, name);
    bool is_there = account != NULL && account->state == ACCOUNT_READY;
    if (is_there) {
        money_account_roll(account, wall_us);
        for (size_t w = 0; w < MONEY_WINDOWS; w++) {
            account->windows[w].spent = 0;
        }
        account->retry_at_us = 0;
        money_account_lower(money, account, wall_us);
    }
    (void)pthread_mutex_unlock(&money->lock);
    return is_there;
}

void
money_close(money_t *money, uint64_t wall_us)
{
    const struct limits_store *store = money->options.store;
    (void)pthread_mutex_lock(&money->lock);
    for (struct dyn_list *link = money->all.next; link != &money->all && store != NULL; link = link->next) {
        struct account *account = DYN_CONTAINER_OF(link, struct account, link);
        if (account->state != ACCOUNT_READY) {
            continue;
        }
        money_account_roll(account, wall_us);
        for (size_t w = 0; w < MONEY_WINDOWS; w++) {
            account->windows[w].block = account_used(&account->windows[w]);
        }
        struct limits_record record = money_account_record(money, account);
        money->figures.saves++;
        (void)store->save_block(store->self, &record, NULL);
    }
    (void)pthread_mutex_unlock(&money->lock);
}

void
money_free(money_t **money_p)
{
    money_t *money = *money_p;
    *money_p = NULL;
    if (money == NULL) {
        return;
    }
    const struct limits_store *store = money->options.store;
    if (store != NULL && store->forget != NULL) {
        store->forget(store->self, money);
    }
    while (!dyn_list_is_empty(&money->all)) {
        money_account_free(money, DYN_CONTAINER_OF(money->all.next, struct account, link));
    }
    for (size_t i = 0; i <= money->reservations_mask; i++) {
        while (money->reservations[i] != NULL) {
            remove_reservation(money, &money->reservations[i]);
        }
    }
    while (money->free_reservations != NULL) {
        struct reservation *next = money->free_reservations->next;
        free(money->free_reservations);
        money->free_reservations = next;
    }
    (void)pthread_mutex_destroy(&money->lock);
    free(money->accounts);
    free(money->reservations);
    free(money);
}

void
money_figures(money_t *money, struct money_figures *figures)
{
    (void)pthread_mutex_lock(&money->lock);
    *figures = money->figures;
    (void)pthread_mutex_unlock(&money->lock);
}
