/* `config:` of the budget plugin, and what a request costs by it. */
#pragma once

#include "core/config.h"
#include "limits/money.h"
#include "proto/vote.h"

enum budget_unpriced { BUDGET_ALLOW, BUDGET_DENY, BUDGET_DEFAULT };
enum budget_per { BUDGET_PER_KEY, BUDGET_PER_GROUP, BUDGET_PER_USER, BUDGET_PER_GATEWAY };

struct budget_config {
    struct dyn_slice store_id;
    double spend_limit_usd;
    int period; /* enum money_window of spend_limit_usd */
    double limits_usd[MONEY_WINDOWS];
    bool is_limit_set[MONEY_WINDOWS];
    double input_per_m, output_per_m, cache_read_per_m, cache_write_per_m;
    bool is_cache_read_set, is_cache_write_set;
    int64_t max_keys;
    int per;
    int unpriced;
    double default_reserve_usd;
    double block_usd;
};
extern const struct config_section budget_config_section;
void budget_config_check(void *config, struct config_problems *problems);

/* USD per million tokens is 10^-12 USD per token times a million: whole numbers from here on. */
struct budget_rates {
    bool is_set; /* else the catalogue's prices hold */
    bool has_cache_read;
    uint64_t input, output, cache_read, cache_write; /* of one token */
};
struct budget_rates budget_rates_of(const struct budget_config *config);
/* Sums that would not fit are the most there is. */
uint64_t budget_cost(const struct budget_rates *rates, const struct env_usage *usage);
/* Of the limits: MONEY_UNLIMITED where there is none. */
void budget_limits(const struct budget_config *config, uint64_t limits[MONEY_WINDOWS]);
