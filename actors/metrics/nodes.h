/* What other processes have told of themselves: their last numbers, added up. A counter never goes back:
 * when a process is gone its counts stay, its gauges do not; when there are too many processes, the one
 * silent for longest is folded into a sum. Any thread. */
#pragma once

#include "proto/node_event.h"

enum {
    METRICS_NODES_MAX = 512,
    METRICS_NODE_GONE_MS = 20 * 1000, /* four reports missed */
};

typedef struct nodes nodes_t;

nodes_t *nodes_new(void);
void nodes_free(nodes_t **nodes_p);
/* What came in an event; `now_us` as in nodes_sum(). */
void nodes_heard(nodes_t *nodes, const struct node_report *report, uint64_t now_us);

struct nodes_view {
    unsigned live; /* processes heard of lately */
    unsigned other_configs; /* different hashes among them that are not `own_config` */
};
/* Adds the breakers of those that were heard of lately. */
void nodes_breakers(nodes_t *nodes, uint64_t now_us, struct node_breakers *breakers);
/* Adds their numbers to `values`. */
struct nodes_view nodes_sum(nodes_t *nodes, struct dyn_slice own_config, uint64_t now_us,
                            struct node_values *values);
