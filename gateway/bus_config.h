/* Keys of the section `bus`: where the bus of a router is, who may speak on it, and its limits. */
#pragma once

#include "core/config.h"

enum gateway_bus_local { GATEWAY_BUS_LOCAL, GATEWAY_BUS_INPROC };

struct gateway_curve_config {
    struct dyn_slice cert;
    struct dyn_slice allowed;
    struct config_strings servers;
};

struct gateway_workers_config {
    bool accept;
    uint64_t wait_ms;
    uint64_t orphan_time_ms;
    uint64_t orphan_memory;
};

struct gateway_bus_config {
    struct config_mark mark;
    int local; /* enum gateway_bus_local */
    struct dyn_slice listen;
    struct config_strings routers;
    bool insecure;
    struct gateway_curve_config curve;
    struct gateway_workers_config workers;
    uint64_t replay;
};

extern const struct config_section gateway_bus_section;
/* Endpoints that make no sense. */
void gateway_bus_check(struct gateway_bus_config *bus, struct config_problems *problems);
