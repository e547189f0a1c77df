/* The actor: finds the call that an envelope is about, starts and cancels calls, drains. Runs on the loop
 * that hosts it. The life of one call is provider_call.c. */
#include "actors/providers/provider.h"

#include "actors/providers/provider_call.h"
#include "actors/providers/provider_params.h"

#include "core/log.h"

#include <stdio.h>
#include <stdlib.h>

#define REQUEST_HEADERS_MAX 2u
#define IDEMPOTENCY_KEY_MAX 255u
#define DRAIN_MARGIN_MS     250u /* for the last ENDs to reach their clients before the time is up */
#define TRACEPARENT_MAX     128u

/* ---- calls by request ---- */

static struct provider_call *
find_any(const struct provider *provider, const struct env *env)
{
    struct env_map_node *node = env_map_find(&provider->calls, &env->id);
    return node != NULL ? DYN_CONTAINER_OF(node, struct provider_call, node) : NULL;
}

/* The call that its own router means, in the sending that is under way. */
static struct provider_call *
find(const struct provider *provider, const struct env *env)
{
    struct provider_call *call = find_any(provider, env);
    bool is_meant = call != NULL && call->attempt == env->attempt && call->epoch == env->epoch &&
                    call->reply_to == env->from;
    return is_meant ? call : NULL;
}

static const struct provider_surface *
surface_of(const struct provider *provider, const struct env *request)
{
    return request->surface == ENV_SURFACE_EMBEDDINGS ? &provider->embeddings : &provider->chat;
}

static struct provider_call *
call_new(struct provider *provider, const struct env *request)
{
    struct dyn_list *link = dyn_list_pop(&provider->spare);
    struct provider_call *call;
    if (link != NULL) {
        provider->n_spare--;
        call = DYN_CONTAINER_OF(link, struct provider_call, link);
    } else {
        call = dyn_alloc(sizeof *call);
    }
    *call = (struct provider_call){.provider = provider};
    dyn_list_init(&call->link);
    dyn_list_init(&call->out);
    dyn_list_init(&call->orphan);
    dyn_list_init(&call->queue_link);
    provider_call_belongs(call, request);
    call->attempt = request->attempt;
    call->epoch = request->epoch;
    call->is_stream = request->stream;
    call->dialect = surface_of(provider, request)->dialect;
    call->request_bytes = env_body_len(request);
    call->started_us = dyn_mono_us(bus_loop_clock(provider->loop));
    env_map_add(&provider->calls, &call->node, &request->id);
    (void)atomic_fetch_add_explicit(&provider->options.shared->in_flight, 1, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&provider->options.shared->started, 1, memory_order_relaxed);
    return call;
}

/* ---- a request ---- */

static void
refuse(struct provider *provider, const struct env *request, enum err_code code,
       const struct dialect_problem *problem)
{
    struct env *end = env_about(ENV_END, request);
    end->outcome = ENV_OUTCOME_ERROR;
    end->error = code;
    end->status = err_row(code)->http;
    end->stream = request->stream;
    if (problem != NULL) {
        end->error_text = env_copy(end, dyn_slice_str(problem->message));
        end->error_param = env_copy(end, dyn_slice_str(problem->param));
    }
    if (bus_send(provider->me, request->from, &end, NULL) != 0) {
        env_free(&end);
    }
}

/* What the target calls the model; absent: the same as the body does. Of an alias, which is what the body
 * has, both fields have what it stands for. */
static struct dyn_slice
upstream_model(const struct provider_target *target, const struct env *request)
{
    struct dyn_slice named = request->upstream_model;
    bool is_alias = named.len > 0 && dyn_slice_eq(named, request->model);
    for (size_t i = 0; i < target->n_renames && (named.len == 0 || is_alias); i++) {
        if (dyn_slice_eq(target->renames[i].model, request->model)) {
            named = target->renames[i].upstream;
            break;
        }
    }
    struct dyn_slice model = named.len > 0 ? named : request->model;
    struct dyn_slice prefix = dyn_slice_str(target->row->model_prefix);
    if (prefix.len > 0 && model.len > prefix.len && memcmp(model.data, prefix.data, prefix.len) == 0) {
        return dyn_slice(model.data + prefix.len, model.len - prefix.len);
    }
    return !is_alias && dyn_slice_eq(named, request->model) ? dyn_slice(NULL, 0) : named;
}

