/* See guessing.h. Each address has the time at which its failures are paid off (GCRA), which is all that
 * needs to be kept. */
#include "router/guessing.h"

#include "core/rand.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { WAYS = 8, SETS = GUESSING_ADDRESSES / WAYS };

struct entry {
    uint64_t address; /* hashed with a seed; 0: free */
    uint64_t paid_us;
};

struct guessing {
    pthread_mutex_t lock;
    uint64_t interval_us; /* that one failure costs */
    uint64_t window_us;
    uint64_t seed;
    atomic_uint_fast64_t latest_us; /* nobody is slowed from then on */
    struct entry entries[SETS][WAYS];
};

guessing_t *
guessing_new(uint32_t failures, uint64_t window_us)
{
    if (failures == 0 || window_us < failures) {
        return NULL;
    }
    guessing_t *guessing = dyn_zalloc(sizeof *guessing);
    (void)pthread_mutex_init(&guessing->lock, NULL);
    guessing->interval_us = window_us / failures;
    guessing->window_us = window_us;
    dyn_random_bytes(&guessing->seed, sizeof guessing->seed);
    return guessing;
}

void
guessing_free(guessing_t **guessing_p)
{
    if (*guessing_p != NULL) {
        (void)pthread_mutex_destroy(&(*guessing_p)->lock);
        free(*guessing_p);
    }
    *guessing_p = NULL;
}

/* ---- addresses ---- */

static uint64_t
hash(uint64_t seed, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    uint64_t sum = UINT64_C(0xcbf29ce484222325) ^ seed;
    for (size_t i = 0; i < len; i++) {
        sum = (sum ^ at[i]) * UINT64_C(0x100000001b3);
    }
    sum = (sum ^ sum >> 32) * UINT64_C(0x9e3779b97f4a7c15);
    return (sum ^ sum >> 29) | 1;
}

struct dyn_slice
guessing_host(struct dyn_slice address)
{
    if (address.len > 0 && address.data[0] == '[') {
        const char *end = memchr(address.data, ']', address.len);
        return end != NULL ? dyn_slice(address.data + 1, (size_t)(end - address.data) - 1) : address;
    }
    const char *first = address.len > 0 ? memchr(address.data, ':', address.len) : NULL;
    const char *last = address.len > 0 ? memrchr(address.data, ':', address.len) : NULL;
    return first != NULL && first == last ? dyn_slice(address.data, (size_t)(first - address.data)) : address;
}

static uint64_t
number_of(const guessing_t *guessing, struct dyn_slice address)
{
    enum { NETWORK_BYTES = 8 };
    char text[INET6_ADDRSTRLEN];
    struct in6_addr v6;
    struct dyn_slice host = guessing_host(address);
    if (host.len > 0 && host.len < sizeof text && memchr(host.data, ':', host.len) != NULL) {
        memcpy(text, host.data, host.len);
        text[host.len] = '\0';
        if (inet_pton(AF_INET6, text, &v6) == 1) {
            return hash(guessing->seed, &v6, NETWORK_BYTES);
        }
    }
    return hash(guessing->seed, host.data != NULL ? host.data : "", host.len);
}

/* ---- failures ---- */

static struct entry *
find(guessing_t *guessing, uint64_t address)
{
    struct entry *set = guessing->entries[(address >> 1) % SETS];
    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].address == address) {
            return &set[i];
        }
    }
    return NULL;
}

/* Its own place, a free one, or that of who will be paid off first. */
static struct entry *
find_or_take(guessing_t *guessing, uint64_t address)
{
    struct entry *set = guessing->entries[(address >> 1) % SETS];
    struct entry *found = find(guessing, address);
    if (found != NULL) {
        return found;
    }
    found = &set[0];
    for (size_t i = 1; i < WAYS; i++) {
        found = set[i].paid_us < found->paid_us ? &set[i] : found;
    }
    *found = (struct entry){.address = address};
    return found;
}

void
guessing_failed(guessing_t *guessing, struct dyn_slice address, uint64_t now_us)
{
    if (guessing == NULL) {
        return;
    }
    uint64_t number = number_of(guessing, address);
    (void)pthread_mutex_lock(&guessing->lock);
    struct entry *entry = find_or_take(guessing, number);
    entry->paid_us = (entry->paid_us > now_us ? entry->paid_us : now_us) + guessing->interval_us;
    if (entry->paid_us > now_us + guessing->window_us) { /* who goes on all the same does not wait longer */
        entry->paid_us = now_us + guessing->window_us;
    }
    if (entry->paid_us + guessing->interval_us > now_us + guessing->window_us &&
        entry->paid_us > atomic_load_explicit(&guessing->latest_us, memory_order_relaxed)) {
        atomic_store_explicit(&guessing->latest_us, entry->paid_us, memory_order_relaxed);
    }
    (void)pthread_mutex_unlock(&guessing->lock);
}

uint32_t
guessing_wait_s(guessing_t *guessing, struct dyn_slice address, uint64_t now_us)
{
    if (guessing == NULL || atomic_load_explicit(&guessing->latest_us, memory_order_relaxed) <= now_us) {
        return 0;
    }
    uint64_t number = number_of(guessing, address);
    (void)pthread_mutex_lock(&guessing->lock);
    const struct entry *entry = find(guessing, number);
    uint64_t paid_us = entry != NULL ? entry->paid_us : 0;
    (void)pthread_mutex_unlock(&guessing->lock);
    /* Room for one more failure: by then one interval of the window is free. */
    uint64_t free_us = paid_us + guessing->interval_us > guessing->window_us
                           ? paid_us + guessing->interval_us - guessing->window_us
                           : 0;
    return free_us > now_us ? (uint32_t)((free_us - now_us + 999999) / 1000000) : 0;
}
