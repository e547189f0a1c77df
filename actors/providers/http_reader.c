/* See http_reader.h. A line that is whole in the bytes at hand is read where it stands. */
#include "actors/providers/http_reader.h"

enum {
    READ_STATUS,    /* the first line */
    READ_HEADERS,   /* and the empty line behind them */
    READ_HEAD_END,  /* to be told */
    READ_BODY,      /* `left` bytes */
    READ_UNTIL_END, /* of the connection */
    READ_SIZE,      /* the line in front of a chunk */
    READ_CHUNK,     /* `left` bytes of it */
    READ_CHUNK_END, /* the empty line behind it */
    READ_TRAILERS,  /* lines to the empty one */
    READ_END,       /* to be told */
    READ_DONE,
};

#define STATUS_LINE_MIN 12u /* "HTTP/1.1 200" */

void
http_reader_init(struct http_reader *reader)
{
    *reader = (struct http_reader){.state = READ_STATUS, .why = ""};
}

void
http_reader_fini(struct http_reader *reader)
{
    dyn_buf_fini(&reader->line);
}

static int
malformed(struct http_reader *reader, const char *why)
{
    reader->why = why;
    return -1;
}

/* The line feed alone is an end, too (RFC 9112 section 2.2); a second carriage return is part of the line. */
static struct dyn_slice
without_end(struct dyn_slice line)
{
    line.len--;
    if (line.len > 0 && line.data[line.len - 1] == '\r') {
        line.len--;
    }
    return line;
}

/* 1: a line without its end; 0: it goes on in the next bytes; -1: the head is too long. */
static int
next_line(struct http_reader *reader, struct dyn_slice *bytes, struct dyn_slice *line)
{
    if (reader->is_taken) {
        reader->is_taken = false;
        dyn_buf_clear(&reader->line);
    }
    const char *end = bytes->len > 0 ? memchr(bytes->data, '\n', bytes->len) : NULL;
    size_t len = end != NULL ? (size_t)(end - bytes->data) + 1 : bytes->len;
    if (len > HTTP_HEAD_BYTES_MAX - reader->head_bytes) {
        return malformed(reader, "the head of the answer is longer than 64 KiB");
    }
    reader->head_bytes += (uint32_t)len;
    *line = dyn_slice(bytes->data, len);
    *bytes = dyn_slice(bytes->data + len, bytes->len - len);
    if (end == NULL || reader->line.len > 0) {
        dyn_buf_add_slice(&reader->line, *line);
        *line = dyn_buf_slice(&reader->line);
        reader->is_taken = end != NULL;
    }
    if (end == NULL) {
        return 0;
    }
    *line = without_end(*line);
    return 1;
}

/* What speaks another protocol may never end its line. */
static bool
may_be_status(struct dyn_slice begin)
{
    static const char version[] = "HTTP/1.";
    size_t len = begin.len < sizeof version - 1 ? begin.len : sizeof version - 1;
    return memcmp(begin.data, version, len) == 0;
}

static int
status_line(struct http_reader *reader, struct dyn_slice line)
{
    bool is_http = line.len >= STATUS_LINE_MIN && may_be_status(line);
    if (!is_http || line.data[7] < '0' || line.data[7] > '9' || line.data[8] != ' ') {
        return malformed(reader, "the answer does not begin with a status line of HTTP/1");
    }
    reader->status = 0;
    for (size_t i = 9; i < STATUS_LINE_MIN; i++) {
        if (line.data[i] < '0' || line.data[i] > '9') {
            return malformed(reader, "the status of the answer is no number");
        }
        reader->status = reader->status * 10 + (unsigned)(line.data[i] - '0');
    }
    if (reader->status < 100 || (line.len > STATUS_LINE_MIN && line.data[STATUS_LINE_MIN] != ' ')) {
        return malformed(reader, "the status of the answer is none of three digits");
    }
    reader->is_final = reader->status >= 200;
    reader->is_old = line.data[7] == '0';
    reader->is_kept = !reader->is_old;
    reader->is_chunked = reader->has_length = reader->is_close = reader->is_framed = false;
    reader->content_length = UINT64_MAX;
    reader->state = READ_HEADERS;
    return 0;
}

