/* Life of an envelope: made, filled, cloned, freed. What it looks like on a wire is env_codec.h; who
 * may send which is the business of the actors.
 *
 * Cost: a piece of about 1 KB (core/piece.h); only the fields are zeroed, not the inline memory behind them.
 */
#include "proto/env.h"

#include "proto/env_fields.h"

#include "core/piece.h"
#include "core/rand.h"
#include "proto/vote.h"

/* The first room for headers: an answer of a large provider has six to ten that are passed on. It
 * doubles when full, so the room there is follows from n_headers. */
#define HEADERS_FIRST 8u

static const char *const kind_names[ENV_KIND_COUNT] = {
    [ENV_REQUEST] = "request", [ENV_CHUNK] = "chunk",
    [ENV_END] = "end",         [ENV_CANCEL] = "cancel",
    [ENV_CREDIT] = "credit",   [ENV_DISPATCHED] = "dispatched",
    [ENV_READY] = "ready",     [ENV_HEARTBEAT] = "heartbeat",
    [ENV_GOODBYE] = "goodbye", [ENV_ASK] = "ask",
    [ENV_VOTE] = "vote",       [ENV_EVENT] = "event",
    [ENV_CONFIG] = "config",   [ENV_ACK] = "ack",
};

static const char *const surface_names[ENV_SURFACE_COUNT] = {
    [ENV_SURFACE_NONE] = "none",
    [ENV_SURFACE_CHAT] = "chat",
    [ENV_SURFACE_MODELS] = "models",
    [ENV_SURFACE_MODEL] = "model",
    [ENV_SURFACE_HEALTH] = "health",
    [ENV_SURFACE_READY] = "ready",
    [ENV_SURFACE_METRICS] = "metrics",
    [ENV_SURFACE_EVENTS] = "events",
    [ENV_SURFACE_EMBEDDINGS] = "embeddings",
    [ENV_SURFACE_EXPLAIN] = "explain",
    [ENV_SURFACE_LEDGER] = "ledger",
    [ENV_SURFACE_ADMIN] = "admin",
};

const char *
env_kind_name(enum env_kind kind)
{
    return (unsigned)kind < ENV_KIND_COUNT && kind_names[kind] != NULL ? kind_names[kind] : "unknown";
}

const char *
env_surface_name(enum env_surface surface)
{
    return (unsigned)surface < ENV_SURFACE_COUNT ? surface_names[surface] : "unknown";
}

struct env *
env_new(enum env_kind kind)
{
    struct env *env = dyn_piece_alloc(sizeof *env);
    memset(env, 0, offsetof(struct env, arena));
    arena_init(&env->arena, env->inline_memory, sizeof env->inline_memory);
    dyn_list_init(&env->link);
    env->kind = kind;
    return env;
}

void
env_free(struct env **env_p)
{
    struct env *env = *env_p;
    *env_p = NULL;
    if (env == NULL) {
        return;
    }
    DYN_ASSERT(!dyn_list_is_linked(&env->link));
    dyn_block_unref(&env->body);
    vote_facts_unref(&env->facts_asked);
    arena_fini(&env->arena);
    dyn_piece_free(env, sizeof *env);
}

struct dyn_slice
env_copy(struct env *env, struct dyn_slice bytes)
{
    return arena_copy(&env->arena, bytes);
}

static void
grow_headers(struct env *env)
{
    size_t room = env->n_headers == 0 ? HEADERS_FIRST : env->n_headers * 2;
    struct env_header *headers = arena_alloc(&env->arena, room * sizeof *headers);
    if (env->n_headers > 0) {
        memcpy(headers, env->headers, env->n_headers * sizeof *headers);
    }
    env->headers = headers;
}

static bool
headers_are_full(size_t n)
{
    return n == 0 || (n >= HEADERS_FIRST && (n & (n - 1)) == 0);
}

static size_t
headers_bytes(const struct env_header *headers, size_t n)
{
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++) {
        bytes += headers[i].name.len + headers[i].value.len;
    }
    return bytes;
}

