/* Money: reserved, settled once, in windows of the calendar; and what a SIGKILL at any step leaves. */
#include "core/rand.h"
#include "tests/unit/limits/limits_bench.h"
#include "tests/unit/limits/memory_store.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

#define USD   MONEY_PER_USD
#define DAY   (UINT64_C(86400) * SECOND_US)
#define TODAY (UINT64_C(20000) * DAY) /* 2024-10-04, a Friday */

static struct money_id
id_of(uint64_t number)
{
    struct money_id id = {{0}};
    memcpy(id.bytes, &number, sizeof number);
    return id;
}

static struct money_account
account_with(const char *name, enum money_window window, uint64_t limit)
{
    struct money_account account = {.name = dyn_slice_str(name)};
    for (size_t w = 0; w < MONEY_WINDOWS; w++) {
        account.limits[w] = w == (size_t)window ? limit : MONEY_UNLIMITED;
    }
    return account;
}

static money_t *
money_in_memory(size_t accounts_max)
{
    struct money_options options = {.block = USD, .accounts_max = accounts_max};
    return money_new(&options);
}

static enum money_verdict
reserve(money_t *money, uint64_t id, const struct money_account *account, uint64_t amount, uint64_t wall_us)
{
    struct money_id key = id_of(id);
    struct money_refusal refusal;
    return money_reserve(money, &key, account, 1, amount, wall_us, &refusal);
}

static bool
settle(money_t *money, uint64_t id, uint64_t cost, uint64_t wall_us)
{
    struct money_id key = id_of(id);
    return money_settle(money, &key, cost, wall_us);
}

static uint64_t
spent(money_t *money, const char *account, enum money_window window, uint64_t wall_us)
{
    struct money_state state;
    assert_true(money_look(money, dyn_slice_str(account), wall_us, &state));
    return state.spent[window];
}

static void
windows_are_those_of_the_calendar(void **state)
{
    (void)state;
    struct dyn_rng rng;
    dyn_rng_seed(&rng, 3);
    uint32_t month_before = 0;
    for (uint64_t day = 0; day < 60000; day++) {
        uint64_t us = day * DAY + dyn_rng_below(&rng, DAY);
        time_t second = (time_t)(us / SECOND_US);
        struct tm tm;
        assert_non_null(gmtime_r(&second, &tm));
        uint32_t month = money_window_number(MONEY_MONTH, us);
        assert_int_equal(month, (tm.tm_year + 1900) * 12 + tm.tm_mon);
        assert_true(day == 0 || month == month_before + (tm.tm_mday == 1));
        assert_int_equal(money_window_number(MONEY_DAY, us), day);
        bool is_new_week =
            money_window_number(MONEY_WEEK, us) != money_window_number(MONEY_WEEK, us - us % DAY - 1);
        assert_true(day == 0 || is_new_week == (tm.tm_wday == 1));
        month_before = month;
    }
    assert_int_equal(money_window_end_us(MONEY_DAY, TODAY + 5), TODAY + DAY);
    assert_int_equal(money_window_end_us(MONEY_WEEK, TODAY + 5), TODAY + 3 * DAY);
    assert_int_equal(money_window_end_us(MONEY_MONTH, TODAY + 5), TODAY + 28 * DAY);
    assert_true(money_window_end_us(MONEY_TOTAL, TODAY) == UINT64_MAX);
}

