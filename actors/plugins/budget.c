/* budget: how much money may be spent. A request reserves the most that it can cost before anybody is asked,
 * and settles what it did cost when it is over; what did not happen costs nothing. The counting, and what
 * survives a crash, is limits/money.h. */
#include "actors/plugins/budget_config.h"
#include "actors/plugins/budget_store.h"

#include <pthread.h>
#include <stdlib.h>

/* Goes on over a reload: what was spent stays spent. */
struct book {
    atomic_uint refs;
    budget_store_t *store; /* NULL: there is no ledger, a restart forgets */
    money_t *money;
    struct money_options options;
    pthread_mutex_t lock;
    struct dyn_list cells; /* those that may have somebody waiting */
    unsigned n_drained;    /* of these: nobody asks them any more */
};

struct budget {
    struct book *book;
    const struct dyn_clock *clock;
    char *store_id;
    struct budget_rates rates;
    uint64_t limits[MONEY_WINDOWS];
    uint64_t default_reserve;
    enum budget_per per;
    enum budget_unpriced unpriced;
};

struct cell {
    struct dyn_list link;
    bool is_drained;
    plugin_cell_t *cell;
    struct budget_line line;
    struct dyn_list waiting;
};

/* A request that waits for the store. */
struct waiting {
    struct dyn_list link;
    struct plugin_ticket ticket;
    struct vote_facts *facts;
};

static void
wake_cells(void *self)
{
    struct book *book = self;
    (void)pthread_mutex_lock(&book->lock);
    for (struct dyn_list *link = book->cells.next; link != &book->cells; link = link->next) {
        plugin_wake(DYN_CONTAINER_OF(link, struct cell, link)->cell);
    }
    (void)pthread_mutex_unlock(&book->lock);
}

static struct book *
book_new(const struct budget_config *config)
{
    struct book *book = dyn_zalloc(sizeof *book);
    atomic_store(&book->refs, 1);
    (void)pthread_mutex_init(&book->lock, NULL);
    dyn_list_init(&book->cells);
    book->options = (struct money_options){.block = money_from_usd(config->block_usd),
                                           .accounts_max = (size_t)config->max_keys,
                                           .ready = wake_cells,
                                           .self = book};
    return book;
}

/* With the lock. Whether there is a ledger is known when cells are made, not when the configuration is read.
 */
static void
book_open(struct book *book, const struct plugin_host *host)
{
    if (book->money == NULL) {
        book->store = host->ledger != 0 ? budget_store_new() : NULL;
        book->options.store = budget_store_ops(book->store);
        book->money = money_new(&book->options);
    }
}

static void *
budget_make(const struct plugin_making *making, struct dyn_err *err)
{
    const struct budget_config *config = making->config;
    const struct budget *former = making->former;
    (void)err;
    struct budget *self = dyn_zalloc(sizeof *self);
    self->clock = making->host->clock;
    self->store_id = dyn_strndup(config->store_id.data, config->store_id.len);
    self->rates = budget_rates_of(config);
    self->default_reserve = money_from_usd(config->default_reserve_usd);
    self->per = (enum budget_per)config->per;
    self->unpriced = (enum budget_unpriced)config->unpriced;
    budget_limits(config, self->limits);
    if (former != NULL) {
        self->book = former->book;
        (void)atomic_fetch_add(&self->book->refs, 1);
    } else {
        self->book = book_new(config);
    }
    return self;
}

static void
budget_free(void *shared)
{
    struct budget *self = shared;
    struct book *book = self->book;
    if (atomic_fetch_sub(&book->refs, 1) == 1) {
        money_free(&book->money);
        budget_store_free(&book->store);
        (void)pthread_mutex_destroy(&book->lock);
        free(book);
    }
    free(self->store_id);
    free(self);
}

static void *
budget_cell_new(void *shared, plugin_cell_t *cell)
{
    struct budget *self = shared;
    struct cell *own = dyn_zalloc(sizeof *own);
    own->cell = cell;
    dyn_list_init(&own->waiting);
    (void)pthread_mutex_lock(&self->book->lock);
    book_open(self->book, plugin_cell_host(cell));
    budget_line_init(&own->line, self->book->store, cell);
    dyn_list_append(&self->book->cells, &own->link);
    (void)pthread_mutex_unlock(&self->book->lock);
    return own;
}

/* What the money wants to know or to have saved, it wants now. */
static void
flush(const struct budget *self, struct cell *own)
{
    if (own->line.store != NULL) {
        budget_line_flush(&own->line, dyn_mono_us(self->clock), dyn_wall_us(self->clock));
    }
}

static void
waiting_free(struct waiting *waiting)
{
    dyn_list_remove(&waiting->link);
    vote_facts_unref(&waiting->facts);
    free(waiting);
}

