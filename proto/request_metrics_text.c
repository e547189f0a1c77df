/* Request metrics as Prometheus' text: the figures of all cells added up while they go on counting. */
#include "proto/request_metrics_impl.h"

static const char *const status_words[STATUS_COUNT] = {"success", "error", "rejected"};
static const char *const type_words[TYPE_COUNT] = {"provider_error", "timeout",     "client_canceled",
                                                   "backpressure",   "worker_lost", "plugin_error"};

static uint64_t
get(const atomic_uint_fast64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static struct dyn_slice
name_slice(const struct name *name)
{
    return dyn_slice(name->text, name->len);
}

/* Adds up a number that is at the same place of each cell's series. */
static uint64_t
sum_series(const request_metrics_t *metrics, unsigned pair, size_t offset)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < metrics->n_cells; i++) {
        const char *series =
            (const char *)atomic_load_explicit(&metrics->cells[i]->series[pair], memory_order_acquire);
        if (series != NULL) {
            sum += get((const atomic_uint_fast64_t *)(const void *)(series + offset));
        }
    }
    return sum;
}

static uint64_t
sum_cells(const request_metrics_t *metrics, size_t offset)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < metrics->n_cells; i++) {
        const char *cell = (const char *)metrics->cells[i];
        sum += get((const atomic_uint_fast64_t *)(const void *)(cell + offset));
    }
    return sum;
}

static double
sum_cost(const request_metrics_t *metrics, unsigned pair)
{
    double sum = 0;
    for (unsigned i = 0; i < metrics->n_cells; i++) {
        const struct series *series =
            atomic_load_explicit(&metrics->cells[i]->series[pair], memory_order_acquire);
        uint64_t bits = series != NULL ? get(&series->cost) : 0;
        double cost;
        memcpy(&cost, &bits, sizeof cost);
        sum += cost;
    }
    return sum;
}

/* ---- writing ---- */

struct page {
    const request_metrics_t *metrics;
    enum metric_family_id family;
    struct dyn_buf *out;
};

/* A sample that was never counted is left out. */
static void
write_count(const struct page *page, const struct dyn_slice *labels, uint64_t value)
{
    if (value > 0) {
        metrics_text_name(page->out, page->family, "", labels, NULL);
        metrics_text_uint(page->out, value);
    }
}

static void
write_requests(const struct page *page, unsigned pair, struct dyn_slice *labels)
{
    for (size_t i = 0; i < STATUS_COUNT; i++) {
        labels[2] = dyn_slice_str(status_words[i]);
        size_t offset = offsetof(struct series, requests) + i * sizeof(atomic_uint_fast64_t);
        write_count(page, labels, sum_series(page->metrics, pair, offset));
    }
}

struct histogram_form {
    size_t offset; /* in struct series */
    const uint64_t *ends;
    size_t n_ends;
    double scale; /* of one unit in which is counted */
};

static void
write_histogram(const struct page *page, unsigned pair, const struct dyn_slice *labels,
                const struct histogram_form *form)
{
    uint64_t counts[BUCKETS_MAX];
    uint64_t total = 0;
    for (size_t i = 0; i <= form->n_ends; i++) {
        size_t at = offsetof(struct histogram, counts) + i * sizeof(atomic_uint_fast64_t);
        counts[i] = sum_series(page->metrics, pair, form->offset + at);
        total += counts[i];
    }
    if (total == 0) {
        return;
    }
    uint64_t so_far = 0;
    for (size_t i = 0; i <= form->n_ends; i++) {
        struct dyn_buf end = DYN_BUF_INIT;
        if (i < form->n_ends) {
            dyn_buf_addf(&end, "%.12g", (double)form->ends[i] * form->scale);
        } else {
            dyn_buf_add_str(&end, "+Inf");
        }
        so_far += counts[i];
        metrics_text_name(page->out, page->family, "_bucket", labels, dyn_buf_cstr(&end));
        metrics_text_uint(page->out, so_far);
        dyn_buf_fini(&end);
    }
    uint64_t sum = sum_series(page->metrics, pair, form->offset + offsetof(struct histogram, sum));
    metrics_text_name(page->out, page->family, "_sum", labels, NULL);
    metrics_text_real(page->out, (double)sum * form->scale);
    metrics_text_name(page->out, page->family, "_count", labels, NULL);
    metrics_text_uint(page->out, total);
}

