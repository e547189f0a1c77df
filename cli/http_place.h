/* Where a gateway speaks HTTP, for commands that ask one: `status` and `admin`. */
#pragma once

enum { CLI_HTTP_PATIENCE_S = 5 }; /* for each read and write */

struct cli_place {
    char host[256];
    char port[8];
};

/* "http://HOST:PORT", with or without a '/' behind it. -1: it is none. */
int cli_read_url(const char *url, struct cli_place *place);
/* A connection; -1, and why is on standard error behind the name of the command. */
int cli_connect(const char *command, const struct cli_place *place);
