/* The formats that a catalogue comes in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "models/catalogue.h"
#include "models/decimal.h"

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

static const struct catalogue_model *
find(const catalogue_t *catalogue, const char *provider, const char *model)
{
    const struct catalogue_model *found =
        catalogue_find_own(catalogue, dyn_slice_str(provider), dyn_slice_str(model));
    assert_non_null(found);
    return found;
}

static void
fractions_become_integers_without_a_double(void **state)
{
    (void)state;
    const struct {
        const char *text;
        int scale;
        uint64_t value;
    } cases[] = {
        {"0", 12, 0},
        {"0.0", 12, 0},
        {"2.5e-06", 12, 2500000},
        {"0.0000025", 12, 2500000},
        {"1E-12", 12, 1},
        {"1e-13", 12, 1},
        {"1.5e-12", 12, 2},
        {"1.4e-12", 12, 1},
        {"0.3", 6, 300000},
        {"15", 6, 15000000},
        {"1429e-9", 12, 1429000},
        {"0.1000", 12, 100000000000},
        {"12.5", 0, 13},
        {"100e-2", 0, 1},
        {"0.06", 12, 60000000000},
        {"0e99", 12, 0},
        {"9999999", 12, 9999999000000000000u},
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(cases); i++) {
        uint64_t value = 77;
        assert_true(catalogue_decimal(dyn_slice_str(cases[i].text), cases[i].scale, &value));
        assert_int_equal(value, cases[i].value);
    }
    const char *const refused[] = {"",  "-1",    "-0.1",     "1e",      "1e+", "abc",
                                   ".", "1.2.3", "99999999", "1e99999", "NaN"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(refused); i++) {
        uint64_t value;
        assert_false(catalogue_decimal(dyn_slice_str(refused[i]), 12, &value));
    }
    assert_int_equal(catalogue_day(DYN_SLICE("2026-09-30T10:00:00Z")), 20260930);
    assert_int_equal(catalogue_day(DYN_SLICE("2026-9-30")), 0);
    assert_int_equal(catalogue_day(DYN_SLICE("soon, maybe")), 0);
}

static const char litellm[] =
    "{\"sample_spec\": {\"litellm_provider\": \"one of many\", \"mode\": \"one of: chat\"},"
    " \"gemini/gemini-9\": {\"litellm_provider\": \"gemini\", \"mode\": \"chat\", \"max_input_tokens\": "
    "1000000,"
    "  \"max_output_tokens\": 65536.0, \"input_cost_per_token\": 1.25e-06, \"output_cost_per_token\": 1e-05,"
    "  \"input_cost_per_token_above_200k_tokens\": 2.5e-06, \"input_cost_per_token_batches\": 6.25e-07,"
    "  \"input_cost_per_token_above_200k_tokens_batches\": 1.25e-06,"
    "  \"input_cost_per_token_ultrafast\": 1, \"cache_creation_input_token_cost_above_1hr\": 6e-06,"
    "  \"supports_vision\": true, \"supports_reasoning\": false, \"deprecation_date\": \"2027-01-02\","
    "  \"source\": \"https://example.com/gemini\"},"
    " \"plain-id\": {\"litellm_provider\": \"text-completion-openai\", \"mode\": \"completion\","
    "  \"input_cost_per_token\": null},"
    " \"hd/1024-x-1792/dall\": {\"litellm_provider\": \"openai\", \"mode\": \"image_generation\","
    "  \"input_cost_per_pixel\": 6.539e-08},"
    " \"qwen/q\": {\"litellm_provider\": \"dashscope\", \"mode\": \"chat\", \"tiered_pricing\": ["
    "  {\"range\": [0, 256000.0], \"input_cost_per_token\": 5e-08, \"output_cost_per_reasoning_token\": "
    "2e-08},"
    "  {\"range\": [256000.0, 1000000.0], \"input_cost_per_token\": 2.5e-07}]},"
    " \"together-ai-4b\": {\"litellm_provider\": \"together_ai\", \"input_cost_per_token\": 1e-06},"
    " \"perplexity/\\u0073onar\": {\"litellm_provider\": \"perplexity\", \"mode\": \"chat\","
    "  \"output_cost_per_reasoning_token\": 3e-06},"
    " \"junk\": 3, \"bad id\": {\"litellm_provider\": \"openai\"}}";

static void
litellms_price_list_is_understood(void **state)
{
    (void)state;
    catalogue_t *catalogue = load(litellm);
    assert_int_equal(catalogue_count(catalogue), 5);
    const struct catalogue_model *gemini = find(catalogue, "gemini", "gemini-9");
    assert_int_equal(gemini->context_window, 1000000);
    assert_int_equal(gemini->max_output, 65536);
    assert_int_equal(gemini->deprecated_on, 20270102);
    assert_true(catalogue_can(gemini, CATALOGUE_CAN_VISION) &&
                catalogue_can(gemini, CATALOGUE_CAN_STREAMING));
    assert_false(catalogue_can(gemini, CATALOGUE_CAN_REASONING));
    assert_true(dyn_slice_is(catalogue_source(gemini), "https://example.com/gemini"));
    assert_int_equal(gemini->n_prices, 6);
    struct catalogue_prices prices;
    catalogue_prices(gemini, 300000, CATALOGUE_BATCH, &prices);
    assert_int_equal(prices.of[CATALOGUE_PRICE_INPUT], 1250000);
    assert_int_equal(prices.of[CATALOGUE_PRICE_OUTPUT], 10000000);
    assert_int_equal(prices.of[CATALOGUE_PRICE_CACHE_WRITE_1H], 6000000);

    assert_int_equal(find(catalogue, "openai", "plain-id")->n_prices, 0);
    const struct catalogue_model *image = find(catalogue, "openai", "hd/1024-x-1792/dall");
    assert_int_equal(catalogue_price(image, CATALOGUE_PRICE_IMAGE_OUT), UINT64_C(65390) * 1024 * 1792);
    catalogue_prices(find(catalogue, "qwen", "q"), 256001, CATALOGUE_STANDARD, &prices);
    assert_int_equal(prices.of[CATALOGUE_PRICE_INPUT], 250000);
    assert_int_equal(prices.of[CATALOGUE_PRICE_REASONING], 20000);
    const struct catalogue_model *sonar = find(catalogue, "perplexity", "sonar");
    assert_int_equal(catalogue_price(sonar, CATALOGUE_PRICE_REASONING_EXTRA), 3000000);
    assert_int_equal(catalogue_price(sonar, CATALOGUE_PRICE_REASONING), PRICE_UNKNOWN);
    catalogue_unref(&catalogue);
}

static const char ferro[] =
    "{\"openai/gpt-9\": {\"provider\": \"openai\", \"model_id\": \"gpt-9\", \"mode\": \"chat\", "
    "\"context_window\": 128000,"
    "  \"max_output_tokens\": 16384, \"pricing\": {\"input_per_m_tokens\": 2.5, \"output_per_m_tokens\": 0,"
    "  \"cache_read_per_m_tokens\": null, \"audio_input_per_minute\": 0.006},"
    "  \"capabilities\": {\"vision\": true, \"json_mode\": true, \"streaming\": false},"
    "  \"lifecycle\": {\"status\": \"deprecated\", \"sunset_date\": \"2027-02-03\", \"successor\": "
    "\"gpt-10\"},"
    "  \"source\": \"https://example.com/openai\", \"updated_at\": \"2026-05-06\"},"
    " \"azure_openai/deploy\": {\"mode\": \"embedding\", \"pricing\": {\"embedding_per_m_tokens\": 0.02}}}";

static void
ferros_catalogue_is_understood(void **state)
{
    (void)state;
    catalogue_t *catalogue = load(ferro);
    assert_int_equal(catalogue_count(catalogue), 2);
    const struct catalogue_model *model = find(catalogue, "openai", "gpt-9");
    assert_int_equal(catalogue_price(model, CATALOGUE_PRICE_INPUT), 2500000);
    assert_int_equal(catalogue_price(model, CATALOGUE_PRICE_OUTPUT), 0);
    assert_int_equal(catalogue_price(model, CATALOGUE_PRICE_CACHE_READ), PRICE_UNKNOWN);
    assert_int_equal(catalogue_price(model, CATALOGUE_PRICE_SECOND_IN), 100000000);
    assert_int_equal(model->status, CATALOGUE_DEPRECATED);
    assert_int_equal(model->sunset_on, 20270203);
    assert_int_equal(model->updated_on, 20260506);
    assert_int_equal(catalogue_date(catalogue), 20260506);
    assert_true(dyn_slice_is(catalogue_successor(model), "gpt-10"));
    assert_true(catalogue_can(model, CATALOGUE_CAN_VISION) && !catalogue_can(model, CATALOGUE_CAN_STREAMING));
    const struct catalogue_model *deploy = find(catalogue, "azure-openai", "deploy");
    assert_int_equal(catalogue_price(deploy, CATALOGUE_PRICE_INPUT), 20000);
    catalogue_unref(&catalogue);
}

static void
what_is_no_catalogue_is_refused_with_a_reason(void **state)
{
    (void)state;
    const char *const texts[] = {
        "",
        "{}",
        "[]",
        "{\"a\":",
        "<html>not found</html>",
        "dynabus-catalogue 2\n",
        "dynabus-catalogue 1\nopenai\n",
        "dynabus-catalogue 1\nopenai\tm\tchat\t$input=x\n",
        "dynabus-catalogue 1\nopenai\tm\tchat\tcontext=99999999999\n",
        "{\"a\": 1}",
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(texts); i++) {
        struct dyn_err err = {.code = DYN_OK};
        assert_null(catalogue_load(dyn_slice_str(texts[i]), &err));
        assert_true(err.code != DYN_OK && err.text[0] != '\0');
    }
}

static void
a_newer_text_can_be_read(void **state)
{
    (void)state;
    catalogue_t *catalogue =
        load("dynabus-catalogue 1\r\n# a note\r\n@4 https://example.com\r\n"
             "acme\tm\tdreams\tmood=good can=flying,vision source=@4 $per_dream=7 $input@moon=1 "
             "$input=5\r\n");
    const struct catalogue_model *model = find(catalogue, "acme", "m");
    assert_int_equal(model->mode, CATALOGUE_MODE_UNKNOWN);
    assert_int_equal(model->n_prices, 1);
    assert_int_equal(model->capabilities, 1u << CATALOGUE_CAN_VISION);
    assert_true(dyn_slice_is(catalogue_source(model), "https://example.com"));
    catalogue_unref(&catalogue);
}

/* A list that is fetched has the mistakes of the one that is built in, and they are put right in it too. */
static void
what_lists_are_wrong_about_is_put_right(void **state)
{
    (void)state;
    catalogue_t *catalogue =
        load("{\"gigachat/"
             "GigaChat-2\":{\"litellm_provider\":\"gigachat\",\"mode\":\"chat\",\"input_cost_per_token\":0,"
             "\"output_cost_per_token\":0},\"perplexity/"
             "sonar\":{\"litellm_provider\":\"perplexity\",\"mode\":\"chat\","
             "\"input_cost_per_token\":1e-06,\"output_cost_per_token\":1e-06},\"gpt-x\":{\"litellm_"
             "provider\":\"openai\","
             "\"mode\":\"chat\",\"input_cost_per_token\":0,\"output_cost_per_token\":0}}");
    const struct catalogue_model *unpriced = find(catalogue, "gigachat", "GigaChat-2");
    assert_int_equal(catalogue_price(unpriced, CATALOGUE_PRICE_INPUT), PRICE_UNKNOWN);
    assert_int_equal(catalogue_price(find(catalogue, "openai", "gpt-x"), CATALOGUE_PRICE_INPUT), 0);
    assert_true(catalogue_can(find(catalogue, "perplexity", "sonar"), CATALOGUE_CAN_ALWAYS_SEARCHES));
    assert_int_equal(catalogue_price(find(catalogue, "perplexity", "sonar"), CATALOGUE_PRICE_INPUT), 1000000);
    assert_int_equal(catalogue_count(catalogue), 3);
    catalogue_unref(&catalogue);
    /* Our own text is somebody's own word. */
    catalogue = load("dynabus-catalogue 1\ngigachat\tGigaChat-2\tchat\t$input=7\n");
    assert_int_equal(catalogue_price(find(catalogue, "gigachat", "GigaChat-2"), CATALOGUE_PRICE_INPUT), 7);
    catalogue_unref(&catalogue);
}

