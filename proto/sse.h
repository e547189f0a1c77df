/* Server-sent events (WHATWG HTML, "Server-sent events", parsing an event stream): finds events in
 * bytes that arrive in any pieces, without changing or copying them when an event is whole in one
 * piece, and writes events. Line ends LF, CRLF and CR; `data:` with or without the space; a byte order
 * mark at the start; comments; an event without data is not dispatched. */
#pragma once

#include "core/buf.h"

enum { SSE_EVENT_MAX = 1024 * 1024 }; /* bytes of one event with its lines; more is DYN_E_LIMIT */

struct sse_event {
    struct dyn_slice raw;  /* the event's bytes as they came, with the blank line that ends it */
    struct dyn_slice type; /* value of its last `event` field; absent when there is none */
    struct dyn_slice data; /* data lines joined by LF; absent: no data field (a comment, a retry) */
    bool             is_comment_only;
};

struct sse_reader {
    struct dyn_buf pending; /* an event that is not whole yet */
    struct dyn_buf joined;  /* data of an event with several data lines */
    size_t         scanned; /* bytes of pending already looked at */
    bool           started; /* the byte order mark has been looked for */
    bool           skip_lf; /* the last piece ended in CR: a LF that follows belongs to it */
    size_t         event_max;
};

void sse_reader_init(struct sse_reader *reader, size_t event_max);
void sse_reader_fini(struct sse_reader *reader);
/* Takes bytes off the front of *input and returns 1 with the next whole event, 0 when more bytes are
 * needed (all input is taken, what is left over is kept inside), -1 when an event is longer than
 * event_max. The event's slices are valid until the next call and point into *input where possible.
 * The raw bytes of all events, in order, are the stream byte for byte, but for a last event that was
 * never ended (sse_reader_rest). */
int sse_reader_next(struct sse_reader *reader, struct dyn_slice *input, struct sse_event *event);
/* Bytes held that do not make a whole event. */
struct dyn_slice sse_reader_rest(const struct sse_reader *reader);

/* "data: " + data + blank line; data with line breaks becomes several data lines. `type` may be absent. */
void sse_write_event(struct dyn_buf *out, struct dyn_slice type, struct dyn_slice data);
/* ": text" + blank line. */
void sse_write_comment(struct dyn_buf *out, const char *text);
