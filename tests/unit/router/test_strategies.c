/* Each strategy by its documented order, and what an open breaker, a missing price or a weight of zero makes
 * of it. */
#include "route_scene.h"

#include "router/strategies/rank.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void
only(struct scene *scene, uint64_t bits)
{
    scene->view.candidates = (struct route_set){{bits}};
}

static void
open_breaker(struct scene *scene, size_t target, uint32_t retry_ms)
{
    scene->seen[target].state = HEALTH_OPEN;
    scene->seen[target].retry_ms = retry_ms;
}

static void
single_takes_the_first_and_no_other(void **state)
{
    (void)state;
    struct scene *scene = scene_new(ROUTE_MODE_SINGLE, 3);
    scene_plan(scene);
    assert_string_equal(order_of(scene), "0");
    only(scene, 6);
    assert_string_equal(order_of(scene), "1");
    open_breaker(scene, 1, 1500);
    assert_string_equal(order_of(scene), "upstream_unavailable");
    assert_int_equal(scene->decision.retry_ms, 1500);
    scene->seen[1].state = HEALTH_HALF_OPEN; /* somebody has to probe */
    assert_string_equal(order_of(scene), "1");
    scene_free(scene);
}

static void
fallback_passes_over_open_breakers(void **state)
{
    (void)state;
    struct scene *scene = scene_new(ROUTE_MODE_FALLBACK, 4);
    scene_plan(scene);
    assert_string_equal(order_of(scene), "0 1 2 3");
    open_breaker(scene, 0, 9000);
    assert_string_equal(order_of(scene), "1 2 3");
    assert_int_equal(route_drop_of(&scene->facts, &scene->view, &scene->decision, 0), ROUTE_DROP_BREAKER);
    for (size_t i = 1; i < 4; i++) {
        open_breaker(scene, i, 1000 * (uint32_t)i);
    }
    assert_string_equal(order_of(scene), "upstream_unavailable");
    assert_int_equal(scene->decision.retry_ms, 1000); /* the soonest */
    scene_free(scene);
}

static void
loadbalance_turns_from_the_one_that_is_drawn(void **state)
{
    (void)state;
    struct scene *scene = scene_new(ROUTE_MODE_LOADBALANCE, 4);
    scene->targets[1].weight = 0;
    scene_plan(scene);
    bool seen[3] = {false};
    for (unsigned i = 0; i < 100; i++) {
        const char *order = order_of(scene);
        const char *const possible[] = {"0 2 3 1", "2 3 0 1", "3 0 2 1"}; /* zero comes last */
        size_t at = 0;
        while (at < 3 && strcmp(order, possible[at]) != 0) {
            at++;
        }
        assert_true(at < 3);
        seen[at] = true;
    }
    assert_true(seen[0] && seen[1] && seen[2]);
    only(scene, 2);
    assert_string_equal(order_of(scene), "model_not_found"); /* no weight among those that serve it */
    assert_int_equal(scene->decision.refused, ERR_MODEL_NOT_FOUND);
    assert_int_equal(route_drop_of(&scene->facts, &scene->view, &scene->decision, 1), ROUTE_DROP_WEIGHT);
    only(scene, 3);
    for (unsigned i = 0; i < 100; i++) {
        assert_string_equal(order_of(scene), "0 1");
    }
    scene_free(scene);
}

