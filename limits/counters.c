/* See counters.h. The protocol between a cell that opens by its cache and one that evicts: the first counts
 * itself in and then looks whose the entry is; the second says that it is nobody's and then looks whether
 * anybody is in. Both in one total order, so at least one of them sees the other. */
#include "limits/counters.h"

#include "core/rand.h"

#include <pthread.h>
#include <stdlib.h>

/* Entries are allocated in pieces that never move. */
enum { ENTRIES_PER_PIECE = 1024, PLACES_PER_CACHE = 1024, ENTRIES_MAX = 16 * 1024 * 1024 };
/* How many are compared when one has to go: a table of so many loses its least recently used, a larger one
 * something among the oldest thirtieth on average. More are looked at for one that loses nothing, and when
 * many are open; it bounds the time under the lock. */
enum { EVICTION_SAMPLE = 32, EVICTION_LOOKS = 512 };
#define NOBODY UINT32_MAX

struct counters_place {
    struct name_hash name;
    struct counter *counter; /* NULL: nothing here yet */
    uint64_t generation;
};

struct counters {
    struct name_secret secret;
    pthread_mutex_t lock; /* all below */
    struct counter **pieces;
    uint32_t *index; /* heads of chains, by hash; all links are the complements of numbers */
    size_t index_mask;
    uint32_t n, max;
    uint32_t hand; /* where the next search for one that may go begins */
    uint64_t next_generation;
    struct counters_figures figures;
};

static struct counter *
entry_at(const counters_t *counters, uint32_t at)
{
    return &counters->pieces[at / ENTRIES_PER_PIECE][at % ENTRIES_PER_PIECE];
}

counters_t *
counters_new(size_t entries_max)
{
    counters_t *counters = dyn_zalloc(sizeof *counters);
    size_t heads = 64;
    counters->max = (uint32_t)(entries_max < 1 ? 1 : entries_max > ENTRIES_MAX ? ENTRIES_MAX : entries_max);
    while (heads < counters->max) {
        heads *= 2;
    }
    counters->index = dyn_zalloc(heads * sizeof *counters->index); /* ~NOBODY: untouched until names come */
    counters->index_mask = heads - 1;
    size_t n_pieces = (counters->max + ENTRIES_PER_PIECE - 1) / ENTRIES_PER_PIECE;
    counters->pieces = dyn_zalloc(n_pieces * sizeof(struct counter *));
    counters->figures.bytes = sizeof *counters + heads * sizeof *counters->index + n_pieces * sizeof(void *);
    dyn_random_bytes(&counters->secret, sizeof counters->secret);
    (void)pthread_mutex_init(&counters->lock, NULL);
    return counters;
}

void
counters_free(counters_t **counters_p)
{
    counters_t *counters = *counters_p;
    *counters_p = NULL;
    if (counters == NULL) {
        return;
    }
    for (uint32_t at = 0; at < counters->n; at += ENTRIES_PER_PIECE) {
        free(counters->pieces[at / ENTRIES_PER_PIECE]);
    }
    (void)pthread_mutex_destroy(&counters->lock);
    free(counters->pieces);
    free(counters->index);
    free(counters);
}

void
counters_cache_init(struct counters_cache *cache, counters_t *counters)
{
    cache->counters = counters;
    cache->places = dyn_zalloc(PLACES_PER_CACHE * sizeof *cache->places);
}

void
counters_cache_fini(struct counters_cache *cache)
{
    free(cache->places);
    *cache = (struct counters_cache){.counters = NULL};
}

struct name_hash
counters_name(const counters_t *counters, uint32_t kind, struct dyn_slice name)
{
    struct name_secret secret = {counters->secret.low ^ kind, counters->secret.high};
    return name_hash(&secret, name);
}

static uint32_t *
head_of(counters_t *counters, struct name_hash name)
{
    return &counters->index[name.low & counters->index_mask];
}

static struct counter *
find(counters_t *counters, struct name_hash name)
{
    uint32_t at = ~*head_of(counters, name);
    while (at != NOBODY && !name_hash_eq(entry_at(counters, at)->name, name)) {
        at = ~entry_at(counters, at)->next;
    }
    return at == NOBODY ? NULL : entry_at(counters, at);
}

static void
unlink_entry(counters_t *counters, uint32_t at)
{
    struct counter *entry = entry_at(counters, at);
    uint32_t *link = head_of(counters, entry->name);
    while (*link != ~at) {
        link = &entry_at(counters, ~*link)->next;
    }
    *link = entry->next;
}

/* With the lock: from here on no cell can open it by its cache, or it is as it was. */
static bool
make_nobodys(struct counter *entry)
{
    uint64_t generation = atomic_load(&entry->generation);
    atomic_store(&entry->generation, 0);
    if (atomic_load(&entry->open) == 0) {
        return true;
    }
    atomic_store(&entry->generation, generation);
    return false;
}