/* The lengths of lists ("5, 5") are not taken. */
static int
note_length(struct http_reader *reader, struct dyn_slice value)
{
    uint64_t length = 0;
    if (value.len == 0 || value.len > 18) {
        return malformed(reader, "the Content-Length of the answer is no number");
    }
    for (size_t i = 0; i < value.len; i++) {
        if (value.data[i] < '0' || value.data[i] > '9') {
            return malformed(reader, "the Content-Length of the answer is no number");
        }
        length = length * 10 + (uint64_t)(value.data[i] - '0');
    }
    if (reader->has_length && length != reader->content_length) {
        return malformed(reader, "the answer has two Content-Lengths");
    }
    reader->has_length = true;
    reader->content_length = length;
    return 0;
}

static void
note_connection(struct http_reader *reader, struct dyn_slice value)
{
    while (value.len > 0) {
        const char *comma = memchr(value.data, ',', value.len);
        size_t len = comma != NULL ? (size_t)(comma - value.data) : value.len;
        struct dyn_slice word = dyn_slice_trim(dyn_slice(value.data, len));
        if (dyn_slice_ieq(word, DYN_SLICE("close"))) {
            reader->is_close = true;
        } else if (dyn_slice_ieq(word, DYN_SLICE("keep-alive"))) {
            reader->is_kept = true;
        }
        len += comma != NULL;
        value = dyn_slice(value.data + len, value.len - len);
    }
}

static int
note_framing(struct http_reader *reader, struct dyn_slice name, struct dyn_slice value)
{
    reader->is_framed = false;
    if (dyn_slice_ieq(name, DYN_SLICE("content-length"))) {
        reader->is_framed = true;
        return note_length(reader, value);
    }
    if (dyn_slice_ieq(name, DYN_SLICE("connection"))) {
        note_connection(reader, value);
    } else if (dyn_slice_ieq(name, DYN_SLICE("transfer-encoding"))) {
        if (reader->is_chunked || !dyn_slice_ieq(value, DYN_SLICE("chunked"))) {
            return malformed(reader, "the answer has a transfer coding that was not asked for");
        }
        reader->is_chunked = reader->is_framed = true;
    }
    return 0;
}

/* After the head: which bytes are the body (RFC 9112 section 6.3). A request of ours is always a POST. Chunks
 * that a length or the version speaks against end what the connection is good for (section 6.1). */
static uint8_t
state_of_body(struct http_reader *reader)
{
    bool is_faulty = reader->is_chunked && (reader->has_length || reader->is_old);
    reader->is_kept = reader->is_kept && !reader->is_close && !is_faulty;
    reader->left = reader->content_length;
    if (reader->status == 204 || reader->status == 304) {
        return READ_END;
    }
    if (reader->is_chunked) {
        return READ_SIZE;
    }
    if (!reader->has_length) {
        reader->is_kept = false;
        return READ_UNTIL_END;
    }
    return reader->left > 0 ? READ_BODY : READ_END;
}

/* 1: a header, or the end of the head; 0: nothing to tell. */
static int
header_line(struct http_reader *reader, struct dyn_slice line, struct http_piece *piece)
{
    if (line.len == 0) {
        reader->state = reader->is_final ? READ_HEAD_END : READ_STATUS;
        return 0;
    }
    const char *colon = memchr(line.data, ':', line.len);
    bool is_folded = line.data[0] == ' ' || line.data[0] == '\t';
    if (line.data[0] == '\r' || (is_folded && reader->is_framed)) {
        return malformed(reader, "the head of the answer can be read in two ways");
    }
    if (!reader->is_final || colon == NULL || is_folded) {
        return 0;
    }
    size_t len = (size_t)(colon - line.data);
    *piece = (struct http_piece){HTTP_PIECE_HEADER, dyn_slice_trim(dyn_slice(line.data, len)),
                                 dyn_slice_trim(dyn_slice(colon + 1, line.len - len - 1))};
    return note_framing(reader, piece->name, piece->value) != 0 ? -1 : 1;
}

