#include "proto/event.h"

#include "proto/mp.h"
#include "proto/mp_write.h"

/* Keys and values together: our own fields take a half with all attempts, the rest is for later versions. */
enum { EVENT_VALUES_MAX = 2048 };

enum event_where { EVENT_IN_C = 1, EVENT_IN_F = 2, EVENT_IN_CF = 3, EVENT_IN_P = 4 };
enum event_type {
    EVENT_TEXT,
    EVENT_UINT,
    EVENT_BOOL,
    EVENT_REAL,
    EVENT_LIST,
    EVENT_STAGE = EVENT_TEXT,
    EVENT_VERDICT = EVENT_TEXT,
};

static const struct event_field {
    const char *name;
    size_t name_len;
    enum event_type type;
    enum event_where where;
    size_t offset;
} event_fields[] = {
#define EVENT_FIELD(type, name, where, help)                                                                 \
    {#name, sizeof #name - 1, EVENT_##type, EVENT_IN_##where, offsetof(struct event_record, name)},
#include "proto/event_fields.def"
#undef EVENT_FIELD
};

/* Of an entry in a list. */
struct entry_field {
    const char *name;
    enum event_type type;
    size_t offset;
};
static const struct entry_field plugin_fields[] = {
#define PLUGIN_FIELD(type, name, help) {#name, EVENT_##type, offsetof(struct event_plugin, name)},
#include "proto/event_plugin_fields.def"
#undef PLUGIN_FIELD
};
static const struct entry_field attempt_fields[] = {
#define ATTEMPT_FIELD(type, name, help) {#name, EVENT_##type, offsetof(struct event_attempt, name)},
#include "proto/event_attempt_fields.def"
#undef ATTEMPT_FIELD
};

/* What a map has beside texts and lists: its head, and a key and a number for each member. */
enum {
    MAP_HEAD_BYTES = 3,
    RECORD_BYTES = MAP_HEAD_BYTES + DYN_ARRAY_LEN(event_fields) * (MP_KEY_ROOM + MP_VALUE_ROOM),
};

/* Texts and lists; 0 for the others. */
#define BYTES_TEXT(value) ((value).len)
#define BYTES_LIST(value) ((value).len)
#define BYTES_UINT(value) 0u
#define BYTES_BOOL(value) 0u
#define BYTES_REAL(value) 0u

static size_t
room_for(const struct event_record *record)
{
    size_t bytes = RECORD_BYTES;
#define EVENT_FIELD(type, name, where, help) bytes += BYTES_##type(record->name);
#include "proto/event_fields.def"
#undef EVENT_FIELD
    return bytes;
}

/* What is told always, so that a map's head has three bytes. */
#define ALWAYS_TEXT                          0
#define ALWAYS_LIST                          0
#define ALWAYS_UINT                          1
#define ALWAYS_BOOL                          1
#define ALWAYS_REAL                          1
#define EVENT_FIELD(type, name, where, help) +(EVENT_IN_##where == EVENT_IN_CF ? ALWAYS_##type : 0)
_Static_assert(0
#include "proto/event_fields.def"
                   > 15,
               "the head of a map is that of a long one");
#undef EVENT_FIELD

#define IS_TOLD_TEXT(value) ((value).data != NULL)
#define IS_TOLD_LIST(value) ((value).data != NULL)
#define IS_TOLD_UINT(value) true
#define IS_TOLD_BOOL(value) true
#define IS_TOLD_REAL(value) true
#define PUT_TEXT(at, value) mp_put_any_text(at, value)
#define PUT_LIST(at, value) mp_put_bytes(at, value) /* encoded already */
#define PUT_UINT(at, value) mp_put_uint(at, value)
#define PUT_BOOL(at, value) mp_put_bool(at, value)
#define PUT_REAL(at, value) mp_put_real(at, value)

/* Not by the table: an event of each request is written here, and straight code is several times as fast. */
void
event_encode(const struct event_record *record, struct dyn_buf *out)
{
    const unsigned here = record->failed ? EVENT_IN_F : EVENT_IN_C;
    char *start = dyn_buf_room(out, room_for(record));
    unsigned n = 0;
    if (start == NULL) {
        return;
    }
    char *at = start + MAP_HEAD_BYTES;
#define EVENT_FIELD(type, name, where, help)                                                                 \
    if ((EVENT_IN_##where & here) != 0 && IS_TOLD_##type(record->name)) {                                    \
        static const struct mp_key key = MP_KEY(#name);                                                      \
        at = PUT_##type(mp_put_key(at, &key), record->name);                                                 \
        n++;                                                                                                 \
    }
#include "proto/event_fields.def"
#undef EVENT_FIELD
    (void)mp_put_number(start, 0xde, n, 2);
    out->len += (size_t)(at - start);
}

/* ---- entries of lists: what is absent, zero or false is left out ---- */

#define HAS_TEXT(value) ((value).data != NULL)
#define HAS_UINT(value) ((value) != 0)
#define HAS_BOOL(value) (value)
#define HAS_REAL(value) ((value) > 0)

/* As vote_stage_name() and vote_verdict_name() spell them. */
static const struct mp_key stage_words[VOTE_STAGE_COUNT] = {
    [VOTE_STAGE_NONE] = MP_KEY("none"),
    [VOTE_BEFORE_REQUEST] = MP_KEY("before_request"),
    [VOTE_DURING_STREAM] = MP_KEY("during_stream"),
    [VOTE_AFTER_REQUEST] = MP_KEY("after_request"),
    [VOTE_ON_ERROR] = MP_KEY("on_error"),
};
static const struct mp_key verdict_words[EVENT_VERDICT_COUNT] = {
    [VOTE_NONE] = MP_KEY("none"),          [VOTE_PASS] = MP_KEY("pass"),     [VOTE_DENY] = MP_KEY("deny"),
    [VOTE_AMEND] = MP_KEY("amend"),        [VOTE_ANSWER] = MP_KEY("answer"), [VOTE_FAILED] = MP_KEY("failed"),
    [EVENT_VERDICT_OPEN] = MP_KEY("open"),
};
#define HAS_STAGE(value)       true
#define HAS_VERDICT(value)     true
#define BYTES_STAGE(value)     ((size_t)MP_KEY_ROOM)
#define BYTES_VERDICT(value)   ((size_t)MP_KEY_ROOM)
#define PUT_STAGE(at, value)   mp_put_key(at, &stage_words[value])
#define PUT_VERDICT(at, value) mp_put_key(at, &verdict_words[value])

/* Count, room and members of an entry, for the table of its fields. */
#define COUNTED(type, name, help) +(HAS_##type(entry->name) ? 1u : 0u)
#define ROOM_OF(type, name, help) +MP_KEY_ROOM + MP_VALUE_ROOM + BYTES_##type(entry->name)
#define PUT_MEMBER(type, name, help)                                                                         \
    if (HAS_##type(entry->name)) {                                                                           \
        static const struct mp_key key = MP_KEY(#name);                                                      \
        at = PUT_##type(mp_put_key(at, &key), entry->name);                                                  \
    }

static void
encode_attempt(const struct event_attempt *entry, struct dyn_buf *out)
{
#define ATTEMPT_FIELD ROOM_OF
    char *start = dyn_buf_room(out, MAP_HEAD_BYTES
#include "proto/event_attempt_fields.def"
    );
#undef ATTEMPT_FIELD
    if (start == NULL) {
        return;
    }
#define ATTEMPT_FIELD COUNTED
    char *at = mp_put_map(start, 0
#include "proto/event_attempt_fields.def"
    );
#undef ATTEMPT_FIELD
#define ATTEMPT_FIELD PUT_MEMBER
#include "proto/event_attempt_fields.def"
#undef ATTEMPT_FIELD
    out->len += (size_t)(at - start);
}

static void
encode_plugin(const struct event_plugin *entry, struct dyn_buf *out)
{
#define PLUGIN_FIELD ROOM_OF
    char *start = dyn_buf_room(out, MAP_HEAD_BYTES
#include "proto/event_plugin_fields.def"
    );
#undef PLUGIN_FIELD
    if (start == NULL) {
        return;
    }
#define PLUGIN_FIELD COUNTED
    char *at = mp_put_map(start, 0
#include "proto/event_plugin_fields.def"
    );
#undef PLUGIN_FIELD
#define PLUGIN_FIELD PUT_MEMBER
#include "proto/event_plugin_fields.def"
#undef PLUGIN_FIELD
    out->len += (size_t)(at - start);
}

static void
encode_head(size_t n, struct dyn_buf *out)
{
    char *at = dyn_buf_room(out, MP_VALUE_ROOM);
    out->len += at != NULL ? (size_t)(mp_put_array(at, n) - at) : 0;
}

void
event_attempts_encode(const struct event_attempt *attempts, size_t n, struct dyn_buf *out)
{
    encode_head(n, out);
    for (size_t i = 0; i < n; i++) {
        encode_attempt(&attempts[i], out);
    }
}

void
event_plugins_encode(const struct event_plugin *plugins, size_t n, struct dyn_buf *out)
{
    encode_head(n, out);
    for (size_t i = 0; i < n; i++) {
        encode_plugin(&plugins[i], out);
    }
}

/* ---- reading ---- */

/* A value of another type than the table's leaves the field as it is. */
static void
set_value(void *at, enum event_type type, const struct mp_value *value)
{
    if (type == EVENT_TEXT && value->type == MP_STR) {
        *(struct dyn_slice *)at = value->bytes;
    } else if (type == EVENT_UINT && value->type == MP_UINT) {
        *(uint64_t *)at = value->number;
    } else if (type == EVENT_BOOL && value->type == MP_BOOL) {
        *(bool *)at = value->number != 0;
    } else if (type == EVENT_REAL && value->type == MP_FLOAT) {
        *(double *)at = value->real;
    } else if (type == EVENT_REAL && value->type == MP_UINT) {
        *(double *)at = (double)value->number; /* other languages shorten 1.0 to 1 */
    }
}

/* Members come in the order of the table, nearly always: the search begins behind the last one, *after. */
static const struct event_field *
find_field(struct dyn_slice key, size_t *after)
{
    for (size_t i = 0, at = *after; i < DYN_ARRAY_LEN(event_fields); i++, at++) {
        const struct event_field *field = &event_fields[at % DYN_ARRAY_LEN(event_fields)];
        if (key.len == field->name_len && memcmp(key.data, field->name, key.len) == 0) {
            *after = at + 1;
            return field;
        }
    }
    return NULL;
}

static void
set_list(struct event_record *record, const struct event_field *field, struct mp_cursor head,
         const uint8_t *end)
{
    struct mp_value value;
    const char *start = (const char *)head.next;
    if (mp_next(&head, &value) && value.type == MP_ARRAY) {
        *(struct dyn_slice *)(void *)((char *)record + field->offset) =
            dyn_slice(start, (size_t)((const char *)end - start));
    }
}

static int
read_members(struct mp_cursor *cursor, uint64_t n, struct event_record *record)
{
    size_t after = 0;
    for (uint64_t i = 0; i < n; i++) {
        struct mp_value key;
        struct mp_value value;
        if (!mp_next(cursor, &key) || key.type != MP_STR) {
            return -1;
        }
        struct mp_cursor head = *cursor;
        mp_skip(cursor); /* a value may be a container, of an unknown key */
        const struct event_field *field = find_field(key.bytes, &after);
        if (field != NULL && field->type == EVENT_LIST) {
            set_list(record, field, head, cursor->next);
        } else if (field != NULL && mp_next(&head, &value)) {
            set_value((char *)record + field->offset, field->type, &value);
        }
    }
    return 0;
}

/* Anybody may publish on the bus: the map is checked before it is read, and nothing is allocated for it. */
int
event_decode(struct dyn_slice map, struct event_record *record)
{
    struct mp_cursor cursor = mp_cursor(map);
    struct mp_value head;
    *record = (struct event_record){0};
    if (mp_check(map, EVENT_VALUES_MAX, NULL) != 0 || !mp_next(&cursor, &head) || head.type != MP_MAP ||
        read_members(&cursor, head.number, record) != 0) {
        *record = (struct event_record){0};
        return -1;
    }
    record->failed = record->error_code.data != NULL;
    return 0;
}

static void
read_attempt(struct mp_cursor *cursor, struct event_attempt *attempt)
{
    struct mp_value head;
    struct mp_cursor start = *cursor;
    *attempt = (struct event_attempt){.status = 0};
    mp_skip(cursor);
    if (!mp_next(&start, &head) || head.type != MP_MAP) {
        return;
    }
    for (uint64_t i = 0; i < head.number; i++) {
        struct mp_value key;
        struct mp_value value;
        if (!mp_next(&start, &key)) {
            return;
        }
        struct mp_cursor at = start;
        mp_skip(&start);
        for (size_t k = 0; key.type == MP_STR && k < DYN_ARRAY_LEN(attempt_fields); k++) {
            if (dyn_slice_is(key.bytes, attempt_fields[k].name) && mp_next(&at, &value)) {
                set_value((char *)attempt + attempt_fields[k].offset, attempt_fields[k].type, &value);
                break;
            }
        }
    }
}

size_t
event_attempts_decode(struct dyn_slice list, struct event_attempt *attempts, size_t max)
{
    struct mp_cursor cursor = mp_cursor(list);
    struct mp_value head;
    if (list.len == 0 || !mp_next(&cursor, &head) || head.type != MP_ARRAY) {
        return 0;
    }
    size_t n = head.number < max ? (size_t)head.number : max;
    for (size_t i = 0; i < n; i++) {
        read_attempt(&cursor, &attempts[i]);
    }
    return n;
}

static const char *
told_in(enum event_where where)
{
    switch (where) {
    case EVENT_IN_C:
        return "completed";
    case EVENT_IN_F:
        return "failed";
    case EVENT_IN_P:
        return "all";
    case EVENT_IN_CF:
        break;
    }
    return "both";
}

static void
write_attempt_reference(struct dyn_buf *out)
{
    static const char *const type_names[] = {"text", "integer", "boolean", "real"};
    static const char *const helps[] = {
#define ATTEMPT_FIELD(type, name, help) help,
#include "proto/event_attempt_fields.def"
#undef ATTEMPT_FIELD
    };
    dyn_buf_addf(
        out,
        "\n## Attempts\n\n`attempt_list` is a list of maps, one for each sending to a target, at most "
        "the first %d and the last; [retries](retries.md) says when there are several. What is "
        "absent, zero or false is left out.\n\n| member | type | meaning |\n|---|---|---|\n",
        EVENT_ATTEMPTS_MAX - 1);
    for (size_t i = 0; i < DYN_ARRAY_LEN(attempt_fields); i++) {
        dyn_buf_addf(out, "| `%s` | %s | %s |\n", attempt_fields[i].name, type_names[attempt_fields[i].type],
                     helps[i]);
    }
}

static void
write_plugin_reference(struct dyn_buf *out)
{
    static const char *const type_names[] = {"text", "integer", "boolean"};
    static const char *const helps[] = {
#define PLUGIN_FIELD(type, name, help) help,
#include "proto/event_plugin_fields.def"
#undef PLUGIN_FIELD
    };
    dyn_buf_addf(out,
                 "\n## Plugins\n\n`plugins` is a list of maps, one for each vote of a plugin, at most %d.\n\n"
                 "| member | type | meaning |\n|---|---|---|\n",
                 EVENT_PLUGINS_MAX);
    for (size_t i = 0; i < DYN_ARRAY_LEN(plugin_fields); i++) {
        dyn_buf_addf(out, "| `%s` | %s | %s |\n", plugin_fields[i].name, type_names[plugin_fields[i].type],
                     helps[i]);
    }
}

void
event_write_reference(struct dyn_buf *out)
{
    static const char *const type_names[] = {"text", "integer", "boolean", "real", "list"};
    static const char *const helps[] = {
#define EVENT_FIELD(type, name, where, help) help,
#include "proto/event_fields.def"
#undef EVENT_FIELD
    };
    dyn_buf_add_str(out,
                    "# Events\n\nGenerated by `dynabus reference events` from `proto/event_fields.def`.\n\n"
                    "`" EVENT_REQUEST_COMPLETED "` and `" EVENT_REQUEST_FAILED "` are told once for every "
                    "request that a router took, when it has ended. The body is a msgpack map.\n"
                    "What is in `all` is put into every event of every topic by the publisher.\n\n"
                    "| field | type | in | meaning |\n|---|---|---|---|\n");
    for (size_t i = 0; i < DYN_ARRAY_LEN(event_fields); i++) {
        dyn_buf_addf(out, "| `%s` | %s | %s | %s |\n", event_fields[i].name, type_names[event_fields[i].type],
                     told_in(event_fields[i].where), helps[i]);
    }
    write_attempt_reference(out);
    write_plugin_reference(out);
}
