/* What an upstream's failure means to our caller: which error of ours a status or a broken call is, and
 * what of the provider's own words may be read outside. Pure. */
#pragma once

#include "actors/providers/http_client.h"
#include "proto/err.h"

#include "core/arena.h"
#include "core/blackout.h"

/* Statuses other than 2xx; 3xx is an error, since redirects are not followed. */
enum err_code provider_error_of_status(unsigned status);
/* Calls that did not end well. `is_stream`: an event stream had begun. */
enum err_code provider_error_of_call(enum http_call_end end, bool is_stream);
/* Whether the caller may read what the provider wrote: only where the caller's own request is wrong. */
bool provider_error_may_show(enum err_code code);

/* The longest text of a provider that is passed on, in code points. */
enum { PROVIDER_TEXT_MAX = 2048 };

/* What an error body says. All slices are in the arena, plain text; absent when not said. */
struct provider_error {
    struct dyn_slice message;
    struct dyn_slice type;
    struct dyn_slice code;
    struct dyn_slice param;
    unsigned status; /* a number in `code` that is an HTTP error status; else 0 */
};

/* Reads the envelopes that providers use: {"error":{"message"}}, {"error":"..."}, {"error":{"error"}},
 * {"detail": text, list or object}, {"message"}, {"errors":[{"message"}]}, any of them in an array.
 * false when it is none of them: such a body (HTML of a proxy) is never passed on. */
bool provider_error_read(struct dyn_slice body, struct arena *arena, struct provider_error *error);
/* Our error for what an error inside an answer of status 200 says. */
enum err_code provider_error_of_body(const struct provider_error *error);

/* The text as it may be shown: trimmed, no control characters, each of the secrets replaced, and what looks
 * like one (`shapes`; NULL: nothing does), at most PROVIDER_TEXT_MAX code points of the text. In the arena.
 * Secrets under PROVIDER_SECRET_MIN bytes are no secrets. */
struct dyn_slice provider_text_clean(struct dyn_slice text, const struct dyn_slice *secrets, size_t n_secrets,
                                     const blackout_t *shapes, struct arena *arena);
enum { PROVIDER_SECRET_MIN = 6 };
/* Whether one of the secrets stands in the text. */
bool provider_text_has_secret(struct dyn_slice text, const struct dyn_slice *secrets, size_t n_secrets);
