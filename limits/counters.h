/* Limits by name: a bucket for each key, user, model or address that was seen. One table for the cells of
 * a process. Entries and bytes are bounded: when it is full the least recently used goes that no request
 * has open, one whose limit is whole again before one that would lose its state. It keeps no names, only
 * what they hash to.
 *
 * A cell finds again what it found before without the table's lock. Entries are used again for other names
 * and never freed before the table is; an entry that somebody has open stays whose it is. */
#pragma once

#include "limits/bucket.h"
#include "limits/name_hash.h"

typedef struct counters counters_t;

struct counter {
    struct bucket bucket;
    atomic_uint_fast64_t generation; /* another one: another name's. The table's own, as all below */
    atomic_uint_fast64_t used_at_us;
    atomic_uint open; /* requests that may still give back or settle */
    uint32_t next;    /* in its chain of the index, or in the list of free ones */
    struct name_hash name;
    const struct limit_spec *spec; /* for telling whether it is whole */
};

/* At most `entries_max` names; 56 bytes each and at most 8 for the index. */
counters_t *counters_new(size_t entries_max);
void counters_free(counters_t **counters_p); /* no cell has a cache of it any more */

/* What one cell remembers. Its own thread only. */
struct counters_cache {
    counters_t *counters;
    struct counters_place *places;
};
void counters_cache_init(struct counters_cache *cache, counters_t *counters);
void counters_cache_fini(struct counters_cache *cache);

/* The hash of the name under the table's secret; `kind` keeps the names of one rule apart from others'. */
struct name_hash counters_name(const counters_t *counters, uint32_t kind, struct dyn_slice name);

/* The name's counter, made when it is new: open until counter_close(), as often as it was opened. NULL:
 * the table is full of ones that are open. `spec` lives as long as the table; a name always comes with the
 * same. */
struct counter *counters_open(struct counters_cache *cache, struct name_hash name,
                              const struct limit_spec *spec, struct limits_now now);
void counter_close(struct counter *counter);

struct counters_figures {
    uint64_t entries;
    uint64_t bytes;
    uint64_t evicted;       /* with a limit that was whole again: nobody could tell */
    uint64_t evicted_early; /* before it was: the table is too small for what comes */
    uint64_t refused;       /* full of open ones */
};
void counters_figures(counters_t *counters, struct counters_figures *figures);
