/* The wire between the loops of one process: encoded envelopes over ZeroMQ's inproc transport. Each
 * loop binds one PULL socket; a loop that sends to another connects one PUSH socket to it, so what
 * one actor sends to another keeps its order. Nothing blocks and nothing is refused here: the
 * receiver's mailbox limit was asked before, and high-water marks are off. */
#pragma once

#include "bus/bus_impl.h"

/* Before any thread runs: a receiving end for every loop. */
int wire_inproc_open(bus_t *bus, struct dyn_err *err);
/* On the sender's loop. Takes the envelope; `from`, `to` and `mailbox_bytes` are set. -1 when it has
 * no encoding (DYN_E_LIMIT, DYN_E_INVALID) or the wire is closed (DYN_E_GONE). */
int wire_inproc_send(struct bus_host *from, struct bus_actor *to, struct env **env_p, struct dyn_err *err);
/* After all threads have ended. What is in flight is freed. */
void wire_inproc_close(bus_t *bus);
