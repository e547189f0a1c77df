/* The router's share of the configuration file. */
#pragma once

#include "core/config.h"

enum route_mode { ROUTE_MODE_SINGLE };

struct route_strategy_config {
    struct config_mark mark;
    int mode; /* enum route_mode */
};

struct router_config {
    struct route_strategy_config strategy;
    uint64_t request_timeout_ms;
    int64_t max_attempts;
};

extern const struct config_part router_config_part;
