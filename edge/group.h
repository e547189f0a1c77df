/* What the edges of all cells share: listening sockets, how busy each cell is, counters. Made before the
 * loops run, freed after they have ended. */
#pragma once

#include "bus/loop.h"
#include "edge/cors.h"
#include "edge/proxies.h"
#include "edge/edge_config.h"
#include "edge/http_server.h"
#include "edge/listen.h"

#include <stdatomic.h>

struct edge_acceptor;

struct edge_cell {
    atomic_size_t  connections; /* open; kept by the cell's HTTP server */
    atomic_size_t  on_the_way;  /* handed over by another cell and not taken yet */
    atomic_bool    accepts;     /* lives and does not drain */
    bus_loop_t    *loop;        /* set before any loop turns */
    struct edge_acceptor *acceptor; /* only on its loop; NULL when it is gone */
};

/* Counts are for reports, not for decisions. */
struct edge_counters {
    atomic_uint_fast64_t accepted;
    atomic_uint_fast64_t handed_over;
    atomic_uint_fast64_t refused_connections; /* at the limit, or out of descriptors */
    atomic_uint_fast64_t requests;
    atomic_uint_fast64_t refused_requests;  /* bytes that could not be read as one */
    atomic_uint_fast64_t clients_gone;      /* before their answer was complete */
    atomic_uint_fast64_t late_envelopes;    /* about no request that is open */
    atomic_uint_fast64_t foreign_envelopes; /* from somebody who is not our router */
};

struct edge_group {
    struct listeners     listeners; /* empty: nothing listens */
    unsigned             n_cells;
    struct edge_cell    *cells;
    struct edge_counters counters;
    struct http_bodies   bodies; /* of all requests of the process */
    http_tls_t          *tls;    /* NULL: plain HTTP */
    struct edge_cors     cors;   /* nobody, unless edge_cors_init() was called */
    struct edge_proxies  proxies; /* nobody, unless edge_proxies_init() was called */
};

struct edge_group *edge_group_new(unsigned n_cells) __attribute__((returns_nonnull));
/* See listen_open(). */
int edge_group_listen(struct edge_group *group, struct dyn_slice address, bool share, struct dyn_err *err);
/* TLS as the configuration says, before any cell starts; nothing without a certificate. */
int edge_group_secure(struct edge_group *group, const struct edge_tls_config *config, struct dyn_err *err);
/* Reads the files of TLS again, any thread. -1 with err: the old ones stay in use. */
int edge_group_reload(struct edge_group *group, struct dyn_err *err);
/* "127.0.0.1:8080", "[::]:8080"; empty when nothing listens. */
const char *edge_group_address(const struct edge_group *group);
/* "https://127.0.0.1:8080", see listen_url(). */
void edge_group_url(const struct edge_group *group, char out[LISTEN_URL_SIZE]);
void edge_group_free(struct edge_group **group_p);

static inline void
edge_count(atomic_uint_fast64_t *counter)
{
    (void)atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}