static void
least_latency_tries_the_unknown_then_the_fast(void **state)
{
    (void)state;
    struct scene *scene = scene_new(ROUTE_MODE_LEAST_LATENCY, 5);
    scene_plan(scene);
    for (size_t i = 0; i < 3; i++) {
        scene->seen[i].samples = 3;
        scene->seen[i].ttft_us = 300 - 100 * i;
        scene->seen[i].total_us = 1000 + 100 * i;
    }
    bool first[2] = {false, false};
    for (unsigned i = 0; i < 100; i++) {
        const char *order = order_of(scene);
        bool is_three = strcmp(order, "3 4 0 1 2") == 0;
        assert_true(is_three || strcmp(order, "4 3 0 1 2") == 0);
        first[is_three] = true;
    }
    assert_true(first[0] && first[1]);
    only(scene, 7);
    scene->facts.stream = true; /* by the first token now */
    assert_string_equal(order_of(scene), "2 1 0");
    scene_free(scene);
    scene = scene_new(ROUTE_MODE_LEAST_LATENCY, 2);
    scene->config.strategy.latency = ROUTE_LATENCY_TOTAL;
    scene_plan(scene);
    scene->facts.stream = true;
    scene->seen[0] = (struct route_target_view){.samples = 1, .ttft_us = 1, .total_us = 9};
    scene->seen[1] = (struct route_target_view){.samples = 1, .ttft_us = 2, .total_us = 8};
    assert_string_equal(order_of(scene), "1 0");
    scene_free(scene);
}

static void
price(struct scene *scene, size_t target, uint64_t in, uint64_t out)
{
    scene->seen[target].is_in_catalogue = true;
    scene->seen[target].price_in = in;
    scene->seen[target].price_out = out;
}

static struct scene *
priced(enum route_unpriced unpriced)
{
    struct scene *scene = scene_new(ROUTE_MODE_COST_OPTIMIZED, 3);
    scene->config.strategy.unpriced = (int)unpriced;
    scene_plan(scene);
    scene->facts.prompt_tokens = 1000;
    price(scene, 1, 3000000, 0);
    price(scene, 2, 1000000, 0);
    return scene;
}

/* A has no price, B costs 3, C costs 1. */
static void
cost_optimized_takes_the_cheapest(void **state)
{
    (void)state;
    struct scene *scene = priced(ROUTE_UNPRICED_FALLBACK);
    assert_string_equal(order_of(scene), "2 1 0");
    price(scene, 0, 0, 0); /* nothing is a price */
    assert_string_equal(order_of(scene), "0 2 1");
    scene_free(scene);

    scene = priced(ROUTE_UNPRICED_SKIP);
    assert_string_equal(order_of(scene), "2 1");
    assert_int_equal(route_drop_of(&scene->facts, &scene->view, &scene->decision, 0), ROUTE_DROP_PRICE);
    only(scene, 1);
    assert_int_equal(decide(scene), -1);
    assert_int_equal(scene->decision.refused, ERR_NO_PRICE);
    scene_free(scene);

    scene = priced(ROUTE_UNPRICED_ALLOW);
    assert_string_equal(order_of(scene), "2 1 0"); /* not in the catalogue: never ranked */
    scene->seen[0].is_in_catalogue = true;
    assert_string_equal(order_of(scene), "0 2 1");
    scene_free(scene);
}

/* What the answer costs counts as well: a cheap prompt may be dear in the end. */
static void
the_estimate_has_the_answer_in_it(void **state)
{
    (void)state;
    struct scene *scene = scene_new(ROUTE_MODE_COST_OPTIMIZED, 2);
    scene_plan(scene);
    price(scene, 0, 1000000, 100000000);
    price(scene, 1, 2000000, 4000000);
    scene->facts.prompt_tokens = 1000;
    assert_string_equal(order_of(scene), "1 0");
    scene->facts.max_output_tokens = 1;
    assert_string_equal(order_of(scene), "0 1");
    assert_int_equal(route_cost_estimate(&scene->facts, &scene->seen[0]), 1000 * 1000000 + 100000000);
    scene->facts.max_output_tokens = 1000000;
    scene->seen[0].output_max = 10; /* the model cannot say more */
    assert_int_equal(route_cost_estimate(&scene->facts, &scene->seen[0]), 2000000000);
    price(scene, 0, UINT64_MAX / 2, UINT64_MAX / 2); /* dear beyond counting, but known */
    assert_int_not_equal(route_cost_estimate(&scene->facts, &scene->seen[0]), PRICE_UNKNOWN);
    assert_string_equal(order_of(scene), "1 0");
    price(scene, 1, 1, PRICE_UNKNOWN);
    assert_int_equal(route_cost_estimate(&scene->facts, &scene->seen[1]), PRICE_UNKNOWN);
    scene->facts.surface = ENV_SURFACE_EMBEDDINGS; /* which have no answer to pay for */
    assert_int_equal(route_cost_estimate(&scene->facts, &scene->seen[1]), 1000);
    scene_free(scene);
}

