/* See request_metrics.h.
 *
 * Which pair of provider and model has which number is one list for all cells, under a lock that a cell takes
 * once for each pair that it sees for the first time; so a page never shows a request twice or under another
 * name than before. Each cell keeps its own way from names to numbers, and its own figures. Cost of a count:
 * one hash of the names and some forty stores at most. */
#include "proto/request_metrics_impl.h"

#include <stdlib.h>

const uint64_t request_duration_ends[DURATION_ENDS] = {
    5000,    10000,   25000,    50000,    100000,   250000,    500000,    1000000,
    2500000, 5000000, 10000000, 30000000, 60000000, 120000000, 300000000, 600000000,
};
const uint64_t request_ttft_ends[TTFT_ENDS] = {
    10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000, 30000000, 60000000,
};
const uint64_t request_rate_ends[RATE_ENDS] = {1000,   5000,   10000,  20000,  50000,
                                               100000, 200000, 500000, 1000000};

static void
add(atomic_uint_fast64_t *counter, uint64_t more)
{
    uint64_t now = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, now + more, memory_order_relaxed);
}

/* FNV-1a (Fowler, Noll, Vo), 64 bits. */
static uint64_t
hash_more(uint64_t hash, struct dyn_slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        hash = (hash ^ (unsigned char)text.data[i]) * UINT64_C(0x100000001b3);
    }
    return (hash ^ 0xff) * UINT64_C(0x100000001b3); /* a byte that no text has ends it */
}

static const uint64_t hash_start = UINT64_C(0xcbf29ce484222325);

/* At most REQUEST_LABEL_MAX bytes, whole characters. */
static struct dyn_slice
label_of(struct dyn_slice text, const char *absent)
{
    if (text.len == 0) {
        return dyn_slice_str(absent);
    }
    if (text.len > REQUEST_LABEL_MAX) {
        text.len = REQUEST_LABEL_MAX;
        while (text.len > 0 && ((unsigned char)text.data[text.len] & 0xC0) == 0x80) {
            text.len--;
        }
    }
    return text;
}

static void
set_name(struct name *name, struct dyn_slice text)
{
    memcpy(name->text, text.data, text.len);
    name->len = text.len;
}

/* ---- a cell's way from names to numbers ---- */

static struct place *
find_place(struct place *places, size_t n, uint64_t hash)
{
    size_t i = (size_t)(hash ^ hash >> 32) & (n - 1);
    while (places[i].number != 0 && places[i].hash != hash) {
        i = (i + 1) & (n - 1);
    }
    return &places[i];
}

/* What a label's value takes in a page at most. */
static size_t
escaped_len(struct dyn_slice text)
{
    size_t len = text.len;
    for (size_t i = 0; i < text.len; i++) {
        len += text.data[i] == '\\' || text.data[i] == '"' || text.data[i] == '\n' ? 1 : 0;
    }
    return len;
}

/* All samples of a pair at their longest, errors by type counted for each pair. */
static size_t
page_bytes(struct dyn_slice provider, struct dyn_slice model)
{
    enum {
        LINES = STATUS_COUNT + TYPE_COUNT + 3 + DURATION_ENDS + 3 + TTFT_ENDS + 3 + RATE_ENDS + 3,
        LINE_BYTES = 104, /* the longest name, the names of labels, `le`, twenty digits */
    };
    return LINES * (LINE_BYTES + escaped_len(provider) + escaped_len(model));
}

