#include "gateway/cell.h"

#include "actors/metrics/metrics.h"
#include "actors/providers/worker.h"
#include "core/log.h"
#include "edge/edge.h"
#include "gateway/measures.h"
#include "gateway/probe.h"
#include "gateway/version.h"
#include "gateway/voters.h"

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

/* ---- roles ---- */

bool
gateway_is_edge(const dynabus_t *gateway)
{
    return gateway_has(gateway->roles, GATEWAY_ROLE_EDGE);
}

/* Metrics are asked for over HTTP, and any other process answers probes where it is told to listen. */
bool
gateway_serves_http(const dynabus_t *gateway)
{
    bool wants_http = gateway_is_edge(gateway) || gateway_has(gateway->roles, GATEWAY_ROLE_METRICS) ||
                      gateway->options.listen != NULL;
    return gateway->options.serve_http && wants_http;
}

/* Also where nothing is routed: it admits who asks for the metrics. */
bool
gateway_has_router(const dynabus_t *gateway)
{
    bool is_metrics_alone = gateway_has(gateway->roles, GATEWAY_ROLE_METRICS) && !gateway_is_edge(gateway);
    return gateway_has(gateway->roles, GATEWAY_ROLE_ROUTER) || is_metrics_alone;
}

/* ---- what works on requests: providers, router ---- */

static int
add_keeper(dynabus_t *gateway, struct gateway_cell *cell, struct dyn_err *err)
{
    struct keeper_options options = {
        .edition = gateway->boot,
        .calls = gateway_has(gateway->roles, GATEWAY_ROLE_PROVIDER),
        .events = gateway->common.publisher,
        .orphans = gateway->network.n_routers > 0 ? &gateway->orphans : NULL,
    };
    struct http_client_options client = {0};
    if (options.calls) {
        options.client = http_client_new(cell->loop, &client, err);
        if (options.client == NULL) {
            return -1;
        }
    }
    cell->keeper = keeper_new(&options);
    http_client_unref(&options.client);
    (void)bus_add_actor(gateway->bus, cell->loop, &keeper_actor_ops, cell->keeper);
    return 0;
}

static void
add_plugins(dynabus_t *gateway, struct gateway_cell *cell, unsigned number)
{
    struct plugin_actor_options options = {
        .set = gateway->boot->plugins, .host = &gateway->plugin_host, .cell = number, .here = &cell->here};
    cell->plugins_self = plugin_actor_new(&options);
    cell->plugins = bus_add_actor(gateway->bus, cell->loop, &plugin_actor_ops, cell->plugins_self);
}

static bus_addr_t
add_router(dynabus_t *gateway, struct gateway_cell *cell, unsigned number)
{
    const struct gateway_config *config = config_values(gateway->config, &gateway_config_part);
    const struct gateway_common *common = &gateway->common;
    struct router_options options = {
        .plan = gateway->boot->plan, /* the keeper tells it who is there */
        .shared = &gateway->shared,
        .counters = &cell->router_counters,
        .counts = gateway->requests != NULL ? request_metrics_cell(gateway->requests, number) : NULL,
        .events = common->publisher != 0 ? common->publisher : common->hooks,
        .plugins = cell->plugins,
        .here = &cell->here,
        .ledger = common->ledger,
        .metrics = common->metrics,
        .keys = common->keys,
        .logs = common->desk,
        .only_admits = !gateway_has(gateway->roles, GATEWAY_ROLE_ROUTER),
        .accepts_workers = gateway->network.listens,
        .accepts_new_targets = config->bus.workers.accept || gateway->options.dev,
        .worker_wait_ms = (uint32_t)config->bus.workers.wait_ms,
    };
    cell->router_self = router_new(&options);
    keeper_serves(cell->keeper, cell->router_self, NULL);
    return bus_add_actor(gateway->bus, cell->loop, &router_actor_ops, cell->router_self);
}

static int
add_workings(dynabus_t *gateway, unsigned number, struct dyn_err *err)
{
    struct gateway_cell *cell = &gateway->cells[number];
    bool calls = gateway_has(gateway->roles, GATEWAY_ROLE_PROVIDER);
    char name[16];
    (void)snprintf(name, sizeof name, "cell-%u", number);
    cell->loop = bus_add_loop(gateway->bus, name);
    if ((calls || gateway_has_router(gateway)) && add_keeper(gateway, cell, err) != 0) {
        return -1;
    }
    if (gateway->boot->plugins != NULL) {
        add_plugins(gateway, cell, number);
    }
    if (gateway_has_router(gateway)) {
        cell->router = add_router(gateway, cell, number);
    }
    return 0;
}

