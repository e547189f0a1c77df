/* budget: reserved before, settled at the end; the catalogue's prices or the configuration's; periods; over
 * two cells. */
#include "tests/unit/plugins/limit_cells.h"

#include "actors/plugins/budget_config.h"
#include "proto/ledger.h"
#include "tests/unit/limits/memory_store.h"

#include <pthread.h>
#include <setjmp.h>

#include <cmocka.h>

#define USD MONEY_PER_USD
#define DAY (UINT64_C(86400) * 1000000)

static struct vote_facts
request_of(const char *key)
{
    return (struct vote_facts){.key_id = dyn_slice_str(key),
                               .model = DYN_SLICE("m"),
                               .prompt_tokens = 1000,
                               .max_output = 1000,
                               .estimate = USD / 10,
                               .cost = VOTE_COST_UNKNOWN};
}

static struct vote_facts
ended(uint64_t cost)
{
    struct vote_facts facts = request_of("k1");
    facts.upstream_calls = 1;
    facts.usage = (struct env_usage){.known = true, .prompt_tokens = 1000, .completion_tokens = 500};
    facts.cost = cost;
    return facts;
}

static enum vote_verdict
verdict_of(struct bench *bench, uint64_t id, struct vote_facts *facts)
{
    return ask_before(bench, id % BENCH_CELLS, id, facts).verdict;
}

static void
end_with(struct bench *bench, uint64_t id, struct vote_facts facts)
{
    tell_end(bench, id % BENCH_CELLS, id, &facts);
}

static void
it_reserves_the_most_and_settles_what_it_was(void **state)
{
    (void)state;
    struct bench bench;
    bench_start(&bench, &plugin_budget, "{spend_limit_usd: 1}");
    struct vote_facts facts = request_of("k1"), other = request_of("k2");
    for (uint64_t id = 1; id <= 10; id++) {
        assert_int_equal(verdict_of(&bench, id, &facts), VOTE_PASS);
    }
    struct plugin_vote vote = ask_before(&bench, 0, 11, &facts);
    assert_int_equal(vote.verdict, VOTE_DENY);
    assert_int_equal(vote.error, ERR_INSUFFICIENT_QUOTA);
    assert_memory_equal(vote.reason.data,
                        "the budget of this key is used up: $1.0000 of $1.00 are spent or reserved",
                        vote.reason.len);
    assert_int_equal(verdict_of(&bench, 12, &other), VOTE_PASS);
    for (uint64_t id = 1; id <= 10; id++) {
        end_with(&bench, id, ended(USD / 100));
        end_with(&bench, id, ended(USD / 100)); /* once */
    }
    for (uint64_t id = 21; id <= 29; id++) { /* 0.10 spent */
        assert_int_equal(verdict_of(&bench, id, &facts), VOTE_PASS);
    }
    assert_int_equal(verdict_of(&bench, 30, &facts), VOTE_DENY);
    bench_stop(&bench);
}

static void
what_did_not_happen_costs_nothing(void **state)
{
    (void)state;
    struct bench bench;
    bench_start(&bench, &plugin_budget, "{spend_limit_usd: 0.1}");
    struct vote_facts facts = request_of("k1");
    struct vote_facts refused = request_of("k1"), failed = request_of("k1"), cached = ended(USD);
    refused.refused = true;
    failed.upstream_calls = 2;
    failed.error = ERR_UPSTREAM_TIMEOUT;
    cached.answered_by = DYN_SLICE("response-cache");
    const struct vote_facts ends[] = {refused, failed, cached};
    for (uint64_t id = 1; id <= 3; id++) {
        assert_int_equal(verdict_of(&bench, id, &facts), VOTE_PASS);
        end_with(&bench, id, ends[id - 1]);
    }
    struct vote_facts silent = request_of("k1"); /* an answer that says nothing of its usage */
    silent.upstream_calls = 1;
    assert_int_equal(verdict_of(&bench, 4, &facts), VOTE_PASS);
    end_with(&bench, 4, silent);
    assert_int_equal(verdict_of(&bench, 5, &facts), VOTE_DENY);
    bench_stop(&bench);
}

