#include "proto/event_batch.h"

#include "proto/mp_write.h"

/* What lies in front of a map: of this process and for it, so as the processor has it. */
struct head {
    uint32_t map_len;
    uint32_t room;
    bool failed;
};

/* The head of a map of more than 15 members, which an event of a request has without its stamp. */
enum { MAP_FORMAT = 0xde };

/* Each name and the topic with the byte in front of it. The last name is written with what lies behind it in
 * a struct mp_key, where its number goes. */
enum {
    STAMP_MEMBERS = 5,
    STAMP_BYTES = sizeof "topic" + sizeof EVENT_REQUEST_COMPLETED + sizeof "node" + 2 + EVENT_NODE_LEN +
                  sizeof "epoch" + sizeof "sequence" + sizeof "topic_sequence" + 3 * MP_VALUE_ROOM,
};
_Static_assert(MP_KEY_ROOM <= sizeof "topic_sequence" + MP_VALUE_ROOM, "nothing is written behind the room");
_Static_assert(sizeof EVENT_REQUEST_FAILED <= sizeof EVENT_REQUEST_COMPLETED, "both topics fit");

void
event_batch_add(struct dyn_buf *batch, const struct event_record *record)
{
    struct head head = {.room = STAMP_BYTES, .failed = record->failed};
    size_t start = batch->len;
    dyn_buf_add(batch, &head, sizeof head);
    event_encode(record, batch);
    head.map_len = (uint32_t)(batch->len - start - sizeof head);
    (void)dyn_buf_room(batch, STAMP_BYTES);
    memcpy(batch->data + start, &head, sizeof head);
    batch->len += STAMP_BYTES;
}

bool
event_batch_next(struct dyn_slice batch, size_t *at, struct event_batch_item *item)
{
    struct head head;
    if (*at >= batch.len) {
        return false;
    }
    memcpy(&head, batch.data + *at, sizeof head);
    *item = (struct event_batch_item){
        .failed = head.failed, .map_at = *at + sizeof head, .map_len = head.map_len, .room = head.room};
    *at = item->map_at + item->map_len + item->room;
    return true;
}

static char *
put_number(char *at, const struct mp_key *key, uint64_t number)
{
    return mp_put_uint(mp_put_key(at, key), number);
}

static char *
put_text(char *at, const struct mp_key *key, struct dyn_slice text)
{
    return mp_put_text(mp_put_key(at, key), text);
}

static char *
put_stamp(char *at, const struct event_stamp *stamp)
{
    static const struct mp_key topic = MP_KEY("topic");
    static const struct mp_key node = MP_KEY("node");
    static const struct mp_key epoch = MP_KEY("epoch");
    static const struct mp_key sequence = MP_KEY("sequence");
    static const struct mp_key topic_sequence = MP_KEY("topic_sequence");
    at = put_text(at, &topic, stamp->topic);
    at = put_text(at, &node, stamp->node);
    at = put_number(at, &epoch, stamp->epoch);
    at = put_number(at, &sequence, stamp->sequence);
    return put_number(at, &topic_sequence, stamp->topic_sequence);
}

static unsigned
members(const char *map)
{
    DYN_ASSERT((uint8_t)map[0] == MAP_FORMAT);
    return (unsigned)(uint8_t)map[1] << 8 | (uint8_t)map[2];
}

/* The room becomes part of the map, so that whoever looks next finds the next item. */
void
event_batch_stamp(char *batch, struct event_batch_item *item, const struct event_stamp *stamp)
{
    char *map = batch + item->map_at;
    char *end = map + item->map_len;
    DYN_ASSERT(item->room == STAMP_BYTES && stamp->node.len == EVENT_NODE_LEN &&
               stamp->topic.len < sizeof EVENT_REQUEST_COMPLETED);
    size_t used = (size_t)(put_stamp(end, stamp) - end);
    (void)mp_put_number(map, MAP_FORMAT, members(map) + STAMP_MEMBERS, 2);
    item->map_len += used;
    item->room -= used;
    struct head head = {
        .map_len = (uint32_t)item->map_len, .room = (uint32_t)item->room, .failed = item->failed};
    memcpy(map - sizeof head, &head, sizeof head);
}
