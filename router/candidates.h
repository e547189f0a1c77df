/* Who may get a request at all, before any strategy is asked. A prompt for a model that somebody owns goes to
 * nobody else. */
#pragma once

#include "router/plan.h"

struct route_candidacy {
    struct route_set set;
    struct route_set elsewhere; /* they would serve the model, but not on this surface */
};

/* `targets`: the plan's as they are now (workers bring models with them), then announced ones. The first of
 * these groups that is not empty:
 *   configured targets that own the model: they declare it, or the catalogue has it of their provider and
 *   they do not say that what they declare is all; announced ones that own it; configured ones that take any
 *   model; announced ones that do; and when all configured ones that declare nothing are of one provider,
 *   those: its newest model may be younger than the catalogue. */
void route_candidates_find(const struct route_plan *plan, const struct route_target *targets,
                           size_t n_targets, struct dyn_slice model, enum env_surface surface,
                           struct route_candidacy *found);

/* Names of models near to one that nobody serves, for a person: "did you mean 'a' or 'b'?"; "" when there is
 * none. A few milliseconds at most, however many names are known. */
void route_candidates_near(const struct route_plan *plan, const struct route_target *targets,
                           size_t n_targets, struct dyn_slice model, char *out, size_t out_size);
