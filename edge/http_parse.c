/* See http_parse.h. No other file includes http_parser.h: its HTTP_STATUS_* clash with libwebsockets'. */
#include "edge/http_parse.h"

#include <http_parser.h>

struct parse {
    struct http_head *head;
    struct http_refusal *refusal;
    struct dyn_slice name;
};

/* The whole head is in one piece, so the parser calls back once for each name and each value. */

static int
on_url(http_parser *parser, const char *at, size_t len)
{
    struct parse *parse = parser->data;
    parse->head->target = dyn_slice(at, len);
    return 0;
}

static int
on_header_field(http_parser *parser, const char *at, size_t len)
{
    struct parse *parse = parser->data;
    parse->name = dyn_slice(at, len);
    return 0;
}

static int
on_header_value(http_parser *parser, const char *at, size_t len)
{
    struct parse *parse = parser->data;
    struct http_head *head = parse->head;
    while (len > 0 && (at[len - 1] == ' ' || at[len - 1] == '\t')) { /* the parser strips the front only */
        len--;
    }
    if (head->n_headers == HTTP_REQUEST_HEADERS_MAX) {
        *parse->refusal = (struct http_refusal){431, "too many headers"};
        return -1;
    }
    struct http_header *header = &head->headers[head->n_headers++];
    *header = (struct http_header){parse->name, dyn_slice(at, len)};
    return http_guard_header(&head->framing, header->name, header->value, parse->refusal);
}

static int
on_headers_complete(http_parser *parser)
{
    struct parse *parse = parser->data;
    parse->head->minor = parser->http_minor;
    parse->head->keep_alive = http_should_keep_alive(parser) != 0;
    parser->upgrade = 0; /* no other protocol is spoken here; the header is ignored (RFC 9110 7.8) */
    return 1;            /* "no body": whatever follows is not the parser's */
}

static const http_parser_settings settings = {
    .on_url = on_url,
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_headers_complete = on_headers_complete,
};

int
http_parse_head(struct dyn_slice bytes, struct http_head *head, struct http_refusal *refusal)
{
    struct parse parse = {.head = head, .refusal = refusal};
    http_parser parser;
    http_parser_init(&parser, HTTP_REQUEST);
    parser.data = &parse;
    head->n_headers = 0;
    head->framing = (struct http_framing){0};
    head->target = dyn_slice(NULL, 0);
    *refusal = (struct http_refusal){0, NULL};

    const char *blank = memchr(bytes.data, ' ', bytes.len); /* the guard has seen it */
    head->method = dyn_slice(bytes.data, blank ? (size_t)(blank - bytes.data) : 0);
    size_t taken = http_parser_execute(&parser, &settings, bytes.data, bytes.len);
    enum http_errno error = HTTP_PARSER_ERRNO(&parser);
    if (refusal->status != 0) {
        return -1;
    }
    if (error == HPE_INVALID_METHOD) {
        *refusal = (struct http_refusal){501, "unknown method"};
        return -1;
    }
    if (error != HPE_OK || taken != bytes.len || head->target.len == 0) {
        *refusal = (struct http_refusal){400, "malformed head"};
        return -1;
    }
    return http_guard_framing(&head->framing, head->minor, refusal);
}

struct dyn_slice
http_parse_authority(struct dyn_slice target)
{
    if (target.len == 0 || target.data[0] == '/' || target.data[0] == '*') {
        return dyn_slice(NULL, 0);
    }
    const char *end = target.data + target.len;
    const char *colon = memchr(target.data, ':', target.len);
    if (colon == NULL || end - colon < 3 || colon[1] != '/' || colon[2] != '/') {
        return dyn_slice(NULL, 0);
    }
    const char *from = colon + 3;
    const char *to = from;
    while (to < end && *to != '/' && *to != '?') {
        to++;
    }
    return dyn_slice(from, (size_t)(to - from));
}

void
http_parse_target(struct dyn_slice target, struct dyn_slice *path, struct dyn_slice *query)
{
    struct dyn_slice rest = target;
    struct dyn_slice authority = http_parse_authority(target);
    if (authority.data != NULL) {
        rest = dyn_slice(authority.data + authority.len,
                         target.len - (size_t)(authority.data + authority.len - target.data));
    }
    const char *mark = rest.len > 0 ? memchr(rest.data, '?', rest.len) : NULL;
    *query = dyn_slice(NULL, 0);
    *path = rest;
    if (mark != NULL) {
        *path = dyn_slice(rest.data, (size_t)(mark - rest.data));
        *query = dyn_slice(mark + 1, rest.len - path->len - 1);
    }
    if (path->len == 0) {
        *path = DYN_SLICE("/");
    }
}
