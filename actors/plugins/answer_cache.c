#include "actors/plugins/answer_cache.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    BUCKETS_FIRST = 64, /* a power of two */
    FAILURES_MAX = 1,   /* after so many another one leads */
};
/* One that has not ended by then is not waited for any more: how it ended was never told. */
#define FLIGHT_AGE_MAX_US (UINT64_C(15) * 60 * 1000 * 1000)

/* Found by its key; in an entry or a flight. */
struct node {
    struct node *next;
    struct answer_key key;
};

struct table {
    struct node **buckets;
    size_t n_buckets;
    size_t n;
};

struct entry {
    struct node node;
    struct dyn_list link; /* in `recent`: the one used last is the last */
    dyn_block_t *answer;
    struct env_usage usage;
    uint64_t stored_us;
    size_t bytes;
};

struct answer_flight {
    struct node node;
    struct answer_call *leader;
    struct dyn_list waiting;
    unsigned failures;
    bool is_orphan; /* the leader's client is gone */
    uint64_t began_us;
};

struct answer_cache {
    atomic_uint refs;
    pthread_mutex_t lock;
    struct answer_counters *counters;
    struct answer_counters own_counters; /* when nobody lent some */
    struct answer_limits limits;
    struct table entries;
    struct table flights;
    struct dyn_list recent;
    uint64_t bytes;
};

/* ---- tables ---- */

static void
table_init(struct table *table)
{
    table->n_buckets = BUCKETS_FIRST;
    table->n = 0;
    table->buckets = dyn_zalloc(table->n_buckets * sizeof(struct node *));
}

/* Keys are digests: any bytes of them are a hash. */
static struct node **
bucket_of(const struct table *table, const struct answer_key *key)
{
    size_t hash;
    memcpy(&hash, key->bytes, sizeof hash);
    return &table->buckets[hash & (table->n_buckets - 1)];
}

static void
table_grow(struct table *table)
{
    struct table former = *table;
    table->n_buckets *= 2;
    table->buckets = dyn_zalloc(table->n_buckets * sizeof(struct node *));
    for (size_t i = 0; i < former.n_buckets; i++) {
        for (struct node *node = former.buckets[i], *next; node != NULL; node = next) {
            struct node **bucket = bucket_of(table, &node->key);
            next = node->next;
            node->next = *bucket;
            *bucket = node;
        }
    }
    free(former.buckets);
}

static void
table_add(struct table *table, struct node *node, const struct answer_key *key)
{
    if (table->n == table->n_buckets) {
        table_grow(table);
    }
    struct node **bucket = bucket_of(table, key);
    node->key = *key;
    node->next = *bucket;
    *bucket = node;
    table->n++;
}

static struct node *
table_find(const struct table *table, const struct answer_key *key)
{
    struct node *node = *bucket_of(table, key);
    while (node != NULL && memcmp(&node->key, key, sizeof *key) != 0) {
        node = node->next;
    }
    return node;
}

static void
table_remove(struct table *table, const struct node *node)
{
    struct node **at = bucket_of(table, &node->key);
    while (*at != node) {
        at = &(*at)->next;
    }
    *at = node->next;
    table->n--;
}

