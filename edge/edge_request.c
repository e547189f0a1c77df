/* From an HTTP request to an envelope. What is wrong with a request below /v1 is found here but told by
 * the router, so that a caller without a key learns only that the key is missing. */
#include "edge/edge_impl.h"

static struct edge_request *
request_of(http_exchange_t *exchange)
{
    return http_exchange_user(exchange);
}

/* ---- to the router ---- */

/* A rule about what is left out would silently not hold. */
static void
add_route_header(struct env *env, struct dyn_slice name, struct dyn_slice value)
{
    if (!env_add_header(env, name, value) && env->refuse == ERR_NONE) {
        env->refuse = ERR_HEADERS_TOO_LARGE;
        env->refuse_text =
            arena_printf(&env->arena, "the header '%.*s', which decides about the way, is too long",
                         (int)name.len, name.data);
    }
}

/* The headers that may decide about the way, and no others. */
static void
add_route_headers(const struct edge_options *options, const struct http_request *request,
                  const struct edge_headers *headers, struct env *env)
{
    if (headers->x_dynabus_target.data != NULL) {
        add_route_header(env, DYN_SLICE("x-dynabus-target"), headers->x_dynabus_target);
    }
    for (size_t i = 0; i < options->n_route_headers; i++) {
        for (size_t k = 0; k < request->n_headers; k++) {
            if (dyn_slice_ieq(request->headers[k].name, options->route_headers[i])) {
                add_route_header(env, options->route_headers[i], request->headers[k].value);
                break; /* of several the first */
            }
        }
    }
}

static struct env *
new_envelope(struct edge_request *rq, const struct http_request *request, const struct edge_headers *headers)
{
    struct env *env = env_new(ENV_REQUEST);
    env->id = env_id_random();
    env->surface = rq->route != NULL ? rq->route->surface : ENV_SURFACE_NONE;
    const struct dialect_ops *dialect = dialect_of_surface(env->surface);
    env->dialect = dyn_slice_str(dialect != NULL ? dialect->name : rq->edge->dialect->name);
    env->credential = env_copy(env, edge_credential(headers));
    env->idempotency_key = env_copy(env, headers->idempotency_key);
    env->trace_id = env_copy(env, edge_trace_slice(rq));
    env->traceparent = env_copy(env, rq->traceparent);
    env->peer = env_copy(env, rq->client);
    env->redeliver = env_copy(env, headers->x_dynabus_redeliver);
    env->received_us = request->received_us;
    env->credit = ENV_WINDOW_FIRST;
    return env;
}

static void
send(struct edge_request *rq, struct env **env_p)
{
    struct edge *edge = rq->edge;
    struct dyn_err err;
    struct env_id id = (*env_p)->id;
    credit_receiver_init(&rq->credit, ENV_WINDOW_FIRST);
    if (bus_send(edge->me, edge->options.router, env_p, &err) != 0) {
        env_free(env_p);
        edge_answer_error(rq, err.code == DYN_E_FULL ? ERR_SATURATED : ERR_DRAINING, dyn_slice(NULL, 0));
        return;
    }
    rq->is_in_flight = true;
    env_map_add(&edge->requests, &rq->node, &id);
}

void
edge_cancel(struct edge_request *rq, const char *reason)
{
    struct edge *edge = rq->edge;
    if (!rq->is_in_flight) {
        return;
    }
    rq->is_in_flight = false;
    env_map_remove(&edge->requests, &rq->node);
    struct env *cancel = env_new(ENV_CANCEL);
    cancel->id = rq->node.id;
    cancel->reason = env_copy(cancel, dyn_slice_str(reason));
    if (bus_send(edge->me, edge->options.router, &cancel, NULL) != 0) {
        env_free(&cancel); /* the router is gone, and what it worked on with it */
    }
}

/* ---- what arrives ---- */

static struct edge_request *
new_request(struct edge *edge, http_exchange_t *exchange, const struct edge_headers *headers)
{
    struct edge_request *rq = arena_zalloc(http_exchange_arena(exchange), sizeof *rq);
    rq->edge = edge;
    rq->exchange = exchange;
    rq->keepalive.fire = edge_on_keepalive;
    rq->traceparent = edge_trace_id(headers, rq->trace_id);
    if (headers->origin.data != NULL && edge_cors_has(&edge->options.group->cors, headers->origin)) {
        rq->origin = headers->origin;
    }
    rq->client = edge_proxies_client(&edge->options.group->proxies, http_exchange_request(exchange), headers,
                                     http_exchange_arena(exchange));
    http_exchange_set_user(exchange, rq);
    edge->n_open++;
    edge_count(&edge->options.group->counters.requests);
    return rq;
}

