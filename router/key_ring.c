/* See key_ring.h. */
#include "router/key_ring.h"

#include <openssl/crypto.h>
#include <pthread.h>
#include <stdlib.h>

struct key_ring {
    pthread_mutex_t lock; /* of `table` */
    key_table_t *table;
    atomic_uint_fast64_t changes; /* grows with each table, from 1 */
    uint64_t max_stale_us;
    atomic_uint_fast64_t heard_us;
};

key_ring_t *
key_ring_new(uint64_t max_stale_us)
{
    key_ring_t *ring = dyn_zalloc(sizeof *ring);
    (void)pthread_mutex_init(&ring->lock, NULL);
    atomic_init(&ring->changes, 1);
    ring->max_stale_us = max_stale_us;
    return ring;
}

void
key_ring_free(key_ring_t **ring_p)
{
    key_ring_t *ring = *ring_p;
    *ring_p = NULL;
    if (ring != NULL) {
        key_table_unref(&ring->table);
        (void)pthread_mutex_destroy(&ring->lock);
        free(ring);
    }
}

void
key_ring_set(key_ring_t *ring, key_table_t **table_p)
{
    (void)pthread_mutex_lock(&ring->lock);
    key_table_t *former = ring->table;
    ring->table = *table_p;
    *table_p = NULL;
    (void)atomic_fetch_add_explicit(&ring->changes, 1, memory_order_release);
    (void)pthread_mutex_unlock(&ring->lock);
    key_table_unref(&former);
}

key_table_t *
key_ring_get(key_ring_t *ring)
{
    (void)pthread_mutex_lock(&ring->lock);
    key_table_t *table = ring->table != NULL ? key_table_ref(ring->table) : NULL;
    (void)pthread_mutex_unlock(&ring->lock);
    return table;
}

void
key_ring_confirm(key_ring_t *ring, uint64_t now_us)
{
    atomic_store_explicit(&ring->heard_us, now_us, memory_order_relaxed);
}

bool
key_ring_has_table(const key_ring_t *ring)
{
    return atomic_load_explicit(&ring->changes, memory_order_relaxed) > 1;
}

bool
key_ring_is_fresh(const key_ring_t *ring, uint64_t now_us)
{
    uint64_t heard_us = atomic_load_explicit(&ring->heard_us, memory_order_relaxed);
    if (ring->max_stale_us == 0) {
        return key_ring_has_table(ring);
    }
    return heard_us != 0 && now_us < heard_us + ring->max_stale_us;
}

/* ---- one cell ---- */

void
key_cell_init(struct key_cell *cell, key_ring_t *ring)
{
    *cell = (struct key_cell){.ring = ring};
}

/* Secrets lie there. */
static void
forget_known(struct key_cell *cell)
{
    if (cell->known != NULL) {
        OPENSSL_cleanse(cell->known, KEY_CELL_KNOWN * sizeof *cell->known);
    }
}

void
key_cell_fini(struct key_cell *cell)
{
    forget_known(cell);
    free(cell->known);
    key_view_unref(&cell->view);
}

struct key_view *
key_cell_look(struct key_cell *cell)
{
    if (cell->ring == NULL) {
        return NULL;
    }
    uint64_t changes = atomic_load_explicit(&cell->ring->changes, memory_order_acquire);
    if (DYN_LIKELY(changes == cell->seen)) {
        return cell->view;
    }
    forget_known(cell);
    key_view_unref(&cell->view);
    cell->seen = changes;
    key_table_t *table = key_ring_get(cell->ring);
    if (table != NULL) {
        cell->view = dyn_alloc(sizeof *cell->view);
        *cell->view = (struct key_view){table, 1};
    }
    return cell->view;
}

/* Ids are random: their last digits spread well. */
static struct key_known *
place_of(struct key_cell *cell, struct dyn_slice id)
{
    unsigned at = (unsigned char)id.data[KEY_ID_LEN - 1] * 31u +
                  (unsigned char)id.data[KEY_ID_LEN - 2] * 17u + (unsigned char)id.data[KEY_ID_LEN - 3];
    return &cell->known[at % KEY_CELL_KNOWN];
}

const struct key_record *
key_cell_verify(struct key_cell *cell, struct dyn_slice credential)
{
    struct dyn_slice id;
    const struct key_view *view = key_cell_look(cell);
    if (view == NULL || !key_text_read(credential, &id)) {
        return key_table_verify(NULL, credential);
    }
    if (cell->known == NULL) {
        cell->known = dyn_zalloc(KEY_CELL_KNOWN * sizeof *cell->known);
    }
    struct key_known *known = place_of(cell, id);
    if (known->record != NULL && CRYPTO_memcmp(known->text, credential.data, KEY_TEXT_LEN) == 0) {
        return known->record;
    }
    const struct key_record *found = key_table_verify(view->table, credential);
    if (found != NULL) {
        known->record = found;
        memcpy(known->text, credential.data, KEY_TEXT_LEN);
    }
    return found;
}

struct key_view *
key_view_ref(struct key_view *view)
{
    if (view != NULL) {
        view->refs++;
    }
    return view;
}

void
key_view_unref(struct key_view **view_p)
{
    struct key_view *view = *view_p;
    *view_p = NULL;
    if (view != NULL && --view->refs == 0) {
        key_table_unref(&view->table);
        free(view);
    }
}
