#include "actors/plugins/answer_key.h"

#include "core/digest.h"
#include "core/json_scan.h"

#include <stdlib.h>

/* Texts stand behind their lengths and lists between marks, so that no two values are spelled alike. */

static void
put_count(struct dyn_buf *out, uint64_t count)
{
    dyn_buf_add(out, &count, sizeof count);
}

static void
put_text(struct dyn_buf *out, struct dyn_slice text)
{
    put_count(out, text.len);
    dyn_buf_add_slice(out, text);
}

static void
put_string(struct dyn_buf *out, struct json_value string)
{
    struct dyn_slice plain = json_string_plain(string);
    dyn_buf_add_char(out, 's');
    if (plain.data != NULL) {
        put_text(out, plain);
        return;
    }
    struct dyn_buf text = DYN_BUF_INIT;
    json_string_decode(string, &text);
    put_text(out, dyn_buf_slice(&text));
    dyn_buf_fini(&text);
}

struct named {
    struct dyn_slice name;
    struct json_value value;
};

static int
compare(struct dyn_slice a, struct dyn_slice b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len > 0 ? memcmp(a.data, b.data, len) : 0;
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

/* Of the same name the one that came first. */
static int
by_name(const void *a, const void *b)
{
    const struct named *left = a;
    const struct named *right = b;
    int order = compare(left->name, right->name);
    return order != 0 ? order : left->value.raw.data < right->value.raw.data ? -1 : 1;
}

static struct dyn_slice
decoded(const struct json_member *member, struct arena *arena)
{
    if (!member->key_is_escaped) {
        return member->key;
    }
    struct json_value quoted = {JSON_STRING, dyn_slice(member->key.data - 1, member->key.len + 2)};
    struct dyn_buf text = DYN_BUF_INIT;
    json_string_decode(quoted, &text);
    struct dyn_slice name = arena_copy(arena, dyn_buf_slice(&text));
    dyn_buf_fini(&text);
    return name;
}

static bool
is_form_only(struct dyn_slice name)
{
    return dyn_slice_is(name, "stream") || dyn_slice_is(name, "stream_options") ||
           dyn_slice_is(name, "model");
}

static void put_value(struct dyn_buf *out, struct json_value value, bool is_body);

static void
put_object(struct dyn_buf *out, struct json_value object, bool is_body)
{
    char memory[2048];
    struct arena arena;
    struct json_iter counting = json_iter(object);
    struct json_iter members = counting;
    struct json_member member;
    size_t n = 0;
    arena_init(&arena, memory, sizeof memory);
    while (json_iter_next(&counting, &member)) {
        n++;
    }
    struct named *all = arena_alloc(&arena, (n + 1) * sizeof *all);
    n = 0;
    while (json_iter_next(&members, &member)) {
        struct named one = {decoded(&member, &arena), member.value};
        if (!is_body || !is_form_only(one.name)) {
            all[n++] = one;
        }
    }
    qsort(all, n, sizeof *all, by_name);
    dyn_buf_add_char(out, '{');
    put_count(out, n);
    for (size_t i = 0; i < n; i++) {
        put_text(out, all[i].name);
        put_value(out, all[i].value, false);
    }
    arena_fini(&arena);
}

static void
put_array(struct dyn_buf *out, struct json_value array)
{
    struct json_iter items = json_iter(array);
    dyn_buf_add_char(out, '[');
    for (struct json_member item; json_iter_next(&items, &item);) {
        put_value(out, item.value, false);
    }
    dyn_buf_add_char(out, ']');
}

/* As deep as a body may nest, which its scan bounds. */
static void
put_value(struct dyn_buf *out, struct json_value value, bool is_body)
{
    switch (value.type) {
    case JSON_NULL:
        dyn_buf_add_char(out, 'n');
        break;
    case JSON_FALSE:
        dyn_buf_add_char(out, 'f');
        break;
    case JSON_TRUE:
        dyn_buf_add_char(out, 't');
        break;
    case JSON_NUMBER:
        dyn_buf_add_char(out, '#');
        put_text(out, value.raw);
        break;
    case JSON_STRING:
        put_string(out, value);
        break;
    case JSON_ARRAY:
        put_array(out, value);
        break;
    case JSON_OBJECT:
        put_object(out, value, is_body);
        break;
    }
}

/* Each name stands there once. */
static void
put_headers(struct dyn_buf *out, const struct vote_facts *facts)
{
    const struct env_header *last = NULL;
    for (size_t left = facts->n_headers; left > 0; left--) {
        const struct env_header *next = NULL;
        for (size_t i = 0; i < facts->n_headers; i++) {
            const struct env_header *header = &facts->headers[i];
            bool is_behind = last == NULL || compare(header->name, last->name) > 0;
            if (is_behind && (next == NULL || compare(header->name, next->name) < 0)) {
                next = header;
            }
        }
        if (next == NULL) {
            return;
        }
        if (!dyn_slice_is(next->name, "cache-control")) {
            dyn_buf_add_char(out, 'h');
            put_text(out, next->name);
            put_text(out, next->value);
        }
        last = next;
    }
}

static struct json_value
object_in(struct dyn_slice body)
{
    while (body.len > 0 && body.data[0] != '{') {
        body = dyn_slice(body.data + 1, body.len - 1);
    }
    while (body.len > 0 && body.data[body.len - 1] != '}') {
        body.len--;
    }
    return (struct json_value){JSON_OBJECT, body};
}

void
answer_key_of(const struct vote_facts *facts, struct dyn_slice body, struct dyn_buf *scratch,
              struct answer_key *key)
{
    dyn_buf_clear(scratch);
    put_text(scratch, facts->key_id);
    put_text(scratch, facts->model);
    put_text(scratch, facts->dialect);
    put_count(scratch, facts->surface);
    put_headers(scratch, facts);
    put_value(scratch, object_in(body), true);
    _Static_assert(sizeof key->bytes == DYN_SHA256_BYTES, "a digest");
    dyn_sha256(dyn_buf_slice(scratch), key->bytes);
}
