/* Answers and streams from any upstream, from one form into the other. The first byte chooses the dialect and
 * how the stream is cut. A stream gives the same answer however it is cut; what is called whole can be
 * streamed; what comes out is whole again, and going round once more changes nothing. */
#include "proto/dialects/replay.h"

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BYTES_MAX = 64 * 1024 };

static const struct env_usage usage = {.known = true, .prompt_tokens = 1, .total_tokens = 1};

static dyn_block_t *
gather(const struct dialect_ops *dialect, struct dyn_slice stream, size_t step)
{
    replay_t *replay = replay_new(dialect, BYTES_MAX);
    for (size_t at = 0; at < stream.len; at += step) {
        replay_feed(replay, dyn_slice(stream.data + at, stream.len - at < step ? stream.len - at : step));
    }
    dyn_block_t *answer = replay_answer(replay, &usage, 3);
    replay_free(&replay);
    return answer;
}

static bool
same(const dyn_block_t *a, const dyn_block_t *b)
{
    struct dyn_slice left = dyn_block_slice(a);
    struct dyn_slice right = dyn_block_slice(b);
    return (a == NULL) == (b == NULL) && dyn_slice_eq(left, right);
}

static dyn_block_t *
round_trip(const struct dialect_ops *dialect, const dyn_block_t *answer)
{
    dyn_block_t *stream = replay_stream(dialect, dyn_block_slice(answer), true, 0);
    DYN_ASSERT(stream != NULL && dialect->is_stream_end(dyn_block_slice(stream)));
    dyn_block_t *again = gather(dialect, dyn_block_slice(stream), stream->len);
    dyn_block_unref(&stream);
    return again;
}

static void
look_at_stream(const struct dialect_ops *dialect, struct dyn_slice text, size_t step)
{
    dyn_block_t *whole = gather(dialect, text, text.len + 1);
    dyn_block_t *pieces = gather(dialect, text, step);
    DYN_ASSERT(same(whole, pieces));
    if (whole != NULL && replay_is_whole(dialect, dyn_block_slice(whole))) {
        dyn_block_t *once = round_trip(dialect, whole);
        dyn_block_t *twice = once != NULL ? round_trip(dialect, once) : NULL;
        DYN_ASSERT(once == NULL || same(once, twice));
        dyn_block_unref(&once);
        dyn_block_unref(&twice);
    }
    dyn_block_unref(&whole);
    dyn_block_unref(&pieces);
}

static void
look_at_answer(const struct dialect_ops *dialect, struct dyn_slice text)
{
    bool is_whole = replay_is_whole(dialect, text);
    for (int wants_usage = 0; wants_usage < 2; wants_usage++) {
        dyn_block_t *stream = replay_stream(dialect, text, wants_usage != 0, 16);
        DYN_ASSERT(is_whole == (stream != NULL));
        DYN_ASSERT(stream == NULL || dialect->is_stream_end(dyn_block_slice(stream)));
        dyn_block_unref(&stream);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    const struct dialect_ops *dialect = data[0] & 1 ? &dialect_anthropic_messages : &dialect_openai_chat;
    struct dyn_slice text = dyn_slice((const char *)data + 1, size - 1);
    look_at_stream(dialect, text, 1 + (data[0] >> 1) % 16);
    look_at_answer(dialect, text);
    return 0;
}