static const struct histogram_form *
histogram_form(enum metric_family_id family)
{
    static const struct histogram_form forms[] = {
        {offsetof(struct series, duration), request_duration_ends, DURATION_ENDS, 1e-6},
        {offsetof(struct series, ttft), request_ttft_ends, TTFT_ENDS, 1e-6},
        {offsetof(struct series, rate), request_rate_ends, RATE_ENDS, 1e-3},
    };
    return family == METRIC_DURATION ? &forms[0] : family == METRIC_TTFT ? &forms[1] : &forms[2];
}

static void
write_pair(const struct page *page, unsigned pair)
{
    struct dyn_slice labels[3] = {
        name_slice(&page->metrics->pairs[pair].provider),
        name_slice(&page->metrics->pairs[pair].model),
    };
    if (page->family == METRIC_REQUESTS) {
        write_requests(page, pair, labels);
    } else if (page->family == METRIC_TOKENS_IN) {
        write_count(page, labels, sum_series(page->metrics, pair, offsetof(struct series, tokens_in)));
    } else if (page->family == METRIC_TOKENS_OUT) {
        write_count(page, labels, sum_series(page->metrics, pair, offsetof(struct series, tokens_out)));
    } else if (page->family == METRIC_COST) {
        double cost = sum_cost(page->metrics, pair);
        if (cost > 0) {
            metrics_text_name(page->out, page->family, "", labels, NULL);
            metrics_text_real(page->out, cost);
        }
    } else {
        write_histogram(page, pair, labels, histogram_form(page->family));
    }
}

/* Has a pair before this one the same provider? */
static bool
provider_is_new(const request_metrics_t *metrics, unsigned pair)
{
    for (unsigned i = 0; i < pair; i++) {
        if (request_name_is(&metrics->pairs[i].provider, name_slice(&metrics->pairs[pair].provider))) {
            return false;
        }
    }
    return true;
}

/* Over all models of a provider. */
static void
write_provider_errors(const struct page *page, unsigned pair, unsigned n_pairs)
{
    const request_metrics_t *metrics = page->metrics;
    struct dyn_slice provider = name_slice(&metrics->pairs[pair].provider);
    for (size_t type = 0; type < TYPE_COUNT; type++) {
        size_t offset = offsetof(struct series, errors) + type * sizeof(atomic_uint_fast64_t);
        uint64_t sum = 0;
        for (unsigned i = pair; i < n_pairs; i++) {
            sum +=
                request_name_is(&metrics->pairs[i].provider, provider) ? sum_series(metrics, i, offset) : 0;
        }
        write_count(page, (struct dyn_slice[]){provider, dyn_slice_str(type_words[type])}, sum);
    }
}

static void
write_codes(const struct page *page)
{
    for (size_t i = 0; i < ERR_COUNT; i++) {
        const char *code = i == ERR_NONE ? "other" : err_row((enum err_code)i)->code;
        size_t offset = offsetof(struct request_cell, codes) + i * sizeof(atomic_uint_fast64_t);
        write_count(page, (struct dyn_slice[]){dyn_slice_str(code)}, sum_cells(page->metrics, offset));
    }
}

static void
write_keys(const struct page *page)
{
    unsigned n = atomic_load_explicit(&page->metrics->n_keys, memory_order_acquire);
    for (unsigned key = 0; key < n; key++) {
        struct dyn_slice labels[2] = {name_slice(&page->metrics->keys[key])};
        size_t offset = offsetof(struct request_cell, keys) + key * sizeof(struct key_series);
        if (page->family == METRIC_KEY_TOKENS) {
            write_count(page, labels, sum_cells(page->metrics, offset + offsetof(struct key_series, tokens)));
            continue;
        }
        for (size_t i = 0; i < STATUS_COUNT; i++) {
            size_t at = offsetof(struct key_series, requests) + i * sizeof(atomic_uint_fast64_t);
            labels[1] = dyn_slice_str(status_words[i]);
            write_count(page, labels, sum_cells(page->metrics, offset + at));
        }
    }
}

