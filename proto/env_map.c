#include "proto/env_map.h"

#include <stdlib.h>

enum { ENV_MAP_FIRST_BUCKETS = 64 };

static size_t
bucket_of(const struct env_map *map, const struct env_id *id)
{
    uint64_t head;
    memcpy(&head, id->bytes, sizeof head);
    return (size_t)(head ^ (head >> 29)) & (map->n_buckets - 1);
}

void
env_map_init(struct env_map *map)
{
    *map = (struct env_map){.n_buckets = ENV_MAP_FIRST_BUCKETS};
    map->buckets = dyn_zalloc(map->n_buckets * sizeof(struct env_map_node *));
}

void
env_map_fini(struct env_map *map)
{
    free(map->buckets);
    *map = (struct env_map){0};
}

struct env_map_node *
env_map_find(const struct env_map *map, const struct env_id *id)
{
    struct env_map_node *node = map->buckets[bucket_of(map, id)];
    while (node != NULL && memcmp(node->id.bytes, id->bytes, sizeof id->bytes) != 0) {
        node = node->next;
    }
    return node;
}

static void
grow(struct env_map *map)
{
    struct env_map old = *map;
    map->n_buckets *= 2;
    map->first = 0;
    map->buckets = dyn_zalloc(map->n_buckets * sizeof(struct env_map_node *));
    for (size_t i = 0; i < old.n_buckets; i++) {
        for (struct env_map_node *node = old.buckets[i]; node != NULL;) {
            struct env_map_node *next = node->next;
            size_t bucket = bucket_of(map, &node->id);
            node->next = map->buckets[bucket];
            map->buckets[bucket] = node;
            node = next;
        }
    }
    free(old.buckets);
}

void
env_map_add(struct env_map *map, struct env_map_node *node, const struct env_id *id)
{
    if (map->n == map->n_buckets) {
        grow(map);
    }
    node->id = *id;
    size_t bucket = bucket_of(map, id);
    node->next = map->buckets[bucket];
    map->buckets[bucket] = node;
    map->first = bucket < map->first ? bucket : map->first;
    map->n++;
}

void
env_map_remove(struct env_map *map, struct env_map_node *node)
{
    struct env_map_node **at = &map->buckets[bucket_of(map, &node->id)];
    while (*at != node) {
        DYN_ASSERT(*at != NULL);
        at = &(*at)->next;
    }
    *at = node->next;
    map->n--;
}

struct env_map_node *
env_map_any(struct env_map *map)
{
    if (map->n == 0) {
        return NULL;
    }
    while (map->buckets[map->first] == NULL) {
        map->first++;
    }
    return map->buckets[map->first];
}
