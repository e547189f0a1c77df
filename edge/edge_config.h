/* The edge's share of the configuration file. */
#pragma once

#include "core/config.h"

struct edge_timeouts {
    uint64_t head_ms;
    uint64_t body_ms;
    uint64_t body_total_ms;
    uint64_t idle_ms;
    uint64_t write_ms;
};

enum edge_tls_version { EDGE_TLS_1_2, EDGE_TLS_1_3 };

struct edge_tls_config {
    struct config_mark mark;
    struct dyn_slice   cert; /* absent: plain HTTP */
    struct dyn_slice   key;
    struct dyn_slice   client_ca;
    int                min_version; /* enum edge_tls_version */
};

struct edge_config {
    struct dyn_slice     listen; /* see listen.h */
    bool                 listen_is_set;
    uint64_t             max_request_bytes;
    uint64_t             max_header_bytes;
    uint64_t             max_body_memory;
    int64_t              max_connections; /* of the process */
    uint64_t             sse_keepalive_ms;
    struct edge_timeouts client_timeouts;
    struct edge_tls_config tls;
    struct config_strings cors_origins;
    struct config_strings trusted_proxies; /* networks */
    bool                  trusted_proxies_is_set;
};

extern const struct config_part edge_config_part;
