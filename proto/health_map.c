/* Boards as a map of MessagePack and back (02-WORKER, Health):
 *
 *   {"targets": [{"target": "A", "state": "open", "retry_ms": 900, "in_flight": 3, "models": {"gpt":
 *     [ttft_us, ttft_p95_us, total_us, ewma_us, samples]}}]}
 *
 * What is zero is left out; who reads ignores what it does not know. */
#include "proto/health.h"
#include "proto/health_impl.h"

#include "proto/mp.h"

#include <msgpack.h>

enum {
    VALUES_MAX = HEALTH_MAP_MAX, /* keys, values and elements: each has a byte at least */
    FIGURES = 5,                 /* of a model */
    MODEL_BYTES = 32,            /* its figures as they are written, at most, without the name */
    TARGET_NAME_MAX = 256,       /* bytes */
    TARGET_BYTES = 128,          /* its members as they are written, at most, without name and models */
    MODELS_HEAD = 10,            /* "models" and the head of its map */
};

/* ---- writing ---- */

/* Names of its models that have something new to tell. */
static size_t
choose_models(const health_board_t *board, uint64_t since_us, size_t room, struct dyn_slice *names)
{
    size_t n = 0;
    for (size_t i = 0; i < HEALTH_MODELS_MAX && since_us != UINT64_MAX; i++) {
        const struct health_slot *slot = &board->slots[i];
        struct dyn_slice name = dyn_slice_str(atomic_load_explicit(&slot->name, memory_order_acquire));
        uint64_t changed_us = atomic_load_explicit(&slot->changed_us, memory_order_relaxed);
        names[i] = dyn_slice(NULL, 0);
        if (name.len > 0 && changed_us != 0 && changed_us >= since_us && room >= name.len + MODEL_BYTES &&
            mp_is_utf8(name)) {
            names[i] = name;
            room -= name.len + MODEL_BYTES;
            n++;
        }
    }
    return n;
}

static void
pack_models(msgpack_packer *packer, const health_board_t *board, uint64_t now_us,
            const struct dyn_slice *names, size_t n)
{
    mp_pack_text(packer, DYN_SLICE("models"));
    (void)msgpack_pack_map(packer, n);
    for (size_t i = 0; i < HEALTH_MODELS_MAX; i++) {
        if (names[i].data == NULL) {
            continue;
        }
        struct health_latency latency;
        health_slot_read(&board->slots[i], now_us, &latency);
        mp_pack_text(packer, names[i]);
        (void)msgpack_pack_array(packer, FIGURES);
        (void)msgpack_pack_uint32(packer, latency.ttft_us);
        (void)msgpack_pack_uint32(packer, latency.ttft_p95_us);
        (void)msgpack_pack_uint32(packer, latency.total_us);
        (void)msgpack_pack_uint32(packer, latency.ewma_us);
        (void)msgpack_pack_uint32(packer, latency.samples);
    }
}

static void
pack_target(msgpack_packer *packer, const struct health_item *item, uint64_t now_us, uint64_t since_us,
            size_t room)
{
    struct dyn_slice names[HEALTH_MODELS_MAX];
    struct health_view view;
    health_view_of(item->board, 0, now_us, &view);
    const struct {
        const char *name;
        uint32_t value;
    } numbers[] = {
        {"retry_ms", view.retry_ms}, {"in_flight", view.in_flight}, {"queued", view.queued},
        {"limit", view.limit},       {"creds", view.creds},         {"aside", view.creds_aside},
    };
    size_t n_models = choose_models(item->board, since_us, room, names);
    size_t n = 2 + (n_models > 0 ? 1 : 0);
    for (size_t i = 0; i < DYN_ARRAY_LEN(numbers); i++) {
        n += numbers[i].value != 0 ? 1 : 0;
    }
    (void)msgpack_pack_map(packer, n);
    mp_pack_text(packer, DYN_SLICE("target"));
    mp_pack_text(packer, item->target);
    mp_pack_text(packer, DYN_SLICE("state"));
    mp_pack_text(packer, dyn_slice_str(health_state_name(view.state)));
    for (size_t i = 0; i < DYN_ARRAY_LEN(numbers); i++) {
        if (numbers[i].value != 0) {
            mp_pack_text(packer, dyn_slice_str(numbers[i].name));
            (void)msgpack_pack_uint32(packer, numbers[i].value);
        }
    }
    if (n_models > 0) {
        pack_models(packer, item->board, now_us, names, n_models);
    }
}

