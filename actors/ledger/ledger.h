/* The ledger actor: what must survive. Answers REQUESTs of the surface `ledger` (06-LEDGER) from a store
 * that lives on a thread of its own, so that neither its loop nor anybody else waits for a disk. It decides
 * nothing about requests and does not ask who may: a process's journal asks it, and who asks that was
 * admitted. One per process with the role; any loop but a cell's. */
#pragma once

#include "actors/ledger/store.h"
#include "bus/bus.h"
#include "limits/lease.h"

struct ledger_options {
    const struct store_ops *store;
    const char *dsn;  /* copied */
    size_t queue_max; /* bytes of questions that wait for the store */
    uint64_t keep_logs_ms; /* older rows of the request log are deleted; 0: none */
    struct lease_counters *leases; /* outlive it; NULL: nobody wants to know */
    struct ledger_store_gauges *gauges; /* outlive it */
};

/* Copies the options. Give both to bus_add_actor(); start() opens the store, which fails the gateway's. */
void *ledger_new(const struct ledger_options *options);
extern const struct bus_actor_ops ledger_actor_ops;