/* Number of the pair in the list of all cells, which gets it when there is room. */
static DYN_COLD uint32_t
learn_pair(request_metrics_t *metrics, struct dyn_slice provider, struct dyn_slice model)
{
    (void)pthread_mutex_lock(&metrics->lock);
    unsigned n = atomic_load_explicit(&metrics->n_pairs, memory_order_relaxed);
    uint32_t number = 0;
    while (number < n && !(request_name_is(&metrics->pairs[number].provider, provider) &&
                           request_name_is(&metrics->pairs[number].model, model))) {
        number++;
    }
    size_t bytes = metrics->page_bytes + page_bytes(provider, model);
    if (number == n && (n == REQUEST_SERIES_MAX || bytes > REQUEST_PAGE_MAX)) {
        number = 0;
    } else if (number == n) {
        set_name(&metrics->pairs[n].provider, provider);
        set_name(&metrics->pairs[n].model, model);
        metrics->page_bytes = bytes;
        atomic_store_explicit(&metrics->n_pairs, n + 1, memory_order_release);
    }
    (void)pthread_mutex_unlock(&metrics->lock);
    return number;
}

static DYN_COLD uint32_t
learn_key(request_metrics_t *metrics, struct dyn_slice key)
{
    (void)pthread_mutex_lock(&metrics->lock);
    unsigned n = atomic_load_explicit(&metrics->n_keys, memory_order_relaxed);
    uint32_t number = 0;
    while (number < n && !request_name_is(&metrics->keys[number], key)) {
        number++;
    }
    if (number == n && n < REQUEST_KEYS_MAX) {
        set_name(&metrics->keys[n], key);
        atomic_store_explicit(&metrics->n_keys, n + 1, memory_order_release);
    }
    (void)pthread_mutex_unlock(&metrics->lock);
    return number < REQUEST_KEYS_MAX ? number : 0;
}

/* Half of the places stay empty, so that a search ends soon; a cell that has met more names than that (some
 * thousand, all listed) puts the rest where those go that are too many. */
static uint32_t
keep_place(struct place *place, unsigned *n_places, size_t slots, uint64_t hash, uint32_t number)
{
    if (*n_places < slots / 2) {
        *place = (struct place){hash, number + 1};
        (*n_places)++;
    }
    return number;
}

static uint32_t
pair_number(struct request_cell *cell, struct dyn_slice provider, struct dyn_slice model)
{
    uint64_t hash = hash_more(hash_more(hash_start, provider), model);
    struct place *place = find_place(cell->series_places, SERIES_SLOTS, hash);
    if (DYN_LIKELY(place->number != 0)) {
        return place->number - 1;
    }
    if (cell->n_series_places >= SERIES_SLOTS / 2) {
        return 0;
    }
    uint32_t number = learn_pair(cell->metrics, provider, model);
    return keep_place(place, &cell->n_series_places, SERIES_SLOTS, hash, number);
}

static struct key_series *
key_series_of(struct request_cell *cell, struct dyn_slice key)
{
    uint64_t hash = hash_more(hash_start, key);
    struct place *place = find_place(cell->key_places, KEY_SLOTS, hash);
    if (DYN_LIKELY(place->number != 0)) {
        return &cell->keys[place->number - 1];
    }
    if (cell->n_key_places >= KEY_SLOTS / 2) {
        return &cell->keys[0];
    }
    uint32_t number = learn_key(cell->metrics, key);
    return &cell->keys[keep_place(place, &cell->n_key_places, KEY_SLOTS, hash, number)];
}

static struct series *
series_named(struct request_cell *cell, struct dyn_slice provider, struct dyn_slice model)
{
    _Atomic(struct series *) *at = &cell->series[pair_number(cell, provider, model)];
    struct series *series = atomic_load_explicit(at, memory_order_relaxed);
    if (series == NULL) {
        series = dyn_zalloc(sizeof *series);
        atomic_store_explicit(at, series, memory_order_release);
    }
    return series;
}

static struct series *
series_of(struct request_cell *cell, const struct event_record *record)
{
    struct dyn_slice model = record->model_listed ? label_of(record->model, "none") : DYN_SLICE("other");
    if (record->model.len == 0) {
        model = DYN_SLICE("none");
    }
    return series_named(cell, label_of(record->provider, "none"), model);
}

/* ---- counting ---- */

static void
observe(struct histogram *histogram, const uint64_t *ends, size_t n_ends, uint64_t value)
{
    size_t i = 0;
    while (i < n_ends && value > ends[i]) {
        i++;
    }
    add(&histogram->counts[i], 1);
    add(&histogram->sum, value);
}

