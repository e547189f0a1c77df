#include "router/retry.h"

#define US_PER_SECOND UINT64_C(1000000)
#define BACKOFF_BITS  20 /* of doublings: beyond it any base is longer than any wait */
#define HTTP_TIMEOUT  408
#define HTTP_TOO_MANY 429
#define HTTP_SERVER   500

/* ---- what a failure means ---- */

bool
route_failure_is_refusal(const struct route_failure *failure)
{
    bool is_open = failure->error == ERR_UPSTREAM_UNAVAILABLE && failure->calls == 0;
    return is_open || failure->error == ERR_PROVIDER_SATURATED;
}

bool
route_failure_is_of_credential(const struct route_failure *failure)
{
    return err_row(failure->error)->blame == ERR_BLAME_KEY && failure->creds > 0;
}

bool
route_failure_may_be_mended_elsewhere(const struct route_failure *failure)
{
    const struct err_row *row = err_row(failure->error);
    bool is_of_target = row->blame == ERR_BLAME_KEY || row->blame == ERR_BLAME_PROVIDER;
    bool is_not_known_there =
        failure->error == ERR_UPSTREAM_NOT_FOUND || failure->error == ERR_UNSUPPORTED_PARAMETER;
    return row->retryable || is_of_target || is_not_known_there;
}

static bool
is_listed(const struct route_retry *retry, uint16_t status)
{
    for (size_t i = 0; i < retry->n_on_status; i++) {
        if (retry->on_status[i] == status) {
            return true;
        }
    }
    return false;
}

bool
route_retry_may_help(const struct route_retry *retry, const struct route_failure *failure)
{
    uint16_t status = failure->upstream_status;
    if (route_failure_is_refusal(failure)) {
        return false;
    }
    if (status < 300) { /* no answer, or one that broke off */
        return err_row(failure->error)->retryable;
    }
    if (retry->n_on_status > 0) {
        return is_listed(retry, status);
    }
    return status == HTTP_TIMEOUT || status == HTTP_TOO_MANY || status >= HTTP_SERVER;
}

bool
route_retry_wait_ms(const struct route_retry *retry, const struct route_failure *failure, uint32_t tries,
                    struct dyn_rng *rng, uint64_t *wait_ms)
{
    if (failure->retry_ms > 0) {
        *wait_ms = failure->retry_ms;
        return failure->retry_ms <= ROUTE_HINT_WAIT_MAX_MS;
    }
    uint32_t doublings = tries > 0 ? tries - 1 : 0;
    doublings = doublings < BACKOFF_BITS ? doublings : BACKOFF_BITS;
    uint64_t bound = (uint64_t)retry->base_ms << doublings;
    bound = retry->max_ms > 0 && bound > retry->max_ms ? retry->max_ms : bound;
    *wait_ms = bound > 0 ? dyn_rng_below(rng, bound) : 0;
    return true;
}

/* ---- the budget ---- */

/* Seconds that have passed since the newest bucket are emptied. */
static size_t
bucket_of(struct route_budget *budget, uint64_t now_us)
{
    uint64_t second = now_us / US_PER_SECOND;
    uint64_t passed = second > budget->second ? second - budget->second : 0;
    for (uint64_t i = 1; i <= passed && i <= ROUTE_BUDGET_WINDOW_S; i++) {
        size_t bucket = (size_t)((budget->second + i) % ROUTE_BUDGET_WINDOW_S);
        budget->all_requests -= budget->requests[bucket];
        budget->all_spent -= budget->spent[bucket];
        budget->requests[bucket] = 0;
        budget->spent[bucket] = 0;
    }
    budget->second += passed;
    return (size_t)(budget->second % ROUTE_BUDGET_WINDOW_S);
}

void
route_budget_count(struct route_budget *budget, uint64_t now_us)
{
    budget->requests[bucket_of(budget, now_us)]++;
    budget->all_requests++;
}

bool
route_budget_spend(struct route_budget *budget, struct route_share share, uint64_t now_us)
{
    size_t bucket = bucket_of(budget, now_us);
    uint64_t always = (uint64_t)share.min_per_second * ROUTE_BUDGET_WINDOW_S * 100;
    if (budget->all_spent * 100 >= budget->all_requests * share.percent + always) {
        return false;
    }
    budget->spent[bucket]++;
    budget->all_spent++;
    return true;
}
