#include "gateway/cell.h"

#include "core/log.h"
#include "edge/edge.h"

#include <stdio.h>
#include <stdlib.h>

void
gateway_warn(const config_t *config)
{
    const struct config_problems *problems = config_problems(config);
    for (size_t i = 0; i < problems->n; i++) {
        dyn_log(DYN_LOG_WARN, "config.warning", problems->items[i].text,
                DYN_LOG_UINT("line", problems->items[i].mark.line),
                DYN_LOG_UINT("column", problems->items[i].mark.column));
    }
}

static int
add_providers(dynabus_t *gateway, struct gateway_cell *cell, struct dyn_err *err)
{
    size_t n = upstreams_count(gateway->upstreams);
    struct http_client_options client_options = {0};
    http_client_t *client = http_client_new(cell->loop, &client_options, err);
    if (client == NULL) {
        return -1;
    }
    cell->targets = dyn_zalloc(n * sizeof *cell->targets);
    for (size_t i = 0; i < n; i++) {
        struct provider_options options = {
            .target = upstreams_target(gateway->upstreams, i),
            .shared = upstreams_shared(gateway->upstreams, i),
            .client = client,
        };
        cell->targets[i] = upstreams_route_target(gateway->upstreams, i);
        cell->targets[i].addr =
            bus_add_actor(gateway->bus, cell->loop, &provider_actor_ops, provider_new(&options));
    }
    http_client_unref(&client);
    return 0;
}

static bus_addr_t
add_router(dynabus_t *gateway, const struct gateway_cell *cell, bus_addr_t events)
{
    struct router_options options = {
        .config = config_values(gateway->config, &router_config_part),
        .shared = &gateway->shared,
        .targets = cell->targets,
        .n_targets = upstreams_count(gateway->upstreams),
        .events = events,
    };
    return bus_add_actor(gateway->bus, cell->loop, &router_actor_ops, router_new(&options));
}

static int
add_cell(dynabus_t *gateway, unsigned number, bus_addr_t events, struct dyn_err *err)
{
    struct gateway_cell *cell = &gateway->cells[number];
    char name[16];
    (void)snprintf(name, sizeof name, "cell-%u", number);
    cell->loop = bus_add_loop(gateway->bus, name);
    if (add_providers(gateway, cell, err) != 0) {
        return -1;
    }
    bus_addr_t router = add_router(gateway, cell, events);
    cell->caller = caller_new(router, gateway->shared.admission.master_key);
    (void)bus_add_actor(gateway->bus, cell->loop, &caller_actor_ops, cell->caller);
    if (gateway->edges != NULL) {
        struct edge_options edge = {
            .config = config_values(gateway->config, &edge_config_part),
            .router = router,
            .group = gateway->edges,
            .cell = number,
            .dev = gateway->options.dev,
        };
        (void)bus_add_actor(gateway->bus, cell->loop, &edge_actor_ops, edge_new(&edge));
    }
    return 0;
}

int
gateway_add_cells(dynabus_t *gateway, bus_addr_t events, struct dyn_err *err)
{
    for (unsigned i = 0; i < gateway->n_cells; i++) {
        if (add_cell(gateway, i, events, err) != 0) {
            return -1;
        }
    }
    return 0;
}

/* ---- HTTP ---- */

struct dyn_slice
gateway_configured_listen(const config_t *config)
{
    const struct edge_config *edge = config_values(config, &edge_config_part);
    return edge->listen_is_set ? edge->listen : dyn_slice(NULL, 0);
}

/* The same address with the port one higher; false at the end of all ports. */
static bool
next_port(char *listen, size_t size)
{
    char *colon = strrchr(listen, ':');
    unsigned long port = colon != NULL ? strtoul(colon + 1, NULL, 10) : 0;
    if (port == 0 || port >= UINT16_MAX) {
        return false;
    }
    (void)snprintf(colon + 1, size - (size_t)(colon + 1 - listen), "%lu", port + 1);
    return true;
}

static int
open_listeners(dynabus_t *gateway, struct dyn_err *err)
{
    for (unsigned tries = 0;; tries++) {
        if (edge_group_listen(gateway->edges, dyn_slice_str(gateway->listen), gateway->options.reuse_port,
                              err) == 0) {
            return 0;
        }
        char taken[sizeof gateway->listen];
        memcpy(taken, gateway->listen, sizeof taken);
        if (err->code != DYN_E_FULL || tries >= gateway->options.port_tries ||
            !next_port(gateway->listen, sizeof gateway->listen)) {
            return -1;
        }
        dyn_log(DYN_LOG_WARN, "gateway.port", "the port is in use; trying the next one",
                DYN_LOG_STR("taken", taken), DYN_LOG_STR("next", gateway->listen));
    }
}

int
gateway_open_edges(dynabus_t *gateway, struct dyn_err *err)
{
    if (!gateway->options.serve_http) {
        return 0;
    }
    gateway->edges = edge_group_new(gateway->n_cells);
    if (open_listeners(gateway, err) != 0) {
        return -1;
    }
    char url[LISTEN_URL_SIZE];
    listen_url(edge_group_address(gateway->edges), url);
    gateway->url = dyn_strdup(url);
    return 0;
}

void
gateway_close_edges(dynabus_t *gateway)
{
    edge_group_free(&gateway->edges);
}
