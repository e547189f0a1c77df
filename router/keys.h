/* Keys of clients: what stands in a key, and the table that finds one by its id. A table never changes; who
 * wants another one makes it anew (key_ring.h swaps them under running requests). It reads no clock, no file
 * and no network.
 *
 * The text of a key is `dyn_<id>_<secret>`, 16 and 64 lower-case hex digits. The id is no secret. Of the
 * secret only SHA-256(salt, secret) is kept, so that whoever reads the store cannot use a key. A look at a
 * credential costs one digest and one comparison of constant time, whether there is such a key or not. */
#pragma once

#include "core/arena.h"
#include "core/buf.h"
#include "core/err.h"

#include <stdatomic.h>

enum {
    KEY_ID_LEN = 16,     /* hex digits: 64 bits tell keys apart, and are looked up, never trusted */
    KEY_SECRET_LEN = 64, /* hex digits of 256 bits, from the kernel */
    KEY_TEXT_LEN = 4 + KEY_ID_LEN + 1 + KEY_SECRET_LEN,
    KEY_SALT_BYTES = 16,
    KEY_DIGEST_BYTES = 32,
    KEY_TAIL_LEN = 4, /* of the secret, shown so that its owner knows it again */
    KEY_DISPLAY_SIZE = 4 + KEY_ID_LEN + 1 + 3 + KEY_TAIL_LEN + 1,

    KEYS_MAX = 100000, /* of one table; a key has about 500 bytes */
    KEY_NAME_MAX = 256,
    KEY_LIST_MAX = 256, /* models or targets of one key */
    KEY_JSON_MAX = 16 * 1024, /* bytes of a record as JSON */
};

/* What a key may do. Admin may do all. */
enum key_scope {
    KEY_SCOPE_INFERENCE = 1 << 0, /* send requests to models, list them */
    KEY_SCOPE_READ = 1 << 1,      /* `read_only`: look at metrics and at /admin */
    KEY_SCOPE_ADMIN = 1 << 2,     /* change what /admin can change */
};
enum { KEY_SCOPES_ALL = KEY_SCOPE_INFERENCE | KEY_SCOPE_READ | KEY_SCOPE_ADMIN };

/* Most of each; 0: no limit. */
struct key_limits {
    uint64_t requests_per_minute;
    uint64_t requests_per_day;
    uint64_t tokens_per_minute;
    uint64_t tokens_per_day;
};

/* In 10^-12 USD; 0: no limit. */
struct key_budget {
    uint64_t day;
    uint64_t week;
    uint64_t month;
};

struct key_list {
    const struct dyn_slice *items;
    size_t n; /* 0: all are allowed */
};

/* Counted by whoever admits; goes from one table to the next with its key. */
struct key_uses {
    atomic_uint refs;
    atomic_uint_fast64_t count;   /* of all processes, as far as this one knows */
    atomic_uint_fast64_t last_ms; /* wall clock; 0: never */
    atomic_uint_fast64_t others;  /* what of `count` this process did not count itself since its start */
    atomic_uint_fast64_t told;    /* what of its own it has told the store of */
};

/* One key. Texts lie in the table's arena. Times are milliseconds since 1970-01-01 UTC; 0: never. */
struct key_record {
    struct dyn_slice id;
    struct dyn_slice name;
    uint8_t salt[KEY_SALT_BYTES];
    uint8_t digest[KEY_DIGEST_BYTES];
    char tail[KEY_TAIL_LEN + 1];
    uint32_t scopes;
    struct key_list models;  /* names as clients write them; a '*' at the end stands for anything */
    struct key_list targets; /* names of targets */
    struct key_limits limits;
    struct key_budget budget;
    struct dyn_slice group;    /* absent: none */
    struct dyn_slice metadata; /* a JSON object; absent: none */
    uint64_t created_ms;
    uint64_t expires_ms;
    uint64_t rotated_ms;
    uint64_t revoked_ms;
    struct key_uses *uses;     /* NULL outside of a table */
    uint64_t stored_uses;      /* what a table begins to count from that has no former one */
    uint64_t stored_last_ms;
};

