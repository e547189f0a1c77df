/* See cors.h. */
#include "edge/cors.h"

#include <stdlib.h>

enum { REQUESTED_MAX = 1024 }; /* bytes of header names that a preflight asks for */

static void
add(struct edge_cors *cors, struct dyn_slice origin)
{
    while (origin.len > 0 && origin.data[0] == ' ') {
        origin = dyn_slice(origin.data + 1, origin.len - 1);
    }
    while (origin.len > 0 && origin.data[origin.len - 1] == ' ') {
        origin.len--;
    }
    if (origin.len > 0) {
        cors->origins = dyn_realloc(cors->origins, (cors->n + 1) * sizeof *cors->origins);
        cors->origins[cors->n++] = dyn_strndup(origin.data, origin.len);
    }
}

void
edge_cors_init(struct edge_cors *cors, const struct config_strings *configured, const char *environment)
{
    *cors = (struct edge_cors){0};
    for (size_t i = 0; i < configured->n; i++) {
        add(cors, configured->items[i]);
    }
    while (configured->n == 0 && environment != NULL && *environment != '\0') {
        size_t len = strcspn(environment, ",");
        add(cors, dyn_slice(environment, len));
        environment += len + (environment[len] == ',');
    }
}

void
edge_cors_fini(struct edge_cors *cors)
{
    for (size_t i = 0; i < cors->n; i++) {
        free(cors->origins[i]);
    }
    free(cors->origins);
    *cors = (struct edge_cors){0};
}

bool
edge_cors_has(const struct edge_cors *cors, struct dyn_slice origin)
{
    for (size_t i = 0; i < cors->n; i++) {
        if (dyn_slice_is(origin, cors->origins[i])) {
            return true;
        }
    }
    return false;
}

/* Names of headers and what stands between them; anything else is not repeated. */
static bool
is_name_list(struct dyn_slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        bool is_name = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_';
        if (!is_name && c != ',' && c != ' ') {
            return false;
        }
    }
    return text.len > 0 && text.len <= REQUESTED_MAX;
}

/* SDKs in browsers send headers of their own (x-stainless-..): a page that may ask at all may send them. */
size_t
edge_cors_preflight(const struct http_request *request, struct arena *arena,
                    struct http_header out[EDGE_CORS_HEADERS])
{
    static const char usual[] = "Content-Type, Authorization, X-Provider";
    struct dyn_slice requested = http_request_header(request, "access-control-request-headers");
    struct dyn_slice allowed = dyn_slice(usual, sizeof usual - 1);
    if (is_name_list(requested)) {
        allowed = arena_printf(arena, "%s, %.*s", usual, (int)requested.len, requested.data);
    }
    out[0] = (struct http_header){DYN_SLICE("access-control-allow-methods"),
                                  DYN_SLICE("GET, POST, PUT, DELETE, OPTIONS")};
    out[1] = (struct http_header){DYN_SLICE("access-control-allow-headers"), allowed};
    out[2] = (struct http_header){DYN_SLICE("access-control-max-age"), DYN_SLICE("86400")};
    return EDGE_CORS_HEADERS;
}
