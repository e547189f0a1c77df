/* Decoding of envelope headers that may come from anyone: the guard looks at all of it (mp_check), then
 * members are read in place and copied into a new envelope. What breaks a rule of 01-ENVELOPE is
 * refused as a whole; nothing here asserts on what came in. */
#include "proto/env_fields.h"
#include "proto/mp.h"
#include "proto/vote_codec.h"

/* Keys that we do not know and remember, to refuse a second one of the same name. */
#define UNKNOWN_MAX 16u

/* Bits of `seen` behind those of the table. */
enum { SEEN_VERSION = 126, SEEN_KIND = 127, SEEN_WORDS = 2 };
_Static_assert((int)ENV_N_FIELDS <= (int)SEEN_VERSION, "members seen are bits of two words");

struct decoding {
    struct env *env;
    struct mp_cursor cursor;
    struct dyn_err *err;
    uint64_t seen[SEEN_WORDS];
    size_t next_field; /* where the next key is looked for first */
    bool is_newer;     /* written by a later minor version: it may know more words */
    size_t n_unknown;
    struct dyn_slice unknown[UNKNOWN_MAX];
};

struct preamble {
    uint64_t major;
    uint64_t minor;
    struct dyn_slice kind;
};

static int
refuse_as(struct decoding *d, enum dyn_code code, struct dyn_slice key, const char *why)
{
    int shown = key.len < 32 ? (int)key.len : 32; /* it may be a stranger's */
    return dyn_err_set(d->err, code, "header member '%.*s': %s", shown, key.data, why);
}

static int
refuse(struct decoding *d, struct dyn_slice key, const char *why)
{
    return refuse_as(d, DYN_E_INVALID, key, why);
}

static bool
read_version(struct mp_cursor *cursor, struct preamble *preamble)
{
    struct mp_value pair;
    struct mp_value major;
    struct mp_value minor;
    if (!mp_next(cursor, &pair) || pair.type != MP_ARRAY || pair.number != 2 || !mp_next(cursor, &major) ||
        !mp_next(cursor, &minor) || major.type != MP_UINT || minor.type != MP_UINT ||
        major.number > UINT16_MAX || minor.number > UINT16_MAX) {
        return false;
    }
    preamble->major = major.number;
    preamble->minor = minor.number;
    return true;
}

/* Finds version and kind wherever they stand; ours stand first. Checked bytes only. */
static const char *
read_preamble(struct mp_cursor cursor, struct preamble *preamble)
{
    struct mp_value map;
    bool has_version = false;
    if (!mp_next(&cursor, &map) || map.type != MP_MAP) {
        return "the header is not a map";
    }
    for (uint64_t i = 0; i < map.number && !(has_version && preamble->kind.data != NULL); i++) {
        struct mp_value key;
        struct mp_cursor value_at;
        struct mp_value value;
        if (!mp_next(&cursor, &key) || key.type != MP_STR) {
            return "a key of the header is not text";
        }
        value_at = cursor;
        mp_skip(&cursor);
        if (dyn_slice_is(key.bytes, "v")) {
            has_version = read_version(&value_at, preamble);
            if (!has_version) {
                return "'v' is not [major, minor]";
            }
        } else if (dyn_slice_is(key.bytes, "kind")) {
            if (!mp_next(&value_at, &value) || value.type != MP_STR) {
                return "'kind' is not text";
            }
            preamble->kind = value.bytes;
        }
    }
    if (!has_version) {
        return "no version";
    }
    return preamble->kind.data != NULL ? NULL : "no kind";
}

static enum env_kind
kind_by_name(struct dyn_slice name)
{
    for (unsigned kind = ENV_REQUEST; kind < ENV_KIND_COUNT; kind++) {
        if (dyn_slice_is(name, env_kind_name((enum env_kind)kind))) {
            return (enum env_kind)kind;
        }
    }
    return ENV_KIND_COUNT;
}

