/* What a gateway is to be, worked out of options, configuration and environment before anything runs:
 * who may use it, where it listens. Reads the environment, and resolves a host name, which may block. */
#pragma once

#include "core/err.h"
#include "dynabus.h"
#include "gateway/gateway_config.h"
#include "router/admission.h"

struct gateway_env {
    const char *master_key;            /* MASTER_KEY */
    const char *allow_unauthenticated; /* ALLOW_UNAUTHENTICATED_PROXY */
    const char *environment;           /* GATEWAY_ENV */
    const char *port;                  /* PORT */
    const char *cors_origins;          /* CORS_ORIGINS */
    const char *trusted_proxies;       /* TRUSTED_PROXIES */
    bool has_keys;                     /* a file of clients' keys is configured; not of the environment */
    bool keys_in_store;                /* the ledger keeps clients' keys, if there are any; the same */
    bool knows_keys;                   /* this process could look which there are */
    bool has_usable_key;               /* ... and there is one that could be used, or it can't tell */
};
struct gateway_env gateway_env_read(void);

/* Where to listen: the option, else the configuration, else PORT, else 8080; --dev on loopback only.
 * `configured` may be absent. -1 when PORT is no port, the address is too long, or --dev would leave
 * loopback. */
int gateway_choose_listen(const struct dynabus_options *options, struct dyn_slice configured,
                          const struct gateway_env *env, char *out, size_t out_size, struct dyn_err *err);

struct edge_cors;
/* `*` is an origin that nobody has: a warning, and with GATEWAY_ENV=production -1. */
int gateway_check_origins(const struct gateway_env *env, const struct edge_cors *cors, struct dyn_err *err);

/* Who is let in. `listen` NULL: no HTTP, callers are this process; `bus` not NULL: clients of the bus come
 * from the network, there. -1 when the gateway would be open to the network without anybody having said
 * so. *auth is a word for people, static. */
int gateway_choose_admission(const struct gateway_env *env, const char *listen, const char *bus,
                             struct admission *admission, const char **auth, struct dyn_err *err);
