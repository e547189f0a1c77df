/* A listening socket from what edge/listen.h takes for an address. */
#pragma once

#include "edge/listen.h"

/* The descriptor, non-blocking, or -1. `url` becomes "http://HOST:PORT" with the port as it
 * really is, and loopback for "any address". */
int mock_listen(const char *address, char url[LISTEN_URL_SIZE], uint16_t *port, struct dyn_err *err);