static void
budget_cell_free(void *shared, void *self)
{
    struct budget *budget = shared;
    struct cell *own = self;
    (void)pthread_mutex_lock(&budget->book->lock);
    dyn_list_remove(&own->link);
    budget->book->n_drained -= own->is_drained;
    bool is_last =
        !own->is_drained && dyn_list_is_empty(&budget->book->cells) && atomic_load(&budget->book->refs) == 1;
    (void)pthread_mutex_unlock(&budget->book->lock);
    if (is_last) { /* nobody goes on with it: what is not used of the blocks is given up */
        money_close(budget->book->money, dyn_wall_us(budget->clock));
        flush(budget, own);
    }
    budget_line_fini(&own->line);
    while (!dyn_list_is_empty(&own->waiting)) {
        waiting_free(DYN_CONTAINER_OF(own->waiting.next, struct waiting, link));
    }
    free(own);
}

static unsigned
count(const struct dyn_list *list)
{
    unsigned n = 0;
    for (const struct dyn_list *link = list->next; link != list; link = link->next) {
        n++;
    }
    return n;
}

/* The last one gives up what is not used of the blocks, while there is still somebody who writes it. */
static void
budget_drain(void *shared, void *self, plugin_cell_t *cell)
{
    struct budget *budget = shared;
    struct cell *own = self;
    struct book *book = budget->book;
    (void)cell;
    (void)pthread_mutex_lock(&book->lock);
    book->n_drained += !own->is_drained;
    own->is_drained = true;
    bool is_last = book->n_drained == count(&book->cells);
    (void)pthread_mutex_unlock(&book->lock);
    if (is_last) {
        money_close(book->money, dyn_wall_us(budget->clock));
    }
    flush(budget, own);
}

/* ---- before ---- */

static struct money_id
id_of(const struct plugin_ticket *ticket)
{
    struct money_id id;
    _Static_assert(sizeof id.bytes == sizeof ticket->id.bytes, "a request id");
    memcpy(id.bytes, ticket->id.bytes, sizeof id.bytes);
    return id;
}

static struct dyn_slice
key_of(const struct vote_facts *facts)
{
    return dyn_slice_is(facts->key_id, "anonymous") ? dyn_slice(NULL, 0) : facts->key_id;
}

/* Absent: nobody's budget. */
static struct dyn_slice
name_for(enum budget_per per, const struct vote_facts *facts)
{
    if (per == BUDGET_PER_GATEWAY) {
        return DYN_SLICE("all");
    }
    if (per == BUDGET_PER_USER) {
        return facts->user;
    }
    return per == BUDGET_PER_GROUP ? facts->group : key_of(facts);
}

struct accounts {
    struct money_account items[2]; /* of the configuration; of the key */
    enum budget_per whose[2];
    size_t n;
};

static struct money_account *
add_account(struct accounts *accounts, const struct budget *self, plugin_cell_t *cell, enum budget_per per,
            struct dyn_slice name)
{
    static const char *const kinds[] = {"key", "group", "user", "gateway"};
    struct money_account *account = &accounts->items[accounts->n];
    account->name = dyn_slice_str(
        plugin_cell_text(cell, "%s/%s:%.*s", self->store_id, kinds[per], (int)name.len, name.data));
    for (size_t w = 0; w < MONEY_WINDOWS; w++) {
        account->limits[w] = MONEY_UNLIMITED;
    }
    accounts->whose[accounts->n++] = per;
    return account;
}

/* What stands in the key takes the place of what all keys have. */
static void
set_limits_of_key(struct money_account *account, const struct vote_facts *facts)
{
    const uint64_t own[MONEY_WINDOWS] = {
        [MONEY_DAY] = facts->key_day, [MONEY_WEEK] = facts->key_week, [MONEY_MONTH] = facts->key_month};
    for (size_t w = 0; w < MONEY_WINDOWS; w++) {
        account->limits[w] = own[w] != 0 ? own[w] : account->limits[w];
    }
}

static void
find_accounts(struct accounts *accounts, const struct budget *self, plugin_cell_t *cell,
              const struct vote_facts *facts)
{
    struct dyn_slice name = name_for(self->per, facts), key = key_of(facts);
    bool has_own = key.len != 0 && (facts->key_day != 0 || facts->key_week != 0 || facts->key_month != 0);
    struct money_account *of_key = NULL;
    accounts->n = 0;
    if (name.len != 0) {
        struct money_account *account = add_account(accounts, self, cell, self->per, name);
        memcpy(account->limits, self->limits, sizeof account->limits);
        of_key = self->per == BUDGET_PER_KEY ? account : NULL;
    }
    if (has_own) {
        of_key = of_key != NULL ? of_key : add_account(accounts, self, cell, BUDGET_PER_KEY, key);
        set_limits_of_key(of_key, facts);
    }
}

