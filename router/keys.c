/* See keys.h: one key, and the table of all. Pure but for the kernel's random bytes. */
#include "router/keys.h"

#include "core/rand.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static const struct dyn_slice text_begin = DYN_SLICE_INIT("dyn_");

struct key_table {
    atomic_uint refs;
    uint64_t version;
    struct arena arena;
    struct key_record *records;
    size_t n;
    uint32_t *slots; /* index of a record + 1, by the hash of its id; 0: free */
    size_t n_slots;  /* a power of two, at most half in use */
};

/* ---- one key ---- */

static EVP_MD *sha256; /* NULL: it has to be looked for each time */

static void
find_sha256(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
}

/* For each request with a key. Looking for the algorithm, as SHA256() does, costs three times what this does
 * beside the digest itself. */
static void
digest_of(const uint8_t salt[KEY_SALT_BYTES], struct dyn_slice secret, uint8_t out[KEY_DIGEST_BYTES])
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    uint8_t text[KEY_SALT_BYTES + KEY_SECRET_LEN];
    memcpy(text, salt, KEY_SALT_BYTES);
    memcpy(text + KEY_SALT_BYTES, secret.data, KEY_SECRET_LEN);
    (void)pthread_once(&once, find_sha256);
    if (sha256 == NULL || EVP_Digest(text, sizeof text, out, NULL, sha256, NULL) != 1) {
        (void)SHA256(text, sizeof text, out);
    }
}

void
key_id_new(char out[KEY_ID_LEN + 1])
{
    uint8_t bytes[KEY_ID_LEN / 2];
    dyn_random_bytes(bytes, sizeof bytes);
    dyn_hex_encode(out, bytes, sizeof bytes);
    out[KEY_ID_LEN] = '\0';
}

void
key_secret_new(struct key_record *record, char out[KEY_TEXT_SIZE])
{
    uint8_t bytes[KEY_SECRET_LEN / 2];
    char *secret = out + text_begin.len + KEY_ID_LEN + 1;
    dyn_random_bytes(record->salt, sizeof record->salt);
    dyn_random_bytes(bytes, sizeof bytes);
    (void)snprintf(out, KEY_TEXT_SIZE, "dyn_%.*s_", KEY_ID_LEN, record->id.data);
    dyn_hex_encode(secret, bytes, sizeof bytes);
    secret[KEY_SECRET_LEN] = '\0';
    digest_of(record->salt, dyn_slice(secret, KEY_SECRET_LEN), record->digest);
    memcpy(record->tail, secret + KEY_SECRET_LEN - KEY_TAIL_LEN, KEY_TAIL_LEN);
    record->tail[KEY_TAIL_LEN] = '\0';
    OPENSSL_cleanse(bytes, sizeof bytes);
}

void
key_display(const struct key_record *record, char out[KEY_DISPLAY_SIZE])
{
    (void)snprintf(out, KEY_DISPLAY_SIZE, "dyn_%.*s_...%.*s", KEY_ID_LEN, record->id.data, KEY_TAIL_LEN,
                   record->tail);
}

bool
key_is_usable(const struct key_record *record, uint64_t now_ms)
{
    return record->revoked_ms == 0 && (record->expires_ms == 0 || now_ms < record->expires_ms);
}

static bool
matches(struct dyn_slice pattern, struct dyn_slice name)
{
    if (pattern.len == 0 || pattern.data[pattern.len - 1] != '*') {
        return dyn_slice_eq(pattern, name);
    }
    pattern.len--;
    return name.len >= pattern.len && (pattern.len == 0 || memcmp(name.data, pattern.data, pattern.len) == 0);
}

bool
key_list_has(const struct key_list *list, struct dyn_slice name)
{
    bool found = list->n == 0;
    for (size_t i = 0; i < list->n && !found; i++) {
        found = matches(list->items[i], name);
    }
    return found;
}

bool
key_may_use_model(const struct key_record *record, struct dyn_slice model)
{
    return key_list_has(&record->models, model);
}

