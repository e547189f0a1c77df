/* simulate [--check] [--requests N] [--seed N]: every strategy through every scenario, as a page of docs/
 * (`./dev simulate` writes it). --check: fails where a promise is broken, and prints nothing else. */
#include "tests/simulator/sim.h"

#include "core/log.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

enum { SEED = 7 };
#define DEFAULTS "{}"
#define BY_RATE  "{failure_rate: 50}"
/* In a full outage, from when the breakers are open: calls for each request. */
#define OPEN_RATIO_MAX 1.2

static const struct {
    const char *name;
    const char *strategy;
} strategies[] = {
    {"single", "mode: single"},
    {"fallback", "mode: fallback"},
    {"loadbalance", "mode: loadbalance"},
    {"least-latency", "mode: least-latency"},
    {"cost-optimized", "mode: cost-optimized"},
    {"least-busy", "mode: least-busy"},
    {"sticky", "mode: sticky, sticky: {by: user}"},
    {"conditional", "mode: conditional, conditions: [{key: model, value: m, target_key: t0}]"},
    {"content-based",
     "mode: content-based, content_conditions: [{type: prompt_contains, value: \"001\", target_key: t0}]"},
    {"ab-test", "mode: ab-test, ab_variants: [{target_key: t0, weight: 1}, {target_key: t1, weight: 1}]"},
};

static void
run(struct sim_options *options, const char *strategy, struct sim_result *result)
{
    struct dyn_err err = {.text = ""};
    options->strategy = strategy;
    options->n_asked = strcmp(strategy, "mode: single") == 0 ? 1 : SIM_TARGETS;
    if (sim_run(options, result, &err) != 0) {
        (void)fprintf(stderr, "simulate: %s: %s\n", strategy, err.text);
        exit(2);
    }
}

static double
percent(size_t part, size_t whole)
{
    return whole > 0 ? 100.0 * (double)part / (double)whole : 0;
}

/* Calls beyond one for each request that made any; a strategy that refuses at once makes fewer. */
static double
added_percent(size_t calls, size_t requests)
{
    return requests > 0 ? 100.0 * ((double)calls - (double)requests) / (double)requests : 0;
}

/* ---- the page ---- */

static void
print_row(const char *name, const struct sim_result *result)
{
    (void)printf("| %s | %.2f %% | %.2f %% | %+.1f %% | %+.1f %% | %llu | %llu |\n", name,
                 percent(result->served, result->requests),
                 percent(result->trouble_served, result->trouble_requests),
                 added_percent(result->calls, result->requests),
                 added_percent(result->trouble_calls, result->trouble_requests),
                 (unsigned long long)(result->p50_us / 1000), (unsigned long long)(result->p99_us / 1000));
}

static void
print_scenario(struct sim_options *options)
{
    (void)printf("\n## %s\n\n", options->scenario->title);
    (void)printf("| strategy | served | while it lasts | added calls | while it lasts | p50 ms | p99 ms |\n"
                 "|---|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < DYN_ARRAY_LEN(strategies); i++) {
        struct sim_result result;
        run(options, strategies[i].strategy, &result);
        print_row(strategies[i].name, &result);
    }
}

static const struct sim_scenario *
find_scenario(const char *name)
{
    const struct sim_scenario *scenario = sim_scenarios;
    while (strcmp(scenario->name, name) != 0) {
        scenario++;
    }
    return scenario;
}

static double
ratio(size_t calls, size_t requests)
{
    return requests > 0 ? (double)calls / (double)requests : 0;
}

