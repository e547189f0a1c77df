#include "proto/ready.h"

#include "proto/mp.h"

#include <msgpack.h>

/* Keys and values together: all models, and room for what later versions say of each target. */
enum { READY_VALUES_MAX = READY_MODELS_MAX + READY_TARGETS_MAX * 64 };

/* ---- writing ---- */

static void
pack_word(msgpack_packer *packer, const char *word)
{
    mp_pack_text(packer, dyn_slice_str(word));
}

/* Whether a request could say it. */
static bool
is_sayable(struct dyn_slice name, size_t max)
{
    return name.len > 0 && name.len <= max && mp_is_utf8(name);
}

/* Takes what it writes from `room`. */
static void
pack_models(msgpack_packer *packer, const struct ready_target *target, size_t *room)
{
    size_t n = 0;
    for (size_t i = 0; i < target->n_models && n < *room; i++) {
        n += is_sayable(target->models[i], READY_MODEL_MAX) ? 1 : 0;
    }
    *room -= n;
    pack_word(packer, "models");
    (void)msgpack_pack_array(packer, n);
    for (size_t i = 0; n > 0; i++) {
        if (is_sayable(target->models[i], READY_MODEL_MAX)) {
            mp_pack_text(packer, target->models[i]);
            n--;
        }
    }
}

static void
pack_surfaces(msgpack_packer *packer, uint32_t surfaces)
{
    pack_word(packer, "surfaces");
    (void)msgpack_pack_array(packer, (size_t)__builtin_popcount(surfaces));
    for (unsigned i = 0; i < ENV_SURFACE_COUNT; i++) {
        if ((surfaces >> i) & 1) {
            pack_word(packer, env_surface_name((enum env_surface)i));
        }
    }
}

static void
pack_target(msgpack_packer *packer, const struct ready_target *target, size_t *room)
{
    uint32_t surfaces = target->surfaces & ((1u << ENV_SURFACE_COUNT) - 1) & ~(1u << ENV_SURFACE_NONE);
    bool has_provider = target->provider.data != NULL;
    bool has_dialect = target->dialect.data != NULL;
    (void)msgpack_pack_map(packer, 2u + has_provider + has_dialect + (surfaces != 0) + target->any_model);
    pack_word(packer, "name");
    mp_pack_text(packer, target->name);
    if (has_provider) {
        pack_word(packer, "provider");
        mp_pack_text(packer, target->provider);
    }
    if (has_dialect) {
        pack_word(packer, "dialect");
        mp_pack_text(packer, target->dialect);
    }
    pack_models(packer, target, room);
    if (surfaces != 0) {
        pack_surfaces(packer, surfaces);
    }
    if (target->any_model) {
        pack_word(packer, "any_model");
        (void)msgpack_pack_true(packer);
    }
}

void
ready_encode(const struct ready *ready, struct dyn_buf *out)
{
    msgpack_packer packer;
    size_t n = 0;
    size_t room = READY_MODELS_MAX;
    msgpack_packer_init(&packer, out, mp_append);
    for (size_t i = 0; i < ready->n_targets; i++) {
        n += is_sayable(ready->targets[i].name, READY_NAME_MAX) ? 1 : 0;
    }
    (void)msgpack_pack_map(&packer, 1);
    pack_word(&packer, "targets");
    (void)msgpack_pack_array(&packer, n);
    for (size_t i = 0; i < ready->n_targets; i++) {
        if (is_sayable(ready->targets[i].name, READY_NAME_MAX)) {
            pack_target(&packer, &ready->targets[i], &room);
        }
    }
}

/* ---- reading ---- */

struct reader {
    struct mp_cursor cursor; /* over bytes that mp_check() has seen */
    struct arena *arena;
    struct dyn_err *err;
    size_t n_models; /* of all targets so far */
};

/* What the key of a member is worth, in the order of `ready_keys`. */
enum ready_key { KEY_NAME, KEY_PROVIDER, KEY_DIALECT, KEY_MODELS, KEY_SURFACES, KEY_ANY_MODEL, KEY_UNKNOWN };

