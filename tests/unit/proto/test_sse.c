/* Server-sent events: whatever the pieces in which a stream arrives, the same events come out, and
 * their raw bytes are the stream. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/rand.h"
#include "proto/sse.h"

#include <stdlib.h>

/* One event as text: "type|data" with '-' for an absent part and '#' for comments only. */
static void
describe(const struct sse_event *event, struct dyn_buf *out)
{
    dyn_buf_add_slice(out, event->type.data != NULL ? event->type : DYN_SLICE("-"));
    dyn_buf_add_char(out, '|');
    dyn_buf_add_slice(out, event->data.data != NULL ? event->data : DYN_SLICE("-"));
    dyn_buf_add_str(out, event->is_comment_only ? "#;" : ";");
}

struct seen {
    struct dyn_buf events;
    struct dyn_buf raw;
};

static void
read_piece(struct sse_reader *reader, struct dyn_slice piece, struct seen *seen)
{
    struct sse_event event;
    /* A copy of its own, so that a read beyond the piece is a read beyond an allocation. */
    char *copy = malloc(piece.len + 1);
    assert_non_null(copy);
    memcpy(copy, piece.data, piece.len);
    struct dyn_slice input = {copy, piece.len};
    int result;
    while ((result = sse_reader_next(reader, &input, &event)) == 1) {
        assert_true(event.raw.len > 0);
        describe(&event, &seen->events);
        dyn_buf_add_slice(&seen->raw, event.raw);
    }
    assert_int_equal(result, 0);
    assert_int_equal(input.len, 0);
    free(copy);
}

static void
expect_seen(struct sse_reader *reader, struct seen *seen, struct dyn_slice stream, const char *events)
{
    dyn_buf_add_slice(&seen->raw, sse_reader_rest(reader));
    assert_string_equal(dyn_buf_cstr(&seen->events), events);
    assert_int_equal(seen->raw.len, stream.len);
    assert_memory_equal(stream.len > 0 ? seen->raw.data : "", stream.data, stream.len);
    dyn_buf_fini(&seen->events);
    dyn_buf_fini(&seen->raw);
    sse_reader_fini(reader);
}

static void
expect_at_every_split(struct dyn_slice stream, const char *events)
{
    struct sse_reader reader;
    for (size_t first = 0; first <= stream.len; first++) {
        for (size_t second = first; second <= stream.len; second++) {
            struct seen seen = {DYN_BUF_INIT, DYN_BUF_INIT};
            sse_reader_init(&reader, SSE_EVENT_MAX);
            read_piece(&reader, dyn_slice(stream.data, first), &seen);
            read_piece(&reader, dyn_slice(stream.data + first, second - first), &seen);
            read_piece(&reader, dyn_slice(stream.data + second, stream.len - second), &seen);
            expect_seen(&reader, &seen, stream, events);
        }
    }
    struct seen seen = {DYN_BUF_INIT, DYN_BUF_INIT};
    sse_reader_init(&reader, SSE_EVENT_MAX);
    for (size_t i = 0; i < stream.len; i++) {
        read_piece(&reader, dyn_slice(stream.data + i, 1), &seen);
    }
    expect_seen(&reader, &seen, stream, events);
}

struct stream_case {
    struct dyn_slice stream;
    const char *events;
};

