/* Heads of requests as text: what libcurl would write for the same request, made once for an origin. Only for
 * origins whose requests go out on wires; what is out of the ordinary is left to libcurl. */
#include "actors/providers/http_wire.h"

#include <stdio.h>

/* Headers that say how a message is framed, or that libcurl writes, too. */
static bool
is_of_framing(struct dyn_slice name)
{
    static const char *const names[] = {"host",   "accept",  "content-length", "transfer-encoding",
                                        "expect", "upgrade", "connection",     "te",
                                        "trailer"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(names); i++) {
        if (dyn_slice_ieq(name, dyn_slice_str(names[i]))) {
            return true;
        }
    }
    return false;
}

/* One part of the URL as it is to be written; NULL: there is none. */
static char *
url_part(const http_origin_t *origin, CURLUPart part)
{
    char *text = NULL;
    return curl_url_get(origin->url, part, &text, 0) == CURLUE_OK ? text : NULL;
}

static bool
is_plain_text(const char *text)
{
    for (; text != NULL && *text != '\0'; text++) {
        if (*text <= ' ' || *text > '~') {
            return false;
        }
    }
    return true;
}

static bool
has_part(const http_origin_t *origin, CURLUPart part)
{
    char *text = url_part(origin, part);
    bool is_there = text != NULL;
    curl_free(text);
    return is_there;
}

static bool
is_http(const http_origin_t *origin)
{
    char *scheme = url_part(origin, CURLUPART_SCHEME);
    bool is = scheme != NULL && strcmp(scheme, "http") == 0;
    curl_free(scheme);
    return is;
}

static bool
can_go_on_wires(const http_origin_t *origin, const struct http_origin_options *options)
{
    for (size_t i = 0; i < options->n_headers; i++) {
        if (is_of_framing(options->headers[i].name)) {
            return false;
        }
    }
    return !origin->client->only_libcurl && options->proxy == NULL && is_http(origin) &&
           !has_part(origin, CURLUPART_USER) && !has_part(origin, CURLUPART_PASSWORD) &&
           !has_part(origin, CURLUPART_ZONEID);
}

/* libcurl leaves a header without a value out. */
static void
add_line(struct dyn_buf *text, const struct http_client_header *header)
{
    size_t blank = 0;
    while (blank < header->value.len &&
           (header->value.data[blank] == ' ' || header->value.data[blank] == '\t')) {
        blank++;
    }
    if (blank == header->value.len) {
        return;
    }
    dyn_buf_add_slice(text, header->name);
    dyn_buf_add(text, ": ", 2);
    dyn_buf_add_slice(text, header->value);
    dyn_buf_add(text, "\r\n", 2);
}

void
http_origin_own_head(const struct http_call_request *request, struct dyn_buf *text)
{
    dyn_buf_clear(text);
    for (size_t i = 0; i < request->n_headers; i++) {
        add_line(text, &request->headers[i]);
    }
}

void
http_origin_prepare_wires(http_origin_t *origin, const struct http_origin_options *options)
{
    char *host = url_part(origin, CURLUPART_HOST);
    char *port = url_part(origin, CURLUPART_PORT);
    char *path = url_part(origin, CURLUPART_PATH);
    char *query = url_part(origin, CURLUPART_QUERY);
    bool is_ordinary =
        host != NULL && path != NULL && is_plain_text(host) && is_plain_text(path) && is_plain_text(query);
    if (is_ordinary && can_go_on_wires(origin, options)) {
        struct dyn_buf authority = DYN_BUF_INIT;
        bool is_usual = port == NULL || strcmp(port, "80") == 0;
        dyn_buf_addf(&authority, "%s%s%s", host, is_usual ? "" : ":", is_usual ? "" : port);
        dyn_buf_addf(&origin->head_front, "POST %s%s%s HTTP/1.1\r\nHost: %s\r\nAccept: */*\r\n", path,
                     query != NULL ? "?" : "", query != NULL ? query : "", dyn_buf_cstr(&authority));
        for (size_t i = 0; i < options->n_headers; i++) {
            add_line(&origin->head_back, &options->headers[i]);
        }
        dyn_buf_add_str(&origin->head_back, "Accept-Encoding: identity\r\nContent-Length: ");
        origin->pool = http_pool_get(origin->client, dyn_buf_cstr(&authority));
        dyn_buf_fini(&authority);
    }
    curl_free(host);
    curl_free(port);
    curl_free(path);
    curl_free(query);
}
