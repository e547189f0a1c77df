/* The page that GET /metrics answers: everything of proto/metrics.def, from figures that are given. */
#pragma once

#include "proto/node_breakers.h"
#include "proto/request_metrics.h"

struct metrics_facts {
    request_metrics_t *requests;
    struct node_values values; /* of all processes */
    struct node_breakers breakers; /* the same */
    unsigned nodes;
    unsigned configs;         /* different ones */
    uint64_t config_version;  /* of this process's */
    struct dyn_slice config;  /* hash of this process's; "" */
    struct dyn_slice version;
    uint64_t events_missed;
};

void metrics_write_page(const struct metrics_facts *facts, struct dyn_buf *out);
