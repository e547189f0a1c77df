/* GET /admin/keys/usage: how often keys were used, and when last, page by page. */
#include "core/rand.h"
#include "router/key_asking.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    USAGE_SHOWN = 20,
    USAGE_SHOWN_MAX = 100,
};

/* The value of a parameter, its escapes undone; absent: it is not there, or broken. */
static struct dyn_slice
parameter(struct asking *asking, const char *name)
{
    struct dyn_slice rest = asking->query;
    while (rest.len > 0) {
        const char *end = memchr(rest.data, '&', rest.len);
        struct dyn_slice pair = dyn_slice(rest.data, end != NULL ? (size_t)(end - rest.data) : rest.len);
        const char *equals = pair.len > 0 ? memchr(pair.data, '=', pair.len) : NULL;
        size_t name_len = equals != NULL ? (size_t)(equals - pair.data) : pair.len;
        if (equals != NULL && dyn_slice_is(dyn_slice(pair.data, name_len), name)) {
            char *out = arena_alloc(&asking->arena, pair.len + 1);
            size_t len = 0;
            for (size_t i = name_len + 1; i < pair.len; i++, len++) {
                uint8_t byte = (uint8_t)pair.data[i];
                if (byte == '%' &&
                    (pair.len - i < 3 || dyn_hex_decode(&byte, 1, dyn_slice(pair.data + i + 1, 2)) != 0)) {
                    return dyn_slice(NULL, 0);
                }
                i += pair.data[i] == '%' ? 2 : 0;
                out[len] = (char)byte;
            }
            return dyn_slice(out, len);
        }
        size_t used = pair.len + (end != NULL);
        rest = dyn_slice(rest.data + used, rest.len - used);
    }
    return dyn_slice(NULL, 0);
}

/* -1: it is there and no number up to `max`. */
static int
number_parameter(struct asking *asking, const char *name, size_t preset, size_t max, size_t *out)
{
    struct dyn_slice text = parameter(asking, name);
    size_t number = 0;
    *out = preset;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9' || number > max) {
            return -1;
        }
        number = number * 10 + (size_t)(text.data[i] - '0');
    }
    *out = text.data != NULL ? number : preset;
    return number > max || (text.data != NULL && text.len == 0) ? -1 : 0;
}

struct usage_query {
    size_t limit;
    size_t offset;
    bool by_last_used;
    int active; /* -1: both */
    uint64_t since_ms;
};

static const char *
read_usage_query(struct asking *asking, struct usage_query *query)
{
    struct dyn_slice sort = parameter(asking, "sort");
    struct dyn_slice active = parameter(asking, "active");
    struct dyn_slice since = parameter(asking, "since");
    query->by_last_used = dyn_slice_is(sort, "last_used");
    query->active = active.data == NULL ? -1 : dyn_slice_is(active, "true");
    query->since_ms = since.data != NULL ? key_time_read(since) : 0;
    if (number_parameter(asking, "limit", USAGE_SHOWN, USAGE_SHOWN_MAX, &query->limit) != 0 ||
        query->limit == 0) {
        return "limit";
    }
    if (number_parameter(asking, "offset", 0, KEYS_MAX, &query->offset) != 0) {
        return "offset";
    }
    if (sort.data != NULL && !query->by_last_used && !dyn_slice_is(sort, "usage")) {
        return "sort";
    }
    if (active.data != NULL && query->active == 0 && !dyn_slice_is(active, "false")) {
        return "active";
    }
    return since.data != NULL && query->since_ms == 0 ? "since" : NULL;
}

/* A copy of what changes while it is sorted. */
struct used {
    const struct key_record *record;
    uint64_t sorted_by;
};

static int
compare_used(const void *a, const void *b)
{
    const struct used *left = a;
    const struct used *right = b;
    if (left->sorted_by != right->sorted_by) {
        return left->sorted_by < right->sorted_by ? 1 : -1;
    }
    return memcmp(left->record->id.data, right->record->id.data, KEY_ID_LEN);
}

static size_t
select_used(struct asking *asking, const struct usage_query *query, struct used *found, uint64_t *total,
            size_t *usable)
{
    size_t n = 0;
    *total = 0;
    *usable = 0;
    for (size_t i = 0; i < key_table_count(asking->table); i++) {
        const struct key_record *record = key_table_at(asking->table, i);
        uint64_t count = atomic_load(&record->uses->count);
        uint64_t last_ms = atomic_load(&record->uses->last_ms);
        bool is_usable = key_is_usable(record, asking->now_ms);
        *total += count;
        *usable += is_usable;
        if ((query->active < 0 || query->active == is_usable) &&
            (query->since_ms == 0 || last_ms >= query->since_ms)) {
            found[n++] = (struct used){record, query->by_last_used ? last_ms : count};
        }
    }
    if (n > 1) {
        qsort(found, n, sizeof *found, compare_used);
    }
    return n;
}

struct env *
key_usage(struct asking *asking)
{
    struct usage_query query;
    uint64_t total;
    size_t usable;
    const char *wrong = read_usage_query(asking, &query);
    if (wrong != NULL) {
        char text[120];
        (void)snprintf(
            text, sizeof text,
            "'%s' is wrong; there are limit (1 to %d), offset, sort (usage, last_used), active and since",
            wrong, USAGE_SHOWN_MAX);
        return key_asking_fail(asking, ERR_INVALID_REQUEST, text, wrong);
    }
    size_t all = key_table_count(asking->table);
    struct used *found = dyn_alloc((all + 1) * sizeof *found);
    size_t n = select_used(asking, &query, found, &total, &usable);
    struct dyn_buf body = DYN_BUF_INIT_LIMIT(ENV_HELD_ANSWER_MAX);
    size_t shown = 0;
    dyn_buf_add_str(&body, "{\"data\":[");
    for (size_t i = query.offset; i < n && shown < query.limit; i++, shown++) {
        dyn_buf_add_str(&body, shown > 0 ? "," : "");
        key_record_show(found[i].record, NULL, asking->now_ms, &body);
    }
    free(found);
    dyn_buf_addf(&body,
                 "],\"summary\":{\"total_keys\":%zu,\"active_keys\":%zu,\"total_usage\":%llu,"
                 "\"returned_keys\":%zu},\"filters\":{\"limit\":%zu,\"offset\":%zu,\"sort\":\"%s\"}}",
                 all, usable, (unsigned long long)total, shown, query.limit, query.offset,
                 query.by_last_used ? "last_used" : "usage");
    struct env *end = body.failed ? key_asking_too_long(asking) : key_asking_answer(asking, 200, &body);
    dyn_buf_fini(&body);
    return end;
}
