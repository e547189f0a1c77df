/* The metrics actor: answers REQUESTs of the surface `metrics` with everything that proto/metrics.def
 * lists, in Prometheus' text format. It counts nothing itself: requests are counted where they end
 * (proto/request_metrics.h), processes tell their numbers (gateway.node.counters), and what this process
 * has is read when somebody asks.
 *
 * Beside a router it shows that router's requests, this process, and those that are connected to it. Alone
 * (role `metrics`) it subscribes to the events of all routers and counts requests from them: a fleet on
 * one page.
 *
 * Who asks was admitted by the router. One per process; any loop but a cell's: a page costs up to some
 * milliseconds. */
#pragma once

#include "bus/publisher.h"
#include "bus/remote.h"
#include "proto/request_metrics.h"

struct metrics_options {
    struct bus_process *process; /* outlives it */
    /* What this process's routers count into, outlives it; NULL: it makes its own and counts what it hears
     * from `routers`. */
    request_metrics_t  *requests;
    const struct node_source *sources; /* who knows numbers of this process; copied */
    size_t n_sources;
    const char *version; /* of the program; borrowed */
    const char *const *routers; /* base endpoints to subscribe to; copied. None beside a router */
    size_t n_routers;
};

void *metrics_new(const struct metrics_options *options);
extern const struct bus_actor_ops metrics_actor_ops;

/* The numbers that every process has. The sources borrow. */
struct node_source metrics_of_process(struct bus_process *process);
struct node_source metrics_of_publisher(struct publisher_counts *counts);

/* ---- an actor that tells this process's numbers to others, every NODE_TELL_MS ---- */

enum { NODE_TELL_MS = 5000 };

struct teller_options {
    struct bus_process *process;       /* outlives it */
    const struct node_source *sources; /* copied */
    size_t n_sources;
    const char *version; /* borrowed */
    bus_addr_t to;       /* publisher; or who sends EVENTs on to the routers: owner, worker */
};

void *metrics_teller_new(const struct teller_options *options);
extern const struct bus_actor_ops metrics_teller_actor_ops;
