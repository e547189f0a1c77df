/* A client of the bus for programs that just ask and wait: the commands of the CLI, and C tests. Speaks
 * 03-CLIENT over one DEALER socket; blocks; no loop, no READY, no thread of its own but libzmq's. One
 * thread at a time. What runs on a loop uses bus/remote.h. */
#pragma once

#include "bus/security.h"
#include "proto/env.h"

enum { BUS_CLIENT_CONNECT_MS = 3000 }; /* the handshake of a router that is there takes a few */

typedef struct bus_client bus_client_t;

/* Connects to tcp://HOST:PORT or ipc://PATH and waits until the router has let it in. NULL with a sentence
 * for who typed the endpoint: there is nobody, the key is not accepted, or it would speak in the clear off
 * loopback. `security` is borrowed until bus_client_close(). */
bus_client_t *bus_client_open(const char *endpoint, const bus_security_t *security, struct dyn_err *err);
void bus_client_close(bus_client_t **client_p); /* what was sent may still leave for half a second */

/* Sends it with its body, which is shared, not taken. -1 (DYN_E_GONE) when the connection is lost, or with
 * what is wrong with the envelope. */
DYN_MUST_CHECK int bus_client_send(bus_client_t *client, const struct env *env, struct dyn_err *err);

/* Waits for the next envelope: 0 with *env_p; 1 when none has come in time; -1 when the connection is lost
 * (DYN_E_GONE) or the router said something that is not to be understood. Kinds of later versions are
 * skipped. */
DYN_MUST_CHECK int bus_client_receive(bus_client_t *client, uint32_t timeout_ms, struct env **env_p,
                                      struct dyn_err *err);
