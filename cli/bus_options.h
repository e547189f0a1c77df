/* The options of commands that join the bus as a client: --bus, --api-key, --key, --server, --insecure. */
#pragma once

#include "bus/security.h"

#include <getopt.h>

struct bus_options {
    const char *bus;     /* base endpoint */
    const char *api_key; /* NULL: none is sent */
    const char *key;     /* file with the CURVE pair; NULL: plain text, which needs loopback or `insecure` */
    const char *server;  /* file with the routers' public key; set exactly when `key` is */
    bool insecure;
};

/* Rows for getopt_long() and what they return; a command's own options begin at BUS_OPTION_END. */
enum {
    BUS_OPTION_BUS = 1,
    BUS_OPTION_API_KEY,
    BUS_OPTION_KEY,
    BUS_OPTION_SERVER,
    BUS_OPTION_INSECURE,
    BUS_OPTION_END,
};
/* clang-format off */
#define BUS_OPTION_ROWS                                           \
    {"bus", required_argument, NULL, BUS_OPTION_BUS},             \
    {"api-key", required_argument, NULL, BUS_OPTION_API_KEY},     \
    {"key", required_argument, NULL, BUS_OPTION_KEY},             \
    {"server", required_argument, NULL, BUS_OPTION_SERVER},       \
    {"insecure", no_argument, NULL, BUS_OPTION_INSECURE}
/* clang-format on */

/* The dev gateway's address, and the API key of the environment: DYNABUS_API_KEY, else MASTER_KEY. */
struct bus_options bus_options_default(void);
/* Takes what getopt_long() returned. false: it is none of these. */
bool bus_options_take(struct bus_options *options, int option, const char *argument);
bool bus_options_are_whole(const struct bus_options *options);
/* NULL with a sentence when the key files can't be used. */
bus_security_t *bus_options_security(const struct bus_options *options, struct dyn_err *err);
