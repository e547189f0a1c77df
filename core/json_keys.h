/* The keys of one object, to find duplicates in time linear in their number. Private to the scanner.
 * Hashes are seeded per thread, so nobody outside can choose keys that collide. */
#pragma once

#include "core/arena.h"

enum { JSON_KEYS_INLINE_SLOTS = 32 };

struct json_key_slot {
    struct dyn_slice key; /* decoded; absent: the slot is free */
    uint64_t hash;
};

struct json_keys {
    struct json_key_slot *slots; /* `n_slots`, a power of two, at most half in use */
    size_t n_slots;
    size_t n_used;
    struct arena decoded; /* keys that had escapes */
    struct json_key_slot inline_slots[JSON_KEYS_INLINE_SLOTS];
};

void json_keys_init(struct json_keys *keys);
void json_keys_fini(struct json_keys *keys);
/* False when the key was there before. The bytes stay until json_keys_fini. */
bool json_keys_add(struct json_keys *keys, struct dyn_slice key, bool is_escaped);