/* ---- rules ---- */

#define RULE(k, v, t)                                                                                        \
    {                                                                                                        \
        .key = DYN_SLICE_INIT(k), .value = DYN_SLICE_INIT(v), .target_key = DYN_SLICE_INIT(t)                \
    }

static struct route_condition_config conditions[] = {
    RULE("model", "exact", "t1"),
    RULE("model_prefix", "gpt-", "t2"),
    RULE("header.X-Team", "blue", "t3"),
    RULE("metadata.tier", "gold", "t4"),
    RULE("estimated_tokens", ">8000", "t5"),
    RULE("has_images", "true", "t6"),
    RULE("key", "k1", "t7"),
    RULE("user", "eve", "t8"),
    RULE("has_tools", "true", "t9"),
    RULE("stream", "true", "t10"),
};

static struct scene *
with_conditions(void)
{
    struct scene *scene = scene_new(ROUTE_MODE_CONDITIONAL, 11);
    scene->config.strategy.conditions = (struct config_list){conditions, DYN_ARRAY_LEN(conditions)};
    scene_plan(scene);
    return scene;
}

static void
goes_to(struct scene *scene, unsigned target)
{
    char expected[8];
    (void)snprintf(expected, sizeof expected, "%u", target);
    assert_string_equal(order_of(scene), expected);
    assert_int_equal(scene->decision.order.rule, (int)target - 1);
}

static void
each_condition_names_its_target(void **state)
{
    static const struct env_header header = {DYN_SLICE_INIT("x-team"), DYN_SLICE_INIT("blue")};
    static const struct route_pair pair = {DYN_SLICE_INIT("tier"), DYN_SLICE_INIT("gold")};
    (void)state;
    struct scene *scene = with_conditions();
    struct route_facts plain = scene->facts;
    goes_to(scene, 0); /* no rule: the first */
    scene->facts.stream = true;
    goes_to(scene, 10);
    scene->facts.has_tools = true;
    goes_to(scene, 9); /* the first that holds */
    scene->facts.user = DYN_SLICE("eve");
    goes_to(scene, 8);
    scene->facts.key_id = DYN_SLICE("k1");
    goes_to(scene, 7);
    scene->facts.has_images = true;
    goes_to(scene, 6);
    scene->facts.prompt_tokens = 8000;
    goes_to(scene, 6);
    scene->facts.prompt_tokens = 8001;
    goes_to(scene, 5);
    scene->facts.metadata = &pair;
    scene->facts.n_metadata = 1;
    goes_to(scene, 4);
    scene->facts.headers = &header;
    scene->facts.n_headers = 1;
    goes_to(scene, 3);
    scene->facts.model = DYN_SLICE("gpt-4o");
    goes_to(scene, 2);
    scene->facts = plain;
    scene->facts.model = DYN_SLICE("exact");
    goes_to(scene, 1);
    assert_true(scene->plan->needs & ROUTE_NEEDS_HEADERS);
    assert_true(scene->plan->needs & ROUTE_NEEDS_BODY);
    assert_false(scene->plan->needs & ROUTE_NEEDS_TEXT);
    scene_free(scene);
}

/* An open breaker on what the rule names makes the next one serve, and it alone; that it does not serve the
 * model does not. */
static void
a_rule_is_left_for_a_breaker_and_for_nothing_else(void **state)
{
    (void)state;
    struct scene *scene = with_conditions();
    scene->facts.model = DYN_SLICE("gpt-4o");
    open_breaker(scene, 2, 1);
    assert_string_equal(order_of(scene), "0");
    assert_int_equal(scene->decision.order.rule, 1);
    assert_true(scene->decision.order.is_named);
    open_breaker(scene, 0, 1);
    assert_string_equal(order_of(scene), "1");
    only(scene, 3);
    assert_int_equal(decide(scene), -1);
    assert_int_equal(scene->decision.refused, ERR_MODEL_NOT_FOUND);
    assert_int_equal(scene->decision.asked.why_void, ROUTE_VOID_RULE);
    scene_free(scene);
}