static int
digit_of(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Extensions behind the size are left out. */
static int
size_line(struct http_reader *reader, struct dyn_slice line)
{
    uint64_t size = 0;
    size_t i = 0;
    for (; i < line.len && i < 15 && digit_of(line.data[i]) >= 0; i++) {
        size = size * 16 + (uint64_t)digit_of(line.data[i]);
    }
    bool goes_on = i < line.len && line.data[i] != ';' && line.data[i] != ' ' && line.data[i] != '\t';
    if (i == 0 || goes_on) {
        return malformed(reader, "the size of a chunk of the answer is no number");
    }
    reader->left = size;
    reader->state = size > 0 ? READ_CHUNK : READ_TRAILERS;
    reader->head_bytes = 0; /* counts one line from here on, or the trailers */
    return 0;
}

/* What a line is depends on where it stands. */
static int
take_line(struct http_reader *reader, struct dyn_slice line, struct http_piece *piece)
{
    switch (reader->state) {
    case READ_STATUS:
        return status_line(reader, line);
    case READ_HEADERS:
        return header_line(reader, line, piece);
    case READ_SIZE:
        return size_line(reader, line);
    case READ_CHUNK_END:
        reader->state = READ_SIZE;
        return line.len == 0 ? 0 : malformed(reader, "a chunk of the answer is longer than its size");
    default: /* trailers */
        reader->state = line.len == 0 ? READ_END : READ_TRAILERS;
        return 0;
    }
}

static int
take_data(struct http_reader *reader, struct dyn_slice *bytes, struct http_piece *piece)
{
    bool is_open = reader->state == READ_UNTIL_END;
    size_t len = is_open || bytes->len < reader->left ? bytes->len : (size_t)reader->left;
    if (len == 0) {
        return 0;
    }
    *piece = (struct http_piece){.kind = HTTP_PIECE_DATA, .value = dyn_slice(bytes->data, len)};
    *bytes = dyn_slice(bytes->data + len, bytes->len - len);
    if (!is_open) {
        reader->left -= len;
        if (reader->left == 0) {
            reader->state = reader->state == READ_BODY ? READ_END : READ_CHUNK_END;
        }
    }
    return 1;
}

/* 1: the end of head or body is told; 0: there is none. */
static int
tell_end(struct http_reader *reader, struct http_piece *piece)
{
    if (reader->state == READ_HEAD_END) {
        *piece = (struct http_piece){.kind = HTTP_PIECE_HEAD};
        reader->state = state_of_body(reader);
        reader->head_bytes = 0;
        return 1;
    }
    if (reader->state == READ_END) {
        *piece = (struct http_piece){.kind = HTTP_PIECE_END};
        reader->state = READ_DONE;
        return 1;
    }
    return 0;
}

int
http_reader_next(struct http_reader *reader, struct dyn_slice *bytes, struct http_piece *piece)
{
    struct dyn_slice line;
    for (;;) {
        int found = tell_end(reader, piece);
        if (found != 0 || bytes->len == 0 || reader->state == READ_DONE) {
            return found;
        }
        if (reader->state == READ_BODY || reader->state == READ_UNTIL_END || reader->state == READ_CHUNK) {
            return take_data(reader, bytes, piece);
        }
        found = next_line(reader, bytes, &line);
        if (found == 0 && reader->state == READ_STATUS && !may_be_status(line)) {
            return malformed(reader, "the answer does not begin with a status line of HTTP/1");
        }
        found = found > 0 ? take_line(reader, line, piece) : found;
        if (found != 0 || bytes->len == 0) {
            return found != 0 ? found : tell_end(reader, piece);
        }
    }
}

bool
http_reader_ends_here(const struct http_reader *reader)
{
    return reader->state == READ_UNTIL_END || reader->state == READ_END || reader->state == READ_DONE;
}
