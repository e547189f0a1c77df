/* A listening socket from "HOST:PORT". */
#pragma once

#include "core/err.h"

enum { MOCK_URL_SIZE = 80 };

/* The descriptor, non-blocking, or -1. `url` becomes "http://HOST:PORT" with the port as it
 * really is, and loopback for "any address". */
int mock_listen(const char *address, char url[MOCK_URL_SIZE], uint16_t *port, struct dyn_err *err);
