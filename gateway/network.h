/* The bus of a process towards others: where it listens or what it connects to, its keys, its name. Worked
 * out of options and configuration before anything runs; outlives the bus. */
#pragma once

#include "bus/links.h"
#include "bus/remote.h"
#include "dynabus.h"
#include "gateway/gateway_config.h"
#include "gateway/roles.h"

struct gateway_network {
    struct bus_process process;
    bus_security_t *security; /* NULL: the bus does not leave the process */
    bus_resolver_t *resolver; /* NULL: connects to nobody */

    bool listens; /* clients, workers and events may come */
    struct bus_endpoint base;

    const char **routers; /* base endpoints to connect to; n_routers 0: none */
    size_t n_routers;

    int dev_claim; /* descriptor that holds the --dev ports' place; -1: none */
};

/* -1 with a sentence when roles and endpoints do not go together, or keys can't be read. `config_digest`
 * goes into READY; 0: there is no configuration. */
int gateway_network_plan(struct gateway_network *network, const struct dynabus_options *options,
                         const struct gateway_bus_config *config, gateway_roles_t roles,
                         uint64_t config_digest, struct dyn_err *err);
/* After the bus is gone. Also of one that was only zeroed. */
void gateway_network_fini(struct gateway_network *network);

/* Everybody on the network could reach the bus's clients port. */
bool gateway_network_is_public(const struct gateway_network *network);
