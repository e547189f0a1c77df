/* What a decision costs: one request among 100 targets, for each strategy, and how often it allocates (never
 * but in its arena is the aim). Prints figures; nothing here passes or fails by time. */
#include "core/clock.h"
#include "router/candidates.h"
#include "router/decide.h"
#include "router/model_list.h"
#include "router/pick.h"

#include <stdio.h>
#include <stdlib.h>

enum { TARGETS = 100, ROUNDS = 60, EACH = 2000 };

/* ---- every allocation of this program is counted ---- */

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
static unsigned long allocations;

void *
malloc(size_t size)
{
    allocations++;
    return __libc_malloc(size);
}

void *
calloc(size_t n, size_t size)
{
    allocations++;
    return __libc_calloc(n, size);
}

void *
realloc(void *memory, size_t size)
{
    allocations++;
    return __libc_realloc(memory, size);
}

/* ---- the scene ---- */

static struct router_config config;
static struct route_target targets[TARGETS];
static char names[TARGETS][16];
static struct route_target_view seen[TARGETS];
static struct route_condition_config conditions[] = {
    {.key = DYN_SLICE_INIT("model"), .value = DYN_SLICE_INIT("no"), .target_key = DYN_SLICE_INIT("target-3")},
    {.key = DYN_SLICE_INIT("estimated_tokens"),
     .value = DYN_SLICE_INIT(">10"),
     .target_key = DYN_SLICE_INIT("target-50")},
};
static struct route_content_condition_config contents[] = {
    {.type = ROUTE_PROMPT_CONTAINS,
     .value = DYN_SLICE_INIT("refund"),
     .target_key = DYN_SLICE_INIT("target-7")},
    {.type = ROUTE_PROMPT_REGEX,
     .value = DYN_SLICE_INIT("(?i)invoice \\d+"),
     .target_key = DYN_SLICE_INIT("target-9")},
};
static struct route_variant_config variants[] = {
    {.target_key = DYN_SLICE_INIT("target-1"), .weight = 70},
    {.target_key = DYN_SLICE_INIT("target-2"), .weight = 30},
};
static const struct dyn_slice text =
    DYN_SLICE_INIT("Please tell me what became of the order that I placed last week; the number is 4711.");

static void
make_scene(void)
{
    struct dyn_rng rng;
    dyn_rng_seed(&rng, 1);
    config.strategy.conditions = (struct config_list){conditions, DYN_ARRAY_LEN(conditions)};
    config.strategy.content_conditions = (struct config_list){contents, DYN_ARRAY_LEN(contents)};
    config.strategy.ab_variants = (struct config_list){variants, DYN_ARRAY_LEN(variants)};
    for (unsigned i = 0; i < TARGETS; i++) {
        (void)snprintf(names[i], sizeof names[i], "target-%u", i);
        targets[i] = (struct route_target){.name = dyn_slice_str(names[i]),
                                           .provider = DYN_SLICE("openai"),
                                           .weight = 1 + (double)dyn_rng_below(&rng, 10)};
        seen[i] = (struct route_target_view){.in_flight = (uint32_t)dyn_rng_below(&rng, 50),
                                             .samples = 100,
                                             .ttft_us = 1000 + dyn_rng_below(&rng, 1000000),
                                             .total_us = 1000 + dyn_rng_below(&rng, 1000000),
                                             .ewma_us = 1000 + dyn_rng_below(&rng, 1000000),
                                             .is_in_catalogue = true,
                                             .price_in = dyn_rng_below(&rng, 10000000),
                                             .price_out = dyn_rng_below(&rng, 10000000)};
    }
}

static double
now_ns(void)
{
    return (double)dyn_mono_us(&dyn_clock_system) * 1000;
}

static volatile size_t sink; /* so that no result is thought away */

static void
run(const char *word, enum route_mode mode)
{
    config.strategy.mode = (int)mode;
    struct dyn_err err;
    struct route_plan *plan = route_plan_new(&config, targets, TARGETS, NULL, &err);
    struct route_facts facts = {.surface = ENV_SURFACE_CHAT,
                                .model = DYN_SLICE("gpt-4o"),
                                .key_id = DYN_SLICE("k-4711"),
                                .prompt_tokens = 100,
                                .user_texts = &text,
                                .n_user_texts = 1};
    struct route_view view = {.targets = targets, .n_targets = TARGETS, .seen = seen};
    struct route_decision decision;
    struct dyn_rng rng;
    if (plan == NULL) {
        fprintf(stderr, "%s\n", err.text);
        abort();
    }
    view.plan = plan;
    for (size_t i = 0; i < TARGETS; i++) {
        route_set_add(&view.candidates, i);
    }
    dyn_rng_seed(&rng, 1);
    double best = 1e12;
    unsigned long before = allocations;
    for (unsigned round = 0; round < ROUNDS; round++) {
        double begin = now_ns();
        for (unsigned i = 0; i < EACH; i++) {
            sink += (size_t)(route_decide(plan, &facts, &view, &rng, &decision) + decision.order.items[0]);
        }
        double each = (now_ns() - begin) / EACH;
        best = each < best ? each : best;
    }
    printf("%-16s %8.0f ns   %5.2f allocations\n", word, best,
           (double)(allocations - before) / (ROUNDS * (double)EACH));
    route_plan_unref(&plan);
}

