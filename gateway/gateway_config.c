#include "gateway/gateway_config.h"

#include "dynabus.h"

static const struct config_key reload_keys[] = {
    {.name = "watch",
     .type = CONFIG_BOOL,
     .offset = offsetof(struct gateway_reload_config, watch),
     .default_text = "true",
     .help = "Whether a change of the file is taken up by itself. SIGHUP always does it."},
    {.name = NULL},
};

static const struct config_section reload_section = {
    .keys = reload_keys, .size = sizeof(struct gateway_reload_config), .mark_offset = SIZE_MAX};

static const struct config_key gateway_keys[] = {
    {.name = "apiVersion",
     .type = CONFIG_STRING,
     .offset = offsetof(struct gateway_config, api_version),
     .default_text = "v1",
     .help = "Version of the configuration format. `v1` is the only one."},
    {.name = "bus",
     .type = CONFIG_SECTION,
     .offset = offsetof(struct gateway_config, bus),
     .section = &gateway_bus_section,
     .help = "The message bus."},
    {.name = "cells",
     .type = CONFIG_INT,
     .offset = offsetof(struct gateway_config, cells),
     .default_text = "0",
     .min = 0,
     .max = DYNABUS_CELLS_MAX,
     .help =
         "Loops that carry requests, each with its own edge, router and providers. 0: one per usable core "
         "(the smaller of CPU affinity and cgroup quota), and one in a process without edge."},
    {.name = "drain_timeout",
     .type = CONFIG_DURATION,
     .offset = offsetof(struct gateway_config, drain_timeout_ms),
     .default_text = "15s",
     .min = 0,
     .max = 3600.0 * 1000,
     .help = "After SIGTERM: how long running requests may go on before they are cut off."},
    {.name = "reload",
     .type = CONFIG_SECTION,
     .offset = offsetof(struct gateway_config, reload),
     .section = &reload_section,
     .help = "How a new configuration is taken up."},
    {.name = NULL},
};

static void
check(void *values, struct config_problems *problems)
{
    struct gateway_config *config = values;
    gateway_bus_check(&config->bus, problems);
    if (!dyn_slice_is(config->api_version, "v1")) {
        config_problem_add(problems, config_mark_of(problems, &config->api_version), true,
                           "'apiVersion' is 'v1', the only one that there is; this is read as v1");
    }
}

const struct config_part gateway_config_part = {
    .folder = "gateway",
    .section = {.keys = gateway_keys, .size = sizeof(struct gateway_config), .mark_offset = SIZE_MAX},
    .check = check,
};