static const char *const ready_keys[] = {"name", "provider", "dialect", "models", "surfaces", "any_model"};

static enum ready_key
key_of(struct dyn_slice word)
{
    for (size_t i = 0; i < DYN_ARRAY_LEN(ready_keys); i++) {
        if (dyn_slice_is(word, ready_keys[i])) {
            return (enum ready_key)i;
        }
    }
    return KEY_UNKNOWN;
}

static int
fault(struct reader *reader, const char *key, const char *what)
{
    return dyn_err_set(reader->err, DYN_E_INVALID, "READY: '%s' %s", key, what);
}

/* 1 to `max` bytes, no control characters. */
static int
read_text(struct reader *reader, const char *key, size_t max, struct dyn_slice *out)
{
    struct mp_value value;
    if (!mp_next(&reader->cursor, &value) || value.type != MP_STR) {
        return fault(reader, key, "must be text");
    }
    if (value.bytes.len == 0 || value.bytes.len > max) {
        return dyn_err_set(reader->err, DYN_E_LIMIT, "READY: '%s' has 1 to %zu bytes", key, max);
    }
    for (size_t i = 0; i < value.bytes.len; i++) {
        if ((unsigned char)value.bytes.data[i] < ' ' || value.bytes.data[i] == 0x7f) {
            return fault(reader, key, "has a control character");
        }
    }
    *out = value.bytes;
    return 0;
}

static int
read_list(struct reader *reader, const char *key, size_t *n)
{
    struct mp_value value;
    if (!mp_next(&reader->cursor, &value) || value.type != MP_ARRAY) {
        return fault(reader, key, "must be a list");
    }
    *n = (size_t)value.number;
    return 0;
}

static int
read_models(struct reader *reader, struct ready_target *target)
{
    size_t n = 0;
    if (read_list(reader, "models", &n) != 0) {
        return -1;
    }
    reader->n_models += n;
    if (reader->n_models > READY_MODELS_MAX) {
        return dyn_err_set(reader->err, DYN_E_LIMIT, "READY: more than %d models", READY_MODELS_MAX);
    }
    struct dyn_slice *models = arena_alloc(reader->arena, n * sizeof *models);
    for (size_t i = 0; i < n; i++) {
        if (read_text(reader, "models", READY_MODEL_MAX, &models[i]) != 0) {
            return -1;
        }
    }
    target->models = models;
    target->n_models = n;
    return 0;
}

static int
read_surfaces(struct reader *reader, struct ready_target *target)
{
    size_t n = 0;
    if (read_list(reader, "surfaces", &n) != 0) {
        return -1;
    }
    target->surfaces = 0;
    for (size_t i = 0; i < n; i++) {
        struct mp_value word;
        if (!mp_next(&reader->cursor, &word) || word.type != MP_STR) {
            return fault(reader, "surfaces", "must be a list of words");
        }
        for (unsigned known = ENV_SURFACE_CHAT; known < ENV_SURFACE_COUNT; known++) {
            target->surfaces |=
                dyn_slice_is(word.bytes, env_surface_name((enum env_surface)known)) ? 1u << known : 0;
        }
    }
    return 0;
}

static int
read_flag(struct reader *reader, bool *out)
{
    struct mp_value value;
    if (!mp_next(&reader->cursor, &value) || value.type != MP_BOOL) {
        return fault(reader, "any_model", "must be true or false");
    }
    *out = value.number != 0;
    return 0;
}

