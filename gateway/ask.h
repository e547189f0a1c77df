/* One question to a plugin of the program's own: the handle behind dynabus_ask_t. Held by the cell, until its
 * vote has left or nobody wants it, by the user, until dynabus_ask_vote(), and by what is posted to the loop.
 * Who lets go last frees it. Private to gateway/ask*.c and callback_plugin.c. */
#pragma once

#include "gateway/registered_plugin.h"
#include "proto/env_map.h"

#include <pthread.h>

struct callback_cell;

struct dynabus_ask {
    struct dyn_list link;     /* on the loop, like all up to `config` */
    struct env_map_node node; /* by request and question */
    bool is_mapped;
    struct callback_cell *cell;
    struct plugin_ticket ticket;

    struct registered_config *config; /* unchanged, as all up to `arena` */
    struct vote_facts *facts;
    dyn_block_t *block; /* the body: may be absent */
    bool is_told;
    bool has_charged;

    struct arena arena; /* of what the user looks at, and of his vote */
    struct dynabus_facts *public_facts;
    struct dynabus_text *texts; /* NULL: not read yet */
    size_t n_texts;
    bool is_uninspectable;
    bool is_last;
    void *data;
    struct plugin_vote vote; /* what the user said, once has_voted */

    pthread_mutex_t lock;
    bus_loop_t *loop; /* to post to; NULL: the cell has let go */
    unsigned holders;
    bool is_asking; /* inside the user's function: who asked looks for the vote itself */
    bool has_voted;
    _Alignas(16) char memory[1024];
};

/* One hold, the user's. Takes references of what the question has. */
struct dynabus_ask *ask_new(struct registered_config *config, const struct plugin_ask *asked)
    __attribute__((returns_nonnull));
void ask_hold(struct dynabus_ask *ask);
void ask_release(struct dynabus_ask *ask);
/* The user's vote as the plugins' actor takes it; texts in the ask's arena. */
void ask_take_vote(struct dynabus_ask *ask, const struct dynabus_vote *vote);
/* Says the vote to who asked, soon, on the loop. Under the lock. */
void ask_post(struct dynabus_ask *ask);
