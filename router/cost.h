/* What a request cost, for its report and for the head of a plain answer. */
#pragma once

#include "models/cost.h"
#include "proto/event.h"
#include "router/request.h"

/* Of what its END says was used. Nothing is known without usage or without a price. */
struct cost route_cost(const struct route_request *rq, const struct env *end);
/* ... when the END does not say yet whose it is. */
struct cost route_cost_at(const struct route_request *rq, const struct env *end, struct dyn_slice target,
                          struct dyn_slice provider);
/* The fields of the report. */
void route_cost_tell(const struct route_request *rq, const struct env *end, struct event_record *record);
/* `x-dynabus-cost-usd` on an answer whose head has not gone out: one that comes whole. */
void route_cost_show(const struct route_request *rq, struct env *end);
