/* The inside of request metrics, for request_metrics.c (counting) and request_metrics_text.c (reading). */
#pragma once

#include "proto/err.h"
#include "proto/request_metrics.h"

#include <pthread.h>
#include <stdatomic.h>

enum request_status { STATUS_SUCCESS, STATUS_ERROR, STATUS_REJECTED, STATUS_COUNT };

enum error_type {
    TYPE_PROVIDER,
    TYPE_TIMEOUT,
    TYPE_CANCELED,
    TYPE_BACKPRESSURE,
    TYPE_LOST,
    TYPE_PLUGIN,
    TYPE_COUNT
};

/* Upper ends of buckets: microseconds, and thousandths of a token a second. Answers of large models take
 * minutes. */
enum { DURATION_ENDS = 16, TTFT_ENDS = 12, RATE_ENDS = 9, BUCKETS_MAX = DURATION_ENDS + 1 };
extern const uint64_t request_duration_ends[DURATION_ENDS];
extern const uint64_t request_ttft_ends[TTFT_ENDS];
extern const uint64_t request_rate_ends[RATE_ENDS];

struct histogram {
    atomic_uint_fast64_t counts[BUCKETS_MAX]; /* of each bucket alone; the last has no end */
    atomic_uint_fast64_t sum;
};

struct series {
    atomic_uint_fast64_t requests[STATUS_COUNT];
    atomic_uint_fast64_t errors[TYPE_COUNT];
    atomic_uint_fast64_t tokens_in;
    atomic_uint_fast64_t tokens_out;
    atomic_uint_fast64_t cost; /* bits of a double, USD */
    struct histogram duration;
    struct histogram ttft;
    struct histogram rate;
};

struct key_series {
    atomic_uint_fast64_t requests[STATUS_COUNT];
    atomic_uint_fast64_t tokens;
};

/* By the numbers of events, and as those spell them. */
enum { PLUGIN_STAGES = VOTE_STAGE_COUNT, PLUGIN_VERDICTS = EVENT_VERDICT_COUNT };

struct plugin_series {
    atomic_uint_fast64_t votes[PLUGIN_STAGES][PLUGIN_VERDICTS];
    atomic_uint_fast64_t us[PLUGIN_STAGES];
};

enum { SERIES_SLOTS = 4 * REQUEST_SERIES_MAX, KEY_SLOTS = 4 * REQUEST_KEYS_MAX };

struct name {
    char text[REQUEST_LABEL_MAX];
    size_t len;
};

struct pair {
    struct name provider;
    struct name model;
};

/* A place of a cell's table, found by the hash of the names. */
struct place {
    uint64_t hash;
    uint32_t number; /* plus 1; 0: empty */
};

struct request_cell {
    request_metrics_t *metrics;
    atomic_uint_fast64_t upstream_calls;
    atomic_uint_fast64_t upstream_extra;
    atomic_uint_fast64_t redeliveries;
    atomic_uint_fast64_t codes[ERR_COUNT]; /* by the first row with that code; 0: none of ours */
    _Atomic(struct series *) series[REQUEST_SERIES_MAX];
    struct key_series keys[REQUEST_KEYS_MAX];
    struct plugin_series plugins[REQUEST_PLUGINS_MAX];
    atomic_uint_fast64_t plugin_rate_limited;
    struct place series_places[SERIES_SLOTS];
    struct place key_places[KEY_SLOTS];
    unsigned n_series_places;
    unsigned n_key_places;
};

struct request_metrics {
    pthread_mutex_t lock;                     /* to add a name */
    struct pair pairs[REQUEST_SERIES_MAX];    /* the first is other, other; complete below n_pairs */
    struct name keys[REQUEST_KEYS_MAX];       /* the first is other */
    size_t page_bytes;                        /* that the samples of all pairs can take, under the lock */
    struct name plugins[REQUEST_PLUGINS_MAX]; /* the first is other */
    atomic_uint n_pairs;
    atomic_uint n_keys;
    atomic_uint n_plugins;
    unsigned n_cells;
    struct request_cell *cells[];
};

static inline bool
request_name_is(const struct name *name, struct dyn_slice text)
{
    return name->len == text.len && memcmp(name->text, text.data, text.len) == 0;
}