static int
take_bytes(struct decoding *d, const struct env_field *field, const struct mp_value *value)
{
    bool is_right = value->type == MP_STR || (value->type == MP_BIN && field->type == ENV_FIELD_BYTES);
    if (!is_right) {
        return refuse(d, field->key, "not text");
    }
    if (value->bytes.len > field->max) {
        return refuse_as(d, DYN_E_LIMIT, field->key, "too long");
    }
    *(struct dyn_slice *)env_field_at(d->env, field) = env_copy(d->env, value->bytes);
    return 0;
}

static int
take_number(struct decoding *d, const struct env_field *field, const struct mp_value *value)
{
    void *at = env_field_at(d->env, field);
    if (value->type != MP_UINT || value->number > field->max) {
        return refuse(d, field->key, "not a number in its range");
    }
    if (field->type == ENV_FIELD_U16) {
        *(uint16_t *)at = (uint16_t)value->number;
    } else if (field->type == ENV_FIELD_U32) {
        *(uint32_t *)at = (uint32_t)value->number;
    } else {
        *(uint64_t *)at = value->number;
    }
    return 0;
}

static int
take_id(struct decoding *d, const struct env_field *field, const struct mp_value *value)
{
    if (value->type != MP_BIN || value->bytes.len != sizeof(struct env_id)) {
        return refuse(d, field->key, "not 16 bytes");
    }
    memcpy(d->env->id.bytes, value->bytes.data, sizeof(struct env_id));
    return 0;
}

static int
take_bool(struct decoding *d, const struct env_field *field, const struct mp_value *value)
{
    if (value->type != MP_BOOL) {
        return refuse(d, field->key, "not a boolean");
    }
    *(bool *)env_field_at(d->env, field) = value->number != 0;
    return 0;
}

/* A surface of a later version is answered, not dropped: with the error for what is not served. */
static int
take_surface(struct decoding *d, const struct env_field *field, const struct mp_value *value)
{
    for (unsigned surface = 0; value->type == MP_STR && surface < ENV_SURFACE_COUNT; surface++) {
        if (dyn_slice_is(value->bytes, env_surface_name((enum env_surface)surface))) {
            d->env->surface = (enum env_surface)surface;
            return 0;
        }
    }
    if (value->type != MP_STR || !d->is_newer) {
        return refuse(d, field->key, "unknown");
    }
    d->env->refuse = ERR_NOT_FOUND;
    return 0;
}

static int
take_outcome(struct decoding *d, const struct env_field *field, const struct mp_value *value)
{
    for (unsigned outcome = ENV_OUTCOME_OK; value->type == MP_STR && outcome <= ENV_OUTCOME_CANCELLED;
         outcome++) {
        if (dyn_slice_is(value->bytes, env_outcome_name((enum env_outcome)outcome))) {
            d->env->outcome = (enum env_outcome)outcome;
            return 0;
        }
    }
    if (value->type != MP_STR || !d->is_newer) {
        return refuse(d, field->key, "unknown");
    }
    d->env->outcome = ENV_OUTCOME_ERROR;
    return 0;
}

static int
take_error(struct decoding *d, const struct env_field *field, const struct mp_value *value)
{
    enum err_code code = value->type == MP_STR ? err_by_name(value->bytes) : ERR_NONE;
    if (code == ERR_NONE) {
        if (value->type != MP_STR || !d->is_newer) {
            return refuse(d, field->key, "unknown");
        }
        code = ERR_INTERNAL;
    }
    *(enum err_code *)env_field_at(d->env, field) = code;
    return 0;
}

/* One [name, value]. */
static int
take_header(struct decoding *d, const struct env_field *field, size_t *bytes)
{
    struct mp_value pair;
    struct mp_value name;
    struct mp_value value;
    if (!mp_next(&d->cursor, &pair) || pair.type != MP_ARRAY || pair.number != 2 ||
        !mp_next(&d->cursor, &name) || !mp_next(&d->cursor, &value) || name.type != MP_STR ||
        name.bytes.len == 0 || (value.type != MP_BIN && value.type != MP_STR)) {
        return refuse(d, field->key, "not a list of [name, value]");
    }
    *bytes += name.bytes.len + value.bytes.len;
    if (name.bytes.len > ENV_HEADER_NAME_MAX || value.bytes.len > ENV_HEADER_VALUE_MAX ||
        *bytes > ENV_HEADERS_BYTES) {
        return refuse_as(d, DYN_E_LIMIT, field->key, "a name or value is too long");
    }
    env_add_header(d->env, name.bytes, value.bytes);
    return 0;
}

