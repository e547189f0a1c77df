/* Keys that a ledger keeps: see key_store.h. Asks for what has changed since the version that it knows; what
 * comes stays as it came until it is loaded into a table. One thread. */
#include "core/clock.h"
#include "core/log.h"
#include "router/key_rows.h"
#include "router/key_store.h"

#include <stdlib.h>

enum {
    PAGES_MAX = 4096, /* answers to one look: more than KEYS_MAX keys never fill them */
    STATUS_OK = 200,
    STATUS_CONFLICT = 409,
};
/* A ledger forgets deleted keys after a month: who was away for a day asks for all. */
#define AWAY_US UINT64_C(86400000000)
/* Looking at the uses of all keys reads them all: so many times what it took passes before the next. */
enum { USES_REST = 20, USES_REST_MIN_US = 500000 };

struct page {
    dyn_block_t *body;
    struct dyn_slice rows;
};

struct key_ledger {
    key_ring_t *ring;
    struct key_courier courier;
    bool is_known; /* a table of `version` was made */
    uint64_t version;
    uint64_t heard_us; /* monotonic: when it was asked what it answered last */
    bool is_away;
    uint64_t uses_after_us;

    struct page *pages; /* what has come since */
    size_t n_pages;
    size_t n_rows;
    bool is_whole; /* they are all keys, not those that have changed */
    bool has_news;
    uint64_t next_version;
};

static void
drop_pages(struct key_ledger *ledger)
{
    for (size_t i = 0; i < ledger->n_pages; i++) {
        dyn_block_unref(&ledger->pages[i].body);
    }
    free(ledger->pages);
    ledger->pages = NULL;
    ledger->n_pages = 0;
    ledger->n_rows = 0;
    ledger->has_news = false;
}

/* ---- asking ---- */

/* 0: an answer of status 200, which `body` keeps. */
static int
ask_keys(struct key_ledger *ledger, uint64_t since, dyn_block_t **body, struct ledger_message *answer,
         struct dyn_err *err)
{
    struct ledger_message question = {.op = DYN_SLICE("keys"), .since = since};
    uint16_t status;
    if (ledger->courier.ask(ledger->courier.self, &question, body, &status, err) != 0) {
        return -1;
    }
    if (status != STATUS_OK || ledger_message_decode(dyn_block_slice(*body), answer, err) != 0) {
        dyn_block_unref(body);
        return dyn_err_set(err, DYN_E_GONE, "the ledger gave no answer of use");
    }
    return 0;
}

static int
keep_page(struct key_ledger *ledger, dyn_block_t **body_p, const struct ledger_message *answer,
          uint64_t since, struct dyn_err *err)
{
    bool is_endless = answer->more != 0 && (answer->version <= since || ledger->n_pages == PAGES_MAX);
    if (is_endless) {
        dyn_block_unref(body_p);
        return dyn_err_set(err, DYN_E_LIMIT, "the ledger tells of keys without end");
    }
    if (answer->n_rows == 0) {
        dyn_block_unref(body_p);
        return 0;
    }
    ledger->pages = dyn_realloc(ledger->pages, (ledger->n_pages + 1) * sizeof *ledger->pages);
    ledger->pages[ledger->n_pages++] = (struct page){*body_p, answer->rows};
    ledger->n_rows += answer->n_rows;
    *body_p = NULL;
    return 0;
}

/* All that is new. A ledger that is behind what is known has another store than before: all of it, then. */
static int
fetch_all(struct key_ledger *ledger, struct dyn_err *err)
{
    uint64_t since = ledger->is_known ? ledger->version : 0;
    bool is_other_store = false;
    struct ledger_message answer = {0};
    dyn_block_t *body = NULL;
    drop_pages(ledger);
    do {
        if (ask_keys(ledger, since, &body, &answer, err) != 0) {
            return -1;
        }
        if (answer.version < since && !is_other_store) {
            dyn_block_unref(&body);
            drop_pages(ledger);
            is_other_store = true;
            since = 0;
            answer.more = 1;
            continue;
        }
        ledger->is_whole = ledger->n_pages == 0 ? since == 0 : ledger->is_whole;
        if (keep_page(ledger, &body, &answer, since, err) != 0) {
            return -1;
        }
        since = answer.version;
    } while (answer.more != 0);
    ledger->next_version = answer.version;
    ledger->has_news = ledger->n_pages > 0 || !ledger->is_known || is_other_store;
    return 0;
}

static void
tell_whether_away(struct key_ledger *ledger, bool is_away, const char *why)
{
    if (is_away && !ledger->is_away && ledger->is_known) {
        dyn_log(DYN_LOG_WARN, "keys.ledger",
                "the ledger of the keys can't be asked: those that were in force hold for `keys.max_stale`",
                DYN_LOG_STR("why", why));
    } else if (!is_away && ledger->is_away) {
        dyn_log(DYN_LOG_INFO, "keys.ledger", "the ledger of the keys answers");
    }
    ledger->is_away = is_away;
}

