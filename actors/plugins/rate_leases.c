#include "actors/plugins/rate_leases.h"

#include "core/digest.h"
#include "core/rand.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    SLOT_BITS = 22, /* of a holder's id: where its lease stands; the rest is random */
    BUCKETS_MAX = 65536,
    CELLS_FIRST = 16,
    IDLE_US = 1000000, /* nobody used it for so long: its piece goes back */
    PAUSE_US = 20000,  /* there was nothing, but something may come */
    EVICT_LOOKS = 16,
    TEXT_MAX = 1024, /* of a name that is hashed at once */
};

struct rate_leases {
    struct rate_leases_options options;
    struct lease_counters own_counters;
    pthread_mutex_t lock;
    struct rate_lease **buckets;
    size_t n_buckets;
    struct rate_lease **slots;
    size_t n_slots;
    size_t *free_slots; /* a stack */
    size_t n_free;
    size_t n;
    struct dyn_list used;
    struct dyn_list active;
    size_t n_active;
    bool is_lost;     /* nobody answers: new leases know at once */
    uint32_t holders; /* that the owner knew last */
    void **cells;     /* grows; those of former configurations leave when their requests have ended */
    size_t n_cells;
    size_t cells_size;
};

rate_leases_t *
rate_leases_new(const struct rate_leases_options *options)
{
    rate_leases_t *leases = dyn_zalloc(sizeof *leases);
    leases->options = *options;
    if (leases->options.counters == NULL) {
        leases->options.counters = &leases->own_counters;
    }
    if (leases->options.entries_max >= (size_t)1 << SLOT_BITS) {
        leases->options.entries_max = ((size_t)1 << SLOT_BITS) - 1;
    }
    for (leases->n_buckets = 64;
         leases->n_buckets < BUCKETS_MAX && leases->n_buckets < leases->options.entries_max;) {
        leases->n_buckets *= 2;
    }
    leases->buckets = dyn_zalloc(leases->n_buckets * sizeof *leases->buckets);
    leases->holders = 1;
    dyn_list_init(&leases->used);
    dyn_list_init(&leases->active);
    (void)pthread_mutex_init(&leases->lock, NULL);
    return leases;
}

static void
deactivate(rate_leases_t *leases, struct rate_lease *lease)
{
    if (dyn_list_is_linked(&lease->active)) {
        dyn_list_remove(&lease->active);
        leases->n_active--;
        (void)atomic_fetch_sub_explicit(&leases->options.counters->open, 1, memory_order_relaxed);
    }
}

static void
activate(rate_leases_t *leases, struct rate_lease *lease)
{
    if (!dyn_list_is_linked(&lease->active)) {
        dyn_list_append(&leases->active, &lease->active);
        leases->n_active++;
        (void)atomic_fetch_add_explicit(&leases->options.counters->open, 1, memory_order_relaxed);
    }
}

static void
lease_free(rate_leases_t *leases, struct rate_lease *lease)
{
    struct rate_lease **at = &leases->buckets[lease->key.low % leases->n_buckets];
    while (*at != lease) {
        at = &(*at)->next;
    }
    *at = lease->next;
    deactivate(leases, lease);
    dyn_list_remove(&lease->used);
    leases->slots[lease->slot] = NULL;
    leases->free_slots[leases->n_free++] = lease->slot;
    leases->n--;
    free(lease);
}

void
rate_leases_free(rate_leases_t **leases_p)
{
    rate_leases_t *leases = *leases_p;
    *leases_p = NULL;
    if (leases == NULL) {
        return;
    }
    while (!dyn_list_is_empty(&leases->used)) {
        lease_free(leases, DYN_CONTAINER_OF(leases->used.next, struct rate_lease, used));
    }
    (void)pthread_mutex_destroy(&leases->lock);
    free(leases->cells);
    free(leases->slots);
    free(leases->free_slots);
    free(leases->buckets);
    free(leases);
}

/* ---- cells ---- */

