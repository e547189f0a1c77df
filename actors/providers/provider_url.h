/* URLs of upstreams: which API root a target has, and whether a request to it takes a proxy. Pure. */
#pragma once

#include "core/arena.h"
#include "core/err.h"

/* The API root to use, without a slash at its end, in the arena. `given` is what the operator wrote;
 * absent or empty: the default root. A URL without a path inherits the version segment that ends the
 * default root ("/v1"); one with a path is taken as it is. -1 with a sentence when it cannot be a root:
 * scheme other than http and https, no host, a query, a fragment, a character no URL has. `default_root`
 * may be NULL. */
int provider_url_root(struct dyn_slice given, const char *default_root, struct arena *arena,
                      struct dyn_slice *root, struct dyn_err *err);

/* "host" or "host:port" of a URL that provider_url_root accepted: what may stand in a log. */
struct dyn_slice provider_url_authority(struct dyn_slice url);
/* The host alone, an IPv6 address without its brackets. */
struct dyn_slice provider_url_host(struct dyn_slice url);
bool provider_url_is_https(struct dyn_slice url);
/* "localhost", 127.0.0.0/8, ::1: never through a proxy that the environment names. */
bool provider_url_is_loopback(struct dyn_slice url);