static int
fetch(struct key_ledger *ledger, struct dyn_err *err)
{
    uint64_t asked_us = dyn_mono_us(&dyn_clock_system);
    if (ledger->is_known && asked_us - ledger->heard_us > AWAY_US) {
        ledger->is_known = false;
    }
    int rc = fetch_all(ledger, err);
    if (rc != 0) {
        drop_pages(ledger);
        tell_whether_away(ledger, true, err->text);
        return -1;
    }
    tell_whether_away(ledger, false, NULL);
    ledger->heard_us = asked_us;
    if (!ledger->has_news) {
        key_ring_confirm(ledger->ring, asked_us);
    }
    return 0;
}

static bool
key_ledger_has_changed(void *self)
{
    struct key_ledger *ledger = self;
    struct dyn_err err;
    return fetch(ledger, &err) == 0 && ledger->has_news;
}

/* ---- a table of what was told ---- */

struct entry {
    struct key_record record;
    size_t rank; /* of two of the same id the higher one counts */
    bool is_gone;
};

struct merging {
    struct entry *entries;
    size_t n;
};

static int
compare_ids(const void *a, const void *b)
{
    const struct entry *left = a;
    const struct entry *right = b;
    int order = memcmp(left->record.id.data, right->record.id.data, KEY_ID_LEN);
    return order != 0 ? order : (left->rank > right->rank) - (left->rank < right->rank);
}

static int
compare_ages(const void *a, const void *b)
{
    const struct key_record *left = a;
    const struct key_record *right = b;
    if (left->created_ms != right->created_ms) {
        return left->created_ms < right->created_ms ? -1 : 1;
    }
    return memcmp(left->id.data, right->id.data, KEY_ID_LEN);
}

/* What can't be read is no key: it could be one that was revoked. */
static void
add_row(struct merging *merging, const struct ledger_api_key *row, struct arena *arena)
{
    struct entry *entry = &merging->entries[merging->n];
    struct dyn_err err;
    if (row->id.len != KEY_ID_LEN) {
        return;
    }
    *entry = (struct entry){.rank = merging->n, .is_gone = row->deleted_us != 0};
    if (!entry->is_gone && key_row_read(row, arena, &entry->record, &err) != 0) {
        dyn_log(DYN_LOG_ERROR, "keys.ledger.row", "a key of the ledger can't be read: it is refused",
                DYN_LOG_SLICE("id", row->id), DYN_LOG_STR("why", err.text));
        entry->is_gone = true;
    }
    if (entry->is_gone) {
        entry->record = (struct key_record){.id = arena_copy(arena, row->id)};
    }
    merging->n++;
}

static void
hear_uses(const key_table_t *table, const struct ledger_api_key *row)
{
    const struct key_record *known = table != NULL ? key_table_find(table, row->id) : NULL;
    if (known != NULL) {
        key_uses_hear(known->uses, row->usage_count, row->last_used_us / 1000);
    }
}

static void
add_pages(struct merging *merging, const struct key_ledger *ledger, const key_table_t *former,
          struct arena *arena)
{
    struct ledger_row row;
    size_t end = merging->n + ledger->n_rows;
    for (size_t i = 0; i < ledger->n_pages; i++) {
        struct mp_cursor rows = mp_cursor(ledger->pages[i].rows);
        while (merging->n < end && ledger_row_next(&rows, &row)) {
            if (row.table == LEDGER_API_KEYS) {
                add_row(merging, &row.of.api_key, arena);
                hear_uses(former, &row.of.api_key);
            }
        }
    }
}

/* Those that are there, in the order in which they were made. */
static size_t
settle(struct merging *merging, struct key_record *records)
{
    size_t n = 0;
    if (merging->n > 1) {
        qsort(merging->entries, merging->n, sizeof *merging->entries, compare_ids);
    }
    for (size_t i = 0; i < merging->n; i++) {
        const struct entry *entry = &merging->entries[i];
        bool is_last =
            i + 1 == merging->n || memcmp(entry[1].record.id.data, entry->record.id.data, KEY_ID_LEN) != 0;
        if (is_last && !entry->is_gone) {
            records[n++] = entry->record;
        }
    }
    if (n > 1) {
        qsort(records, n, sizeof *records, compare_ages);
    }
    return n;
}

static int
key_ledger_load(void *self, const key_table_t *former, struct arena *arena, struct key_record **records,
                size_t *n, struct dyn_err *err)
{
    struct key_ledger *ledger = self;
    if (!ledger->has_news && fetch(ledger, err) != 0) {
        return -1;
    }
    size_t n_former = former != NULL && !(ledger->has_news && ledger->is_whole) ? key_table_count(former) : 0;
    size_t most = n_former + ledger->n_rows;
    struct merging merging = {.entries = dyn_alloc((most + 1) * sizeof *merging.entries)};
    for (size_t i = 0; i < n_former; i++) {
        merging.entries[i] = (struct entry){.record = *key_table_at(former, i), .rank = i};
    }
    merging.n = n_former;
    add_pages(&merging, ledger, former, arena);
    if (merging.n > 2 * (size_t)KEYS_MAX) { /* not loaded, and not confirmed */
        free(merging.entries);
        drop_pages(ledger);
        return dyn_err_set(err, DYN_E_LIMIT, "the ledger has more than %d keys", KEYS_MAX);
    }
    *records = arena_alloc(arena, (merging.n + 1) * sizeof **records);
    *n = settle(&merging, *records);
    free(merging.entries);
    ledger->version = ledger->next_version;
    ledger->is_known = true;
    drop_pages(ledger);
    key_ring_confirm(ledger->ring, ledger->heard_us);
    return 0;
}

