/* See recent.h. Buckets of one cache line, each a queue: the oldest of its hashes leaves. The hash is seeded,
 * so that nobody who chooses ids can make a row look like another one. */
#include "actors/ledger/recent.h"

#include "core/rand.h"

#include <stdlib.h>

enum { WAYS = 8, BUCKETS = RECENT_ROWS / WAYS };

struct added {
    uint64_t hash;
    uint64_t left; /* whom it drove out; 0: nobody */
};

struct recent {
    uint64_t seed[2];
    uint64_t (*buckets)[WAYS]; /* the newest first; 0: free */
    struct added *added;       /* since the last recent_keep() */
    size_t n_added;
    size_t added_cap;
};

/* Each bit of both changes every bit of the outcome (the finalizer of MurmurHash3). */
static uint64_t
mix(uint64_t hash, uint64_t word)
{
    hash ^= word;
    hash = (hash ^ hash >> 33) * UINT64_C(0xff51afd7ed558ccd);
    hash = (hash ^ hash >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
    return hash ^ hash >> 33;
}

static uint64_t
hash_text(uint64_t hash, uint64_t seed, struct dyn_slice text)
{
    for (size_t i = 0; i < text.len; i += sizeof(uint64_t)) {
        uint64_t word = 0;
        size_t left = text.len - i;
        memcpy(&word, text.data + i, left < sizeof word ? left : sizeof word);
        hash = mix(hash ^ seed, word);
    }
    return mix(hash ^ seed, text.len);
}

static uint64_t *
bucket_of(struct recent *recent, uint64_t hash)
{
    return recent->buckets[(hash >> 32) % BUCKETS];
}

bool
recent_add(recent_t *recent, struct dyn_slice request_id, struct dyn_slice stage)
{
    uint64_t hash = hash_text(recent->seed[0], recent->seed[1], request_id);
    hash = hash_text(hash, recent->seed[1], stage) | 1;
    uint64_t *bucket = bucket_of(recent, hash);
    for (size_t i = 0; i < WAYS; i++) {
        if (bucket[i] == hash) {
            return false;
        }
    }
    uint64_t left = bucket[WAYS - 1];
    memmove(bucket + 1, bucket, (WAYS - 1) * sizeof *bucket);
    bucket[0] = hash;
    if (recent->n_added == recent->added_cap) {
        recent->added_cap = recent->added_cap * 2 + 1024;
        recent->added = dyn_realloc(recent->added, recent->added_cap * sizeof *recent->added);
    }
    recent->added[recent->n_added++] = (struct added){hash, left};
    return true;
}

/* Backwards, so that each bucket is what it was. */
void
recent_undo(recent_t *recent)
{
    while (recent->n_added > 0) {
        const struct added *last = &recent->added[--recent->n_added];
        uint64_t *bucket = bucket_of(recent, last->hash);
        memmove(bucket, bucket + 1, (WAYS - 1) * sizeof *bucket);
        bucket[WAYS - 1] = last->left;
    }
}

void
recent_keep(recent_t *recent)
{
    recent->n_added = 0;
}

recent_t *
recent_new(void)
{
    struct recent *recent = dyn_zalloc(sizeof *recent);
    dyn_random_bytes(recent->seed, sizeof recent->seed);
    recent->buckets = dyn_zalloc(BUCKETS * sizeof *recent->buckets);
    return recent;
}

void
recent_free(recent_t **recent_p)
{
    if (*recent_p != NULL) {
        free((*recent_p)->buckets);
        free((*recent_p)->added);
        free(*recent_p);
        *recent_p = NULL;
    }
}
