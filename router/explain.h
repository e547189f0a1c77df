/* Why a request would go where it would: the answer to POST /admin/explain. The request goes through the same
 * steps as a real one and is decided about by the same code; where the first attempt would begin, this is
 * answered instead, and nobody is called. */
#pragma once

#include "core/buf.h"
#include "proto/dialects/dialect.h"
#include "router/decide.h"

/* What is asked about. Slices point into the body of the REQUEST, or into its arena. */
struct route_explain {
    enum env_surface surface;
    struct dyn_slice body;   /* of the request that is asked about */
    struct dyn_slice key_id; /* as if that key had asked; absent: who asks now */
    bool has_seed;           /* draws begin from here; else where the router's stand, which do not move */
    uint64_t seed;
    struct dyn_slice plugins; /* who would be asked, as JSON (route_explain_plugins) */
};

/* {"request": {..}, "surface": "chat", "headers": {"NAME": "VALUE"}, "key": "ID", "seed": N}, all but
 * `request` optional. The headers are added to `request`, in lower case. -1 with a problem that names the
 * member. */
int route_explain_read(struct env *request, struct route_explain *explain, struct dialect_problem *problem);

/* One JSON object. `decision` may be that nobody is left. */
void route_explain_write(const struct route_explain *explain, const struct route_facts *facts,
                         const struct route_view *view, const struct route_decision *decision,
                         struct dyn_buf *out);

/* A list of those that would be asked or told, stage by stage in their order, as JSON. `group` counts, within
 * a stage, those that are asked at the same time. */
struct router;
void route_explain_plugins(struct router *router, const struct route_plan *plan, bool is_stream,
                           struct dyn_buf *out);
