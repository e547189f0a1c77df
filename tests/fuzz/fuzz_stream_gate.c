/* Any bytes as a stream, and votes of any kind: a gate neither breaks nor shows text that was not cleared.
 * Input: how the stream is cut and how is voted, then the stream. */
#include "proto/dialects/dialect.h"
#include "router/stream_gate.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HELD_MAX = 4096, MARKS_MOST = 256 };

struct listener {
    struct vote_mark marks[MARKS_MOST];
    uint64_t seen[MARKS_MOST];
    size_t n;
    uint64_t cleared; /* of all channels */
};

static size_t
listen_to(struct listener *listener, const struct vote_delta *delta)
{
    struct vote_channel id = delta->channel;
    size_t at = 0;
    while (at < listener->n) {
        const struct vote_channel *other = &listener->marks[at].channel;
        if (other->choice == id.choice && other->kind == id.kind && other->tool == id.tool) {
            break;
        }
        at++;
    }
    if (at == listener->n) {
        DYN_ASSERT(at < MARKS_MOST);
        listener->marks[listener->n] = (struct vote_mark){.channel = id};
        listener->seen[listener->n++] = 0;
    }
    DYN_ASSERT(delta->from == listener->seen[at]);
    listener->seen[at] += delta->text.len;
    return at;
}

/* `how`: holds back so many bytes of each channel; 3 masks the last byte of what it clears. */
static void
vote(stream_gate_t *gate, struct listener *listener, const struct dyn_buf *body, unsigned how)
{
    struct arena arena;
    struct vote_delta *deltas;
    size_t n;
    bool is_last;
    arena_init(&arena, NULL, 0);
    DYN_ASSERT(vote_deltas_decode(dyn_buf_slice(body), &arena, &deltas, &n, &is_last, NULL) == 0);
    for (size_t i = 0; i < n; i++) {
        (void)listen_to(listener, &deltas[i]);
    }
    struct vote_mask *masks = arena_alloc(&arena, (listener->n + 1) * sizeof *masks);
    for (size_t i = 0; i < listener->n; i++) {
        struct vote_mark *mark = &listener->marks[i];
        uint64_t back = is_last ? 0 : how;
        uint64_t before = mark->clear;
        uint64_t clear = listener->seen[i] > back ? listener->seen[i] - back : 0;
        mark->clear = clear > before ? clear : before;
        masks[i] = (struct vote_mask){mark->clear - 1, mark->clear, DYN_SLICE("#")};
        mark->masks = &masks[i];
        mark->n_masks = how == 3 && mark->clear > before;
        listener->cleared += mark->clear - before;
    }
    if (stream_gate_vote(gate, 0, listener->marks, listener->n, how == 7, 1, NULL) != 0) {
        stream_gate_fail(gate, 0); /* a mask cut a character */
    }
    arena_fini(&arena);
}

static void
read_out(struct dyn_slice bytes, uint64_t *text)
{
    struct sse_reader reader;
    struct sse_event event;
    struct dialect_texts_state reading = {0};
    struct dyn_buf decoded = DYN_BUF_INIT;
    uint16_t half = 0;
    sse_reader_init(&reader, 64 * SSE_EVENT_MAX);
    while (sse_reader_next(&reader, &bytes, &event) == 1) {
        struct dialect_event_texts seen;
        DYN_ASSERT(dialect_openai_chat.texts->event(&reading, &event, &seen) == 0);
        for (size_t i = 0; i < seen.n; i++) {
            (void)dialect_piece_decode(seen.pieces[i].value, &half, &decoded);
        }
    }
    *text = decoded.len;
    dyn_buf_fini(&decoded);
    dialect_texts_state_fini(&reading);
    sse_reader_fini(&reader);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct stream_gate_voter rows[] = {{1000, false}};
    struct stream_gate_options options = {
        .texts = dialect_openai_chat.texts, .voters = rows, .n_voters = 1, .held_max = HELD_MAX};
    if (size < 2) {
        return 0;
    }
    size_t step = 1 + data[0];
    unsigned how = data[1] % 8;
    struct dyn_slice stream = {(const char *)data + 2, size - 2};
    stream_gate_t *gate = stream_gate_new(&options);
    struct listener *listener = calloc(1, sizeof *listener);
    struct dyn_buf out = DYN_BUF_INIT;
    for (bool is_over = false; !is_over;) {
        size_t len = step < stream.len ? step : stream.len;
        struct dyn_buf body = DYN_BUF_INIT;
        is_over = stream.len == 0;
        if (is_over) {
            stream_gate_end(gate);
        }
        stream_gate_feed(gate, dyn_slice(stream.data, len));
        stream.data += len;
        stream.len -= len;
        if (stream_gate_take_ask(gate, 1, &body)) {
            vote(gate, listener, &body, how);
        }
        dyn_buf_fini(&body);
        for (dyn_block_t *block; (block = stream_gate_take(gate, 100)) != NULL;) {
            dyn_buf_add_slice(&out, dyn_block_slice(block));
            dyn_block_unref(&block);
        }
    }
    uint64_t text;
    read_out(dyn_buf_slice(&out), &text);
    /* Half a character costs no more when it is written as one that is none: three bytes. */
    DYN_ASSERT(how == 3 || text <= 3 * listener->cleared);
    DYN_ASSERT(stream_gate_state(gate) != STREAM_GATE_OPEN || stream_gate_is_drained(gate));
    DYN_ASSERT(stream_gate_state(gate) != STREAM_GATE_OPEN || stream_gate_held(gate) == 0);
    free(listener);
    dyn_buf_fini(&out);
    stream_gate_free(&gate);
    return 0;
}
