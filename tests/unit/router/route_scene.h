/* A plan with its targets, and what is known of a request and of them: all that a decision needs, made by
 * hand. Targets are called t0, t1 and so on. */
#pragma once

#include "router/decide.h"

#include <stdio.h>
#include <stdlib.h>

struct scene {
    struct router_config config;
    struct route_target targets[ROUTE_TARGETS_MAX];
    char names[ROUTE_TARGETS_MAX][8];
    size_t n;
    struct route_plan *plan;
    struct route_target_view seen[ROUTE_TARGETS_MAX];
    struct route_view view;
    struct route_facts facts;
    struct dyn_rng rng;
    struct route_decision decision;
};

/* Weights of one, nothing known of the targets, all of them candidates. */
static DYN_UNUSED struct scene *
scene_new(enum route_mode mode, size_t n)
{
    struct scene *scene = dyn_zalloc(sizeof *scene);
    scene->config.strategy.mode = (int)mode;
    scene->n = n;
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(scene->names[i], sizeof scene->names[i], "t%u", (unsigned)i);
        scene->targets[i] = (struct route_target){
            .name = dyn_slice_str(scene->names[i]), .provider = DYN_SLICE("openai"), .weight = 1};
        scene->seen[i] = (struct route_target_view){.price_in = PRICE_UNKNOWN, .price_out = PRICE_UNKNOWN};
        route_set_add(&scene->view.candidates, i);
    }
    scene->facts = (struct route_facts){.surface = ENV_SURFACE_CHAT, .model = DYN_SLICE("m")};
    dyn_rng_seed(&scene->rng, 1);
    return scene;
}

/* After the configuration is written. */
static DYN_UNUSED void
scene_plan(struct scene *scene)
{
    struct dyn_err err = {0};
    scene->plan = route_plan_new(&scene->config, scene->targets, scene->n, NULL, &err);
    if (scene->plan == NULL) {
        fprintf(stderr, "%s\n", err.text);
        abort();
    }
    scene->view.plan = scene->plan;
    scene->view.targets = scene->plan->targets;
    scene->view.n_targets = scene->n;
    scene->view.seen = scene->seen;
}

static DYN_UNUSED void
scene_free(struct scene *scene)
{
    route_plan_unref(&scene->plan);
    free(scene);
}

static DYN_UNUSED int
decide(struct scene *scene)
{
    return route_decide(scene->plan, &scene->facts, &scene->view, &scene->rng, &scene->decision);
}

/* The order as text, "2 0 1"; the error's word when there is none. Good until the next one. */
static DYN_UNUSED const char *
order_of(struct scene *scene)
{
    static char text[ROUTE_TARGETS_MAX * 4 + 1];
    size_t len = 0;
    if (decide(scene) != 0) {
        return err_row(scene->decision.refused)->code;
    }
    text[0] = '\0';
    for (size_t i = 0; i < scene->decision.order.n; i++) {
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%u", i > 0 ? " " : "",
                                scene->decision.order.items[i]);
    }
    return text;
}
