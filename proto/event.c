#include "proto/event.h"

#include <msgpack.h>

enum event_where { EVENT_IN_C = 1, EVENT_IN_F = 2, EVENT_IN_CF = 3 };
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

static void
pack_text(msgpack_packer *packer, struct dyn_slice text)
{
    (void)msgpack_pack_str(packer, text.len);
    (void)msgpack_pack_str_body(packer, text.data, text.len);
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

static void
set_value(struct event_record *record, const struct event_field *field, const msgpack_object *value)
{
    void *at = (char *)record + field->offset;
    if (field->type == EVENT_TEXT && value->type == MSGPACK_OBJECT_STR) {
        *(struct dyn_slice *)at = dyn_slice(value->via.str.ptr, value->via.str.size);
    } else if (field->type == EVENT_UINT && value->type == MSGPACK_OBJECT_POSITIVE_INTEGER) {
        *(uint64_t *)at = value->via.u64;
    } else if (field->type == EVENT_BOOL && value->type == MSGPACK_OBJECT_BOOLEAN) {
        *(bool *)at = value->via.boolean;
    } else if (field->type == EVENT_REAL &&
               (value->type == MSGPACK_OBJECT_FLOAT64 || value->type == MSGPACK_OBJECT_FLOAT32)) {
        *(double *)at = value->via.f64;
    }
}

static void
set_member(struct event_record *record, const msgpack_object_kv *member)
{
    if (member->key.type != MSGPACK_OBJECT_STR) {
        return;
    }
    struct dyn_slice key = dyn_slice(member->key.via.str.ptr, member->key.via.str.size);
    for (size_t i = 0; i < DYN_ARRAY_LEN(event_fields); i++) {
        if (dyn_slice_is(key, event_fields[i].name)) {
            set_value(record, &event_fields[i], &member->val);
            return;
        }
    }
}

/* Only maps that this process packed come here; a map from outside is validated by env_codec first. */
int
event_decode(struct dyn_slice map, struct event_record *record)
{
    *record = (struct event_record){0};
    msgpack_unpacked unpacked;
    msgpack_unpacked_init(&unpacked);
    int rc = -1;
    if (msgpack_unpack_next(&unpacked, map.data, map.len, NULL) == MSGPACK_UNPACK_SUCCESS &&
        unpacked.data.type == MSGPACK_OBJECT_MAP) {
        for (uint32_t i = 0; i < unpacked.data.via.map.size; i++) {
            set_member(record, &unpacked.data.via.map.ptr[i]);
        }
        rc = 0;
    }
    msgpack_unpacked_destroy(&unpacked);
    record->failed = record->error_code.data != NULL;
    return rc;
}

static const char *
told_in(enum event_where where)
{
    switch (where) {
    case EVENT_IN_C:
        return "completed";
    case EVENT_IN_F:
        return "failed";
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
                    "request that a router took, when it has ended. The body is a msgpack map.\n\n"
                    "| field | type | in | meaning |\n|---|---|---|---|\n");
    for (size_t i = 0; i < DYN_ARRAY_LEN(event_fields); i++) {
        dyn_buf_addf(out, "| `%s` | %s | %s | %s |\n", event_fields[i].name, type_names[event_fields[i].type],
                     told_in(event_fields[i].where), helps[i]);
    }
}
