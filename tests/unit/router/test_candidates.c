/* Which targets may get a prompt for a model, and in which order `single` tries them. */
#include "router/candidates.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct dyn_slice openai_models[] = {DYN_SLICE_INIT("gpt-4o"), DYN_SLICE_INIT("o3")};
static const struct dyn_slice local_models[] = {DYN_SLICE_INIT("llama")};

static const struct route_target targets[] = {
    {.name = DYN_SLICE_INIT("any")},
    {.name = DYN_SLICE_INIT("openai"), .models = openai_models, .n_models = 2},
    {.name = DYN_SLICE_INIT("local"), .models = local_models, .n_models = 1},
    {.name = DYN_SLICE_INIT("mock"), .prefix = DYN_SLICE_INIT("mock")},
};

static struct route_set
find(const struct route_target *first, size_t n, const char *model)
{
    struct route_plan plan = {.n_targets = n};
    struct route_candidacy found;
    plan.targets =
        n > 0 ? (struct route_target *)memcpy(dyn_alloc(n * sizeof *first), first, n * sizeof *first) : NULL;
    route_candidates_find(&plan, first, n, dyn_slice_str(model), ENV_SURFACE_CHAT, &found);
    free(plan.targets);
    return found.set;
}

/* The bits of the first 64. */
static uint64_t
who(const char *model)
{
    return find(targets, DYN_ARRAY_LEN(targets), model).words[0];
}

static void
a_declared_model_goes_to_its_owner_only(void **state)
{
    (void)state;
    assert_int_equal(who("o3"), 1u << 1);
    assert_int_equal(who("llama"), 1u << 2);
}

static void
a_model_nobody_declares_goes_to_those_that_take_any(void **state)
{
    (void)state;
    assert_int_equal(who("claude"), 1u << 0);
    assert_int_equal(who("gpt-4"), 1u << 0);
    assert_int_equal(who("gpt-4o-mini"), 1u << 0);
}

static void
a_prefix_owns_what_begins_with_it(void **state)
{
    (void)state;
    assert_int_equal(who("mock"), 1u << 3);
    assert_int_equal(who("mock-tokens-5"), 1u << 3);
    assert_int_equal(who("moc"), 1u << 0);
}

static void
without_a_target_that_takes_any_there_is_none(void **state)
{
    (void)state;
    struct route_set left = find(targets + 1, 3, "claude");
    assert_true(route_set_is_empty(&left));
    left = find(NULL, 0, "claude");
    assert_true(route_set_is_empty(&left));
}

static void
single_takes_the_first_candidate_and_no_other(void **state)
{
    (void)state;
    struct dyn_rng rng;
    dyn_rng_seed(&rng, 1);
    struct route_facts facts = {.surface = ENV_SURFACE_CHAT, .model = DYN_SLICE("x")};
    for (uint64_t candidates = 0; candidates < 16; candidates++) {
        struct route_view view = {.targets = targets, .n_targets = 4, .candidates = {{candidates}}};
        struct route_order order = {.n = 0};
        route_strategy_single.order(NULL, &facts, &view, &rng, &order);
        assert_int_equal(order.n, candidates != 0);
        if (candidates != 0) {
            assert_int_equal(order.items[0], __builtin_ctzll(candidates));
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_declared_model_goes_to_its_owner_only),
        cmocka_unit_test(a_model_nobody_declares_goes_to_those_that_take_any),
        cmocka_unit_test(a_prefix_owns_what_begins_with_it),
        cmocka_unit_test(without_a_target_that_takes_any_there_is_none),
        cmocka_unit_test(single_takes_the_first_candidate_and_no_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
