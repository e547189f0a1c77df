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
/* ... with what its other attempts used: those that lost a race, and those that failed. Of an attempt without
 * a known price nothing is added; without a price of the answer nothing is known. */
struct cost route_cost_of_all(const struct route_request *rq, const struct env *end, struct dyn_slice target,
                              struct dyn_slice provider);
/* Of one dispatch. */
struct cost route_cost_of_note(const struct route_request *rq, const struct route_note *note);
/* The fields of the report. */
void route_cost_tell(const struct route_request *rq, const struct env *end, struct event_record *record);
/* `x-dynabus-cost-usd` on an answer that is no stream: its owner holds it until here, however it came. */
void route_cost_show(const struct route_request *rq, struct env *end);