static void
rates_of_the_configuration_come_first(void **state)
{
    (void)state;
    struct bench bench;
    bench_start(&bench, &plugin_budget,
                "{spend_limit_usd: 0.02, input_per_m_tokens: 3, output_per_m_tokens: 15, "
                "cache_read_per_m_tokens: 0.3, "
                "cache_write_per_m_tokens: 3.75}");
    struct vote_facts facts = request_of("k1"); /* 0.003 + 0.015 */
    facts.estimate = VOTE_COST_UNKNOWN;
    assert_int_equal(verdict_of(&bench, 1, &facts), VOTE_PASS);
    assert_int_equal(verdict_of(&bench, 2, &facts), VOTE_DENY);
    struct vote_facts end = ended(VOTE_COST_UNKNOWN);
    end.usage = (struct env_usage){.known = true,
                                   .prompt_tokens = 1000,
                                   .cached_tokens = 600,
                                   .cache_write_tokens = 100,
                                   .completion_tokens = 20};
    struct budget_rates rates = {.is_set = true,
                                 .has_cache_read = true,
                                 .input = 3000000,
                                 .output = 15000000,
                                 .cache_read = 300000,
                                 .cache_write = 3750000};
    assert_true(budget_cost(&rates, &end.usage) ==
                400u * 3000000u + 600u * 300000u + 100u * 3750000u + 20u * 15000000u);
    end_with(&bench, 1, end); /* 0.002055 are spent */
    facts.max_output = 900;
    assert_int_equal(verdict_of(&bench, 3, &facts), VOTE_PASS); /* 0.0165 more */
    assert_int_equal(verdict_of(&bench, 4, &facts), VOTE_DENY);
    rates.has_cache_read = false; /* then what was cached costs what the rest does */
    end.usage.cache_write_tokens = 0;
    assert_true(budget_cost(&rates, &end.usage) == 1000u * 3000000u + 20u * 15000000u);
    end.usage.completion_tokens = UINT64_MAX;
    assert_true(budget_cost(&rates, &end.usage) == UINT64_MAX - 1);
    bench_stop(&bench);
}

static void
without_a_price_it_goes_as_configured(void **state)
{
    (void)state;
    static const struct {
        const char *yaml;
        enum vote_verdict first, second;
    } rows[] = {
        {"{spend_limit_usd: 0.01, unpriced: allow}", VOTE_PASS, VOTE_PASS},
        {"{spend_limit_usd: 0.01, unpriced: deny}", VOTE_DENY, VOTE_DENY},
        {"{spend_limit_usd: 0.01, unpriced: default, default_reserve_usd: 0.01}", VOTE_PASS, VOTE_DENY}};
    for (size_t i = 0; i < DYN_ARRAY_LEN(rows); i++) {
        struct bench bench;
        bench_start(&bench, &plugin_budget, rows[i].yaml);
        struct vote_facts facts = request_of("k1");
        facts.estimate = VOTE_COST_UNKNOWN;
        assert_int_equal(verdict_of(&bench, 1, &facts), rows[i].first);
        end_with(&bench, 1, ended(VOTE_COST_UNKNOWN));
        assert_int_equal(verdict_of(&bench, 2, &facts), rows[i].second);
        bench_stop(&bench);
    }
}

static void
periods_begin_with_the_calendar(void **state)
{
    (void)state;
    struct bench bench;
    bench_start(&bench, &plugin_budget, "{spend_limit_usd: 0.1, period: day, month_usd: 0.15}");
    struct vote_facts facts = request_of("k1");
    assert_int_equal(verdict_of(&bench, 1, &facts), VOTE_PASS);
    end_with(&bench, 1, ended(USD / 10));
    assert_int_equal(verdict_of(&bench, 2, &facts), VOTE_DENY);
    atomic_fetch_add(&bench.now_us, DAY);
    struct plugin_vote vote = ask_before(&bench, 0, 3, &facts);
    assert_int_equal(vote.verdict, VOTE_DENY);
    assert_non_null(memmem(vote.reason.data, vote.reason.len, " this month", 11));
    atomic_fetch_add(&bench.now_us, 31 * DAY);
    assert_int_equal(verdict_of(&bench, 4, &facts), VOTE_PASS);
    bench_stop(&bench);
}

