/* Server-sent events, reading and writing: WHATWG HTML, "Parsing an event stream" and "Interpreting an
 * event stream". It knows no dialect: what stands in `data` is the business of proto/dialects.
 *
 * Runs once per chunk of every stream. The usual call is one read of the socket that holds whole
 * events: one pass over the bytes, nothing copied. Only an event that lies across two reads is copied,
 * and no byte is looked for a line break twice before its event is whole. */
#include "proto/sse.h"

/* Line breaks are looked for window by window, so that a stream with only one of the two kinds does not
 * make memchr run to the end of the input for each line. Most events fit one window. */
#define BREAK_WINDOW_BYTES 512u

/* Memory of a stream that once had a large event is given back above this. */
#define PENDING_KEPT_BYTES 16384u

static const char byte_order_mark[3] = {'\xEF', '\xBB', '\xBF'};

void
sse_reader_init(struct sse_reader *reader, size_t event_max)
{
    *reader = (struct sse_reader){.event_max = event_max};
}

void
sse_reader_fini(struct sse_reader *reader)
{
    dyn_buf_fini(&reader->pending);
    dyn_buf_fini(&reader->joined);
}

/* The first CR or LF, or NULL. */
static const char *
find_break(const char *next, const char *end)
{
    while (next < end) {
        size_t window = (size_t)(end - next);
        window = window < BREAK_WINDOW_BYTES ? window : BREAK_WINDOW_BYTES;
        const char *lf = memchr(next, '\n', window);
        const char *cr = memchr(next, '\r', lf != NULL ? (size_t)(lf - next) : window);
        if (cr != NULL || lf != NULL) {
            return cr != NULL ? cr : lf;
        }
        next += window;
    }
    return NULL;
}

static void
add_data(struct sse_reader *reader, struct sse_event *event, struct dyn_slice value)
{
    if (event->data.data == NULL) {
        event->data = value;
        return;
    }
    if (event->data.data != reader->joined.data) { /* the second of them */
        dyn_buf_clear(&reader->joined);
        dyn_buf_add_slice(&reader->joined, event->data);
    }
    dyn_buf_add_char(&reader->joined, '\n');
    dyn_buf_add_slice(&reader->joined, value);
    event->data = dyn_buf_slice(&reader->joined);
}

/* The value of a line that is the field `name`, without the colon and one space; absent otherwise. */
static struct dyn_slice
field_value(struct dyn_slice line, const char *name, size_t name_len)
{
    if (line.len < name_len || memcmp(line.data, name, name_len) != 0) {
        return dyn_slice(NULL, 0);
    }
    const char *value = line.data + name_len;
    const char *end = line.data + line.len;
    if (value < end && *value++ != ':') {
        return dyn_slice(NULL, 0);
    }
    if (value < end && *value == ' ') {
        value++;
    }
    return dyn_slice(value, (size_t)(end - value));
}

/* Returns whether the line was a field, known or not. */
static bool
take_line(struct sse_reader *reader, struct sse_event *event, struct dyn_slice line)
{
    if (line.data[0] == ':') {
        return false;
    }
    struct dyn_slice value = field_value(line, "data", 4);
    if (value.data != NULL) {
        add_data(reader, event, value);
        return true;
    }
    value = field_value(line, "event", 5);
    if (value.data != NULL) {
        event->type = value;
    }
    return true;
}

/* Goes through the lines of `text` up to a blank one and returns the offset behind it; 0: there is none.
 * `in_line`: its first line began earlier, so it isn't blank. `event` NULL: only the end is wanted. */
static size_t
walk_lines(struct sse_reader *reader, struct dyn_slice text, bool in_line, struct sse_event *event)
{
    const char *line = text.data;
    const char *end = text.data + text.len;
    bool has_comment = false;
    bool has_field = false;
    for (const char *at; (at = find_break(line, end)) != NULL; in_line = false) {
        const char *next = at + 1;
        if (*at == '\r' && next < end && *next == '\n') {
            next++;
        }
        if (at == line && !in_line) {
            if (event != NULL) {
                event->is_comment_only = has_comment && !has_field;
            }
            return (size_t)(next - text.data);
        }
        if (event != NULL) {
            bool is_field = take_line(reader, event, dyn_slice(line, (size_t)(at - line)));
            has_field |= is_field;
            has_comment |= !is_field;
        }
        line = next;
    }
    return 0;
}

static void
keep(struct sse_reader *reader, struct dyn_slice *input, size_t len)
{
    dyn_buf_add(&reader->pending, input->data, len);
    input->data += len;
    input->len -= len;
}

/* Moves a byte order mark at the start of the stream into pending. false: cannot be told yet, or all
 * input was part of it. */