static int
take_headers(struct decoding *d, const struct env_field *field, const struct mp_value *list)
{
    size_t bytes = 0;
    if (list->type != MP_ARRAY) {
        return refuse(d, field->key, "not a list");
    }
    if (list->number > field->max) {
        return refuse_as(d, DYN_E_LIMIT, field->key, "too long");
    }
    for (uint64_t i = 0; i < list->number; i++) {
        if (take_header(d, field, &bytes) != 0) {
            return -1;
        }
    }
    return 0;
}

/* One member of `usage`; unknown ones are skipped. */
static const char *
take_count(struct decoding *d, struct env_usage *usage, unsigned *seen)
{
    struct mp_value key;
    struct mp_value value;
    unsigned i = 0;
    if (!mp_next(&d->cursor, &key) || key.type != MP_STR) {
        return "a key is not text";
    }
    while (i < ENV_N_USAGE_FIELDS && !dyn_slice_eq(key.bytes, env_usage_fields[i].key)) {
        i++;
    }
    bool is_estimate = dyn_slice_is(key.bytes, "est");
    if (i == ENV_N_USAGE_FIELDS && !is_estimate) {
        mp_skip(&d->cursor);
        return NULL;
    }
    if (*seen & (1u << i)) {
        return "a key stands twice";
    }
    *seen |= 1u << i;
    if (!mp_next(&d->cursor, &value) || value.type != (is_estimate ? MP_BOOL : MP_UINT)) {
        return "a count is not a number";
    }
    if (is_estimate) {
        usage->estimated = value.number != 0;
    } else {
        *(uint64_t *)(void *)((char *)usage + env_usage_fields[i].offset) = value.number;
    }
    return NULL;
}

static int
take_usage(struct decoding *d, const struct env_field *field, const struct mp_value *map)
{
    unsigned seen = 0;
    if (map->type != MP_MAP) {
        return refuse(d, field->key, "not a map");
    }
    for (uint64_t i = 0; i < map->number; i++) {
        const char *why = take_count(d, &d->env->usage, &seen);
        if (why != NULL) {
            return refuse(d, field->key, why);
        }
    }
    d->env->usage.known = true;
    return 0;
}

/* A stage of a later version is nothing that we are asked at; a verdict of one is none that we know. */
static int
take_stage(struct decoding *d, const struct env_field *field, const struct mp_value *value)
{
    enum vote_stage stage = value->type == MP_STR ? vote_stage_by_name(value->bytes) : VOTE_STAGE_NONE;
    if (stage == VOTE_STAGE_NONE && (value->type != MP_STR || !d->is_newer)) {
        return refuse(d, field->key, "unknown");
    }
    d->env->stage = (uint8_t)stage;
    return 0;
}

static int
take_verdict(struct decoding *d, const struct env_field *field, const struct mp_value *value)
{
    enum vote_verdict verdict = value->type == MP_STR ? vote_verdict_by_name(value->bytes) : VOTE_NONE;
    if (verdict == VOTE_NONE && (value->type != MP_STR || !d->is_newer)) {
        return refuse(d, field->key, "unknown");
    }
    d->env->verdict = (uint8_t)(verdict != VOTE_NONE ? verdict : VOTE_FAILED);
    return 0;
}

static int
take_facts(struct decoding *d, const struct env_field *field, const struct mp_value *map)
{
    d->env->facts_asked = vote_facts_new();
    const char *why = vote_facts_decode(&d->cursor, map, d->env->facts_asked);
    return why == NULL ? 0 : refuse(d, field->key, why);
}

