/* See ledger.h. Everything here goes by the two tables. */
#include "proto/ledger.h"

#include "core/buf.h"

#include <math.h>
#include <msgpack.h>

#define COLUMN(table, type, name, key)                                                                       \
    {                                                                                                        \
#name, LEDGER_##type, offsetof(struct ledger_##table, name), key                                     \
    }
#define KEY true
#define NO  false
static const struct ledger_column request_log_columns[] = {
#define REQUEST_LOG(type, name, key, help) COLUMN(request_log, type, name, key),
#include "proto/ledger_rows.def"
};
static const struct ledger_column audit_columns[] = {
#define AUDIT(type, name, key, help) COLUMN(audit, type, name, key),
#include "proto/ledger_rows.def"
};
static const struct ledger_column api_key_columns[] = {
#define API_KEY(type, name, key, help) COLUMN(api_key, type, name, key),
#include "proto/ledger_rows.def"
};
static const struct ledger_column spend_columns[] = {
#define SPEND(type, name, key, help) COLUMN(spend, type, name, key),
#include "proto/ledger_rows.def"
};
static const struct ledger_column log_stats_columns[] = {
#define LOG_STATS(type, name, key, help) COLUMN(log_stats, type, name, key),
#include "proto/ledger_rows.def"
};
static const struct ledger_column lease_columns[] = {
#define LEASE(type, name, key, help) COLUMN(lease, type, name, key),
#include "proto/ledger_rows.def"
};
#undef KEY
#undef NO
#undef COLUMN

const struct ledger_schema ledger_schemas[LEDGER_TABLES] = {
    [LEDGER_REQUEST_LOG] = {"request_log", request_log_columns, DYN_ARRAY_LEN(request_log_columns)},
    [LEDGER_AUDIT] = {"audit", audit_columns, DYN_ARRAY_LEN(audit_columns)},
    [LEDGER_API_KEYS] = {"api_keys", api_key_columns, DYN_ARRAY_LEN(api_key_columns)},
    [LEDGER_SPEND] = {"spend", spend_columns, DYN_ARRAY_LEN(spend_columns)},
    [LEDGER_LOG_STATS] = {"log_stats", log_stats_columns, DYN_ARRAY_LEN(log_stats_columns)},
    [LEDGER_LEASE] = {"lease", lease_columns, DYN_ARRAY_LEN(lease_columns)},
};

static const struct ledger_column message_fields[] = {
#define LEDGER_FIELD(type, name, where, help)                                                                \
    {#name, LEDGER_##type, offsetof(struct ledger_message, name), false},
#include "proto/ledger_fields.def"
#undef LEDGER_FIELD
};

const char *
ledger_state_name(enum ledger_state state)
{
    static const char *const names[] = {
        [LEDGER_NONE] = "none",     [LEDGER_OK] = "ok",
        [LEDGER_BEHIND] = "behind", [LEDGER_UNREACHABLE] = "unreachable",
        [LEDGER_LOSING] = "losing",
    };
    return (size_t)state < DYN_ARRAY_LEN(names) ? names[state] : "unknown";
}

/* ---- writing ---- */

static const void *
value_at(const void *base, const struct ledger_column *column)
{
    return (const char *)base + column->offset;
}

static bool
is_told(const void *base, const struct ledger_column *column)
{
    const void *value = value_at(base, column);
    if (column->type == LEDGER_UINT) {
        return *(const uint64_t *)value != 0;
    }
    if (column->type == LEDGER_REAL) {
        return !isnan(*(const double *)value);
    }
    return ((const struct dyn_slice *)value)->data != NULL;
}

static void
pack_text(msgpack_packer *packer, struct dyn_slice text)
{
    if (mp_is_utf8(text)) {
        mp_pack_text(packer, text);
        return;
    }
    (void)msgpack_pack_str(packer, text.len);
    for (size_t i = 0; i < text.len; i++) {
        (void)msgpack_pack_str_body(packer, (unsigned char)text.data[i] < 0x80 ? text.data + i : "?", 1);
    }
}

static void
pack_value(msgpack_packer *packer, const void *base, const struct ledger_column *column)
{
    const void *value = value_at(base, column);
    const struct dyn_slice *bytes = value;
    mp_pack_text(packer, dyn_slice_str(column->name));
    switch (column->type) {
    case LEDGER_UINT:
        (void)msgpack_pack_uint64(packer, *(const uint64_t *)value);
        break;
    case LEDGER_REAL:
        (void)msgpack_pack_double(packer, *(const double *)value);
        break;
    case LEDGER_BLOB:
        (void)msgpack_pack_bin(packer, bytes->len);
        (void)msgpack_pack_bin_body(packer, bytes->data, bytes->len);
        break;
    case LEDGER_TEXT:
        pack_text(packer, *bytes);
        break;
    }
}

static size_t
count_told(const void *base, const struct ledger_column *columns, size_t n)
{
    size_t told = 0;
    for (size_t i = 0; i < n; i++) {
        told += is_told(base, &columns[i]);
    }
    return told;
}

static void
pack_members(msgpack_packer *packer, const void *base, const struct ledger_column *columns, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (is_told(base, &columns[i])) {
            pack_value(packer, base, &columns[i]);
        }
    }
}

