#include "mock/listen.h"

#include <stdlib.h>

/* Of a name with several addresses the first is taken: whoever asks the mock is told its URL. */
int
mock_listen(const char *address, char url[LISTEN_URL_SIZE], uint16_t *port, struct dyn_err *err)
{
    struct listeners listeners;
    if (listen_open(dyn_slice_str(address), 1, false, &listeners, err) != 0) {
        return -1;
    }
    int fd = listeners.fds[0];
    listeners.fds[0] = -1;
    listen_url(listeners.text, "http", url);
    *port = (uint16_t)strtoul(strrchr(url, ':') + 1, NULL, 10);
    listen_close(&listeners);
    return fd;
}
