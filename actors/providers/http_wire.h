/* A wire is a connection to an upstream that speaks HTTP/1.1 without TLS and without a proxy: libcurl makes
 * it (names, addresses, time-outs), and from then on a request goes out and its answer comes in here. A pool
 * holds the wires to one host and port that nobody uses. Inside the HTTP client only.
 *
 * System calls of a request on a kept wire: one send and one receive. Its descriptor is watched as long as it
 * lives, so a server that closes an idle one is noticed at once, and no poll is needed before it is used. */
#pragma once

#include "actors/providers/http_curl.h"

/* The pool of that host and port, with one reference more. */
http_pool_t *http_pool_get(http_client_t *client, const char *authority) __attribute__((returns_nonnull));
void http_pool_unref(http_pool_t **pool_p);

/* A kept wire for the call, and its request sent. False: there is none. The call may be over on return. */
bool http_wire_use_kept(http_call_t *call);
/* The same on a new connection; the descriptor is taken. */
void http_wire_use_new(http_call_t *call, int fd);
/* The call leaves its wire: kept when the answer was whole and the server keeps it, closed otherwise. */
void http_wire_leave(http_call_t *call);
/* Closes those that nobody used for so long. */
void http_wires_sweep(http_client_t *client, unsigned age_s);
/* Whether all of the request is sent. */
bool http_wire_has_sent(const http_wire_t *wire);
/* Reads, or leaves in the kernel what comes. */
void http_wire_set_reading(http_wire_t *wire, bool reads);