static struct dyn_slice
put_text(char **at, struct dyn_slice text)
{
    char *copy = *at;
    if (text.len > 0) {
        memcpy(copy, text.data, text.len);
    }
    copy[text.len] = '\0';
    *at += text.len + 1;
    return dyn_slice(copy, text.len);
}

void
env_headers_copy(struct arena *arena, const struct env_header *from, size_t n, struct env_header *to)
{
    char *at = n > 0 ? arena_alloc(arena, headers_bytes(from, n) + 2 * n) : NULL;
    for (size_t i = 0; i < n; i++) {
        to[i].name = put_text(&at, from[i].name);
        to[i].value = put_text(&at, from[i].value);
    }
}

void
env_add_headers(struct env *env, const struct env_header *headers, size_t n)
{
    size_t bytes = headers_bytes(env->headers, env->n_headers);
    char *at = n > 0 ? arena_alloc(&env->arena, headers_bytes(headers, n) + 2 * n) : NULL;
    for (size_t i = 0; i < n; i++) {
        if (env->n_headers >= ENV_HEADERS_MAX || !env_header_fits(&headers[i], &bytes)) {
            continue;
        }
        if (headers_are_full(env->n_headers)) {
            grow_headers(env);
        }
        struct env_header *header = &env->headers[env->n_headers++];
        header->name = put_text(&at, headers[i].name);
        header->value = put_text(&at, headers[i].value);
    }
}

bool
env_add_header(struct env *env, struct dyn_slice name, struct dyn_slice value)
{
    const struct env_header header = {name, value};
    size_t bytes = headers_bytes(env->headers, env->n_headers);
    if (env->n_headers >= ENV_HEADERS_MAX || !env_header_fits(&header, &bytes)) {
        return false;
    }
    if (headers_are_full(env->n_headers)) {
        grow_headers(env);
    }
    env->headers[env->n_headers++] = (struct env_header){env_copy(env, name), env_copy(env, value)};
    return true;
}

struct env *
env_about(enum env_kind kind, const struct env *other)
{
    struct env *env = env_new(kind);
    env->id = other->id;
    env->attempt = other->attempt;
    env->epoch = other->epoch;
    return env;
}

struct env *
env_clone_request(const struct env *request)
{
    struct env *env = env_about(ENV_REQUEST, request);
    env->surface = request->surface;
    env->refuse = request->refuse;
    env->refuse_text = env_copy(env, request->refuse_text);
    env->dialect = env_copy(env, request->dialect);
    env->model = env_copy(env, request->model);
    env->upstream_model = env_copy(env, request->upstream_model);
    env->target = env_copy(env, request->target);
    env->idempotency_key = env_copy(env, request->idempotency_key);
    env->peer = env_copy(env, request->peer);
    env->deadline_ms = request->deadline_ms;
    env->attempts_left = request->attempts_left;
    env->received_us = request->received_us;
    env->credit = request->credit;
    env->stream = request->stream;
    env->trace_id = env_copy(env, request->trace_id);
    env->traceparent = env_copy(env, request->traceparent);
    env->error_param = env_copy(env, request->error_param);
    env->attempts = request->attempts;
    env->worker = env_copy(env, request->worker);
    env->redeliver = env_copy(env, request->redeliver);
    env->since = request->since;
    env->body = request->body != NULL ? dyn_block_ref(request->body) : NULL;
    return env;
}

struct env *
env_clone_event(const struct env *event)
{
    struct env *env = env_about(ENV_EVENT, event);
    env->topic = env_copy(env, event->topic);
    env->body = event->body != NULL ? dyn_block_ref(event->body) : NULL;
    return env;
}

struct env_id
env_id_random(void)
{
    struct env_id id;
    dyn_random_bytes(id.bytes, sizeof id.bytes);
    return id;
}

bool
env_id_eq(const struct env_id *a, const struct env_id *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}
