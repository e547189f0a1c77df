/* The keeper: owns the provider actors of its cell. When a new configuration comes it starts those of targets
 * that are new or changed, tells router and worker of the cell, and lets the former ones finish what they
 * have. A target that is as it was keeps its actor, and with it connections, breaker and samples. It reads no
 * configuration and decides nothing about requests. One per cell. */
#pragma once

#include "actors/providers/http_client.h"
#include "actors/providers/provider.h"
#include "bus/bus.h"
#include "gateway/edition.h"

typedef struct keeper keeper_t;

struct keeper_options {
    struct gateway_edition *edition;  /* the first one; a reference is taken */
    bool calls;                       /* this process calls upstreams; else targets have no actor here */
    bus_addr_t events;                /* who takes EVENTs about targets here; 0: workers pass them on */
    http_client_t *client;            /* of the loop; a reference is taken. NULL without calls */
    struct provider_orphans *orphans; /* outlives it; NULL: no call outlives its router */
};

keeper_t *keeper_new(const struct keeper_options *options);
extern const struct bus_actor_ops keeper_actor_ops;
/* Who is told of each edition, the first one too. Before the start; they come behind the keeper. NULL: there
 * is none. */
void keeper_serves(keeper_t *keeper, void *router, void *worker);

/* The rest on its loop, from its start on. */

/* Starts the actors of what `edition` has new; nobody knows of them yet. -1 with a sentence when one can't
 * start, then nothing has changed. */
int keeper_prepare(keeper_t *keeper, struct gateway_edition *edition, struct dyn_err *err);
/* What was prepared is in force from now on. */
void keeper_commit(keeper_t *keeper);
/* ... or never will be. */
void keeper_abandon(keeper_t *keeper);
/* Of its children: those in force, and those of former editions that still work. */
size_t keeper_count(const keeper_t *keeper);
