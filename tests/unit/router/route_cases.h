/* Made-up rules and variants for a scene, the same from the same seed. */
#pragma once

#include "route_scene.h"

struct lists {
    struct route_condition_config conditions[4];
    struct route_content_condition_config contents[4];
    struct route_variant_config variants[6];
};

static struct dyn_slice
any_target(const struct scene *scene, struct dyn_rng *rng)
{
    return dyn_slice_str(scene->names[dyn_rng_below(rng, scene->n)]);
}

static void
make_rules(struct scene *scene, struct lists *lists, struct dyn_rng *rng)
{
    static const char *const keys[] = {"model",  "model_prefix", "user",        "estimated_tokens",
                                       "stream", "has_tools",    "header.team", "metadata.tier"};
    static const char *const values[] = {"m", "m", "eve", ">50", "true", "false", "blue", "gold"};
    static const char *const texts[] = {"refund", "a+b", "hello", "^x"};
    size_t n = dyn_rng_below(rng, DYN_ARRAY_LEN(lists->conditions) + 1);
    for (size_t i = 0; i < n; i++) {
        size_t at = dyn_rng_below(rng, DYN_ARRAY_LEN(keys));
        lists->conditions[i].key = dyn_slice_str(keys[at]);
        lists->conditions[i].value = dyn_slice_str(values[at]);
        lists->conditions[i].target_key = any_target(scene, rng);
        lists->contents[i].type = (int)dyn_rng_below(rng, 3);
        lists->contents[i].value = dyn_slice_str(texts[dyn_rng_below(rng, DYN_ARRAY_LEN(texts))]);
        lists->contents[i].target_key = any_target(scene, rng);
    }
    scene->config.strategy.conditions = (struct config_list){lists->conditions, n};
    scene->config.strategy.content_conditions = (struct config_list){lists->contents, n};
    n = dyn_rng_below(rng, DYN_ARRAY_LEN(lists->variants)) + 1;
    for (size_t i = 0; i < n; i++) {
        lists->variants[i].target_key = any_target(scene, rng);
        lists->variants[i].weight = (double)dyn_rng_below(rng, 4);
    }
    scene->config.strategy.ab_variants = (struct config_list){lists->variants, n};
}