static int
read_member(struct reader *reader, enum ready_key key, struct ready_target *target)
{
    switch (key) {
    case KEY_NAME:
        return read_text(reader, "name", READY_NAME_MAX, &target->name);
    case KEY_PROVIDER:
        return read_text(reader, "provider", READY_PROVIDER_MAX, &target->provider);
    case KEY_DIALECT:
        return read_text(reader, "dialect", READY_DIALECT_MAX, &target->dialect);
    case KEY_MODELS:
        return read_models(reader, target);
    case KEY_SURFACES:
        return read_surfaces(reader, target);
    case KEY_ANY_MODEL:
        return read_flag(reader, &target->any_model);
    case KEY_UNKNOWN:
        break;
    }
    mp_skip(&reader->cursor);
    return 0;
}

/* The head of a map, and then each of its keys. */
static int
read_map(struct reader *reader, const char *what, size_t *n)
{
    struct mp_value head;
    if (!mp_next(&reader->cursor, &head) || head.type != MP_MAP) {
        return fault(reader, what, "must be a map");
    }
    *n = (size_t)head.number;
    return 0;
}

static int
read_key(struct reader *reader, const char *what, struct dyn_slice *key)
{
    struct mp_value value;
    if (!mp_next(&reader->cursor, &value) || value.type != MP_STR) {
        return fault(reader, what, "has a key that is no text");
    }
    *key = value.bytes;
    return 0;
}

static int
read_target(struct reader *reader, struct ready_target *target)
{
    size_t n = 0;
    unsigned seen = 0;
    *target = (struct ready_target){
        .dialect = DYN_SLICE(READY_DIALECT),
        .surfaces = 1u << ENV_SURFACE_CHAT,
    };
    if (read_map(reader, "targets", &n) != 0) {
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        struct dyn_slice word = {NULL, 0};
        if (read_key(reader, "targets", &word) != 0) {
            return -1;
        }
        enum ready_key key = key_of(word);
        if (key != KEY_UNKNOWN && ((seen >> key) & 1) != 0) {
            return fault(reader, ready_keys[key], "stands twice in a target");
        }
        seen |= 1u << key;
        if (read_member(reader, key, target) != 0) {
            return -1;
        }
    }
    return target->name.data != NULL ? 0 : fault(reader, "name", "is missing");
}

static int
read_targets(struct reader *reader, struct ready *ready)
{
    size_t n = 0;
    if (read_list(reader, "targets", &n) != 0) {
        return -1;
    }
    if (n > READY_TARGETS_MAX) {
        return dyn_err_set(reader->err, DYN_E_LIMIT, "READY: more than %d targets", READY_TARGETS_MAX);
    }
    struct ready_target *targets = arena_alloc(reader->arena, n * sizeof *targets);
    for (size_t i = 0; i < n; i++) {
        if (read_target(reader, &targets[i]) != 0) {
            return -1;
        }
        for (size_t j = 0; j < i; j++) {
            if (dyn_slice_eq(targets[j].name, targets[i].name)) {
                return fault(reader, "targets", "names a target twice");
            }
        }
    }
    ready->targets = targets;
    ready->n_targets = n;
    return 0;
}

static int
read_body(struct reader *reader, struct ready *ready)
{
    size_t n = 0;
    bool seen = false;
    if (read_map(reader, "body", &n) != 0) {
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        struct dyn_slice key = {NULL, 0};
        if (read_key(reader, "body", &key) != 0) {
            return -1;
        }
        if (!dyn_slice_is(key, "targets")) {
            mp_skip(&reader->cursor);
            continue;
        }
        if (seen) {
            return fault(reader, "targets", "stands twice");
        }
        seen = true;
        if (read_targets(reader, ready) != 0) {
            return -1;
        }
    }
    return 0;
}

int
ready_decode(struct dyn_slice body, struct arena *arena, struct ready *ready, struct dyn_err *err)
{
    struct reader reader = {.cursor = mp_cursor(body), .arena = arena, .err = err};
    *ready = (struct ready){0};
    if (body.len == 0) {
        return 0;
    }
    if (mp_check(body, READY_VALUES_MAX, err) != 0) {
        return -1;
    }
    if (read_body(&reader, ready) != 0) {
        *ready = (struct ready){0};
        return -1;
    }
    return 0;
}
