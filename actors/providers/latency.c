/* See latency.h. */
#include "actors/providers/latency.h"

#include <stdlib.h>

/* The weight of a sample grows with the time since the last: what came in the last ten seconds makes about
 * half of the mean, however many samples that were. */
#define MEMORY_US UINT64_C(10000000)

void
latency_init(struct latency *latency, health_board_t *board)
{
    *latency = (struct latency){.board = health_board_ref(board)};
    (void)pthread_mutex_init(&latency->lock, NULL);
}

void
latency_fini(struct latency *latency)
{
    for (size_t i = 0; i < DYN_ARRAY_LEN(latency->models); i++) {
        free(latency->models[i]);
    }
    health_board_unref(&latency->board);
    (void)pthread_mutex_destroy(&latency->lock);
}

/* The first place whose sample is not smaller. */
static uint32_t
place_of(const struct latency_window *window, uint32_t sample)
{
    uint32_t low = 0;
    uint32_t high = window->n;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (window->sorted[middle] < sample) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void
drop_oldest(struct latency_window *window)
{
    uint32_t at = place_of(window, window->ring[window->next]);
    window->n--;
    memmove(&window->sorted[at], &window->sorted[at + 1], (window->n - at) * sizeof window->sorted[0]);
}

void
latency_window_add(struct latency_window *window, uint32_t sample)
{
    if (window->n == LATENCY_SAMPLES) {
        drop_oldest(window);
    }
    uint32_t at = place_of(window, sample);
    memmove(&window->sorted[at + 1], &window->sorted[at], (window->n - at) * sizeof window->sorted[0]);
    window->sorted[at] = sample;
    window->n++;
    window->ring[window->next] = sample;
    window->next = (window->next + 1) % LATENCY_SAMPLES;
}

uint32_t
latency_window_at(const struct latency_window *window, uint32_t percent)
{
    uint32_t at = window->n * percent / 100;
    return window->n == 0 ? 0 : window->sorted[at < window->n ? at : window->n - 1];
}

static uint32_t
bounded(uint64_t us)
{
    return us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
}

static void
take_into_mean(struct latency_model *model, uint64_t total_us, uint64_t now_us)
{
    uint64_t past_us = now_us > model->last_us ? now_us - model->last_us : 0;
    double weight = model->last_us == 0 ? 1.0 : (double)past_us / (double)(past_us + MEMORY_US);
    double mean = (double)model->ewma_us;
    model->ewma_us = (uint64_t)(mean + ((double)total_us - mean) * weight);
    model->last_us = now_us;
}

void
latency_add(struct latency *latency, struct dyn_slice name, uint64_t ttft_us, uint64_t total_us,
            uint64_t now_us)
{
    size_t slot = health_board_slot(latency->board, name);
    (void)pthread_mutex_lock(&latency->lock);
    if (latency->models[slot] == NULL) {
        latency->models[slot] = dyn_zalloc(sizeof *latency->models[slot]);
    }
    struct latency_model *model = latency->models[slot];
    if (ttft_us != 0) {
        latency_window_add(&model->ttft, bounded(ttft_us));
    }
    latency_window_add(&model->total, bounded(total_us));
    take_into_mean(model, total_us, now_us);
    struct health_latency figures = {
        .ttft_us = latency_window_at(&model->ttft, 50),
        .ttft_p95_us = latency_window_at(&model->ttft, 95),
        .total_us = latency_window_at(&model->total, 50),
        .ewma_us = bounded(model->ewma_us),
        .samples = model->total.n,
    };
    health_board_set_latency(latency->board, slot, &figures, now_us);
    (void)pthread_mutex_unlock(&latency->lock);
}