static bool
is_sayable(struct dyn_slice target)
{
    return target.len > 0 && target.len <= TARGET_NAME_MAX && mp_is_utf8(target);
}

void
health_map_encode(const struct health_item *items, size_t n_items, uint64_t now_us, uint64_t since_us,
                  struct dyn_buf *out)
{
    msgpack_packer packer;
    size_t n = 0;
    for (size_t i = 0; i < n_items && n < HEALTH_TARGETS_MAX; i++) {
        n += is_sayable(items[i].target) ? 1 : 0;
    }
    msgpack_packer_init(&packer, out, mp_append);
    (void)msgpack_pack_map(&packer, 1);
    mp_pack_text(&packer, DYN_SLICE("targets"));
    (void)msgpack_pack_array(&packer, n);
    size_t begin = out->len;
    for (size_t i = 0; n > 0; i++) {
        if (!is_sayable(items[i].target)) {
            continue;
        }
        /* Models take what the targets that are still to come do not need. */
        size_t used = out->len - begin + n * (TARGET_NAME_MAX + TARGET_BYTES + MODELS_HEAD);
        pack_target(&packer, &items[i], now_us, since_us, used < HEALTH_MAP_MAX ? HEALTH_MAP_MAX - used : 0);
        n--;
    }
}

/* ---- reading ---- */

struct said {
    struct dyn_slice target;
    enum health_state state;
    uint32_t retry_ms, in_flight, queued, limit, creds, aside;
    struct mp_cursor models; /* at its head; next is NULL: not said */
};

static uint32_t
number_of(const struct mp_value *value)
{
    uint64_t number = value->type == MP_UINT ? value->number : 0;
    return number < UINT32_MAX ? (uint32_t)number : UINT32_MAX;
}

/* A state of a later version takes calls. */
static enum health_state
state_of(const struct mp_value *value)
{
    struct dyn_slice word = value->type == MP_STR ? value->bytes : dyn_slice(NULL, 0);
    return dyn_slice_is(word, "open")        ? HEALTH_OPEN
           : dyn_slice_is(word, "half_open") ? HEALTH_HALF_OPEN
                                             : HEALTH_CLOSED;
}

static void
take_member(struct said *said, struct dyn_slice key, const struct mp_value *value, struct mp_cursor at)
{
    const struct {
        const char *name;
        uint32_t *number;
    } numbers[] = {
        {"retry_ms", &said->retry_ms}, {"in_flight", &said->in_flight}, {"queued", &said->queued},
        {"limit", &said->limit},       {"creds", &said->creds},         {"aside", &said->aside},
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(numbers); i++) {
        if (dyn_slice_is(key, numbers[i].name)) {
            *numbers[i].number = number_of(value);
        }
    }
    if (dyn_slice_is(key, "target") && value->type == MP_STR) {
        said->target = value->bytes;
    } else if (dyn_slice_is(key, "state")) {
        said->state = state_of(value);
    } else if (dyn_slice_is(key, "models") && value->type == MP_MAP) {
        said->models = at;
    }
}

/* The cursor is at a value of any type; behind it afterwards. false: it is no target. */
static bool
read_target(struct mp_cursor *cursor, struct said *said)
{
    struct mp_cursor at = *cursor;
    struct mp_value head;
    *said = (struct said){.state = HEALTH_CLOSED};
    mp_skip(cursor);
    if (!mp_next(&at, &head) || head.type != MP_MAP) {
        return false;
    }
    for (uint64_t i = 0; i < head.number; i++) {
        struct mp_value key;
        struct mp_value value;
        (void)mp_next(&at, &key);
        struct mp_cursor begin = at;
        struct mp_cursor peek = at;
        mp_skip(&at);
        if (key.type == MP_STR && mp_next(&peek, &value)) {
            take_member(said, key.bytes, &value, begin);
        }
    }
    return said->target.len > 0 && said->target.len <= TARGET_NAME_MAX;
}