static void
a_reservation_is_settled_once(void **state)
{
    (void)state;
    money_t *money = money_in_memory(0);
    struct money_account key = account_with("key:a", MONEY_DAY, 10 * USD);
    assert_int_equal(reserve(money, 1, &key, 6 * USD, TODAY), MONEY_RESERVED);
    assert_int_equal(reserve(money, 1, &key, 6 * USD, TODAY), MONEY_RESERVED); /* asked again, booked once */
    assert_int_equal(reserve(money, 2, &key, 5 * USD, TODAY), MONEY_OVER);
    assert_true(settle(money, 1, 2 * USD, TODAY));
    assert_false(settle(money, 1, 2 * USD, TODAY));
    assert_false(settle(money, 2, 2 * USD, TODAY));
    assert_int_equal(spent(money, "key:a", MONEY_DAY, TODAY), 2 * USD);
    assert_int_equal(reserve(money, 3, &key, 8 * USD, TODAY), MONEY_RESERVED);
    assert_int_equal(reserve(money, 4, &key, 1, TODAY), MONEY_OVER);
    assert_true(settle(money, 3, 0, TODAY)); /* it came to nothing */
    assert_int_equal(reserve(money, 4, &key, 8 * USD, TODAY), MONEY_RESERVED);
    assert_true(settle(money, 4, 9 * USD, TODAY)); /* billed beyond what it was asked: booked, and shown */
    assert_int_equal(spent(money, "key:a", MONEY_TOTAL, TODAY), 11 * USD);
    struct money_figures figures;
    money_figures(money, &figures);
    assert_int_equal(figures.overspent, USD);
    assert_int_equal(figures.reservations, 0);
    money_free(&money);
}

static void
windows_end_each_by_itself(void **state)
{
    (void)state;
    money_t *money = money_in_memory(0);
    struct money_account key = account_with("key:a", MONEY_DAY, 10 * USD);
    key.limits[MONEY_MONTH] = 15 * USD;
    struct money_refusal refusal;
    struct money_id id = id_of(9);
    assert_int_equal(reserve(money, 1, &key, 10 * USD, TODAY), MONEY_RESERVED);
    assert_true(settle(money, 1, 10 * USD, TODAY));
    assert_int_equal(money_reserve(money, &id, &key, 1, 1, TODAY + 7, &refusal), MONEY_OVER);
    assert_int_equal(refusal.window, MONEY_DAY);
    assert_int_equal(refusal.resets_at_us, TODAY + DAY);
    assert_int_equal(refusal.spent, 10 * USD);
    assert_int_equal(reserve(money, 2, &key, 5 * USD, TODAY + DAY - 1), MONEY_OVER);
    assert_int_equal(reserve(money, 2, &key, 5 * USD, TODAY + DAY), MONEY_RESERVED);
    assert_int_equal(money_reserve(money, &id, &key, 1, 1, TODAY + DAY, &refusal), MONEY_OVER);
    assert_int_equal(refusal.window, MONEY_MONTH);
    assert_int_equal(refusal.limit, 15 * USD);
    assert_true(settle(money, 2, 4 * USD, TODAY + 2 * DAY)); /* in the windows that it was reserved in */
    assert_int_equal(spent(money, "key:a", MONEY_DAY, TODAY + 2 * DAY), 0);
    assert_int_equal(spent(money, "key:a", MONEY_MONTH, TODAY + 2 * DAY), 14 * USD);
    assert_int_equal(spent(money, "key:a", MONEY_TOTAL, TODAY + 40 * DAY), 14 * USD);
    assert_int_equal(spent(money, "key:a", MONEY_MONTH, TODAY + 40 * DAY), 0);
    money_free(&money);
}

static void
all_accounts_or_none(void **state)
{
    (void)state;
    money_t *money = money_in_memory(0);
    struct money_account both[] = {account_with("key:a", MONEY_DAY, 10 * USD),
                                   account_with("group:g", MONEY_MONTH, 3 * USD)};
    struct money_refusal refusal;
    struct money_id one = id_of(1), two = id_of(2);
    assert_int_equal(money_reserve(money, &one, both, 2, 2 * USD, TODAY, &refusal), MONEY_RESERVED);
    assert_int_equal(money_reserve(money, &two, both, 2, 2 * USD, TODAY, &refusal), MONEY_OVER);
    assert_int_equal(refusal.account, 1);
    struct money_state key;
    assert_true(money_look(money, DYN_SLICE("key:a"), TODAY, &key));
    assert_int_equal(key.reserved[MONEY_DAY], 2 * USD);
    assert_true(money_settle(money, &one, USD, TODAY));
    assert_int_equal(spent(money, "key:a", MONEY_DAY, TODAY), USD);
    assert_int_equal(spent(money, "group:g", MONEY_MONTH, TODAY), USD);
    assert_true(money_reset(money, DYN_SLICE("group:g"), TODAY));
    assert_int_equal(spent(money, "group:g", MONEY_MONTH, TODAY), 0);
    money_free(&money);
}