void
rate_leases_join(rate_leases_t *leases, void *cell)
{
    (void)pthread_mutex_lock(&leases->lock);
    if (leases->n_cells == leases->cells_size) {
        size_t more = leases->cells_size == 0 ? CELLS_FIRST : 2 * leases->cells_size;
        void **cells = dyn_zalloc(more * sizeof *cells);
        if (leases->n_cells != 0) {
            memcpy(cells, leases->cells, leases->n_cells * sizeof *cells);
        }
        free(leases->cells);
        leases->cells = cells;
        leases->cells_size = more;
    }
    leases->cells[leases->n_cells++] = cell;
    (void)pthread_mutex_unlock(&leases->lock);
}

void
rate_leases_part(rate_leases_t *leases, void *cell)
{
    (void)pthread_mutex_lock(&leases->lock);
    for (size_t i = 0; i < leases->n_cells; i++) {
        if (leases->cells[i] == cell) {
            leases->cells[i] = leases->cells[--leases->n_cells];
            break;
        }
    }
    (void)pthread_mutex_unlock(&leases->lock);
}

/* ---- finding ---- */

static struct rate_lease *
find(const rate_leases_t *leases, struct name_hash key)
{
    struct rate_lease *lease = leases->buckets[key.low % leases->n_buckets];
    while (lease != NULL && !name_hash_eq(lease->key, key)) {
        lease = lease->next;
    }
    return lease;
}

/* One that is idle, and not open, leaves. */
static bool
make_room(rate_leases_t *leases)
{
    struct dyn_list *link = leases->used.next;
    for (unsigned i = 0; i < EVICT_LOOKS && link != &leases->used; i++, link = link->next) {
        struct rate_lease *lease = DYN_CONTAINER_OF(link, struct rate_lease, used);
        if (lease->open == 0 && !dyn_list_is_linked(&lease->active)) {
            lease_free(leases, lease);
            return true;
        }
    }
    return false;
}

static size_t
take_slot(rate_leases_t *leases)
{
    if (leases->n_free == 0) {
        size_t more = leases->n_slots == 0 ? 64 : 2 * leases->n_slots;
        struct rate_lease **slots = dyn_zalloc(more * sizeof *slots);
        if (leases->n_slots != 0) {
            memcpy(slots, leases->slots, leases->n_slots * sizeof *slots);
        }
        free(leases->slots);
        free(leases->free_slots);
        leases->slots = slots;
        leases->free_slots = dyn_zalloc(more * sizeof *leases->free_slots);
        for (size_t i = more; i > leases->n_slots; i--) {
            leases->free_slots[leases->n_free++] = i - 1;
        }
        leases->n_slots = more;
    }
    return leases->free_slots[--leases->n_free];
}

static void
name_of(const struct rate_identity *identity, char out[16])
{
    uint8_t digest[DYN_SHA256_BYTES], inner[DYN_SHA256_BYTES];
    char text[TEXT_MAX];
    dyn_sha256(identity->name, inner); /* names are of any length */
    int len = snprintf(text, sizeof text, "rate-limit %s %s %llu/%llu ", identity->who, identity->what,
                       (unsigned long long)identity->amount, (unsigned long long)identity->period_us);
    memcpy(text + len, inner, sizeof inner);
    dyn_sha256(dyn_slice(text, (size_t)len + sizeof inner), digest);
    memcpy(out, digest, 16);
}

static struct rate_lease *
lease_new(rate_leases_t *leases, const struct rate_identity *identity, struct limits_now now)
{
    uint64_t random;
    if (leases->n >= leases->options.entries_max && !make_room(leases)) {
        return NULL;
    }
    struct rate_lease *lease = dyn_zalloc(sizeof *lease);
    dyn_random_bytes(&random, sizeof random);
    lease->slot = take_slot(leases);
    uint64_t id = (random >> 1 & ~((UINT64_C(1) << SLOT_BITS) - 1)) | lease->slot | UINT64_C(1) << 62;
    if (lease_holder_init(&lease->holder, id, identity->amount, identity->period_us, leases->options.fallback,
                          now, NULL) < 0) {
        leases->free_slots[leases->n_free++] = lease->slot;
        free(lease);
        return NULL;
    }
    atomic_store(&lease->holder.holders, leases->holders);
    lease->key = identity->key;
    name_of(identity, lease->name);
    dyn_list_init(&lease->active);
    dyn_list_init(&lease->used);
    dyn_list_append(&leases->used, &lease->used);
    struct rate_lease **bucket = &leases->buckets[lease->key.low % leases->n_buckets];
    lease->next = *bucket;
    *bucket = lease;
    leases->slots[lease->slot] = lease;
    leases->n++;
    return lease;
}

