/* A certificate of the bus: a CURVE key pair, or its public half, with who it stands for. The files are
 * CZMQ's (zcert: NAME and NAME_secret in ZPL, RFC 4), read and written with CZMQ's own zconfig, so every
 * CZMQ tool reads ours and we read theirs. */
#pragma once

#include "bus/security.h"

enum { BUS_CERT_NAME_MAX = 64 }; /* characters, with the NUL */

struct bus_cert {
    char public_key[BUS_KEY_TEXT];
    char secret_key[BUS_KEY_TEXT]; /* "" without one */
    enum bus_role role;            /* metadata `role`; BUS_ROLE_NONE without one */
    char name[BUS_CERT_NAME_MAX];  /* metadata `name`, else the file's name without its ending */
};

/* Exactly that file. -1 with err, which names it, when it can't be read, is not a certificate, or names a
 * role that is not known. */
int bus_cert_load(const char *path, struct bus_cert *cert, struct dyn_err *err);
/* A key pair: from PATH_secret, else from PATH. -1 when neither has a secret key. Warns in the log when
 * others can read it. */
int bus_cert_load_pair(const char *path, struct bus_cert *cert, struct dyn_err *err);
/* A fresh key pair. `name` borrowed; -1 when it is not a good name: letters, digits, '.', '_', '-'. */
int bus_cert_make(enum bus_role role, const char *name, struct bus_cert *cert, struct dyn_err *err);
/* Writes PATH (0644) and PATH_secret (0600). Neither may exist: -1, and nothing has changed then. */
int bus_cert_save(const struct bus_cert *cert, const char *path, struct dyn_err *err);
/* Is this a CURVE key in Z85? */
bool bus_key_is_valid(struct dyn_slice text);