static const struct stream_case cases[] = {
    {DYN_SLICE_INIT(""), ""},
    {DYN_SLICE_INIT("data: a\n\n"), "-|a;"},
    {DYN_SLICE_INIT("data: a\r\n\r\n"), "-|a;"},
    {DYN_SLICE_INIT("data: a\r\r"), "-|a;"},
    {DYN_SLICE_INIT("data: a\n\ndata: b\n\n"), "-|a;-|b;"},
    {DYN_SLICE_INIT("data: a\r\n\r\ndata: b\r\n\r\n"), "-|a;-|b;"},
    {DYN_SLICE_INIT("data: a\r\rdata: b\r\r"), "-|a;-|b;"},
    {DYN_SLICE_INIT("data: a\n\r\ndata: b\r\n\ndata: c\r\n\rdata: d\r\r\n"), "-|a;-|b;-|c;-|d;"},
    {DYN_SLICE_INIT("data:a\n\n"), "-|a;"},
    {DYN_SLICE_INIT("data:  a \n\n"), "-| a ;"},
    {DYN_SLICE_INIT("data: a\ndata: b\n\n"), "-|a\nb;"},
    {DYN_SLICE_INIT("data: a\rdata: b\r\ndata: c\n\n"), "-|a\nb\nc;"},
    {DYN_SLICE_INIT("data\n\n"), "-|;"},
    {DYN_SLICE_INIT("data:\n\n"), "-|;"},
    {DYN_SLICE_INIT("data\ndata\n\n"), "-|\n;"},
    {DYN_SLICE_INIT("data:\ndata: x\n\n"), "-|\nx;"},
    {DYN_SLICE_INIT("data: data: {}\n\n"), "-|data: {};"},
    {DYN_SLICE_INIT("event: ping\ndata: {}\n\n"), "ping|{};"},
    {DYN_SLICE_INIT("event: a\nevent: b\ndata: c\n\ndata: d\n\n"), "b|c;-|d;"},
    {DYN_SLICE_INIT("event:\ndata: c\n\n"), "|c;"},
    {DYN_SLICE_INIT("event: lone\n\n"), "lone|-;"},
    {DYN_SLICE_INIT(": hello\n\n"), "-|-#;"},
    {DYN_SLICE_INIT(":\n\n"), "-|-#;"},
    {DYN_SLICE_INIT(": hello\ndata: a\n\n"), "-|a;"},
    {DYN_SLICE_INIT("retry: 10\n\n"), "-|-;"},
    {DYN_SLICE_INIT("id: 1\nfoo: x\ndatum: y\ndata: a\n\n"), "-|a;"},
    {DYN_SLICE_INIT(" data: a\n\n"), "-|-;"},
    {DYN_SLICE_INIT("\n"), "-|-;"},
    {DYN_SLICE_INIT("\r\n\r\n\ndata: a\n\n"), "-|-;-|-;-|-;-|a;"},
    {DYN_SLICE_INIT("\r\r\r"), "-|-;-|-;-|-;"},
    {DYN_SLICE_INIT("\xEF\xBB\xBF"
                    "data: a\n\n"),
     "-|a;"},
    {DYN_SLICE_INIT("\xEF\xBB\xBF\n\xEF\xBB\xBF"
                    "data: a\n\n"),
     "-|-;-|-;"},
    {DYN_SLICE_INIT("\xEF\xBB\xBF\xEF\xBB\xBF"
                    "data: a\n\n"),
     "-|-;"},
    {DYN_SLICE_INIT("\xEF\xBB"
                    "data: a\n\n"),
     "-|-;"},
    {DYN_SLICE_INIT("\xEF\xBB\xBF"), ""},
    {DYN_SLICE_INIT("data: a\n"), ""},
    {DYN_SLICE_INIT("data: a\n\ndata: b"), "-|a;"},
    {DYN_SLICE_INIT("data: \xE2\x82\xAC\n\n"), "-|\xE2\x82\xAC;"},
};

static void
every_split_gives_the_same_events(void **state)
{
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(cases); i++) {
        expect_at_every_split(cases[i].stream, cases[i].events);
    }
}

/* NUL is a byte like any other; describe() can't show it. */
static void
nul_bytes_pass(void **state)
{
    (void)state;
    struct sse_reader reader;
    struct sse_event event;
    struct dyn_slice input = DYN_SLICE("data: a\0b\n\n");
    sse_reader_init(&reader, SSE_EVENT_MAX);
    assert_int_equal(sse_reader_next(&reader, &input, &event), 1);
    assert_int_equal(event.data.len, 3);
    assert_memory_equal(event.data.data, "a\0b", 3);
    sse_reader_fini(&reader);
}

/* The ordinary call copies nothing. */
static void
whole_events_stay_in_place(void **state)
{
    (void)state;
    struct sse_reader reader;
    struct sse_event event;
    struct dyn_slice stream = DYN_SLICE("data: one\n\nevent: x\ndata: two\n\n");
    struct dyn_slice input = stream;
    sse_reader_init(&reader, SSE_EVENT_MAX);
    assert_int_equal(sse_reader_next(&reader, &input, &event), 1);
    assert_ptr_equal(event.raw.data, stream.data);
    assert_ptr_equal(event.data.data, stream.data + 6);
    assert_int_equal(event.raw.len, 11);
    assert_int_equal(sse_reader_next(&reader, &input, &event), 1);
    assert_ptr_equal(event.raw.data, stream.data + 11);
    assert_int_equal(sse_reader_next(&reader, &input, &event), 0);
    assert_null(reader.pending.data);
    assert_null(reader.joined.data);
    sse_reader_fini(&reader);
}

