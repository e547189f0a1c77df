/* Which web pages may use the gateway from a browser (CORS, the Fetch standard 3.2): those whose origin is
 * listed, letter for letter; `*` is an origin that nobody has. */
#pragma once

#include "core/config.h"
#include "edge/headers.h"

struct edge_cors {
    char **origins;
    size_t n;
};

/* `configured`, else the comma list of CORS_ORIGINS (`environment`, may be NULL). */
void edge_cors_init(struct edge_cors *cors, const struct config_strings *configured, const char *environment);
void edge_cors_fini(struct edge_cors *cors);
bool edge_cors_has(const struct edge_cors *cors, struct dyn_slice origin);

/* Headers of the answer to a preflight of a page that may. Returns how many; they live as long as the
 * arena. */
enum { EDGE_CORS_HEADERS = 3 };
size_t edge_cors_preflight(const struct http_request *request, struct arena *arena,
                           struct http_header out[EDGE_CORS_HEADERS]);
