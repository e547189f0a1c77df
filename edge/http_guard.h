/* The guard in front of and behind http-parser: refuses whatever two readers of HTTP/1.1 could read in
 * two ways (RFC 9112 sections 2.2, 3, 5 and 6.3; RFC 9110 5.5). The parser is lenient about line ends,
 * folded headers and blanks; these functions are not, and they run on the same bytes. Pure. */
#pragma once

#include "core/base.h"

/* Why bytes were refused: the status to answer, and a few words for the log. */
struct http_refusal {
    unsigned    status;
    const char *why;
};

/* How far a head was looked at; zeroed for each new one. Offsets are from its first byte. */
struct http_head_scan {
    size_t at;          /* looked at so far */
    size_t line;        /* start of the current line */
    size_t start;       /* of the request line, behind empty lines */
    size_t request_line_len;
};

/* Looks for the end of a head in `bytes` (all of it that is here, from its first byte). 1: whole, it ends
 * in front of *end. 0: more is needed. -1: refused, as early as can be known. */
int http_guard_head(struct http_head_scan *scan, struct dyn_slice bytes, size_t head_max, size_t *end,
                    struct http_refusal *refusal);

/* What the headers of one request say about its framing; zeroed first. */
struct http_framing {
    unsigned hosts;
    bool     has_length;
    bool     has_transfer_encoding;
    bool     chunked;
    bool     expects_continue;
    uint64_t length;
};

/* One header as the parser found it. -1: refused. */
int http_guard_header(struct http_framing *framing, struct dyn_slice name, struct dyn_slice value,
                      struct http_refusal *refusal);
/* After the last header. `minor` as in HTTP/1.minor. */
int http_guard_framing(const struct http_framing *framing, unsigned minor, struct http_refusal *refusal);

/* A token (RFC 9110 5.6.2), at least one character: methods and header names. */
bool http_is_token(struct dyn_slice text);
/* No control characters but HT: what may stand in a header's value. */
bool http_is_value(struct dyn_slice text);
