/* Who may speak on the bus: CURVE key pairs (files in the form of CZMQ's zcert), public keys that are
 * allowed with the role of each, and the ZAP handler of one libzmq context (RFC 27). One object a process and
 * gateway; any thread. Specified in docs/secure-the-bus.md and the security sections of proto/0*.md. */
#pragma once

#include "core/err.h"
#include "core/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum bus_role {
    BUS_ROLE_NONE = 0,
#define ROLE(name, word, about) BUS_ROLE_##name,
#include "bus/roles.def"
#undef ROLE
    BUS_ROLE_COUNT
};
const char *bus_role_name(enum bus_role role);
enum bus_role bus_role_by_name(struct dyn_slice name); /* BUS_ROLE_NONE: unknown */

enum { BUS_KEY_TEXT = 41 }; /* a CURVE key in Z85 (RFC 32), with its NUL */

struct bus_security_options {
    const char *cert;      /* path of this process's own certificate (FILE with FILE_secret beside it, or the secret file itself); NULL: no CURVE */
    const char *allowed;   /* folder of public certificates with metadata `role`; NULL: nobody is let in by key */
    const char *const *servers; /* routers' public keys: a path or 40 characters of Z85 each; tried in turn */
    size_t      n_servers;
    bool        insecure;  /* plain text may leave loopback */
};

typedef struct bus_security bus_security_t;

/* Reads everything that the options name. NULL with err (file and reason) when something is missing or broken. */
bus_security_t *bus_security_new(const struct bus_security_options *options, struct dyn_err *err);
void bus_security_free(bus_security_t **security_p);
/* Reads the allowed keys again; keeps the old ones and returns -1 with err when the folder can't be read. Who was
 * connected with a key that is no longer there is told to go: bus_security_allows() answers that. */
int  bus_security_reload(bus_security_t *security, struct dyn_err *err);
uint64_t bus_security_generation(const bus_security_t *security); /* changes with each reload */

bool bus_security_has_curve(const bus_security_t *security);
bool bus_security_is_insecure(const bus_security_t *security);
/* The role of a public key; BUS_ROLE_NONE: not allowed. `name` (of the certificate's file or metadata) may be NULL;
 * filled up to name_size, NUL-terminated. */
enum bus_role bus_security_allows(const bus_security_t *security, struct dyn_slice key, char *name, size_t name_size);

/* Sets a socket's CURVE options before bind (server) or connect (client, with the `attempt`th server key, modulo).
 * Without CURVE: nothing. */
int bus_security_server(const bus_security_t *security, void *zmq_socket, struct dyn_err *err);
int bus_security_client(const bus_security_t *security, void *zmq_socket, unsigned attempt, struct dyn_err *err);

/* The ZAP handler of a context: a thread of its own on inproc://zeromq.zap.01 that lets in whose key is allowed and
 * sets User-Id to the key in Z85. Start it before any socket binds; stop it after the last is closed and before the
 * context ends. Without CURVE: nothing runs. */
typedef struct bus_zap bus_zap_t;
bus_zap_t *bus_zap_start(void *zmq_context, bus_security_t *security, struct dyn_err *err);
void bus_zap_stop(bus_zap_t **zap_p);
