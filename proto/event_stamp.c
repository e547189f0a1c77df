/* Where and as which an event was published, written behind the map that somebody else made: its bytes are
 * copied once and not encoded again. Anybody may have made it, so it is checked first. */
#include "proto/event.h"
#include "proto/mp.h"

#include <msgpack.h>

/* The names of the stamp's members, and what all five take at most beside the two texts. */
static const char *const stamp_names[] = {"topic", "node", "epoch", "sequence", "topic_sequence"};
enum { STAMP_MEMBERS = DYN_ARRAY_LEN(stamp_names), STAMP_BYTES = 5 + STAMP_MEMBERS * (15 + 9) };

static int
append(void *data, const char *bytes, size_t len)
{
    dyn_block_t *block = data;
    DYN_ASSERT(len <= dyn_block_tailroom(block));
    dyn_block_append(&block, bytes, len); /* there is room: it does not move */
    return 0;
}

static void
pack_number(msgpack_packer *packer, const char *name, uint64_t number)
{
    mp_pack_text(packer, dyn_slice_str(name));
    (void)msgpack_pack_uint64(packer, number);
}

static void
pack_stamp(msgpack_packer *packer, const struct event_stamp *stamp)
{
    mp_pack_text(packer, dyn_slice_str(stamp_names[0]));
    mp_pack_text(packer, stamp->topic);
    mp_pack_text(packer, dyn_slice_str(stamp_names[1]));
    mp_pack_text(packer, stamp->node);
    pack_number(packer, stamp_names[2], stamp->epoch);
    pack_number(packer, stamp_names[3], stamp->sequence);
    pack_number(packer, stamp_names[4], stamp->topic_sequence);
}

static bool
is_stamp_name(struct dyn_slice key)
{
    for (size_t i = 0; i < STAMP_MEMBERS; i++) {
        if (dyn_slice_is(key, stamp_names[i])) {
            return true;
        }
    }
    return false;
}

/* How many pairs stay; -1 when a key is no text. */
static int64_t
count_kept(struct mp_cursor cursor, uint64_t pairs)
{
    int64_t kept = 0;
    for (uint64_t i = 0; i < pairs; i++) {
        struct mp_value key;
        if (!mp_next(&cursor, &key) || key.type != MP_STR) {
            return -1;
        }
        mp_skip(&cursor);
        kept += is_stamp_name(key.bytes) ? 0 : 1;
    }
    return kept;
}

/* One copy of everything where nothing has to go, which is the rule. */
static void
copy_pairs(dyn_block_t *block, struct mp_cursor cursor, uint64_t pairs, bool all)
{
    if (all) {
        (void)append(block, (const char *)cursor.next, (size_t)(cursor.end - cursor.next));
        return;
    }
    for (uint64_t i = 0; i < pairs; i++) {
        struct mp_value key;
        const uint8_t *start = cursor.next;
        (void)mp_next(&cursor, &key);
        mp_skip(&cursor);
        if (!is_stamp_name(key.bytes)) {
            (void)append(block, (const char *)start, (size_t)(cursor.next - start));
        }
    }
}

int
event_stamp(struct dyn_slice map, const struct event_stamp *stamp, dyn_block_t **body_p, struct dyn_err *err)
{
    size_t size = map.len + stamp->topic.len + stamp->node.len + STAMP_BYTES;
    if (size > EVENT_MAX) {
        return dyn_err_set(err, DYN_E_LIMIT, "an event of %zu bytes, at most %d", map.len, EVENT_MAX);
    }
    if (mp_check(map, EVENT_STAMPED_VALUES, err) != 0) {
        return -1;
    }
    struct mp_cursor cursor = mp_cursor(map);
    struct mp_value head;
    int64_t kept = mp_next(&cursor, &head) && head.type == MP_MAP ? count_kept(cursor, head.number) : -1;
    if (kept < 0) {
        return dyn_err_set(err, DYN_E_INVALID, "the body of an event is no map with text keys");
    }
    dyn_block_t *block = dyn_block_new(0, size);
    msgpack_packer packer;
    msgpack_packer_init(&packer, block, append);
    (void)msgpack_pack_map(&packer, (size_t)kept + STAMP_MEMBERS);
    copy_pairs(block, cursor, head.number, (uint64_t)kept == head.number);
    pack_stamp(&packer, stamp);
    *body_p = block;
    return 0;
}