static void
who_has_no_key_has_no_budget(void **state)
{
    (void)state;
    struct bench bench;
    bench_start(&bench, &plugin_budget, "{spend_limit_usd: 0.1}");
    struct vote_facts nobody = request_of("anonymous");
    for (uint64_t id = 1; id <= 5; id++) {
        struct plugin_vote vote = ask_before(&bench, 0, id, &nobody);
        assert_int_equal(vote.verdict, VOTE_PASS);
        assert_false(vote.charged);
    }
    bench_stop(&bench);
    bench_start(&bench, &plugin_budget, "{spend_limit_usd: 0.1, per: gateway}");
    assert_int_equal(verdict_of(&bench, 1, &nobody), VOTE_PASS);
    assert_int_equal(verdict_of(&bench, 2, &nobody), VOTE_DENY);
    bench_stop(&bench);
}

static void
keys_and_groups_have_budgets(void **state)
{
    (void)state;
    struct bench bench;
    bench_start(&bench, &plugin_budget, "{month_usd: 0.3, per: group}");
    struct vote_facts one = request_of("k1"), two = request_of("k2"), alone = request_of("k3");
    one.group = two.group = DYN_SLICE("team");
    one.key_day = USD / 10;
    assert_int_equal(verdict_of(&bench, 1, &one), VOTE_PASS);
    struct plugin_vote vote = ask_before(&bench, 0, 2, &one);
    assert_int_equal(vote.verdict, VOTE_DENY);
    assert_non_null(memmem(vote.reason.data, vote.reason.len, "this key", 8));
    assert_int_equal(verdict_of(&bench, 3, &two), VOTE_PASS);
    assert_int_equal(verdict_of(&bench, 4, &two), VOTE_PASS);
    vote = ask_before(&bench, 0, 5, &two);
    assert_int_equal(vote.verdict, VOTE_DENY);
    assert_non_null(memmem(vote.reason.data, vote.reason.len, "this group", 10));
    for (uint64_t id = 10; id < 20; id++) {
        assert_int_equal(verdict_of(&bench, id, &alone), VOTE_PASS);
    }
    bench_stop(&bench);
    bench_start(&bench, &plugin_budget, "{}"); /* what stands in a key holds without any other */
    assert_int_equal(verdict_of(&bench, 1, &one), VOTE_PASS);
    assert_int_equal(verdict_of(&bench, 2, &one), VOTE_DENY);
    assert_int_equal(verdict_of(&bench, 3, &two), VOTE_PASS);
    bench_stop(&bench);
}

static void
wrong_configurations_are_problems(void **state)
{
    (void)state;
    static const char *const wrong[] = {"spend_limit_usd: -1",
                                        "period: year",
                                        "input_per_m_tokens: -0.1",
                                        "max_keys: -1",
                                        "{spend_limit_usd: 1, total_usd: 2}",
                                        "unpriced: maybe"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(wrong); i++) {
        struct bench bench;
        assert_false(bench_configure(&bench, &plugin_budget, wrong[i]));
        config_free(&bench.config);
    }
}

static void
a_reload_forgets_nothing(void **state)
{
    (void)state;
    struct bench bench, after;
    bench_start(&bench, &plugin_budget, "{spend_limit_usd: 0.2}");
    struct vote_facts facts = request_of("k1");
    assert_int_equal(verdict_of(&bench, 1, &facts), VOTE_PASS);
    assert_true(bench_configure(&after, &plugin_budget, "{spend_limit_usd: 0.1}"));
    after.host = bench.host;
    void *former = bench.shared;
    for (size_t i = 0; i < BENCH_CELLS; i++) {
        plugin_budget.cell_free(bench.shared, bench.own[i]);
    }
    bench.shared = bench_make(&after, former);
    plugin_budget.free(former);
    for (size_t i = 0; i < BENCH_CELLS; i++) {
        bench.own[i] = plugin_budget.cell_new(bench.shared, &bench.cells[i]);
    }
    assert_int_equal(verdict_of(&bench, 2, &facts), VOTE_DENY);
    end_with(&bench, 1, ended(USD / 100)); /* reserved under the one before */
    assert_int_equal(verdict_of(&bench, 3, &facts), VOTE_DENY);
    facts.estimate = USD / 20;
    assert_int_equal(verdict_of(&bench, 4, &facts), VOTE_PASS);
    bench_stop(&bench);
    config_free(&after.config);
}

/* ---- with a ledger ---- */