static const struct {
    uint32_t scope;
    const char *name;
} scopes[] = {
    {KEY_SCOPE_INFERENCE, "inference"},
    {KEY_SCOPE_READ, "read_only"},
    {KEY_SCOPE_ADMIN, "admin"},
};

const char *
key_scope_name(uint32_t scope)
{
    for (size_t i = 0; i < DYN_ARRAY_LEN(scopes); i++) {
        if (scopes[i].scope == scope) {
            return scopes[i].name;
        }
    }
    return NULL;
}

uint32_t
key_scope_by_name(struct dyn_slice name)
{
    for (size_t i = 0; i < DYN_ARRAY_LEN(scopes); i++) {
        if (dyn_slice_is(name, scopes[i].name)) {
            return scopes[i].scope;
        }
    }
    return 0;
}

bool
key_text_read(struct dyn_slice credential, struct dyn_slice *id)
{
    bool is_key = credential.len == KEY_TEXT_LEN &&
                  memcmp(credential.data, text_begin.data, text_begin.len) == 0 &&
                  credential.data[text_begin.len + KEY_ID_LEN] == '_';
    *id = is_key ? dyn_slice(credential.data + text_begin.len, KEY_ID_LEN) : dyn_slice(NULL, 0);
    return is_key;
}

/* ---- the table ---- */

/* Ids are random already, and nobody outside chooses them: FNV-1a is enough. */
static size_t
slot_of(const key_table_t *table, struct dyn_slice id)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < id.len; i++) {
        hash = (hash ^ (uint8_t)id.data[i]) * UINT64_C(0x100000001b3);
    }
    return (size_t)(hash ^ hash >> 32) & (table->n_slots - 1);
}

const struct key_record *
key_table_find(const key_table_t *table, struct dyn_slice id)
{
    for (size_t at = slot_of(table, id); table->slots[at] != 0; at = (at + 1) & (table->n_slots - 1)) {
        const struct key_record *record = &table->records[table->slots[at] - 1];
        if (dyn_slice_eq(record->id, id)) {
            return record;
        }
    }
    return NULL;
}

static struct key_list
copy_list(struct arena *arena, struct key_list list)
{
    struct dyn_slice *items = list.n > 0 ? arena_alloc(arena, list.n * sizeof *items) : NULL;
    for (size_t i = 0; i < list.n; i++) {
        items[i] = arena_copy(arena, list.items[i]);
    }
    return (struct key_list){items, list.n};
}

static struct key_uses *
uses_of(const key_table_t *former, const struct key_record *record)
{
    const struct key_record *old = former != NULL ? key_table_find(former, record->id) : NULL;
    if (old == NULL) {
        struct key_uses *uses = dyn_zalloc(sizeof *uses);
        atomic_init(&uses->refs, 1);
        atomic_init(&uses->count, record->stored_uses);
        atomic_init(&uses->last_ms, record->stored_last_ms);
        atomic_init(&uses->others, record->stored_uses);
        return uses;
    }
    (void)atomic_fetch_add_explicit(&old->uses->refs, 1, memory_order_relaxed);
    return old->uses;
}

static void
add(key_table_t *table, const struct key_record *given, const key_table_t *former)
{
    struct key_record *record = &table->records[table->n];
    size_t at = slot_of(table, given->id);
    *record = *given;
    record->id = arena_copy(&table->arena, given->id);
    record->name = arena_copy(&table->arena, given->name);
    record->models = copy_list(&table->arena, given->models);
    record->targets = copy_list(&table->arena, given->targets);
    record->group = arena_copy(&table->arena, given->group);
    record->metadata = arena_copy(&table->arena, given->metadata);
    record->uses = uses_of(former, given);
    while (table->slots[at] != 0) {
        at = (at + 1) & (table->n_slots - 1);
    }
    table->slots[at] = (uint32_t)++table->n;
}