static void
a_short_list_changes_what_it_tells_of(void **state)
{
    (void)state;
    catalogue_t *list = load("dynabus-catalogue 1\nopenai\tgpt-4o\tchat\tcontext=9 $input=7\n"
                             "openai\tgpt-4o-mini\tchat\tcontext=9\nacme\tmine\tchat\t$input=8\n");
    catalogue_t *both = catalogue_over(list, catalogue_builtin());
    catalogue_unref(&list);
    assert_int_equal(catalogue_count(both), catalogue_count(catalogue_builtin()) + 1);
    assert_int_equal(catalogue_price(find(both, "openai", "gpt-4o"), CATALOGUE_PRICE_INPUT), 7);
    assert_int_equal(catalogue_price(find(both, "openai", "gpt-4o"), CATALOGUE_PRICE_OUTPUT), PRICE_UNKNOWN);
    assert_int_equal(catalogue_price(find(both, "acme", "mine"), CATALOGUE_PRICE_INPUT), 8);
    const struct catalogue_model *unpriced = find(both, "openai", "gpt-4o-mini");
    assert_int_equal(
        catalogue_price(unpriced, CATALOGUE_PRICE_INPUT),
        catalogue_price(find(catalogue_builtin(), "openai", "gpt-4o-mini"), CATALOGUE_PRICE_INPUT));
    assert_int_not_equal(catalogue_price(find(both, "anthropic", "claude-sonnet-4-5"), CATALOGUE_PRICE_INPUT),
                         PRICE_UNKNOWN);
    catalogue_unref(&both);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fractions_become_integers_without_a_double),
        cmocka_unit_test(litellms_price_list_is_understood),
        cmocka_unit_test(ferros_catalogue_is_understood),
        cmocka_unit_test(what_is_no_catalogue_is_refused_with_a_reason),
        cmocka_unit_test(a_newer_text_can_be_read),
        cmocka_unit_test(what_lists_are_wrong_about_is_put_right),
        cmocka_unit_test(a_short_list_changes_what_it_tells_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
