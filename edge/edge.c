/* The edge actor: its life, its HTTP server, and who gets the envelopes that come in. */
#include "edge/edge.h"

#include "core/log.h"
#include "edge/edge_impl.h"

#include <stdlib.h>

enum {
    IDLE_GRACE_MS = 1000, /* a request that crosses our closing the connection is still served */
    DRAIN_LOOK_MS = 20,
    TLS_LOOK_MS = 5000,   /* a renewed certificate is in use after that at the latest */
    GIVE_UP_PERCENT = 90, /* of the drain time: what is ended by then still reaches its client */
};

/* On every answer. No page is ever served, so none may be made of an answer. */
static const struct http_header common_headers[] = {
    {DYN_SLICE_INIT("x-content-type-options"), DYN_SLICE_INIT("nosniff")},
    {DYN_SLICE_INIT("x-frame-options"), DYN_SLICE_INIT("DENY")},
    {DYN_SLICE_INIT("referrer-policy"), DYN_SLICE_INIT("no-referrer")},
    {DYN_SLICE_INIT("content-security-policy"), DYN_SLICE_INIT("default-src 'none'; frame-ancestors 'none'")},
    {DYN_SLICE_INIT("permissions-policy"), DYN_SLICE_INIT("camera=(), microphone=(), geolocation=()")},
};
enum { COMMON_HEADERS_MAX = DYN_ARRAY_LEN(common_headers) + 2 };

/* Which page may read an answer is part of what a cache has to look at; no page may read one of --dev. */
static size_t
headers_of_all_answers(const struct edge_options *options, struct http_header out[COMMON_HEADERS_MAX])
{
    size_t n = DYN_ARRAY_LEN(common_headers);
    memcpy(out, common_headers, sizeof common_headers);
    if (!options->dev) {
        out[n++] = (struct http_header){DYN_SLICE("vary"), DYN_SLICE("Origin")};
    }
    if (options->group->tls != NULL) {
        out[n++] =
            (struct http_header){DYN_SLICE("strict-transport-security"), DYN_SLICE("max-age=31536000")};
    }
    return n;
}

static void
on_done(void *self, http_exchange_t *exchange, bool complete)
{
    struct edge *edge = self;
    struct edge_request *rq = http_exchange_user(exchange);
    edge->n_open--;
    if (!complete) {
        edge_count(&edge->options.group->counters.clients_gone);
    }
    edge_cancel(rq, "client");
    edge_request_fini(rq);
}

static const struct http_server_ops http_ops = {
    .head = edge_on_head,
    .too_large = edge_on_too_large,
    .no_room = edge_on_no_room,
    .request = edge_on_request,
    .written = edge_on_written,
    .done = on_done,
    .refused = edge_on_refused,
};

/* ---- draining ---- */

static void
give_up(struct edge *edge)
{
    struct env_map_node *node;
    while ((node = env_map_any(&edge->requests)) != NULL) {
        struct edge_request *rq = DYN_CONTAINER_OF(node, struct edge_request, node);
        edge_cancel(rq, "draining");
        edge_fail(rq, ERR_DRAINING);
    }
}

static void
look_whether_idle(struct bus_timer *timer)
{
    struct edge *edge = DYN_CONTAINER_OF(timer, struct edge, drain_timer);
    uint64_t now_us = bus_loop_now_us(edge->loop);
    bool is_quiet = edge->n_open == 0 && edge->requests.n == 0;
    bool is_empty = http_server_connections(edge->server) == 0;
    bool may_end = is_quiet && !edge->acceptor.is_leaving && (is_empty || now_us >= edge->grace_until_us);
    if (may_end && http_server_refuse_arriving(edge->server) == 0) {
        bus_actor_idle(edge->me);
        return;
    }
    if (now_us >= edge->give_up_at_us) {
        give_up(edge);
        (void)http_server_refuse_arriving(edge->server);
    }
    bus_timer_arm(edge->loop, &edge->drain_timer, DRAIN_LOOK_MS);
}

static void
edge_drain(void *self, uint64_t deadline_us)
{
    struct edge *edge = self;
    uint64_t now_us = bus_loop_now_us(edge->loop);
    uint64_t left_us = deadline_us > now_us ? deadline_us - now_us : 0;
    edge->draining = true;
    edge->grace_until_us = now_us + (uint64_t)IDLE_GRACE_MS * 1000;
    edge->give_up_at_us = now_us + left_us / 100 * GIVE_UP_PERCENT;
    edge_acceptor_drain(&edge->acceptor);
    http_server_drain(edge->server, IDLE_GRACE_MS);
    look_whether_idle(&edge->drain_timer);
}

/* ---- envelopes ---- */

