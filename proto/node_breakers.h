/* How the circuit breakers of processes stand, by the name of their target: what `gateway.node.counters` and
 * `GET /metrics` tell of each. A target that several processes call stands as the worst of them. Pure. */
#pragma once

#include "proto/health.h"

enum {
    NODE_BREAKERS_MAX = HEALTH_TARGETS_MAX, /* targets; what comes after is left out */
    NODE_BREAKER_NAME_MAX = 64,             /* bytes of a target's name */
};

struct node_breaker {
    char name[NODE_BREAKER_NAME_MAX];
    uint8_t name_len;
    uint8_t state; /* enum health_state */
};

/* Zero-initialised: none. */
struct node_breakers {
    struct node_breaker *items;
    size_t n;
};

void node_breakers_add(struct node_breakers *breakers, struct dyn_slice target, enum health_state state);
void node_breakers_fini(struct node_breakers *breakers);
/* Adds those of a map of names and states, which has passed mp_check() and may come from anyone. */
void node_breakers_read(struct node_breakers *breakers, struct dyn_slice map);
