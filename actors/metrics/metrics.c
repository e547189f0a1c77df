/* See metrics.h. */
#include "actors/metrics/metrics.h"

#include "actors/metrics/fleet.h"
#include "actors/metrics/nodes.h"
#include "actors/metrics/page.h"

#include <stdlib.h>

struct metrics {
    struct metrics_options options;
    struct node_source *sources;
    request_metrics_t *own_requests; /* NULL: those of the options */
    nodes_t *nodes;
    fleet_t *fleet; /* NULL: beside a router */
    bus_actor_t *me;
    struct dyn_buf page; /* keeps its memory */
};

void *
metrics_new(const struct metrics_options *options)
{
    struct metrics *metrics = dyn_zalloc(sizeof *metrics);
    metrics->options = *options;
    metrics->sources = dyn_alloc((options->n_sources + 1) * sizeof *metrics->sources);
    memcpy(metrics->sources, options->sources, options->n_sources * sizeof *metrics->sources);
    metrics->nodes = nodes_new();
    if (options->requests == NULL) {
        metrics->options.requests = metrics->own_requests = request_metrics_new(1);
    }
    if (options->n_routers > 0) {
        metrics->fleet = fleet_new(options->process->security, options->routers, options->n_routers,
                                   request_metrics_cell(metrics->options.requests, 0), metrics->nodes);
    }
    return metrics;
}

static int
metrics_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct metrics *metrics = self;
    metrics->me = me;
    return metrics->fleet != NULL ? fleet_start(metrics->fleet, err) : 0;
}

/* ---- the page ---- */

static void
write_page(struct metrics *metrics)
{
    char hash[BUS_CONFIG_HASH_SIZE];
    bus_process_config(metrics->options.process, hash);
    struct metrics_facts facts = {
        .requests = metrics->options.requests,
        .config = dyn_slice_str(hash),
        .config_version = atomic_load(&metrics->options.process->config_version),
        .version = dyn_slice_str(metrics->options.version),
        .events_missed = metrics->fleet != NULL ? fleet_missed(metrics->fleet) : 0,
    };
    for (size_t i = 0; i < metrics->options.n_sources; i++) {
        metrics->sources[i].read(metrics->sources[i].arg, &facts.values);
        if (metrics->sources[i].read_breakers != NULL) {
            metrics->sources[i].read_breakers(metrics->sources[i].arg, &facts.breakers);
        }
    }
    uint64_t now_us = dyn_mono_us(&dyn_clock_system);
    struct nodes_view view = nodes_sum(metrics->nodes, facts.config, now_us, &facts.values);
    nodes_breakers(metrics->nodes, now_us, &facts.breakers);
    facts.nodes = 1 + view.live;
    facts.configs = 1 + view.other_configs;
    dyn_buf_clear(&metrics->page);
    metrics_write_page(&facts, &metrics->page);
    node_breakers_fini(&facts.breakers);
}

static void
answer(struct metrics *metrics, const struct env *request)
{
    write_page(metrics);
    struct env *end = env_about(ENV_END, request);
    end->outcome = ENV_OUTCOME_OK;
    end->status = 200;
    end->content_type = DYN_SLICE(METRICS_CONTENT_TYPE);
    end->body = dyn_block_copy(ENV_BODY_HEADROOM, dyn_buf_slice(&metrics->page));
    end->body_bytes = metrics->page.len;
    if (bus_send(metrics->me, request->from, &end, NULL) != 0) {
        env_free(&end); /* it has gone */
    }
}

/* Our own report comes back from our publisher; what it says is read directly. */
static void
heard(struct metrics *metrics, const struct env *event)
{
    struct node_report report;
    if (dyn_slice_is(event->topic, EVENT_NODE_COUNTERS) &&
        node_report_decode(dyn_block_slice(event->body), &report) == 0 &&
        !dyn_slice_is(report.origin, metrics->options.process->node)) {
        nodes_heard(metrics->nodes, &report, dyn_mono_us(&dyn_clock_system));
    }
}

static void
metrics_receive(void *self, struct env **env_p)
{
    struct metrics *metrics = self;
    const struct env *env = *env_p;
    if (env->kind == ENV_REQUEST && env->surface == ENV_SURFACE_METRICS) {
        answer(metrics, env);
    } else if (env->kind == ENV_EVENT) {
        heard(metrics, env);
    }
    env_free(env_p);
}

static void
metrics_stop(void *self)
{
    struct metrics *metrics = self;
    fleet_free(&metrics->fleet);
    nodes_free(&metrics->nodes);
    request_metrics_free(&metrics->own_requests);
    dyn_buf_fini(&metrics->page);
    free(metrics->sources);
    free(metrics);
}

const struct bus_actor_ops metrics_actor_ops = {
    .kind = "metrics",
    .start = metrics_start,
    .receive = metrics_receive,
    .stop = metrics_stop,
};