/* [ttft_us, ttft_p95_us, total_us, ewma_us, samples], more of them in later versions. */
static bool
read_figures(struct mp_cursor *cursor, uint32_t figures[FIGURES])
{
    struct mp_cursor at = *cursor;
    struct mp_value head;
    mp_skip(cursor);
    if (!mp_next(&at, &head) || head.type != MP_ARRAY || head.number < FIGURES) {
        return false;
    }
    for (size_t i = 0; i < FIGURES; i++) {
        struct mp_value value;
        struct mp_cursor peek = at;
        (void)mp_next(&peek, &value);
        mp_skip(&at);
        figures[i] = number_of(&value);
    }
    return true;
}

static void
take_models(health_board_t *board, struct mp_cursor at, uint64_t now_us)
{
    struct mp_value head;
    (void)mp_next(&at, &head);
    for (uint64_t i = 0; i < head.number; i++) {
        struct mp_value name;
        uint32_t figures[FIGURES];
        (void)mp_next(&at, &name);
        if (!read_figures(&at, figures) || name.type != MP_STR || name.bytes.len == 0 ||
            memchr(name.bytes.data, '\0', name.bytes.len) != NULL) {
            continue;
        }
        const struct health_latency latency = {.ttft_us = figures[0],
                                               .ttft_p95_us = figures[1],
                                               .total_us = figures[2],
                                               .ewma_us = figures[3],
                                               .samples = figures[4]};
        size_t slot = health_board_slot(board, name.bytes);
        if (slot != HEALTH_MODELS_MAX) { /* who sends has no more of them than we have */
            health_board_set_latency(board, slot, &latency, now_us);
        }
    }
}

static void
take_said(health_board_t *board, const struct said *said, uint64_t now_us)
{
    uint64_t then_us = now_us + (uint64_t)said->retry_ms * 1000;
    health_board_set_breaker(board, said->state, said->state == HEALTH_OPEN ? then_us : 0);
    health_board_set_limit(board, said->limit);
    health_board_set_load(board, said->in_flight, said->queued);
    bool is_all = said->creds > 0 && said->aside >= said->creds && said->state != HEALTH_OPEN;
    health_board_set_creds(board, said->creds, said->aside, is_all && said->retry_ms > 0 ? then_us : 0);
    if (said->models.next != NULL) {
        take_models(board, said->models, now_us);
    }
}

/* At the list of targets, with their number; false: there is none. */
static bool
find_targets(struct dyn_slice map, struct mp_cursor *cursor, uint64_t *n)
{
    struct mp_value head;
    *cursor = mp_cursor(map);
    (void)mp_next(cursor, &head);
    for (uint64_t i = 0; i < head.number; i++) {
        struct mp_value key;
        struct mp_value value;
        (void)mp_next(cursor, &key);
        struct mp_cursor peek = *cursor;
        if (key.type == MP_STR && dyn_slice_is(key.bytes, "targets") && mp_next(&peek, &value) &&
            value.type == MP_ARRAY) {
            *cursor = peek;
            *n = value.number;
            return true;
        }
        mp_skip(cursor);
    }
    return false;
}

int
health_map_decode(struct dyn_slice map, uint64_t now_us,
                  health_board_t *(*board_of)(void *arg, struct dyn_slice target), void *arg,
                  struct dyn_err *err)
{
    struct mp_cursor cursor = mp_cursor(map);
    struct mp_value head;
    uint64_t n;
    if (map.len > HEALTH_MAP_MAX) {
        return dyn_err_set(err, DYN_E_LIMIT, "a health map of more than %d bytes", HEALTH_MAP_MAX);
    }
    if (mp_check(map, VALUES_MAX, err) != 0) {
        return -1;
    }
    if (!mp_next(&cursor, &head) || head.type != MP_MAP) {
        return dyn_err_set(err, DYN_E_INVALID, "a health map is no map");
    }
    if (!find_targets(map, &cursor, &n)) {
        return 0;
    }
    if (n > HEALTH_TARGETS_MAX) {
        return dyn_err_set(err, DYN_E_LIMIT, "a health map of more than %d targets", HEALTH_TARGETS_MAX);
    }
    for (uint64_t i = 0; i < n; i++) {
        struct said said;
        health_board_t *board = read_target(&cursor, &said) ? board_of(arg, said.target) : NULL;
        if (board != NULL) {
            take_said(board, &said, now_us);
        }
    }
    return 0;
}