static void
an_event_may_be_as_long_as_the_limit(void **state)
{
    (void)state;
    struct dyn_slice stream = DYN_SLICE("data: 0123456789\n\n");
    for (size_t split = 0; split <= stream.len; split++) {
        struct sse_reader reader;
        struct seen seen = {DYN_BUF_INIT, DYN_BUF_INIT};
        sse_reader_init(&reader, stream.len);
        read_piece(&reader, dyn_slice(stream.data, split), &seen);
        read_piece(&reader, dyn_slice(stream.data + split, stream.len - split), &seen);
        expect_seen(&reader, &seen, stream, "-|0123456789;");
    }
}

static void
a_longer_event_is_refused(void **state)
{
    (void)state;
    struct dyn_slice stream = DYN_SLICE("data: 0123456789\n\n");
    for (size_t split = 0; split <= stream.len; split++) {
        struct sse_reader reader;
        struct sse_event event;
        struct dyn_slice first = {stream.data, split};
        struct dyn_slice second = {stream.data + split, stream.len - split};
        sse_reader_init(&reader, stream.len - 1);
        int result = sse_reader_next(&reader, &first, &event);
        if (result == 0) {
            result = sse_reader_next(&reader, &second, &event);
        }
        assert_int_equal(result, -1);
        sse_reader_fini(&reader);
    }
}

/* An event without end is refused as soon as it is too long, not kept until its end. */
static void
an_endless_line_is_refused(void **state)
{
    (void)state;
    struct sse_reader reader;
    struct sse_event event;
    sse_reader_init(&reader, 1000);
    int result = 0;
    size_t sent = 0;
    while (result == 0 && sent < 100000) {
        struct dyn_slice piece = DYN_SLICE("data: xxxxxxxxxxxxxxxxxxxxxxx");
        sent += piece.len;
        result = sse_reader_next(&reader, &piece, &event);
    }
    assert_int_equal(result, -1);
    assert_true(sent <= 1000 + 29);
    sse_reader_fini(&reader);
}

static void
memory_of_a_large_event_is_given_back(void **state)
{
    (void)state;
    struct sse_reader reader;
    struct seen seen = {DYN_BUF_INIT, DYN_BUF_INIT};
    size_t len = 100000;
    char *big = malloc(len);
    assert_non_null(big);
    memset(big, 'x', len);
    memcpy(big, "data: ", 6);
    sse_reader_init(&reader, SSE_EVENT_MAX);
    read_piece(&reader, dyn_slice(big, len), &seen);
    assert_true(reader.pending.cap >= len);
    read_piece(&reader, DYN_SLICE("\n\n"), &seen);
    read_piece(&reader, DYN_SLICE("data: a\n\n"), &seen);
    assert_int_equal(reader.pending.cap, 0);
    free(big);
    dyn_buf_fini(&seen.events);
    dyn_buf_fini(&seen.raw);
    sse_reader_fini(&reader);
}