/* The request has parameters that the provider does not take. -1 with a problem that names both, where that
 * is to be refused. */
static int
judge_params(struct provider_call *call, uint32_t unsupported, struct dialect_problem *problem)
{
    const struct provider_target *target = call->provider->options.target;
    bool is_refused = target->on_unsupported == PROVIDER_UNSUPPORTED_REJECT;
    struct dyn_buf names = DYN_BUF_INIT;
    provider_params_names(&names, unsupported);
    if (is_refused) {
        (void)snprintf(problem->message, sizeof problem->message, "the provider %s does not support %s",
                       target->row->id, dyn_buf_cstr(&names));
        (void)snprintf(problem->param, sizeof problem->param, "%s",
                       dialect_param_name((unsigned)__builtin_ctz(unsupported)));
    } else {
        call->unsupported = unsupported;
        dyn_log(DYN_LOG_INFO, "provider.params", "the provider does not support parameters of a request",
                DYN_LOG_SLICE("target", target->name), DYN_LOG_STR("params", dyn_buf_cstr(&names)));
        dyn_buf_clear(&names);
        provider_call_warning(call, &names);
        env_add_header(provider_reply_first(call), DYN_SLICE("x-dynabus-warnings"), dyn_buf_slice(&names));
    }
    dyn_buf_fini(&names);
    return is_refused ? -1 : 0;
}

/* What the row changes in a request with those facts. -1 with a problem where it is to be refused. */
static int
edit_params(struct provider_call *call, struct env *request, const struct dialect_request *facts,
            struct dialect_splice *splice, struct dialect_problem *problem)
{
    const struct provider_target *target = call->provider->options.target;
    const struct provider_row *row = provider_target_body_row(target);
    struct provider_params params = {.n_edits = 0};
    struct dyn_slice body = dyn_block_slice(request->body);
    if (request->surface == ENV_SURFACE_EMBEDDINGS) {
        provider_params_embeddings(row, body, &request->arena, &params);
    } else if (provider_params_concern(row, facts->params)) {
        provider_params_read(row, target->on_unsupported, body, facts->params, &request->arena, &params);
    }
    splice->more = params.edits;
    splice->n_more = params.n_edits;
    return params.unsupported != 0 ? judge_params(call, params.unsupported, problem) : 0;
}

/* Whether a request can have something for the row to change. */
static bool
is_concerned(const struct provider_row *row, const struct env *request)
{
    return request->surface == ENV_SURFACE_EMBEDDINGS ? row->dimensions != NULL
                                                      : provider_params_concern(row, UINT32_MAX);
}

/* The client's dialect; NULL when nobody here can go between it and the upstream's. */
static const struct dialect_ops *
client_dialect(const struct provider *provider, const struct env *request)
{
    const struct dialect_ops *upstream = surface_of(provider, request)->dialect;
    if (dyn_slice_is(request->dialect, upstream->name)) {
        return upstream;
    }
    const struct dialect_ops *client = dialect_find(request->dialect);
    return client != NULL && bridge_exists(client, upstream) ? client : NULL;
}

/* What the router's look at the body found, or our own. NULL with a problem. */
static const struct dialect_request *
request_facts(const struct dialect_ops *client, struct env *request, struct dialect_request *own,
              struct dialect_problem *problem)
{
    if (request->facts != NULL) {
        return request->facts;
    }
    struct dyn_slice body = dyn_block_slice(request->body);
    return client->read_request(body, &request->arena, own, problem) == 0 ? own : NULL;
}

/* Something of the request has no words in the upstream's language: the caller reads what in the head of the
 * answer. -1 with a problem where that is to be refused. */
static int
judge_losses(struct provider_call *call, struct dialect_problem *problem)
{
    const struct provider_target *target = call->provider->options.target;
    struct dyn_slice losses = bridge_losses(call->bridge);
    if (losses.len == 0) {
        return 0;
    }
    if (target->on_unsupported == PROVIDER_UNSUPPORTED_REJECT) {
        const char *comma = memchr(losses.data, ',', losses.len);
        size_t first = comma != NULL ? (size_t)(comma - losses.data) : losses.len;
        (void)snprintf(problem->message, sizeof problem->message, "the provider %s does not support %.*s",
                       target->row->id, (int)losses.len, losses.data);
        (void)snprintf(problem->param, sizeof problem->param, "%.*s", (int)first, losses.data);
        return -1;
    }
    env_add_header(provider_reply_first(call), DYN_SLICE("x-dynabus-degraded"), losses);
    return 0;
}