/* ---- changing ---- */

static enum key_stored
put_row(struct key_ledger *ledger, struct ledger_row *row, const struct ledger_audit *audit,
        struct dyn_err *err)
{
    struct ledger_message answer;
    struct ledger_row note = {.table = LEDGER_AUDIT, .of.audit = *audit};
    struct dyn_buf rows = DYN_BUF_INIT;
    dyn_block_t *body = NULL;
    uint16_t status = 0;
    ledger_row_encode(row, &rows);
    ledger_row_encode(&note, &rows);
    struct ledger_message question = {
        .op = DYN_SLICE("put"), .if_version = ledger->version, .rows = dyn_buf_slice(&rows), .n_rows = 2};
    int rc = ledger->courier.ask(ledger->courier.self, &question, &body, &status, err);
    dyn_buf_fini(&rows);
    if (rc != 0) {
        return KEY_NOT_STORED;
    }
    bool is_read = ledger_message_decode(dyn_block_slice(body), &answer, err) == 0;
    dyn_block_unref(&body);
    if (status == STATUS_CONFLICT) {
        return KEY_STORE_MOVED;
    }
    if (status != STATUS_OK || !is_read) {
        (void)dyn_err_set(err, DYN_E_GONE, "the ledger gave no answer of use");
        return KEY_NOT_STORED;
    }
    ledger->version += answer.version == ledger->version + 1; /* else somebody was first: all is told again */
    return KEY_STORED;
}

static enum key_stored
key_ledger_put(void *self, const struct key_record *record, const key_table_t *all,
               const struct ledger_audit *audit, struct dyn_err *err)
{
    struct arena arena;
    struct ledger_row row = {.table = LEDGER_API_KEYS};
    (void)all;
    arena_init(&arena, NULL, 0);
    key_row_fill(record, &arena, &row.of.api_key);
    enum key_stored stored = put_row(self, &row, audit, err);
    arena_fini(&arena);
    return stored;
}

static enum key_stored
key_ledger_remove(void *self, struct dyn_slice id, const key_table_t *all, const struct ledger_audit *audit,
                  struct dyn_err *err)
{
    struct ledger_row row = {.table = LEDGER_API_KEYS};
    (void)all;
    key_row_fill_deleted(id, audit->occurred_us / 1000, &row.of.api_key);
    return put_row(self, &row, audit, err);
}

/* ---- uses ---- */

static void
key_ledger_look_at_uses(void *self, const key_table_t *table)
{
    struct key_ledger *ledger = self;
    struct ledger_message answer = {.more = 1};
    struct ledger_row row;
    struct dyn_err err;
    dyn_block_t *body = NULL;
    uint64_t began_us = dyn_mono_us(&dyn_clock_system);
    if (began_us < ledger->uses_after_us || ledger->is_away) {
        return;
    }
    uint64_t since = 0;
    while (answer.more != 0 && ask_keys(ledger, since, &body, &answer, &err) == 0) {
        struct mp_cursor rows = mp_cursor(answer.rows);
        answer.more = answer.version > since ? answer.more : 0;
        since = answer.version;
        while (ledger_row_next(&rows, &row)) {
            if (row.table == LEDGER_API_KEYS) {
                hear_uses(table, &row.of.api_key);
            }
        }
        dyn_block_unref(&body);
    }
    uint64_t now_us = dyn_mono_us(&dyn_clock_system);
    uint64_t rest_us = (now_us - began_us) * USES_REST;
    ledger->uses_after_us = now_us + (rest_us > USES_REST_MIN_US ? rest_us : USES_REST_MIN_US);
}

/* ---- life ---- */

static void
key_ledger_close(void *self)
{
    struct key_ledger *ledger = self;
    drop_pages(ledger);
    free(ledger);
}

static const struct key_store_ops key_ledger_ops = {
    .name = "ledger",
    .keeps_audit = true,
    .load = key_ledger_load,
    .put = key_ledger_put,
    .remove = key_ledger_remove,
    .has_changed = key_ledger_has_changed,
    .look_at_uses = key_ledger_look_at_uses,
    .close = key_ledger_close,
};

struct key_store
key_ledger_new(key_ring_t *ring)
{
    struct key_ledger *ledger = dyn_zalloc(sizeof *ledger);
    ledger->ring = ring;
    return (struct key_store){&key_ledger_ops, ledger};
}

void
key_ledger_set_courier(const struct key_store *store, const struct key_courier *courier)
{
    struct key_ledger *ledger = store->self;
    ledger->courier = *courier;
}