struct rate_lease *
rate_lease_open(rate_leases_t *leases, const struct rate_identity *identity, struct limits_now now)
{
    (void)pthread_mutex_lock(&leases->lock);
    struct rate_lease *lease = find(leases, identity->key);
    lease = lease != NULL ? lease : lease_new(leases, identity, now);
    if (lease != NULL) {
        lease->open++;
        lease->used_at_us = now.mono_us;
        dyn_list_remove(&lease->used);
        dyn_list_append(&leases->used, &lease->used);
        if (lease->holder.first_asked_at_us == 0) { /* what others have heard holds for it */
            atomic_store_explicit(&lease->holder.is_lost, leases->is_lost, memory_order_relaxed);
        }
    }
    (void)pthread_mutex_unlock(&leases->lock);
    return lease;
}

void
rate_lease_close(rate_leases_t *leases, struct rate_lease *lease)
{
    (void)pthread_mutex_lock(&leases->lock);
    lease->open--;
    (void)pthread_mutex_unlock(&leases->lock);
}

void
rate_lease_want(rate_leases_t *leases, struct rate_lease *lease, uint64_t n)
{
    (void)pthread_mutex_lock(&leases->lock);
    lease_holder_want(&lease->holder, n);
    activate(leases, lease);
    (void)pthread_mutex_unlock(&leases->lock);
}

void
rate_lease_changed(rate_leases_t *leases, struct rate_lease *lease, uint64_t owed)
{
    (void)pthread_mutex_lock(&leases->lock);
    lease_holder_owe(&lease->holder, owed);
    activate(leases, lease); /* what came back is returned, if nobody uses it */
    (void)pthread_mutex_unlock(&leases->lock);
}

bool
rate_leases_are_idle(rate_leases_t *leases)
{
    (void)pthread_mutex_lock(&leases->lock);
    bool is_idle = leases->n_active == 0;
    (void)pthread_mutex_unlock(&leases->lock);
    return is_idle;
}

/* ---- asking ---- */

static void
add_row(const struct rate_lease *lease, const struct lease_ask *ask, struct dyn_buf *rows)
{
    struct ledger_row row = {.table = LEDGER_LEASE};
    row.of.lease = (struct ledger_lease){.name = dyn_slice(lease->name, sizeof lease->name),
                                         .holder = ask->holder,
                                         .limit = lease->holder.spec.amount,
                                         .period_us = lease->holder.period_us,
                                         .owner = ask->owner,
                                         .sequence = ask->sequence,
                                         .window = ask->window,
                                         .used = ask->used,
                                         .returned = ask->returned,
                                         .wants = ask->wants,
                                         .goodbye = ask->is_goodbye};
    ledger_row_encode(&row, rows);
}

static void
note_lost(rate_leases_t *leases, const struct rate_lease *lease)
{
    if (atomic_load_explicit(&lease->holder.is_lost, memory_order_relaxed) && !leases->is_lost) {
        leases->is_lost = true;
        (void)atomic_fetch_add_explicit(&leases->options.counters->owner_lost, 1, memory_order_relaxed);
    }
}

/* False: it is not active any more. */
static bool
look_at(rate_leases_t *leases, struct rate_lease *lease, struct limits_now now)
{
    struct lease_holder *holder = &lease->holder;
    if (now.mono_us - lease->used_at_us >= IDLE_US && holder->wants == 0) {
        lease_holder_leave(holder);
    }
    if (lease_holder_is_gone(holder, now)) {
        (void)atomic_fetch_add_explicit(&leases->options.counters->returned, 1, memory_order_relaxed);
        deactivate(leases, lease);
        return false;
    }
    return true;
}

static bool
collect_one(rate_leases_t *leases, struct rate_lease *lease, struct limits_now now, struct dyn_buf *rows)
{
    struct lease_ask ask;
    bool is_asked = now.mono_us >= lease->pause_until_us && lease_holder_ask(&lease->holder, now, &ask);
    if (is_asked) {
        add_row(lease, &ask, rows);
        note_lost(leases, lease);
    }
    return is_asked;
}