/* ---- the way in over the bus ---- */

/* Beside an edge the ports are on the loop that carries no requests: HTTP stays on its core. Without one the
 * bus is all there is, and a hop between loops would be paid by each request. */
static void
add_ports(dynabus_t *gateway)
{
    bus_addr_t routers[DYNABUS_CELLS_MAX];
    for (unsigned i = 0; i < gateway->n_cells; i++) {
        routers[i] = gateway->cells[i].router;
    }
    bus_loop_t *loop = gateway_is_edge(gateway) ? gateway->common.loop : gateway->cells[0].loop;
    const struct edge_config *edge = config_values(gateway->config, &edge_config_part);
    struct ports_options options = {
        .process = &gateway->network.process,
        .base = gateway->network.base,
        .clients = true,
        .workers = true,
        .routers = routers,
        .n_routers = gateway->n_cells,
        .publisher = gateway->common.publisher,
        .journal = gateway->common.ledger,
        .reloader = gateway->common.reloader,
        .admission = &gateway->shared.admission,
        .counters = &gateway->ports_counters,
        .request_body_max = (size_t)edge->max_request_bytes,
    };
    (void)bus_add_actor(gateway->bus, loop, &ports_actor_ops, ports_new(&options));
}

/* ---- who asks, and who serves others: they drain first ---- */

static bus_addr_t
add_worker(dynabus_t *gateway, struct gateway_cell *cell, unsigned number)
{
    struct worker_options options = {
        .process = &gateway->network.process,
        .resolver = gateway->network.resolver,
        .routers = gateway->network.routers,
        .n_routers = gateway->network.n_routers,
        .reloader = gateway->common.reloader,
        .cell = number,
    }; /* the keeper tells it what it serves */
    void *worker = worker_new(&options);
    keeper_serves(cell->keeper, NULL, worker);
    return bus_add_actor(gateway->bus, cell->loop, &worker_actor_ops, worker);
}

static bus_addr_t
add_owner(dynabus_t *gateway, struct gateway_cell *cell)
{
    const struct router_config *router = config_values(gateway->config, &router_config_part);
    struct owner_options options = {
        .process = &gateway->network.process,
        .resolver = gateway->network.resolver,
        .routers = gateway->network.routers,
        .n_routers = gateway->network.n_routers,
        .reloader = gateway->common.reloader,
        .request_timeout_ms = router->request_timeout_ms,
        .counters = &cell->owner_counters,
    };
    cell->owner_self = owner_new(&options);
    return bus_add_actor(gateway->bus, cell->loop, &owner_actor_ops, cell->owner_self);
}

static void
add_plugin_link(dynabus_t *gateway, struct gateway_cell *cell, unsigned number)
{
    struct plugin_link_options options = {
        .process = &gateway->network.process,
        .resolver = gateway->network.resolver,
        .routers = gateway->network.routers,
        .n_routers = gateway->network.n_routers,
        .plugins = cell->plugins,
        .reloader = gateway->common.reloader,
        .set = gateway->boot->plugins,
        .cell = number,
    };
    cell->plugin_link = plugin_link_new(&options);
    (void)bus_add_actor(gateway->bus, cell->loop, &plugin_link_ops, cell->plugin_link);
}

void
gateway_headers_init(struct gateway_headers *headers, const struct gateway_edition *edition)
{
    const struct router_config *router = config_values(edition->config, &router_config_part);
    const struct dyn_slice *names;
    arena_init(&headers->arena, NULL, 0);
    size_t n = route_config_headers(router, &headers->arena, &names);
    headers->n = n < ENV_HEADERS_MAX ? n : ENV_HEADERS_MAX;
    for (size_t i = 0; i < headers->n; i++) {
        headers->names[i] = names[i];
    }
    headers->n += gateway_plugin_headers(edition->plugins, headers->names, headers->n,
                                         headers->names + headers->n, ENV_HEADERS_MAX - headers->n);
}

void
gateway_headers_fini(struct gateway_headers *headers)
{
    arena_fini(&headers->arena);
}

/* The program that has this gateway needs no key; routers elsewhere know the master key only. */
static struct dyn_slice
own_credential(const dynabus_t *gateway)
{
    const struct admission *admission = &gateway->shared.admission;
    bool is_asked_here = gateway_has(gateway->roles, GATEWAY_ROLE_ROUTER) && !admission->open;
    return is_asked_here ? admission->own_key : admission->master_key;
}

