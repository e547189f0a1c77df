#include "cli/bus_options.h"

#include <stdlib.h>

static const char *
variable(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && *value != '\0' ? value : NULL;
}

struct bus_options
bus_options_default(void)
{
    const char *own = variable("DYNABUS_API_KEY");
    return (struct bus_options){
        .bus = "tcp://127.0.0.1:7400",
        .api_key = own != NULL ? own : variable("MASTER_KEY"),
    };
}

bool
bus_options_take(struct bus_options *options, int option, const char *argument)
{
    switch (option) {
    case BUS_OPTION_BUS:
        options->bus = argument;
        return true;
    case BUS_OPTION_API_KEY:
        options->api_key = argument;
        return true;
    case BUS_OPTION_KEY:
        options->key = argument;
        return true;
    case BUS_OPTION_SERVER:
        options->server = argument;
        return true;
    case BUS_OPTION_INSECURE:
        options->insecure = true;
        return true;
    default:
        return false;
    }
}

bool
bus_options_are_whole(const struct bus_options *options)
{
    return (options->key == NULL) == (options->server == NULL);
}

bus_security_t *
bus_options_security(const struct bus_options *options, struct dyn_err *err)
{
    const struct bus_security_options security = {
        .cert = options->key,
        .servers = &options->server,
        .n_servers = options->server != NULL ? 1 : 0,
        .insecure = options->insecure,
    };
    return bus_security_new(&security, err);
}