void
ledger_row_encode(const struct ledger_row *row, struct dyn_buf *out)
{
    const struct ledger_schema *schema = &ledger_schemas[row->table];
    msgpack_packer packer;
    msgpack_packer_init(&packer, out, mp_append);
    (void)msgpack_pack_map(&packer, count_told(&row->of, schema->columns, schema->n) + 1);
    mp_pack_text(&packer, DYN_SLICE("table"));
    mp_pack_text(&packer, dyn_slice_str(schema->name));
    pack_members(&packer, &row->of, schema->columns, schema->n);
}

dyn_block_t *
ledger_message_encode(const struct ledger_message *message)
{
    size_t n = DYN_ARRAY_LEN(message_fields);
    struct dyn_buf out = DYN_BUF_INIT;
    msgpack_packer packer;
    msgpack_packer_init(&packer, &out, mp_append);
    (void)msgpack_pack_map(&packer, count_told(message, message_fields, n) + (message->n_rows > 0));
    pack_members(&packer, message, message_fields, n);
    if (message->n_rows > 0) {
        mp_pack_text(&packer, DYN_SLICE("rows"));
        (void)msgpack_pack_array(&packer, message->n_rows);
    }
    dyn_block_t *block = dyn_block_new(0, out.len + message->rows.len);
    dyn_block_append(&block, out.data, out.len);
    if (message->n_rows > 0) {
        dyn_block_append(&block, message->rows.data, message->rows.len);
    }
    dyn_buf_fini(&out);
    return block;
}

/* ---- reading ---- */

static const struct ledger_column *
find_column(const struct ledger_column *columns, size_t n, struct dyn_slice name)
{
    for (size_t i = 0; i < n; i++) {
        if (dyn_slice_is(name, columns[i].name)) {
            return &columns[i];
        }
    }
    return NULL;
}

/* A value of another type than the column's is left out. */
static void
set_value(void *base, const struct ledger_column *column, const struct mp_value *value)
{
    void *at = (char *)base + column->offset;
    if (column->type == LEDGER_UINT && value->type == MP_UINT) {
        *(uint64_t *)at = value->number;
    } else if (column->type == LEDGER_REAL && value->type == MP_FLOAT) {
        *(double *)at = value->real;
    } else if (column->type == LEDGER_REAL && value->type == MP_UINT) {
        *(double *)at = (double)value->number;
    } else if ((column->type == LEDGER_TEXT && value->type == MP_STR) ||
               (column->type == LEDGER_BLOB && value->type == MP_BIN)) {
        *(struct dyn_slice *)at = value->bytes;
    }
}

static void
forget_reals(void *base, const struct ledger_column *columns, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (columns[i].type == LEDGER_REAL) {
            void *at = (char *)base + columns[i].offset;
            *(double *)at = (double)NAN;
        }
    }
}

