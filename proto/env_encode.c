/* Encoding of envelope headers with msgpack-c. The result is what any other MessagePack library would
 * write for the same map: shortest forms, members in the order of env_fields.def.
 *
 * It never makes a header that env_decode would refuse for its limits: texts are cut, headers left out. */
#include "proto/env_fields.h"
#include "proto/mp.h"
#include "proto/vote_codec.h"

#include <msgpack.h>

/* More than every member but texts and lists can take together, and than a text takes beside its bytes. */
#define FIXED_BYTES 2048u
#define TEXT_BYTES  8u
_Static_assert(ENV_N_FIELDS *(1 + ENV_KEY_MAX + 9) < FIXED_BYTES, "a key and a 64-bit number for each");

/* Where the packer writes. The room was made for all of it before. */
struct writer {
    char *next;
    char *end;
};

static int
append(void *data, const char *bytes, size_t len)
{
    struct writer *writer = data;
    DYN_ASSERT((size_t)(writer->end - writer->next) >= len);
    if (len > 0) {
        memcpy(writer->next, bytes, len);
        writer->next += len;
    }
    return 0;
}

/* The text up to its limit, whole characters. */
static struct dyn_slice
cut(struct dyn_slice text, uint64_t max)
{
    if (text.len <= max) {
        return text;
    }
    text.len = (size_t)max;
    while (text.len > 0 && ((unsigned char)text.data[text.len] & 0xC0) == 0x80) {
        text.len--;
    }
    return text;
}

static void
pack_key(msgpack_packer *packer, struct dyn_slice key)
{
    (void)msgpack_pack_str(packer, key.len);
    (void)msgpack_pack_str_body(packer, key.data, key.len);
}

static void
pack_bytes(msgpack_packer *packer, struct dyn_slice bytes)
{
    (void)msgpack_pack_bin(packer, bytes.len);
    (void)msgpack_pack_bin_body(packer, bytes.data, bytes.len);
}

/* Text of a client that is not UTF-8 (a path's last segment may be anything) still has to travel. */
static DYN_COLD void
pack_broken_text(msgpack_packer *packer, struct dyn_slice text)
{
    (void)msgpack_pack_str(packer, text.len);
    for (size_t i = 0; i < text.len; i++) {
        char c = (unsigned char)text.data[i] < 0x80 ? text.data[i] : '?';
        (void)msgpack_pack_str_body(packer, &c, 1);
    }
}

static void
pack_text(msgpack_packer *packer, struct dyn_slice text)
{
    if (mp_is_utf8(text)) {
        pack_key(packer, text);
    } else {
        pack_broken_text(packer, text);
    }
}

static void
pack_word(msgpack_packer *packer, const char *word)
{
    pack_key(packer, dyn_slice_str(word));
}

bool
env_header_fits(const struct env_header *header, size_t *bytes)
{
    size_t len = header->name.len + header->value.len;
    if (header->name.len == 0 || header->name.len > ENV_HEADER_NAME_MAX ||
        header->value.len > ENV_HEADER_VALUE_MAX || len > ENV_HEADERS_BYTES - *bytes) {
        return false;
    }
    *bytes += len;
    return true;
}

static void
pack_headers(msgpack_packer *packer, const struct env *env)
{
    size_t n = 0;
    size_t bytes = 0;
    for (size_t i = 0; i < env->n_headers; i++) {
        n += env_header_fits(&env->headers[i], &bytes) ? 1 : 0;
    }
    (void)msgpack_pack_array(packer, n);
    bytes = 0;
    for (size_t i = 0; i < env->n_headers; i++) {
        if (env_header_fits(&env->headers[i], &bytes)) {
            (void)msgpack_pack_array(packer, 2);
            pack_text(packer, env->headers[i].name);
            pack_bytes(packer, env->headers[i].value);
        }
    }
}

static uint64_t
usage_count(const struct env_usage *usage, size_t i)
{
    return *(const uint64_t *)(const void *)((const char *)usage + env_usage_fields[i].offset);
}

static bool
usage_is_told(const struct env_usage *usage, size_t i, unsigned minor)
{
    return env_usage_fields[i].since <= minor && usage_count(usage, i) != 0;
}

static void
pack_usage(msgpack_packer *packer, const struct env_usage *usage, unsigned minor)
{
    size_t n = usage->estimated ? 1 : 0;
    for (size_t i = 0; i < ENV_N_USAGE_FIELDS; i++) {
        n += usage_is_told(usage, i, minor);
    }
    (void)msgpack_pack_map(packer, n);
    for (size_t i = 0; i < ENV_N_USAGE_FIELDS; i++) {
        if (usage_is_told(usage, i, minor)) {
            pack_key(packer, env_usage_fields[i].key);
            (void)msgpack_pack_uint64(packer, usage_count(usage, i));
        }
    }
    if (usage->estimated) {
        pack_word(packer, "est");
        (void)msgpack_pack_true(packer);
    }
}

