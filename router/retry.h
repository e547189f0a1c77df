/* retry: what follows a failed attempt, when, and how much of it all requests together may do. Pure: times
 * and the random source are given. The walker (walker.c) acts on it; which target comes next is the order's
 * business. docs/retries.md says it for users. */
#pragma once

#include "core/rand.h"
#include "router/strategy.h"

enum {
    ROUTE_HINT_WAIT_MAX_MS = 30 * 1000, /* an upstream that asks for more is left alone for this request */
    ROUTE_BUDGET_WINDOW_S = 10,
    ROUTE_CREDENTIAL_TRIES_MAX = 8, /* other credentials of a target for one request */
};

/* How an attempt failed. */
struct route_failure {
    enum err_code error;
    uint16_t upstream_status; /* 0: no answer came */
    uint32_t retry_ms;        /* what the upstream or the breaker asks for; 0: nothing */
    uint32_t creds;           /* of the target that are fit for use */
    uint32_t calls;           /* to an upstream, in this attempt */
};

/* The target did not take it: its breaker is open, or it is full. Nobody was called, so no attempt was used
 * up, and the same target is not asked again. */
bool route_failure_is_refusal(const struct route_failure *failure);
/* The credential failed, and the target has another one. */
bool route_failure_is_of_credential(const struct route_failure *failure);
/* Another target may answer what this one did not: all but what would be wrong anywhere. */
bool route_failure_may_be_mended_elsewhere(const struct route_failure *failure);
/* Another try at the same target may help, by the target's own list or the usual one. */
bool route_retry_may_help(const struct route_retry *retry, const struct route_failure *failure);

/* How long to wait before try `tries` + 1 at a target: what the upstream asked for, else uniformly in
 * [0, base * 2^(tries - 1)), at most max_ms. false: it asks for too long. */
bool route_retry_wait_ms(const struct route_retry *retry, const struct route_failure *failure, uint32_t tries,
                         struct dyn_rng *rng, uint64_t *wait_ms);

/* What has been spent of a share. Of one router. */
struct route_budget {
    uint64_t second; /* of the newest bucket */
    uint32_t requests[ROUTE_BUDGET_WINDOW_S];
    uint32_t spent[ROUTE_BUDGET_WINDOW_S];
    uint64_t all_requests; /* sums of the buckets */
    uint64_t all_spent;
};

void route_budget_count(struct route_budget *budget, uint64_t now_us);
/* Whether there is something left; takes it. */
bool route_budget_spend(struct route_budget *budget, struct route_share share, uint64_t now_us);
