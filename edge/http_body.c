/* See http_body.h. */
#include "edge/http_body.h"

enum {
    CHUNK_DIGITS_MAX = 15,     /* keeps a size below 2^60: no overflow to look for */
    CHUNK_EXTENSION_MAX = 256, /* bytes of one; nobody uses them, and they are a way to send for ever */
    TRAILERS_MAX = 8192,       /* bytes of all; dropped unread */
};

enum body_state {
    BODY_COUNTED,
    BODY_SIZE,
    BODY_EXTENSION,
    BODY_SIZE_LF,
    BODY_CHUNK,
    BODY_CHUNK_CR,
    BODY_CHUNK_LF,
    BODY_TRAILER_START,
    BODY_TRAILER,
    BODY_TRAILER_LF,
    BODY_LAST_LF,
    BODY_OVER,
};

void
http_body_start(struct http_body *body, bool chunked, uint64_t length)
{
    *body = (struct http_body){
        .left = chunked ? 0 : length,
        .state = chunked      ? BODY_SIZE
                 : length > 0 ? BODY_COUNTED
                              : BODY_OVER,
    };
}

static int
hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

static int
refuse(struct http_refusal *refusal, const char *why)
{
    *refusal = (struct http_refusal){400, why};
    return -1;
}

static bool
is_control(char c)
{
    return ((unsigned char)c < ' ' && c != '\t') || c == 0x7f;
}

static int
step_size(struct http_body *body, char c, struct http_refusal *refusal)
{
    int value = hex_value(c);
    if (value >= 0) {
        if (body->digits++ == CHUNK_DIGITS_MAX) {
            return refuse(refusal, "chunk size overflows");
        }
        body->left = body->left * 16 + (unsigned)value;
        return 0;
    }
    if (body->digits == 0 || (c != ';' && c != '\r')) {
        return refuse(refusal, "chunk size");
    }
    body->state = c == ';' ? BODY_EXTENSION : BODY_SIZE_LF;
    body->line_len = 0;
    return 0;
}

static int
step_extension(struct http_body *body, char c, struct http_refusal *refusal)
{
    if (c == '\r') {
        body->state = BODY_SIZE_LF;
        return 0;
    }
    if (is_control(c) || body->line_len++ == CHUNK_EXTENSION_MAX) {
        return refuse(refusal, "chunk extension");
    }
    return 0;
}

/* Trailers are checked like headers, counted, and dropped. */
static int
step_trailer(struct http_body *body, char c, struct http_refusal *refusal)
{
    if (++body->line_len > TRAILERS_MAX) {
        return refuse(refusal, "trailers too long");
    }
    if (body->state == BODY_TRAILER_START) {
        if (c == '\r') {
            body->state = BODY_LAST_LF;
            return 0;
        }
        body->state = BODY_TRAILER;
        body->line_has_colon = false;
        if (c == ':') {
            return refuse(refusal, "trailer name");
        }
    }
    if (c == '\r') {
        body->state = BODY_TRAILER_LF;
        return body->line_has_colon ? 0 : refuse(refusal, "trailer without a colon");
    }
    if (c == ':') {
        body->line_has_colon = true;
    } else if (body->line_has_colon ? is_control(c) : !http_is_token(dyn_slice(&c, 1))) {
        return refuse(refusal, "trailer");
    }
    return 0;
}

static int
expect(struct http_body *body, char c, char wanted, enum body_state next, struct http_refusal *refusal)
{
    if (c != wanted) {
        return refuse(refusal, "chunk without CRLF");
    }
    body->state = (uint8_t)next;
    return 0;
}

/* One byte of framing. */
static int
step(struct http_body *body, char c, struct http_refusal *refusal)
{
    switch ((enum body_state)body->state) {
    case BODY_SIZE:
        return step_size(body, c, refusal);
    case BODY_EXTENSION:
        return step_extension(body, c, refusal);
    case BODY_SIZE_LF:
        return expect(body, c, '\n', body->left > 0 ? BODY_CHUNK : BODY_TRAILER_START, refusal);
    case BODY_CHUNK_CR:
        return expect(body, c, '\r', BODY_CHUNK_LF, refusal);
    case BODY_CHUNK_LF:
        body->digits = 0;
        return expect(body, c, '\n', BODY_SIZE, refusal);
    case BODY_TRAILER_START:
    case BODY_TRAILER:
        return step_trailer(body, c, refusal);
    case BODY_TRAILER_LF:
        return expect(body, c, '\n', BODY_TRAILER_START, refusal);
    case BODY_LAST_LF:
        return expect(body, c, '\n', BODY_OVER, refusal);
    case BODY_COUNTED:
    case BODY_CHUNK:
    case BODY_OVER:
        break;
    }
    return 0;
}

static void
take(struct dyn_slice *input, size_t len)
{
    input->data += len;
    input->len -= len;
}

enum http_body_found
http_body_next(struct http_body *body, struct dyn_slice *input, struct dyn_slice *piece,
               struct http_refusal *refusal)
{
    while (body->state != BODY_OVER) {
        if (input->len == 0) {
            return HTTP_BODY_MORE;
        }
        if (body->state == BODY_COUNTED || body->state == BODY_CHUNK) {
            size_t len = body->left < input->len ? (size_t)body->left : input->len;
            *piece = dyn_slice(input->data, len);
            take(input, len);
            body->left -= len;
            if (body->left == 0) {
                body->state = body->state == BODY_CHUNK ? BODY_CHUNK_CR : BODY_OVER;
            }
            return HTTP_BODY_PIECE;
        }
        if (step(body, input->data[0], refusal) != 0) {
            return HTTP_BODY_BAD;
        }
        take(input, 1);
    }
    return HTTP_BODY_END;
}