static bool
has_id(const struct env_id *id)
{
    static const struct env_id none = {{0}};
    return memcmp(id, &none, sizeof none) != 0;
}

/* The last words of earlier versions. */
enum { SURFACE_1_2 = ENV_SURFACE_EXPLAIN };
enum { SURFACE_1_0 = ENV_SURFACE_READY, SURFACE_1_1 = ENV_SURFACE_EVENTS };
enum { ERROR_1_0 = ERR_DRAINING };

static unsigned
surface_since(enum env_surface surface)
{
    if (surface <= (enum env_surface)SURFACE_1_0) {
        return 0;
    }
    if (surface <= (enum env_surface)SURFACE_1_1) {
        return 1;
    }
    return surface <= (enum env_surface)SURFACE_1_2 ? 2 : 3;
}

/* The error as a peer of that version knows it. */
static enum err_code
known_error(enum err_code code, unsigned minor)
{
    static const struct {
        enum err_code code;
        unsigned since;
        enum err_code before;
    } later[] = {
        {ERR_PROVIDER_SATURATED, 2, ERR_SATURATED},
        {ERR_UNSUPPORTED_PARAMETER, 2, ERR_INVALID_REQUEST},
        {ERR_OVERRIDE_NOT_ALLOWED, 2, ERR_INVALID_REQUEST},
        {ERR_NO_PRICE, 2, ERR_MODEL_NOT_FOUND},
        {ERR_REQUEST_REJECTED, 3, ERR_INVALID_REQUEST},
        {ERR_INSUFFICIENT_QUOTA, 3, ERR_RATE_LIMITED},
        {ERR_RESPONSE_REJECTED, 3, ERR_UPSTREAM_ERROR},
        {ERR_PLUGIN_ERROR, 3, ERR_INTERNAL},
        {ERR_LEDGER_UNAVAILABLE, 3, ERR_INTERNAL},
        {ERR_INSUFFICIENT_SCOPE, 3, ERR_INVALID_REQUEST},
        {ERR_MODEL_NOT_ALLOWED, 3, ERR_INVALID_REQUEST},
        {ERR_TARGET_NOT_ALLOWED, 3, ERR_INVALID_REQUEST},
        {ERR_KEYS_UNAVAILABLE, 3, ERR_UPSTREAM_UNAVAILABLE},
        {ERR_INVALID_SCOPE, 3, ERR_INVALID_REQUEST},
        {ERR_RESOURCE_NOT_FOUND, 3, ERR_NOT_FOUND},
        {ERR_SELF_MUTATION, 3, ERR_INVALID_REQUEST},
        {ERR_LAST_ADMIN_KEY, 3, ERR_INVALID_REQUEST},
        {ERR_NOT_IMPLEMENTED, 3, ERR_NOT_FOUND},
    };
    if (code <= (enum err_code)ERROR_1_0) {
        return code;
    }
    for (size_t i = 0; i < DYN_ARRAY_LEN(later); i++) {
        if (later[i].code == code) {
            return minor >= later[i].since ? code : later[i].before;
        }
    }
    return minor == 0 ? ERR_INTERNAL : code;
}

static bool
is_set(const struct env *env, const struct env_field *field)
{
    const void *at = env_field_get(env, field);
    switch (field->type) {
    case ENV_FIELD_ID:
        return has_id(at);
    case ENV_FIELD_U16:
        return *(const uint16_t *)at != 0;
    case ENV_FIELD_U32:
        return *(const uint32_t *)at != 0;
    case ENV_FIELD_U64:
        return *(const uint64_t *)at != 0;
    case ENV_FIELD_BOOL:
        return *(const bool *)at;
    case ENV_FIELD_TEXT:
    case ENV_FIELD_BYTES:
        return ((const struct dyn_slice *)at)->data != NULL;
    case ENV_FIELD_SURFACE:
        return env->surface != ENV_SURFACE_NONE;
    case ENV_FIELD_OUTCOME:
        return env->outcome != 0;
    case ENV_FIELD_ERROR:
        return *(const enum err_code *)at != ERR_NONE;
    case ENV_FIELD_HEADERS:
        return env->n_headers > 0;
    case ENV_FIELD_USAGE:
        return env->usage.known;
    case ENV_FIELD_STAGE:
    case ENV_FIELD_VERDICT:
        return *(const uint8_t *)at != 0;
    case ENV_FIELD_FACTS:
        return env->facts_asked != NULL;
    }
    return false;
}

