/* What a plugin in another process says of itself: the map in the body of its READY (05-PLUGIN). Written by
 * plugins, read by routers from anyone whose key lets him be a plugin; nothing in it is trusted before it was
 * checked. */
#pragma once

#include "proto/vote.h"

enum { PLUGIN_SAID_MAX = 32, PLUGIN_NAME_MAX = 128 };

struct plugin_said {
    struct dyn_slice name;
    uint32_t stages;  /* VOTE_STAGE_BIT; unknown words are skipped */
    uint32_t needs;   /* VOTE_NEEDS_* */
    bool     charges; /* effects: charges */
    bool     amends;
    bool     answers;
    bool     watches;
};

/* {"plugins": [{name, stages, needs, effects, amends, answers, watches}]} */
void plugin_ready_encode(const struct plugin_said *plugins, size_t n, struct dyn_buf *out);
/* Names stay in `body`. How many, at most PLUGIN_SAID_MAX; -1 with a sentence for the plugin's author when it
 * is no such map, names nothing, or one name twice. */
DYN_MUST_CHECK int plugin_ready_decode(struct dyn_slice body, struct plugin_said plugins[PLUGIN_SAID_MAX],
                                       struct dyn_err *err);