key_table_t *
key_table_new(const struct key_record *records, size_t n, uint64_t version, const key_table_t *former,
              struct dyn_err *err)
{
    if (n > KEYS_MAX) {
        (void)dyn_err_set(err, DYN_E_LIMIT, "%zu keys, at most %d", n, KEYS_MAX);
        return NULL;
    }
    key_table_t *table = dyn_zalloc(sizeof *table);
    atomic_init(&table->refs, 1);
    table->version = version;
    arena_init(&table->arena, NULL, 0);
    table->n_slots = 16;
    while (table->n_slots < 2 * n) {
        table->n_slots *= 2;
    }
    table->slots = dyn_zalloc(table->n_slots * sizeof *table->slots);
    table->records = dyn_zalloc((n + 1) * sizeof *table->records);
    for (size_t i = 0; i < n; i++) {
        if (key_table_find(table, records[i].id) != NULL) {
            (void)dyn_err_set(err, DYN_E_INVALID, "two keys have the id %.*s", (int)records[i].id.len,
                              records[i].id.data);
            key_table_unref(&table);
            return NULL;
        }
        add(table, &records[i], former);
    }
    return table;
}

key_table_t *
key_table_ref(key_table_t *table)
{
    (void)atomic_fetch_add_explicit(&table->refs, 1, memory_order_relaxed);
    return table;
}

void
key_table_unref(key_table_t **table_p)
{
    key_table_t *table = *table_p;
    *table_p = NULL;
    if (table == NULL || atomic_fetch_sub_explicit(&table->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    for (size_t i = 0; i < table->n; i++) {
        struct key_uses *uses = table->records[i].uses;
        if (atomic_fetch_sub_explicit(&uses->refs, 1, memory_order_acq_rel) == 1) {
            free(uses);
        }
    }
    arena_fini(&table->arena);
    free(table->records);
    free(table->slots);
    free(table);
}

size_t
key_table_count(const key_table_t *table)
{
    return table->n;
}

uint64_t
key_table_version(const key_table_t *table)
{
    return table->version;
}

const struct key_record *
key_table_at(const key_table_t *table, size_t index)
{
    return &table->records[index];
}

/* How much of what it was told the store had written when it was asked is not known: all of it is assumed, so
 * that nothing counts twice. */
void
key_uses_hear(struct key_uses *uses, uint64_t stored, uint64_t last_ms)
{
    uint64_t told = atomic_load(&uses->told);
    uint64_t others = stored > told ? stored - told : 0;
    uint64_t former = atomic_load(&uses->others);
    if (others > former) {
        atomic_store(&uses->others, others);
        (void)atomic_fetch_add(&uses->count, others - former);
    }
    uint_fast64_t known = atomic_load(&uses->last_ms);
    while (known < last_ms && !atomic_compare_exchange_weak(&uses->last_ms, &known, last_ms)) {
    }
}

uint64_t
key_uses_tell(struct key_uses *uses)
{
    uint64_t count = atomic_load(&uses->count); /* first: it grows after `others` has */
    uint64_t others = atomic_load(&uses->others);
    uint64_t own = count > others ? count - others : 0;
    uint64_t told = atomic_load(&uses->told);
    if (own <= told) {
        return 0;
    }
    atomic_store(&uses->told, own);
    return own - told;
}

/* Nobody's: a digest of random bytes that no secret is known for would do as well; what counts is that the
 * same work is done. */
static const struct key_record nobody;

const struct key_record *
key_table_verify(const key_table_t *table, struct dyn_slice credential)
{
    struct dyn_slice id;
    uint8_t digest[KEY_DIGEST_BYTES];
    if (!key_text_read(credential, &id)) {
        return NULL;
    }
    const struct key_record *found = table != NULL ? key_table_find(table, id) : NULL;
    const struct key_record *asked = found != NULL ? found : &nobody;
    digest_of(asked->salt, dyn_slice(credential.data + KEY_TEXT_LEN - KEY_SECRET_LEN, KEY_SECRET_LEN),
              digest);
    int differs = CRYPTO_memcmp(digest, asked->digest, sizeof digest);
    return differs == 0 ? found : NULL;
}

size_t
key_table_admins(const key_table_t *table, uint64_t now_ms)
{
    size_t n = 0;
    for (size_t i = 0; i < table->n; i++) {
        const struct key_record *record = &table->records[i];
        n += (record->scopes & KEY_SCOPE_ADMIN) != 0 && key_is_usable(record, now_ms);
    }
    return n;
}