/* ---- one key ---- */

/* A secret for a key: its text into `out`, terminated; salt, digest and tail into the record, whose id is
 * there. */
enum { KEY_TEXT_SIZE = KEY_TEXT_LEN + 1 };
void key_secret_new(struct key_record *record, char out[KEY_TEXT_SIZE]);
/* 16 hex digits, terminated. */
void key_id_new(char out[KEY_ID_LEN + 1]);
/* "dyn_0123456789abcdef_...89ab" */
void key_display(const struct key_record *record, char out[KEY_DISPLAY_SIZE]);
/* Neither revoked nor expired. */
bool key_is_usable(const struct key_record *record, uint64_t now_ms);
/* Whether the list names it, or names nothing. */
bool key_list_has(const struct key_list *list, struct dyn_slice name);
bool key_may_use_model(const struct key_record *record, struct dyn_slice model);
/* "inference"; NULL: no such bit. */
const char *key_scope_name(uint32_t scope);
uint32_t key_scope_by_name(struct dyn_slice name); /* 0: there is none */

/* Whether a credential has the form of a key; `id` gets its id. */
bool key_text_read(struct dyn_slice credential, struct dyn_slice *id);

/* ---- JSON (key_json.c, key_read.c) ---- */

/* One line of a store, with salt and digest, without the line's end. */
void key_record_write(const struct key_record *record, struct dyn_buf *out);
/* Texts go into the arena. -1 with err. Members that it does not know are ignored: a later version wrote
 * them. */
int key_record_read(struct dyn_slice line, struct arena *arena, struct key_record *record,
                    struct dyn_err *err);
/* What people may see: no salt, no digest. `secret` is shown when there is one (may be NULL). */
void key_record_show(const struct key_record *record, const char *secret, uint64_t now_ms,
                     struct dyn_buf *out);

/* What a person wrote about a key: members that are absent stay as they are in `record`. -1 with what is
 * wrong: `err` has the sentence, *param the member (static). *scope_wrong: a scope that there is not. */
struct key_problem {
    const char *param;
    bool is_scope;
    char text[200];
};
int key_record_take(struct dyn_slice object, struct arena *arena, uint64_t now_ms, struct key_record *record,
                    struct key_problem *problem);
/* "2026-11-23T03:05:00Z", with a fraction and an offset or without; 0: it is none, or before 1970. */
uint64_t key_time_read(struct dyn_slice text);

/* ---- the table ---- */

typedef struct key_table key_table_t;

/* Copies the records; `uses` of those of `former` (may be NULL) with the same id are kept. NULL with err: two
 * have one id, or there are too many. One reference. */
key_table_t *key_table_new(const struct key_record *records, size_t n, uint64_t version,
                           const key_table_t *former, struct dyn_err *err);
key_table_t *key_table_ref(key_table_t *table);
void key_table_unref(key_table_t **table_p);

size_t key_table_count(const key_table_t *table);
uint64_t key_table_version(const key_table_t *table);
/* In the order in which they were given. */
const struct key_record *key_table_at(const key_table_t *table, size_t index);
/* NULL: there is none. */
const struct key_record *key_table_find(const key_table_t *table, struct dyn_slice id);
/* The key that the credential is the text of, whatever its state; NULL: none. Takes the same time for a wrong
 * secret and for an id that there is not. `table` may be NULL. */
const struct key_record *key_table_verify(const key_table_t *table, struct dyn_slice credential);
/* The store has counted so many uses, those that it was told of among them. `count` never falls. One
 * thread. */
void key_uses_hear(struct key_uses *uses, uint64_t stored, uint64_t last_ms);
/* Uses that the store was not told of. They count as told from now on. One thread. */
uint64_t key_uses_tell(struct key_uses *uses);
/* How many are usable and have the scope admin. */
size_t key_table_admins(const key_table_t *table, uint64_t now_ms);
