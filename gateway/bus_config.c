#include "gateway/bus_config.h"

#include "bus/endpoint.h"

/* The names are the order of enum gateway_bus_local. */
static const char *const bus_local_names[] = {"local", "inproc", NULL};

static const struct config_key curve_keys[] = {
    {.name = "cert",
     .type = CONFIG_STRING,
     .offset = offsetof(struct gateway_curve_config, cert),
     .help = "Certificate of this process (`dynabus keys new` makes one): the public file, with NAME_secret "
             "beside "
             "it. All processes of a role share one."},
    {.name = "allowed",
     .type = CONFIG_STRING,
     .offset = offsetof(struct gateway_curve_config, allowed),
     .help = "Folder of the public certificates that a router lets in, each with its role. Read again on "
             "SIGHUP."},
    {.name = "servers",
     .type = CONFIG_STRING_LIST,
     .offset = offsetof(struct gateway_curve_config, servers),
     .help =
         "Public keys of routers that are trusted: files, or the key itself (40 characters of Z85). Several "
         "while keys are rotated."},
    {.name = NULL},
};

static const struct config_section curve_section = {
    .keys = curve_keys,
    .size = sizeof(struct gateway_curve_config),
    .mark_offset = SIZE_MAX,
};

static const struct config_key workers_keys[] = {
    {.name = "accept",
     .type = CONFIG_BOOL,
     .offset = offsetof(struct gateway_workers_config, accept),
     .default_text = "false",
     .help = "Whether a worker may bring a target that `targets` does not name. It is asked only for models "
             "that no "
             "configured target serves."},
    {.name = "wait",
     .type = CONFIG_DURATION,
     .offset = offsetof(struct gateway_workers_config, wait_ms),
     .default_text = "2s",
     .min = 0,
     .max = 60.0 * 1000,
     .help = "How long a request waits for a worker of its target when none is there."},
    {.name = "orphan_time",
     .type = CONFIG_DURATION,
     .offset = offsetof(struct gateway_workers_config, orphan_time_ms),
     .default_text = "10s",
     .min = 0,
     .max = 600.0 * 1000,
     .help = "How long a provider goes on with a call whose router was lost, so that another router can take "
             "it over."},
    {.name = "orphan_memory",
     .type = CONFIG_SIZE,
     .offset = offsetof(struct gateway_workers_config, orphan_memory),
     .default_text = "64MiB",
     .help = "Bytes of answers that such calls may hold, all together."},
    {.name = NULL},
};

static const struct config_section workers_section = {
    .keys = workers_keys,
    .size = sizeof(struct gateway_workers_config),
    .mark_offset = SIZE_MAX,
};

static const struct config_key bus_keys[] = {
    {.name = "local",
     .type = CONFIG_ENUM,
     .offset = offsetof(struct gateway_bus_config, local),
     .default_text = "local",
     .names = bus_local_names,
     .help =
         "How actors of one loop talk: `local` passes pointers, `inproc` sends the same envelopes encoded "
         "over ZeroMQ. The second exists to test that both behave alike."},
    {.name = "listen",
     .type = CONFIG_STRING,
     .offset = offsetof(struct gateway_bus_config, listen),
     .help = "Where a router's bus is: `tcp://HOST:PORT` takes clients at PORT, workers at PORT+1 and "
             "publishes events "
             "at PORT+2; `ipc:///path` does the same with files. Not set: the bus stays inside the process."},
    {.name = "routers",
     .type = CONFIG_STRING_LIST,
     .offset = offsetof(struct gateway_bus_config, routers),
     .help =
         "What routers listen on, for processes without one. A name that stands for several addresses means "
         "several routers; it is looked up again every few seconds."},
    {.name = "insecure",
     .type = CONFIG_BOOL,
     .offset = offsetof(struct gateway_bus_config, insecure),
     .default_text = "false",
     .help =
         "Lets the bus leave this host without encryption or keys. Everybody who reaches it may be a worker "
         "then. Warns at every start."},
    {.name = "curve",
     .type = CONFIG_SECTION,
     .offset = offsetof(struct gateway_bus_config, curve),
     .section = &curve_section,
     .help = "Encryption and identity on the bus (CurveZMQ)."},
    {.name = "workers",
     .type = CONFIG_SECTION,
     .offset = offsetof(struct gateway_bus_config, workers),
     .section = &workers_section,
     .help = "Workers that join over the bus."},
    {.name = "replay",
     .type = CONFIG_SIZE,
     .offset = offsetof(struct gateway_bus_config, replay),
     .default_text = "4MiB",
     .help = "Bytes of past events that a router keeps for subscribers that ask for them again."},
    {.name = NULL},
};

const struct config_section gateway_bus_section = {
    .keys = bus_keys,
    .size = sizeof(struct gateway_bus_config),
    .mark_offset = offsetof(struct gateway_bus_config, mark),
};

static void
check_endpoint(const struct dyn_slice *text, struct config_problems *problems)
{
    struct bus_endpoint endpoint;
    struct dyn_err err;
    if (text->len > 0 && bus_endpoint_parse(*text, &endpoint, &err) != 0) {
        config_problem_add(problems, config_mark_of(problems, text), false, "%s", err.text);
    }
}

void
gateway_bus_check(struct gateway_bus_config *bus, struct config_problems *problems)
{
    check_endpoint(&bus->listen, problems);
    for (size_t i = 0; i < bus->routers.n; i++) {
        check_endpoint(&bus->routers.items[i], problems);
    }
    bool has_curve = bus->curve.cert.len > 0;
    if (!has_curve && (bus->curve.allowed.len > 0 || bus->curve.servers.n > 0)) {
        config_problem_add(
            problems, bus->mark, false,
            "'bus.curve' needs 'cert': without a certificate of its own a process can't use keys; "
            "`dynabus keys new` makes one");
    }
}
