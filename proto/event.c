#include "proto/event.h"

#include "proto/mp.h"

#include <msgpack.h>

/* Keys and values together: our own fields take a half with all attempts, the rest is for later versions. */
enum { EVENT_VALUES_MAX = 2048 };

enum event_where { EVENT_IN_C = 1, EVENT_IN_F = 2, EVENT_IN_CF = 3, EVENT_IN_P = 4 };
enum event_type { EVENT_TEXT, EVENT_UINT, EVENT_BOOL, EVENT_REAL, EVENT_LIST };

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
    bool is_slice = field->type == EVENT_TEXT || field->type == EVENT_LIST;
    return !is_slice || ((const struct dyn_slice *)value_of(record, field))->data != NULL;
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
pack_value(msgpack_packer *packer, enum event_type type, const void *value)
{
    switch (type) {
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
    case EVENT_LIST: /* encoded already */
        dyn_buf_add_slice(packer->data, *(const struct dyn_slice *)value);
        return;
    }
}

void
event_encode(const struct event_record *record, struct dyn_buf *out)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, out, mp_append);
    size_t n = 0;
    for (size_t i = 0; i < DYN_ARRAY_LEN(event_fields); i++) {
        n += is_told(record, &event_fields[i]) ? 1 : 0;
    }
    (void)msgpack_pack_map(&packer, n);
    for (size_t i = 0; i < DYN_ARRAY_LEN(event_fields); i++) {
        const struct event_field *field = &event_fields[i];
        if (is_told(record, field)) {
            pack_text(&packer, dyn_slice_str(field->name));
            pack_value(&packer, field->type, value_of(record, field));
        }
    }
}

/* ---- attempts ---- */

static bool
entry_has(const void *entry, const struct entry_field *field)
{
    const void *at = (const char *)entry + field->offset;
    if (field->type == EVENT_TEXT) {
        return ((const struct dyn_slice *)at)->data != NULL;
    }
    if (field->type == EVENT_REAL) {
        return *(const double *)at > 0;
    }
    return field->type == EVENT_BOOL ? *(const bool *)at : *(const uint64_t *)at != 0;
}

static void
encode_entry(msgpack_packer *packer, const void *entry, const struct entry_field *fields, size_t n_fields)
{
    size_t n = 0;
    for (size_t i = 0; i < n_fields; i++) {
        n += entry_has(entry, &fields[i]) ? 1 : 0;
    }
    (void)msgpack_pack_map(packer, n);
    for (size_t i = 0; i < n_fields; i++) {
        if (entry_has(entry, &fields[i])) {
            pack_text(packer, dyn_slice_str(fields[i].name));
            pack_value(packer, fields[i].type, (const char *)entry + fields[i].offset);
        }
    }
}

void
event_attempts_encode(const struct event_attempt *attempts, size_t n, struct dyn_buf *out)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, out, mp_append);
    (void)msgpack_pack_array(&packer, n);
    for (size_t i = 0; i < n; i++) {
        encode_entry(&packer, &attempts[i], attempt_fields, DYN_ARRAY_LEN(attempt_fields));
    }
}

void
event_plugins_encode(const struct event_plugin *plugins, size_t n, struct dyn_buf *out)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, out, mp_append);
    (void)msgpack_pack_array(&packer, n);
    for (size_t i = 0; i < n; i++) {
        encode_entry(&packer, &plugins[i], plugin_fields, DYN_ARRAY_LEN(plugin_fields));
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
    for (uint64_t i = 0; i < n; i++) {
        struct mp_value key;
        struct mp_value value;
        if (!mp_next(cursor, &key) || key.type != MP_STR) {
            return -1;
        }
        struct mp_cursor head = *cursor;
        mp_skip(cursor); /* a value may be a container, of an unknown key */
        const struct event_field *field = find_field(key.bytes);
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
