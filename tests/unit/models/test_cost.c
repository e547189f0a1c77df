/* What requests cost, to the 10^-12 of a dollar. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "models/cost.h"
#include "proto/env.h"

static catalogue_t *
catalogue_with(const char *line)
{
    char text[1024] = "dynabus-catalogue 1\n";
    strncat(text, line, sizeof text - strlen(text) - 1);
    struct dyn_err err = {.code = DYN_OK};
    catalogue_t *catalogue = catalogue_load(dyn_slice_str(text), &err);
    assert_non_null(catalogue);
    return catalogue;
}

static struct cost
cost_with(const char *prices, const struct cost_usage *usage)
{
    char line[512] = "acme\tm\tchat\t";
    strncat(line, prices, sizeof line - strlen(line) - 1);
    catalogue_t *catalogue = catalogue_with(line);
    const struct catalogue_model *model = catalogue_find(catalogue, DYN_SLICE("acme"), DYN_SLICE("m"));
    assert_non_null(model);
    struct cost cost = cost_of(model, usage);
    catalogue_unref(&catalogue);
    return cost;
}

#define USD(amount, wanted) assert_usd((amount), wanted)

static void
assert_usd(uint64_t amount, const char *wanted)
{
    char text[COST_USD_TEXT_MAX + 1];
    text[cost_usd_text(amount, text)] = '\0';
    assert_string_equal(text, wanted);
}

static const struct cost_usage chat = {.input_tokens = 1000, .cached_tokens = 400, .output_tokens = 100};

/* 600 * 3 + 100 * 15 + 400 * 0.3, by the million. */
static void
cached_input_is_billed_at_its_own_price(void **state)
{
    (void)state;
    struct cost cost = cost_with("$input=3000000 $output=15000000 $cache_read=300000", &chat);
    assert_true(cost.model_found && cost.known);
    USD(cost.total, "0.00342");
    USD(cost.input, "0.0018");
    USD(cost.output, "0.0015");
    USD(cost.cache_read, "0.00012");
}

static void
cached_input_without_a_price_is_input(void **state)
{
    (void)state;
    struct cost cost = cost_with("$input=3000000 $output=15000000", &chat);
    assert_true(cost.known);
    USD(cost.total, "0.0045");
    USD(cost.cache_read, "0");
}

static void
an_unknown_price_is_not_zero(void **state)
{
    (void)state;
    struct cost none = cost_with("context=1", &chat);
    assert_true(none.model_found);
    assert_false(none.known);
    struct cost half = cost_with("$input=3000000", &chat);
    assert_false(half.known);
    struct cost zero = cost_with("$input=0 $output=0", &chat);
    assert_true(zero.known);
    USD(zero.total, "0");
    struct cost nobody = cost_of(NULL, &chat);
    assert_false(nobody.model_found || nobody.known);
}

static void
what_is_written_to_a_cache_comes_on_top(void **state)
{
    (void)state;
    const struct cost_usage usage = {.input_tokens = 10000,
                                     .cached_tokens = 8000,
                                     .cache_write_tokens = 600,
                                     .cache_write_1h_tokens = 100};
    struct cost cost =
        cost_with("$input=3000000 $cache_read=300000 $cache_write=3750000 $cache_write_1h=6000000", &usage);
    USD(cost.input, "0.006");
    USD(cost.cache_read, "0.0024");
    assert_int_equal(cost.cache_write, 500 * UINT64_C(3750000) + 100 * UINT64_C(6000000));
    assert_true(cost.known);
}

/* Beyond 200,000 input tokens the whole request costs more, where a price says so. */
static void
a_long_request_has_the_price_of_long_ones(void **state)
{
    (void)state;
    const char *prices = "$input=1250000 $input>200000=2500000 $output=10000000 $output>200000=15000000 "
                         "$cache_read=125000";
    struct cost_usage usage = {.input_tokens = 200000, .output_tokens = 10};
    USD(cost_with(prices, &usage).total, "0.2501");
    usage.input_tokens = 200001;
    struct cost cost = cost_with(prices, &usage);
    assert_int_equal(cost.input, UINT64_C(200001) * 2500000);
    assert_int_equal(cost.output, UINT64_C(10) * 15000000);
}

static void
a_batch_has_the_price_of_batches_where_there_is_one(void **state)
{
    (void)state;
    const struct cost_usage usage = {.input_tokens = 10, .output_tokens = 10, .service = CATALOGUE_BATCH};
    struct cost cost = cost_with("$input=100 $output=200 $input@batch=50", &usage);
    assert_int_equal(cost.input, 500);
    assert_int_equal(cost.output, 2000);
}

