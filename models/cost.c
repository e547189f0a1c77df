/* The sum of a bill. What has a price of its own is taken out of the tokens it is part of; what has none
 * stays in and is billed as they are. */
#include "models/cost.h"

#include "core/text.h"
#include "proto/env.h"

_Static_assert((int)ENV_SERVICE_BATCH == (int)CATALOGUE_BATCH &&
                   (int)ENV_SERVICE_FLEX == (int)CATALOGUE_FLEX &&
                   (int)ENV_SERVICE_PRIORITY == (int)CATALOGUE_PRIORITY &&
                   (int)ENV_SERVICE_OTHER == (int)CATALOGUE_SERVICE_COUNT,
               "the ways in which it is sold");

struct cost_usage
cost_usage_of(const struct env_usage *usage)
{
    bool is_listed = usage->service < CATALOGUE_SERVICE_COUNT;
    return (struct cost_usage){
        .input_tokens = usage->prompt_tokens,
        .output_tokens = usage->completion_tokens,
        .cached_tokens = usage->cached_tokens,
        .cache_write_tokens = usage->cache_write_tokens,
        .reasoning_tokens = usage->reasoning_tokens,
        .audio_in_tokens = usage->audio_in_tokens,
        .audio_out_tokens = usage->audio_out_tokens,
        .cache_write_1h_tokens = usage->cache_write_1h_tokens,
        .image_in_tokens = usage->image_in_tokens,
        .image_out_tokens = usage->image_out_tokens,
        .searches = usage->searches,
        .service = is_listed ? (enum catalogue_service)usage->service : CATALOGUE_STANDARD,
        .is_sold_otherwise = !is_listed,
    };
}

