/* The upstreams: how fast they are, and what befalls them between minute five and minute ten. */
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
answers(struct sim *sim, size_t target, unsigned factor)
{
    uint64_t took_us = usual_us[target] / 2 + dyn_rng_below(&sim->rng, usual_us[target]);
    bool is_tail = dyn_rng_below(&sim->rng, 100) < TAIL_PERCENT;
    return (struct sim_fate){
        .error = ERR_NONE, .status = 200, .took_us = took_us * factor * (is_tail ? TAIL_FACTOR : 1)};
}

static struct sim_fate
fails(void)
{
    return (struct sim_fate){.error = ERR_UPSTREAM_ERROR, .status = 503, .took_us = REFUSED_US};
}

static struct sim_fate
all_is_well(struct sim *sim, size_t target)
{
    return answers(sim, target, 1);
}

static struct sim_fate
first_is_out(struct sim *sim, size_t target)
{
    return target == 0 && sim_is_trouble(sim->now_us) ? fails() : answers(sim, target, 1);
}

static struct sim_fate
all_are_out(struct sim *sim, size_t target)
{
    return sim_is_trouble(sim->now_us) ? fails() : answers(sim, target, 1);
}

static struct sim_fate
first_is_brown(struct sim *sim, size_t target)
{
    if (target != 0 || !sim_is_trouble(sim->now_us)) {
        return answers(sim, target, 1);
    }
    return dyn_rng_below(&sim->rng, 100) < BROWN_PERCENT ? fails() : answers(sim, target, BROWN_FACTOR);
}

/* The first two take a fifth of the load each, and say when to come back. */
static struct sim_fate
two_are_limited(struct sim *sim, size_t target)
{
    double passed_s = (double)(sim->now_us - sim->bucket_us[target]) / (double)SIM_US;
    double tokens = sim->bucket[target] + passed_s * LIMIT_RATE;
    sim->bucket_us[target] = sim->now_us;
    sim->bucket[target] = tokens < LIMIT_RATE ? tokens : LIMIT_RATE;
    if (target == SIM_TARGETS - 1 || !sim_is_trouble(sim->now_us)) {
        return answers(sim, target, 1);
    }
    if (sim->bucket[target] < 1) {
        return (struct sim_fate){.error = ERR_UPSTREAM_RATE_LIMIT,
                                 .status = 429,
                                 .retry_ms = LIMIT_RETRY_MS,
                                 .took_us = REFUSED_US};
    }
    sim->bucket[target] -= 1;
    return answers(sim, target, 1);
}

static struct sim_fate
first_is_slow(struct sim *sim, size_t target)
{
    return answers(sim, target, target == 0 && sim_is_trouble(sim->now_us) ? SLOW_FACTOR : 1);
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
