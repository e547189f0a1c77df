/* Where a router's bus is. One base endpoint names its three sockets: tcp://HOST:PORT is the clients'
 * port, PORT+1 the workers', PORT+2 the events; ipc://PATH is the clients', PATH.workers and PATH.events
 * the others. Pure. */
#pragma once

#include "core/err.h"

#include <stdint.h>

enum bus_endpoint_part { BUS_ENDPOINT_CLIENTS, BUS_ENDPOINT_WORKERS, BUS_ENDPOINT_EVENTS };
enum { BUS_ENDPOINT_MAX = 300, BUS_PORT_DEFAULT = 7400 };

struct bus_endpoint {
    bool     is_ipc;
    char     host[256]; /* name, number, path, or "*" for all addresses; IPv6 without brackets */
    uint16_t port;      /* of the part that was parsed; 0 with ipc, and where any free one will do */
};

/* "tcp://host:port", "tcp://host" (BUS_PORT_DEFAULT), "ipc:///path". -1 with a sentence that says what
 * is wrong. */
int bus_endpoint_parse(struct dyn_slice text, struct bus_endpoint *endpoint, struct dyn_err *err);
/* The text of a part of the bus whose base is `base`. */
void bus_endpoint_text(const struct bus_endpoint *base, enum bus_endpoint_part part,
                       char out[BUS_ENDPOINT_MAX]);
/* ipc, 127.0.0.0/8, ::1, localhost: plain text does not leave this host. */
bool bus_endpoint_is_local(const struct bus_endpoint *endpoint);
