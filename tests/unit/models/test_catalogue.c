/* Look-ups in the built-in catalogue and in small ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "models/image.h"
#include "models/rows.h"

#include <stdio.h>

static const struct catalogue_model *
builtin(const char *provider, const char *model)
{
    return catalogue_find(catalogue_builtin(), dyn_slice_str(provider), dyn_slice_str(model));
}

static catalogue_t *
load(const char *text)
{
    struct dyn_err err = {.code = DYN_OK};
    catalogue_t *catalogue = catalogue_load(dyn_slice_str(text), &err);
    if (catalogue == NULL) {
        print_error("%s\n", err.text);
    }
    assert_non_null(catalogue);
    return catalogue;
}

static void
assert_id(const struct catalogue_model *model, const char *provider, const char *id)
{
    assert_non_null(model);
    assert_true(dyn_slice_is(catalogue_provider(model), provider));
    assert_true(dyn_slice_is(catalogue_id(model), id));
}

static void
there_are_enough_models_in_order_each_once(void **state)
{
    (void)state;
    const catalogue_t *catalogue = catalogue_builtin();
    size_t n = catalogue_count(catalogue);
    assert_true(n >= 2500);
    assert_null(catalogue_at(catalogue, n));
    size_t priced = 0;
    for (size_t i = 0; i < n; i++) {
        const struct catalogue_model *model = catalogue_at(catalogue, i);
        priced += model->n_prices > 0;
        assert_true(catalogue_source(model).len > 0);
        assert_in_range(model->updated_on, 20260101, 20991231);
        assert_true(model->mode < CATALOGUE_MODE_COUNT && model->status < CATALOGUE_STATUS_COUNT);
        /* Each finds itself, so the order is that of the search. */
        assert_ptr_equal(catalogue_find(catalogue, catalogue_provider(model), catalogue_id(model)), model);
        assert_true(catalogue_provider_owns(catalogue, catalogue_provider(model), catalogue_id(model)));
    }
    assert_true(priced > n / 10 * 9);
    assert_true(catalogue_date(catalogue) >= 20261122);
}

static void
the_providers_share_all_models(void **state)
{
    (void)state;
    const catalogue_t *catalogue = catalogue_builtin();
    size_t sum = 0;
    for (size_t i = 0; i < catalogue_provider_count(catalogue); i++) {
        struct dyn_slice name = dyn_slice_str(catalogue_provider_at(catalogue, i));
        const struct catalogue_model *first;
        size_t n = catalogue_of_provider(catalogue, name, &first);
        assert_true(n > 0);
        assert_ptr_equal(first, catalogue_at(catalogue, sum));
        assert_int_equal(first[n - 1].provider, i);
        sum += n;
    }
    assert_int_equal(sum, catalogue_count(catalogue));
    assert_null(catalogue_provider_at(catalogue, catalogue_provider_count(catalogue)));
}

/* Prices that were looked up by hand. */
static void
prices_are_those_of_the_providers(void **state)
{
    (void)state;
    const struct {
        const char *provider;
        const char *model;
        uint64_t input, output, cache_read;
    } known[] = {
        {"openai", "gpt-4o", 2500000, 10000000, 1250000},
        {"openai", "gpt-4o-mini", 150000, 600000, 75000},
        {"openai", "gpt-4.1-nano", 100000, 400000, 25000},
        {"anthropic", "claude-sonnet-4-5", 3000000, 15000000, 300000},
        {"anthropic", "claude-haiku-4-5", 1000000, 5000000, 100000},
        {"gemini", "gemini-2.5-pro", 1250000, 10000000, 125000},
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(known); i++) {
        const struct catalogue_model *model = builtin(known[i].provider, known[i].model);
        assert_id(model, known[i].provider, known[i].model);
        assert_int_equal(model->mode, CATALOGUE_MODE_CHAT);
        assert_int_equal(catalogue_price(model, CATALOGUE_PRICE_INPUT), known[i].input);
        assert_int_equal(catalogue_price(model, CATALOGUE_PRICE_OUTPUT), known[i].output);
        assert_int_equal(catalogue_price(model, CATALOGUE_PRICE_CACHE_READ), known[i].cache_read);
    }
    const struct catalogue_model *sonnet = builtin("anthropic", "claude-sonnet-4-5");
    assert_int_equal(catalogue_price(sonnet, CATALOGUE_PRICE_CACHE_WRITE), 3750000);
    assert_int_equal(catalogue_price(sonnet, CATALOGUE_PRICE_CACHE_WRITE_1H), 6000000);
    assert_true(catalogue_can(sonnet, CATALOGUE_CAN_VISION));
    assert_int_equal(sonnet->context_window, 200000);
    assert_int_equal(sonnet->max_output, 64000);
    const struct catalogue_model *small = builtin("openai", "text-embedding-3-small");
    assert_int_equal(small->mode, CATALOGUE_MODE_EMBEDDING);
    assert_int_equal(catalogue_price(small, CATALOGUE_PRICE_INPUT), 20000);
    assert_int_equal(catalogue_price(small, CATALOGUE_PRICE_OUTPUT), 0);
}