/* The body in the upstream's language; what that has no words for is told with the answer. */
static dyn_block_t *
bridged_body(struct provider_call *call, const struct dialect_ops *client, struct env *request,
             enum err_code *refused, struct dialect_problem *problem)
{
    const struct provider *provider = call->provider;
    struct dialect_request own;
    dyn_block_t *body = NULL;
    struct bridge_options options = {
        .client = client,
        .upstream = call->dialect,
        .model = upstream_model(provider->options.target, request),
        .now_s = dyn_wall_us(bus_loop_clock(provider->loop)) / 1000000u,
    };
    if (request_facts(client, request, &own, problem) == NULL) {
        *refused = ERR_INVALID_REQUEST;
        return NULL;
    }
    *refused = ERR_UNSUPPORTED_PARAMETER;
    call->bridge = bridge_new(&options, dyn_block_slice(request->body), &body, problem);
    if (call->bridge != NULL && judge_losses(call, problem) != 0) {
        dyn_block_unref(&body);
    }
    return body;
}

/* The body to send, one reference: the client's own, unless something must be spliced into it, or it is of
 * another dialect. NULL with a problem when it is no request of its dialect (ERR_INVALID_REQUEST), or none
 * for this provider. The client's bytes are read only when a splice can be needed (for another model name,
 * for parameters that the provider has otherwise, and to ask for usage) and the router's look at them did not
 * come along. */
static dyn_block_t *
upstream_body(struct provider_call *call, struct env *request, enum err_code *refused,
              struct dialect_problem *problem)
{
    const struct provider *provider = call->provider;
    const struct provider_target *target = provider->options.target;
    const struct dialect_ops *client = client_dialect(provider, request);
    if (client != call->dialect) {
        return bridged_body(call, client, request, refused, problem);
    }
    struct dyn_slice body = dyn_block_slice(request->body);
    struct dialect_splice splice = {.model = upstream_model(target, request),
                                    .ask_usage = request->stream && target->ask_usage};
    if (splice.model.len == 0 && !splice.ask_usage &&
        !is_concerned(provider_target_body_row(target), request)) {
        return dyn_block_ref(request->body);
    }
    struct dialect_request own;
    const struct dialect_request *facts = request_facts(client, request, &own, problem);
    if (facts == NULL) {
        *refused = ERR_INVALID_REQUEST;
        return NULL;
    }
    if (edit_params(call, request, facts, &splice, problem) != 0) {
        *refused = ERR_UNSUPPORTED_PARAMETER;
        return NULL;
    }
    call->withholds_usage = splice.ask_usage && !facts->wants_usage;
    dyn_block_t *spliced = client->splice_request(body, facts, &splice);
    return spliced != NULL ? spliced : dyn_block_ref(request->body);
}

/* Visible ASCII only: the value came from outside and becomes part of a head. */
static bool
is_header_value(struct dyn_slice value, size_t max)
{
    for (size_t i = 0; i < value.len; i++) {
        if (value.data[i] <= ' ' || value.data[i] > '~') {
            return false;
        }
    }
    return value.len > 0 && value.len <= max;
}

static size_t
own_headers(const struct env *request, struct http_client_header headers[REQUEST_HEADERS_MAX])
{
    size_t n = 0;
    if (is_header_value(request->idempotency_key, IDEMPOTENCY_KEY_MAX)) {
        headers[n++] = (struct http_client_header){DYN_SLICE("Idempotency-Key"), request->idempotency_key};
    }
    if (is_header_value(request->traceparent, TRACEPARENT_MAX)) {
        headers[n++] = (struct http_client_header){DYN_SLICE("traceparent"), request->traceparent};
    }
    return n;
}

void
provider_call_send(struct provider_call *call, const struct env *request, dyn_block_t *body)
{
    struct provider *provider = call->provider;
    const struct provider_target *target = provider->options.target;
    struct http_client_header headers[REQUEST_HEADERS_MAX];
    struct http_call_request http = {
        .body = body,
        .headers = headers,
        .n_headers = own_headers(request, headers),
        .is_stream = request->stream,
        .connect_ms = target->connect_ms,
        .first_byte_ms = target->first_byte_ms,
        .idle_ms = target->idle_ms,
        .deadline_ms = request->deadline_ms,
    };
    http_origin_t *origin = surface_of(provider, request)->origins[call->pass.cred];
    call->http = http_call_start(origin, &http, &provider_call_ops, call);
}

