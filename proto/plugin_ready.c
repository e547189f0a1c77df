#include "proto/plugin_ready.h"

#include <msgpack.h>

enum { READY_VALUES_MAX = 4096 };

/* ---- writing ---- */

static void
pack_word(msgpack_packer *packer, const char *word)
{
    size_t len = strlen(word);
    (void)msgpack_pack_str(packer, len);
    (void)msgpack_pack_str_body(packer, word, len);
}

static void
pack_stages(msgpack_packer *packer, uint32_t stages)
{
    pack_word(packer, "stages");
    (void)msgpack_pack_array(packer, (size_t)__builtin_popcount(stages));
    for (unsigned stage = 1; stage < VOTE_STAGE_COUNT; stage++) {
        if ((stages >> stage) & 1) {
            pack_word(packer, vote_stage_name((enum vote_stage)stage));
        }
    }
}

static void
pack_needs(msgpack_packer *packer, uint32_t needs)
{
    pack_word(packer, "needs");
    (void)msgpack_pack_array(packer, (size_t)__builtin_popcount(needs));
    for (unsigned bit = 0; vote_need_name(bit) != NULL; bit++) {
        if ((needs >> bit) & 1) {
            pack_word(packer, vote_need_name(bit));
        }
    }
}

static void
pack_flag(msgpack_packer *packer, const char *key, bool is_set)
{
    if (is_set) {
        pack_word(packer, key);
        (void)msgpack_pack_true(packer);
    }
}

static void
pack_plugin(msgpack_packer *packer, const struct plugin_said *said)
{
    (void)msgpack_pack_map(packer, 4u + said->amends + said->answers + said->watches);
    pack_word(packer, "name");
    (void)msgpack_pack_str(packer, said->name.len);
    (void)msgpack_pack_str_body(packer, said->name.data, said->name.len);
    pack_stages(packer, said->stages);
    pack_needs(packer, said->needs);
    pack_word(packer, "effects");
    pack_word(packer, said->charges ? "charges" : "none");
    pack_flag(packer, "amends", said->amends);
    pack_flag(packer, "answers", said->answers);
    pack_flag(packer, "watches", said->watches);
}

void
plugin_ready_encode(const struct plugin_said *plugins, size_t n, struct dyn_buf *out)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, out, mp_append);
    (void)msgpack_pack_map(&packer, 1);
    pack_word(&packer, "plugins");
    (void)msgpack_pack_array(&packer, n);
    for (size_t i = 0; i < n; i++) {
        pack_plugin(&packer, &plugins[i]);
    }
}

/* ---- reading ---- */

static const char *
read_name(struct mp_cursor *cursor, struct plugin_said *said)
{
    struct mp_value value;
    if (!mp_next(cursor, &value) || value.type != MP_STR || value.bytes.len == 0 ||
        value.bytes.len > PLUGIN_NAME_MAX) {
        return "a name is a text of 1 to 128 bytes";
    }
    for (size_t i = 0; i < value.bytes.len; i++) {
        if ((unsigned char)value.bytes.data[i] < 0x20 || value.bytes.data[i] == 0x7f) {
            return "a name has a control character";
        }
    }
    said->name = value.bytes;
    return NULL;
}

static const char *
read_words(struct mp_cursor *cursor, bool is_stages, uint32_t *bits)
{
    struct mp_value list;
    struct mp_value word;
    if (!mp_next(cursor, &list) || list.type != MP_ARRAY) {
        return is_stages ? "stages are no list" : "needs are no list";
    }
    for (uint64_t i = 0; i < list.number; i++) {
        if (!mp_next(cursor, &word) || word.type != MP_STR) {
            return is_stages ? "a stage is no text" : "a need is no text";
        }
        enum vote_stage stage = vote_stage_by_name(word.bytes);
        uint32_t bit = stage != VOTE_STAGE_NONE ? VOTE_STAGE_BIT(stage) : 0;
        *bits |= is_stages ? bit : vote_need_by_name(word.bytes);
    }
    return NULL;
}

static const char *
read_flag(struct mp_cursor *cursor, bool *flag)
{
    struct mp_value value;
    if (!mp_next(cursor, &value) || value.type != MP_BOOL) {
        return "amends, answers and watches are true or false";
    }
    *flag = value.number != 0;
    return NULL;
}

