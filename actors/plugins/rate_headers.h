/* The x-ratelimit-* headers in OpenAI's form: the limit that is nearest, of requests and of tokens. */
#pragma once

#include "limits/bucket.h"
#include "proto/env.h"

enum { RATE_HEADERS_MAX = 7, RATE_HEADER_TEXT_MAX = 32 }; /* a number fits, and a time */

struct rate_headers {
    size_t n;
    struct env_header items[RATE_HEADERS_MAX];
    char texts[RATE_HEADERS_MAX][RATE_HEADER_TEXT_MAX];
};

/* A time as these headers spell it: "0s", "120ms", "8.64s", "6m0s", "1h0m30.5s"; rounded up to a millisecond.
 * Returns its length, not terminated. */
size_t rate_duration_text(uint64_t us, char out[RATE_HEADER_TEXT_MAX]);

/* Appends one that tells clients not to try again, it would never pass. OpenAI's SDKs heed it. */
void rate_headers_add_never(struct rate_headers *headers);

/* Appends three: of requests, or of tokens. */
void rate_headers_add(struct rate_headers *headers, bool is_tokens, const struct bucket_level *level);
