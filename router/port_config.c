/* CONFIG and ACK on the ports (03-CLIENT, Configuration): an administrator asks, the reloader of this process
 * and one of each other process that is connected here read their own files, and all their answers go to who
 * asked. */
#include "router/ports_impl.h"

#include <stdio.h>
#include <stdlib.h>

enum { CONFIG_SINCE_MINOR = 2 }; /* an earlier peer has no words for it */

/* ---- the other processes ---- */

void
ports_node_joined(struct ports *ports, const struct bus_peer *peer)
{
    struct ports_node *nodes = ports->nodes;
    for (size_t i = 0; i < ports->n_nodes; i++) {
        if (nodes[i].addr == peer->addr) {
            return;
        }
    }
    if (peer->minor < CONFIG_SINCE_MINOR || peer->node.len == 0) {
        return;
    }
    ports->nodes = dyn_realloc(ports->nodes, (ports->n_nodes + 1) * sizeof *ports->nodes);
    struct ports_node *node = &ports->nodes[ports->n_nodes++];
    node->addr = peer->addr;
    (void)snprintf(node->name, sizeof node->name, "%.*s", (int)peer->node.len, peer->node.data);
}

void
ports_node_left(struct ports *ports, bus_addr_t addr)
{
    for (size_t i = 0; i < ports->n_nodes; i++) {
        if (ports->nodes[i].addr == addr) {
            ports->nodes[i] = ports->nodes[--ports->n_nodes];
            return;
        }
    }
}

/* A process has a connection for each of its cells: one of them is enough. */
static bool
is_first_of_its_node(const struct ports *ports, size_t index)
{
    for (size_t i = 0; i < index; i++) {
        if (strcmp(ports->nodes[i].name, ports->nodes[index].name) == 0) {
            return false;
        }
    }
    return true;
}

static uint32_t
pass_on(struct ports *ports, const struct env *config)
{
    uint32_t n = 0;
    for (size_t i = 0; i < ports->n_nodes; i++) {
        if (!is_first_of_its_node(ports, i)) {
            continue;
        }
        struct env *copy = env_new(ENV_CONFIG);
        copy->id = config->id;
        copy->config_hash = env_copy(copy, config->config_hash);
        if (bus_send(ports->me, ports->nodes[i].addr, &copy, NULL) != 0) {
            env_free(&copy);
        } else {
            n++;
        }
    }
    return n;
}

/* ---- who asked ---- */

static struct ports_asker *
find_asker(struct ports *ports, const struct env_id *id)
{
    for (size_t i = 0; i < PORTS_ASKERS_MAX; i++) {
        if (ports->askers[i].addr != 0 && memcmp(&ports->askers[i].id, id, sizeof *id) == 0) {
            return &ports->askers[i];
        }
    }
    return NULL;
}

void
ports_take_config(struct ports *ports, const struct bus_peer *peer, struct env **env_p)
{
    struct env *config = *env_p;
    struct ports_asker *asker = find_asker(ports, &config->id);
    if (asker == NULL) { /* the oldest one's place */
        asker = &ports->askers[ports->next_asker++ % PORTS_ASKERS_MAX];
    }
    *asker = (struct ports_asker){.id = config->id, .addr = peer->addr};
    config->requests = 1 + pass_on(ports, config); /* with this process: it is never 0 */
    if (ports->options.reloader == 0 ||
        bus_send_as(ports->me, peer->addr, ports->options.reloader, env_p, NULL) != 0) {
        ports_count(&ports->options.counters->late);
    }
}

void
ports_take_ack(struct ports *ports, struct env **env_p)
{
    const struct ports_asker *asker = find_asker(ports, &(*env_p)->id);
    (*env_p)->requests = 0;
    if (asker == NULL || bus_send(ports->me, asker->addr, env_p, NULL) != 0) {
        ports_count(&ports->options.counters->late);
    }
}

void
ports_config_fini(struct ports *ports)
{
    free(ports->nodes);
    ports->nodes = NULL;
    ports->n_nodes = 0;
}