#define CONTENT(t, v, k)                                                                                     \
    {                                                                                                        \
        .type = (t), .value = DYN_SLICE_INIT(v), .target_key = DYN_SLICE_INIT(k)                             \
    }

static struct route_content_condition_config contents[] = {
    CONTENT(ROUTE_PROMPT_REGEX, "Invoice \\d+", "t1"),
    CONTENT(ROUTE_PROMPT_CONTAINS, "refund", "t2"),
    CONTENT(ROUTE_PROMPT_NOT_CONTAINS, "public", "t3"),
};

static void
content_rules_look_at_what_users_write(void **state)
{
    (void)state;
    struct scene *scene = scene_new(ROUTE_MODE_CONTENT_BASED, 4);
    scene->config.strategy.content_conditions = (struct config_list){contents, DYN_ARRAY_LEN(contents)};
    scene_plan(scene);
    assert_true(scene->plan->needs & ROUTE_NEEDS_TEXT);
    goes_to(scene, 3); /* no text of a user contains nothing */
    struct dyn_slice texts[] = {DYN_SLICE("a public text"), DYN_SLICE("my Invoice 12 is wrong")};
    scene->facts.user_texts = texts;
    scene->facts.n_user_texts = 1;
    goes_to(scene, 0);
    scene->facts.n_user_texts = 2;
    goes_to(scene, 1);
    texts[1] = DYN_SLICE("my invoice 12: REFUND it"); /* a regular expression minds the case */
    goes_to(scene, 2);
    scene->facts.surface = ENV_SURFACE_EMBEDDINGS; /* nobody writes there */
    goes_to(scene, 0);
    scene_free(scene);
}

/* A rule whose search is given up does not hold, `prompt_not_contains` neither. */
static void
a_search_that_is_given_up_is_no_match(void **state)
{
    static struct route_content_condition_config stubborn[] = {
        CONTENT(ROUTE_PROMPT_REGEX, "(a+)+$", "t1"),
        CONTENT(ROUTE_PROMPT_NOT_CONTAINS, "b", "t2"),
    };
    enum { LONG = 1024 * 1024 };
    (void)state;
    struct scene *scene = scene_new(ROUTE_MODE_CONTENT_BASED, 3);
    scene->config.strategy.content_conditions = (struct config_list){stubborn, 2};
    scene_plan(scene);
    char *text = dyn_alloc(LONG);
    memset(text, 'a', LONG);
    text[LONG - 1] = 'b';
    struct dyn_slice slice = dyn_slice(text, LONG);
    scene->facts.user_texts = &slice;
    scene->facts.n_user_texts = 1;
    goes_to(scene, 0);
    assert_true(scene->decision.asked.n_limited >= 1);
    free(text);
    scene_free(scene);
}

/* ---- draws ---- */

static struct route_variant_config variants[] = {
    {.target_key = DYN_SLICE_INIT("t1"), .weight = 9, .label = DYN_SLICE_INIT("control")},
    {.target_key = DYN_SLICE_INIT("t2"), .weight = 1},
    {.target_key = DYN_SLICE_INIT("t0"), .weight = 0, .label = DYN_SLICE_INIT("never")},
};

static void
ab_test_draws_a_variant_and_labels_it(void **state)
{
    (void)state;
    struct scene *scene = scene_new(ROUTE_MODE_AB_TEST, 3);
    scene->config.strategy.ab_variants = (struct config_list){variants, DYN_ARRAY_LEN(variants)};
    scene_plan(scene);
    unsigned controls = 0;
    for (unsigned i = 0; i < 1000; i++) {
        const char *order = order_of(scene);
        bool is_control = strcmp(order, "1 0 2") == 0;
        assert_true(is_control || strcmp(order, "2 0 1") == 0);
        assert_true(dyn_slice_is(scene->decision.order.label, is_control ? "control" : "t2"));
        controls += is_control;
    }
    assert_in_range(controls, 850, 950);
    only(scene, 5); /* the control serves it not */
    assert_string_equal(order_of(scene), "2 0");
    only(scene, 1);
    assert_string_equal(order_of(scene), "model_not_found");
    scene_free(scene);
}