/* Of each choice that is asked for: none of them has a limit of its own. */
static uint64_t
default_reserve(const struct budget *self, const struct vote_facts *facts)
{
    uint64_t n = facts->n_choices > 1 ? facts->n_choices : 1, each = self->default_reserve;
    return each != 0 && n > UINT64_MAX / 2 / each ? UINT64_MAX / 2 : each * n;
}

/* VOTE_COST_UNKNOWN: no price says. */
static uint64_t
most_it_costs(const struct budget *self, const struct vote_facts *facts)
{
    if (!self->rates.is_set) {
        return facts->estimate;
    }
    struct env_usage usage = {.prompt_tokens = facts->prompt_tokens, .completion_tokens = facts->max_output};
    return budget_cost(&self->rates, &usage) + (facts->max_output == 0 ? default_reserve(self, facts) : 0);
}

static void
refuse(const struct accounts *accounts, plugin_cell_t *cell, const struct money_refusal *refusal,
       struct plugin_vote *vote)
{
    static const char *const whose[] = {"this key", "this group", "this user", "this gateway"};
    static const char *const when[MONEY_WINDOWS] = {" today", " this week", " this month", ""};
    vote->verdict = VOTE_DENY;
    vote->error = ERR_INSUFFICIENT_QUOTA;
    vote->reason = dyn_slice_str(plugin_cell_text(
        cell, "the budget of %s is used up: $%.4f of $%.*f are spent or reserved%s",
        whose[accounts->whose[refusal->account]], (double)refusal->spent / 1e12,
        refusal->limit < MONEY_PER_USD / 100 ? 4 : 2, (double)refusal->limit / 1e12, when[refusal->window]));
}

static void
say(const struct accounts *accounts, plugin_cell_t *cell, enum money_verdict verdict,
    const struct money_refusal *refusal, struct plugin_vote *vote)
{
    if (verdict == MONEY_RESERVED) {
        vote->charged = true;
    } else if (verdict == MONEY_OVER) {
        refuse(accounts, cell, refusal, vote);
    } else {
        vote->verdict = VOTE_FAILED;
        vote->reason = DYN_SLICE("what was spent cannot be told at the moment");
        vote->log = verdict == MONEY_FULL ? DYN_SLICE("budget: too many requests of too many keys are open")
                                          : DYN_SLICE("budget: the store failed and its block is used up");
    }
}

/* True: it is decided, and *vote says how. */
static bool
reserve(const struct budget *self, plugin_cell_t *cell, const struct plugin_ticket *ticket,
        const struct vote_facts *facts, struct plugin_vote *vote)
{
    struct accounts accounts;
    find_accounts(&accounts, self, cell, facts);
    if (accounts.n == 0) {
        return true;
    }
    uint64_t amount = most_it_costs(self, facts);
    if (amount == VOTE_COST_UNKNOWN) {
        if (self->unpriced == BUDGET_DENY) {
            vote->verdict = VOTE_DENY;
            vote->error = ERR_INSUFFICIENT_QUOTA;
            vote->reason = DYN_SLICE("what this model costs is not known, and its requests are not allowed");
            return true;
        }
        amount = self->unpriced == BUDGET_ALLOW ? 0 : default_reserve(self, facts);
    }
    struct money_id id = id_of(ticket);
    struct money_refusal refusal = {0};
    enum money_verdict verdict = money_reserve(self->book->money, &id, accounts.items, accounts.n, amount,
                                               dyn_wall_us(self->clock), &refusal);
    if (verdict != MONEY_WAIT) {
        say(&accounts, cell, verdict, &refusal, vote);
    }
    return verdict != MONEY_WAIT;
}

static enum plugin_when
before(const struct budget *self, struct cell *own, plugin_cell_t *cell, const struct plugin_ask *ask,
       struct plugin_vote *vote)
{
    struct money_id id = id_of(&ask->ticket);
    /* Asked again: the same request comes a second time, what the first one cost is told late or never. */
    (void)money_settle(self->book->money, &id, MONEY_AS_RESERVED, dyn_wall_us(self->clock));
    bool is_decided = reserve(self, cell, &ask->ticket, ask->facts, vote);
    flush(self, own);
    if (is_decided) {
        return PLUGIN_VOTED;
    }
    struct waiting *waiting = dyn_zalloc(sizeof *waiting);
    waiting->ticket = ask->ticket;
    waiting->facts = vote_facts_ref(ask->facts);
    dyn_list_append(&own->waiting, &waiting->link);
    return PLUGIN_LATER;
}

