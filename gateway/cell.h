/* A cell: one loop with everything that a request needs, from accept to answer. */
#pragma once

#include "gateway/gateway.h"

/* The listen address of the configuration; absent when it says nothing. */
struct dyn_slice gateway_configured_listen(const config_t *config);
/* Logs the configuration's warnings. */
void gateway_warn(const config_t *config);

/* Opens the listeners, from which nothing is accepted before the bus starts, and works out gateway->url.
 * Does nothing without HTTP. */
int gateway_open_edges(dynabus_t *gateway, struct dyn_err *err);
void gateway_close_edges(dynabus_t *gateway);
/* Adds the loops and actors of all cells to the bus, and the ports between what they drain before and
 * after. */
int gateway_add_cells(dynabus_t *gateway, struct dyn_err *err);

/* The headers of clients that routers and plugins look at: as many as a REQUEST may carry. */
struct gateway_headers {
    struct dyn_slice names[ENV_HEADERS_MAX];
    size_t           n;
    struct arena     arena; /* what the names lie in */
};
void gateway_headers_init(struct gateway_headers *headers, const struct gateway_edition *edition);
void gateway_headers_fini(struct gateway_headers *headers);

/* What the roles of the process come to. */
bool gateway_serves_http(const dynabus_t *gateway);
bool gateway_has_router(const dynabus_t *gateway);
bool gateway_is_edge(const dynabus_t *gateway);