static void
least_busy_takes_the_less_busy_of_two(void **state)
{
    (void)state;
    struct scene *scene = scene_new(ROUTE_MODE_LEAST_BUSY, 2);
    scene_plan(scene);
    scene->seen[0].in_flight = 5;
    scene->seen[1].in_flight = 4;
    for (unsigned i = 0; i < 50; i++) {
        assert_string_equal(order_of(scene), "1 0");
    }
    scene->seen[0].ewma_us = 100;
    for (unsigned i = 0; i < 50; i++) {
        assert_string_equal(order_of(scene), "1 0"); /* of one alone it says nothing */
    }
    scene->seen[1].ewma_us = 1000; /* it has less to do, and takes ten times as long */
    for (unsigned i = 0; i < 50; i++) {
        assert_string_equal(order_of(scene), "0 1");
    }
    only(scene, 1);
    assert_string_equal(order_of(scene), "0");
    scene_free(scene);
}

static void
sticky_stays_and_moves_no_more_than_it_must(void **state)
{
    enum { CALLERS = 2000, TARGETS = 10 };
    static uint8_t before[CALLERS];
    (void)state;
    struct scene *scene = scene_new(ROUTE_MODE_STICKY, TARGETS);
    scene->config.strategy.sticky.by = ROUTE_STICKY_USER;
    scene_plan(scene);
    unsigned share[TARGETS] = {0};
    char user[16];
    for (unsigned i = 0; i < CALLERS; i++) {
        (void)snprintf(user, sizeof user, "user-%u", i);
        scene->facts.user = dyn_slice_str(user);
        assert_int_equal(decide(scene), 0);
        assert_int_equal(scene->decision.order.n, TARGETS);
        before[i] = scene->decision.order.items[0];
        share[before[i]]++;
        uint8_t second = scene->decision.order.items[1];
        route_set_remove(&scene->view.candidates, before[i]);
        assert_int_equal(decide(scene), 0);
        assert_int_equal(scene->decision.order.items[0], second);
        route_set_add(&scene->view.candidates, before[i]);
    }
    for (size_t i = 0; i < TARGETS; i++) {
        assert_in_range(share[i], CALLERS / TARGETS / 2, CALLERS / TARGETS * 2);
    }
    route_set_remove(&scene->view.candidates, 3);
    for (unsigned i = 0; i < CALLERS; i++) {
        (void)snprintf(user, sizeof user, "user-%u", i);
        scene->facts.user = dyn_slice_str(user);
        assert_int_equal(decide(scene), 0);
        assert_true(before[i] == 3 || scene->decision.order.items[0] == before[i]);
    }
    scene->facts.user = dyn_slice(NULL, 0); /* nobody's go everywhere */
    struct route_set met = {{0}};
    for (unsigned i = 0; i < 500; i++) {
        assert_int_equal(decide(scene), 0);
        route_set_add(&met, scene->decision.order.items[0]);
    }
    assert_int_equal(route_set_count(&met), TARGETS - 1);
    scene_free(scene);
}

/* ---- around them ---- */

static void
targets_that_a_request_names_come_before_any_strategy(void **state)
{
    static const uint8_t named[] = {2, 0, 2};
    (void)state;
    struct scene *scene = scene_new(ROUTE_MODE_FALLBACK, 4);
    scene_plan(scene);
    scene->facts.override = named;
    scene->facts.n_override = 3;
    assert_string_equal(order_of(scene), "2 0");
    assert_int_equal(route_drop_of(&scene->facts, &scene->view, &scene->decision, 1), ROUTE_DROP_OVERRIDE);
    open_breaker(scene, 2, 5);
    assert_string_equal(order_of(scene), "0");
    only(scene, 10);
    assert_string_equal(order_of(scene), "model_not_found");
    scene_free(scene);
}

