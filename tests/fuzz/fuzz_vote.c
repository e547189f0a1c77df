/* Bodies of ASK and VOTE, and READYs of plugins, from anyone: read to their end, and what was read can be
 * written and read again. The first byte chooses which. */
#include "proto/plugin_ready.h"
#include "proto/vote.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
read_texts(struct dyn_slice body)
{
    struct vote_texts texts;
    struct vote_text text;
    struct dyn_buf out = DYN_BUF_INIT;
    struct vote_texts_writer writer;
    size_t n = 0;
    if (vote_texts_open(&texts, body, NULL) != 0) {
        return;
    }
    vote_texts_begin(&writer, &out);
    for (; vote_texts_next(&texts, &text); n++) {
        vote_texts_add(&writer, &text);
    }
    vote_texts_end(&writer);
    DYN_ASSERT(vote_texts_open(&texts, dyn_buf_slice(&out), NULL) == 0);
    while (vote_texts_next(&texts, &text)) {
        n--;
    }
    DYN_ASSERT(n == 0);
    dyn_buf_fini(&out);
}

static void
read_edits(struct dyn_slice body, struct arena *arena)
{
    struct vote_edit *edits;
    size_t n;
    size_t again;
    struct dyn_buf out = DYN_BUF_INIT;
    if (vote_edits_decode(body, arena, &edits, &n, NULL) == 0) {
        vote_edits_encode(edits, n, &out);
        DYN_ASSERT(vote_edits_decode(dyn_buf_slice(&out), arena, &edits, &again, NULL) == 0 && again == n);
    }
    dyn_buf_fini(&out);
}

static void
read_stream(struct dyn_slice body, struct arena *arena, bool is_vote)
{
    struct vote_delta *deltas;
    struct vote_mark *marks;
    size_t n;
    size_t again;
    bool is_last;
    struct dyn_buf out = DYN_BUF_INIT;
    if (is_vote && vote_marks_decode(body, arena, &marks, &n, NULL) == 0) {
        vote_marks_encode(marks, n, &out);
        DYN_ASSERT(vote_marks_decode(dyn_buf_slice(&out), arena, &marks, &again, NULL) == 0 && again == n);
    } else if (!is_vote && vote_deltas_decode(body, arena, &deltas, &n, &is_last, NULL) == 0) {
        vote_deltas_encode(deltas, n, is_last, &out);
        DYN_ASSERT(vote_deltas_decode(dyn_buf_slice(&out), arena, &deltas, &again, &is_last, NULL) == 0);
        DYN_ASSERT(again == n);
    }
    dyn_buf_fini(&out);
}

static void
read_ready(struct dyn_slice body)
{
    struct plugin_said said[PLUGIN_SAID_MAX];
    struct dyn_buf out = DYN_BUF_INIT;
    int n = plugin_ready_decode(body, said, NULL);
    if (n > 0) {
        plugin_ready_encode(said, (size_t)n, &out);
        DYN_ASSERT(plugin_ready_decode(dyn_buf_slice(&out), said, NULL) == n);
    }
    dyn_buf_fini(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    if (size == 0) {
        return 0;
    }
    struct dyn_slice body = dyn_slice((const char *)data + 1, size - 1);
    arena_init(&arena, NULL, 0);
    switch (data[0] % 5) {
    case 0:
        read_texts(body);
        break;
    case 1:
        read_edits(body, &arena);
        break;
    case 2:
        read_stream(body, &arena, false);
        break;
    case 3:
        read_stream(body, &arena, true);
        break;
    default:
        read_ready(body);
        break;
    }
    arena_fini(&arena);
    return 0;
}