static bool
take_byte_order_mark(struct sse_reader *reader, struct dyn_slice *input)
{
    while (reader->pending.len < sizeof byte_order_mark) {
        if (input->len == 0) {
            return false;
        }
        if (input->data[0] != byte_order_mark[reader->pending.len]) {
            reader->started = true; /* what was taken is the start of a line */
            return true;
        }
        keep(reader, input, 1);
    }
    reader->started = true;
    reader->prefix = reader->pending.len;
    return input->len > 0;
}

static void
drop_delivered(struct sse_reader *reader)
{
    reader->delivered = false;
    reader->prefix = 0;
    if (reader->pending.cap > PENDING_KEPT_BYTES) {
        dyn_buf_fini(&reader->pending);
    } else {
        dyn_buf_clear(&reader->pending);
    }
    if (reader->joined.cap > PENDING_KEPT_BYTES) {
        dyn_buf_fini(&reader->joined);
    }
}

/* An event whose front is in pending already: its end is looked for in the new bytes only. */
static int
continue_pending(struct sse_reader *reader, struct dyn_slice *input, struct sse_event *event)
{
    const struct dyn_buf *pending = &reader->pending;
    char last = pending->len > reader->prefix ? pending->data[pending->len - 1] : '\n';
    struct dyn_slice text = *input;
    size_t lf = last == '\r' && text.data[0] == '\n' ? 1 : 0; /* the second half of a CRLF */
    text.data += lf;
    text.len -= lf;
    size_t end = walk_lines(reader, text, last != '\n' && last != '\r', NULL);
    size_t take = end > 0 ? end + lf : input->len;
    if (pending->len - reader->prefix + take > reader->event_max) {
        return -1;
    }
    keep(reader, input, take);
    if (end == 0) {
        return 0;
    }
    struct dyn_slice lines = dyn_buf_slice(pending);
    event->raw = lines;
    lines.data += reader->prefix;
    lines.len -= reader->prefix;
    (void)walk_lines(reader, lines, false, event);
    reader->delivered = true;
    return 1;
}

static int
next_in_place(struct sse_reader *reader, struct dyn_slice *input, struct sse_event *event)
{
    size_t end = walk_lines(reader, *input, false, event);
    if ((end > 0 ? end : input->len) > reader->event_max) {
        return -1;
    }
    if (end == 0) {
        keep(reader, input, input->len);
        *event = (struct sse_event){0};
        return 0;
    }
    event->raw = dyn_slice(input->data, end);
    input->data += end;
    input->len -= end;
    return 1;
}

int
sse_reader_next(struct sse_reader *reader, struct dyn_slice *input, struct sse_event *event)
{
    *event = (struct sse_event){0};
    if (reader->delivered) {
        drop_delivered(reader);
    }
    if (input->len == 0 || (!reader->started && !take_byte_order_mark(reader, input))) {
        return 0;
    }
    if (reader->skip_lf) {
        reader->skip_lf = false;
        if (input->data[0] == '\n') {
            keep(reader, input, 1);
            reader->prefix = 1;
            if (input->len == 0) {
                return 0;
            }
        }
    }
    int result = reader->pending.len > 0 ? continue_pending(reader, input, event)
                                         : next_in_place(reader, input, event);
    if (result == 1) {
        reader->skip_lf = input->len == 0 && event->raw.data[event->raw.len - 1] == '\r';
    }
    return result;
}

struct dyn_slice
sse_reader_rest(const struct sse_reader *reader)
{
    return reader->delivered ? dyn_slice(NULL, 0) : dyn_buf_slice(&reader->pending);
}

/* Writes `text` with `name` in front of each of its lines. */
static void
write_lines(struct dyn_buf *out, struct dyn_slice name, struct dyn_slice text)
{
    const char *line = text.data;
    const char *end = text.data + text.len;
    for (const char *at; (at = find_break(line, end)) != NULL;) {
        dyn_buf_add_slice(out, name);
        dyn_buf_add(out, line, (size_t)(at - line));
        dyn_buf_add_char(out, '\n');
        line = *at == '\r' && at + 1 < end && at[1] == '\n' ? at + 2 : at + 1;
    }
    dyn_buf_add_slice(out, name);
    dyn_buf_add(out, line, (size_t)(end - line));
    dyn_buf_add_char(out, '\n');
}

void
sse_write_event(struct dyn_buf *out, struct dyn_slice type, struct dyn_slice data)
{
    if (type.data != NULL) {
        const char *at = find_break(type.data, type.data + type.len);
        dyn_buf_add_slice(out, DYN_SLICE("event: "));
        dyn_buf_add(out, type.data, at != NULL ? (size_t)(at - type.data) : type.len);
        dyn_buf_add_char(out, '\n');
    }
    write_lines(out, DYN_SLICE("data: "), data.data != NULL ? data : DYN_SLICE(""));
    dyn_buf_add_char(out, '\n');
}

void
sse_write_comment(struct dyn_buf *out, const char *text)
{
    write_lines(out, DYN_SLICE(": "), dyn_slice_str(text));
    dyn_buf_add_char(out, '\n');
}
