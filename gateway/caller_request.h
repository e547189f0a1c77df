/* From the library user's request to an envelope, and from what envelopes say of an answer to his struct:
 * what the edge does for a client, without HTTP. Pure but for the random ids. */
#pragma once

#include "dynabus.h"
#include "proto/env.h"

enum { CALLER_TRACE_ID_DIGITS = 32 };

/* `credential` is what a request without one is admitted with. What its headers say wrong is told by the
 * router, behind admission. `trace_id` gets the digits and a terminator. */
struct env *caller_request_new(const struct dynabus_request *asked, enum env_surface surface,
                               struct dyn_slice credential, char trace_id[CALLER_TRACE_ID_DIGITS + 1])
    __attribute__((returns_nonnull));

/* Headers of an answer, collected from its envelopes: of equal names the last one counts. */
struct caller_headers {
    struct arena arena;
    struct dynabus_header items[ENV_HEADERS_MAX];
    size_t n;
};
void caller_headers_init(struct caller_headers *headers);
void caller_headers_fini(struct caller_headers *headers);
void caller_headers_clear(struct caller_headers *headers);
void caller_headers_take(struct caller_headers *headers, const struct env *env);
/* NULL: it has none of that name. */
const char *caller_headers_find(const struct caller_headers *headers, const char *name);
