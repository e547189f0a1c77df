/* Event streams in any pieces: the first byte says how they are cut. Whole, in those pieces and byte by
 * byte the same events come out, and their raw bytes are the stream. Then what was read is written, and
 * read again. */
#include "proto/sse.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
add_part(struct dyn_buf *out, struct dyn_slice part)
{
    dyn_buf_add_uint(out, part.data != NULL ? part.len + 1 : 0);
    dyn_buf_add_char(out, ' ');
    dyn_buf_add_slice(out, part);
}

static void
expect_read_again(const struct sse_event *event)
{
    struct sse_reader reader;
    struct sse_event again;
    struct dyn_buf out = DYN_BUF_INIT;
    sse_write_event(&out, event->type, event->data);
    struct dyn_slice input = dyn_buf_slice(&out);
    sse_reader_init(&reader, SIZE_MAX);
    DYN_ASSERT(sse_reader_next(&reader, &input, &again) == 1);
    DYN_ASSERT(input.len == 0 && dyn_slice_eq(again.type, event->type) &&
               dyn_slice_eq(again.data, event->data));
    sse_reader_fini(&reader);
    dyn_buf_fini(&out);
}

static void
read_in_pieces(struct dyn_slice stream, size_t piece_max, struct dyn_buf *events, struct dyn_buf *raw)
{
    struct sse_reader reader;
    struct sse_event event;
    sse_reader_init(&reader, SIZE_MAX);
    for (size_t at = 0; at < stream.len; at += piece_max) {
        size_t len = stream.len - at < piece_max ? stream.len - at : piece_max;
        char *copy = dyn_strndup(stream.data + at, len);
        struct dyn_slice input = {copy, len};
        while (sse_reader_next(&reader, &input, &event) == 1) {
            add_part(events, event.type);
            add_part(events, event.data);
            dyn_buf_add_char(events, event.is_comment_only ? '#' : '.');
            dyn_buf_add_slice(raw, event.raw);
            if (event.data.data != NULL) {
                expect_read_again(&event);
            }
        }
        DYN_ASSERT(input.len == 0);
        free(copy);
    }
    dyn_buf_add_slice(raw, sse_reader_rest(&reader));
    sse_reader_fini(&reader);
}

/* A limit loses the stream or nothing; it never changes an event. */
static void
read_with_limit(struct dyn_slice stream, size_t event_max)
{
    struct sse_reader reader;
    struct sse_event event;
    struct dyn_slice input = stream;
    int result;
    sse_reader_init(&reader, event_max);
    while ((result = sse_reader_next(&reader, &input, &event)) == 1) {
        DYN_ASSERT(event.raw.len <= event_max + 3); /* with what stands in front of its first line */
    }
    DYN_ASSERT(result == -1 || input.len == 0);
    sse_reader_fini(&reader);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    struct dyn_slice stream = dyn_slice((const char *)data + 1, size - 1);
    size_t pieces[] = {SIZE_MAX / 2, 1 + data[0] % 64u, 1};
    struct dyn_buf events[DYN_ARRAY_LEN(pieces)] = {DYN_BUF_INIT, DYN_BUF_INIT, DYN_BUF_INIT};
    for (size_t i = 0; i < DYN_ARRAY_LEN(pieces); i++) {
        struct dyn_buf raw = DYN_BUF_INIT;
        read_in_pieces(stream, pieces[i], &events[i], &raw);
        DYN_ASSERT(dyn_slice_eq(dyn_buf_slice(&raw), stream));
        DYN_ASSERT(dyn_slice_eq(dyn_buf_slice(&events[i]), dyn_buf_slice(&events[0])));
        dyn_buf_fini(&raw);
    }
    for (size_t i = 0; i < DYN_ARRAY_LEN(pieces); i++) {
        dyn_buf_fini(&events[i]);
    }
    read_with_limit(stream, data[0] % 128u);
    return 0;
}
