/* Bridges between every two dialects, in both directions: requests, plain answers and streams of bytes from
 * outside. Whatever comes in, what goes out is JSON, and what the other dialect itself calls a request, an
 * answer, an event. The first byte chooses the pair and what is read, the second how a stream is split. */
#include "proto/dialects/bridge.h"
#include "proto/dialects/chat.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { KINDS = 3, DIALECTS_MAX = 16 };

static void
must(bool holds)
{
    if (!holds) {
        abort();
    }
}

static bool
is_json(struct dyn_slice text)
{
    return json_scan(text, JSON_DEPTH_MAX, NULL, NULL) == 0;
}

/* The pair of that number among those that can be bridged. */
static void
choose(unsigned number, const struct dialect_ops **client, const struct dialect_ops **upstream)
{
    const struct dialect_ops *all[DIALECTS_MAX];
    const struct dialect_ops *dialect;
    unsigned n = 0;
    for (size_t i = 0; (dialect = dialect_at(i)) != NULL && n < DIALECTS_MAX; i++) {
        if (dialect->chat != NULL) {
            all[n++] = dialect;
        }
    }
    *client = all[number % n];
    *upstream = all[(number + 1 + number / n % (n - 1)) % n];
}

static void
try_request(const struct dialect_ops *client, const struct dialect_ops *upstream, struct dyn_slice body)
{
    struct bridge_options options = {.client = client, .upstream = upstream};
    struct arena arena;
    struct dialect_request facts;
    struct dialect_request theirs;
    struct dialect_problem problem = {.message = ""};
    dyn_block_t *block = NULL;
    arena_init(&arena, NULL, 0);
    if (client->read_request(body, &arena, &facts, &problem) == 0) {
        bridge_t *bridge = bridge_new(&options, body, &block, &problem);
        must((bridge != NULL) == (block != NULL));
        if (bridge != NULL) {
            struct dyn_slice out = dyn_block_slice(block);
            must(is_json(out));
            must(bridge_losses(bridge).len <= CHAT_LOSSES_MAX);
            bool is_deep = json_scan(out, JSON_DEPTH_DEFAULT, NULL, NULL) != 0;
            bool is_theirs = upstream->read_request(out, &arena, &theirs, &problem) == 0;
            must(is_deep || is_theirs ||
                 upstream == &dialect_openai_chat); /* stricter than others about numbers */
            must(!is_theirs || (theirs.stream == facts.stream && dyn_slice_eq(theirs.model, facts.model)));
        } else {
            must(problem.message[0] != '\0');
        }
        dyn_block_unref(&block);
        bridge_free(&bridge);
    }
    arena_fini(&arena);
}

static bridge_t *
open_bridge(const struct dialect_ops *client, const struct dialect_ops *upstream)
{
    static const struct dyn_slice question =
        DYN_SLICE_INIT("{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":true},"
                       "\"messages\":[{\"role\":"
                       "\"user\",\"content\":\"x\"}],\"response_format\":{\"type\":\"json_schema\",\"json_"
                       "schema\":{\"name\":"
                       "\"n\",\"schema\":{\"type\":\"object\"}}}}");
    struct bridge_options options = {.client = client, .upstream = upstream, .now_s = 1};
    struct dialect_problem problem;
    dyn_block_t *block = NULL;
    bridge_t *bridge = bridge_new(&options, question, &block, &problem);
    must(bridge != NULL);
    dyn_block_unref(&block);
    return bridge;
}

static void
try_answer(const struct dialect_ops *client, const struct dialect_ops *upstream, struct dyn_slice body)
{
    bridge_t *bridge = open_bridge(client, upstream);
    struct dyn_buf out = DYN_BUF_INIT;
    struct env_usage usage;
    if (bridge_answer(bridge, body, &out, &usage) == 0) {
        must(is_json(dyn_buf_slice(&out)));
        bool is_deep = json_scan(dyn_buf_slice(&out), JSON_DEPTH_DEFAULT, NULL, NULL) != 0;
        must(is_deep || client->read_answer(dyn_buf_slice(&out), &usage) >= 0);
    }
    dyn_buf_fini(&out);
    bridge_free(&bridge);
}

/* Each event for the client is one that its dialect understands, or a comment. */
static void
check_events(const struct dialect_ops *client, struct dyn_slice out)
{
    struct sse_reader reader;
    struct sse_event event;
    sse_reader_init(&reader, 8 * SSE_EVENT_MAX);
    while (sse_reader_next(&reader, &out, &event) == 1) {
        struct dialect_event seen = {.terminal = false};
        must(event.data.len > 0 ? client->read_event(&event, &seen) == 0 : event.raw.data[0] == ':');
    }
    must(sse_reader_rest(&reader).len == 0);
    sse_reader_fini(&reader);
}

static void
try_stream(const struct dialect_ops *client, const struct dialect_ops *upstream, struct dyn_slice stream,
           size_t piece_max)
{
    bridge_t *bridge = open_bridge(client, upstream);
    struct dyn_buf out = DYN_BUF_INIT;
    struct sse_reader reader;
    struct sse_event event;
    struct dialect_event seen = {.terminal = false};
    bool is_good = true;
    sse_reader_init(&reader, SSE_EVENT_MAX);
    while (is_good && stream.len > 0) {
        struct dyn_slice piece = {stream.data, stream.len < piece_max ? stream.len : piece_max};
        stream = dyn_slice(stream.data + piece.len, stream.len - piece.len);
        while (is_good && !seen.terminal && sse_reader_next(&reader, &piece, &event) == 1) {
            size_t before = out.len;
            is_good = event.data.len == 0 || bridge_event(bridge, &event, &out, &seen) == 0;
            if (is_good && out.len > before) {
                check_events(client, dyn_slice(out.data + before, out.len - before));
            }
        }
        is_good &= !seen.terminal;
    }
    if (seen.terminal) {
        must(client->is_stream_end(dyn_buf_slice(&out)));
    }
    sse_reader_fini(&reader);
    dyn_buf_fini(&out);
    bridge_free(&bridge);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct dialect_ops *client;
    const struct dialect_ops *upstream;
    if (size < 2) {
        return 0;
    }
    struct dyn_slice text = dyn_slice((const char *)data + 2, size - 2);
    choose(data[0] / KINDS, &client, &upstream);
    if (data[0] % KINDS == 0) {
        try_request(client, upstream, text);
    } else if (data[0] % KINDS == 1) {
        try_answer(client, upstream, text);
    } else {
        try_stream(client, upstream, text, data[1] == 0 ? size : data[1]);
    }
    return 0;
}