#define OBSERVE(histogram, ends, value) observe((histogram), (ends), DYN_ARRAY_LEN(ends), (value))

static void
add_cost(atomic_uint_fast64_t *bits, double more)
{
    uint64_t now = atomic_load_explicit(bits, memory_order_relaxed);
    double sum;
    memcpy(&sum, &now, sizeof sum);
    sum += more;
    memcpy(&now, &sum, sizeof now);
    atomic_store_explicit(bits, now, memory_order_relaxed);
}

static void
count_success(struct series *series, const struct event_record *record)
{
    OBSERVE(&series->duration, request_duration_ends, record->latency_us);
    if (record->ttft_us > 0) {
        OBSERVE(&series->ttft, request_ttft_ends, record->ttft_us);
    }
    if (record->stream && record->tokens_out > 0 && record->latency_us > record->ttft_us) {
        uint64_t took_us = record->latency_us - record->ttft_us;
        OBSERVE(&series->rate, request_rate_ends,
                (uint64_t)((double)record->tokens_out * 1e9 / (double)took_us));
    }
}

/* Also of those that failed: who left in the middle of a stream has used what there was of it. */
static void
count_use(struct series *series, const struct event_record *record)
{
    add(&series->tokens_in, record->tokens_in);
    add(&series->tokens_out, record->tokens_out);
    if (record->cost_model_found) {
        add_cost(&series->cost, record->cost_usd);
    }
}

/* The first row with that code: rows that share one are one to a client. */
static enum err_code
row_by_code(struct dyn_slice code)
{
    for (unsigned i = ERR_NONE + 1; i < ERR_COUNT; i++) {
        if (dyn_slice_is(code, err_row((enum err_code)i)->code)) {
            return (enum err_code)i;
        }
    }
    return ERR_NONE;
}

static enum error_type
type_of(enum err_code code)
{
    if (code == ERR_UPSTREAM_TIMEOUT || code == ERR_STREAM_IDLE || code == ERR_GATEWAY_TIMEOUT) {
        return TYPE_TIMEOUT;
    }
    if (code == ERR_WORKER_LOST || code == ERR_ROUTER_LOST) {
        return TYPE_LOST;
    }
    if (code == ERR_PLUGIN_ERROR || code == ERR_RESPONSE_REJECTED || code == ERR_REQUEST_REJECTED) {
        return TYPE_PLUGIN;
    }
    return code == ERR_CLIENT_CLOSED                                 ? TYPE_CANCELED
           : code == ERR_SATURATED || code == ERR_PROVIDER_SATURATED ? TYPE_BACKPRESSURE
                                                                     : TYPE_PROVIDER;
}

static void
count_failure(struct request_cell *cell, struct series *series, const struct event_record *record)
{
    enum err_code code = row_by_code(record->error_code);
    add(&cell->codes[code], 1);
    if (record->attempts > 0) {
        add(&series->errors[type_of(code)], 1);
    }
}

static enum request_status
status_of(const struct event_record *record)
{
    if (!record->failed) {
        return STATUS_SUCCESS;
    }
    return record->attempts > 0 ? STATUS_ERROR : STATUS_REJECTED;
}

void
request_cell_count(struct request_cell *cell, const struct event_record *record)
{
    if (cell == NULL) {
        return;
    }
    struct series *series = series_of(cell, record);
    struct key_series *key = key_series_of(cell, label_of(record->key_id, "none"));
    enum request_status status = status_of(record);
    add(&series->requests[status], 1);
    add(&key->requests[status], 1);
    add(&key->tokens, record->tokens_in + record->tokens_out);
    add(&cell->upstream_calls, record->upstream_calls);
    add(&cell->upstream_extra, record->upstream_calls > 1 ? record->upstream_calls - 1 : 0);
    add(&cell->redeliveries, record->redelivered);
    count_use(series, record);
    if (status == STATUS_SUCCESS) {
        count_success(series, record);
    } else {
        count_failure(cell, series, record);
    }
}