/* Answers that need no router, because they tell a stranger nothing. */
static bool
answer_here(struct edge_request *rq, const struct http_request *request, const struct edge_headers *headers,
            const struct edge_match *match)
{
    static const struct dyn_slice absent = {NULL, 0};
    if (match->refuse == ERR_METHOD_UNKNOWN) {
        edge_answer_error(rq, ERR_METHOD_UNKNOWN, absent);
        return true;
    }
    if (rq->edge->options.dev && !edge_is_local(request, headers)) {
        edge_answer_error(rq, ERR_FORBIDDEN_ORIGIN, absent);
        return true;
    }
    if (headers->origin.data != NULL && dyn_slice_is(request->method, "OPTIONS")) {
        edge_answer_preflight(rq);
        return true;
    }
    if (rq->edge->options.probes_only && match->is_api) {
        edge_answer_error(rq, ERR_NOT_FOUND,
                          DYN_SLICE("this process is no edge: it answers probes and metrics only"));
        return true;
    }
    if (match->refuse != ERR_NONE && !match->is_api) {
        edge_answer_error(rq, match->refuse, absent);
        return true;
    }
    if (match->refuse == ERR_NONE && match->route->name == EDGE_ROUTE_LIVE) {
        edge_answer_json(rq, 200, DYN_SLICE("{\"status\":\"ok\"}"));
        return true;
    }
    if (match->refuse == ERR_NONE && match->route->name == EDGE_ROUTE_READY && rq->edge->draining) {
        edge_answer_json(rq, 503, DYN_SLICE("{\"status\":\"not_ready\",\"reason\":\"draining\"}"));
        return true;
    }
    return false;
}

static void
judge_redeliver(struct env *env, const struct edge_headers *headers)
{
    if (env->refuse == ERR_NONE && !edge_redeliver_is_valid(headers)) {
        env->refuse = ERR_INVALID_REQUEST;
        env->refuse_text = DYN_SLICE("x-dynabus-redeliver is always, unsent or never");
        env->redeliver = dyn_slice(NULL, 0);
    }
}

/* The id in a path is the model that is asked about. */
static void
take_id(struct edge_request *rq, struct env *env, struct dyn_slice id)
{
    if (id.data == NULL || env->refuse != ERR_NONE) {
        return;
    }
    env->model = env_copy(env, edge_path_decode(http_exchange_arena(rq->exchange), id));
    if (env->model.data == NULL) {
        env->refuse = ERR_INVALID_REQUEST;
        env->refuse_text = DYN_SLICE("the path has a broken escape");
    }
}

/* The router reads it, who never saw HTTP: "PUT keys/0123456789abcdef?verbose=1". */
static void
take_question(struct edge_request *rq, const struct http_request *request, struct env *env,
              struct dyn_slice path)
{
    enum { QUESTION_MAX = 1000 }; /* bytes: what the envelope's `model` takes, with room */
    bool is_get = dyn_slice_is(request->method, "HEAD");
    struct dyn_slice method = is_get ? DYN_SLICE("GET") : request->method;
    struct dyn_slice text =
        arena_printf(http_exchange_arena(rq->exchange), "%.*s %.*s%s%.*s", (int)method.len, method.data,
                     (int)path.len, path.data, request->query.len > 0 ? "?" : "", (int)request->query.len,
                     request->query.len > 0 ? request->query.data : "");
    bool is_plain = text.len <= QUESTION_MAX;
    for (size_t i = 0; i < text.len && is_plain; i++) {
        is_plain = text.data[i] >= ' ' && text.data[i] < 0x7f;
    }
    if (is_plain) {
        env->model = env_copy(env, text);
    } else if (env->refuse == ERR_NONE) {
        env->refuse = ERR_INVALID_REQUEST;
        env->refuse_text = DYN_SLICE("the path is too long, or has characters that a path does not have");
    }
    if (!is_get && !dyn_slice_is(request->method, "GET")) {
        env->redeliver = DYN_SLICE("never"); /* what changes something is not done twice */
    }
}

uint64_t
edge_on_head(void *self, http_exchange_t *exchange, const struct http_request *request)
{
    struct edge *edge = self;
    struct edge_headers headers;
    edge_headers_read(request, &headers);
    struct edge_request *rq = new_request(edge, exchange, &headers);
    struct edge_match match = edge_route_match(request->method, request->path);
    rq->route = match.route;
    if (answer_here(rq, request, &headers, &match)) {
        return HTTP_BODY_DISCARD;
    }
    bool wants_body =
        match.refuse == ERR_NONE &&
        (match.route->body == EDGE_BODY_JSON || (match.route->body == EDGE_BODY_MAYBE && request->has_body));
    struct env *env = new_envelope(rq, request, &headers);
    env->refuse = wants_body ? edge_judge_body(&headers) : match.refuse;
    judge_redeliver(env, &headers);
    add_route_headers(&edge->options, request, &headers, env);
    bool is_admin = match.route != NULL && match.route->name == EDGE_ROUTE_ADMIN;
    if (is_admin) {
        take_question(rq, request, env, match.id);
    }
    if (wants_body && env->refuse == ERR_NONE) {
        rq->request = env;
        return edge->options.config->max_request_bytes;
    }
    if (!is_admin) {
        take_id(rq, env, match.id);
    }
    send(rq, &env);
    return HTTP_BODY_DISCARD;
}

void
edge_on_too_large(void *self, http_exchange_t *exchange, const struct http_request *request)
{
    struct edge_request *rq = request_of(exchange);
    (void)self;
    (void)request;
    rq->request->refuse = ERR_REQUEST_TOO_LARGE;
    send(rq, &rq->request);
}

void
edge_on_no_room(void *self, http_exchange_t *exchange, const struct http_request *request)
{
    struct edge_request *rq = request_of(exchange);
    (void)self;
    (void)request;
    rq->request->refuse = ERR_SATURATED;
    rq->request->refuse_text = DYN_SLICE("the gateway holds as many bytes of requests as it may; try again");
    send(rq, &rq->request);
}

void
edge_on_request(void *self, http_exchange_t *exchange, const struct http_request *request)
{
    struct edge_request *rq = request_of(exchange);
    (void)self;
    (void)request;
    rq->request->body = http_exchange_take_body(exchange);
    send(rq, &rq->request);
}