static void
a_tier_is_known_for_long_requests(void **state)
{
    (void)state;
    struct catalogue_prices prices;
    catalogue_prices(builtin("gemini", "gemini-2.5-pro"), 200001, CATALOGUE_STANDARD, &prices);
    assert_int_equal(prices.of[CATALOGUE_PRICE_INPUT], 2500000);
    assert_int_equal(prices.of[CATALOGUE_PRICE_OUTPUT], 15000000);
    catalogue_prices(builtin("gemini", "gemini-2.5-pro"), 1000, CATALOGUE_BATCH, &prices);
    assert_int_equal(prices.of[CATALOGUE_PRICE_INPUT], 625000);
}

static void
zero_in_the_list_is_no_price_where_nobody_sells_by_the_token(void **state)
{
    (void)state;
    const struct catalogue_model *model = builtin("sagemaker", "meta-textgeneration-llama-2-7b-f");
    assert_non_null(model);
    assert_int_equal(catalogue_price(model, CATALOGUE_PRICE_INPUT), PRICE_UNKNOWN);
    assert_true(dyn_slice_is(catalogue_source(model), "https://aws.amazon.com/sagemaker/ai/pricing/"));
    assert_int_equal(model->context_window, 4096); /* the correction leaves what it does not speak of */
}

static const char small[] = "dynabus-catalogue 1\n"
                            "zeta\tshared\tchat\t$input=9\n"
                            "deepinfra\tshared\tchat\t$input=2\n"
                            "anthropic\tshared\tchat\t$input=1\n"
                            "acme\tMixed-Case\tchat\t$input=3\n"
                            "acme\tmixed-case-2\tchat\t$input=4\n"
                            "acme\tboth\tchat\t$input=5\n"
                            "acme\tBOTH\tchat\t$input=6\n"
                            "azure\told\tchat\t\n"
                            "azure_text\told\tchat\t$input=7\n"
                            "azure_openai\tfirst\tchat\t$input=8\n"
                            "azure\tfirst\tchat\t$input=10\n";

static uint64_t
input_price(const catalogue_t *catalogue, const char *provider, const char *model)
{
    const struct catalogue_model *found =
        catalogue_find(catalogue, dyn_slice_str(provider), dyn_slice_str(model));
    assert_non_null(found);
    return catalogue_price(found, CATALOGUE_PRICE_INPUT);
}

static void
case_counts_only_when_it_tells_models_apart(void **state)
{
    (void)state;
    catalogue_t *catalogue = load(small);
    assert_int_equal(input_price(catalogue, "acme", "mixed-case"), 3);
    assert_int_equal(input_price(catalogue, "acme", "both"), 5);
    assert_int_equal(input_price(catalogue, "acme", "BOTH"), 6);
    assert_false(catalogue_provider_owns(catalogue, DYN_SLICE("acme"), DYN_SLICE("mixed-case")));
    assert_true(catalogue_provider_owns(catalogue, DYN_SLICE("acme"), DYN_SLICE("Mixed-Case")));
    catalogue_unref(&catalogue);
}

/* Of several that have the id, those who make models come before those who host them, then the alphabet. */
static void
an_id_alone_always_means_the_same(void **state)
{
    (void)state;
    catalogue_t *catalogue = load(small);
    assert_int_equal(input_price(catalogue, "groq", "shared"), 1);
    assert_int_equal(input_price(catalogue, "zeta", "shared"), 9);
    assert_int_equal(input_price(catalogue, "nobody", "SHARED"), 1);
    assert_null(catalogue_find(catalogue, DYN_SLICE("groq"), DYN_SLICE("unheard-of")));
    /* What runs on the user's own machine costs what the user pays for the machine. */
    assert_null(catalogue_find(catalogue, DYN_SLICE("openai-compatible"), DYN_SLICE("shared")));
    assert_null(catalogue_find(catalogue, DYN_SLICE("mock"), DYN_SLICE("shared")));
    assert_null(catalogue_find_own(catalogue, DYN_SLICE("groq"), DYN_SLICE("shared")));
    catalogue_unref(&catalogue);
}

