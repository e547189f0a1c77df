/* content-based: the first rule that holds for what users wrote in this request names the target; without one
 * it is the first that serves the model. What the system or the model said does not count. A request without
 * any text of a user does not contain what a rule says it must not. A rule whose search hits a limit does not
 * hold, whatever it says. */
#include "core/regex.h"
#include "router/plan.h"

#include <stdlib.h>

struct content_rule {
    enum route_content_type type;
    dyn_regex_t *regex;
    size_t target;
};

struct content_based {
    size_t n;
    struct content_rule rules[];
};

static void
content_based_free(void *self)
{
    struct content_based *state = self;
    for (size_t i = 0; i < state->n; i++) {
        dyn_regex_free(&state->rules[i].regex);
    }
    free(state);
}

static int
content_based_compile(struct route_plan *plan, const struct route_strategy_config *config,
                      struct route_compiled *compiled, struct dyn_err *err)
{
    const struct route_content_condition_config *items = config->content_conditions.items;
    size_t n = config->content_conditions.n;
    struct content_based *state = dyn_zalloc(sizeof *state + n * sizeof state->rules[0]);
    compiled->state = state;
    for (; state->n < n; state->n++) {
        const struct route_content_condition_config *item = &items[state->n];
        struct content_rule *rule = &state->rules[state->n];
        rule->type = (enum route_content_type)item->type;
        rule->target = route_plan_target(plan, item->target_key);
        rule->regex = rule->type == ROUTE_PROMPT_REGEX ? dyn_regex_new(item->value, NULL, err)
                                                       : dyn_regex_new_text(item->value, err);
        if (rule->regex == NULL) {
            return -1;
        }
    }
    return 0;
}

static bool
holds(const struct content_rule *rule, const struct route_facts *facts, struct dyn_regex_budget *budget,
      struct route_order *order)
{
    enum dyn_regex_result found = DYN_REGEX_NO;
    for (size_t i = 0; i < facts->n_user_texts && found == DYN_REGEX_NO; i++) {
        found = dyn_regex_search(rule->regex, facts->user_texts[i], budget);
    }
    order->n_limited += found == DYN_REGEX_LIMIT;
    return found == (rule->type == ROUTE_PROMPT_NOT_CONTAINS ? DYN_REGEX_NO : DYN_REGEX_YES);
}

static void
content_based_order(const void *state, const struct route_facts *facts, const struct route_view *view,
                    struct dyn_rng *rng, struct route_order *order)
{
    const struct content_based *compiled = state;
    struct dyn_regex_budget budget = {DYN_REGEX_BUDGET_US};
    (void)rng;
    for (size_t i = 0; i < compiled->n && facts->surface == ENV_SURFACE_CHAT; i++) {
        if (holds(&compiled->rules[i], facts, &budget, order)) {
            route_order_by_rule(order, view, (int)i, compiled->rules[i].target);
            return;
        }
    }
    order->is_named = true;
    route_order_push_rest(order, view);
}

const struct route_strategy_ops route_strategy_content_based = {
    .name = "content-based",
    .needs = ROUTE_NEEDS_BODY | ROUTE_NEEDS_TEXT,
    .compile = content_based_compile,
    .free = content_based_free,
    .order = content_based_order,
};