static int
take_field(struct decoding *d, const struct env_field *field)
{
    struct mp_value value;
    if (!mp_next(&d->cursor, &value)) {
        return refuse(d, field->key, "cut off");
    }
    if (value.type == MP_NIL) {
        return 0;
    }
    switch (field->type) {
    case ENV_FIELD_ID:
        return take_id(d, field, &value);
    case ENV_FIELD_U16:
    case ENV_FIELD_U32:
    case ENV_FIELD_U64:
        return take_number(d, field, &value);
    case ENV_FIELD_BOOL:
        return take_bool(d, field, &value);
    case ENV_FIELD_TEXT:
    case ENV_FIELD_BYTES:
        return take_bytes(d, field, &value);
    case ENV_FIELD_SURFACE:
        return take_surface(d, field, &value);
    case ENV_FIELD_OUTCOME:
        return take_outcome(d, field, &value);
    case ENV_FIELD_ERROR:
        return take_error(d, field, &value);
    case ENV_FIELD_HEADERS:
        return take_headers(d, field, &value);
    case ENV_FIELD_USAGE:
        return take_usage(d, field, &value);
    case ENV_FIELD_STAGE:
        return take_stage(d, field, &value);
    case ENV_FIELD_VERDICT:
        return take_verdict(d, field, &value);
    case ENV_FIELD_FACTS:
        return take_facts(d, field, &value);
    }
    return 0;
}

/* Index in env_fields, or ENV_N_FIELDS. */
static size_t
find_field(struct decoding *d, struct dyn_slice key)
{
    for (size_t n = 0; n < ENV_N_FIELDS; n++) {
        size_t i = d->next_field + n < ENV_N_FIELDS ? d->next_field + n : d->next_field + n - ENV_N_FIELDS;
        if (dyn_slice_eq(key, env_fields[i].key)) {
            d->next_field = i + 1 < ENV_N_FIELDS ? i + 1 : 0;
            return i;
        }
    }
    return ENV_N_FIELDS;
}

static int
skip_unknown(struct decoding *d, struct dyn_slice key)
{
    for (size_t i = 0; i < d->n_unknown; i++) {
        if (dyn_slice_eq(d->unknown[i], key)) {
            return refuse(d, key, "stands twice");
        }
    }
    if (d->n_unknown == UNKNOWN_MAX) {
        return dyn_err_set(d->err, DYN_E_LIMIT, "more than %u unknown header members", UNKNOWN_MAX);
    }
    d->unknown[d->n_unknown++] = key;
    mp_skip(&d->cursor);
    return 0;
}

static int
take_member(struct decoding *d)
{
    struct mp_value key;
    if (!mp_next(&d->cursor, &key) || key.type != MP_STR) {
        return dyn_err_set(d->err, DYN_E_INVALID, "a key of the header is not text");
    }
    bool is_version = dyn_slice_is(key.bytes, "v");
    bool is_preamble = is_version || dyn_slice_is(key.bytes, "kind");
    size_t i = is_version ? SEEN_VERSION : is_preamble ? SEEN_KIND : find_field(d, key.bytes);
    if (i == ENV_N_FIELDS) {
        return skip_unknown(d, key.bytes);
    }
    if ((d->seen[i / 64] >> (i % 64)) & 1) {
        return refuse(d, key.bytes, "stands twice");
    }
    d->seen[i / 64] |= (uint64_t)1 << (i % 64);
    if (is_preamble) {
        mp_skip(&d->cursor);
        return 0;
    }
    return take_field(d, &env_fields[i]);
}

static bool
is_about_a_request(enum env_kind kind)
{
    return kind <= ENV_DISPATCHED || kind == ENV_ASK || kind == ENV_VOTE;
}

/* What a kind can't do without. */
static const char *
what_is_missing(const struct env *env)
{
    static const struct env_id none = {{0}};
    if (is_about_a_request(env->kind) && env_id_eq(&env->id, &none)) {
        return "id";
    }
    if (env->kind == ENV_REQUEST && env->surface == ENV_SURFACE_NONE && env->refuse == ERR_NONE) {
        return "surface";
    }
    if (env->kind == ENV_END && env->outcome == 0) {
        return "outcome";
    }
    if (env->kind == ENV_CREDIT && env->credit == 0) {
        return "credit";
    }
    return env->kind == ENV_EVENT && env->topic.data == NULL ? "topic" : NULL;
}