static void
print_breakers(struct sim_options *options)
{
    options->scenario = find_scenario("full-outage");
    (void)printf("\n## What breakers keep away in a full outage\n\n"
                 "Calls that reached an upstream for each request: in the beginning, until the breakers of\n"
                 "all targets were open; then, until the trouble is over; and the same five minutes with\n"
                 "no breaker.\n\n"
                 "| strategy | all open after | calls for each request before | then | without breakers |\n"
                 "|---|---|---|---|---|\n");
    for (size_t i = 0; i < DYN_ARRAY_LEN(strategies); i++) {
        struct sim_result with;
        struct sim_result without;
        run(options, strategies[i].strategy, &with);
        options->breaker = NULL;
        run(options, strategies[i].strategy, &without);
        options->breaker = DEFAULTS;
        char after[16] = "";
        if (with.open_after_us != UINT64_MAX) {
            (void)snprintf(after, sizeof after, "%.2f s", (double)with.open_after_us / 1e6);
        }
        (void)printf("| %s | %s | %.2f | %.3f | %.2f |\n", strategies[i].name, after,
                     ratio(with.calls_before, with.requests_before),
                     ratio(with.open_calls, with.open_requests),
                     ratio(without.trouble_calls, without.trouble_requests));
    }
}

static void
print_price_of_breakers(struct sim_options *options)
{
    static const char *const breakers[] = {DEFAULTS, BY_RATE, NULL};
    options->scenario = find_scenario("brown-out");
    (void)printf("\n## What breakers cost in a brown-out\n\n"
                 "A breaker opens at five failures in a row. Failures of a front end come within\n"
                 "milliseconds and answers take a second, so five can stand in a row where seven calls in\n"
                 "ten go well. Where another target is there that costs nobody anything; where a request\n"
                 "has one target only, it costs the requests that would have been served. There write\n"
                 "`circuit_breaker: " BY_RATE "`: five in a row, and half of the calls of the last\n"
                 "ten seconds.\n\n"
                 "| strategy | served while it lasts | with the failure rate | without breakers |\n"
                 "|---|---|---|---|\n");
    for (size_t i = 0; i < DYN_ARRAY_LEN(strategies); i++) {
        (void)printf("| %s |", strategies[i].name);
        for (size_t k = 0; k < DYN_ARRAY_LEN(breakers); k++) {
            struct sim_result result;
            options->breaker = breakers[k];
            run(options, strategies[i].strategy, &result);
            (void)printf(" %.2f %% |", percent(result.trouble_served, result.trouble_requests));
        }
        (void)printf("\n");
        options->breaker = DEFAULTS;
    }
}

static void
print_page(struct sim_options *options)
{
    (void)printf(
        "# Strategies under failure\n\n"
        "Written by `./dev simulate`. %zu requests at %d a second to three targets whose answers\n"
        "take 400, 500 and 600 ms, one in twenty of them four times as long; each target is tried\n"
        "twice (`retry: {attempts: 2}`) and has a `circuit_breaker` with its defaults. From\n"
        "second %d to second %d there is the trouble that the heading names. Time is virtual;\n"
        "the router, breakers, credentials and latencies are the code of the gateway itself\n"
        "(tests/simulator). The same seed gives the same page.\n\n"
        "*Served*: requests that were answered. *Added calls*: calls to upstreams beyond one for\n"
        "each request; below zero where breakers refuse at once. p50 and p99 are of served\n"
        "requests, waits included. `single` has one target; `conditional` and `content-based` name one\n"
        "by their rule, and do not walk past its failure.\n",
        options->n_requests, SIM_RATE, SIM_TROUBLE_FROM_S, SIM_TROUBLE_UNTIL_S);
    for (const struct sim_scenario *scenario = sim_scenarios; scenario->name != NULL; scenario++) {
        options->scenario = scenario;
        print_scenario(options);
    }
    print_breakers(options);
    print_price_of_breakers(options);
}

/* ---- the promises ---- */

static int
expect(bool is_so, const char *strategy, const char *promise, double figure)
{
    if (!is_so) {
        (void)fprintf(stderr, "simulate: %s: %s (%.3f)\n", strategy, promise, figure);
    }
    return is_so ? 0 : 1;
}