/* Nothing was done for it. */
static void
turn_down(struct provider *provider, const struct env *request, const struct provider_refusal *refusal)
{
    struct env *end = env_about(ENV_END, request);
    end->outcome = ENV_OUTCOME_ERROR;
    end->error = refusal->error;
    end->status = err_row(refusal->error)->http;
    end->stream = request->stream;
    end->retry_ms = refusal->retry_ms;
    end->retry_after_s = (refusal->retry_ms + 999) / 1000;
    if (bus_send(provider->me, request->from, &end, NULL) != 0) {
        env_free(&end);
    }
}

/* Takes the envelope when the call has to wait for its turn. */
static void
start_call(struct provider *provider, struct env **request_p, unsigned sent_before)
{
    struct env *request = *request_p;
    struct dialect_problem problem = {.message = ""};
    struct provider_refusal refusal;
    struct provider_call *call = call_new(provider, request);
    call->sent_before = sent_before;
    enum provider_verdict verdict = provider_gate_enter(call, request, &refusal);
    if (verdict == PROVIDER_REFUSED) {
        provider_call_free(call);
        turn_down(provider, request, &refusal);
        return;
    }
    enum err_code refused = ERR_NONE;
    dyn_block_t *body = upstream_body(call, request, &refused, &problem);
    if (body == NULL) {
        provider_call_free(call);
        refuse(provider, request, refused, &problem);
        return;
    }
    if (verdict == PROVIDER_WAITS) {
        request->facts = NULL; /* they are the sender's, and good only for now */
        call->waiting = request;
        call->waiting_body = body;
        *request_p = NULL;
        return;
    }
    provider_call_send(call, request, body);
    dyn_block_unref(&body);
}

/* What is wrong with a request before anything is done for it; ERR_NONE when nothing is. */
static enum err_code
judge(const struct provider *provider, const struct env *request)
{
    const struct provider_options *options = &provider->options;
    if (provider->is_draining) {
        return ERR_DRAINING;
    }
    if (provider->calls.n >= options->calls_max) {
        return ERR_SATURATED;
    }
    const struct provider_surface *surface = surface_of(provider, request);
    bool is_called = request->surface == ENV_SURFACE_CHAT || request->surface == ENV_SURFACE_EMBEDDINGS;
    bool is_ours = is_called && surface->n_origins > 0 && request->body != NULL &&
                   client_dialect(provider, request) != NULL;
    return is_ours ? ERR_NONE : ERR_INVALID_REQUEST;
}

/* The same attempt and epoch from the same router again is a repeat of what is in work, a lower one was
 * overtaken on its way. Of two routers the one that the owner turned to last has the higher epoch, and may
 * not know how many attempts the other made; the same epoch is news: they have lost each other's trace. */
static bool
is_stale(const struct provider_call *former, const struct env *request)
{
    if (request->from != former->reply_to) {
        return request->epoch < former->epoch;
    }
    if (request->attempt != former->attempt) {
        return request->attempt < former->attempt;
    }
    return request->epoch <= former->epoch;
}

/* 02-WORKER, Attach: a later REQUEST goes on with the former call where it may, else takes its place, and
 * nobody listens to the former any more. */
static void
take_request(struct provider *provider, struct env **request_p)
{
    struct env *request = *request_p;
    struct provider_call *former = find_any(provider, request);
    unsigned sent_before = 0;
    if (former != NULL) {
        if (is_stale(former, request) || provider_orphan_attach(former, request)) {
            return;
        }
        sent_before = former->sent_before + (former->http ? http_call_sent(former->http) : former->sent);
        provider_call_free(former);
    }
    enum err_code wrong = judge(provider, request);
    if (wrong != ERR_NONE) {
        refuse(provider, request, wrong, NULL);
        return;
    }
    start_call(provider, request_p, sent_before);
}

