/* See nodes.h. */
#include "actors/metrics/nodes.h"

#include <pthread.h>
#include <stdlib.h>

enum { ORIGIN_LEN = 32, CONFIG_LEN = 64 };

struct node {
    char origin[ORIGIN_LEN];
    char config[CONFIG_LEN];
    size_t config_len;
    uint64_t heard_us;
    struct node_values values;
    struct node_breakers breakers;
};

struct nodes {
    pthread_mutex_t lock;
    struct node items[METRICS_NODES_MAX];
    size_t n;
    struct node_values folded; /* counters of those that had to go */
};

nodes_t *
nodes_new(void)
{
    struct nodes *nodes = dyn_zalloc(sizeof *nodes);
    (void)pthread_mutex_init(&nodes->lock, NULL);
    return nodes;
}

void
nodes_free(nodes_t **nodes_p)
{
    struct nodes *nodes = *nodes_p;
    *nodes_p = NULL;
    if (nodes != NULL) {
        for (size_t i = 0; i < nodes->n; i++) {
            node_breakers_fini(&nodes->items[i].breakers);
        }
        (void)pthread_mutex_destroy(&nodes->lock);
        free(nodes);
    }
}

static bool
is_counter(size_t value)
{
    return metric_families[node_value_rows[value].family].type == METRIC_COUNTER;
}

static void
add_values(struct node_values *to, const struct node_values *from, bool with_gauges)
{
    for (size_t i = 0; i < NODE_VALUES; i++) {
        to->values[i] += with_gauges || is_counter(i) ? from->values[i] : 0;
    }
}

/* A process that comes back after it was folded counts twice; with 512 of them that takes a strange fleet. */
static struct node *
make_room(struct nodes *nodes)
{
    if (nodes->n < METRICS_NODES_MAX) {
        return &nodes->items[nodes->n++];
    }
    struct node *oldest = &nodes->items[0];
    for (size_t i = 1; i < nodes->n; i++) {
        oldest = nodes->items[i].heard_us < oldest->heard_us ? &nodes->items[i] : oldest;
    }
    add_values(&nodes->folded, &oldest->values, false);
    node_breakers_fini(&oldest->breakers);
    return oldest;
}

static struct node *
find(struct nodes *nodes, struct dyn_slice origin)
{
    for (size_t i = 0; i < nodes->n; i++) {
        if (memcmp(nodes->items[i].origin, origin.data, ORIGIN_LEN) == 0) {
            return &nodes->items[i];
        }
    }
    struct node *node = make_room(nodes);
    *node = (struct node){.heard_us = 0};
    memcpy(node->origin, origin.data, ORIGIN_LEN);
    return node;
}

void
nodes_heard(nodes_t *nodes, const struct node_report *report, uint64_t now_us)
{
    (void)pthread_mutex_lock(&nodes->lock);
    struct node *node = find(nodes, report->origin);
    node->config_len = report->config.len < CONFIG_LEN ? report->config.len : CONFIG_LEN;
    if (node->config_len > 0) {
        memcpy(node->config, report->config.data, node->config_len);
    }
    node->heard_us = now_us;
    node_breakers_fini(&node->breakers);
    node_breakers_read(&node->breakers, report->breakers_told);
    for (size_t i = 0; i < NODE_VALUES; i++) {
        /* Through two routers a report may overtake the one before. */
        bool is_older = is_counter(i) && report->values.values[i] < node->values.values[i];
        node->values.values[i] = is_older ? node->values.values[i] : report->values.values[i];
    }
    (void)pthread_mutex_unlock(&nodes->lock);
}

static bool
is_live(const struct node *node, uint64_t now_us)
{
    return now_us - node->heard_us < (uint64_t)METRICS_NODE_GONE_MS * 1000;
}

static struct dyn_slice
config_of(const struct node *node)
{
    return dyn_slice(node->config, node->config_len);
}

/* Is it the first live one with its configuration, and that another than ours? */
static bool
shows_a_config(const struct nodes *nodes, size_t i, struct dyn_slice own, uint64_t now_us)
{
    struct dyn_slice config = config_of(&nodes->items[i]);
    if (config.len == 0 || dyn_slice_eq(config, own)) {
        return false;
    }
    for (size_t k = 0; k < i; k++) {
        if (is_live(&nodes->items[k], now_us) && dyn_slice_eq(config_of(&nodes->items[k]), config)) {
            return false;
        }
    }
    return true;
}

struct nodes_view
nodes_sum(nodes_t *nodes, struct dyn_slice own_config, uint64_t now_us, struct node_values *values)
{
    struct nodes_view view = {0};
    (void)pthread_mutex_lock(&nodes->lock);
    add_values(values, &nodes->folded, false);
    for (size_t i = 0; i < nodes->n; i++) {
        bool live = is_live(&nodes->items[i], now_us);
        add_values(values, &nodes->items[i].values, live);
        view.live += live ? 1 : 0;
        view.other_configs += live && shows_a_config(nodes, i, own_config, now_us) ? 1 : 0;
    }
    (void)pthread_mutex_unlock(&nodes->lock);
    return view;
}

void
nodes_breakers(nodes_t *nodes, uint64_t now_us, struct node_breakers *breakers)
{
    (void)pthread_mutex_lock(&nodes->lock);
    for (size_t i = 0; i < nodes->n; i++) {
        const struct node *node = &nodes->items[i];
        for (size_t k = 0; is_live(node, now_us) && k < node->breakers.n; k++) {
            const struct node_breaker *item = &node->breakers.items[k];
            node_breakers_add(breakers, dyn_slice(item->name, item->name_len),
                              (enum health_state)item->state);
        }
    }
    (void)pthread_mutex_unlock(&nodes->lock);
}