static void
add_askers(dynabus_t *gateway, unsigned number)
{
    struct gateway_cell *cell = &gateway->cells[number];
    bool is_joining = gateway->network.n_routers > 0;
    if (is_joining && gateway_has(gateway->roles, GATEWAY_ROLE_PROVIDER)) {
        cell->uplink = add_worker(gateway, cell, number);
    }
    if (is_joining && cell->plugins != 0) {
        add_plugin_link(gateway, cell, number);
    }
    if (is_joining && gateway_is_edge(gateway)) {
        cell->router = cell->uplink = add_owner(gateway, cell);
    }
    if (gateway_is_edge(gateway) || gateway_has(gateway->roles, GATEWAY_ROLE_ROUTER)) {
        cell->caller = caller_new(cell->router, own_credential(gateway));
        (void)bus_add_actor(gateway->bus, cell->loop, &caller_actor_ops, cell->caller);
    } else if (gateway->edges != NULL) {
        struct probe_options probe = {
            .process = &gateway->network.process,
            .joins = gateway_has(gateway->roles, GATEWAY_ROLE_PROVIDER) ||
                     gateway_has(gateway->roles, GATEWAY_ROLE_PLUGIN),
            .router = cell->router,
        };
        cell->router = bus_add_actor(gateway->bus, cell->loop, &probe_actor_ops, probe_new(&probe));
    }
    if (gateway->edges != NULL) {
        struct gateway_headers headers;
        gateway_headers_init(&headers, gateway->boot);
        struct edge_options edge = {
            .config = config_values(gateway->config, &edge_config_part),
            .router = cell->router,
            .group = gateway->edges,
            .cell = number,
            .dev = gateway->options.dev,
            .route_headers = headers.names,
            .n_route_headers = headers.n,
            .probes_only = !gateway_is_edge(gateway),
        };
        cell->edge_self = edge_new(&edge);
        (void)bus_add_actor(gateway->bus, cell->loop, &edge_actor_ops, cell->edge_self);
        gateway_headers_fini(&headers);
    }
}

/* This process's numbers for whoever counts the fleet: to the routers, or published at once. */
static void
add_teller(dynabus_t *gateway)
{
    struct gateway_common *common = &gateway->common;
    bus_addr_t uplink = gateway->cells[0].uplink;
    bus_addr_t to = common->publisher != 0 ? common->publisher : uplink != 0 ? uplink : common->ledger_link;
    if (to == 0) {
        return;
    }
    struct node_source sources[] = {
        metrics_of_process(&gateway->network.process),
        metrics_of_publisher(&gateway->publisher_counts),
        gateway_measures(gateway),
    };
    struct teller_options options = {
        .process = &gateway->network.process,
        .sources = sources,
        .n_sources = DYN_ARRAY_LEN(sources),
        .version = gateway_version,
        .to = to,
    };
    (void)bus_add_actor(gateway->bus, common->loop, &metrics_teller_actor_ops, metrics_teller_new(&options));
}

int
gateway_add_cells(dynabus_t *gateway, struct dyn_err *err)
{
    for (unsigned i = 0; i < gateway->n_cells; i++) {
        if (add_workings(gateway, i, err) != 0) {
            return -1;
        }
    }
    if (gateway->network.listens) {
        add_ports(gateway);
    }
    for (unsigned i = 0; i < gateway->n_cells; i++) {
        add_askers(gateway, i);
    }
    add_teller(gateway);
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
    if (!gateway_serves_http(gateway)) {
        return 0;
    }
    gateway->edges = edge_group_new(gateway->n_cells);
    const struct edge_config *config = config_values(gateway->config, &edge_config_part);
    if (!gateway->options.dev) { /* no page shall spend the keys of who tries it out */
        edge_cors_init(&gateway->edges->cors, &config->cors_origins, gateway->env.cors_origins);
    }
    if (edge_proxies_init(&gateway->edges->proxies, &config->trusted_proxies, config->trusted_proxies_is_set,
                          gateway->env.trusted_proxies, err) != 0) {
        return -1;
    }
    if (gateway_check_origins(&gateway->env, &gateway->edges->cors, err) != 0 ||
        edge_group_secure(gateway->edges, &config->tls, err) != 0 || open_listeners(gateway, err) != 0) {
        return -1;
    }
    char url[LISTEN_URL_SIZE];
    edge_group_url(gateway->edges, url);
    gateway->url = dyn_strdup(url);
    return 0;
}

void
gateway_close_edges(dynabus_t *gateway)
{
    edge_group_free(&gateway->edges);
}
