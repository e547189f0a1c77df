/* The map `facts` of an ASK: written and read by the table vote_facts.def. */
#include "proto/env_fields.h"
#include "proto/vote_codec.h"

enum fact_type {
    FACT_SURFACE,
    FACT_TEXT,
    FACT_BOOL,
    FACT_UINT,
    FACT_UINT32,
    FACT_STATUS,
    FACT_COST,
    FACT_ERROR,
    FACT_HEADERS,
    FACT_USAGE,
};

/* Bytes of a fact beside its texts; of a text's head. */
enum { FACT_FIXED_BYTES = 32, FACT_TEXT_MAX = 4096, USAGE_BYTES = 160, TEXT_HEAD = 5, HEADER_BYTES = 16 };

struct fact {
    struct dyn_slice key;
    enum fact_type type;
    size_t offset; /* in struct vote_facts */
};

static const struct fact table[] = {
#define FACT(key, member, type, since, meaning)                                                              \
    {DYN_SLICE_INIT(key), FACT_##type, offsetof(struct vote_facts, member)},
#include "proto/vote_facts.def"
#undef FACT
};

/* ---- writing ---- */

/* A client's text may be anything: what is no UTF-8 has a '?' for each byte beyond ASCII. */
static void
pack_text(msgpack_packer *packer, struct dyn_slice text)
{
    if (text.len > FACT_TEXT_MAX) {
        text.len = FACT_TEXT_MAX;
        while (text.len > 0 && ((unsigned char)text.data[text.len] & 0xC0) == 0x80) {
            text.len--;
        }
    }
    (void)msgpack_pack_str(packer, text.len);
    if (mp_is_utf8(text)) {
        (void)msgpack_pack_str_body(packer, text.data, text.len);
        return;
    }
    for (size_t i = 0; i < text.len; i++) {
        char c = (unsigned char)text.data[i] < 0x80 ? text.data[i] : '?';
        (void)msgpack_pack_str_body(packer, &c, 1);
    }
}

static const void *
at_of(const struct vote_facts *facts, const struct fact *fact)
{
    return (const char *)facts + fact->offset;
}

static bool
is_set(const struct vote_facts *facts, const struct fact *fact)
{
    const void *at = at_of(facts, fact);
    switch (fact->type) {
    case FACT_SURFACE:
        return facts->surface != ENV_SURFACE_NONE;
    case FACT_TEXT:
        return ((const struct dyn_slice *)at)->len > 0;
    case FACT_BOOL:
        return *(const bool *)at;
    case FACT_UINT:
        return *(const uint64_t *)at != 0;
    case FACT_UINT32:
        return *(const uint32_t *)at != 0;
    case FACT_STATUS:
        return facts->status != 0;
    case FACT_COST:
        return *(const uint64_t *)at != VOTE_COST_UNKNOWN;
    case FACT_ERROR:
        return facts->error != ERR_NONE;
    case FACT_HEADERS:
        return facts->n_headers > 0;
    case FACT_USAGE:
        return facts->usage.known;
    }
    return false;
}

static void
pack_headers(const struct vote_facts *facts, msgpack_packer *packer)
{
    (void)msgpack_pack_array(packer, facts->n_headers);
    for (size_t i = 0; i < facts->n_headers; i++) {
        (void)msgpack_pack_array(packer, 2);
        pack_text(packer, facts->headers[i].name);
        (void)msgpack_pack_bin(packer, facts->headers[i].value.len);
        (void)msgpack_pack_bin_body(packer, facts->headers[i].value.data, facts->headers[i].value.len);
    }
}

static uint64_t
count_of(const struct env_usage *usage, size_t i)
{
    return *(const uint64_t *)(const void *)((const char *)usage + env_usage_fields[i].offset);
}

static void
pack_usage(const struct env_usage *usage, msgpack_packer *packer)
{
    size_t n = usage->estimated ? 1 : 0;
    for (size_t i = 0; i < ENV_N_USAGE_FIELDS; i++) {
        n += count_of(usage, i) != 0;
    }
    (void)msgpack_pack_map(packer, n);
    for (size_t i = 0; i < ENV_N_USAGE_FIELDS; i++) {
        if (count_of(usage, i) != 0) {
            pack_text(packer, env_usage_fields[i].key);
            (void)msgpack_pack_uint64(packer, count_of(usage, i));
        }
    }
    if (usage->estimated) {
        pack_text(packer, DYN_SLICE("est"));
        (void)msgpack_pack_true(packer);
    }
}

static void
pack_fact(const struct vote_facts *facts, const struct fact *fact, msgpack_packer *packer)
{
    const void *at = at_of(facts, fact);
    pack_text(packer, fact->key);
    switch (fact->type) {
    case FACT_SURFACE:
        pack_text(packer, dyn_slice_str(env_surface_name(facts->surface)));
        return;
    case FACT_TEXT:
        pack_text(packer, *(const struct dyn_slice *)at);
        return;
    case FACT_BOOL:
        (void)msgpack_pack_true(packer);
        return;
    case FACT_UINT:
    case FACT_COST:
        (void)msgpack_pack_uint64(packer, *(const uint64_t *)at);
        return;
    case FACT_UINT32:
        (void)msgpack_pack_uint32(packer, *(const uint32_t *)at);
        return;
    case FACT_STATUS:
        (void)msgpack_pack_uint16(packer, facts->status);
        return;
    case FACT_ERROR:
        pack_text(packer, dyn_slice_str(err_row(facts->error)->name));
        return;
    case FACT_HEADERS:
        pack_headers(facts, packer);
        return;
    case FACT_USAGE:
        pack_usage(&facts->usage, packer);
        return;
    }
}

void
vote_facts_pack(const struct vote_facts *facts, msgpack_packer *packer)
{
    size_t n = 0;
    for (size_t i = 0; i < DYN_ARRAY_LEN(table); i++) {
        n += is_set(facts, &table[i]);
    }
    (void)msgpack_pack_map(packer, n);
    for (size_t i = 0; i < DYN_ARRAY_LEN(table); i++) {
        if (is_set(facts, &table[i])) {
            pack_fact(facts, &table[i], packer);
        }
    }
}

size_t
vote_facts_size(const struct vote_facts *facts)
{
    size_t size = TEXT_HEAD + USAGE_BYTES;
    for (size_t i = 0; i < DYN_ARRAY_LEN(table); i++) {
        size += FACT_FIXED_BYTES;
        if (table[i].type == FACT_TEXT) {
            size_t len = ((const struct dyn_slice *)at_of(facts, &table[i]))->len;
            size += len < FACT_TEXT_MAX ? len : FACT_TEXT_MAX;
        }
    }
    for (size_t i = 0; i < facts->n_headers; i++) {
        size += HEADER_BYTES + facts->headers[i].name.len + facts->headers[i].value.len;
    }
    return size;
}

/* ---- reading: from anyone, of checked bytes ---- */

static const char *
take_headers(struct mp_cursor *cursor, const struct mp_value *list, struct vote_facts *facts)
{
    if (list->type != MP_ARRAY || list->number > ENV_HEADERS_MAX) {
        return "headers are no short list";
    }
    struct env_header *headers = arena_alloc(&facts->arena, ((size_t)list->number + 1) * sizeof *headers);
    for (uint64_t i = 0; i < list->number; i++) {
        struct mp_value pair;
        struct mp_value name;
        struct mp_value value;
        if (!mp_next(cursor, &pair) || pair.type != MP_ARRAY || pair.number != 2 || !mp_next(cursor, &name) ||
            !mp_next(cursor, &value) || name.type != MP_STR ||
            (value.type != MP_BIN && value.type != MP_STR)) {
            return "headers are no list of [name, value]";
        }
        headers[i] = (struct env_header){arena_copy(&facts->arena, name.bytes),
                                         arena_copy(&facts->arena, value.bytes)};
    }
    facts->headers = headers;
    facts->n_headers = (size_t)list->number;
    return NULL;
}

static const char *
take_usage(struct mp_cursor *cursor, const struct mp_value *map, struct env_usage *usage)
{
    if (map->type != MP_MAP) {
        return "usage is no map";
    }
    for (uint64_t i = 0; i < map->number; i++) {
        struct mp_value key;
        struct mp_value value;
        if (!mp_next(cursor, &key) || key.type != MP_STR) {
            return "a key of usage is not text";
        }
        struct mp_cursor behind = *cursor;
        mp_skip(&behind);
        bool has_value = mp_next(cursor, &value);
        *cursor = behind;
        for (size_t k = 0; has_value && k < ENV_N_USAGE_FIELDS; k++) {
            if (dyn_slice_eq(key.bytes, env_usage_fields[k].key) && value.type == MP_UINT) {
                *(uint64_t *)(void *)((char *)usage + env_usage_fields[k].offset) = value.number;
            }
        }
        if (has_value && dyn_slice_is(key.bytes, "est")) {
            usage->estimated = value.type == MP_BOOL && value.number != 0;
        }
    }
    usage->known = true;
    return NULL;
}

static enum env_surface
surface_by_name(struct dyn_slice name)
{
    for (unsigned surface = 1; surface < ENV_SURFACE_COUNT; surface++) {
        if (dyn_slice_is(name, env_surface_name((enum env_surface)surface))) {
            return (enum env_surface)surface;
        }
    }
    return ENV_SURFACE_NONE;
}

/* A value of another type than the fact's is refused: whoever wrote it means something else. */
static const char *
take_fact(struct mp_cursor *cursor, const struct fact *fact, struct vote_facts *facts)
{
    void *at = (char *)facts + fact->offset;
    struct mp_value value;
    if (!mp_next(cursor, &value)) {
        return "cut off";
    }
    bool is_text = value.type == MP_STR;
    bool is_number = value.type == MP_UINT;
    switch (fact->type) {
    case FACT_SURFACE:
        facts->surface = is_text ? surface_by_name(value.bytes) : ENV_SURFACE_NONE;
        return is_text ? NULL : "surface is not text";
    case FACT_TEXT:
        *(struct dyn_slice *)at = is_text ? arena_copy(&facts->arena, value.bytes) : value.bytes;
        return is_text ? NULL : "a text is none";
    case FACT_BOOL:
        *(bool *)at = value.number != 0;
        return value.type == MP_BOOL ? NULL : "a boolean is none";
    case FACT_UINT:
    case FACT_COST:
        *(uint64_t *)at = value.number;
        return is_number ? NULL : "a number is none";
    case FACT_UINT32:
        *(uint32_t *)at = value.number < UINT32_MAX ? (uint32_t)value.number : UINT32_MAX;
        return is_number ? NULL : "a number is none";
    case FACT_STATUS:
        facts->status = (uint16_t)(value.number <= 999 ? value.number : 0);
        return is_number ? NULL : "status is no number";
    case FACT_ERROR:
        facts->error = is_text ? err_by_name(value.bytes) : ERR_NONE;
        facts->error = facts->error != ERR_NONE ? facts->error : ERR_INTERNAL;
        return is_text ? NULL : "error is not text";
    case FACT_HEADERS:
        return take_headers(cursor, &value, facts);
    case FACT_USAGE:
        return take_usage(cursor, &value, &facts->usage);
    }
    return NULL;
}

const char *
vote_facts_decode(struct mp_cursor *cursor, const struct mp_value *map, struct vote_facts *facts)
{
    uint64_t seen = 0;
    if (map->type != MP_MAP) {
        return "not a map";
    }
    for (uint64_t i = 0; i < map->number; i++) {
        struct mp_value key;
        size_t k = 0;
        if (!mp_next(cursor, &key) || key.type != MP_STR) {
            return "a key is not text";
        }
        while (k < DYN_ARRAY_LEN(table) && !dyn_slice_eq(key.bytes, table[k].key)) {
            k++;
        }
        if (k == DYN_ARRAY_LEN(table)) {
            mp_skip(cursor);
            continue;
        }
        if ((seen >> k) & 1) {
            return "a key stands twice";
        }
        seen |= UINT64_C(1) << k;
        const char *why = take_fact(cursor, &table[k], facts);
        if (why != NULL) {
            return why;
        }
    }
    return NULL;
}