/* A plain reading of the standard, line by line over the whole text, to compare with. */
static void
read_by_the_book(struct dyn_slice text, struct dyn_buf *out)
{
    size_t at = text.len >= 3 && memcmp(text.data, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
    struct dyn_buf data = DYN_BUF_INIT;
    struct dyn_buf type = DYN_BUF_INIT;
    bool has_data = false, has_type = false, has_comment = false, has_field = false;
    for (;;) {
        size_t end = at;
        while (end < text.len && text.data[end] != '\r' && text.data[end] != '\n') {
            end++;
        }
        if (end == text.len) {
            break;
        }
        struct dyn_slice line = {text.data + at, end - at};
        at = end + (end + 1 < text.len && text.data[end] == '\r' && text.data[end + 1] == '\n' ? 2 : 1);
        const char *colon = line.len > 0 ? memchr(line.data, ':', line.len) : NULL;
        struct dyn_slice name = {line.data, colon != NULL ? (size_t)(colon - line.data) : line.len};
        struct dyn_slice value = {"", 0};
        if (colon != NULL) {
            value = dyn_slice(colon + 1, line.len - name.len - 1);
            if (value.len > 0 && value.data[0] == ' ') {
                value = dyn_slice(value.data + 1, value.len - 1);
            }
        }
        if (line.len == 0) {
            struct sse_event event = {.is_comment_only = has_comment && !has_field};
            if (has_data) {
                event.data = dyn_slice(data.data, data.len - 1);
            }
            if (has_type) {
                event.type = type.len > 0 ? dyn_buf_slice(&type) : DYN_SLICE("");
            }
            describe(&event, out);
            dyn_buf_clear(&data);
            has_data = has_type = has_comment = has_field = false;
        } else if (name.len == 0) {
            has_comment = true;
        } else {
            has_field = true;
            if (dyn_slice_is(name, "data")) {
                has_data = true;
                dyn_buf_add_slice(&data, value);
                dyn_buf_add_char(&data, '\n');
            } else if (dyn_slice_is(name, "event")) {
                has_type = true;
                dyn_buf_clear(&type);
                dyn_buf_add_slice(&type, value);
            }
        }
    }
    dyn_buf_fini(&data);
    dyn_buf_fini(&type);
}

/* 20,000 random streams in random pieces against the plain reading. */
static void
random_streams_are_read_by_the_book(void **state)
{
    (void)state;
    static const char *const words[] = {"\n",    "\n\n",  "\r",  "\r\n",         "\r\n\r\n", "data",
                                        ":",     " ",     "x",   "data: ",       "data:",    "event: ",
                                        "event", "id: 7", ": c", "\xEF\xBB\xBF", "{}"};
    struct dyn_rng rng;
    dyn_rng_seed(&rng, 7);
    for (int round = 0; round < 20000; round++) {
        struct dyn_buf stream = DYN_BUF_INIT;
        struct dyn_buf expected = DYN_BUF_INIT;
        struct seen seen = {DYN_BUF_INIT, DYN_BUF_INIT};
        struct sse_reader reader;
        uint64_t n = 1 + dyn_rng_below(&rng, 30);
        while (n-- > 0) {
            dyn_buf_add_str(&stream, words[dyn_rng_below(&rng, DYN_ARRAY_LEN(words))]);
        }
        read_by_the_book(dyn_buf_slice(&stream), &expected);
        sse_reader_init(&reader, SSE_EVENT_MAX);
        for (size_t at = 0; at < stream.len;) {
            size_t len = 1 + (size_t)dyn_rng_below(&rng, 12);
            len = len < stream.len - at ? len : stream.len - at;
            read_piece(&reader, dyn_slice(stream.data + at, len), &seen);
            at += len;
        }
        expect_seen(&reader, &seen, dyn_buf_slice(&stream), dyn_buf_cstr(&expected));
        dyn_buf_fini(&stream);
        dyn_buf_fini(&expected);
    }
}

static void
expect_written(struct dyn_slice type, struct dyn_slice data, const char *expected)
{
    struct dyn_buf out = DYN_BUF_INIT;
    sse_write_event(&out, type, data);
    assert_string_equal(dyn_buf_cstr(&out), expected);
    dyn_buf_fini(&out);
}

static void
events_are_written(void **state)
{
    (void)state;
    struct dyn_slice absent = {NULL, 0};
    expect_written(absent, DYN_SLICE("{}"), "data: {}\n\n");
    expect_written(absent, DYN_SLICE(""), "data: \n\n");
    expect_written(DYN_SLICE("error"), DYN_SLICE("x"), "event: error\ndata: x\n\n");
    expect_written(DYN_SLICE("a\nb"), DYN_SLICE("x"), "event: a\ndata: x\n\n");
    expect_written(absent, DYN_SLICE("a\nb\r\nc\rd\n"), "data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n");
}

static void
comments_are_written(void **state)
{
    (void)state;
    struct dyn_buf out = DYN_BUF_INIT;
    sse_write_comment(&out, "keep-alive");
    sse_write_comment(&out, "two\nlines");
    assert_string_equal(dyn_buf_cstr(&out), ": keep-alive\n\n: two\n: lines\n\n");
    dyn_buf_fini(&out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_split_gives_the_same_events),
        cmocka_unit_test(nul_bytes_pass),
        cmocka_unit_test(whole_events_stay_in_place),
        cmocka_unit_test(an_event_may_be_as_long_as_the_limit),
        cmocka_unit_test(a_longer_event_is_refused),
        cmocka_unit_test(an_endless_line_is_refused),
        cmocka_unit_test(memory_of_a_large_event_is_given_back),
        cmocka_unit_test(random_streams_are_read_by_the_book),
        cmocka_unit_test(events_are_written),
        cmocka_unit_test(comments_are_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
