/* The models that the targets of a router list, and of those that list none what the catalogue knows of their
 * provider; each once, with its owner: the first target that has it.
 * Made in one pass over all lists, when it is first asked for after what targets serve has changed. */
#pragma once

#include "core/buf.h"
#include "router/members.h"

typedef struct route_model_list route_model_list_t;

/* NULL: no target has the model. */
const struct route_target *route_model_owner(struct route_members *members, struct dyn_slice model);
/* The body of GET /v1/models; good until what targets serve changes. Read only: it is shared. */
dyn_block_t *route_models_text(struct route_members *members);

/* One of its members; the body of GET /v1/models/{id}. */
void route_model_text(struct dyn_buf *out, struct dyn_slice id, struct dyn_slice owner);

void route_model_list_free(route_model_list_t **list_p);
