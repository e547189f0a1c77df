/* Reads a request body out of a connection's bytes: counted by Content-Length, or chunked (RFC 9112 6
 * and 7.1). Takes exactly the one spelling of chunked framing that cannot be read two ways. Pure. */
#pragma once

#include "edge/http_guard.h"

struct http_body {
    uint64_t left;     /* bytes of the counted body or of the current chunk still to come */
    uint32_t line_len; /* bytes of the current framing line; of all trailers */
    uint8_t  state;
    uint8_t  digits; /* of the current chunk size */
    bool     line_has_colon;
};

void http_body_start(struct http_body *body, bool chunked, uint64_t length);

enum http_body_found {
    HTTP_BODY_BAD = -1, /* refused */
    HTTP_BODY_MORE,     /* all input is taken, more is needed */
    HTTP_BODY_PIECE,    /* *piece is content; call again */
    HTTP_BODY_END,      /* the body is over; what is left of *input belongs to the next request */
};
/* Takes bytes off the front of *input. */
enum http_body_found http_body_next(struct http_body *body, struct dyn_slice *input, struct dyn_slice *piece,
                                    struct http_refusal *refusal);