static void
without_a_price_it_passes_until_the_limit(void **state)
{
    (void)state;
    money_t *money = money_in_memory(0);
    struct money_account key = account_with("key:a", MONEY_TOTAL, USD);
    assert_int_equal(reserve(money, 1, &key, 0, TODAY), MONEY_RESERVED);
    assert_int_equal(reserve(money, 2, &key, 0, TODAY), MONEY_RESERVED);
    assert_true(settle(money, 1, USD, TODAY));
    assert_int_equal(reserve(money, 3, &key, 0, TODAY), MONEY_OVER);
    assert_true(settle(money, 2, USD, TODAY));
    assert_int_equal(spent(money, "key:a", MONEY_TOTAL, TODAY), 2 * USD);
    money_free(&money);
}

static void
memory_is_bounded(void **state)
{
    (void)state;
    struct money_options options = {.block = USD, .accounts_max = 8, .reservations_max = 16};
    money_t *money = money_new(&options);
    char name[16];
    for (uint64_t i = 0; i < 100; i++) {
        (void)snprintf(name, sizeof name, "key:%02u", (unsigned)i);
        struct money_account key = account_with(name, MONEY_DAY, 100 * USD);
        assert_int_equal(reserve(money, i, &key, USD, TODAY), MONEY_RESERVED);
        assert_true(settle(money, i, i == 0 ? 50 * USD : USD + i, TODAY));
    }
    struct money_figures figures;
    money_figures(money, &figures);
    assert_int_equal(figures.accounts, 8);
    assert_int_equal(figures.evicted, 92);
    assert_int_equal(spent(money, "key:00", MONEY_DAY, TODAY), 50 * USD); /* who spent least goes */
    struct money_account key = account_with("key:00", MONEY_DAY, 1000 * USD);
    for (uint64_t i = 0; i < 16; i++) {
        assert_int_equal(reserve(money, 1000 + i, &key, 1, TODAY), MONEY_RESERVED);
    }
    assert_int_equal(reserve(money, 2000, &key, 1, TODAY), MONEY_FULL);
    assert_true(settle(money, 1003, 1, TODAY));
    assert_int_equal(reserve(money, 2000, &key, 1, TODAY), MONEY_RESERVED);
    money_free(&money);
}

static void
amounts_are_integers(void **state)
{
    (void)state;
    assert_true(money_from_usd(1) == USD);
    assert_true(money_from_usd(0.000000000001) == 1);
    assert_true(money_from_usd(-1) == 0);
    assert_true(money_from_usd(1e300) < UINT64_MAX / 3);
    assert_true(money_from_usd(0.1) == USD / 10);
}

static void
a_store_that_fails_lets_the_open_block_be_spent(void **state)
{
    (void)state;
    static struct memory_store store;
    static struct store_port port;
    store = (struct memory_store){.n_rows = 0};
    store_port_init(&port, &store, 0, false);
    struct money_options options = {.store = &port.ops, .block = 10 * USD};
    money_t *money = money_new(&options);
    struct money_account key = account_with("key:a", MONEY_MONTH, 100 * USD);
    assert_int_equal(reserve(money, 1, &key, USD, TODAY), MONEY_RESERVED); /* 5 ahead */
    store.is_failing = true;
    for (uint64_t i = 2; i <= 6; i++) {
        assert_int_equal(reserve(money, i, &key, USD, TODAY), MONEY_RESERVED);
    }
    assert_int_equal(reserve(money, 7, &key, USD, TODAY), MONEY_BROKEN);
    struct money_account other = account_with("key:b", MONEY_MONTH, 100 * USD);
    assert_int_equal(reserve(money, 8, &other, USD, TODAY),
                     MONEY_BROKEN); /* what it has spent is not known */
    store.is_failing = false;
    assert_int_equal(reserve(money, 7, &key, USD, TODAY + SECOND_US / 2),
                     MONEY_BROKEN); /* not asked each time */
    assert_int_equal(reserve(money, 7, &key, USD, TODAY + SECOND_US), MONEY_RESERVED);
    assert_int_equal(reserve(money, 8, &other, USD, TODAY + SECOND_US), MONEY_RESERVED);
    for (uint64_t i = 1; i <= 8; i++) {
        assert_true(settle(money, i, USD / 2, TODAY + SECOND_US));
    }
    money_close(money, TODAY + SECOND_US);
    money_free(&money);
    store_port_init(&port, &store, 0, false);
    money = money_new(&options); /* stopped in order: to the last digit */
    assert_int_equal(reserve(money, 9, &key, 0, TODAY), MONEY_RESERVED);
    assert_int_equal(spent(money, "key:a", MONEY_MONTH, TODAY), 7 * USD / 2);
    money_free(&money);
}