static void
provider_receive(void *self, struct env **env_p)
{
    struct provider *provider = self;
    struct env *env = *env_p;
    struct provider_call *call = env->kind == ENV_REQUEST ? NULL : find(provider, env);
    if (env->kind == ENV_REQUEST) {
        take_request(provider, env_p);
    } else if (env->kind == ENV_CANCEL && call != NULL) {
        call->is_given_up = dyn_slice_is(env->reason, "attempt") || dyn_slice_is(env->reason, "deadline");
        provider_call_cancelled(call);
    } else if (env->kind == ENV_CREDIT && call != NULL) {
        provider_call_granted(call, env->credit);
        (void)provider_reply_flush(call);
    } else if (env->kind == ENV_GOODBYE) {
        provider_orphan_all_of(provider, env->from);
    } else if (env->kind == ENV_HEARTBEAT) {
        provider_gate_told(provider);
    }
    env_free(env_p);
}

/* ---- life ---- */

static void
flush_stuck(struct bus_timer *timer)
{
    struct provider *provider = DYN_CONTAINER_OF(timer, struct provider, retry);
    struct dyn_list batch;
    struct dyn_list *link;
    dyn_list_init(&batch);
    dyn_list_splice(&batch, &provider->stuck);
    while ((link = dyn_list_pop(&batch)) != NULL) {
        (void)provider_reply_flush(DYN_CONTAINER_OF(link, struct provider_call, link));
    }
}

void
provider_call_gone(struct provider *provider)
{
    if (provider->is_draining && provider->calls.n == 0) {
        bus_timer_disarm(&provider->drain);
        bus_actor_idle(provider->me);
    }
}

static void
end_of_drain(struct bus_timer *timer)
{
    struct provider *provider = DYN_CONTAINER_OF(timer, struct provider, drain);
    struct env_map_node *node;
    while ((node = env_map_any(&provider->calls)) != NULL) {
        provider_call_cut_off(DYN_CONTAINER_OF(node, struct provider_call, node), ERR_DRAINING);
    }
}

static void
provider_drain(void *self, uint64_t deadline_us)
{
    struct provider *provider = self;
    uint64_t now_us = bus_loop_now_us(provider->loop);
    uint64_t left_ms = deadline_us > now_us ? (deadline_us - now_us) / 1000 : 0;
    uint64_t margin_ms = left_ms / 4 < DRAIN_MARGIN_MS ? left_ms / 4 : DRAIN_MARGIN_MS;
    provider->is_draining = true;
    bus_timer_arm(provider->loop, &provider->drain, left_ms - margin_ms);
    provider_orphan_drop_all(
        provider); /* routers send nothing to a worker that drains, so nobody asks for them */
    provider_call_gone(provider);
}

/* The headers of every request with this credential: what the operator wrote, and the credential. */
static http_origin_t *
make_origin(const struct provider *provider, const struct dialect_ops *dialect, struct dyn_slice key,
            struct dyn_err *err)
{
    const struct provider_target *target = provider->options.target;
    struct http_client_header headers[PROVIDER_HEADERS_MAX + PROVIDER_ROW_HEADERS_MAX + 3];
    struct dyn_buf url = DYN_BUF_INIT;
    struct dyn_buf bearer = DYN_BUF_INIT;
    size_t n = 0;
    headers[n++] = (struct http_client_header){DYN_SLICE("Content-Type"), DYN_SLICE("application/json")};
    headers[n++] = (struct http_client_header){DYN_SLICE("User-Agent"), DYN_SLICE("dynabus")};
    if (key.len > 0 && target->row->auth == PROVIDER_AUTH_BEARER) {
        dyn_buf_addf(&bearer, "Bearer %.*s", (int)key.len, key.data);
        headers[n++] = (struct http_client_header){DYN_SLICE("Authorization"), dyn_buf_slice(&bearer)};
    } else if (key.len > 0 && target->row->auth == PROVIDER_AUTH_HEADER) {
        headers[n++] = (struct http_client_header){dyn_slice_str(target->row->auth_header), key};
    }
    for (size_t i = 0; i < PROVIDER_ROW_HEADERS_MAX && target->row->headers[i].name != NULL; i++) {
        const struct provider_row_header *fixed = &target->row->headers[i];
        headers[n++] = (struct http_client_header){dyn_slice_str(fixed->name), dyn_slice_str(fixed->value)};
    }
    for (size_t i = 0; i < target->n_headers; i++) {
        headers[n++] = target->headers[i];
    }
    dyn_buf_addf(&url, "%.*s%s", (int)target->root.len, target->root.data, dialect->path);
    struct http_origin_options options = {
        .url = dyn_buf_cstr(&url),
        .headers = headers,
        .n_headers = n,
        .ca_file = target->ca_file,
        .proxy = target->proxy,
        .no_proxy = target->no_proxy,
    };
    http_origin_t *origin = http_origin_new(provider->options.client, &options, err);
    dyn_buf_fini(&url);
    dyn_buf_fini(&bearer);
    return origin;
}