/* What a ledger would do with a question of the budget's: on rows in memory. */
static struct env *
answer_to(struct memory_store *store, const struct env *request)
{
    struct ledger_message question, answer = {.n_rows = 0};
    struct ledger_row row;
    struct dyn_buf rows = DYN_BUF_INIT;
    struct env *end = env_about(ENV_END, request);
    assert_int_equal(request->surface, ENV_SURFACE_LEDGER);
    assert_int_equal(ledger_message_decode(dyn_block_slice(request->body), &question, NULL), 0);
    bool is_load = dyn_slice_is(question.op, "spend_load");
    assert_true(is_load || dyn_slice_is(question.op, "spend_save"));
    struct store_port port = {.store = store};
    struct limits_record record = {.asker = NULL};
    for (struct mp_cursor at = mp_cursor(question.rows); ledger_row_next(&at, &row);) {
        record.account = row.of.spend.account;
        record.windows[row.of.spend.window].number = (uint32_t)row.of.spend.number;
        record.windows[row.of.spend.window].block = row.of.spend.block;
        record.windows[row.of.spend.window].limit =
            row.of.spend.limit == LEDGER_UINT_MAX ? MONEY_UNLIMITED : row.of.spend.limit;
        assert_int_equal(row.of.spend.holder.len, 32);
        port.process = (unsigned)row.of.spend.holder.data[0] << 8 | (unsigned)row.of.spend.holder.data[31];
    }
    end->outcome =
        (is_load ? store_do_load : store_do_save)(&port, &record) == 0 ? ENV_OUTCOME_OK : ENV_OUTCOME_ERROR;
    for (size_t w = 0; w < MONEY_WINDOWS; w++) {
        row = (struct ledger_row){.table = LEDGER_SPEND};
        row.of.spend = (struct ledger_spend){.account = record.account,
                                             .window = w,
                                             .number = record.windows[w].number,
                                             .block = record.windows[w].block,
                                             .others = record.windows[w].others};
        ledger_row_encode(&row, &rows);
    }
    answer.rows = dyn_buf_slice(&rows);
    answer.n_rows = MONEY_WINDOWS;
    end->body = ledger_message_encode(&answer);
    dyn_buf_fini(&rows);
    return end;
}

/* Answers all that was asked, and wakes who waits, until it is quiet. */
static void
let_the_ledger_work(struct bench *bench, struct memory_store *store)
{
    for (int quiet = 0; quiet < 2; quiet++) {
        for (size_t i = 0; i < BENCH_CELLS; i++) {
            struct plugin_cell *cell = &bench->cells[i];
            while (cell->n_taken < cell->n_sent) {
                struct env *request = cell->sent[cell->n_taken++];
                struct env *end = answer_to(store, request);
                env_free(&request);
                plugin_budget.receive(bench->shared, bench->own[i], cell, &end);
                env_free(&end);
                quiet = 0;
            }
            if (atomic_exchange(&cell->is_woken, false)) {
                plugin_budget.wake(bench->shared, bench->own[i], cell);
                quiet = 0;
            }
        }
    }
}

static enum vote_verdict
verdict_in_the_end(struct bench *bench, struct memory_store *store, uint64_t id, struct vote_facts *facts)
{
    struct plugin_cell *cell = &bench->cells[id % BENCH_CELLS];
    enum vote_verdict verdict = verdict_of(bench, id, facts);
    if (verdict == VOTE_NONE) {
        let_the_ledger_work(bench, store);
        for (size_t i = 0; i < cell->n_late; i++) {
            verdict = memcmp(&cell->late[i].ticket.id, &id, sizeof id) == 0 ? cell->late[i].verdict : verdict;
        }
    }
    return verdict;
}

static void
start_with_ledger(struct bench *bench)
{
    memset(bench, 0, sizeof *bench);
    bench->host.ledger = 7;
    bench_start_lent(bench, &plugin_budget, "{spend_limit_usd: 0.3, block_usd: 0.05}");
}

