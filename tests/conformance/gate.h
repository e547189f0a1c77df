/* A gate that a test waits at until an actor on another thread opens it, and checks that are safe there
 * (cmocka's asserts are for the main thread). */
#pragma once

#include "core/base.h"

#include <pthread.h>

#define CHECK(cond) DYN_ASSERT(cond)

struct gate {
    pthread_mutex_t lock;
    pthread_cond_t opened;
    unsigned left; /* openings still to come */
};

static inline void
gate_init(struct gate *gate, unsigned openings)
{
    (void)pthread_mutex_init(&gate->lock, NULL);
    (void)pthread_cond_init(&gate->opened, NULL);
    gate->left = openings;
}

static inline void
gate_open(struct gate *gate)
{
    (void)pthread_mutex_lock(&gate->lock);
    CHECK(gate->left > 0);
    gate->left--;
    (void)pthread_cond_broadcast(&gate->opened);
    (void)pthread_mutex_unlock(&gate->lock);
}

static inline void
gate_wait(struct gate *gate)
{
    (void)pthread_mutex_lock(&gate->lock);
    while (gate->left > 0) {
        (void)pthread_cond_wait(&gate->opened, &gate->lock);
    }
    (void)pthread_mutex_unlock(&gate->lock);
}