static void
pack_field(msgpack_packer *packer, const struct env *env, const struct env_field *field, unsigned minor)
{
    const void *at = env_field_get(env, field);
    (void)append(packer->data, (const char *)&field->packed_key, 1 + field->key.len);
    switch (field->type) {
    case ENV_FIELD_ID:
        pack_bytes(packer, dyn_slice(at, sizeof(struct env_id)));
        return;
    case ENV_FIELD_U16:
        (void)msgpack_pack_uint16(packer, *(const uint16_t *)at);
        return;
    case ENV_FIELD_U32:
        (void)msgpack_pack_uint32(packer, *(const uint32_t *)at);
        return;
    case ENV_FIELD_U64:
        (void)msgpack_pack_uint64(packer, *(const uint64_t *)at);
        return;
    case ENV_FIELD_BOOL:
        (void)msgpack_pack_true(packer);
        return;
    case ENV_FIELD_TEXT:
        pack_text(packer, cut(*(const struct dyn_slice *)at, field->max));
        return;
    case ENV_FIELD_BYTES:
        pack_bytes(packer, cut(*(const struct dyn_slice *)at, field->max));
        return;
    case ENV_FIELD_SURFACE:
        pack_word(packer, env_surface_name(env->surface));
        return;
    case ENV_FIELD_OUTCOME:
        pack_word(packer, env_outcome_name(env->outcome));
        return;
    case ENV_FIELD_ERROR:
        pack_word(packer, err_row(known_error(*(const enum err_code *)at, minor))->name);
        return;
    case ENV_FIELD_HEADERS:
        pack_headers(packer, env);
        return;
    case ENV_FIELD_USAGE:
        pack_usage(packer, &env->usage, minor);
        return;
    case ENV_FIELD_STAGE:
        pack_word(packer, vote_stage_name((enum vote_stage)env->stage));
        return;
    case ENV_FIELD_VERDICT:
        pack_word(packer, vote_verdict_name((enum vote_verdict)env->verdict));
        return;
    case ENV_FIELD_FACTS:
        vote_facts_pack(env->facts_asked, packer);
        return;
    }
}

static void
pack_preamble(msgpack_packer *packer, const struct env *env, size_t n_set, unsigned minor)
{
    (void)msgpack_pack_map(packer, n_set + 2);
    pack_word(packer, "v");
    (void)msgpack_pack_array(packer, 2);
    (void)msgpack_pack_uint8(packer, ENV_VERSION_MAJOR);
    (void)msgpack_pack_uint16(packer, (uint16_t)minor);
    pack_word(packer, "kind");
    pack_word(packer, env_kind_name(env->kind));
}

/* Bytes that a member takes beyond its share of FIXED_BYTES. */
static size_t
variable_bytes(const struct env *env, const struct env_field *field)
{
    size_t bytes = 0;
    if (field->type == ENV_FIELD_TEXT || field->type == ENV_FIELD_BYTES) {
        const struct dyn_slice *text = env_field_get(env, field);
        return TEXT_BYTES + (text->len < field->max ? text->len : (size_t)field->max);
    }
    if (field->type == ENV_FIELD_FACTS) {
        return vote_facts_size(env->facts_asked);
    }
    for (size_t i = 0; field->type == ENV_FIELD_HEADERS && i < env->n_headers; i++) {
        bytes += 2 * TEXT_BYTES + env->headers[i].name.len + env->headers[i].value.len;
    }
    return bytes;
}

int
env_encode_for(const struct env *env, unsigned minor, struct dyn_buf *out, struct dyn_err *err)
{
    if (surface_since(env->surface) > minor) {
        return dyn_err_set(err, DYN_E_INVALID, "the peer's version knows no surface '%s'",
                           env_surface_name(env->surface));
    }
    const struct env_field *set[ENV_N_FIELDS];
    size_t n_set = 0;
    size_t room = FIXED_BYTES;
    for (size_t i = 0; i < ENV_N_FIELDS; i++) {
        if (env_fields[i].since <= minor && is_set(env, &env_fields[i])) {
            set[n_set++] = &env_fields[i];
            room += variable_bytes(env, &env_fields[i]);
        }
    }
    char *start = dyn_buf_room(out, room);
    if (start == NULL) {
        return dyn_err_set(err, DYN_E_LIMIT, "no room for an envelope header of up to %zu bytes", room);
    }
    struct writer writer = {start, start + room};
    msgpack_packer packer;
    msgpack_packer_init(&packer, &writer, append);
    pack_preamble(&packer, env, n_set, minor);
    for (size_t i = 0; i < n_set; i++) {
        pack_field(&packer, env, set[i], minor);
    }
    size_t len = (size_t)(writer.next - start);
    if (len > ENV_HEADER_MAX) {
        return dyn_err_set(err, DYN_E_LIMIT, "an envelope header of %zu bytes, at most %d", len,
                           ENV_HEADER_MAX);
    }
    out->len += len;
    return 0;
}

int
env_encode(const struct env *env, struct dyn_buf *out, struct dyn_err *err)
{
    return env_encode_for(env, ENV_VERSION_MINOR, out, err);
}
