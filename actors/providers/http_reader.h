/* Reads an HTTP/1.1 answer to a POST as its bytes come (RFC 9112), piece by piece: no memory but for a line
 * that goes on in the next bytes. Pure: it knows no connection. What could be read in two ways is malformed:
 * lengths that differ, a transfer coding other than chunked. A length beside chunks counts for nothing, but
 * nothing more is read from that connection. Interim answers (1xx) are left out. */
#pragma once

#include "core/buf.h"

enum http_piece_kind {
    HTTP_PIECE_HEADER, /* name and value; folded lines are left out */
    HTTP_PIECE_HEAD,   /* the head is complete: status, content_length and is_chunked are known */
    HTTP_PIECE_DATA,   /* bytes of the body, in `value` */
    HTTP_PIECE_END,    /* the whole answer; once. What is left of the bytes does not belong to it */
};

struct http_piece {
    enum http_piece_kind kind;
    struct dyn_slice name;
    struct dyn_slice value; /* gone with the next call */
};

struct http_reader {
    uint8_t state;
    bool is_chunked;
    bool has_length;
    bool is_old;   /* HTTP/1.0 */
    bool is_kept;  /* the connection may be used again; known with the head */
    bool is_close; /* it must not be, whatever else is said */
    bool is_final; /* the head that is read is no interim one */
    bool is_framed; /* the last header says where the body ends: no folded line may go on with it */
    bool is_taken; /* `line` was handed over, and is no longer needed */
    unsigned status;
    uint32_t head_bytes; /* of heads and trailers */
    uint64_t content_length;
    uint64_t left;       /* of the body, or of a chunk of it */
    struct dyn_buf line; /* the begin of a line that was cut */
    const char *why;     /* what is malformed */
};

enum { HTTP_HEAD_BYTES_MAX = 64 * 1024 }; /* interim heads and trailers included; providers send 2 to 4 KiB */

void http_reader_init(struct http_reader *reader);
void http_reader_fini(struct http_reader *reader);
/* Takes from the front of *bytes. 1: a piece; 0: all bytes are taken; -1: malformed, `why` says what. */
int http_reader_next(struct http_reader *reader, struct dyn_slice *bytes, struct http_piece *piece);
/* The connection ended: true when that is how the answer ends. */
bool http_reader_ends_here(const struct http_reader *reader);