static void
an_alias_is_looked_up_once(void **state)
{
    struct dyn_slice keys[] = {DYN_SLICE("smart"), DYN_SLICE("fast"), DYN_SLICE("a")};
    struct dyn_slice values[] = {DYN_SLICE("gpt-4o"), DYN_SLICE("gpt-4o-mini"), DYN_SLICE("fast")};
    (void)state;
    struct scene *scene = scene_new(ROUTE_MODE_SINGLE, 1);
    scene->config.aliases = (struct config_map){keys, values, 3};
    scene_plan(scene);
    assert_true(dyn_slice_is(route_plan_model(scene->plan, DYN_SLICE("fast")), "gpt-4o-mini"));
    assert_true(dyn_slice_is(route_plan_model(scene->plan, DYN_SLICE("smart")), "gpt-4o"));
    assert_true(dyn_slice_is(route_plan_model(scene->plan, DYN_SLICE("a")), "fast"));
    assert_true(dyn_slice_is(route_plan_model(scene->plan, DYN_SLICE("fas")), "fas"));
    scene_free(scene);
}

static void
a_sort_keeps_equals_in_their_order(void **state)
{
    (void)state;
    struct dyn_rng rng;
    dyn_rng_seed(&rng, 7);
    for (size_t n = 0; n <= ROUTE_TARGETS_MAX; n++) {
        struct route_rank ranks[ROUTE_TARGETS_MAX];
        for (size_t i = 0; i < n; i++) {
            ranks[i] = (struct route_rank){dyn_rng_below(&rng, 20), i};
        }
        route_rank_sort(ranks, n);
        for (size_t i = 1; i < n; i++) {
            assert_true(ranks[i - 1].key < ranks[i].key ||
                        (ranks[i - 1].key == ranks[i].key && ranks[i - 1].target < ranks[i].target));
        }
    }
}

/* The table of strategies, the words of the configuration and the objects say the same. */
static void
every_mode_has_its_strategy(void **state)
{
    static const struct {
        enum route_mode mode;
        const struct route_strategy_ops *ops;
        const char *word;
    } rows[] = {
#define ROUTE_STRATEGY(mode, symbol, text, help) {ROUTE_MODE_##mode, &route_strategy_##symbol, text},
#include "router/strategies/strategies.def"
#undef ROUTE_STRATEGY
    };
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(rows); i++) {
        assert_int_equal(rows[i].mode, i);
        assert_string_equal(rows[i].ops->name, rows[i].word);
    }
    assert_int_equal(DYN_ARRAY_LEN(rows), ROUTE_MODE_STICKY + 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(single_takes_the_first_and_no_other),
        cmocka_unit_test(fallback_passes_over_open_breakers),
        cmocka_unit_test(loadbalance_turns_from_the_one_that_is_drawn),
        cmocka_unit_test(least_latency_tries_the_unknown_then_the_fast),
        cmocka_unit_test(cost_optimized_takes_the_cheapest),
        cmocka_unit_test(the_estimate_has_the_answer_in_it),
        cmocka_unit_test(each_condition_names_its_target),
        cmocka_unit_test(a_rule_is_left_for_a_breaker_and_for_nothing_else),
        cmocka_unit_test(content_rules_look_at_what_users_write),
        cmocka_unit_test(a_search_that_is_given_up_is_no_match),
        cmocka_unit_test(ab_test_draws_a_variant_and_labels_it),
        cmocka_unit_test(least_busy_takes_the_less_busy_of_two),
        cmocka_unit_test(sticky_stays_and_moves_no_more_than_it_must),
        cmocka_unit_test(targets_that_a_request_names_come_before_any_strategy),
        cmocka_unit_test(an_alias_is_looked_up_once),
        cmocka_unit_test(a_sort_keeps_equals_in_their_order),
        cmocka_unit_test(every_mode_has_its_strategy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