/* Requests wait for the ledger without holding up their cell; stopped in order nothing is lost or added. */
static void
a_restart_forgets_nothing(void **state)
{
    (void)state;
    static struct memory_store store;
    static struct bench bench;
    struct vote_facts facts = request_of("k1");
    atomic_store(&facts.refs, 1000); /* on the stack: never the last */
    store = (struct memory_store){.n_rows = 0};
    for (int life = 0; life < 3; life++) {
        start_with_ledger(&bench);
        assert_int_equal(verdict_of(&bench, 4, &facts), VOTE_NONE);
        struct plugin_ask ask = ask_of(&bench, 4, &facts);
        plugin_budget.forget(bench.shared, bench.own[0], &bench.cells[0], &ask.ticket);
        assert_int_equal(verdict_in_the_end(&bench, &store, 3, &facts), VOTE_PASS);
        end_with(&bench, 3, ended(USD / 10));
        let_the_ledger_work(&bench, &store);
        if (life == 2) {
            assert_int_equal(verdict_in_the_end(&bench, &store, 6, &facts), VOTE_DENY);
        }
        bench_stop_cells(&bench); /* the last one says what was spent, to the last digit */
        for (size_t i = 0; i < BENCH_CELLS; i++) {
            while (bench.cells[i].n_taken < bench.cells[i].n_sent) {
                struct env *request = bench.cells[i].sent[bench.cells[i].n_taken++];
                struct env *end = answer_to(&store, request);
                env_free(&request);
                env_free(&end);
            }
        }
        bench_stop_rest(&bench);
    }
}

static void
a_ledger_that_is_silent_or_fails_leaves_the_block(void **state)
{
    (void)state;
    static struct memory_store store;
    static struct bench bench;
    struct vote_facts facts = request_of("k1");
    atomic_store(&facts.refs, 1000);
    facts.estimate = USD / 100;
    store = (struct memory_store){.n_rows = 0};
    start_with_ledger(&bench);
    assert_int_equal(verdict_in_the_end(&bench, &store, 1, &facts), VOTE_PASS); /* 0.025 ahead */
    assert_int_equal(verdict_of(&bench, 2, &facts), VOTE_PASS);
    assert_int_equal(verdict_of(&bench, 3, &facts), VOTE_PASS);
    assert_int_equal(verdict_of(&bench, 4, &facts), VOTE_NONE); /* asked, and nobody answers */
    atomic_fetch_add(&bench.now_us, 2000000);
    end_with(&bench, 98, facts); /* whatever happens next notices */
    plugin_budget.wake(bench.shared, bench.own[0], &bench.cells[0]);
    assert_int_equal(bench.cells[0].late[0].verdict, VOTE_FAILED);
    assert_int_equal(verdict_of(&bench, 6, &facts), VOTE_FAILED);
    atomic_fetch_add(&bench.now_us, 1000000);
    store.is_failing = true;
    assert_int_equal(verdict_in_the_end(&bench, &store, 8, &facts), VOTE_FAILED);
    store.is_failing = false;
    atomic_fetch_add(&bench.now_us, 1000000);
    assert_int_equal(verdict_in_the_end(&bench, &store, 10, &facts), VOTE_PASS);
    bench_stop(&bench);
}

struct crowd {
    struct bench *bench;
    size_t cell;
    uint64_t spent;
};

static void *
be_a_cell(void *self)
{
    struct crowd *crowd = self;
    struct vote_facts facts = request_of("k1");
    for (uint64_t i = 1; i <= 2000; i++) {
        uint64_t id = i * BENCH_CELLS + crowd->cell;
        facts.estimate = USD / 1000 * (1 + i % 7);
        if (ask_before(crowd->bench, crowd->cell, id, &facts).verdict == VOTE_PASS) {
            uint64_t cost = facts.estimate / (1 + i % 3);
            struct vote_facts end = ended(cost);
            tell_end(crowd->bench, crowd->cell, id, &end);
            crowd->spent += cost;
        }
    }
    return NULL;
}

static void
two_cells_never_overspend(void **state)
{
    (void)state;
    for (int seed = 1; seed <= 20; seed++) {
        struct bench bench;
        char yaml[80];
        (void)snprintf(yaml, sizeof yaml, "{spend_limit_usd: %d}", 1 + seed % 4);
        bench_start(&bench, &plugin_budget, yaml);
        struct crowd crowds[BENCH_CELLS];
        pthread_t threads[BENCH_CELLS];
        for (size_t i = 0; i < BENCH_CELLS; i++) {
            crowds[i] = (struct crowd){&bench, i, 0};
            assert_int_equal(pthread_create(&threads[i], NULL, be_a_cell, &crowds[i]), 0);
        }
        for (size_t i = 0; i < BENCH_CELLS; i++) {
            assert_int_equal(pthread_join(threads[i], NULL), 0);
        }
        uint64_t spent = crowds[0].spent + crowds[1].spent, limit = (uint64_t)(1 + seed % 4) * USD;
        assert_true(spent <= limit);
        assert_true(spent > limit - USD / 50); /* and all of it but what the largest would need */
        bench_stop(&bench);
    }
}