static int
take_members(struct decoding *d)
{
    struct mp_value map;
    if (!mp_next(&d->cursor, &map) || map.number > ENV_MEMBERS_MAX) {
        return dyn_err_set(d->err, DYN_E_LIMIT, "more than %d header members", ENV_MEMBERS_MAX);
    }
    for (uint64_t i = 0; i < map.number; i++) {
        if (take_member(d) != 0) {
            return -1;
        }
    }
    const char *missing = what_is_missing(d->env);
    if (missing != NULL) {
        return dyn_err_set(d->err, DYN_E_INVALID, "%s without '%s'", env_kind_name(d->env->kind), missing);
    }
    if (d->env->status != 0 && d->env->status < 100) {
        return refuse(d, DYN_SLICE("status"), "not an HTTP status");
    }
    return 0;
}

int
env_decode(struct dyn_slice header, struct env **env_p, struct dyn_err *err)
{
    struct preamble preamble = {.major = 0};
    struct decoding d = {.cursor = mp_cursor(header), .err = err};
    if (header.len > ENV_HEADER_MAX) {
        return dyn_err_set(err, DYN_E_LIMIT, "a header of more than %d bytes", ENV_HEADER_MAX);
    }
    if (mp_check(header, ENV_VALUES_MAX, err) != 0) {
        return -1;
    }
    const char *why = read_preamble(d.cursor, &preamble);
    if (why != NULL) {
        return dyn_err_set(err, DYN_E_INVALID, "%s", why);
    }
    if (preamble.major != ENV_VERSION_MAJOR) {
        return dyn_err_set(err, DYN_E_INVALID, "another major version of the protocol");
    }
    d.is_newer = preamble.minor > ENV_VERSION_MINOR;
    enum env_kind kind = kind_by_name(preamble.kind);
    if (kind == ENV_KIND_COUNT) {
        return d.is_newer ? 1 : dyn_err_set(err, DYN_E_INVALID, "an unknown kind");
    }
    d.env = env_new(kind);
    d.env->minor = (uint16_t)preamble.minor;
    if (take_members(&d) != 0) {
        env_free(&d.env);
        return -1;
    }
    *env_p = d.env;
    return 0;
}

int
env_header_version(struct dyn_slice header, unsigned *major, unsigned *minor)
{
    struct preamble preamble = {.major = 0};
    preamble.kind = DYN_SLICE(""); /* not needed */
    if (header.len > ENV_HEADER_MAX || mp_check(header, ENV_VALUES_MAX, NULL) != 0 ||
        read_preamble(mp_cursor(header), &preamble) != NULL) {
        return -1;
    }
    *major = (unsigned)preamble.major;
    *minor = (unsigned)preamble.minor;
    return 0;
}

size_t
env_body_max(enum env_kind kind, unsigned minor)
{
    switch (kind) {
    case ENV_CHUNK:
        return ENV_CHUNK_MAX;
    case ENV_END:
        return ENV_HELD_ANSWER_MAX;
    case ENV_READY:
    case ENV_EVENT:
        return ENV_MAP_BODY_MAX;
    case ENV_CANCEL:
    case ENV_CREDIT:
    case ENV_DISPATCHED:
    case ENV_GOODBYE:
        return 0;
    case ENV_HEARTBEAT:
        return minor >= ENV_HEALTH_SINCE ? ENV_MAP_BODY_MAX : 0;
    case ENV_REQUEST:
    case ENV_ASK:
    case ENV_VOTE:
    case ENV_CONFIG:
    case ENV_ACK:
    case ENV_KIND_COUNT:
        break;
    }
    return ENV_BODY_MAX;
}

int
env_take_body(struct env *env, dyn_block_t **body_p, struct dyn_err *err)
{
    DYN_ASSERT(env->body == NULL);
    size_t max = env_body_max(env->kind, env->minor);
    if (*body_p != NULL && (*body_p)->len > max) {
        return dyn_err_set(err, DYN_E_LIMIT, "a body of more than %zu bytes in %s", max,
                           env_kind_name(env->kind));
    }
    env->body = *body_p;
    *body_p = NULL;
    return 0;
}
