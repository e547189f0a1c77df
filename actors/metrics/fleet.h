/* What the role `metrics` hears of a whole fleet: a thread that subscribes to the events of all routers,
 * counts requests from them and passes on what processes tell of themselves. It blocks where it likes
 * (names, asking again); nobody waits for it. */
#pragma once

#include "actors/metrics/nodes.h"
#include "bus/security.h"
#include "proto/request_metrics.h"

typedef struct fleet fleet_t;

/* `requests` is written by its thread alone; everything but the endpoints outlives it. */
fleet_t *fleet_new(const bus_security_t *security, const char *const *routers, size_t n_routers,
                   struct request_cell *requests, nodes_t *nodes);
/* -1 with err: an endpoint is wrong, or would be spoken to in the clear off loopback. */
int fleet_start(fleet_t *fleet, struct dyn_err *err);
void fleet_free(fleet_t **fleet_p); /* joins the thread */
uint64_t fleet_missed(const fleet_t *fleet); /* events of requests that did not come */