struct choice {
    uint32_t at;
    bool is_whole;
    uint64_t used_at_us;
};

static bool
goes_before(const struct choice *a, const struct choice *b)
{
    return a->is_whole != b->is_whole ? a->is_whole : a->used_at_us < b->used_at_us;
}

/* Of the next few that nobody has open the one that goes first; NOBODY: all of them are open. */
static struct choice
choose(counters_t *counters, struct limits_now now)
{
    struct choice best = {.at = NOBODY};
    uint32_t most = counters->n < EVICTION_LOOKS ? counters->n : EVICTION_LOOKS;
    for (uint32_t looked = 0, seen = 0; looked < most && (seen < EVICTION_SAMPLE || !best.is_whole);
         looked++) {
        uint32_t at = counters->hand;
        counters->hand = (at + 1) % counters->n;
        struct counter *entry = entry_at(counters, at);
        if (atomic_load(&entry->open) != 0) {
            continue;
        }
        struct bucket_level level = bucket_look(&entry->bucket, entry->spec, 0, now);
        struct choice one = {at, level.left == level.limit,
                             atomic_load_explicit(&entry->used_at_us, memory_order_relaxed)};
        if (best.at == NOBODY || goes_before(&one, &best)) {
            best = one;
        }
        seen++;
    }
    return best;
}

static uint32_t
evict(counters_t *counters, struct limits_now now)
{
    enum { TRIES = 8 }; /* somebody opens the very one each time: then they are all wanted */
    for (int i = 0; i < TRIES; i++) {
        struct choice choice = choose(counters, now);
        if (choice.at == NOBODY) {
            break;
        }
        if (make_nobodys(entry_at(counters, choice.at))) {
            unlink_entry(counters, choice.at);
            counters->figures.evicted += choice.is_whole;
            counters->figures.evicted_early += !choice.is_whole;
            return choice.at;
        }
    }
    counters->figures.refused++;
    return NOBODY;
}

static uint32_t
grow(counters_t *counters)
{
    if (counters->n % ENTRIES_PER_PIECE == 0) {
        size_t left = counters->max - counters->n;
        size_t entries = left < ENTRIES_PER_PIECE ? left : ENTRIES_PER_PIECE;
        counters->pieces[counters->n / ENTRIES_PER_PIECE] = dyn_zalloc(entries * sizeof(struct counter));
        counters->figures.bytes += entries * sizeof(struct counter);
    }
    return counters->n++;
}

static struct counter *
add(counters_t *counters, struct name_hash name, const struct limit_spec *spec, struct limits_now now)
{
    uint32_t at = counters->n < counters->max ? grow(counters) : evict(counters, now);
    if (at == NOBODY) {
        return NULL;
    }
    struct counter *entry = entry_at(counters, at);
    uint32_t *head = head_of(counters, name);
    entry->name = name;
    entry->spec = spec;
    bucket_init(&entry->bucket, spec, now);
    entry->next = *head;
    *head = ~at;
    atomic_store(&entry->generation, ++counters->next_generation);
    return entry;
}

static struct counter *
open_by_table(struct counters_cache *cache, struct counters_place *place, struct name_hash name,
              const struct limit_spec *spec, struct limits_now now)
{
    counters_t *counters = cache->counters;
    (void)pthread_mutex_lock(&counters->lock);
    struct counter *entry = find(counters, name);
    if (entry == NULL) {
        entry = add(counters, name, spec, now);
    }
    if (entry != NULL) {
        (void)atomic_fetch_add(&entry->open, 1);
        *place = (struct counters_place){name, entry, atomic_load(&entry->generation)};
    }
    (void)pthread_mutex_unlock(&counters->lock);
    return entry;
}

struct counter *
counters_open(struct counters_cache *cache, struct name_hash name, const struct limit_spec *spec,
              struct limits_now now)
{
    struct counters_place *place = &cache->places[name.high % PLACES_PER_CACHE];
    struct counter *entry = place->counter;
    if (entry != NULL && name_hash_eq(place->name, name)) {
        (void)atomic_fetch_add(&entry->open, 1);
        if (atomic_load(&entry->generation) != place->generation) {
            (void)atomic_fetch_sub(&entry->open, 1); /* another name's since, or about to be */
            entry = NULL;
        }
    } else {
        entry = NULL;
    }
    if (entry == NULL) {
        entry = open_by_table(cache, place, name, spec, now);
    }
    if (entry != NULL) {
        atomic_store_explicit(&entry->used_at_us, now.mono_us, memory_order_relaxed);
    }
    return entry;
}

void
counter_close(struct counter *counter)
{
    DYN_ASSERT(atomic_fetch_sub(&counter->open, 1) != 0);
}

void
counters_figures(counters_t *counters, struct counters_figures *figures)
{
    (void)pthread_mutex_lock(&counters->lock);
    *figures = counters->figures;
    figures->entries = counters->n;
    (void)pthread_mutex_unlock(&counters->lock);
}
