#include "router/vote_breaker.h"

bool
vote_breaker_admits(struct vote_breaker *breaker, uint64_t now_us)
{
    if (breaker->open_until_us == 0) {
        return true;
    }
    if (breaker->is_probing || now_us < breaker->open_until_us) {
        return false;
    }
    breaker->is_probing = true;
    return true;
}

void
vote_breaker_succeeded(struct vote_breaker *breaker)
{
    *breaker = (struct vote_breaker){.failures = 0};
}

void
vote_breaker_failed(struct vote_breaker *breaker, uint64_t now_us)
{
    breaker->failures++;
    breaker->is_probing = false;
    if (breaker->failures >= VOTE_BREAKER_FAILURES) {
        breaker->open_until_us = now_us + VOTE_BREAKER_OPEN_US;
    }
}

void
vote_breaker_abandoned(struct vote_breaker *breaker)
{
    breaker->is_probing = false;
}
