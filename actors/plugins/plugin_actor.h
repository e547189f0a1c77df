/* The actor in front of the plugins of a cell: takes ASKs, finds the plugin that each is for, and sends its
 * VOTE to who asked. It decides nothing: order, time limits and failure policy are the asker's. One per cell;
 * the instances behind it are one for the process. */
#pragma once

#include "actors/plugins/plugin_set.h"

struct plugin_actor_options {
    plugin_set_t *set;    /* a reference is taken; NULL: none yet */
    const struct plugin_host *host;
    unsigned cell;
    struct vote_here *here; /* filled while the actor is there; NULL: all who ask send envelopes */
};

/* Give both to bus_add_actor(). */
void *plugin_actor_new(const struct plugin_actor_options *options);
extern const struct bus_actor_ops plugin_actor_ops;
/* Another set from now on; a reference is taken. Those that are gone go on until nobody asks for them. Before
 * the start, or on its loop. */
void plugin_actor_apply(void *self, plugin_set_t *set);
