/* Proxies that are believed when they say whose request they bring: `X-Forwarded-For` (RFC 7239 names the
 * same as `for=`), or `X-Real-IP`. From anybody else these headers are only text. */
#pragma once

#include "core/config.h"
#include "edge/headers.h"

struct edge_network {
    uint8_t bytes[16]; /* IPv4 as ::ffff:a.b.c.d */
    unsigned bits;
};
struct edge_proxies {
    struct edge_network *networks;
    size_t n;
};

/* "10.0.0.0/8", "::1/128", or an address alone. */
bool edge_network_read(struct dyn_slice text, struct edge_network *network);
/* `configured` (when `is_set`), else the comma list of TRUSTED_PROXIES (`environment`, may be NULL), else
 * loopback. -1 with a sentence: an item of the variable is no network. */
int edge_proxies_init(struct edge_proxies *proxies, const struct config_strings *configured, bool is_set,
                      const char *environment, struct dyn_err *err);
void edge_proxies_fini(struct edge_proxies *proxies);

/* Who sent the request: its connection's peer, or, when that one is trusted, the last address of the header
 * that is not a trusted one's. In the arena where it is not the peer's: "192.0.2.1", "[2001:db8::1]". */
struct dyn_slice edge_proxies_client(const struct edge_proxies *proxies, const struct http_request *request,
                                     const struct edge_headers *headers, struct arena *arena);