static void
budget_wake(void *shared, void *self, plugin_cell_t *cell)
{
    struct cell *own = self;
    struct dyn_list again;
    dyn_list_init(&again);
    dyn_list_splice(&again, &own->waiting);
    for (struct dyn_list *link; (link = dyn_list_pop(&again)) != NULL;) {
        struct waiting *waiting = DYN_CONTAINER_OF(link, struct waiting, link);
        struct plugin_vote vote = {.verdict = VOTE_PASS};
        if (reserve(shared, cell, &waiting->ticket, waiting->facts, &vote)) {
            struct plugin_ticket ticket = waiting->ticket;
            waiting_free(waiting);
            plugin_vote_send(cell, &ticket, &vote);
        } else {
            dyn_list_append(&own->waiting, &waiting->link);
        }
    }
    flush(shared, own);
}

static void
budget_receive(void *shared, void *self, plugin_cell_t *cell, struct env **env_p)
{
    const struct budget *budget = shared;
    struct cell *own = self;
    (void)cell;
    if (budget_line_receive(&own->line, *env_p, dyn_wall_us(budget->clock))) {
        env_free(env_p);
        flush(budget, own);
    }
}

static void
budget_forget(void *shared, void *self, plugin_cell_t *cell, const struct plugin_ticket *ticket)
{
    struct cell *own = self;
    struct budget *budget = shared;
    (void)cell;
    for (struct dyn_list *link = own->waiting.next; link != &own->waiting; link = link->next) {
        struct waiting *waiting = DYN_CONTAINER_OF(link, struct waiting, link);
        if (memcmp(&waiting->ticket.id, &ticket->id, sizeof ticket->id) == 0 &&
            waiting->ticket.epoch == ticket->epoch) {
            waiting_free(waiting);
            return;
        }
    }
    struct money_id id = id_of(ticket); /* the vote that reserved it came too late */
    (void)money_settle(budget->book->money, &id, 0, dyn_wall_us(budget->clock));
    flush(budget, own);
}

/* ---- how it ended ---- */

/* What nobody was asked for, what failed and an answer from the cache cost nothing. An answer without its
 * usage costs what was reserved. */
static uint64_t
what_it_cost(const struct budget *self, const struct vote_facts *facts)
{
    if (facts->answered_by.len != 0) {
        return 0;
    }
    if (!facts->usage.known) {
        bool is_answered = facts->upstream_calls != 0 && facts->error == ERR_NONE && !facts->refused;
        return is_answered ? MONEY_AS_RESERVED : 0;
    }
    if (self->rates.is_set) {
        return budget_cost(&self->rates, &facts->usage);
    }
    bool is_free = facts->cost == VOTE_COST_UNKNOWN && self->unpriced == BUDGET_ALLOW;
    return is_free ? 0 : facts->cost == VOTE_COST_UNKNOWN ? MONEY_AS_RESERVED : facts->cost;
}

static enum plugin_when
budget_vote(void *shared, void *own, plugin_cell_t *cell, const struct plugin_ask *ask,
            struct plugin_vote *vote)
{
    const struct budget *self = shared;
    if (!ask->is_told) { /* at later stages there is nothing to decide: what it cost is settled at the end */
        return ask->stage == VOTE_BEFORE_REQUEST ? before(self, own, cell, ask, vote) : PLUGIN_VOTED;
    }
    struct money_id id = id_of(&ask->ticket);
    bool is_guess = ask->facts->usage.known && ask->facts->usage.estimated;
    uint64_t cost = what_it_cost(self, ask->facts), wall_us = dyn_wall_us(self->clock);
    (void)(is_guess ? money_settle_guess : money_settle)(self->book->money, &id, cost, wall_us);
    flush(self, own);
    return PLUGIN_VOTED;
}

static void
budget_adapt(const void *config, struct plugin_traits *traits)
{
    if (budget_rates_of(config).is_set) {
        traits->needs &= ~(uint32_t)VOTE_NEEDS_PRICE;
    }
}

const struct plugin_ops plugin_budget = {
    .name = "budget",
    .type = PLUGIN_RATELIMIT,
    .summary = "Refuses requests of a key whose money is spent.",
    .traits = {.stages = VOTE_STAGE_BIT(VOTE_BEFORE_REQUEST) | VOTE_STAGE_BIT(VOTE_AFTER_REQUEST) |
                         VOTE_STAGE_BIT(VOTE_ON_ERROR),
               .needs = VOTE_NEEDS_COUNTS | VOTE_NEEDS_PRICE,
               .charges = true},
    .denies = VOTE_STAGE_BIT(VOTE_BEFORE_REQUEST),
    .config = &budget_config_section,
    .check = budget_config_check,
    .adapt = budget_adapt,
    .make = budget_make,
    .free = budget_free,
    .cell_new = budget_cell_new,
    .cell_free = budget_cell_free,
    .vote = budget_vote,
    .forget = budget_forget,
    .drain = budget_drain,
    .wake = budget_wake,
    .receive = budget_receive,
};