static int
check_full_outage(struct sim_options *options, size_t strategy)
{
    const char *name = strategies[strategy].name;
    struct sim_result result;
    options->scenario = find_scenario("full-outage");
    run(options, strategies[strategy].strategy, &result);
    double after = ratio(result.open_calls, result.open_requests);
    int broken = expect(result.open_requests > 0, name, "the breakers of all targets never open",
                        (double)result.open_requests);
    broken += expect(after <= OPEN_RATIO_MAX, name, "too many calls while all breakers are open", after);
    size_t outside = result.requests - result.trouble_requests;
    double served = percent(result.served - result.trouble_served, outside);
    return broken + expect(served > 90, name, "it does not come back after a full outage", served);
}

/* Those that go on to another target serve everybody while one is out. */
static int
check_outage(struct sim_options *options, size_t strategy)
{
    static const char *const walkers[] = {"fallback",       "loadbalance", "least-latency",
                                          "cost-optimized", "least-busy",  "sticky"};
    struct sim_result result;
    bool walks = false;
    for (size_t i = 0; i < DYN_ARRAY_LEN(walkers); i++) {
        walks = walks || strcmp(walkers[i], strategies[strategy].name) == 0;
    }
    options->scenario = find_scenario("outage");
    run(options, strategies[strategy].strategy, &result);
    double served = percent(result.served, result.requests);
    double added = added_percent(result.calls, result.requests);
    return expect(!walks || served == 100, strategies[strategy].name, "an outage costs requests", served) +
           expect(!walks || added < 20, strategies[strategy].name, "an outage costs too many calls", added);
}

/* Asked for a failure rate, breakers leave a target alone that serves most of its calls, and no other. */
static int
check_rate(struct sim_options *options)
{
    static const struct {
        const char *scenario;
        const char *promise;
        double served_min, served_max; /* percent, while it lasts */
    } promises[] = {{"brown-out", "a failure rate does not keep the breaker closed", 80, 100},
                    {"full-outage", "with a failure rate the breaker stays closed", 0, 0}};
    int broken = 0;
    options->breaker = BY_RATE;
    for (size_t i = 0; i < DYN_ARRAY_LEN(promises); i++) {
        struct sim_result result;
        options->scenario = find_scenario(promises[i].scenario);
        run(options, "mode: single", &result);
        double served = percent(result.trouble_served, result.trouble_requests);
        double calls = ratio(result.trouble_calls, result.trouble_requests);
        bool is_so = served >= promises[i].served_min && served <= promises[i].served_max;
        broken += expect(is_so && (served > 0 || calls < 0.1), "single", promises[i].promise, calls);
    }
    options->breaker = DEFAULTS;
    return broken;
}

static int
check(struct sim_options *options)
{
    int broken = check_rate(options);
    for (size_t i = 0; i < DYN_ARRAY_LEN(strategies); i++) {
        struct sim_result calm;
        options->scenario = find_scenario("calm");
        run(options, strategies[i].strategy, &calm);
        broken += expect(calm.served == calm.requests && calm.calls == calm.requests, strategies[i].name,
                         "a calm day is not calm", (double)calm.served);
        broken += check_full_outage(options, i);
        broken += check_outage(options, i);
    }
    return broken > 0 ? 1 : 0;
}

int
main(int argc, char **argv)
{
    static const struct option known[] = {{"check", no_argument, NULL, 'c'},
                                          {"requests", required_argument, NULL, 'n'},
                                          {"seed", required_argument, NULL, 's'},
                                          {NULL, 0, NULL, 0}};
    struct sim_options options = {.n_requests = SIM_REQUESTS, .seed = SEED, .breaker = DEFAULTS};
    bool checks = false;
    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (c == '?') {
            return 2;
        }
        checks = checks || c == 'c';
        options.n_requests = c == 'n' ? strtoul(optarg, NULL, 10) : options.n_requests;
        options.seed = c == 's' ? strtoull(optarg, NULL, 10) : options.seed;
    }
    dyn_log_configure(2, DYN_LOG_ERROR, DYN_LOG_FORMAT_TEXT);
    if (checks) {
        return check(&options);
    }
    print_page(&options);
    return 0;
}
