#include "gateway/callback_plugin.h"

#include "gateway/ask.h"

#include <stdlib.h>

/* Of one instance in one cell. */
struct callback_cell {
    plugin_cell_t *cell;
    struct dyn_list asks; /* those whose vote is waited for */
    struct env_map by_id;
};

/* A question as a key of the map: ids are random, so those of one request differ in their last bytes. */
static struct env_id
key_of(const struct plugin_ticket *ticket)
{
    struct env_id key = ticket->id;
    uint32_t epoch = ticket->epoch;
    for (size_t i = 0; i < sizeof epoch; i++) {
        key.bytes[sizeof key.bytes - 1 - i] ^= (uint8_t)(epoch >> (8 * i));
    }
    return key;
}

static void
track(struct callback_cell *own, struct dynabus_ask *ask)
{
    struct env_id key = key_of(&ask->ticket);
    ask_hold(ask);
    ask->cell = own;
    dyn_list_append(&own->asks, &ask->link);
    ask->is_mapped = env_map_find(&own->by_id, &key) == NULL; /* else a peer chose its ids to collide */
    if (ask->is_mapped) {
        env_map_add(&own->by_id, &ask->node, &key);
    }
}

/* The cell has nothing more to do with it. */
static void
let_go(struct dynabus_ask *ask)
{
    dyn_list_remove(&ask->link);
    if (ask->is_mapped) {
        env_map_remove(&ask->cell->by_id, &ask->node);
    }
    (void)pthread_mutex_lock(&ask->lock);
    ask->loop = NULL;
    (void)pthread_mutex_unlock(&ask->lock);
    ask_release(ask);
}

static void
say(struct dynabus_ask *ask)
{
    plugin_vote_send(ask->cell->cell, &ask->ticket, &ask->vote);
    let_go(ask);
}

static void
vote_posted(void *arg)
{
    struct dynabus_ask *ask = arg;
    (void)pthread_mutex_lock(&ask->lock);
    bool is_ours = ask->loop != NULL;
    (void)pthread_mutex_unlock(&ask->lock);
    if (is_ours) {
        say(ask);
    }
    ask_release(ask);
}

void
ask_post(struct dynabus_ask *ask)
{
    if (ask->loop != NULL && !ask->is_asking) {
        ask->holders++;
        bus_loop_post(ask->loop, vote_posted, ask);
    }
}

/* He is told without the lock, since he may vote right there; so another thread may also be voting at that
 * moment, which dynabus.h says of `cancelled`. */
static void
abandon(struct dynabus_ask *ask)
{
    const struct dynabus_plugin *plugin = &ask->config->registered->plugin;
    (void)pthread_mutex_lock(&ask->lock);
    bool tells = !ask->has_voted && plugin->cancelled != NULL;
    ask->loop = NULL;
    (void)pthread_mutex_unlock(&ask->lock);
    if (tells) {
        plugin->cancelled(plugin->user, ask);
    }
    let_go(ask);
}

/* ---- operations ---- */

static void *
cell_new(void *shared, plugin_cell_t *cell)
{
    (void)shared;
    struct callback_cell *own = dyn_zalloc(sizeof *own);
    own->cell = cell;
    dyn_list_init(&own->asks);
    env_map_init(&own->by_id);
    return own;
}

static void
cell_free(void *shared, void *self)
{
    (void)shared;
    struct callback_cell *own = self;
    while (!dyn_list_is_empty(&own->asks)) {
        abandon(DYN_CONTAINER_OF(own->asks.next, struct dynabus_ask, link));
    }
    env_map_fini(&own->by_id);
    free(own);
}

/* A vote that is there when the user's function returns goes at once, without a way over the loop's queue. */
static enum plugin_when
vote(void *shared, void *self, plugin_cell_t *cell, const struct plugin_ask *asked, struct plugin_vote *said)
{
    struct registered_config *config = shared;
    struct callback_cell *own = self;
    const struct dynabus_plugin *plugin = &config->registered->plugin;
    struct dynabus_ask *ask = ask_new(config, asked);
    (void)said;
    if (asked->is_told) {
        plugin->ask(plugin->user, ask);
        return PLUGIN_LATER;
    }
    track(own, ask);
    ask->loop = plugin_cell_loop(cell);
    ask->is_asking = true;
    plugin->ask(plugin->user, ask);
    (void)pthread_mutex_lock(&ask->lock);
    ask->is_asking = false;
    bool has_voted = ask->has_voted;
    (void)pthread_mutex_unlock(&ask->lock);
    if (has_voted) {
        say(ask);
    }
    return PLUGIN_LATER;
}

static void
forget(void *shared, void *self, plugin_cell_t *cell, const struct plugin_ticket *ticket)
{
    (void)shared;
    (void)cell;
    struct callback_cell *own = self;
    struct env_id key = key_of(ticket);
    struct env_map_node *node = env_map_find(&own->by_id, &key);
    if (node == NULL) {
        return;
    }
    struct dynabus_ask *ask = DYN_CONTAINER_OF(node, struct dynabus_ask, node);
    if (ask->ticket.from == ticket->from && ask->ticket.attempt == ticket->attempt) {
        abandon(ask);
    }
}

const struct plugin_ops callback_plugin_ops = {
    .summary = "Functions of the program that the gateway is part of.",
    .cell_new = cell_new,
    .cell_free = cell_free,
    .vote = vote,
    .forget = forget,
};
