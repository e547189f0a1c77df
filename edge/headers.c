/* See headers.h. */
#include "edge/headers.h"

#include "core/rand.h"
#include "edge/http_parse.h"

#define WANTED(text, field)                                                                                  \
    {                                                                                                        \
        DYN_SLICE_INIT(text), offsetof(struct edge_headers, field)                                           \
    }

static const struct {
    struct dyn_slice name;
    size_t offset;
} wanted[] = {
    WANTED("host", host),
    WANTED("authorization", authorization),
    WANTED("content-type", content_type),
    WANTED("x-api-key", x_api_key),
    WANTED("api-key", api_key),
    WANTED("x-goog-api-key", x_goog_api_key),
    WANTED("content-encoding", content_encoding),
    WANTED("expect", expect),
    WANTED("idempotency-key", idempotency_key),
    WANTED("origin", origin),
    WANTED("traceparent", traceparent),
    WANTED("x-dynabus-redeliver", x_dynabus_redeliver),
    WANTED("x-dynabus-target", x_dynabus_target),
    WANTED("x-forwarded-for", x_forwarded_for),
    WANTED("x-real-ip", x_real_ip),
    WANTED("x-request-id", x_request_id),
};

static void
note(struct edge_headers *headers, const struct http_header *header, bool *second_traceparent)
{
    for (size_t i = 0; i < DYN_ARRAY_LEN(wanted); i++) {
        if (header->name.len != wanted[i].name.len || !dyn_slice_ieq(header->name, wanted[i].name)) {
            continue;
        }
        struct dyn_slice *slot = (struct dyn_slice *)(void *)((char *)headers + wanted[i].offset);
        if (slot->data == NULL) {
            *slot = header->value;
        } else if (slot == &headers->traceparent) {
            *second_traceparent = true;
        }
        return;
    }
}

void
edge_headers_read(const struct http_request *request, struct edge_headers *headers)
{
    bool second_traceparent = false;
    *headers = (struct edge_headers){.host = {NULL, 0}};
    for (size_t i = 0; i < request->n_headers; i++) {
        note(headers, &request->headers[i], &second_traceparent);
    }
    if (second_traceparent) {
        headers->traceparent = dyn_slice(NULL, 0);
    }
}

/* ---- who calls ---- */

struct dyn_slice
edge_credential(const struct edge_headers *headers)
{
    static const struct dyn_slice scheme = DYN_SLICE_INIT("bearer ");
    struct dyn_slice value = headers->authorization;
    if (value.len > scheme.len && dyn_slice_ieq(dyn_slice(value.data, scheme.len), scheme)) {
        value = dyn_slice(value.data + scheme.len, value.len - scheme.len);
        while (value.len > 0 && value.data[0] == ' ') { /* RFC 9110 11.4: one or more blanks */
            value = dyn_slice(value.data + 1, value.len - 1);
        }
        return value;
    }
    return headers->x_api_key.data != NULL ? headers->x_api_key
           : headers->api_key.data != NULL ? headers->api_key
                                           : headers->x_goog_api_key;
}

/* ---- what is sent ---- */

static bool
is_json(struct dyn_slice content_type)
{
    size_t len = 0;
    while (len < content_type.len && content_type.data[len] != ';' && content_type.data[len] != ' ' &&
           content_type.data[len] != '\t') {
        len++;
    }
    return dyn_slice_ieq(dyn_slice(content_type.data, len), DYN_SLICE("application/json"));
}

enum err_code
edge_judge_body(const struct edge_headers *headers)
{
    if (headers->expect.data != NULL && !dyn_slice_ieq(headers->expect, DYN_SLICE("100-continue"))) {
        return ERR_EXPECTATION_FAILED;
    }
    bool is_plain = headers->content_encoding.data == NULL ||
                    dyn_slice_ieq(headers->content_encoding, DYN_SLICE("identity"));
    return is_plain && is_json(headers->content_type) ? ERR_NONE : ERR_UNSUPPORTED_MEDIA;
}

