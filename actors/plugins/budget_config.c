/* See budget_config.h. */
#include "actors/plugins/budget_config.h"

#include <math.h>

#define USD_MAX       1e6 /* of a limit; beyond it 64 bits would not hold the sums */
#define USD_PER_M_MAX 1e6

static const char *const period_names[] = {"day", "week", "month", "total", NULL};
static const char *const unpriced_names[] = {"allow", "deny", "default", NULL};
static const char *const per_names[] = {"key", "group", "user", "gateway", NULL};

#define USD_KEY(key, field, most, text)                                                                      \
    {                                                                                                        \
        .name = key, .type = CONFIG_NUMBER, .offset = offsetof(struct budget_config, field), .min = 0,       \
        .max = most, .help = text                                                                            \
    }
#define LIMIT_KEY(key, window, text)                                                                         \
    {                                                                                                        \
        .name = key, .type = CONFIG_NUMBER, .offset = offsetof(struct budget_config, limits_usd[window]),    \
        .set_offset = offsetof(struct budget_config, is_limit_set[window]), .min = 0, .max = USD_MAX,        \
        .help = text                                                                                         \
    }

static const struct config_key keys[] = {
    {.name = "store_id",
     .type = CONFIG_STRING,
     .offset = offsetof(struct budget_config, store_id),
     .default_text = "default",
     .help = "What is spent is kept under this name; a new name begins at nothing."},
    USD_KEY("spend_limit_usd", spend_limit_usd, USD_MAX,
            "The most that may be spent in each `period`. `0`: spend is counted and nothing refused for it."),
    {.name = "period",
     .type = CONFIG_ENUM,
     .offset = offsetof(struct budget_config, period),
     .default_text = "total",
     .names = period_names,
     .help = "What `spend_limit_usd` is for: a day, a week from Monday, a month, each in UTC; or ever."},
    LIMIT_KEY("day_usd", MONEY_DAY, "The most in a day; beside other limits."),
    LIMIT_KEY("week_usd", MONEY_WEEK, "The most in a week from Monday."),
    LIMIT_KEY("month_usd", MONEY_MONTH, "The most in a month of the calendar."),
    LIMIT_KEY("total_usd", MONEY_TOTAL, "The most ever."),
    USD_KEY(
        "input_per_m_tokens", input_per_m, USD_PER_M_MAX,
        "USD for a million tokens of prompts. When this or `output_per_m_tokens` is above 0 all models cost "
        "that; else what the model catalogue says."),
    USD_KEY("output_per_m_tokens", output_per_m, USD_PER_M_MAX, "USD for a million tokens of answers."),
    {.name = "cache_read_per_m_tokens",
     .type = CONFIG_NUMBER,
     .offset = offsetof(struct budget_config, cache_read_per_m),
     .set_offset = offsetof(struct budget_config, is_cache_read_set),
     .min = 0,
     .max = USD_PER_M_MAX,
     .help =
         "USD for a million tokens of prompts that a provider had in its cache. Not given: they cost what "
         "others do."},
    {.name = "cache_write_per_m_tokens",
     .type = CONFIG_NUMBER,
     .offset = offsetof(struct budget_config, cache_write_per_m),
     .set_offset = offsetof(struct budget_config, is_cache_write_set),
     .min = 0,
     .max = USD_PER_M_MAX,
     .help = "USD for a million tokens that a provider wrote to its cache."},
    {.name = "max_keys",
     .type = CONFIG_INT,
     .offset = offsetof(struct budget_config, max_keys),
     .default_text = "10000",
     .min = 0,
     .max = 16777216,
     .help = "Keys (users) kept in memory; beyond it the one that has spent least leaves. `0`: a million."},
    {.name = "per",
     .type = CONFIG_ENUM,
     .offset = offsetof(struct budget_config, per),
     .default_text = "key",
     .names = per_names,
     .help =
         "Whose spend is counted: of each key, of each group of keys, of each `user` that bodies name, or of "
         "the whole gateway. What has no key (no group, no `user`) is not counted. Budgets that stand in "
         "keys "
         "themselves hold beside it."},
    {.name = "unpriced",
     .type = CONFIG_ENUM,
     .offset = offsetof(struct budget_config, unpriced),
     .default_text = "allow",
     .names = unpriced_names,
     .help =
         "What happens to a request for a model without a price: it passes and costs nothing, it is refused, "
         "or it costs `default_reserve_usd`."},
    {.name = "default_reserve_usd",
     .type = CONFIG_NUMBER,
     .offset = offsetof(struct budget_config, default_reserve_usd),
     .default_text = "0.01",
     .min = 0,
     .max = USD_MAX,
     .help = "What is reserved when it cannot be told what a request may cost."},
    {.name = "block_usd",
     .type = CONFIG_NUMBER,
     .offset = offsetof(struct budget_config, block_usd),
     .default_text = "0.1",
     .min = 0.000001,
     .max = USD_MAX,
     .help =
         "How much spend is written to the store before it is spent. After a crash at most so much too much "
         "counts as spent; a smaller one is written more often."},
    {.name = NULL},
};
const struct config_section budget_config_section = {
    .keys = keys, .size = sizeof(struct budget_config), .mark_offset = SIZE_MAX};

void
budget_config_check(void *config, struct config_problems *problems)
{
    const struct budget_config *self = config;
    if (self->is_limit_set[self->period] && self->spend_limit_usd > 0) {
        config_problem_add(problems, config_mark_of(problems, &self->spend_limit_usd), false,
                           "'spend_limit_usd' and '%s_usd' limit the same period",
                           period_names[self->period]);
    }
}

static uint64_t
per_token(double usd_per_m)
{
    return (uint64_t)(usd_per_m * 1e6 + 0.5);
}

struct budget_rates
budget_rates_of(const struct budget_config *config)
{
    struct budget_rates rates = {
        .has_cache_read = config->is_cache_read_set && config->cache_read_per_m > 0,
        .input = per_token(config->input_per_m),
        .output = per_token(config->output_per_m),
        .cache_read = per_token(config->cache_read_per_m),
        .cache_write = per_token(config->cache_write_per_m),
    };
    rates.is_set = rates.input != 0 || rates.output != 0 || rates.cache_read != 0 || rates.cache_write != 0;
    return rates;
}

static uint64_t
add_tokens(uint64_t sum, uint64_t tokens, uint64_t price)
{
    __uint128_t all = (__uint128_t)tokens * price + sum;
    return all > UINT64_MAX - 1 ? UINT64_MAX - 1 : (uint64_t)all;
}

uint64_t
budget_cost(const struct budget_rates *rates, const struct env_usage *usage)
{
    uint64_t cached =
        usage->cached_tokens < usage->prompt_tokens ? usage->cached_tokens : usage->prompt_tokens;
    uint64_t read = rates->has_cache_read ? cached : 0;
    uint64_t sum = add_tokens(0, usage->prompt_tokens - read, rates->input);
    sum = add_tokens(sum, read, rates->cache_read);
    sum = add_tokens(sum, usage->cache_write_tokens, rates->cache_write);
    return add_tokens(sum, usage->completion_tokens, rates->output);
}

void
budget_limits(const struct budget_config *config, uint64_t limits[MONEY_WINDOWS])
{
    for (size_t w = 0; w < MONEY_WINDOWS; w++) {
        limits[w] = config->is_limit_set[w] ? money_from_usd(config->limits_usd[w]) : MONEY_UNLIMITED;
    }
    if (config->spend_limit_usd > 0) {
        limits[config->period] = money_from_usd(config->spend_limit_usd);
    }
}