static void
a_provider_has_the_names_of_the_lists(void **state)
{
    (void)state;
    catalogue_t *catalogue = load(small);
    assert_int_equal(input_price(catalogue, "azure-openai", "first"), 8);
    assert_int_equal(input_price(catalogue, "azure", "first"), 8);
    assert_int_equal(input_price(catalogue, "azure-openai", "old"), 7); /* the first has no price */
    catalogue_unref(&catalogue);
    assert_non_null(builtin("qwen", "qwen-flash"));
    assert_ptr_equal(builtin("dashscope", "qwen-flash"), builtin("qwen", "qwen-flash"));
    assert_id(builtin("vertex_ai-language-models", "gemini-2.5-flash"), "vertex-ai", "gemini-2.5-flash");
}

static void
near_names_are_those_of_the_providers_asked_for(void **state)
{
    (void)state;
    struct dyn_slice near[3];
    const struct dyn_slice openai = DYN_SLICE_INIT("openai");
    size_t n = catalogue_near(catalogue_builtin(), DYN_SLICE("gpt-4o-mni"), &openai, 1, near, 3);
    assert_int_equal(n, 3);
    assert_true(dyn_slice_is(near[0], "gpt-4o-mini"));
    assert_int_equal(catalogue_near(catalogue_builtin(), DYN_SLICE("zzzzzzzz"), &openai, 1, near, 3), 0);
    n = catalogue_near(catalogue_builtin(), DYN_SLICE("claude-sonet-4-5"), NULL, 0, near, 1);
    assert_int_equal(n, 1);
    assert_true(dyn_slice_is(near[0], "claude-sonnet-4-5"));
}

static void
a_day_makes_a_model_deprecated(void **state)
{
    (void)state;
    catalogue_t *catalogue = load("dynabus-catalogue 1\nacme\ta\tchat\tdeprecated=20260930 successor=b\n"
                                  "acme\tb\tchat\tstatus=legacy\n");
    const struct catalogue_model *a = catalogue_at(catalogue, 0);
    assert_false(catalogue_is_deprecated(a, 0));
    assert_false(catalogue_is_deprecated(a, 20260929));
    assert_true(catalogue_is_deprecated(a, 20260930));
    assert_true(dyn_slice_is(catalogue_successor(a), "b"));
    assert_true(catalogue_is_deprecated(catalogue_at(catalogue, 1), 0));
    catalogue_unref(&catalogue);
}

/* Our text written and read again is the same catalogue. */
static void
text_keeps_everything(void **state)
{
    (void)state;
    struct catalogue_rows rows;
    catalogue_rows_init(&rows);
    catalogue_rows_of(&rows, catalogue_builtin());
    catalogue_rows_settle(&rows);
    struct dyn_buf text = DYN_BUF_INIT;
    catalogue_rows_write(&rows, &text);
    struct image_head *image = catalogue_rows_pack(&rows);
    catalogue_rows_fini(&rows);
    assert_int_equal(image->size, catalogue_builtin()->image->size);
    assert_memory_equal(image, catalogue_builtin()->image, image->size);
    free(image);

    struct dyn_err err = {.code = DYN_OK};
    catalogue_t *again = catalogue_load(dyn_buf_slice(&text), &err);
    assert_non_null(again);
    assert_memory_equal(again->image, catalogue_builtin()->image, again->image->size);
    catalogue_unref(&again);
    dyn_buf_fini(&text);
}

static void
more_names_than_are_remembered_fit(void **state)
{
    (void)state;
    enum { PROVIDERS = 5000 };
    struct dyn_buf text = DYN_BUF_INIT;
    dyn_buf_add_str(&text, "dynabus-catalogue 1\n");
    for (int i = 0; i < PROVIDERS; i++) {
        dyn_buf_addf(&text, "%0100d\tm%d\tchat\t\n", i, i);
    }
    catalogue_t *catalogue = load(dyn_buf_cstr(&text));
    assert_int_equal(catalogue_count(catalogue), PROVIDERS);
    for (int i = 0; i < PROVIDERS; i++) {
        char name[128];
        (void)snprintf(name, sizeof name, "%0100d", i);
        assert_string_equal(catalogue_provider_at(catalogue, (size_t)i), name);
    }
    catalogue_unref(&catalogue);
    dyn_buf_fini(&text);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_are_enough_models_in_order_each_once),
        cmocka_unit_test(the_providers_share_all_models),
        cmocka_unit_test(prices_are_those_of_the_providers),
        cmocka_unit_test(a_tier_is_known_for_long_requests),
        cmocka_unit_test(zero_in_the_list_is_no_price_where_nobody_sells_by_the_token),
        cmocka_unit_test(case_counts_only_when_it_tells_models_apart),
        cmocka_unit_test(an_id_alone_always_means_the_same),
        cmocka_unit_test(a_provider_has_the_names_of_the_lists),
        cmocka_unit_test(near_names_are_those_of_the_providers_asked_for),
        cmocka_unit_test(a_day_makes_a_model_deprecated),
        cmocka_unit_test(text_keeps_everything),
        cmocka_unit_test(more_names_than_are_remembered_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
