/* Keys of the process as a whole: the bus, the cells, the drain. */
#pragma once

#include "gateway/bus_config.h"

struct gateway_reload_config {
    bool watch; /* the file is read again when it changes; it must have a path */
};

struct gateway_config {
    struct dyn_slice api_version;
    struct gateway_bus_config bus;
    int64_t cells; /* 0: one per usable core */
    uint64_t drain_timeout_ms;
    struct gateway_reload_config reload;
};

extern const struct config_part gateway_config_part;