static uint64_t
add(uint64_t a, uint64_t b)
{
    uint64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

/* Adds what `count` units cost; without a price the bill is not known. */
static void
bill(struct cost *cost, uint64_t *part, uint64_t count, uint64_t price)
{
    if (count == 0) {
        return;
    }
    if (price == PRICE_UNKNOWN) {
        cost->known = false;
        return;
    }
    uint64_t amount;
    *part = add(*part, __builtin_mul_overflow(count, price, &amount) ? UINT64_MAX : amount);
}

static uint64_t
least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Takes up to `count` out of *tokens and bills them at a price of their own; without one they stay. */
static void
bill_apart(struct cost *cost, uint64_t *part, uint64_t *tokens, uint64_t count, uint64_t price)
{
    if (price != PRICE_UNKNOWN) {
        count = least(count, *tokens);
        *tokens -= count;
        bill(cost, part, count, price);
    }
}

static uint64_t
or_else(uint64_t price, uint64_t other)
{
    return price != PRICE_UNKNOWN ? price : other;
}

static void
bill_input(struct cost *cost, const struct cost_usage *usage, const uint64_t *price)
{
    uint64_t tokens = usage->input_tokens;
    bill_apart(cost, &cost->cache_read, &tokens, usage->cached_tokens, price[CATALOGUE_PRICE_CACHE_READ]);
    bill_apart(cost, &cost->audio, &tokens, usage->audio_in_tokens, price[CATALOGUE_PRICE_AUDIO_IN]);
    bill_apart(cost, &cost->image, &tokens, usage->image_in_tokens, price[CATALOGUE_PRICE_IMAGE_TOKEN_IN]);
    bill(cost, &cost->input, tokens, price[CATALOGUE_PRICE_INPUT]);

    uint64_t written = or_else(price[CATALOGUE_PRICE_CACHE_WRITE], price[CATALOGUE_PRICE_INPUT]);
    uint64_t for_an_hour = least(usage->cache_write_1h_tokens, usage->cache_write_tokens);
    bill(cost, &cost->cache_write, for_an_hour, or_else(price[CATALOGUE_PRICE_CACHE_WRITE_1H], written));
    bill(cost, &cost->cache_write, usage->cache_write_tokens - for_an_hour, written);
}

static void
bill_output(struct cost *cost, const struct cost_usage *usage, const uint64_t *price)
{
    uint64_t tokens = usage->output_tokens;
    bill_apart(cost, &cost->audio, &tokens, usage->audio_out_tokens, price[CATALOGUE_PRICE_AUDIO_OUT]);
    bill_apart(cost, &cost->image, &tokens, usage->image_out_tokens, price[CATALOGUE_PRICE_IMAGE_TOKEN_OUT]);
    bill_apart(cost, &cost->reasoning, &tokens, usage->reasoning_tokens, price[CATALOGUE_PRICE_REASONING]);
    bill(cost, &cost->output, tokens, price[CATALOGUE_PRICE_OUTPUT]);
    if (price[CATALOGUE_PRICE_REASONING_EXTRA] != PRICE_UNKNOWN) {
        bill(cost, &cost->reasoning, usage->reasoning_tokens, price[CATALOGUE_PRICE_REASONING_EXTRA]);
    }
}

/* Seconds are billed by the millisecond; the product is exact before it is divided. */
static void
bill_time(struct cost *cost, uint64_t *part, uint64_t milliseconds, uint64_t price)
{
    uint64_t amount = 0;
    bill(cost, &amount, milliseconds, price);
    *part = add(*part, amount / 1000);
}

static void
bill_units(struct cost *cost, const struct cost_usage *usage, const uint64_t *price)
{
    bill(cost, &cost->image, usage->images_out, price[CATALOGUE_PRICE_IMAGE_OUT]);
    bill_time(cost, &cost->audio, usage->milliseconds_in, price[CATALOGUE_PRICE_SECOND_IN]);
    bill_time(cost, &cost->audio, usage->milliseconds_out, price[CATALOGUE_PRICE_SECOND_OUT]);
    bill(cost, &cost->audio, usage->characters_in, price[CATALOGUE_PRICE_CHARACTER_IN]);
    bill(cost, &cost->other, usage->searches, price[CATALOGUE_PRICE_SEARCH]);
    bill(cost, &cost->other, usage->pages, price[CATALOGUE_PRICE_PAGE]);
    if (price[CATALOGUE_PRICE_REQUEST] != PRICE_UNKNOWN) {
        bill(cost, &cost->other, 1, price[CATALOGUE_PRICE_REQUEST]);
    }
}

struct cost
cost_of(const struct catalogue_model *model, const struct cost_usage *usage)
{
    struct cost cost = {.model_found = model != NULL};
    if (model == NULL || model->n_prices == 0) {
        return cost;
    }
    bool is_sold_so = !usage->is_sold_otherwise && catalogue_sells(model, usage->service);
    bool is_search_told = usage->searches > 0 || !catalogue_can(model, CATALOGUE_CAN_ALWAYS_SEARCHES);
    struct catalogue_prices prices;
    /* What is written to a cache stands beside the input and is part of how long the question was. */
    uint64_t asked = add(usage->input_tokens, usage->cache_write_tokens);
    catalogue_prices(model, asked, usage->service, &prices);
    cost.known = is_sold_so && is_search_told;
    bill_input(&cost, usage, prices.of);
    bill_output(&cost, usage, prices.of);
    bill_units(&cost, usage, prices.of);
    const uint64_t parts[] = {cost.input,     cost.output, cost.cache_read, cost.cache_write,
                              cost.reasoning, cost.image,  cost.audio,      cost.other};
    for (size_t i = 0; i < DYN_ARRAY_LEN(parts); i++) {
        cost.total = add(cost.total, parts[i]);
    }
    return cost;
}

size_t
cost_usd_text(uint64_t amount, char out[COST_USD_TEXT_MAX])
{
    size_t len = dyn_uint_text(out, amount / PRICE_PER_USD);
    uint64_t rest = amount % PRICE_PER_USD;
    if (rest != 0) {
        out[len++] = '.';
        for (uint64_t unit = PRICE_PER_USD / 10; rest != 0; unit /= 10) {
            out[len++] = (char)('0' + rest / unit);
            rest %= unit;
        }
    }
    return len;
}
