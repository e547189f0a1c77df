#include "gateway/network.h"

#include "core/log.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* The ports of a base endpoint, and how many other bases --dev tries: enough for what one person runs at
 * once. */
enum { PORTS_OF_A_BASE = 3, DEV_BASE_TRIES = 100 };

/* ---- --dev: fixed loopback ports, or the next free ones ---- */

static bool
port_is_free(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int on = 1; /* as libzmq does: what waits out its last packets is free */
    bool is_free = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
                   bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 1) == 0;
    if (fd >= 0) {
        (void)close(fd);
    }
    return is_free;
}

/* A name in the abstract namespace is one process's at a time, so two that start at once do not both find the
 * same ports free. -1: another one has it. */
static int
claim(uint16_t port)
{
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int len = snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "dynabus-dev-%u", port);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&name, size) != 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

static bool
claim_base(struct gateway_network *network, uint16_t base)
{
    int fd = claim(base);
    if (fd < 0) {
        return false;
    }
    for (unsigned i = 0; i < PORTS_OF_A_BASE; i++) {
        if (!port_is_free((uint16_t)(base + i))) {
            (void)close(fd);
            return false;
        }
    }
    network->dev_claim = fd;
    return true;
}

static int
listen_for_dev(struct gateway_network *network, struct dyn_err *err)
{
    for (unsigned i = 0; i < DEV_BASE_TRIES; i++) {
        uint16_t base = (uint16_t)(BUS_PORT_DEFAULT + i * PORTS_OF_A_BASE);
        if (claim_base(network, base)) {
            (void)snprintf(network->base.host, sizeof network->base.host, "127.0.0.1");
            network->base.port = base;
            network->listens = true;
            return 0;
        }
    }
    return dyn_err_set(err, DYN_E_FULL, "no three free ports in a row for the bus from %d on",
                       BUS_PORT_DEFAULT);
}

/* ---- what the roles need ---- */

static bool
joins_others(gateway_roles_t roles)
{
    bool has_work = gateway_has(roles, GATEWAY_ROLE_EDGE) || gateway_has(roles, GATEWAY_ROLE_PROVIDER) ||
                    gateway_has(roles, GATEWAY_ROLE_METRICS) || gateway_has(roles, GATEWAY_ROLE_LEDGER) ||
                    gateway_has(roles, GATEWAY_ROLE_PLUGIN);
    return !gateway_has(roles, GATEWAY_ROLE_ROUTER) && has_work;
}

static int
plan_listening(struct gateway_network *network, const struct dynabus_options *options,
               const struct gateway_bus_config *config, gateway_roles_t roles, struct dyn_err *err)
{
    struct dyn_slice listen = options->bus != NULL ? dyn_slice_str(options->bus) : config->listen;
    bool is_whole = gateway_has(roles, GATEWAY_ROLE_EDGE) && gateway_has(roles, GATEWAY_ROLE_PROVIDER);
    if (listen.len > 0) {
        network->listens = true;
        return bus_endpoint_parse(listen, &network->base, err);
    }
    if (options->dev) {
        return listen_for_dev(network, err);
    }
    if (!is_whole) {
        char names[64];
        gateway_roles_text(roles, names, sizeof names);
        return dyn_err_set(
            err, DYN_E_CONFIG,
            "a process that is only %s is reached over the bus alone; say where: `bus.listen` in the "
            "configuration, or --bus tcp://HOST:%d",
            names, BUS_PORT_DEFAULT);
    }
    return 0;
}

static int
plan_joining(struct gateway_network *network, const struct dynabus_options *options,
             const struct gateway_bus_config *config, gateway_roles_t roles, struct dyn_err *err)
{
    size_t n = options->bus != NULL ? 1 : config->routers.n;
    if (n == 0) {
        char names[64];
        gateway_roles_text(roles, names, sizeof names);
        return dyn_err_set(err, DYN_E_CONFIG,
                           "a process that is only %s needs a router; say where one is: `bus.routers` in the "
                           "configuration, or --bus tcp://HOST:%d",
                           names, BUS_PORT_DEFAULT);
    }
    network->routers = dyn_zalloc(n * sizeof *network->routers);
    for (size_t i = 0; i < n; i++) {
        struct bus_endpoint endpoint;
        struct dyn_slice text = options->bus != NULL ? dyn_slice_str(options->bus) : config->routers.items[i];
        if (bus_endpoint_parse(text, &endpoint, err) != 0) {
            return -1;
        }
        char base[BUS_ENDPOINT_MAX];
        bus_endpoint_text(&endpoint, BUS_ENDPOINT_CLIENTS, base);
        network->routers[network->n_routers++] = dyn_strdup(base);
    }
    network->resolver = bus_resolver_new();
    return 0;
}

static const char *
text_or_null(struct dyn_slice text)
{
    return text.len > 0 ? text.data : NULL; /* configured texts are terminated */
}

static int
open_security(struct gateway_network *network, const struct gateway_bus_config *config, struct dyn_err *err)
{
    size_t n = config->curve.servers.n;
    const char **servers = dyn_zalloc((n > 0 ? n : 1) * sizeof *servers);
    for (size_t i = 0; i < n; i++) {
        servers[i] = config->curve.servers.items[i].data;
    }
    struct bus_security_options options = {
        .cert = text_or_null(config->curve.cert),
        .allowed = text_or_null(config->curve.allowed),
        .servers = servers,
        .n_servers = n,
        .insecure = config->insecure,
    };
    network->security = bus_security_new(&options, err);
    free(servers);
    return network->security != NULL ? 0 : -1;
}

int
gateway_network_plan(struct gateway_network *network, const struct dynabus_options *options,
                     const struct gateway_bus_config *config, gateway_roles_t roles, uint64_t config_digest,
                     struct dyn_err *err)
{
    network->dev_claim = -1;
    int rc = 0;
    if (gateway_has(roles, GATEWAY_ROLE_ROUTER)) {
        rc = plan_listening(network, options, config, roles, err);
    } else if (joins_others(roles)) {
        rc = plan_joining(network, options, config, roles, err);
    }
    if (rc != 0 || (!network->listens && network->n_routers == 0)) {
        return rc;
    }
    if (open_security(network, config, err) != 0) {
        return -1;
    }
    bus_process_init(&network->process, network->security);
    atomic_store(&network->process.config_digest, config_digest);
    if (config->insecure) {
        dyn_log(DYN_LOG_WARN, "bus.insecure",
                "bus.insecure is set: who reaches the bus may read and send everything; use bus.curve");
    }
    return 0;
}

bool
gateway_network_is_public(const struct gateway_network *network)
{
    return network->listens && !bus_endpoint_is_local(&network->base);
}

void
gateway_network_fini(struct gateway_network *network)
{
    bus_resolver_free(&network->resolver);
    bus_security_free(&network->security);
    for (size_t i = 0; i < network->n_routers; i++) {
        free((void *)(uintptr_t)network->routers[i]);
    }
    free(network->routers);
    network->routers = NULL;
    network->n_routers = 0;
    if (network->base.port != 0 && network->dev_claim >= 0) {
        (void)close(network->dev_claim);
    }
    network->dev_claim = -1;
}