static const char *
read_effects(struct mp_cursor *cursor, bool *charges)
{
    struct mp_value value;
    bool is_text = mp_next(cursor, &value) && value.type == MP_STR;
    *charges = is_text && dyn_slice_is(value.bytes, "charges");
    return is_text && (*charges || dyn_slice_is(value.bytes, "none")) ? NULL
                                                                      : "effects are `none` or `charges`";
}

static const char *
read_member(struct mp_cursor *cursor, struct dyn_slice key, struct plugin_said *said)
{
    if (dyn_slice_is(key, "name")) {
        return read_name(cursor, said);
    }
    if (dyn_slice_is(key, "stages")) {
        return read_words(cursor, true, &said->stages);
    }
    if (dyn_slice_is(key, "needs")) {
        return read_words(cursor, false, &said->needs);
    }
    if (dyn_slice_is(key, "effects")) {
        return read_effects(cursor, &said->charges);
    }
    if (dyn_slice_is(key, "amends")) {
        return read_flag(cursor, &said->amends);
    }
    if (dyn_slice_is(key, "answers")) {
        return read_flag(cursor, &said->answers);
    }
    if (dyn_slice_is(key, "watches")) {
        return read_flag(cursor, &said->watches);
    }
    mp_skip(cursor);
    return NULL;
}

static const char *
read_plugin(struct mp_cursor *cursor, struct plugin_said *said)
{
    struct mp_value map;
    struct mp_value key;
    const char *why = NULL;
    *said = (struct plugin_said){.stages = 0};
    if (!mp_next(cursor, &map) || map.type != MP_MAP) {
        return "a plugin is no map";
    }
    for (uint64_t i = 0; i < map.number && why == NULL; i++) {
        if (!mp_next(cursor, &key) || key.type != MP_STR) {
            return "a key is no text";
        }
        why = read_member(cursor, key.bytes, said);
    }
    if (why != NULL) {
        return why;
    }
    bool has_both = (said->needs & VOTE_NEEDS_TEXT) != 0 && (said->needs & VOTE_NEEDS_BODY) != 0;
    return said->name.data == NULL ? "a plugin has no name"
           : said->stages == 0     ? "a plugin has no stage that this version knows"
           : has_both              ? "a plugin needs text or body, not both"
                                   : NULL;
}

static const char *
read_plugins(struct mp_cursor *cursor, struct plugin_said plugins[PLUGIN_SAID_MAX], size_t *n)
{
    struct mp_value list;
    if (*n > 0) {
        return "plugins stand twice";
    }
    if (!mp_next(cursor, &list) || list.type != MP_ARRAY || list.number > PLUGIN_SAID_MAX) {
        return "plugins are no list of at most 32";
    }
    for (; *n < list.number; (*n)++) {
        const char *why = read_plugin(cursor, &plugins[*n]);
        for (size_t i = 0; i < *n && why == NULL; i++) {
            why = dyn_slice_eq(plugins[i].name, plugins[*n].name) ? "a name stands twice" : NULL;
        }
        if (why != NULL) {
            return why;
        }
    }
    return NULL;
}

int
plugin_ready_decode(struct dyn_slice body, struct plugin_said plugins[PLUGIN_SAID_MAX], struct dyn_err *err)
{
    struct mp_cursor cursor = mp_cursor(body);
    struct mp_value map;
    struct mp_value key;
    const char *why = NULL;
    size_t n = 0;
    if (mp_check(body, READY_VALUES_MAX, err) != 0) {
        return -1;
    }
    if (!mp_next(&cursor, &map) || map.type != MP_MAP) {
        return dyn_err_set(err, DYN_E_INVALID, "not a map");
    }
    for (uint64_t i = 0; i < map.number && why == NULL; i++) {
        if (!mp_next(&cursor, &key) || key.type != MP_STR) {
            return dyn_err_set(err, DYN_E_INVALID, "a key is no text");
        }
        if (dyn_slice_is(key.bytes, "plugins")) {
            why = read_plugins(&cursor, plugins, &n);
        } else {
            mp_skip(&cursor);
        }
    }
    if (why == NULL && n == 0) {
        why = "it names no plugin";
    }
    return why == NULL ? (int)n : dyn_err_set(err, DYN_E_INVALID, "%s", why);
}