bool
edge_redeliver_is_valid(const struct edge_headers *headers)
{
    struct dyn_slice value = headers->x_dynabus_redeliver;
    return value.data == NULL || dyn_slice_is(value, "always") || dyn_slice_is(value, "unsent") ||
           dyn_slice_is(value, "never");
}

/* ---- trace ids ---- */

static bool
is_lower_hex(struct dyn_slice text, bool may_be_zero)
{
    bool is_zero = true;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) {
            return false;
        }
        is_zero = is_zero && c == '0';
    }
    return may_be_zero || !is_zero;
}

/* W3C Trace Context 3.2.2: version "-" trace-id "-" parent-id "-" flags; later versions may go on behind. */
static bool
is_traceparent(struct dyn_slice value)
{
    enum { LEN = 55, TRACE_AT = 3, PARENT_AT = 36, FLAGS_AT = 53 };
    if (value.len < LEN || value.data[TRACE_AT - 1] != '-' || value.data[PARENT_AT - 1] != '-' ||
        value.data[FLAGS_AT - 1] != '-') {
        return false;
    }
    struct dyn_slice version = dyn_slice(value.data, 2);
    bool is_first = dyn_slice_is(version, "00");
    bool ends_well = value.len == LEN || (!is_first && value.data[LEN] == '-');
    return ends_well && is_lower_hex(version, true) && !dyn_slice_is(version, "ff") &&
           is_lower_hex(dyn_slice(value.data + TRACE_AT, EDGE_TRACE_ID_LEN), false) &&
           is_lower_hex(dyn_slice(value.data + PARENT_AT, 16), false) &&
           is_lower_hex(dyn_slice(value.data + FLAGS_AT, 2), true);
}

struct dyn_slice
edge_trace_id(const struct edge_headers *headers, char id[EDGE_TRACE_ID_LEN])
{
    uint8_t bytes[EDGE_TRACE_ID_LEN / 2];
    static const uint8_t zero[sizeof bytes];
    if (is_traceparent(headers->traceparent)) {
        memcpy(id, headers->traceparent.data + 3, EDGE_TRACE_ID_LEN);
        return headers->traceparent;
    }
    if (headers->x_request_id.len != EDGE_TRACE_ID_LEN ||
        dyn_hex_decode(bytes, sizeof bytes, headers->x_request_id) != 0 ||
        memcmp(bytes, zero, sizeof bytes) == 0) {
        dyn_random_bytes(bytes, sizeof bytes);
    }
    dyn_hex_encode(id, bytes, sizeof bytes);
    return dyn_slice(NULL, 0);
}

/* ---- this machine ---- */

/* host[:port] without the port and without a last dot. */
static bool
is_local_host(struct dyn_slice host)
{
    static const struct dyn_slice local[] = {DYN_SLICE_INIT("localhost"), DYN_SLICE_INIT("127.0.0.1"),
                                             DYN_SLICE_INIT("[::1]")};
    size_t len = host.len;
    if (len > 0 && host.data[0] == '[') {
        const char *end = memchr(host.data, ']', len);
        len = end != NULL ? (size_t)(end - host.data) + 1 : 0;
    } else {
        const char *colon = len > 0 ? memchr(host.data, ':', len) : NULL;
        len = colon != NULL ? (size_t)(colon - host.data) : len;
    }
    for (size_t i = len; i < host.len; i++) { /* what follows is a port and nothing else */
        if (i == len ? host.data[i] != ':' : host.data[i] < '0' || host.data[i] > '9') {
            return false;
        }
    }
    for (size_t i = 0; i < DYN_ARRAY_LEN(local); i++) {
        if (dyn_slice_ieq(dyn_slice(host.data, len), local[i])) {
            return true;
        }
    }
    return false;
}

bool
edge_is_local(const struct http_request *request, const struct edge_headers *headers)
{
    struct dyn_slice authority = http_parse_authority(request->target);
    struct dyn_slice origin = headers->origin;
    if (!is_local_host(headers->host) || (authority.data != NULL && !is_local_host(authority))) {
        return false;
    }
    return origin.data == NULL || is_local_host(http_parse_authority(origin));
}
