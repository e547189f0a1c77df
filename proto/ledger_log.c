/* See ledger_log.h. */
#include "proto/ledger_log.h"

#include <math.h>

/* ---- writing ---- */

#define BYTES_TEXT(value)   ((value).len)
#define BYTES_UINT(value)   0u
#define BYTES_REAL(value)   0u
#define IS_TOLD_TEXT(value) ((value).data != NULL)
#define IS_TOLD_UINT(value) ((value) != 0)
#define IS_TOLD_REAL(value) (!isnan(value))
#define PUT_TEXT(at, value) mp_put_any_text(at, value)
#define PUT_UINT(at, value) mp_put_uint(at, value)
#define PUT_REAL(at, value) mp_put_real(at, value)

static const struct mp_key table_key = MP_KEY("table");
static const struct mp_key table_name = MP_KEY("request_log");

size_t
ledger_log_room(const struct ledger_request_log *row)
{
    size_t bytes = MP_VALUE_ROOM + 2 * MP_KEY_ROOM;
#define REQUEST_LOG(type, name, key, help) bytes += MP_KEY_ROOM + MP_VALUE_ROOM + BYTES_##type(row->name);
#include "proto/ledger_rows.def"
    return bytes;
}

static size_t
members_of(const struct ledger_request_log *row)
{
    size_t n = 1; /* the table */
#define REQUEST_LOG(type, name, key, help) n += IS_TOLD_##type(row->name) ? 1 : 0;
#include "proto/ledger_rows.def"
    return n;
}

char *
ledger_log_put(char *at, const struct ledger_request_log *row)
{
    at = mp_put_key(mp_put_key(mp_put_map(at, members_of(row)), &table_key), &table_name);
#define REQUEST_LOG(type, name, key, help)                                                                   \
    if (IS_TOLD_##type(row->name)) {                                                                         \
        static const struct mp_key name_key = MP_KEY(#name);                                                 \
        at = PUT_##type(mp_put_key(at, &name_key), row->name);                                               \
    }
#include "proto/ledger_rows.def"
    return at;
}

/* ---- reading ---- */

static bool
take_text(struct mp_cursor at, struct mp_cursor *after, struct dyn_slice *text)
{
    struct mp_value value;
    size_t len = *at.next & 0x1fu;
    if ((*at.next & 0xe0) == 0xa0 && len < (size_t)(at.end - at.next)) { /* most are short */
        *text = dyn_slice((const char *)at.next + 1, len);
        after->next = at.next + 1 + len;
        return true;
    }
    if (!mp_next(&at, &value) || value.type != MP_STR) {
        return false;
    }
    *text = value.bytes;
    *after = at;
    return true;
}

static bool
take_uint(struct mp_cursor at, struct mp_cursor *after, uint64_t *number)
{
    struct mp_value value;
    if (*at.next < 0x80) {
        *number = *at.next;
        after->next = at.next + 1;
        return true;
    }
    if (!mp_next(&at, &value) || value.type != MP_UINT) {
        return false;
    }
    *number = value.number;
    *after = at;
    return true;
}

static bool
take_real(struct mp_cursor at, struct mp_cursor *after, double *real)
{
    struct mp_value value;
    if (!mp_next(&at, &value) || value.type != MP_FLOAT) {
        return false;
    }
    *real = value.real;
    *after = at;
    return true;
}

#define TAKE_TEXT take_text
#define TAKE_UINT take_uint
#define TAKE_REAL take_real

/* Whether that name comes next, and a value behind it. Inline, so that its bytes are known to the compiler.
 */
static inline __attribute__((always_inline)) bool
is_next(const struct mp_cursor *cursor, const char *name, size_t len)
{
    return (size_t)(cursor->end - cursor->next) > 1 + len && *cursor->next == (0xa0 | len) &&
           memcmp(cursor->next + 1, name, len) == 0;
}

uint64_t
ledger_log_take(struct mp_cursor *cursor, uint64_t members, struct ledger_request_log *row)
{
#define REQUEST_LOG(type, name, key, help)                                                                   \
    if (members > 0 && is_next(cursor, #name, sizeof #name - 1)) {                                           \
        struct mp_cursor value = {cursor->next + sizeof #name, cursor->end};                                 \
        members -= TAKE_##type(value, cursor, &row->name);                                                   \
    }
#include "proto/ledger_rows.def"
    return members;
}
