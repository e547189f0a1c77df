/* The mock's server: its thread, its listener, its routes. See mock.h. */
#include "mock/mock.h"

#include "mock/call.h"
#include "mock/embeddings.h"
#include "mock/listen.h"
#include "mock/mock_anthropic.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BODY_MAX = 128 * 1024 * 1024, /* larger than any gateway lets through */
    ACCEPTS_PER_TURN = 64,
    IDLE_TIMEOUT_MS = 600 * 1000, /* pools of the gateway under test decide, not the mock */
    HEAD_MAX = 256 * 1024,
    CONNECTIONS_MAX = 20000,
    STATS_ROOM = 640,
};

struct mock {
    struct mock_core core;
    char *key; /* NULL: none is asked */
    char url[LISTEN_URL_SIZE];
    uint16_t port;
    int fd;
    struct bus_fd accept_watch;
    pthread_t thread;
};

/* ---- answers about the mock itself ---- */

static void
count_connections(struct mock *mock)
{
    atomic_store_explicit(&mock->core.connections, http_server_connections(mock->core.server),
                          memory_order_relaxed);
}

static void
reply_json(http_exchange_t *exchange, dyn_block_t **body_p)
{
    struct http_answer answer = {.status = 200, .content_type = DYN_SLICE("application/json")};
    http_reply(exchange, &answer, body_p);
}

