#include "gateway/storage.h"

#include "actors/ledger/desk.h"
#include "actors/ledger/journal.h"
#include "actors/ledger/ledger.h"
#include "actors/ledger/ledger_config.h"
#include "actors/ledger/ledger_link.h"
#include "actors/plugins/rate_rules.h"
#include "core/log.h"
#include "gateway/parts.h"

#include <stdlib.h>

static const char *
variable(const char *name)
{
    return getenv(name);
}

static bus_addr_t
add_ledger(dynabus_t *gateway, const struct ledger_config *config, const struct ledger_place *place)
{
    struct ledger_options options = {
        .store = &store_sqlite,
        .dsn = place->dsn,
        .queue_max = (size_t)config->store.buffer,
        .keep_logs_ms = config->store.keep_logs_ms,
        .gauges = &gateway->store_gauges,
        .leases = &gateway->leases,
    };
    dyn_log(DYN_LOG_INFO, "ledger.store", "what must survive is kept here", DYN_LOG_STR("file", place->dsn),
            DYN_LOG_STR("because_of", place->variable != NULL ? place->variable : "store"));
    return bus_add_actor(gateway->bus, gateway->common.loop, &ledger_actor_ops, ledger_new(&options));
}

/* Rows carry who sent them, also where there is no bus to join. */
static const char *
node_of(dynabus_t *gateway)
{
    struct bus_process *process = &gateway->network.process;
    if (process->node[0] == '\0') {
        bus_process_init(process, NULL);
    }
    return process->node;
}

static void
add_journal(dynabus_t *gateway, const struct ledger_config *config, bus_addr_t ledger)
{
    struct journal_options options = {
        .ledger = ledger,
        .bytes_max = (size_t)config->store.buffer,
        .node = node_of(gateway),
        .gauges = &gateway->shared.ledger,
    };
    gateway->common.ledger =
        bus_add_actor(gateway->bus, gateway->common.loop, &journal_actor_ops, journal_new(&options));
    gateway->plugin_host.ledger = gateway->common.ledger;
    gateway->plugin_host.ledger_dropped = &gateway->shared.ledger.dropped_rows;
    gateway->common.desk =
        bus_add_actor(gateway->bus, gateway->common.loop, &desk_actor_ops, desk_new(gateway->common.ledger));
}

int
gateway_place_of(const config_t *config, struct ledger_place *place, struct dyn_err *err)
{
    return ledger_place_find(config_values(config, &ledger_config_part), variable, place, err);
}

int
gateway_find_store(const dynabus_t *gateway, struct ledger_place *place, struct dyn_err *err)
{
    return gateway_place_of(gateway->config, place, err);
}

int
gateway_add_ledger(dynabus_t *gateway, struct dyn_err *err)
{
    const struct ledger_config *config = config_values(gateway->config, &ledger_config_part);
    struct ledger_place place;
    bus_addr_t ledger = 0;
    if (gateway_find_store(gateway, &place, err) != 0) {
        return -1;
    }
    bool has_role = gateway_has(gateway->roles, GATEWAY_ROLE_LEDGER);
    if (place.backend == LEDGER_BACKEND_NONE) {
        bool is_all = gateway->roles == 1u << GATEWAY_ROLE_LEDGER;
        return is_all ? dyn_err_set(err, DYN_E_CONFIG,
                                    "a process that is only ledger needs a store; say where: `store: "
                                    "{backend: sqlite, dsn: PATH}` in the configuration")
                      : 0;
    }
    if (has_role) {
        ledger = gateway->common.ledger_itself = add_ledger(gateway, config, &place);
    }
    if (gateway_has(gateway->roles, GATEWAY_ROLE_ROUTER)) {
        add_journal(gateway, config, ledger);
    }
    return 0;
}

int
gateway_check_store(const config_t *config, struct dyn_err *err)
{
    struct plugin_wanted wanted[PLUGINS_MAX];
    struct ledger_place place;
    size_t n = plugin_config_wanted(config_values(config, &plugin_config_part), NULL, wanted);
    if (ledger_place_find(config_values(config, &ledger_config_part), variable, &place, err) != 0) {
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        const struct rate_config *limits = wanted[i].entry->config.values;
        if (wanted[i].ops != &plugin_rate_limit || limits == NULL || limits->scope != RATE_FLEET) {
            continue;
        }
        if (place.backend == LEDGER_BACKEND_NONE) {
            return dyn_err_set(err, DYN_E_CONFIG,
                               "rate-limit with 'scope: fleet' needs a ledger that lends the limits: say "
                               "where it keeps them with `store: {backend: sqlite, dsn: PATH}`");
        }
        if (wanted[i].place == PLUGIN_PLACE_PLUGIN) {
            return dyn_err_set(err, DYN_E_CONFIG,
                               "rate-limit with 'scope: fleet' works in the process of a router only: not "
                               "with 'place: plugin'");
        }
    }
    return 0;
}

void
gateway_link_ledger(dynabus_t *gateway)
{
    bus_addr_t ledger = gateway->common.ledger_itself;
    if (ledger == 0 || gateway->network.n_routers == 0) {
        return;
    }
    struct ledger_link_options options = {
        .process = &gateway->network.process,
        .resolver = gateway->network.resolver,
        .routers = gateway->network.routers,
        .n_routers = gateway->network.n_routers,
        .ledger = ledger,
        .reloader = gateway->common.reloader,
    };
    gateway->common.ledger_link =
        bus_add_actor(gateway->bus, gateway->common.loop, &ledger_link_ops, ledger_link_new(&options));
}