static void
reasoning_is_output_unless_it_has_a_price(void **state)
{
    (void)state;
    const struct cost_usage usage = {.output_tokens = 100, .reasoning_tokens = 60};
    struct cost plain = cost_with("$output=10", &usage);
    assert_int_equal(plain.output, 1000);
    assert_int_equal(plain.reasoning, 0);
    struct cost apart = cost_with("$output=10 $reasoning=20", &usage);
    assert_int_equal(apart.output, 400);
    assert_int_equal(apart.reasoning, 1200);
    struct cost extra = cost_with("$output=10 $reasoning_extra=20", &usage);
    assert_int_equal(extra.output, 1000);
    assert_int_equal(extra.reasoning, 1200);
}

/* Counts from outside may be any number. */
static void
lying_counts_do_no_harm(void **state)
{
    (void)state;
    const struct cost_usage usage = {.input_tokens = UINT64_MAX,
                                     .cached_tokens = UINT64_MAX,
                                     .audio_in_tokens = UINT64_MAX,
                                     .output_tokens = 5,
                                     .reasoning_tokens = 9};
    struct cost cost = cost_with("$input=3000000 $cache_read=300000 $output=7 $reasoning=1", &usage);
    assert_int_equal(cost.total, UINT64_MAX);
    assert_int_equal(cost.reasoning, 5);
    assert_int_equal(cost.output, 0);
}

/* What an upstream tells of in END comes to the bill. */
static void
all_that_is_told_is_billed(void **state)
{
    (void)state;
    const struct env_usage told = {.known = true,
                                   .prompt_tokens = 10,
                                   .completion_tokens = 100,
                                   .cache_write_tokens = 100000,
                                   .cache_write_1h_tokens = 100000,
                                   .image_out_tokens = 40,
                                   .searches = 3};
    struct cost_usage usage = cost_usage_of(&told);
    struct cost cost = cost_with("$input=3000000 $output=15000000 $cache_write=3750000 "
                                 "$cache_write_1h=6000000 $image_token_out=30000000 $search=10000000000",
                                 &usage);
    assert_true(cost.known);
    USD(cost.cache_write, "0.6");
    USD(cost.image, "0.0012");
    USD(cost.output, "0.0009");
    USD(cost.other, "0.03");
}

static void
another_service_has_its_price_or_none_that_is_known(void **state)
{
    (void)state;
    struct env_usage told = {.known = true, .prompt_tokens = 10, .service = ENV_SERVICE_FLEX};
    struct cost_usage usage = cost_usage_of(&told);
    struct cost cost = cost_with("$input=100 $input@flex=50", &usage);
    assert_true(cost.known);
    assert_int_equal(cost.total, 500);
    assert_false(cost_with("$input=100", &usage).known);
    told.service = ENV_SERVICE_OTHER;
    usage = cost_usage_of(&told);
    assert_false(cost_with("$input=100 $input@flex=50", &usage).known);
    told.service = 77;
    usage = cost_usage_of(&told);
    assert_false(cost_with("$input=100", &usage).known);
}

/* Its search is billed with every answer: one that does not tell of it has a price that nobody knows. */
static void
a_model_that_always_searches_says_how_often(void **state)
{
    (void)state;
    struct cost_usage usage = {.input_tokens = 10};
    assert_false(cost_with("can=web_search,always_searches $input=100 $search=1000", &usage).known);
    assert_true(cost_with("can=web_search $input=100 $search=1000", &usage).known);
    usage.searches = 2;
    struct cost cost = cost_with("can=web_search,always_searches $input=100 $search=1000", &usage);
    assert_true(cost.known);
    assert_int_equal(cost.total, 3000);
    const struct catalogue_model *sonar =
        catalogue_find_own(catalogue_builtin(), DYN_SLICE("perplexity"), DYN_SLICE("sonar"));
    assert_true(catalogue_can(sonar, CATALOGUE_CAN_ALWAYS_SEARCHES));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cached_input_is_billed_at_its_own_price),
        cmocka_unit_test(cached_input_without_a_price_is_input),
        cmocka_unit_test(an_unknown_price_is_not_zero),
        cmocka_unit_test(what_is_written_to_a_cache_comes_on_top),
        cmocka_unit_test(a_long_request_has_the_price_of_long_ones),
        cmocka_unit_test(a_batch_has_the_price_of_batches_where_there_is_one),
        cmocka_unit_test(reasoning_is_output_unless_it_has_a_price),
        cmocka_unit_test(lying_counts_do_no_harm),
        cmocka_unit_test(all_that_is_told_is_billed),
        cmocka_unit_test(another_service_has_its_price_or_none_that_is_known),
        cmocka_unit_test(a_model_that_always_searches_says_how_often),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