void
request_cell_count_error(struct request_cell *cell, struct dyn_slice provider, struct dyn_slice model,
                         enum err_code error)
{
    if (cell != NULL) {
        struct series *series = series_named(cell, label_of(provider, "none"), label_of(model, "none"));
        add(&series->errors[type_of(error)], 1);
    }
}

/* ---- plugins ---- */

static DYN_COLD uint32_t
learn_plugin(request_metrics_t *metrics, struct dyn_slice plugin)
{
    (void)pthread_mutex_lock(&metrics->lock);
    unsigned n = atomic_load_explicit(&metrics->n_plugins, memory_order_relaxed);
    uint32_t number = 0;
    while (number < n && !request_name_is(&metrics->plugins[number], plugin)) {
        number++;
    }
    if (number == n && n < REQUEST_PLUGINS_MAX) {
        set_name(&metrics->plugins[n], plugin);
        atomic_store_explicit(&metrics->n_plugins, n + 1, memory_order_release);
    }
    (void)pthread_mutex_unlock(&metrics->lock);
    return number < REQUEST_PLUGINS_MAX ? number : 0;
}

/* There are few: they are looked through. */
static struct plugin_series *
plugin_series_of(struct request_cell *cell, struct dyn_slice plugin)
{
    unsigned n = atomic_load_explicit(&cell->metrics->n_plugins, memory_order_acquire);
    for (unsigned i = 1; i < n; i++) {
        if (request_name_is(&cell->metrics->plugins[i], plugin)) {
            return &cell->plugins[i];
        }
    }
    return &cell->plugins[n < REQUEST_PLUGINS_MAX ? learn_plugin(cell->metrics, plugin) : 0];
}

void
request_cell_count_votes(struct request_cell *cell, const struct event_record *record,
                         const struct event_plugin *votes, size_t n)
{
    bool is_denied = false;
    for (size_t i = 0; i < n && cell != NULL; i++) {
        struct plugin_series *series = plugin_series_of(cell, label_of(votes[i].name, "none"));
        add(&series->votes[votes[i].stage][votes[i].verdict], 1);
        add(&series->us[votes[i].stage], votes[i].us);
        is_denied = is_denied || votes[i].verdict == VOTE_DENY;
    }
    if (is_denied && record->failed && record->status == 429) {
        add(&cell->plugin_rate_limited, 1);
    }
}

/* ---- life ---- */

request_metrics_t *
request_metrics_new(unsigned n_cells)
{
    request_metrics_t *metrics = dyn_zalloc(sizeof *metrics + n_cells * sizeof metrics->cells[0]);
    (void)pthread_mutex_init(&metrics->lock, NULL);
    (void)learn_pair(metrics, DYN_SLICE("other"), DYN_SLICE("other"));
    (void)learn_key(metrics, DYN_SLICE("other"));
    (void)learn_plugin(metrics, DYN_SLICE("other"));
    metrics->n_cells = n_cells;
    for (unsigned i = 0; i < n_cells; i++) {
        metrics->cells[i] = dyn_zalloc(sizeof *metrics->cells[i]);
        metrics->cells[i]->metrics = metrics;
    }
    return metrics;
}

void
request_metrics_free(request_metrics_t **metrics_p)
{
    request_metrics_t *metrics = *metrics_p;
    *metrics_p = NULL;
    if (metrics == NULL) {
        return;
    }
    for (unsigned i = 0; i < metrics->n_cells; i++) {
        for (unsigned k = 0; k < REQUEST_SERIES_MAX; k++) {
            free(atomic_load_explicit(&metrics->cells[i]->series[k], memory_order_relaxed));
        }
        free(metrics->cells[i]);
    }
    (void)pthread_mutex_destroy(&metrics->lock);
    free(metrics);
}

struct request_cell *
request_metrics_cell(request_metrics_t *metrics, unsigned cell)
{
    DYN_ASSERT(cell < metrics->n_cells);
    return metrics->cells[cell];
}