bool
rate_lease_collect(rate_leases_t *leases, struct rate_lease *lease, struct limits_now now,
                   struct dyn_buf *rows)
{
    (void)pthread_mutex_lock(&leases->lock);
    bool is_asked = collect_one(leases, lease, now, rows);
    (void)pthread_mutex_unlock(&leases->lock);
    return is_asked;
}

size_t
rate_leases_collect(rate_leases_t *leases, struct limits_now now, struct dyn_buf *rows)
{
    size_t n = 0;
    struct dyn_list *next;
    (void)pthread_mutex_lock(&leases->lock);
    for (struct dyn_list *link = leases->active.next; link != &leases->active && n < RATE_LEASES_ROWS_MAX;
         link = next) {
        struct rate_lease *lease = DYN_CONTAINER_OF(link, struct rate_lease, active);
        next = link->next;
        n += look_at(leases, lease, now) && collect_one(leases, lease, now, rows);
    }
    (void)pthread_mutex_unlock(&leases->lock);
    return n;
}

size_t
rate_leases_collect_goodbyes(rate_leases_t *leases, struct limits_now now, struct dyn_buf *rows)
{
    size_t n = 0;
    (void)pthread_mutex_lock(&leases->lock);
    while (!dyn_list_is_empty(&leases->active) && n < RATE_LEASES_ROWS_MAX) {
        struct rate_lease *lease = DYN_CONTAINER_OF(leases->active.next, struct rate_lease, active);
        struct lease_ask ask;
        lease_holder_goodbye(&lease->holder, now, &ask);
        add_row(lease, &ask, rows);
        deactivate(leases, lease);
        n++;
    }
    (void)pthread_mutex_unlock(&leases->lock);
    return n;
}

/* ---- being answered ---- */

static uint64_t
has_left(const struct rate_lease *lease, struct limits_now now)
{
    return bucket_look(&lease->holder.piece, &lease->holder.spec, 0, now).left;
}

/* NULL: the row is about none of ours. */
static struct rate_lease *
take_row(rate_leases_t *leases, const struct ledger_lease *row, struct limits_now now)
{
    size_t slot = row->holder & ((UINT64_C(1) << SLOT_BITS) - 1);
    struct rate_lease *lease = slot < leases->n_slots ? leases->slots[slot] : NULL;
    struct lease_grant grant = {.holder = row->holder,
                                .owner = row->owner,
                                .sequence = row->sequence,
                                .window = row->window,
                                .given = row->given,
                                .left_us = row->left_us,
                                .limit = row->limit,
                                .holders = row->holders < UINT32_MAX ? (uint32_t)row->holders : UINT32_MAX,
                                .is_wanted_back = row->wanted_back != 0,
                                .may_come = row->may_come != 0,
                                .left = row->left};
    if (lease == NULL || lease->holder.id != row->holder || row->limit != lease->holder.spec.amount ||
        row->left_us > lease->holder.period_us) {
        return NULL;
    }
    uint64_t wanted = lease->holder.wants, before = has_left(lease, now);
    lease_holder_grant(&lease->holder, &grant, now);
    bool has_more = has_left(lease, now) > before;
    lease->pause_until_us = wanted != 0 && !has_more ? now.mono_us + PAUSE_US : 0;
    leases->holders = grant.holders != 0 ? grant.holders : 1;
    leases->is_lost = false;
    (void)atomic_fetch_add_explicit(has_more ? &leases->options.counters->granted
                                             : &leases->options.counters->renewed,
                                    1, memory_order_relaxed);
    return lease;
}

size_t
rate_leases_take(rate_leases_t *leases, const struct ledger_message *answer, struct limits_now now,
                 struct dyn_buf *rows)
{
    struct ledger_row row;
    size_t n = 0;
    (void)pthread_mutex_lock(&leases->lock);
    for (struct mp_cursor at = mp_cursor(answer->rows); ledger_row_next(&at, &row);) {
        struct rate_lease *lease = row.table == LEDGER_LEASE ? take_row(leases, &row.of.lease, now) : NULL;
        n += lease != NULL && lease->holder.is_wanted_back && collect_one(leases, lease, now, rows);
    }
    for (size_t i = 0; i < leases->n_cells; i++) {
        leases->options.wake(leases->cells[i]);
    }
    (void)pthread_mutex_unlock(&leases->lock);
    return n;
}
