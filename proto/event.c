#include "proto/event.h"

#include "proto/mp.h"

#include <msgpack.h>

/* Keys and values together: our own fields take a quarter, the rest is for those of later versions. */
enum { EVENT_VALUES_MAX = 256 };

enum event_where { EVENT_IN_C = 1, EVENT_IN_F = 2, EVENT_IN_CF = 3, EVENT_IN_P = 4 };
enum event_type { EVENT_TEXT, EVENT_UINT, EVENT_BOOL, EVENT_REAL };

static const struct event_field {
    const char *name;
    enum event_type type;
    enum event_where where;
    size_t offset;
} event_fields[] = {
#define EVENT_FIELD(type, name, where, help)                                                                 \
    {#name, EVENT_##type, EVENT_IN_##where, offsetof(struct event_record, name)},
#include "proto/event_fields.def"
#undef EVENT_FIELD
};

static const void *
value_of(const struct event_record *record, const struct event_field *field)
{
    return (const char *)record + field->offset;
}

static bool
is_told(const struct event_record *record, const struct event_field *field)
{
    enum event_where here = record->failed ? EVENT_IN_F : EVENT_IN_C;
    if ((field->where & here) == 0) {
        return false;
    }
    return field->type != EVENT_TEXT || ((const struct dyn_slice *)value_of(record, field))->data != NULL;
}

static int
append(void *out, const char *data, size_t len)
{
    dyn_buf_add(out, data, len);
    return 0;
}

/* What is not UTF-8 (the segment of a path, a provider's sentence) is spelled with question marks: readers in
 * other languages refuse a whole map for one such byte. */
static void
pack_text(msgpack_packer *packer, struct dyn_slice text)
{
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

static void
pack_value(msgpack_packer *packer, const struct event_field *field, const void *value)
{
    switch (field->type) {
    case EVENT_TEXT:
        pack_text(packer, *(const struct dyn_slice *)value);
        return;
    case EVENT_UINT:
        (void)msgpack_pack_uint64(packer, *(const uint64_t *)value);
        return;
    case EVENT_BOOL:
        (void)(*(const bool *)value ? msgpack_pack_true(packer) : msgpack_pack_false(packer));
        return;
    case EVENT_REAL:
        (void)msgpack_pack_double(packer, *(const double *)value);
        return;
    }
}

void
event_encode(const struct event_record *record, struct dyn_buf *out)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, out, append);
    size_t n = 0;
    for (size_t i = 0; i < DYN_ARRAY_LEN(event_fields); i++) {
        n += is_told(record, &event_fields[i]) ? 1 : 0;
    }
    (void)msgpack_pack_map(&packer, n);
    for (size_t i = 0; i < DYN_ARRAY_LEN(event_fields); i++) {
        const struct event_field *field = &event_fields[i];
        if (is_told(record, field)) {
            pack_text(&packer, dyn_slice_str(field->name));
            pack_value(&packer, field, value_of(record, field));
        }
    }
}

/* A value of another type than the table's leaves the field as it is. */
static void
set_value(struct event_record *record, const struct event_field *field, const struct mp_value *value)
{
    void *at = (char *)record + field->offset;
    if (field->type == EVENT_TEXT && value->type == MP_STR) {
        *(struct dyn_slice *)at = value->bytes;
    } else if (field->type == EVENT_UINT && value->type == MP_UINT) {
        *(uint64_t *)at = value->number;
    } else if (field->type == EVENT_BOOL && value->type == MP_BOOL) {
        *(bool *)at = value->number != 0;
    } else if (field->type == EVENT_REAL && value->type == MP_FLOAT) {
        *(double *)at = value->real;
    } else if (field->type == EVENT_REAL && value->type == MP_UINT) {
        *(double *)at = (double)value->number; /* other languages shorten 1.0 to 1 */
    }
}

static const struct event_field *
find_field(struct dyn_slice key)
{
    for (size_t i = 0; i < DYN_ARRAY_LEN(event_fields); i++) {
        if (dyn_slice_is(key, event_fields[i].name)) {
            return &event_fields[i];
        }
    }
    return NULL;
}

static int
read_members(struct mp_cursor *cursor, uint64_t n, struct event_record *record)
{
    for (uint64_t i = 0; i < n; i++) {
        struct mp_value key;
        struct mp_value value;
        if (!mp_next(cursor, &key) || key.type != MP_STR) {
            return -1;
        }
        struct mp_cursor head = *cursor;
        mp_skip(cursor); /* a value may be a container, of an unknown key */
        const struct event_field *field = find_field(key.bytes);
        if (field != NULL && mp_next(&head, &value)) {
            set_value(record, field, &value);
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

void
event_write_reference(struct dyn_buf *out)
{
    static const char *const type_names[] = {"text", "integer", "boolean", "real"};
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
}
