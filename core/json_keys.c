#include "core/json_keys.h"

#include "core/json_escape.h"
#include "core/rand.h"

#include <stdlib.h>

/* High and low half of a 64 x 64 bit product, folded: each bit of both factors reaches all of it. */
static uint64_t
mix(uint64_t a, uint64_t b)
{
#if defined(__SIZEOF_INT128__)
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
#else
    uint64_t a_low = (uint32_t)a, a_high = a >> 32;
    uint64_t b_low = (uint32_t)b, b_high = b >> 32;
    uint64_t low = a_low * b_low;
    uint64_t middle = a_high * b_low + (low >> 32);
    uint64_t cross = a_low * b_high + (uint32_t)middle;
    return ((cross << 32) | (uint32_t)low) ^ (a_high * b_high + (middle >> 32) + (cross >> 32));
#endif
}

static uint64_t
hash_key(struct dyn_slice key)
{
    static _Thread_local uint64_t seeds[2];
    if (DYN_UNLIKELY(seeds[0] == 0)) {
        dyn_random_bytes(seeds, sizeof seeds);
        seeds[0] |= 1; /* not zero, so that this is done once */
    }
    uint64_t hash = seeds[0] ^ key.len;
    const char *at = key.data;
    size_t left = key.len;
    for (uint64_t word; left > 0; left -= left < sizeof word ? left : sizeof word) {
        word = 0;
        memcpy(&word, at, left < sizeof word ? left : sizeof word);
        hash = mix(hash ^ seeds[1], word ^ seeds[0]);
        at += sizeof word;
    }
    return hash;
}

void
json_keys_init(struct json_keys *keys)
{
    keys->slots = keys->inline_slots;
    keys->n_slots = JSON_KEYS_INLINE_SLOTS;
    keys->n_used = 0;
    memset(keys->inline_slots, 0, sizeof keys->inline_slots);
    arena_init(&keys->decoded, NULL, 0);
}

void
json_keys_fini(struct json_keys *keys)
{
    if (keys->slots != keys->inline_slots) {
        free(keys->slots);
    }
    arena_fini(&keys->decoded);
}

/* The slot that holds an equal key, or the free one where it belongs. */
static struct json_key_slot *
find_slot(struct json_key_slot *slots, size_t n_slots, struct dyn_slice key, uint64_t hash)
{
    for (size_t i = hash;; i++) {
        struct json_key_slot *slot = &slots[i & (n_slots - 1)];
        if (slot->key.data == NULL || (slot->hash == hash && dyn_slice_eq(slot->key, key))) {
            return slot;
        }
    }
}

static void
grow(struct json_keys *keys)
{
    size_t n_slots = keys->n_slots * 2;
    struct json_key_slot *slots = dyn_zalloc(n_slots * sizeof *slots);
    for (size_t i = 0; i < keys->n_slots; i++) {
        struct json_key_slot *old = &keys->slots[i];
        if (old->key.data != NULL) {
            *find_slot(slots, n_slots, old->key, old->hash) = *old;
        }
    }
    if (keys->slots != keys->inline_slots) {
        free(keys->slots);
    }
    keys->slots = slots;
    keys->n_slots = n_slots;
}

bool
json_keys_add(struct json_keys *keys, struct dyn_slice key, bool is_escaped)
{
    if (is_escaped) {
        char *decoded = arena_alloc(&keys->decoded, key.len);
        key = dyn_slice(decoded, json_unescape(key, decoded));
    }
    uint64_t hash = hash_key(key);
    struct json_key_slot *slot = find_slot(keys->slots, keys->n_slots, key, hash);
    if (slot->key.data != NULL) {
        return false;
    }
    if (keys->n_used == keys->n_slots / 2) {
        grow(keys);
        slot = find_slot(keys->slots, keys->n_slots, key, hash);
    }
    *slot = (struct json_key_slot){.key = key, .hash = hash};
    keys->n_used++;
    return true;
}