static void
count_ready(void *self)
{
    ++*(int *)self;
}

static void
a_slow_store_is_waited_for_without_blocking(void **state)
{
    (void)state;
    static struct memory_store store;
    static struct store_port port;
    int ready = 0;
    store = (struct memory_store){.n_rows = 0};
    store_port_init(&port, &store, 0, true);
    struct money_options options = {
        .store = &port.ops, .block = 10 * USD, .ready = count_ready, .self = &ready};
    money_t *money = money_new(&options);
    struct money_account key = account_with("key:a", MONEY_MONTH, 100 * USD);
    assert_int_equal(reserve(money, 1, &key, USD, TODAY), MONEY_WAIT); /* for what it has spent */
    assert_int_equal(reserve(money, 2, &key, USD, TODAY), MONEY_WAIT);
    assert_true(store_pump(&port, money, TODAY));
    assert_int_equal(ready, 1);
    assert_int_equal(reserve(money, 1, &key, USD, TODAY), MONEY_WAIT); /* for a block */
    assert_true(store_pump(&port, money, TODAY));
    assert_int_equal(reserve(money, 1, &key, USD, TODAY), MONEY_RESERVED);
    assert_int_equal(reserve(money, 2, &key, USD, TODAY), MONEY_RESERVED);
    assert_false(store_pump(&port, money, TODAY));
    money_free(&money);
}

/* ---- killed at any step ---- */

enum { OPS_PER_LIFE = 120, LIVES = 12, OPEN_MAX = 6 };

struct model {
    uint64_t base;    /* counted when this life began */
    uint64_t settled; /* since, told so */
    struct {
        uint64_t id, amount;
    } open[OPEN_MAX];
    size_t n_open;
    uint64_t in_doubt; /* of the step in which it died */
    uint64_t awaited;
    uint64_t given_up; /* reserved and not spent, while the store had not yet answered: counts until it has */
    uint64_t spent_ever, excess_ever;
};

static uint64_t
open_sum(const struct model *model)
{
    uint64_t sum = model->in_doubt + model->given_up + model->awaited;
    for (size_t i = 0; i < model->n_open; i++) {
        sum += model->open[i].amount;
    }
    return sum;
}