/* The table's name may stand behind its columns. */
static bool
find_table(struct mp_cursor at, uint64_t members, enum ledger_table *table)
{
    for (uint64_t i = 0; i < members; i++) {
        struct mp_value key, value;
        if (!mp_next(&at, &key)) {
            return false;
        }
        struct mp_cursor before = at;
        mp_skip(&at);
        if (key.type != MP_STR || !dyn_slice_is(key.bytes, "table") || !mp_next(&before, &value) ||
            value.type != MP_STR) {
            continue;
        }
        for (size_t k = 0; k < LEDGER_TABLES; k++) {
            if (dyn_slice_is(value.bytes, ledger_schemas[k].name)) {
                *table = (enum ledger_table)k;
                return true;
            }
        }
        return false;
    }
    return false;
}

static void
read_members(struct mp_cursor *cursor, uint64_t members, void *base, const struct ledger_column *columns,
             size_t n)
{
    for (uint64_t i = 0; i < members; i++) {
        struct mp_value key, value;
        (void)mp_next(cursor, &key);
        struct mp_cursor at = *cursor;
        mp_skip(cursor);
        const struct ledger_column *column = key.type == MP_STR ? find_column(columns, n, key.bytes) : NULL;
        if (column != NULL && mp_next(&at, &value)) {
            set_value(base, column, &value);
        }
    }
}

bool
ledger_row_next(struct mp_cursor *rows, struct ledger_row *row)
{
    struct mp_value head;
    struct mp_cursor at = *rows;
    if (rows->next == rows->end || !mp_next(&at, &head) || head.type != MP_MAP) {
        return false;
    }
    *row = (struct ledger_row){.table = LEDGER_TABLES};
    if (!find_table(at, head.number, &row->table)) {
        mp_skip(rows); /* of a later version, or of nobody's: the others still count */
        return true;
    }
    const struct ledger_schema *schema = &ledger_schemas[row->table];
    forget_reals(&row->of, schema->columns, schema->n);
    read_members(&at, head.number, &row->of, schema->columns, schema->n);
    *rows = at;
    return true;
}

static int
read_rows(struct mp_cursor *cursor, struct ledger_message *message, struct dyn_err *err)
{
    struct mp_value head;
    if (!mp_next(cursor, &head) || head.type != MP_ARRAY) {
        return dyn_err_set(err, DYN_E_INVALID, "'rows' is no list");
    }
    const char *begin = (const char *)cursor->next;
    for (uint64_t i = 0; i < head.number; i++) {
        mp_skip(cursor);
    }
    message->rows = dyn_slice(begin, (size_t)((const char *)cursor->next - begin));
    message->n_rows = (size_t)head.number;
    return 0;
}

int
ledger_message_decode(struct dyn_slice body, struct ledger_message *message, struct dyn_err *err)
{
    *message = (struct ledger_message){.n_rows = 0};
    struct mp_cursor cursor = mp_cursor(body);
    struct mp_value head;
    if (mp_check(body, LEDGER_VALUES_MAX, err) != 0) {
        return -1;
    }
    if (!mp_next(&cursor, &head) || head.type != MP_MAP) {
        return dyn_err_set(err, DYN_E_INVALID, "no map");
    }
    for (uint64_t i = 0; i < head.number; i++) {
        struct mp_value key, value;
        (void)mp_next(&cursor, &key);
        if (key.type != MP_STR) {
            return dyn_err_set(err, DYN_E_INVALID, "a key that is no text");
        }
        if (dyn_slice_is(key.bytes, "rows")) {
            if (read_rows(&cursor, message, err) != 0) {
                return -1;
            }
            continue;
        }
        struct mp_cursor at = cursor;
        mp_skip(&cursor);
        const struct ledger_column *field =
            find_column(message_fields, DYN_ARRAY_LEN(message_fields), key.bytes);
        if (field != NULL && mp_next(&at, &value)) {
            set_value(message, field, &value);
        }
    }
    return 0;
}
