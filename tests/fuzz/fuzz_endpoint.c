/* Endpoints of the bus: whatever is taken has three texts that are taken again and mean the same host. */
#include "bus/endpoint.h"

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
expect_same(const struct bus_endpoint *endpoint, enum bus_endpoint_part part)
{
    char text[BUS_ENDPOINT_MAX];
    struct bus_endpoint again;
    struct dyn_err err;
    bus_endpoint_text(endpoint, part, text);
    if (part != BUS_ENDPOINT_CLIENTS) { /* has no room for the two that would follow it, at the end */
        return;
    }
    DYN_ASSERT(bus_endpoint_parse(dyn_slice_str(text), &again, &err) == 0);
    DYN_ASSERT(strcmp(again.host, endpoint->host) == 0 && again.port == endpoint->port);
    DYN_ASSERT(bus_endpoint_is_local(&again) == bus_endpoint_is_local(endpoint));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bus_endpoint endpoint;
    struct dyn_err err;
    if (bus_endpoint_parse(dyn_slice((const char *)data, size), &endpoint, &err) == 0) {
        expect_same(&endpoint, BUS_ENDPOINT_CLIENTS);
        expect_same(&endpoint, BUS_ENDPOINT_WORKERS);
        expect_same(&endpoint, BUS_ENDPOINT_EVENTS);
    }
    return 0;
}
