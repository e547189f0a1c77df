/* How an ended request is told: one access-log line, and an event when somebody listens. */
#include "core/log.h"
#include "proto/event.h"
#include "router/cost.h"
#include "router/shared.h"
#include "router/votes.h"

static uint64_t
time_to_first_us(const struct route_request *rq, const struct env *end)
{
    if (rq->first_chunk_us != 0) {
        return rq->first_chunk_us - rq->started_us;
    }
    return end->outcome == ENV_OUTCOME_OK ? end->upstream_us : 0;
}

static struct dyn_slice
or_dash(struct dyn_slice text)
{
    return text.len > 0 ? text : DYN_SLICE("-");
}

/* Who answered, or was asked last. */
static struct dyn_slice
last_worker(const struct route_request *rq)
{
    return rq->now->note != NULL ? rq->now->note->worker : dyn_slice(NULL, 0);
}

static void
log_access(const struct route_request *rq, const struct env *end, uint64_t now_us)
{
    const struct env *request = rq->request;
    bool failed = end->outcome != ENV_OUTCOME_OK;
    struct dyn_slice error = failed ? dyn_slice_str(err_row(end->error)->code) : DYN_SLICE("-");
    uint64_t ttft_us = time_to_first_us(rq, end);
    const struct dyn_log_field fields[] = {
        DYN_LOG_SLICE("trace_id", or_dash(request->trace_id)),
        DYN_LOG_SLICE("peer", or_dash(request->peer)),
        DYN_LOG_SLICE("key_id", rq->key_id),
        DYN_LOG_STR("surface", env_surface_name(request->surface)),
        DYN_LOG_SLICE("model", or_dash(rq->model)),
        DYN_LOG_SLICE("target", or_dash(end->target)),
        DYN_LOG_SLICE("worker", or_dash(last_worker(rq))),
        DYN_LOG_UINT("status", end->status),
        DYN_LOG_SLICE("error", error),
        DYN_LOG_BOOL("stream", rq->facts.stream),
        DYN_LOG_UINT("attempts", rq->attempts),
        DYN_LOG_UINT("redelivered", end->redelivered),
        DYN_LOG_REAL("ttft_ms", (double)ttft_us / 1e3),
        DYN_LOG_REAL("total_ms", (double)(now_us - rq->started_us) / 1e3),
        DYN_LOG_UINT("tokens_in", end->usage.prompt_tokens),
        DYN_LOG_UINT("tokens_out", end->usage.completion_tokens),
    };
    dyn_log_access(fields, DYN_ARRAY_LEN(fields));
}

static struct dyn_slice
or_absent(struct dyn_slice text)
{
    return text.len > 0 ? text : dyn_slice(NULL, 0);
}

static struct event_record
record_of(const struct route_request *rq, const struct env *end, uint64_t now_us)
{
    bool failed = end->outcome != ENV_OUTCOME_OK;
    const struct err_row *row = err_row(end->error);
    return (struct event_record){
        .failed = failed,
        .trace_id = rq->request->trace_id,
        .provider = end->provider,
        .target = end->target,
        .model = rq->model,
        .key_id = rq->key_id,
        .error = end->error_text.data ? end->error_text : dyn_slice_str(row->sentence),
        .error_code = dyn_slice_str(row->code),
        .status = end->status,
        .stream = rq->facts.stream,
        .attempts = rq->attempts,
        .cache = rq->votes != NULL ? route_cache_said(rq) : dyn_slice(NULL, 0),
        .strategy = dyn_slice_str(rq->plan->strategy->name),
        .rule = rq->order.rule >= 0 && rq->order.n > 0 ? (uint64_t)rq->order.rule + 1 : 0,
        .ab_label = rq->order.label,
        .worker = last_worker(rq),
        .model_listed = route_model_is_listed(&rq->router->members, rq->model),
        .redelivered = end->redelivered,
        .upstream_calls = end->upstream_calls,
        .latency_us = now_us - rq->started_us,
        .ttft_us = time_to_first_us(rq, end),
        .degraded = or_absent(end->degraded),
        .warnings = or_absent(end->warnings),
        .tokens_in = end->usage.prompt_tokens,
        .tokens_out = end->usage.completion_tokens,
        .timestamp_us = dyn_wall_us(bus_loop_clock(rq->router->loop)),
    };
}

static void
publish(const struct route_request *rq, struct event_record *record, const struct event_plugin *plugins,
        size_t n_plugins)
{
    struct router *router = rq->router;
    struct dyn_buf *lists = &router->event_lists;
    struct event_attempt attempts[ROUTE_NOTES_MAX];
    size_t n = route_notes_tell(rq, attempts);
    dyn_buf_clear(lists);
    if (n > 0) {
        event_attempts_encode(attempts, n, lists);
    }
    size_t plugins_at = lists->len;
    if (n_plugins > 0) {
        event_plugins_encode(plugins, n_plugins, lists);
    }
    /* Both are there: the memory moves no more. */
    if (n > 0) {
        record->attempt_list = dyn_slice(lists->data, plugins_at);
    }
    if (n_plugins > 0) {
        record->plugins = dyn_slice(lists->data + plugins_at, lists->len - plugins_at);
    }
    route_event_keep(router, record);
}

/* The provider's failure, though the client never saw it. */
static void
count_hidden_failures(const struct route_request *rq)
{
    const struct route_note *note = rq->last_note != NULL ? &rq->first_note : NULL;
    for (; note != NULL; note = note->next) {
        if (note->is_hidden && note->error != ERR_NONE && !note->is_loser) {
            bool is_listed = route_model_is_listed(&rq->router->members, rq->model);
            request_cell_count_error(rq->router->options.counts, note->provider,
                                     is_listed ? rq->model : DYN_SLICE("other"), note->error);
        }
    }
}

void
route_report(const struct route_request *rq, const struct env *end)
{
    struct router *router = rq->router;
    uint64_t now_us = route_clock_us(router);
    if (dyn_log_enabled(DYN_LOG_INFO)) {
        log_access(rq, end, now_us);
    }
    bool calls_upstreams =
        rq->request->surface == ENV_SURFACE_CHAT || rq->request->surface == ENV_SURFACE_EMBEDDINGS;
    if (!calls_upstreams) {
        return;
    }
    struct event_record record = record_of(rq, end, now_us);
    route_cost_tell(rq, end, &record);
    request_cell_count(router->options.counts, &record);
    struct event_plugin plugins[ROUTE_VOTE_NOTES_MAX];
    size_t n_plugins = route_votes_tell(rq, plugins);
    request_cell_count_votes(router->options.counts, &record, plugins, n_plugins);
    count_hidden_failures(rq);
    bool heard = atomic_load_explicit(&router->options.shared->wants_events, memory_order_relaxed);
    if (heard && router->options.events != 0) {
        publish(rq, &record, plugins, n_plugins);
    }
}
