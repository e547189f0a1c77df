#include "gateway/caller_request.h"

#include "edge/headers.h"

#include <ctype.h>

/* ---- requests ---- */

/* A rule about what is left out would silently not hold. */
static void
add_header(struct env *env, const struct http_header *header)
{
    char lower[128];
    bool fits = header->name.len <= sizeof lower;
    for (size_t i = 0; fits && i < header->name.len; i++) {
        lower[i] = (char)tolower((unsigned char)header->name.data[i]);
    }
    if ((!fits || !env_add_header(env, dyn_slice(lower, header->name.len), header->value)) &&
        env->refuse == ERR_NONE) {
        env->refuse = ERR_HEADERS_TOO_LARGE;
        env->refuse_text =
            DYN_SLICE("a request has more headers, or longer ones, than may decide about its way");
    }
}

static void
take_headers(struct env *env, const struct dynabus_request *asked, char *trace_id)
{
    struct http_header *items = arena_zalloc(&env->arena, (asked->n_headers + 1) * sizeof *items);
    struct http_request as_http = {.headers = items};
    struct edge_headers known;
    for (size_t i = 0; i < asked->n_headers; i++) {
        items[as_http.n_headers++] = (struct http_header){dyn_slice_str(asked->headers[i].name),
                                                          dyn_slice_str(asked->headers[i].value)};
    }
    edge_headers_read(&as_http, &known);
    env->traceparent = env_copy(env, edge_trace_id(&known, trace_id));
    env->idempotency_key = env_copy(env, known.idempotency_key);
    if (edge_redeliver_is_valid(&known)) {
        env->redeliver = env_copy(env, known.x_dynabus_redeliver);
    } else {
        env->refuse = ERR_INVALID_REQUEST;
        env->refuse_text = DYN_SLICE("x-dynabus-redeliver is always, unsent or never");
    }
    for (size_t i = 0; i < as_http.n_headers; i++) {
        add_header(env, &items[i]);
    }
}

struct env *
caller_request_new(const struct dynabus_request *asked, enum env_surface surface, struct dyn_slice credential,
                   char trace_id[CALLER_TRACE_ID_DIGITS + 1])
{
    _Static_assert((int)CALLER_TRACE_ID_DIGITS == (int)EDGE_TRACE_ID_LEN, "one form of trace id");
    struct env *request = env_new(ENV_REQUEST);
    request->id = env_id_random();
    request->surface = surface;
    request->dialect =
        surface == ENV_SURFACE_EMBEDDINGS ? DYN_SLICE("openai_embeddings") : DYN_SLICE("openai_chat");
    request->credit = ENV_WINDOW_FIRST;
    request->deadline_ms = asked->timeout_ms;
    request->peer = DYN_SLICE("library");
    request->credential =
        env_copy(request, asked->credential ? dyn_slice_str(asked->credential) : credential);
    request->body = dyn_block_copy(0, dyn_slice(asked->body, asked->body_len));
    take_headers(request, asked, trace_id);
    trace_id[CALLER_TRACE_ID_DIGITS] = '\0';
    request->trace_id = env_copy(request, dyn_slice(trace_id, CALLER_TRACE_ID_DIGITS));
    return request;
}

/* ---- answers ---- */

void
caller_headers_init(struct caller_headers *headers)
{
    headers->n = 0;
    arena_init(&headers->arena, NULL, 0);
}

void
caller_headers_fini(struct caller_headers *headers)
{
    arena_fini(&headers->arena);
}

void
caller_headers_clear(struct caller_headers *headers)
{
    headers->n = 0;
}

static size_t
place_of(const struct caller_headers *headers, struct dyn_slice name)
{
    size_t at = 0;
    while (at < headers->n && !dyn_slice_ieq(dyn_slice_str(headers->items[at].name), name)) {
        at++;
    }
    return at;
}

void
caller_headers_take(struct caller_headers *headers, const struct env *env)
{
    for (size_t i = 0; i < env->n_headers; i++) {
        size_t at = place_of(headers, env->headers[i].name);
        if (at < ENV_HEADERS_MAX) {
            headers->items[at].name = arena_copy(&headers->arena, env->headers[i].name).data;
            headers->items[at].value = arena_copy(&headers->arena, env->headers[i].value).data;
            headers->n += at == headers->n;
        }
    }
}

const char *
caller_headers_find(const struct caller_headers *headers, const char *name)
{
    size_t at = place_of(headers, dyn_slice_str(name));
    return at < headers->n ? headers->items[at].value : NULL;
}
