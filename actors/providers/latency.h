/* How long the answers of one target take, by model: time to the first content of streams and time to the end
 * of any answer, kept apart. One object per target and process, shared by all cells; any thread. Keeps the
 * last LATENCY_SAMPLES of both sorted, so that what readers want lies ready on the target's board. Failures
 * are no samples. Pure: told the time. */
#pragma once

#include "proto/health.h"

#include <pthread.h>

enum { LATENCY_SAMPLES = 100 };

/* The last samples of one quantity. */
struct latency_window {
    uint32_t ring[LATENCY_SAMPLES];
    uint32_t sorted[LATENCY_SAMPLES];
    uint32_t n;
    uint32_t next; /* place in the ring of the oldest, once it is full */
};

struct latency_model {
    struct latency_window ttft;
    struct latency_window total;
    uint64_t ewma_us;
    uint64_t last_us;
};

struct latency {
    pthread_mutex_t lock;
    health_board_t *board;                               /* a reference */
    struct latency_model *models[HEALTH_MODELS_MAX + 1]; /* NULL: not met yet */
};

void latency_init(struct latency *latency, health_board_t *board);
void latency_fini(struct latency *latency);
/* ttft_us: 0 when there was no stream. About 150 ns. */
void latency_add(struct latency *latency, struct dyn_slice name, uint64_t ttft_us, uint64_t total_us,
                 uint64_t now_us);

void latency_window_add(struct latency_window *window, uint32_t sample);
/* Of the sorted samples the one at n * percent / 100; 0 without samples. 50 is the median. */
uint32_t latency_window_at(const struct latency_window *window, uint32_t percent);