static size_t
votes_offset(unsigned plugin, size_t stage)
{
    return offsetof(struct request_cell, plugins) + plugin * sizeof(struct plugin_series) +
           offsetof(struct plugin_series, votes) + stage * PLUGIN_VERDICTS * sizeof(atomic_uint_fast64_t);
}

static size_t
us_offset(unsigned plugin, size_t stage)
{
    return offsetof(struct request_cell, plugins) + plugin * sizeof(struct plugin_series) +
           offsetof(struct plugin_series, us) + stage * sizeof(atomic_uint_fast64_t);
}

static void
write_plugin(const struct page *page, unsigned plugin, size_t stage)
{
    struct dyn_slice labels[3] = {name_slice(&page->metrics->plugins[plugin]),
                                  dyn_slice_str(vote_stage_name((enum vote_stage)stage))};
    if (page->family == METRIC_PLUGIN_SECONDS) {
        uint64_t us = sum_cells(page->metrics, us_offset(plugin, stage));
        if (us > 0) {
            metrics_text_name(page->out, page->family, "", labels, NULL);
            metrics_text_real(page->out, (double)us * 1e-6);
        }
        return;
    }
    for (size_t i = VOTE_NONE + 1; i < PLUGIN_VERDICTS; i++) {
        bool is_open = i == EVENT_VERDICT_OPEN;
        labels[2] = dyn_slice_str(is_open ? "open" : vote_verdict_name((enum vote_verdict)i));
        size_t offset = votes_offset(plugin, stage) + i * sizeof(atomic_uint_fast64_t);
        write_count(page, labels, sum_cells(page->metrics, offset));
    }
}

static void
write_plugins(const struct page *page)
{
    unsigned n = atomic_load_explicit(&page->metrics->n_plugins, memory_order_acquire);
    for (unsigned plugin = 0; plugin < n; plugin++) {
        for (size_t stage = VOTE_STAGE_NONE + 1; stage < PLUGIN_STAGES; stage++) {
            write_plugin(page, plugin, stage);
        }
    }
}

/* A family without labels has its one sample from the start. */
static void
write_total(const struct page *page)
{
    size_t offset = page->family == METRIC_UPSTREAM_CALLS   ? offsetof(struct request_cell, upstream_calls)
                    : page->family == METRIC_UPSTREAM_EXTRA ? offsetof(struct request_cell, upstream_extra)
                                                            : offsetof(struct request_cell, redeliveries);
    metrics_text_name(page->out, page->family, "", NULL, NULL);
    metrics_text_uint(page->out, sum_cells(page->metrics, offset));
}

void
request_metrics_write(request_metrics_t *metrics, enum metric_family_id family, struct dyn_buf *out)
{
    const struct page page = {metrics, family, out};
    unsigned n_pairs = atomic_load_explicit(&metrics->n_pairs, memory_order_acquire);
    metrics_text_head(out, family);
    if (family == METRIC_ERRORS) {
        write_codes(&page);
    } else if (family == METRIC_KEY_REQUESTS || family == METRIC_KEY_TOKENS) {
        write_keys(&page);
    } else if (family == METRIC_PLUGIN_VOTES || family == METRIC_PLUGIN_SECONDS) {
        write_plugins(&page);
    } else if (family == METRIC_RATE_LIMITED) {
        uint64_t n = sum_cells(metrics, offsetof(struct request_cell, plugin_rate_limited));
        write_count(&page, (struct dyn_slice[]){DYN_SLICE("plugin")}, n);
    } else if (metric_families[family].labels[0] == '\0') {
        write_total(&page);
    } else {
        for (unsigned pair = 0; pair < n_pairs; pair++) {
            if (family != METRIC_PROVIDER_ERRORS) {
                write_pair(&page, pair);
            } else if (provider_is_new(metrics, pair)) {
                write_provider_errors(&page, pair, n_pairs);
            }
        }
    }
}
