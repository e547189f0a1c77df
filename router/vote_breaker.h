/* Keeps a plugin that fails again and again from costing each request its time limit: after
 * VOTE_BREAKER_FAILURES in a row nobody asks it for VOTE_BREAKER_OPEN_US, then one request tries. Pure; one
 * for each plugin and router. */
#pragma once

#include "core/base.h"

enum { VOTE_BREAKER_FAILURES = 5, VOTE_BREAKER_OPEN_US = 5 * 1000 * 1000 };

struct vote_breaker {
    unsigned failures;    /* in a row */
    uint64_t open_until_us; /* 0: closed */
    bool is_probing;
};

/* Whether it may be asked now; who is told yes has to say how it went. */
bool vote_breaker_admits(struct vote_breaker *breaker, uint64_t now_us);
void vote_breaker_succeeded(struct vote_breaker *breaker);
void vote_breaker_failed(struct vote_breaker *breaker, uint64_t now_us);
/* It was asked, and nobody wanted to know any more. */
void vote_breaker_abandoned(struct vote_breaker *breaker);
static inline bool
vote_breaker_is_open(const struct vote_breaker *breaker)
{
    return breaker->open_until_us != 0;
}