static uint64_t
read_counter(const atomic_uint_fast64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void
reply_stats(struct mock *mock, http_exchange_t *exchange)
{
    struct mock_stats stats;
    count_connections(mock);
    mock_stats(mock, &stats);
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {
        {"requests", stats.requests},
        {"calls", stats.calls},
        {"answered", stats.answered},
        {"faults", stats.faults},
        {"cancels", stats.cancels},
        {"open", stats.open},
        {"open_streams", stats.open_streams},
        {"tokens", stats.tokens},
        {"bytes", stats.bytes},
        {"connections", stats.connections},
    };
    struct dyn_buf text = DYN_BUF_INIT;
    for (size_t i = 0; i < DYN_ARRAY_LEN(rows); i++) {
        dyn_buf_addf(&text, "%s\"%s\":%llu", i > 0 ? "," : "{", rows[i].name,
                     (unsigned long long)rows[i].value);
    }
    dyn_buf_add_str(&text, "}\n");
    dyn_block_t *body = dyn_block_copy(STATS_ROOM, dyn_buf_slice(&text));
    dyn_buf_fini(&text);
    reply_json(exchange, &body);
}

static void
reset_stats(struct mock *mock, http_exchange_t *exchange)
{
    struct mock_tally *tally = &mock->core.tally;
    atomic_uint_fast64_t *counters[] = {&tally->requests, &tally->calls,  &tally->answered, &tally->faults,
                                        &tally->cancels,  &tally->tokens, &tally->bytes};
    for (size_t i = 0; i < DYN_ARRAY_LEN(counters); i++) {
        atomic_store_explicit(counters[i], 0, memory_order_relaxed);
    }
    reply_stats(mock, exchange);
}

/* GET /mock/calls?since=N, /mock/calls?open */
static void
reply_calls(struct mock *mock, http_exchange_t *exchange, struct dyn_slice query)
{
    static const struct dyn_slice since = DYN_SLICE_INIT("since=");
    uint64_t behind = 0;
    if (query.len > since.len && memcmp(query.data, since.data, since.len) == 0) {
        for (size_t i = since.len; i < query.len && query.data[i] >= '0' && query.data[i] <= '9'; i++) {
            behind = behind * 10 + (uint64_t)(query.data[i] - '0');
        }
    }
    struct dyn_buf text = DYN_BUF_INIT;
    mock_journal_write(&mock->core.journal, behind, dyn_slice_is(query, "open"), &text);
    dyn_block_t *body = dyn_block_copy(STATS_ROOM, dyn_buf_slice(&text));
    dyn_buf_fini(&text);
    reply_json(exchange, &body);
}

/* For health checks: it listens, so it is ready. */
static void
reply_ready(http_exchange_t *exchange)
{
    dyn_block_t *body = dyn_block_copy(STATS_ROOM, DYN_SLICE("{\"status\":\"ok\"}\n"));
    reply_json(exchange, &body);
}

/* ---- models ---- */

static const struct dyn_slice default_models[] = {
    DYN_SLICE_INIT("mock"),
    DYN_SLICE_INIT("mock-tokens-50-pace-20"),
    DYN_SLICE_INIT("mock-echo"),
    DYN_SLICE_INIT("mock-status-429-retry-1"),
};

static void
add_model(struct dyn_buf *text, struct dyn_slice id)
{
    dyn_buf_add_str(text, "{\"id\":");
    dyn_buf_add_json_string(text, id);
    dyn_buf_addf(text, ",\"object\":\"model\",\"created\":%d,\"owned_by\":\"mock\"}", MOCK_CREATED);
}

static void
reply_models(struct mock *mock, http_exchange_t *exchange, struct dyn_slice id)
{
    struct dyn_buf text = DYN_BUF_INIT;
    if (id.data != NULL) {
        add_model(&text, id);
    } else {
        const struct dyn_slice *models;
        size_t n = mock_script_models(mock->core.script, &models);
        if (n == 0) {
            models = default_models;
            n = DYN_ARRAY_LEN(default_models);
        }
        dyn_buf_add_str(&text, "{\"object\":\"list\",\"data\":[");
        for (size_t i = 0; i < n; i++) {
            dyn_buf_add_str(&text, i > 0 ? "," : "");
            add_model(&text, models[i]);
        }
        dyn_buf_add_str(&text, "]}");
    }
    dyn_block_t *body = dyn_block_copy(STATS_ROOM, dyn_buf_slice(&text));
    dyn_buf_fini(&text);
    reply_json(exchange, &body);
}

/* ---- routes ---- */

static bool
ends_with(struct dyn_slice text, struct dyn_slice end)
{
    return text.len >= end.len && memcmp(text.data + text.len - end.len, end.data, end.len) == 0;
}

/* What stands behind "/models/", or absent. */
static struct dyn_slice
model_in_path(struct dyn_slice path)
{
    static const struct dyn_slice mark = DYN_SLICE_INIT("/models/");
    const char *found = memmem(path.data, path.len, mark.data, mark.len);
    if (found == NULL) {
        return (struct dyn_slice){NULL, 0};
    }
    const char *id = found + mark.len;
    return dyn_slice(id, path.len - (size_t)(id - path.data));
}

static bool
has_key(const struct mock *mock, const struct http_request *request)
{
    static const struct dyn_slice bearer = DYN_SLICE_INIT("Bearer ");
    if (mock->key == NULL) {
        return true;
    }
    struct dyn_slice sent = http_request_header(request, "authorization");
    if (dyn_slice_is(http_request_header(request, "x-api-key"), mock->key)) { /* the Messages API's way */
        return true;
    }
    return sent.len > bearer.len && dyn_slice_ieq(dyn_slice(sent.data, bearer.len), bearer) &&
           dyn_slice_is(dyn_slice(sent.data + bearer.len, sent.len - bearer.len), mock->key);
}

static void
number_from_header(struct mock_chat *chat, const struct http_request *request)
{
    struct dyn_slice number = http_request_header(request, "x-mock-request");
    if (mock_number_is_valid(number)) {
        chat->number = number;
    }
}

/* What the Messages API insists on besides. */
static int
judge_messages(const struct mock_chat *chat, const struct http_request *request, const char **why,
               const char **param)
{
    if (http_request_header(request, "anthropic-version").len == 0) {
        *why = "anthropic-version: header is required";
        return -1;
    }
    if (chat->max_tokens == MOCK_TOKENS_ANY) {
        *why = "max_tokens: Field required";
        *param = "max_tokens";
        return -1;
    }
    return 0;
}

static void
reply_messages_error(http_exchange_t *exchange, const char *why)
{
    struct http_answer answer = {.status = 400, .content_type = DYN_SLICE("application/json")};
    dyn_block_t *body = dyn_block_new(STATS_ROOM, 256);
    mock_anthropic_add_error(&body, 400, why);
    http_reply(exchange, &answer, &body);
}

static void
reply_embeddings(http_exchange_t *exchange, const struct http_request *request)
{
    const char *why = "this path takes a body";
    const char *param = NULL;
    dyn_block_t *body = request->body != NULL
                            ? mock_embeddings(dyn_block_slice(request->body), STATS_ROOM, &why, &param)
                            : NULL;
    if (body == NULL) {
        mock_reply_error(exchange, 400, why, param);
    } else {
        reply_json(exchange, &body);
    }
}

/* Requests that have to bring the key: everything an upstream serves. */
static void
serve(struct mock *mock, http_exchange_t *exchange, const struct http_request *request)
{
    struct mock_chat chat = {.max_tokens = MOCK_TOKENS_ANY};
    const char *why = "this path takes a body";
    const char *param = NULL;
    bool is_post = dyn_slice_is(request->method, "POST");
    bool is_messages = ends_with(request->path, DYN_SLICE("/messages"));
    bool is_chat = is_messages || ends_with(request->path, DYN_SLICE("/chat/completions"));
    int bad =
        request->body != NULL ? mock_chat_read(&chat, dyn_block_slice(request->body), &why, &param) : -1;
    number_from_header(&chat, request);
    chat.is_anthropic = is_messages;
    if (bad == 0 && is_messages) {
        bad = judge_messages(&chat, request, &why, &param);
    }
    struct mock_rule *rule = mock_script_match(mock->core.script, request->path, chat.model);
    if (rule != NULL && (rule->has_answer || (is_chat && is_post && bad == 0))) {
        mock_call_begin(&mock->core, exchange, &chat, rule);
    } else if (is_chat && !is_post) {
        mock_reply_error(exchange, 405, "this path takes POST", NULL);
    } else if (is_messages && bad != 0) {
        reply_messages_error(exchange, why);
    } else if (is_chat && bad != 0) {
        mock_reply_error(exchange, 400, why, param);
    } else if (is_chat) {
        mock_call_begin(&mock->core, exchange, &chat, NULL);
    } else if (is_post && ends_with(request->path, DYN_SLICE("/embeddings"))) {
        reply_embeddings(exchange, request);
    } else if (ends_with(request->path, DYN_SLICE("/models")) && !is_post) {
        reply_models(mock, exchange, (struct dyn_slice){NULL, 0});
    } else if (model_in_path(request->path).len > 0 && !is_post) {
        reply_models(mock, exchange, model_in_path(request->path));
    } else {
        mock_reply_error(exchange, 404, "the mock has nothing at this path", NULL);
    }
}

static uint64_t
on_head(void *self, http_exchange_t *exchange, const struct http_request *request)
{
    (void)self;
    (void)exchange;
    (void)request;
    return BODY_MAX;
}

static void
on_too_large(void *self, http_exchange_t *exchange, const struct http_request *request)
{
    (void)self;
    (void)request;
    mock_reply_error(exchange, 413, "the body is too large", NULL);
}

static void
on_request(void *self, http_exchange_t *exchange, const struct http_request *request)
{
    struct mock *mock = self;
    if (dyn_slice_is(request->path, "/mock/stats")) {
        reply_stats(mock, exchange);
    } else if (dyn_slice_is(request->path, "/readyz") || dyn_slice_is(request->path, "/health")) {
        reply_ready(exchange);
    } else if (dyn_slice_is(request->path, "/mock/calls")) {
        reply_calls(mock, exchange, request->query);
    } else if (dyn_slice_is(request->path, "/mock/reset") && dyn_slice_is(request->method, "POST")) {
        reset_stats(mock, exchange);
    } else {
        mock_tally_add(&mock->core.tally.requests, 1);
        if (has_key(mock, request)) {
            serve(mock, exchange, request);
        } else {
            mock_reply_error(exchange, 401, "the key is missing or not the one the mock was given", NULL);
        }
    }
}

static void
on_written(void *self, http_exchange_t *exchange, size_t bytes)
{
    (void)self;
    (void)bytes;
    if (http_exchange_user(exchange) != NULL) {
        mock_call_written(http_exchange_user(exchange));
    }
}

static void
on_done(void *self, http_exchange_t *exchange, bool complete)
{
    (void)self;
    if (http_exchange_user(exchange) != NULL) {
        mock_call_done(http_exchange_user(exchange), complete);
    }
}

static const struct http_server_ops server_ops = {
    .head = on_head,
    .too_large = on_too_large,
    .request = on_request,
    .written = on_written,
    .done = on_done,
};

/* ---- connections ---- */

static void
on_connection(struct bus_fd *watch, int fd, unsigned events)
{
    (void)events;
    struct mock *mock = DYN_CONTAINER_OF(watch, struct mock, accept_watch);
    for (unsigned n = 0; n < ACCEPTS_PER_TURN; n++) {
        int client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (client < 0) {
            break;
        }
        int one = 1;
        (void)setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (http_server_adopt(mock->core.server, client, NULL) != 0) {
            (void)close(client);
        }
    }
    count_connections(mock);
}

/* ---- life ---- */

static void *
run(void *self)
{
    struct mock *mock = self;
    bus_loop_run(mock->core.loop);
    bus_fd_watch(mock->core.loop, &mock->accept_watch, mock->fd, 0);
    if (mock->core.server != NULL) {
        http_server_free(&mock->core.server);
    }
    mock_pacer_fini(&mock->core.pacer);
    return NULL;
}

static void
release(struct mock *mock)
{
    if (mock->fd >= 0) {
        (void)close(mock->fd);
    }
    if (mock->core.loop != NULL) {
        bus_loop_free(&mock->core.loop);
    }
    mock_script_free(&mock->core.script);
    mock_journal_fini(&mock->core.journal);
    free(mock->key);
    free(mock);
}

static int
start_server(struct mock *mock, struct dyn_err *err)
{
    const struct http_server_options options = {
        .idle_timeout_ms = IDLE_TIMEOUT_MS,
        .head_max = HEAD_MAX,
        .connections_max = CONNECTIONS_MAX,
    };
    mock->core.loop = bus_loop_new("mock");
    mock->core.server = http_server_new(mock->core.loop, &server_ops, mock, &options, err);
    if (mock->core.server == NULL) {
        return -1;
    }
    mock_pacer_init(&mock->core.pacer, mock->core.loop);
    mock->accept_watch.ready = on_connection;
    bus_fd_watch(mock->core.loop, &mock->accept_watch, mock->fd, BUS_FD_READ);
    return 0;
}

mock_t *
mock_start(const struct mock_options *options, struct dyn_err *err)
{
    struct mock *mock = dyn_zalloc(sizeof *mock);
    mock->fd =
        mock_listen(options->listen != NULL ? options->listen : "127.0.0.1:0", mock->url, &mock->port, err);
    mock->key = options->key != NULL ? dyn_strdup(options->key) : NULL;
    mock_journal_init(&mock->core.journal, options->journal);
    mock->core.seed = options->seed;
    uint64_t seed = options->seed;
    if (seed == 0) {
        dyn_random_bytes(&seed, sizeof seed);
    }
    dyn_rng_seed(&mock->core.rng, seed);
    if (mock->fd >= 0 && options->script_path != NULL) {
        mock->core.script = mock_script_load(options->script_path, err);
    }
    if (mock->fd < 0 || (options->script_path != NULL && mock->core.script == NULL) ||
        start_server(mock, err) != 0) {
        release(mock);
        return NULL;
    }
    int rc = pthread_create(&mock->thread, NULL, run, mock);
    if (rc != 0) {
        (void)dyn_err_set(err, DYN_E_IO, "cannot start a thread: %s", strerror(rc));
        bus_fd_watch(mock->core.loop, &mock->accept_watch, mock->fd, 0);
        http_server_free(&mock->core.server);
        mock_pacer_fini(&mock->core.pacer);
        release(mock);
        return NULL;
    }
    return mock;
}

uint16_t
mock_port(const mock_t *mock)
{
    return mock->port;
}

const char *
mock_url(const mock_t *mock)
{
    return mock->url;
}

void
mock_stats(mock_t *mock, struct mock_stats *stats)
{
    struct mock_tally *tally = &mock->core.tally;
    *stats = (struct mock_stats){
        .requests = read_counter(&tally->requests),
        .calls = read_counter(&tally->calls),
        .answered = read_counter(&tally->answered),
        .faults = read_counter(&tally->faults),
        .cancels = read_counter(&tally->cancels),
        .open = read_counter(&tally->open),
        .open_streams = read_counter(&tally->open_streams),
        .tokens = read_counter(&tally->tokens),
        .bytes = read_counter(&tally->bytes),
        .connections = read_counter(&mock->core.connections),
    };
}

void
mock_stop(mock_t **mock_p)
{
    struct mock *mock = *mock_p;
    if (mock == NULL) {
        return;
    }
    *mock_p = NULL;
    bus_loop_stop(mock->core.loop);
    (void)pthread_join(mock->thread, NULL);
    release(mock);
}
