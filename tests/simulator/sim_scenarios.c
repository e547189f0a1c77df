/* The servers behind the upstreams: how fast they are, and what befalls them between minute five and minute
 * ten. */
#include "tests/simulator/sim.h"

/* Of a whole answer, about; one in twenty takes several times as long. */
static const uint64_t usual_us[SIM_TARGETS] = {400 * 1000, 500 * 1000, 600 * 1000};

enum {
    TAIL_PERCENT = 5,
    TAIL_FACTOR = 4,
    REFUSED_US = 20 * 1000, /* an error of a front end comes fast */
    BROWN_PERCENT = 30,     /* of calls fail */
    BROWN_FACTOR = 3,
    SLOW_FACTOR = 12,
    LIMIT_RATE = 20, /* calls a second that a limited upstream takes */
    LIMIT_RETRY_MS = 2000,
};

static struct sim_fate
answers(struct sim_upstream *upstream, unsigned factor)
{
    struct dyn_rng *rng = &upstream->sim->rng;
    uint64_t usual = usual_us[upstream->index];
    uint64_t took_us = usual / 2 + dyn_rng_below(rng, usual);
    bool is_tail = dyn_rng_below(rng, 100) < TAIL_PERCENT;
    return (struct sim_fate){
        .error = ERR_NONE, .status = 200, .took_us = took_us * factor * (is_tail ? TAIL_FACTOR : 1)};
}

static bool
is_trouble(const struct sim_upstream *upstream)
{
    return sim_is_trouble(upstream->sim->now_us);
}

static struct sim_fate
fails(void)
{
    return (struct sim_fate){.error = ERR_UPSTREAM_ERROR, .status = 503, .took_us = REFUSED_US};
}

static struct sim_fate
all_is_well(struct sim_upstream *upstream)
{
    return answers(upstream, 1);
}

static struct sim_fate
first_is_out(struct sim_upstream *upstream)
{
    return upstream->index == 0 && is_trouble(upstream) ? fails() : answers(upstream, 1);
}

static struct sim_fate
all_are_out(struct sim_upstream *upstream)
{
    return is_trouble(upstream) ? fails() : answers(upstream, 1);
}

static struct sim_fate
first_is_brown(struct sim_upstream *upstream)
{
    if (upstream->index != 0 || !is_trouble(upstream)) {
        return answers(upstream, 1);
    }
    return dyn_rng_below(&upstream->sim->rng, 100) < BROWN_PERCENT ? fails()
                                                                   : answers(upstream, BROWN_FACTOR);
}

/* The first two take a fifth of the load each, and say when to come back. */
static struct sim_fate
two_are_limited(struct sim_upstream *upstream)
{
    uint64_t now_us = upstream->sim->now_us;
    double tokens = upstream->tokens + (double)(now_us - upstream->tokens_us) / (double)SIM_US * LIMIT_RATE;
    upstream->tokens_us = now_us;
    upstream->tokens = tokens < LIMIT_RATE ? tokens : LIMIT_RATE;
    if (upstream->index == SIM_TARGETS - 1 || !is_trouble(upstream)) {
        return answers(upstream, 1);
    }
    if (upstream->tokens < 1) {
        return (struct sim_fate){.error = ERR_UPSTREAM_RATE_LIMIT,
                                 .status = 429,
                                 .retry_ms = LIMIT_RETRY_MS,
                                 .took_us = REFUSED_US};
    }
    upstream->tokens -= 1;
    return answers(upstream, 1);
}

static struct sim_fate
first_is_slow(struct sim_upstream *upstream)
{
    return answers(upstream, upstream->index == 0 && is_trouble(upstream) ? SLOW_FACTOR : 1);
}

const struct sim_scenario sim_scenarios[] = {
    {"calm", "All is well", all_is_well},
    {"outage", "Outage: the first target answers 503", first_is_out},
    {"full-outage", "Full outage: every target answers 503", all_are_out},
    {"brown-out", "Brown-out: the first target fails 30 % and takes three times as long", first_is_brown},
    {"rate-limits", "Rate-limit storm: the first two take 20 requests a second, then 429", two_are_limited},
    {"slow", "Slow target: the first takes twelve times as long", first_is_slow},
    {.name = NULL},
};
