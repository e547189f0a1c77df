/* The gateway object behind dynabus.h, for the files of this folder: what it is made of and in which
 * order it goes away. */
#pragma once

#include "bus/bus.h"
#include "dynabus.h"
#include "gateway/caller.h"
#include "gateway/gateway_config.h"
#include "gateway/hooks.h"
#include "gateway/parts.h"
#include "gateway/settings.h"
#include "gateway/upstreams.h"
#include "router/router.h"

#include <pthread.h>

struct gateway_cell {
    bus_loop_t *loop;
    struct route_target *targets; /* with the addresses of this cell's providers */
    caller_t *caller;
};

struct dynabus {
    struct dynabus_options options; /* strings are not kept */
    config_t *config;
    struct gateway_env env;
    char listen[256]; /* "" without HTTP */
    const char *auth;

    bus_t *bus;
    struct router_shared shared;
    hooks_t *hooks;
    struct gateway_cell *cells;
    unsigned n_cells;
    atomic_uint next_cell; /* that dynabus_route() takes */
    pthread_rwlock_t users; /* read: a call of the library's user is under way; write: closing is set */
    bool closing;           /* under `users` */

    upstreams_t *upstreams;   /* targets and what their actors share */
    struct edge_group *edges; /* listeners; NULL without HTTP */
    char *url;
    char *target_names;
};
