/* A hash map from request id to the object that handles the request. Intrusive: the node lives in the
 * object and nothing is allocated per entry. Ids are random, so their first bytes are the hash; an id
 * chosen by a peer to collide costs that peer's own requests only a longer chain, bounded by the
 * number of requests in flight. One loop only. */
#pragma once

#include "proto/env.h"

struct env_map_node {
    struct env_map_node *next;
    struct env_id        id;
};

struct env_map {
    struct env_map_node **buckets;
    size_t                n_buckets; /* a power of two */
    size_t                n;
    size_t                first;     /* no node lies in a bucket before this one; for env_map_any() */
};

void env_map_init(struct env_map *map);
void env_map_fini(struct env_map *map); /* frees the buckets; the objects are not touched */
struct env_map_node *env_map_find(const struct env_map *map, const struct env_id *id);
/* The id must not be there yet; node->id is set. */
void env_map_add(struct env_map *map, struct env_map_node *node, const struct env_id *id);
void env_map_remove(struct env_map *map, struct env_map_node *node);
/* Any node, or NULL when empty. Taking and removing all of them costs one walk over the buckets. */
struct env_map_node *env_map_any(struct env_map *map);
