/* Who may speak on the bus: CURVE key pairs (files in the form of CZMQ's zcert), public keys that are
 * allowed with the role of each, and the ZAP handler of one libzmq context (RFC 27). One object a
 * process and gateway; any thread. Specified in docs/secure-the-bus.md and the security sections of
 * proto/0*.md. */
#pragma once

#include "core/err.h"

#include <stdint.h>

enum bus_role {
    BUS_ROLE_NONE = 0,
#define ROLE(name, word, about) BUS_ROLE_##name,
#include "bus/roles.def"
#undef ROLE
    BUS_ROLE_COUNT
};
const char *bus_role_name(enum bus_role role);         /* "none" for BUS_ROLE_NONE */
enum bus_role bus_role_by_name(struct dyn_slice name); /* BUS_ROLE_NONE: unknown */

enum { BUS_KEY_TEXT = 41 }; /* a CURVE key in Z85 (RFC 32), with its NUL */

struct bus_security_options {
    /* Path of this process's own certificate: FILE with FILE_secret beside it, or the secret file
     * itself. NULL: no CURVE. */
    const char *cert;
    const char *allowed; /* folder of public certificates with metadata `role`; NULL: no key is let in */
    const char *const *servers; /* routers' public keys: a path or 40 characters of Z85 each */
    size_t n_servers;
    bool insecure; /* plain text may leave loopback */
};

typedef struct bus_security bus_security_t;

/* Reads everything that the options name. NULL with err (file and reason) when something is missing or
 * broken. */
bus_security_t *bus_security_new(const struct bus_security_options *options, struct dyn_err *err);
void bus_security_free(bus_security_t **security_p);
/* Reads the allowed keys again; keeps the old ones and returns -1 with err when the folder, or one file
 * in it, can't be read. Who was connected with a key that is no longer there is told to go:
 * bus_security_allows() answers that. */
int bus_security_reload(bus_security_t *security, struct dyn_err *err);
uint64_t bus_security_generation(const bus_security_t *security); /* changes with each reload */

bool bus_security_has_curve(const bus_security_t *security);
bool bus_security_is_insecure(const bus_security_t *security);
bool bus_security_knows_routers(const bus_security_t *security); /* it has keys of servers */
/* What this process's own certificate says of it: BUS_ROLE_NONE and "" when nothing. */
enum bus_role bus_security_own_role(const bus_security_t *security);
const char *bus_security_own_key(const bus_security_t *security); /* public, Z85 */
/* The role of a public key; BUS_ROLE_NONE: not allowed. `name` (of the certificate's metadata, else of
 * its file) may be NULL; filled up to name_size, NUL-terminated. */
enum bus_role bus_security_allows(const bus_security_t *security, struct dyn_slice key, char *name,
                                  size_t name_size);
/* Connections that ZAP handlers have turned away so far. */
uint64_t bus_security_refused(const bus_security_t *security);
void bus_security_count_refused(bus_security_t *security);

/* May this process bind or connect there? -1 with what to do about it when it would speak in the clear
 * off loopback. */
struct bus_endpoint;
int bus_security_check(const bus_security_t *security, const struct bus_endpoint *endpoint,
                       struct dyn_err *err);

/* Sets a socket's CURVE options before bind (server) or connect (client, with the `attempt`th server
 * key, modulo). Without CURVE: nothing. A server takes every allowed key: whoever reads from the socket
 * looks at the role and can say GOODBYE. Where nobody reads (PUB), keys without one of `roles` (bits
 * 1 << enum bus_role) are turned away in the handshake. */
int bus_security_server(const bus_security_t *security, void *zmq_socket, struct dyn_err *err);
int bus_security_publisher(const bus_security_t *security, void *zmq_socket, uint32_t roles,
                           struct dyn_err *err);
int bus_security_client(const bus_security_t *security, void *zmq_socket, unsigned attempt,
                        struct dyn_err *err);

/* The ZAP domain of a socket that takes these roles, and back (0: not one of ours). For bus/zap.c. */
enum { BUS_ZAP_DOMAIN_MAX = 24 };
void bus_zap_domain(uint32_t roles, char out[BUS_ZAP_DOMAIN_MAX]);
uint32_t bus_zap_domain_roles(struct dyn_slice domain);

/* The ZAP handler of a context: a thread of its own on inproc://zeromq.zap.01 that lets in whose key is
 * allowed and sets User-Id to the key in Z85. Start it before any socket binds; stop it after the last
 * is closed and before the context ends. Without CURVE nothing runs. NULL with err: it could not start. */
typedef struct bus_zap bus_zap_t;
bus_zap_t *bus_zap_start(void *zmq_context, bus_security_t *security, struct dyn_err *err);
void bus_zap_stop(bus_zap_t **zap_p);
