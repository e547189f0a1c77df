/* See node_event.h. */
#include "proto/node_event.h"

#include "core/buf.h"
#include "proto/mp.h"

#include <msgpack.h>

/* Keys and values: ours twice over, for those of later versions. */
enum { REPORT_VALUES_MAX = 4 * NODE_VALUES + 2 * NODE_BREAKERS_MAX + 64, ORIGIN_LEN = 32 };

static void
pack_member(msgpack_packer *packer, const char *name, struct dyn_slice text)
{
    mp_pack_text(packer, dyn_slice_str(name));
    mp_pack_text(packer, text);
}

/* What is zero is left out. */
static void
pack_values(msgpack_packer *packer, const struct node_values *values)
{
    size_t n = 0;
    for (size_t i = 0; i < NODE_VALUES; i++) {
        n += values->values[i] != 0 ? 1 : 0;
    }
    mp_pack_text(packer, DYN_SLICE("values"));
    (void)msgpack_pack_map(packer, n);
    for (size_t i = 0; i < NODE_VALUES; i++) {
        if (values->values[i] != 0) {
            mp_pack_text(packer, dyn_slice_str(node_value_rows[i].name));
            (void)msgpack_pack_uint64(packer, values->values[i]);
        }
    }
}

static void
pack_breakers(msgpack_packer *packer, const struct node_breakers *breakers)
{
    (void)msgpack_pack_map(packer, breakers->n);
    for (size_t i = 0; i < breakers->n; i++) {
        mp_pack_text(packer, dyn_slice(breakers->items[i].name, breakers->items[i].name_len));
        (void)msgpack_pack_uint8(packer, breakers->items[i].state);
    }
}

dyn_block_t *
node_report_encode(const struct node_report *report)
{
    struct dyn_buf out = DYN_BUF_INIT;
    msgpack_packer packer;
    msgpack_packer_init(&packer, &out, mp_append);
    bool has_breakers = report->breakers != NULL && report->breakers->n > 0;
    (void)msgpack_pack_map(&packer, has_breakers ? 5 : 4);
    pack_member(&packer, "origin", report->origin);
    pack_member(&packer, "config", report->config);
    pack_member(&packer, "version", report->version);
    pack_values(&packer, &report->values);
    if (has_breakers) {
        mp_pack_text(&packer, DYN_SLICE("breakers"));
        pack_breakers(&packer, report->breakers);
    }
    dyn_block_t *block = dyn_block_copy(0, dyn_buf_slice(&out));
    dyn_buf_fini(&out);
    return block;
}

static void
set_value(struct node_values *values, struct dyn_slice name, uint64_t number)
{
    for (size_t i = 0; i < NODE_VALUES; i++) {
        if (dyn_slice_is(name, node_value_rows[i].name)) {
            values->values[i] = number;
        }
    }
}

/* The cursor is at a value of any type; it is behind it afterwards. */
static void
read_values(struct mp_cursor *cursor, struct node_values *values)
{
    struct mp_cursor at = *cursor;
    struct mp_value head;
    mp_skip(cursor);
    if (!mp_next(&at, &head) || head.type != MP_MAP) {
        return;
    }
    for (uint64_t i = 0; i < head.number; i++) {
        struct mp_value key;
        struct mp_value value;
        (void)mp_next(&at, &key);
        struct mp_cursor number = at;
        mp_skip(&at);
        if (key.type != MP_STR) {
            return;
        }
        if (mp_next(&number, &value) && value.type == MP_UINT) {
            set_value(values, key.bytes, value.number);
        }
    }
}

static void
read_text(struct mp_cursor *cursor, struct dyn_slice *text)
{
    struct mp_cursor at = *cursor;
    struct mp_value value;
    mp_skip(cursor);
    if (mp_next(&at, &value) && value.type == MP_STR) {
        *text = value.bytes;
    }
}

int
node_report_decode(struct dyn_slice map, struct node_report *report)
{
    *report = (struct node_report){.origin = {NULL, 0}};
    struct mp_cursor cursor = mp_cursor(map);
    struct mp_value head;
    if (mp_check(map, REPORT_VALUES_MAX, NULL) != 0 || !mp_next(&cursor, &head) || head.type != MP_MAP) {
        return -1;
    }
    for (uint64_t i = 0; i < head.number; i++) {
        struct mp_value key;
        if (!mp_next(&cursor, &key) || key.type != MP_STR) {
            return -1;
        }
        if (dyn_slice_is(key.bytes, "values")) {
            read_values(&cursor, &report->values);
        } else if (dyn_slice_is(key.bytes, "breakers")) {
            report->breakers_told = dyn_slice((const char *)cursor.next, (size_t)(cursor.end - cursor.next));
            mp_skip(&cursor);
            report->breakers_told.len -= (size_t)(cursor.end - cursor.next);
        } else if (dyn_slice_is(key.bytes, "origin")) {
            read_text(&cursor, &report->origin);
        } else if (dyn_slice_is(key.bytes, "config")) {
            read_text(&cursor, &report->config);
        } else if (dyn_slice_is(key.bytes, "version")) {
            read_text(&cursor, &report->version);
        } else {
            mp_skip(&cursor);
        }
    }
    return report->origin.len == ORIGIN_LEN ? 0 : -1;
}
