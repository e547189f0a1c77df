/* What holds of every decision, over thousands of made-up configurations, requests and states of targets: who
 * is named is a candidate, nobody is named twice, the order is the documented one, an explanation of it is
 * the order itself, and weights are what they say. Every case is made from a seed that a failure names. */
#include "route_cases.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { CASES = 10000, TARGETS_MAX = 12, MODES = ROUTE_MODE_STICKY + 1 };

/* ---- cases ---- */

static void
make_targets(struct scene *scene, struct dyn_rng *rng)
{
    for (size_t i = 0; i < scene->n; i++) {
        struct route_target_view *seen = &scene->seen[i];
        scene->targets[i].weight = (double)dyn_rng_below(rng, 4);
        seen->state = dyn_rng_below(rng, 4) == 0 ? HEALTH_OPEN : HEALTH_CLOSED;
        seen->state = dyn_rng_below(rng, 8) == 0 ? HEALTH_HALF_OPEN : seen->state;
        seen->retry_ms = (uint32_t)dyn_rng_below(rng, 5000);
        seen->in_flight = (uint32_t)dyn_rng_below(rng, 10);
        seen->samples = (uint32_t)dyn_rng_below(rng, 3);
        seen->ttft_us = dyn_rng_below(rng, 5);
        seen->total_us = dyn_rng_below(rng, 5);
        seen->ewma_us = dyn_rng_below(rng, 5);
        seen->is_in_catalogue = dyn_rng_below(rng, 3) > 0;
        bool is_priced = seen->is_in_catalogue && dyn_rng_below(rng, 3) > 0;
        seen->price_in = is_priced ? dyn_rng_below(rng, 5) : PRICE_UNKNOWN;
        seen->price_out = is_priced ? dyn_rng_below(rng, 5) : PRICE_UNKNOWN;
        if (dyn_rng_below(rng, 4) == 0) {
            route_set_remove(&scene->view.candidates, i);
        }
    }
}

static void
make_facts(struct scene *scene, struct dyn_rng *rng)
{
    static const struct env_header header = {DYN_SLICE_INIT("team"), DYN_SLICE_INIT("blue")};
    static const struct route_pair pair = {DYN_SLICE_INIT("tier"), DYN_SLICE_INIT("gold")};
    static const struct dyn_slice texts[] = {DYN_SLICE_INIT("hello aab"), DYN_SLICE_INIT("x refund")};
    static const uint8_t named[] = {0, 1, 0};
    struct route_facts *facts = &scene->facts;
    facts->model = dyn_rng_below(rng, 2) ? DYN_SLICE("m") : DYN_SLICE("other");
    facts->stream = dyn_rng_below(rng, 2) == 0;
    facts->has_tools = dyn_rng_below(rng, 2) == 0;
    facts->user = dyn_rng_below(rng, 2) ? DYN_SLICE("eve") : dyn_slice(NULL, 0);
    facts->key_id = dyn_rng_below(rng, 2) ? DYN_SLICE("k") : dyn_slice(NULL, 0);
    facts->prompt_tokens = dyn_rng_below(rng, 100);
    facts->max_output_tokens = dyn_rng_below(rng, 100);
    facts->headers = &header;
    facts->n_headers = dyn_rng_below(rng, 2);
    facts->metadata = &pair;
    facts->n_metadata = dyn_rng_below(rng, 2);
    facts->user_texts = texts;
    facts->n_user_texts = dyn_rng_below(rng, 3);
    facts->override = named;
    facts->n_override = scene->n > 1 && dyn_rng_below(rng, 16) == 0 ? 3 : 0;
}

static struct scene *
make_case(uint64_t seed, struct lists *lists)
{
    struct dyn_rng rng;
    dyn_rng_seed(&rng, seed);
    enum route_mode mode = (enum route_mode)(seed % MODES);
    struct scene *scene = scene_new(mode, dyn_rng_below(&rng, TARGETS_MAX) + 1);
    *lists = (struct lists){.conditions = {{.key = {NULL, 0}}}};
    scene->config.strategy.unpriced = (int)dyn_rng_below(&rng, 3);
    scene->config.strategy.latency = (int)dyn_rng_below(&rng, 3);
    scene->config.strategy.sticky.by = (int)dyn_rng_below(&rng, 3);
    scene->config.strategy.sticky.header = DYN_SLICE("team");
    make_rules(scene, lists, &rng);
    make_targets(scene, &rng);
    make_facts(scene, &rng);
    scene_plan(scene);
    dyn_rng_seed(&scene->rng, seed);
    return scene;
}

/* ---- what holds ---- */

static const char *broken; /* what did not, in the case at hand */

static void
hold(bool does, const char *what)
{
    broken = does || broken != NULL ? broken : what;
}