static void
count(atomic_uint_fast64_t *counter, uint64_t n)
{
    (void)atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static void
uncount(atomic_uint_fast64_t *gauge, uint64_t n)
{
    (void)atomic_fetch_sub_explicit(gauge, n, memory_order_relaxed);
}

/* ---- what is kept; all under the lock ---- */

static void
drop(answer_cache_t *cache, struct entry *entry)
{
    table_remove(&cache->entries, &entry->node);
    dyn_list_remove(&entry->link);
    cache->bytes -= entry->bytes;
    uncount(&cache->counters->entries, 1);
    uncount(&cache->counters->bytes, entry->bytes);
    dyn_block_unref(&entry->answer);
    free(entry);
}

static void
evict(answer_cache_t *cache)
{
    while (cache->entries.n > cache->limits.max_entries || cache->bytes > cache->limits.max_bytes) {
        drop(cache, DYN_CONTAINER_OF(cache->recent.next, struct entry, link));
        count(&cache->counters->evicted, 1);
    }
}

static size_t
size_of(const dyn_block_t *answer)
{
    size_t share = 2 * sizeof(struct node *); /* of a table that has just grown */
    return sizeof(struct entry) + share + sizeof *answer + answer->cap;
}

static void
keep(answer_cache_t *cache, const struct answer_key *key, dyn_block_t *answer, const struct env_usage *usage,
     uint64_t now_us)
{
    size_t bytes = size_of(answer);
    struct node *former = table_find(&cache->entries, key);
    if (former != NULL) {
        drop(cache, DYN_CONTAINER_OF(former, struct entry, node));
    }
    if (cache->limits.max_age_us == 0 || cache->limits.max_entries == 0 || bytes > cache->limits.max_bytes) {
        return;
    }
    struct entry *entry = dyn_zalloc(sizeof *entry);
    entry->answer = dyn_block_ref(answer);
    entry->usage = *usage;
    entry->stored_us = now_us;
    entry->bytes = bytes;
    dyn_list_append(&cache->recent, &entry->link);
    table_add(&cache->entries, &entry->node, key);
    cache->bytes += bytes;
    count(&cache->counters->entries, 1);
    count(&cache->counters->bytes, bytes);
    evict(cache);
}

static struct entry *
find(answer_cache_t *cache, const struct answer_key *key, const struct answer_asking *asking)
{
    struct node *node = table_find(&cache->entries, key);
    struct entry *entry = node != NULL ? DYN_CONTAINER_OF(node, struct entry, node) : NULL;
    if (entry == NULL) {
        return NULL;
    }
    uint64_t age_us = asking->now_us > entry->stored_us ? asking->now_us - entry->stored_us : 0;
    if (age_us >= cache->limits.max_age_us) {
        drop(cache, entry);
        return NULL;
    }
    if (age_us > asking->max_age_us) {
        return NULL;
    }
    dyn_list_remove(&entry->link);
    dyn_list_append(&cache->recent, &entry->link);
    return entry;
}

/* ---- calls; all under the lock ---- */

static void
decide(struct answer_call *call, enum answer_outcome outcome)
{
    dyn_list_remove(&call->link);
    call->outcome = outcome;
    dyn_list_append(&call->seat->done, &call->link);
    call->seat->wake(call->seat->arg);
}

static struct answer_call *
first_waiting(const struct answer_flight *flight)
{
    return dyn_list_is_empty(&flight->waiting)
               ? NULL
               : DYN_CONTAINER_OF(flight->waiting.next, struct answer_call, link);
}

static void
lead(struct answer_flight *flight, struct answer_call *call)
{
    flight->leader = call;
    flight->is_orphan = false;
    call->flight = flight;
    call->leads = true;
}

/* Nobody leads any more: the next one does, or it is over. */
static void
promote(answer_cache_t *cache, struct answer_flight *flight)
{
    struct answer_call *next = first_waiting(flight);
    if (next == NULL) {
        table_remove(&cache->flights, &flight->node);
        free(flight);
        return;
    }
    lead(flight, next);
    decide(next, ANSWER_PROMOTED);
}

static struct answer_flight *
flight_new(answer_cache_t *cache, const struct answer_key *key, uint64_t now_us)
{
    struct answer_flight *flight = dyn_zalloc(sizeof *flight);
    dyn_list_init(&flight->waiting);
    flight->began_us = now_us;
    table_add(&cache->flights, &flight->node, key);
    return flight;
}

/* Those that wait go each for itself, and who asks anew has nothing to do with it. */
static void
forsake(answer_cache_t *cache, struct answer_flight *flight)
{
    flight->leader->flight = NULL;
    for (struct answer_call *call; (call = first_waiting(flight)) != NULL;) {
        call->flight = NULL;
        call->leads = true;
        decide(call, ANSWER_PROMOTED);
    }
    table_remove(&cache->flights, &flight->node);
    free(flight);
}

static enum answer_found
join(answer_cache_t *cache, const struct answer_asking *asking, struct answer_call *call)
{
    struct node *node = table_find(&cache->flights, &call->key);
    struct answer_flight *flight = node != NULL ? DYN_CONTAINER_OF(node, struct answer_flight, node) : NULL;
    if (flight != NULL && asking->now_us > flight->began_us + FLIGHT_AGE_MAX_US) {
        forsake(cache, flight);
        flight = NULL;
    }
    if (flight == NULL) {
        lead(flight_new(cache, &call->key, asking->now_us), call);
        return ANSWER_LEADS;
    }
    if (!asking->reads) { /* goes alone, and nobody waits for it */
        call->leads = true;
        return ANSWER_LEADS;
    }
    call->flight = flight;
    dyn_list_append(&flight->waiting, &call->link);
    return ANSWER_WAITS;
}

/* ---- from outside ---- */

answer_cache_t *
answer_cache_new(const struct answer_limits *limits, struct answer_counters *counters)
{
    answer_cache_t *cache = dyn_zalloc(sizeof *cache);
    atomic_init(&cache->refs, 1);
    (void)pthread_mutex_init(&cache->lock, NULL);
    cache->counters = counters != NULL ? counters : &cache->own_counters;
    cache->limits = *limits;
    dyn_list_init(&cache->recent);
    table_init(&cache->entries);
    table_init(&cache->flights);
    return cache;
}

answer_cache_t *
answer_cache_ref(answer_cache_t *cache)
{
    (void)atomic_fetch_add_explicit(&cache->refs, 1, memory_order_relaxed);
    return cache;
}

void
answer_cache_unref(answer_cache_t **cache_p)
{
    answer_cache_t *cache = *cache_p;
    *cache_p = NULL;
    if (cache == NULL || atomic_fetch_sub_explicit(&cache->refs, 1, memory_order_acq_rel) > 1) {
        return;
    }
    while (!dyn_list_is_empty(&cache->recent)) {
        drop(cache, DYN_CONTAINER_OF(cache->recent.next, struct entry, link));
    }
    DYN_ASSERT(cache->flights.n == 0);
    free(cache->entries.buckets);
    free(cache->flights.buckets);
    (void)pthread_mutex_destroy(&cache->lock);
    free(cache);
}

void
answer_cache_limit(answer_cache_t *cache, const struct answer_limits *limits)
{
    (void)pthread_mutex_lock(&cache->lock);
    cache->limits = *limits;
    evict(cache);
    (void)pthread_mutex_unlock(&cache->lock);
}

enum answer_found
answer_cache_ask(answer_cache_t *cache, const struct answer_key *key, const struct answer_asking *asking,
                 struct answer_call *call)
{
    enum answer_found found = ANSWER_HIT;
    dyn_list_init(&call->link);
    call->key = *key;
    call->stores = asking->stores;
    (void)pthread_mutex_lock(&cache->lock);
    const struct entry *entry = asking->reads ? find(cache, key, asking) : NULL;
    if (entry != NULL) {
        call->answer = dyn_block_ref(entry->answer);
        call->usage = entry->usage;
    } else {
        found = join(cache, asking, call);
    }
    (void)pthread_mutex_unlock(&cache->lock);
    if (found != ANSWER_WAITS) {
        count(found == ANSWER_HIT ? &cache->counters->hits : &cache->counters->misses, 1);
    }
    return found;
}

void
answer_call_succeeded(answer_cache_t *cache, struct answer_call *call, dyn_block_t *answer,
                      const struct env_usage *usage, uint64_t now_us)
{
    (void)pthread_mutex_lock(&cache->lock);
    struct answer_flight *flight = call->flight;
    call->flight = NULL;
    if (call->stores) {
        keep(cache, &call->key, answer, usage, now_us);
    }
    for (struct answer_call *other; flight != NULL && (other = first_waiting(flight)) != NULL;) {
        other->flight = NULL;
        other->answer = dyn_block_ref(answer);
        other->usage = *usage;
        decide(other, ANSWER_READY);
        count(&cache->counters->shared, 1);
    }
    if (flight != NULL) {
        table_remove(&cache->flights, &flight->node);
        free(flight);
    }
    dyn_list_remove(&call->link); /* ABANDONED may not have been taken yet */
    (void)pthread_mutex_unlock(&cache->lock);
}

static void
fail_all(answer_cache_t *cache, struct answer_flight *flight, enum err_code error, struct dyn_slice text)
{
    size_t len = text.len < ANSWER_ERROR_TEXT_MAX ? text.len : ANSWER_ERROR_TEXT_MAX - 1;
    for (struct answer_call *call; (call = first_waiting(flight)) != NULL;) {
        call->flight = NULL;
        call->error = error;
        (void)snprintf(call->error_text, sizeof call->error_text, "%.*s", (int)len,
                       text.data != NULL ? text.data : "");
        decide(call, ANSWER_FAILED);
    }
    table_remove(&cache->flights, &flight->node);
    free(flight);
}

void
answer_call_failed(answer_cache_t *cache, struct answer_call *call, enum err_code error,
                   struct dyn_slice text)
{
    (void)pthread_mutex_lock(&cache->lock);
    struct answer_flight *flight = call->flight;
    call->flight = NULL;
    dyn_list_remove(&call->link);
    if (flight != NULL && flight->failures == FAILURES_MAX) {
        fail_all(cache, flight, error, text);
    } else if (flight != NULL) {
        flight->failures++;
        promote(cache, flight);
    }
    (void)pthread_mutex_unlock(&cache->lock);
}

void
answer_call_unfit(answer_cache_t *cache, struct answer_call *call)
{
    (void)pthread_mutex_lock(&cache->lock);
    dyn_list_remove(&call->link);
    if (call->flight != NULL) {
        forsake(cache, call->flight);
    }
    (void)pthread_mutex_unlock(&cache->lock);
}

bool
answer_call_orphaned(answer_cache_t *cache, struct answer_call *call)
{
    (void)pthread_mutex_lock(&cache->lock);
    struct answer_flight *flight = call->flight;
    bool is_alone = flight == NULL || dyn_list_is_empty(&flight->waiting);
    if (flight != NULL && is_alone) { /* whoever asks now has a call of its own */
        table_remove(&cache->flights, &flight->node);
        free(flight);
        call->flight = NULL;
    } else if (flight != NULL) {
        flight->is_orphan = true;
    }
    (void)pthread_mutex_unlock(&cache->lock);
    return is_alone;
}

/* The last of those for whom a call without a client went on. */
static void
look_whether_abandoned(answer_cache_t *cache, struct answer_flight *flight)
{
    if (flight->is_orphan && dyn_list_is_empty(&flight->waiting)) {
        flight->leader->flight = NULL;
        decide(flight->leader, ANSWER_ABANDONED);
        table_remove(&cache->flights, &flight->node);
        free(flight);
    }
}

void
answer_call_leave(answer_cache_t *cache, struct answer_call *call)
{
    (void)pthread_mutex_lock(&cache->lock);
    struct answer_flight *flight = call->flight;
    dyn_list_remove(&call->link);
    call->flight = NULL;
    if (flight != NULL && call->leads) {
        promote(cache, flight);
    } else if (flight != NULL) {
        look_whether_abandoned(cache, flight);
    }
    (void)pthread_mutex_unlock(&cache->lock);
    dyn_block_unref(&call->answer);
}

struct answer_call *
answer_seat_take(answer_cache_t *cache, struct answer_seat *seat)
{
    (void)pthread_mutex_lock(&cache->lock);
    struct dyn_list *link = dyn_list_pop(&seat->done);
    (void)pthread_mutex_unlock(&cache->lock);
    struct answer_call *call = link != NULL ? DYN_CONTAINER_OF(link, struct answer_call, link) : NULL;
    if (call != NULL && call->outcome == ANSWER_PROMOTED) {
        count(&cache->counters->misses, 1);
    }
    return call;
}
