/* The gateway object behind dynabus.h, for the files of this folder: what it is made of and in which
 * order it goes away. */
#pragma once

#include "actors/plugins/answer_cache.h"
#include "actors/plugins/plugin_actor.h"
#include "actors/plugins/plugin_link.h"
#include "bus/bus.h"
#include "bus/publisher.h"
#include "dynabus.h"
#include "edge/owner.h"
#include "gateway/caller.h"
#include "gateway/edition.h"
#include "gateway/gateway_config.h"
#include "gateway/hooks.h"
#include "gateway/keeper.h"
#include "gateway/network.h"
#include "gateway/parts.h"
#include "gateway/refresh.h"
#include "gateway/reload.h"
#include "gateway/roles.h"
#include "gateway/settings.h"
#include "gateway/upstreams.h"
#include "limits/lease.h"
#include "proto/request_metrics.h"
#include "router/key_admin.h"
#include "router/ports.h"
#include "router/router.h"

#include <pthread.h>

struct gateway_cell {
    bus_loop_t *loop;
    keeper_t *keeper; /* of the providers; NULL: nothing is called or routed to here */
    void *plugins_self; /* NULL: no plugins are hosted here */
    bus_addr_t plugins; /* 0: the same */
    struct vote_here here; /* how the router of this cell asks them */
    void *plugin_link;  /* NULL: they are not asked by routers elsewhere */
    void *router_self; /* NULL: there is no router */
    void *owner_self;  /* NULL: there is no owner */
    void *edge_self;   /* NULL: no HTTP */
    bus_addr_t router; /* of this cell, or the owner that stands for routers elsewhere; 0: none */
    bus_addr_t uplink; /* who sends EVENTs to the routers: owner or worker; 0: nobody */
    caller_t *caller;  /* NULL: nobody to ask */
    struct owner_counters owner_counters;
    struct router_counters router_counters;
};

/* Actors that all cells have in common; 0: this process has none. */
struct gateway_common {
    bus_loop_t *loop; /* carries no requests */
    bus_addr_t hooks;
    bus_addr_t publisher;
    bus_addr_t metrics;
    bus_addr_t reloader;
    bus_addr_t keys;
    bus_addr_t ledger; /* who takes questions for it: the journal */
    bus_addr_t ledger_itself;
    bus_addr_t ledger_link; /* the way from it to routers elsewhere */
    bus_addr_t desk; /* who answers operators from it */
};

struct dynabus {
    struct dynabus_options options; /* strings are not kept */
    const config_t *config; /* as it began; what may change meanwhile stands in the edition in force */
    struct gateway_env env;
    char listen[256]; /* "" without HTTP */
    const char *auth;

    gateway_roles_t roles;
    char roles_text[64];
    struct gateway_network network;
    char bus_text[BUS_ENDPOINT_MAX]; /* for people */

    bus_t *bus;
    struct router_shared shared;
    key_ring_t *keys; /* NULL: there are none but the master key */
    guessing_t *guessing;
    char own_key[2 * 32 + 1]; /* of callers in this process, who need no key */
    struct key_admin key_admin; /* until its actor has it */
    bool has_key_store;
    config_t *implied;     /* plugins that hold for keys with limits; NULL: there are no keys */
    bool has_ledgers_keys; /* the store is the ledger's */
    struct answer_counters answers;
    struct lease_counters leases;
    struct plugin_host plugin_host;
    struct ledger_store_gauges store_gauges; /* of the ledger of this process */
    struct gateway_common common;
    struct ports_counters ports_counters;
    struct publisher_counts publisher_counts;
    request_metrics_t *requests; /* counted by the routers; NULL: there are none */
    hooks_t *hooks;
    struct gateway_cell *cells;
    unsigned n_cells;
    atomic_uint next_cell;  /* that dynabus_route() takes */
    pthread_rwlock_t users; /* read: a call of the library's user is under way; write: closing is set */
    bool closing;           /* under `users` */

    struct gateway_edition *boot; /* the first edition */
    struct gateway_reload reload;
    struct gateway_refresh refresh;
    _Atomic(struct gateway_watch *) watch; /* NULL: not running yet; stopped while loops still turn */
    struct provider_orphans orphans;
    struct edge_group *edges; /* listeners; NULL without HTTP */
    char *url;
};

/* Text of any length into what the user gave, without its last line end. */
void gateway_tell_why(char *why, size_t why_size, struct dyn_slice text);