static void
edge_receive(void *self, struct env **env_p)
{
    struct edge *edge = self;
    struct env *env = *env_p;
    struct edge_counters *counters = &edge->options.group->counters;
    if (env->from != edge->options.router) {
        edge_count(&counters->foreign_envelopes);
        env_free(env_p);
        return;
    }
    struct env_map_node *node = env_map_find(&edge->requests, &env->id);
    struct edge_request *rq = node != NULL ? DYN_CONTAINER_OF(node, struct edge_request, node) : NULL;
    if (rq != NULL && env->kind == ENV_CHUNK) {
        edge_on_chunk(rq, env_p);
    } else if (rq != NULL && env->kind == ENV_END) {
        edge_on_end(rq, env_p);
    } else if (rq != NULL && env->kind == ENV_DISPATCHED) {
        edge_on_dispatched(rq, env);
    } else {
        edge_count(&counters->late_envelopes);
    }
    env_free(env_p);
}

/* ---- life ---- */

static void
look_at_certificate(struct bus_timer *timer)
{
    struct edge *edge = DYN_CONTAINER_OF(timer, struct edge, tls_timer);
    http_tls_tick(edge->options.group->tls);
    bus_timer_arm(edge->loop, timer, TLS_LOOK_MS);
}

static void
keep_route_headers(struct edge *edge, const struct dyn_slice *names, size_t n)
{
    struct dyn_slice *copies = arena_alloc(&edge->arena, (n + 1) * sizeof *copies);
    for (size_t i = 0; i < n; i++) {
        copies[i] = arena_copy(&edge->arena, names[i]);
    }
    edge->options.route_headers = copies;
    edge->options.n_route_headers = n;
}

/* Envelopes have copies of the former ones. */
void
edge_apply(void *self, const struct dyn_slice *route_headers, size_t n)
{
    struct edge *edge = self;
    arena_fini(&edge->arena);
    arena_init(&edge->arena, NULL, 0);
    keep_route_headers(edge, route_headers, n);
}

void *
edge_new(const struct edge_options *options)
{
    struct edge *edge = dyn_zalloc(sizeof *edge);
    edge->options = *options;
    arena_init(&edge->arena, NULL, 0);
    keep_route_headers(edge, options->route_headers, options->n_route_headers);
    edge->dialect = dialect_find(DYN_SLICE("openai_chat"));
    edge->drain_timer.fire = look_whether_idle;
    edge->tls_timer.fire = look_at_certificate;
    env_map_init(&edge->requests);
    DYN_ASSERT(edge->dialect != NULL && options->cell < options->group->n_cells);
    return edge;
}

static int
edge_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct edge *edge = self;
    const struct edge_config *config = edge->options.config;
    struct edge_group *group = edge->options.group;
    edge->me = me;
    edge->loop = bus_actor_loop(me);
    size_t cells = group->n_cells;
    group->bodies.max = (size_t)config->max_body_memory; /* the same from every cell */
    size_t connections_max = ((size_t)config->max_connections + cells - 1) / cells;
    struct http_header headers[COMMON_HEADERS_MAX];
    struct http_server_options options = {
        .head_timeout_ms = (uint32_t)config->client_timeouts.head_ms,
        .body_timeout_ms = (uint32_t)config->client_timeouts.body_ms,
        .body_total_ms = (uint32_t)config->client_timeouts.body_total_ms,
        .idle_timeout_ms = (uint32_t)config->client_timeouts.idle_ms,
        .write_timeout_ms = (uint32_t)config->client_timeouts.write_ms,
        .head_max = (uint32_t)config->max_header_bytes,
        .connections_max = (uint32_t)connections_max,
        .answer_headers = headers,
        .n_answer_headers = headers_of_all_answers(&edge->options, headers),
        .connections = &group->cells[edge->options.cell].connections,
        .bodies = &group->bodies,
        .tls = group->tls,
    };
    edge->server = http_server_new(edge->loop, &http_ops, edge, &options, err);
    if (edge->server == NULL) {
        return -1;
    }
    edge_acceptor_start(&edge->acceptor, group, edge->options.cell, edge->loop, edge->server,
                        connections_max);
    if (group->tls != NULL && edge->options.cell == 0) {
        bus_timer_arm(edge->loop, &edge->tls_timer, TLS_LOOK_MS);
    }
    return 0;
}

static void
edge_stop(void *self)
{
    struct edge *edge = self;
    if (edge->server != NULL) {
        edge_acceptor_stop(&edge->acceptor);
        http_server_free(&edge->server); /* done() for each that is open: cancelled at the router */
    }
    bus_timer_fini(&edge->drain_timer);
    bus_timer_fini(&edge->tls_timer);
    DYN_ASSERT(edge->requests.n == 0);
    env_map_fini(&edge->requests);
    arena_fini(&edge->arena);
    free(edge);
}

const struct bus_actor_ops edge_actor_ops = {
    .kind = "edge",
    .start = edge_start,
    .receive = edge_receive,
    .drain = edge_drain,
    .stop = edge_stop,
};