static void
check_members(const struct scene *scene, const struct route_order *order)
{
    struct route_set met = {{0}};
    for (size_t i = 0; i < order->n; i++) {
        hold(route_is_candidate(&scene->view, order->items[i]), "who is named is a candidate");
        hold(!route_set_has(&met, order->items[i]), "nobody is named twice");
        route_set_add(&met, order->items[i]);
    }
}

static uint64_t
latency_of(const struct scene *scene, size_t target)
{
    int compares = scene->config.strategy.latency;
    bool by_ttft = compares == ROUTE_LATENCY_TTFT || (compares == ROUTE_LATENCY_AUTO && scene->facts.stream);
    const struct route_target_view *seen = &scene->seen[target];
    return seen->samples == 0 ? 0 : by_ttft ? seen->ttft_us : seen->total_us;
}

static uint64_t
rank_of(const struct scene *scene, size_t target)
{
    uint64_t cost = route_cost_estimate(&scene->facts, &scene->seen[target]);
    bool is_free = cost == PRICE_UNKNOWN && scene->config.strategy.unpriced == ROUTE_UNPRICED_ALLOW &&
                   scene->seen[target].is_in_catalogue;
    return is_free ? 0 : cost;
}

/* Whether `second` may stand behind `first` in that strategy. */
static bool
may_follow(const struct scene *scene, size_t first, size_t second)
{
    switch ((enum route_mode)scene->config.strategy.mode) {
    case ROUTE_MODE_FALLBACK:
        return first < second;
    case ROUTE_MODE_LOADBALANCE:
        return scene->targets[first].weight > 0 || !(scene->targets[second].weight > 0);
    case ROUTE_MODE_LEAST_LATENCY:
        return latency_of(scene, first) == 0 || latency_of(scene, first) <= latency_of(scene, second);
    case ROUTE_MODE_COST_OPTIMIZED:
        return rank_of(scene, first) < rank_of(scene, second) ||
               (rank_of(scene, first) == rank_of(scene, second) && first < second);
    case ROUTE_MODE_SINGLE:
    case ROUTE_MODE_CONDITIONAL:
    case ROUTE_MODE_CONTENT_BASED:
    case ROUTE_MODE_AB_TEST:
    case ROUTE_MODE_LEAST_BUSY:
    case ROUTE_MODE_STICKY:
        break;
    }
    return true;
}

static void
check_order(const struct scene *scene)
{
    const struct route_order *asked = &scene->decision.asked;
    enum route_mode mode = (enum route_mode)scene->config.strategy.mode;
    bool by_rule = mode == ROUTE_MODE_CONDITIONAL || mode == ROUTE_MODE_CONTENT_BASED;
    size_t candidates = route_set_count(&scene->view.candidates);
    for (size_t i = 1; i < asked->n && scene->facts.n_override == 0; i++) {
        hold(may_follow(scene, asked->items[i - 1], asked->items[i]), "the order is the documented one");
    }
    for (size_t i = 2;
         i < asked->n && scene->facts.n_override == 0 && (by_rule || mode == ROUTE_MODE_AB_TEST); i++) {
        hold(asked->items[i - 1] < asked->items[i], "behind the first they stand as configured");
    }
    bool is_short = mode == ROUTE_MODE_SINGLE || scene->config.strategy.unpriced == ROUTE_UNPRICED_SKIP;
    if (asked->n > 0 && scene->facts.n_override == 0 && !is_short) {
        hold(asked->n == candidates, "nobody who could serve is left out");
    }
    bool is_named = by_rule || mode == ROUTE_MODE_SINGLE;
    hold(scene->facts.n_override > 0 || asked->is_named == is_named, "a rule names one");
    hold(!scene->decision.order.is_named || scene->decision.order.n <= 1, "and only one is tried");
}

static void
check_breakers(const struct scene *scene)
{
    const struct route_decision *decision = &scene->decision;
    size_t left = 0;
    for (size_t i = 0; i < decision->asked.n; i++) {
        left += scene->seen[decision->asked.items[i]].state != HEALTH_OPEN;
    }
    for (size_t i = 0; i < decision->order.n; i++) {
        hold(scene->seen[decision->order.items[i]].state != HEALTH_OPEN, "an open breaker is passed over");
    }
    bool is_cut = decision->asked.is_named && left > 1;
    hold(decision->order.n == (is_cut ? 1 : left), "and nobody else is");
    hold((decision->refused == ERR_NONE) == (decision->order.n > 0), "no order is a refusal");
    hold(decision->refused != ERR_UPSTREAM_UNAVAILABLE || decision->asked.n > 0, "503 is for open breakers");
}