static void
one_step(money_t *money, struct model *model, struct memory_store *store, struct dyn_rng *rng,
         uint64_t *next_id, const struct money_account *key, bool may_exceed)
{
    if (model->n_open < OPEN_MAX && dyn_rng_below(rng, 2) == 0) {
        uint64_t amount = dyn_rng_below(rng, 3 * USD);
        model->in_doubt = amount;
        enum money_verdict verdict = reserve(money, *next_id, key, amount, TODAY);
        if (verdict == MONEY_RESERVED && !store->is_dead) {
            model->open[model->n_open].id = *next_id;
            model->open[model->n_open++].amount = amount;
        }
        if (verdict == MONEY_WAIT && amount > model->awaited) {
            model->awaited =
                amount; /* it does not come again: its part of the block stays until another does */
        }
        if (verdict == MONEY_RESERVED) {
            model->given_up += model->awaited;
            model->awaited = 0;
        }
        model->in_doubt = store->is_dead ? amount : 0;
        ++*next_id;
    } else if (model->n_open > 0) {
        size_t at = dyn_rng_below(rng, model->n_open);
        uint64_t id = model->open[at].id, amount = model->open[at].amount,
                 cost = dyn_rng_below(rng, amount + 1);
        if (may_exceed && dyn_rng_below(rng, 10) == 0) {
            cost = amount + dyn_rng_below(rng, USD);
        }
        assert_true(settle(money, id, cost, TODAY));
        assert_false(settle(money, id, cost, TODAY));
        if (store->is_dead) {
            model->in_doubt = cost > amount ? cost - amount : 0;
            return;
        }
        model->open[at] = model->open[--model->n_open];
        model->settled += cost;
        model->spent_ever += cost;
        model->given_up += cost < amount ? amount - cost : 0;
        model->excess_ever += cost > amount ? cost - amount : 0;
    }
}

struct killing {
    uint64_t most_too_much; /* beyond what was open */
    uint64_t lives;
};

static void
live_and_die(uint64_t seed, bool is_later, struct killing *killing)
{
    static struct memory_store store;
    static struct store_port port;
    struct dyn_rng rng;
    struct model model = {.base = 0};
    uint64_t next_id = 1;
    const uint64_t block = USD + seed * USD / 7, limit = 150 * USD;
    struct money_account key = account_with("key:a", MONEY_MONTH, limit);
    dyn_rng_seed(&rng, seed);
    store = (struct memory_store){.n_rows = 0};
    for (int life = 0; life < LIVES; life++) {
        store_port_init(&port, &store, 0, is_later);
        struct money_options options = {.store = &port.ops, .block = block};
        money_t *money = money_new(&options);
        while (reserve(money, next_id, &key, 0, TODAY) == MONEY_WAIT) { /* loads, and covers nothing */
            assert_true(store_pump(&port, money, TODAY));
        }
        (void)settle(money, next_id++, 0, TODAY);
        uint64_t counted = spent(money, "key:a", MONEY_MONTH, TODAY);
        assert_true(counted >= model.base + model.settled);
        assert_true(counted <= model.base + model.settled + open_sum(&model) + block);
        uint64_t known = model.base + model.settled + open_sum(&model);
        if (counted > known && counted - known > killing->most_too_much) {
            killing->most_too_much = counted - known;
        }
        model.base = counted;
        model.settled = model.in_doubt = model.given_up = model.awaited = 0;
        model.n_open = 0;
        store.dies_in = 1 + dyn_rng_below(&rng, 40);
        store.dies_after = dyn_rng_below(&rng, 2);
        uint64_t steps = 1 + dyn_rng_below(&rng, OPS_PER_LIFE);
        for (uint64_t step = 0; step < steps && !store.is_dead; step++) {
            one_step(money, &model, &store, &rng, &next_id, &key, !is_later);
            for (uint64_t pumps = dyn_rng_below(&rng, 3); is_later && pumps > 0 && !store.is_dead; pumps--) {
                (void)store_pump(&port, money, TODAY);
            }
            model.given_up = store.is_dead || port.head != port.tail ? model.given_up : 0;
        }
        store.is_dead = false; /* the machine goes on, the process is gone */
        store.dies_in = 0;
        money_free(&money);
        killing->lives++;
    }
    assert_true(model.spent_ever <= limit + model.excess_ever);
}

static void
killed_at_any_step_no_spend_is_lost(void **state)
{
    (void)state;
    struct killing killing = {0};
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        live_and_die(seed, false, &killing);
        live_and_die(seed, true, &killing);
    }
    printf(
        "killed %llu times: nothing settled was lost; at most %.2f USD too much, of blocks of up to %.2f\n",
        (unsigned long long)killing.lives, (double)killing.most_too_much / 1e12, 1 + SEEDS / 7.0);
}

/* ---- several processes, one owner ---- */

enum { PROCESSES = 3 };