/* What comes before it: who may serve the model, remembered and not. */
static void
run_candidates(void)
{
    struct dyn_err err;
    struct route_candidacy found;
    catalogue_t *catalogue = catalogue_builtin();
    config.strategy.mode = ROUTE_MODE_SINGLE;
    struct route_plan *plan = route_plan_new(&config, targets, TARGETS, catalogue, &err);
    route_memo_t *memo = route_memo_new();
    for (unsigned remembers = 0; remembers < 2; remembers++) {
        double best = 1e12;
        for (unsigned round = 0; round < ROUNDS; round++) {
            double begin = now_ns();
            for (unsigned i = 0; i < EACH / 10; i++) {
                route_memo_find(memo, remembers ? 1 : 1 + round * UINT64_C(1000) + i, plan, targets, TARGETS,
                                DYN_SLICE("gpt-4o"), ENV_SURFACE_CHAT, &found);
                sink += found.set.words[0];
            }
            double each = (now_ns() - begin) / (EACH / 10.0);
            best = each < best ? each : best;
        }
        printf("%-16s %8.0f ns\n", remembers ? "candidates again" : "candidates", best);
    }
    route_memo_free(&memo);
    route_plan_unref(&plan);
    catalogue_unref(&catalogue);
}

/* Among many models: what a name costs that nobody serves, and what the report of each request asks. */
static void
run_many_models(void)
{
    enum { MODELS = 20000, NAME_SIZE = 64, NEAR_EACH = 20 };
    static const struct dyn_slice far =
        DYN_SLICE_INIT("a-model-whose-name-is-quite-long-but-which-nobody-serves-x.y");
    char(*model_names)[NAME_SIZE] = malloc(MODELS * sizeof *model_names);
    struct dyn_slice *models = malloc(MODELS * sizeof *models);
    struct route_target target = {.name = DYN_SLICE("many"), .models = models, .n_models = MODELS};
    struct route_members members;
    struct dyn_err err;
    char said[256];
    for (unsigned i = 0; i < MODELS; i++) {
        (void)snprintf(model_names[i], NAME_SIZE, "a-family-of-models/of-some-size-and-version-%u-it", i);
        models[i] = dyn_slice_str(model_names[i]);
    }
    config.strategy.mode = ROUTE_MODE_SINGLE;
    struct route_plan *plan = route_plan_new(&config, &target, 1, NULL, &err);
    route_members_init(&members, &target, NULL, 1);
    double near = 1e12, listed = 1e12;
    for (unsigned round = 0; round < ROUNDS; round++) {
        double begin = now_ns();
        for (unsigned i = 0; i < NEAR_EACH; i++) {
            route_candidates_near(plan, &target, 1, far, said, sizeof said);
            sink += (size_t)said[0];
        }
        double each = (now_ns() - begin) / NEAR_EACH;
        near = each < near ? each : near;
        begin = now_ns();
        for (unsigned i = 0; i < EACH; i++) {
            sink += route_model_owner(&members, models[i * 7 % MODELS]) != NULL;
        }
        each = (now_ns() - begin) / EACH;
        listed = each < listed ? each : listed;
    }
    printf("%-16s %8.0f ns   among %d models\n", "near names (404)", near, MODELS);
    printf("%-16s %8.0f ns   among %d models\n", "is it listed", listed, MODELS);
    route_members_fini(&members);
    route_plan_unref(&plan);
    free(models);
    free(model_names);
}

int
main(void)
{
    make_scene();
    printf("one decision among %d targets\n", TARGETS);
#define ROUTE_STRATEGY(mode, symbol, text, help) run(text, ROUTE_MODE_##mode);
#include "router/strategies/strategies.def"
#undef ROUTE_STRATEGY
    run_candidates();
    run_many_models();
    return 0;
}