/* The same question gets the same answer, and the reasons fit it. */
static void
check_explanation(struct scene *scene, uint64_t seed)
{
    struct route_decision walked = scene->decision;
    dyn_rng_seed(&scene->rng, seed);
    (void)decide(scene);
    const struct route_decision *told = &scene->decision;
    hold(walked.refused == told->refused && walked.order.n == told->order.n &&
             walked.order.rule == told->order.rule &&
             memcmp(walked.order.items, told->order.items, walked.order.n) == 0,
         "what is explained is what is walked");
    size_t kept = 0;
    for (size_t i = 0; i < scene->n; i++) {
        enum route_drop drop = route_drop_of(&scene->facts, &scene->view, told, i);
        kept += drop == ROUTE_DROP_NONE;
        hold(route_is_candidate(&scene->view, i) || drop == ROUTE_DROP_NOT_CANDIDATE, "a reason fits");
        hold(drop != ROUTE_DROP_BREAKER || scene->seen[i].state == HEALTH_OPEN, "a breaker is open");
    }
    hold(kept == told->order.n, "each target is tried or has a reason");
}

static void
ten_thousand_decisions(void **state)
{
    (void)state;
    struct lists lists;
    size_t served = 0;
    for (uint64_t seed = 1; seed <= CASES; seed++) {
        struct scene *scene = make_case(seed, &lists);
        broken = NULL;
        (void)decide(scene);
        served += scene->decision.order.n > 0;
        check_members(scene, &scene->decision.asked);
        check_members(scene, &scene->decision.order);
        check_order(scene);
        check_breakers(scene);
        check_explanation(scene, seed);
        scene_free(scene);
        if (broken != NULL) {
            fail_msg("seed %llu: does not hold: %s", (unsigned long long)seed, broken);
        }
    }
    assert_in_range(served, CASES / 2, CASES - 100); /* the cases are of both kinds */
}

/* ---- weights ---- */

/* The chance that chance alone strays so far: the upper tail of chi-square, by Wilson and Hilferty's cube
 * root, which is good to three digits there. */
static double
tail(double chi_square, double freedom)
{
    double spread = 2 / (9 * freedom);
    double z = (cbrt(chi_square / freedom) - (1 - spread)) / sqrt(spread);
    return erfc(z / sqrt(2)) / 2;
}

enum { SEEDS = 20, DRAWS = 10000, SHARES = 5 };
static const double weights[SHARES] = {1, 0, 30, 70, 2.5};

static void
draw_and_compare(enum route_mode mode, uint64_t seed)
{
    struct scene *scene = scene_new(mode, SHARES);
    struct route_variant_config variants[SHARES];
    double sum = 0;
    double chi_square = 0;
    unsigned drawn[SHARES] = {0};
    for (size_t i = 0; i < SHARES; i++) {
        scene->targets[i].weight = weights[i];
        variants[i] =
            (struct route_variant_config){.target_key = scene->targets[i].name, .weight = weights[i]};
        sum += weights[i];
    }
    scene->config.strategy.ab_variants = (struct config_list){variants, SHARES};
    scene_plan(scene);
    dyn_rng_seed(&scene->rng, seed);
    for (unsigned i = 0; i < DRAWS; i++) {
        assert_int_equal(decide(scene), 0);
        drawn[scene->decision.order.items[0]]++;
    }
    for (size_t i = 0; i < SHARES; i++) {
        double expected = DRAWS * weights[i] / sum;
        if (expected > 0) {
            chi_square += (drawn[i] - expected) * (drawn[i] - expected) / expected;
        } else {
            assert_int_equal(drawn[i], 0);
        }
    }
    double p = tail(chi_square, SHARES - 2); /* of four that can be drawn */
    if (p <= 1e-4) {
        fail_msg("mode %d, seed %llu: p = %g", (int)mode, (unsigned long long)seed, p);
    }
    scene_free(scene);
}

static void
weights_are_what_they_say(void **state)
{
    (void)state;
    assert_true(fabs(tail(11.345, 3) - 0.01) < 0.001); /* as the tables have it */
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        draw_and_compare(ROUTE_MODE_LOADBALANCE, seed);
        draw_and_compare(ROUTE_MODE_AB_TEST, seed);
    }
}

/* Those that nothing is known of are tried alike often. */
static void
the_unknown_are_shuffled(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct scene *scene = scene_new(ROUTE_MODE_LEAST_LATENCY, SHARES);
        unsigned first[SHARES] = {0};
        double chi_square = 0;
        scene_plan(scene);
        dyn_rng_seed(&scene->rng, seed);
        for (unsigned i = 0; i < DRAWS; i++) {
            assert_int_equal(decide(scene), 0);
            first[scene->decision.order.items[0]]++;
        }
        for (size_t i = 0; i < SHARES; i++) {
            double strays = first[i] - (double)DRAWS / SHARES;
            chi_square += strays * strays / ((double)DRAWS / SHARES);
        }
        assert_true(tail(chi_square, SHARES - 1) > 1e-4);
        scene_free(scene);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ten_thousand_decisions),
        cmocka_unit_test(weights_are_what_they_say),
        cmocka_unit_test(the_unknown_are_shuffled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