/* All of them share the loop's connections. */
static int
make_origins(struct provider *provider, struct provider_surface *surface, struct dyn_err *err)
{
    const struct provider_target *target = provider->options.target;
    size_t n = target->n_keys > 0 ? target->n_keys : 1;
    surface->origins = dyn_zalloc(n * sizeof *surface->origins);
    for (; surface->n_origins < n; surface->n_origins++) {
        struct dyn_slice key = target->n_keys > 0 ? target->keys[surface->n_origins] : target->key;
        http_origin_t *origin = make_origin(provider, surface->dialect, key, err);
        if (origin == NULL) {
            return -1;
        }
        surface->origins[surface->n_origins] = origin;
    }
    return 0;
}

static void
free_origins(struct provider_surface *surface)
{
    for (size_t i = 0; i < surface->n_origins; i++) {
        http_origin_free(&surface->origins[i]);
    }
    free(surface->origins);
}

static int
provider_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct provider *provider = self;
    const struct provider_row *row = provider->options.target->row;
    provider->me = me;
    provider->loop = bus_actor_loop(me);
    bus_keeper_add(provider->loop, &provider->spare_keeper);
    provider->chat.dialect = dialect_find(dyn_slice_str(row->dialect));
    if (provider->chat.dialect == NULL) {
        return dyn_err_set(err, DYN_E_CONFIG, "provider '%s': there is no dialect '%s'", row->id,
                           row->dialect);
    }
    provider_gate_init(provider);
    provider->embeddings.dialect = &dialect_openai_embeddings;
    if (make_origins(provider, &provider->chat, err) != 0) {
        return -1;
    }
    return row->has_embeddings ? make_origins(provider, &provider->embeddings, err) : 0;
}

static void
shed(struct bus_keeper *keeper)
{
    struct provider *provider = DYN_CONTAINER_OF(keeper, struct provider, spare_keeper);
    for (struct dyn_list *link; (link = dyn_list_pop(&provider->spare)) != NULL;) {
        free(DYN_CONTAINER_OF(link, struct provider_call, link));
    }
    provider->n_spare = 0;
}

static void
provider_stop(void *self)
{
    struct provider *provider = self;
    struct env_map_node *node;
    provider->is_draining = false; /* nothing is reported any more */
    while ((node = env_map_any(&provider->calls)) != NULL) {
        provider_call_free(DYN_CONTAINER_OF(node, struct provider_call, node));
    }
    shed(&provider->spare_keeper);
    bus_keeper_remove(&provider->spare_keeper);
    dyn_buf_fini(&provider->bridged);
    free_origins(&provider->chat);
    free_origins(&provider->embeddings);
    http_client_unref(&provider->options.client);
    bus_timer_fini(&provider->retry);
    bus_timer_fini(&provider->orphans_timer);
    bus_timer_fini(&provider->queue_timer);
    bus_timer_fini(&provider->drain);
    env_map_fini(&provider->calls);
    blackout_free(&provider->secret_shapes);
    free(provider);
}

void *
provider_new(const struct provider_options *options)
{
    struct provider *provider = dyn_zalloc(sizeof *provider);
    DYN_ASSERT(options->target->n_headers <= PROVIDER_HEADERS_MAX);
    provider->options = *options;
    provider->options.client = http_client_ref(options->client);
    if (provider->options.calls_max == 0) {
        provider->options.calls_max = PROVIDER_CALLS_MAX;
    }
    provider->retry.fire = flush_stuck;
    provider->drain.fire = end_of_drain;
    provider->orphans_timer.fire = provider_orphan_time_is_up;
    env_map_init(&provider->calls);
    dyn_list_init(&provider->spare);
    bus_keeper_init(&provider->spare_keeper, shed);
    dyn_list_init(&provider->stuck);
    dyn_list_init(&provider->orphans);
    return provider;
}

const struct bus_actor_ops provider_actor_ops = {
    .kind = "provider",
    .start = provider_start,
    .receive = provider_receive,
    .drain = provider_drain,
    .stop = provider_stop,
};
