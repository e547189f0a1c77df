/* See ledger.h. Everything here goes by the two tables; rows of the request log mostly by ledger_log.c. */
#include "proto/ledger_log.h"

#include "core/buf.h"

#include <math.h>

#define COLUMN(table, type, name, key)                                                                       \
    {                                                                                                        \
#name, LEDGER_##type, offsetof(struct ledger_##table, name), key, MP_KEY(#name)                      \
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
    {#name, LEDGER_##type, offsetof(struct ledger_message, name), false, MP_KEY(#name)},
#include "proto/ledger_fields.def"
#undef LEDGER_FIELD
};

_Static_assert(DYN_ARRAY_LEN(message_fields) <= LEDGER_COLUMNS_MAX, "all may be told");

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

static char *
put_member(char *at, const void *base, const struct ledger_column *column)
{
    const void *value = value_at(base, column);
    at = mp_put_key(at, &column->key);
    switch (column->type) {
    case LEDGER_UINT:
        return mp_put_uint(at, *(const uint64_t *)value);
    case LEDGER_REAL:
        return mp_put_real(at, *(const double *)value);
    case LEDGER_BLOB:
        return mp_put_blob(at, *(const struct dyn_slice *)value);
    case LEDGER_TEXT:
        break;
    }
    return mp_put_any_text(at, *(const struct dyn_slice *)value);
}

/* What is told of a struct: its columns, and the bytes that they take at most. */
struct told {
    const struct ledger_column *columns[LEDGER_COLUMNS_MAX];
    size_t n;
    size_t room;
};

static void
find_told(const void *base, const struct ledger_column *columns, size_t n, struct told *told)
{
    told->n = 0;
    told->room = n * (MP_KEY_ROOM + MP_VALUE_ROOM) + 2 * (MP_KEY_ROOM + MP_VALUE_ROOM);
    for (size_t i = 0; i < n; i++) {
        if (is_told(base, &columns[i])) {
            bool is_bytes = columns[i].type == LEDGER_TEXT || columns[i].type == LEDGER_BLOB;
            told->columns[told->n++] = &columns[i];
            told->room += is_bytes ? ((const struct dyn_slice *)value_at(base, &columns[i]))->len : 0;
        }
    }
}

static char *
put_told(char *at, const void *base, const struct told *told)
{
    for (size_t i = 0; i < told->n; i++) {
        at = put_member(at, base, told->columns[i]);
    }
    return at;
}

static void
encode_log(const struct ledger_request_log *row, struct dyn_buf *out)
{
    char *start = dyn_buf_room(out, ledger_log_room(row));
    out->len += start != NULL ? (size_t)(ledger_log_put(start, row) - start) : 0;
}

void
ledger_row_encode(const struct ledger_row *row, struct dyn_buf *out)
{
    static const struct mp_key table = MP_KEY("table");
    const struct ledger_schema *schema = &ledger_schemas[row->table];
    struct told told;
    if (row->table == LEDGER_REQUEST_LOG) {
        encode_log(&row->of.request_log, out);
        return;
    }
    find_told(&row->of, schema->columns, schema->n, &told);
    char *start = dyn_buf_room(out, told.room);
    if (start == NULL) {
        return;
    }
    char *at = mp_put_key(mp_put_map(start, told.n + 1), &table);
    at = mp_put_text(at, dyn_slice_str(schema->name));
    out->len += (size_t)(put_told(at, &row->of, &told) - start);
}

dyn_block_t *
ledger_message_begin(const struct ledger_message *message, size_t row_bytes)
{
    static const struct mp_key rows = MP_KEY("rows");
    struct told told;
    find_told(message, message_fields, DYN_ARRAY_LEN(message_fields), &told);
    dyn_block_t *block = dyn_block_new(0, told.room + row_bytes);
    char *start = dyn_block_data(block);
    char *at = put_told(mp_put_map(start, told.n + (message->n_rows > 0)), message, &told);
    if (message->n_rows > 0) {
        at = mp_put_array(mp_put_key(at, &rows), message->n_rows);
    }
    block->len = (size_t)(at - start);
    return block;
}

dyn_block_t *
ledger_message_encode(const struct ledger_message *message)
{
    dyn_block_t *block = ledger_message_begin(message, message->rows.len);
    if (message->n_rows > 0) {
        dyn_block_append(&block, message->rows.data, message->rows.len);
    }
    return block;
}

/* ---- reading ---- */

/* Members come in the order of the columns, nearly always: the search begins behind the last one, *after. */
static const struct ledger_column *
find_column(const struct ledger_column *columns, size_t n, struct dyn_slice name, size_t *after)
{
    for (size_t k = 0; k < n; k++) {
        size_t i = *after + k < n ? *after + k : *after + k - n;
        const struct mp_key *key = &columns[i].key;
        if (name.len == (key->head & 0x1fu) && memcmp(name.data, key->text, name.len) == 0) {
            *after = i + 1;
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

static enum ledger_table
table_of(struct dyn_slice name)
{
    size_t table = 0;
    while (table < LEDGER_TABLES && !dyn_slice_is(name, ledger_schemas[table].name)) {
        table++;
    }
    return (enum ledger_table)table;
}

/* The table's name may stand behind its columns. Where it is in front of them, as we write it, the row goes
 * on behind it. */
static bool
find_table(struct mp_cursor *row, uint64_t *members, enum ledger_table *table)
{
    struct mp_cursor at = *row;
    struct mp_value key, value;
    for (uint64_t i = 0; i < *members; i++) {
        if (!mp_next(&at, &key) || !mp_take(&at, &value)) {
            return false;
        }
        if (key.type == MP_STR && dyn_slice_is(key.bytes, "table") && value.type == MP_STR) {
            *table = table_of(value.bytes);
            if (i == 0) {
                *row = at;
                --*members;
            }
            return *table != LEDGER_TABLES;
        }
    }
    return false;
}

static void
read_members(struct mp_cursor *cursor, uint64_t members, void *base, const struct ledger_column *columns,
             size_t n)
{
    size_t after = 0;
    for (uint64_t i = 0; i < members; i++) {
        struct mp_value key, value;
        if (!mp_next(cursor, &key) || !mp_take(cursor, &value)) {
            return;
        }
        const struct ledger_column *column =
            key.type == MP_STR ? find_column(columns, n, key.bytes, &after) : NULL;
        if (column != NULL) {
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
    if (!find_table(&at, &head.number, &row->table)) {
        mp_skip(rows); /* of a later version, or of nobody's: the others still count */
        return true;
    }
    const struct ledger_schema *schema = &ledger_schemas[row->table];
    forget_reals(&row->of, schema->columns, schema->n);
    if (row->table == LEDGER_REQUEST_LOG) {
        head.number = ledger_log_take(&at, head.number, &row->of.request_log);
    }
    read_members(&at, head.number, &row->of, schema->columns, schema->n);
    *rows = at;
    return true;
}

static int
read_rows(struct mp_cursor *cursor, bool is_own, struct ledger_message *message, struct dyn_err *err)
{
    struct mp_value head;
    if (!mp_next(cursor, &head) || head.type != MP_ARRAY) {
        return dyn_err_set(err, DYN_E_INVALID, "'rows' is no list");
    }
    const char *begin = (const char *)cursor->next;
    for (uint64_t i = 0; !is_own && i < head.number; i++) {
        mp_skip(cursor);
    }
    cursor->next = is_own ? cursor->end : cursor->next; /* they come last */
    message->rows = dyn_slice(begin, (size_t)((const char *)cursor->next - begin));
    message->n_rows = (size_t)head.number;
    return 0;
}

static int
read_message(struct dyn_slice body, bool is_own, struct ledger_message *message, struct dyn_err *err)
{
    struct mp_cursor cursor = mp_cursor(body);
    struct mp_value head;
    size_t after = 0;
    *message = (struct ledger_message){.n_rows = 0};
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
            if (read_rows(&cursor, is_own, message, err) != 0) {
                return -1;
            }
            continue;
        }
        const struct ledger_column *field =
            find_column(message_fields, DYN_ARRAY_LEN(message_fields), key.bytes, &after);
        if (mp_take(&cursor, &value) && field != NULL) {
            set_value(message, field, &value);
        }
    }
    return 0;
}

int
ledger_message_read(struct dyn_slice body, struct ledger_message *message, struct dyn_err *err)
{
    return read_message(body, true, message, err);
}

int
ledger_message_decode(struct dyn_slice body, struct ledger_message *message, struct dyn_err *err)
{
    *message = (struct ledger_message){.n_rows = 0};
    return mp_check(body, LEDGER_VALUES_MAX, err) == 0 ? read_message(body, false, message, err) : -1;
}
