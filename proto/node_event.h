/* What a process tells of itself now and then: the map of an EVENT with topic `gateway.node.counters`.
 * From its counters whoever answers `GET /metrics` makes those of a fleet. Between processes of one
 * gateway only: its members may change in a minor version; who reads ignores what it does not know. */
#pragma once

#include "core/block.h"
#include "proto/metrics.h"
#include "proto/node_breakers.h"

struct node_report {
    struct dyn_slice origin;  /* node of the process, 32 hex digits (`node` is the publisher's) */
    struct dyn_slice config;  /* hash; "" */
    struct dyn_slice version; /* of the program */
    struct node_values values;
    const struct node_breakers *breakers; /* to tell; NULL: none */
    struct dyn_slice breakers_told;       /* what was read, for node_breakers_read() */
};

dyn_block_t *node_report_encode(const struct node_report *report) __attribute__((returns_nonnull));
/* Texts point into `map`, which may come from anyone. -1: it is no sound map, or has no origin. */
int node_report_decode(struct dyn_slice map, struct node_report *report);
