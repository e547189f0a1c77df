/* Server-sent events (WHATWG HTML, "Server-sent events", parsing an event stream): finds events in
 * bytes that arrive in any pieces, without changing or copying them when an event is whole in one
 * piece, and writes events. Line ends LF, CRLF and CR; `data:` with or without the space; a byte order
 * mark at the start; comments; an event without data is not dispatched. */
#pragma once

#include "core/buf.h"

enum { SSE_EVENT_MAX = 1024 * 1024 }; /* bytes of one event with its lines; more is an error */

struct sse_event {
    struct dyn_slice raw;  /* the event's bytes as they came, with the blank line that ends it */
    struct dyn_slice type; /* value of its last `event` field; absent when there is none */
    struct dyn_slice data; /* data lines joined by LF; absent: no data field (a comment, a retry) */
    bool             is_comment_only; /* comments and not one field */
};

struct sse_reader {
    struct dyn_buf pending; /* an event that is not whole yet, or was whole in the last call */
    struct dyn_buf joined;  /* data of an event with several data lines */
    size_t         prefix;  /* bytes in front of pending that belong to no line: byte order mark, LF */
    size_t         event_max;
    bool           started;   /* the byte order mark has been looked for */
    bool           skip_lf;   /* the last event ended in CR: a LF that follows belongs to it */
    bool           delivered; /* pending is what the last call returned */
};

void sse_reader_init(struct sse_reader *reader, size_t event_max);
void sse_reader_fini(struct sse_reader *reader);
/* Takes bytes off the front of *input and returns 1 with the next whole event, 0 when more bytes are
 * needed (all input is taken, what is left over is kept inside), -1 when an event is longer than
 * event_max; the stream is lost then, and *input and the reader are only good for throwing away. The
 * event's slices are valid until the next call and point into *input where possible. Every blank line
 * ends an event, so one may have neither fields nor comments. The raw bytes of all events, in order,
 * are the stream byte for byte, but for a last event that was never ended (sse_reader_rest). An event
 * whose last CR is the last byte there is does not wait for a LF: that LF comes in front of the next. */
int sse_reader_next(struct sse_reader *reader, struct dyn_slice *input, struct sse_event *event);
/* Bytes held that do not make a whole event. */
struct dyn_slice sse_reader_rest(const struct sse_reader *reader);

/* "data: " + data + blank line; data with line breaks becomes several data lines. `type` may be absent. */
void sse_write_event(struct dyn_buf *out, struct dyn_slice type, struct dyn_slice data);
/* ": text" + blank line. */
void sse_write_comment(struct dyn_buf *out, const char *text);