static void
several_processes_spend_from_one_account(void **state)
{
    (void)state;
    static struct memory_store store;
    static struct store_port ports[PROCESSES];
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct dyn_rng rng;
        money_t *processes[PROCESSES];
        const uint64_t limit = 50 * USD;
        struct money_account key = account_with("key:a", MONEY_MONTH, limit);
        uint64_t next_id = 1, sum = 0, refused = 0;
        dyn_rng_seed(&rng, seed);
        store = (struct memory_store){.n_rows = 0};
        for (unsigned i = 0; i < PROCESSES; i++) {
            store_port_init(&ports[i], &store, i, false);
            struct money_options options = {.store = &ports[i].ops, .block = 2 * USD};
            processes[i] = money_new(&options);
        }
        for (int step = 0; step < 600; step++) {
            unsigned who = (unsigned)dyn_rng_below(&rng, PROCESSES);
            uint64_t amount = dyn_rng_below(&rng, USD), cost = dyn_rng_below(&rng, amount + 1);
            uint64_t wall_us = TODAY + (uint64_t)step * 2 * SECOND_US;
            if (reserve(processes[who], next_id, &key, amount, wall_us) == MONEY_RESERVED) {
                assert_true(settle(processes[who], next_id, cost, wall_us));
                sum += cost;
            } else {
                refused++;
            }
            next_id++;
            if (dyn_rng_below(&rng, 200) == 0) { /* killed: another takes its place with its row */
                money_free(&processes[who]);
                struct money_options options = {.store = &ports[who].ops, .block = 2 * USD};
                processes[who] = money_new(&options);
            }
        }
        assert_true(sum <= limit);
        assert_true(refused > 0);
        assert_true(sum > limit / 2);
        for (unsigned i = 0; i < PROCESSES; i++) {
            money_free(&processes[i]);
        }
    }
}

struct crowd {
    money_t *money;
    atomic_uint_fast64_t spent, next_id;
    uint64_t seed;
};

static void *
be_a_cell(void *self)
{
    struct crowd *crowd = self;
    struct money_account key = account_with("key:a", MONEY_DAY, 100 * USD);
    struct dyn_rng rng;
    dyn_rng_seed(&rng, crowd->seed);
    for (int i = 0; i < 1000; i++) {
        uint64_t id = atomic_fetch_add(&crowd->next_id, 1), amount = 1 + dyn_rng_below(&rng, USD);
        if (reserve(crowd->money, id, &key, amount, TODAY) == MONEY_RESERVED) {
            uint64_t cost = dyn_rng_below(&rng, amount);
            assert_true(settle(crowd->money, id, cost, TODAY));
            (void)atomic_fetch_add(&crowd->spent, cost);
        }
    }
    return NULL;
}

static void
cells_share_one_account(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct crowd crowd = {.money = money_in_memory(0), .seed = seed};
        pthread_t threads[4];
        size_t n_threads = 2 + seed % 3;
        for (size_t i = 0; i < n_threads; i++) {
            assert_int_equal(pthread_create(&threads[i], NULL, be_a_cell, &crowd), 0);
        }
        for (size_t i = 0; i < n_threads; i++) {
            assert_int_equal(pthread_join(threads[i], NULL), 0);
        }
        uint64_t sum = atomic_load(&crowd.spent);
        assert_true(sum <= 100 * USD);
        assert_true(spent(crowd.money, "key:a", MONEY_DAY, TODAY) == sum);
        money_free(&crowd.money);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows_are_those_of_the_calendar),
        cmocka_unit_test(a_reservation_is_settled_once),
        cmocka_unit_test(windows_end_each_by_itself),
        cmocka_unit_test(all_accounts_or_none),
        cmocka_unit_test(without_a_price_it_passes_until_the_limit),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(amounts_are_integers),
        cmocka_unit_test(a_store_that_fails_lets_the_open_block_be_spent),
        cmocka_unit_test(a_slow_store_is_waited_for_without_blocking),
        cmocka_unit_test(killed_at_any_step_no_spend_is_lost),
        cmocka_unit_test(several_processes_spend_from_one_account),
        cmocka_unit_test(cells_share_one_account),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