static void
a_vote_that_came_too_late_reserves_nothing(void **state)
{
    (void)state;
    struct bench bench;
    bench_start(&bench, &plugin_budget, "{spend_limit_usd: 0.1}");
    struct vote_facts facts = request_of("k1");
    assert_int_equal(ask_before(&bench, 0, 1, &facts).verdict, VOTE_PASS);
    assert_int_equal(ask_before(&bench, 0, 2, &facts).verdict, VOTE_DENY);
    forget(&bench, 0, 1, &facts);
    forget(&bench, 0, 1, &facts);
    assert_int_equal(ask_before(&bench, 0, 3, &facts).verdict, VOTE_PASS);
    bench_stop(&bench);
}

/* What the first one costs is told late or never. */
static void
a_request_that_is_asked_again_pays_again(void **state)
{
    (void)state;
    struct bench bench;
    bench_start(&bench, &plugin_budget, "{spend_limit_usd: 0.3}");
    struct vote_facts facts = request_of("k1");
    assert_int_equal(ask_before(&bench, 0, 1, &facts).verdict, VOTE_PASS);
    struct plugin_vote again = ask_before(&bench, 0, 1, &facts);
    assert_true(again.verdict == VOTE_PASS && again.charged);
    assert_int_equal(ask_before(&bench, 0, 2, &facts).verdict, VOTE_PASS);
    assert_int_equal(ask_before(&bench, 0, 3, &facts).verdict, VOTE_DENY);
    bench_stop(&bench);
}

/* Nobody billed it: it is never more than was set aside. */
static void
what_was_guessed_is_not_beyond_what_was_reserved(void **state)
{
    (void)state;
    struct bench bench;
    bench_start(&bench, &plugin_budget, "{spend_limit_usd: 0.2}");
    struct vote_facts facts = request_of("k1"), left = ended(USD);
    left.usage.estimated = true;
    assert_int_equal(ask_before(&bench, 0, 1, &facts).verdict, VOTE_PASS);
    tell_end(&bench, 0, 1, &left);
    assert_int_equal(ask_before(&bench, 0, 2, &facts).verdict, VOTE_PASS);
    assert_int_equal(ask_before(&bench, 0, 3, &facts).verdict, VOTE_DENY);
    bench_stop(&bench);
}

static void
what_has_no_bound_is_set_aside_for_each_choice(void **state)
{
    (void)state;
    struct bench bench;
    bench_start(&bench, &plugin_budget,
                "{spend_limit_usd: 1, unpriced: default, default_reserve_usd: 0.1, output_per_m_tokens: 1}");
    struct vote_facts facts = request_of("k1");
    facts.max_output = 0;
    facts.n_choices = 4;
    for (uint64_t id = 1; id <= 2; id++) {
        assert_int_equal(ask_before(&bench, 0, id, &facts).verdict, VOTE_PASS);
    }
    assert_int_equal(ask_before(&bench, 0, 3, &facts).verdict, VOTE_DENY);
    bench_stop(&bench);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_reserves_the_most_and_settles_what_it_was),
        cmocka_unit_test(what_did_not_happen_costs_nothing),
        cmocka_unit_test(rates_of_the_configuration_come_first),
        cmocka_unit_test(without_a_price_it_goes_as_configured),
        cmocka_unit_test(periods_begin_with_the_calendar),
        cmocka_unit_test(who_has_no_key_has_no_budget),
        cmocka_unit_test(keys_and_groups_have_budgets),
        cmocka_unit_test(wrong_configurations_are_problems),
        cmocka_unit_test(a_reload_forgets_nothing),
        cmocka_unit_test(a_restart_forgets_nothing),
        cmocka_unit_test(a_ledger_that_is_silent_or_fails_leaves_the_block),
        cmocka_unit_test(two_cells_never_overspend),
        cmocka_unit_test(a_vote_that_came_too_late_reserves_nothing),
        cmocka_unit_test(a_request_that_is_asked_again_pays_again),
        cmocka_unit_test(what_was_guessed_is_not_beyond_what_was_reserved),
        cmocka_unit_test(what_has_no_bound_is_set_aside_for_each_choice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
