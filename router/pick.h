/* What the decision about a request is given: facts from its body and headers, candidates, and how they fare.
 * The router's half of it is private to router/; who explains a decision without a router uses the rest. */
#pragma once

#include "router/candidates.h"
#include "router/decide.h"

/* Requests may carry it when their key allows: `A,B`, only those, in that order. */
#define ROUTE_OVERRIDE_HEADER "x-dynabus-target"

/* Whether a request of that key may. */
bool route_may_override(const struct route_plan *plan, struct dyn_slice key_id);
/* The targets that the header names, each once; their numbers in the arena. -1 with a sentence. */
int route_override_read(struct dyn_slice value, const struct route_target *targets, size_t n_targets,
                        struct arena *arena, struct route_facts *facts, struct dyn_err *err);

/* Prices and limits of the model at that target, from the plan's catalogue. */
void route_price_of(const struct route_plan *plan, const struct route_target *target, struct dyn_slice model,
                    struct route_target_view *seen);

/* So much of a model's name is repeated to its client, in whole characters. */
int route_shown_len(struct dyn_slice text);

/* What the client is told when nobody can serve it. */
void route_refusal_text(const struct route_plan *plan, const struct route_target *targets, size_t n_targets,
                        const struct route_candidacy *found, struct dyn_slice model, char *out,
                        size_t out_size);
/* ... and when there are candidates, but none is left. "": nothing beyond the error's own sentence. */
void route_decision_text(const struct route_decision *decision, const struct route_facts *facts, char *out,
                         size_t out_size);

/* Memory of one router for what many requests ask in the same way. */
typedef struct route_memo route_memo_t;
route_memo_t *route_memo_new(void) __attribute__((returns_nonnull));
void route_memo_free(route_memo_t **memo_p); /* NULL is accepted */
/* As route_candidates_find(). `generation`: another number whenever the targets have changed; not 0. */
void route_memo_find(route_memo_t *memo, uint64_t generation, const struct route_plan *plan,
                     const struct route_target *targets, size_t n_targets, struct dyn_slice model,
                     enum env_surface surface, struct route_candidacy *found);
/* As route_price_of(). */
void route_memo_price(route_memo_t *memo, const struct route_plan *plan, const struct route_target *targets,
                      size_t target, struct dyn_slice model, struct route_target_view *seen);
