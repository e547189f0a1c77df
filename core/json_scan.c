/* Validation: one pass over the text, no recursion, no allocation. Where the scanner stands is a
 * pointer that functions take and return; NULL means that the error is filled. */
#include "core/json_scan.h"

#include "core/json_escape.h"
#include "core/json_keys.h"
#include "core/json_skip.h"
#include "core/json_utf8.h"
#include "core/piece.h"
#include "core/text.h"

enum { WORD_BITS = 64, STACK_WORDS = (JSON_DEPTH_MAX + WORD_BITS - 1) / WORD_BITS };

struct scan {
    const char *begin;
    const char *end;
    struct json_error *error;
    unsigned depth; /* containers that are open */
    unsigned max_depth;
    bool saw_escape;                 /* in the string scanned last */
    uint64_t is_object[STACK_WORDS]; /* one bit for each open container */
};

static DYN_COLD const char *
fail(struct scan *scan, const char *at, const char *what)
{
    *scan->error = (struct json_error){what, (size_t)(at - scan->begin)};
    return NULL;
}

static DYN_COLD const char *
fail_expected(struct scan *scan, const char *at, const char *what)
{
    return fail(scan, at, at == scan->end ? "unexpected end of text" : what);
}

/* Characters beyond ASCII one by one, before it pays to begin with blocks. */
#define UTF8_FIRST_BYTES 32

/* A character beyond ASCII, and those that follow it: texts that have one have many. */
static const char *
scan_utf8(struct scan *scan, const char *at)
{
    bool is_long = scan->end - at > 2 * UTF8_FIRST_BYTES;
    const char *behind = json_skip_utf8(at, is_long ? at + UTF8_FIRST_BYTES : scan->end);
    if (is_long && behind - at > UTF8_FIRST_BYTES - 4) {
        behind = json_skip_utf8_blocks(behind, scan->end);
    }
    if (behind > at) {
        return behind;
    }
    size_t len = dyn_utf8_len(at, scan->end);
    return len > 0 ? at + len : fail(scan, at, "invalid UTF-8");
}

static const char *
scan_escape(struct scan *scan, const char *at)
{
    const char *what;
    size_t len = json_escape_check(at, scan->end, &what);
    scan->saw_escape = true;
    return len > 0 ? at + len : fail(scan, at, what);
}

/* Where a string's plain beginning ends, to behind the closing quote. */
static __attribute__((noinline)) const char *
scan_string_on(struct scan *scan, const char *at)
{
    while (at != NULL) {
        if (at == scan->end) {
            return fail(scan, at, "unexpected end of text in a string");
        }
        if (*at == '"') {
            return at + 1;
        }
        if (*at == '\\') {
            at = scan_escape(scan, at);
        } else if ((unsigned char)*at >= 0x80) {
            at = scan_utf8(scan, at);
        } else {
            return fail(scan, at, *at == '\0' ? "NUL in a string" : "control character in a string");
        }
        at = at != NULL ? json_skip_plain(at, scan->end) : NULL;
    }
    return NULL;
}

/* From the opening quote to behind the closing one. Most have nothing but plain bytes. */
static inline const char *
scan_string(struct scan *scan, const char *at)
{
    scan->saw_escape = false;
    at = json_skip_plain(at + 1, scan->end);
    return DYN_LIKELY(at < scan->end && *at == '"') ? at + 1 : scan_string_on(scan, at);
}

static inline bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* At least one digit, or NULL without an error. */
static const char *
skip_digits(const char *at, const char *end)
{
    const char *first = at;
    while (at < end && is_digit(*at)) {
        at++;
    }
    return at > first ? at : NULL;
}

/* RFC 8259, section 6. */
static const char *
scan_number(struct scan *scan, const char *begin)
{
    const char *end = scan->end;
    const char *at = begin + (*begin == '-');
    if (at < end && *at == '0') {
        at++;
    } else {
        at = skip_digits(at, end);
    }
    if (at != NULL && at < end && *at == '.') {
        at = skip_digits(at + 1, end);
    }
    if (at != NULL && at < end && (*at | 0x20) == 'e') {
        at++;
        at += at < end && (*at == '+' || *at == '-');
        at = skip_digits(at, end);
    }
    if (at == NULL || (at < end && is_digit(*at))) { /* the latter: a leading zero */
        return fail(scan, begin, "invalid number");
    }
    return at;
}

static const char *
scan_literal(struct scan *scan, const char *at, const char *literal, size_t len)
{
    if ((size_t)(scan->end - at) < len || memcmp(at, literal, len) != 0) {
        return fail(scan, at, "expected a value");
    }
    return at + len;
}

static inline bool
in_object(const struct scan *scan)
{
    unsigned level = scan->depth - 1;
    return ((scan->is_object[level / WORD_BITS] >> (level % WORD_BITS)) & 1u) != 0;
}

static inline const char *
scan_key(struct scan *scan, const char *at)
{
    at = json_skip_space(at, scan->end);
    if (at == scan->end || *at != '"') {
        return fail_expected(scan, at, "expected a key in quotes");
    }
    return scan_string(scan, at);
}

static inline const char *
scan_colon(struct scan *scan, const char *at)
{
    at = json_skip_space(at, scan->end);
    if (at == scan->end || *at != ':') {
        return fail_expected(scan, at, "expected ':'");
    }
    return at + 1;
}

static inline const char *
scan_key_and_colon(struct scan *scan, const char *at)
{
    at = scan_key(scan, at);
    return at ? scan_colon(scan, at) : NULL;
}

/* What became of the place in the text: a value begins there, or one has ended. */
enum place { VALUE_BEGINS, VALUE_ENDED };

/* Behind '{' or '[': an empty container is complete, else its first value (behind its key) begins. */
static inline const char *
open_container(struct scan *scan, const char *at, enum place *place)
{
    if (scan->depth == scan->max_depth) {
        return fail(scan, at, "nested too deeply");
    }
    bool object = *at == '{';
    unsigned level = scan->depth++;
    uint64_t bit = (uint64_t)1 << (level % WORD_BITS);
    uint64_t *word = &scan->is_object[level / WORD_BITS];
    *word = object ? *word | bit : *word & ~bit;
    at = json_skip_space(at + 1, scan->end);
    if (at < scan->end && *at == (object ? '}' : ']')) {
        scan->depth--;
        *place = VALUE_ENDED;
        return at + 1;
    }
    *place = VALUE_BEGINS;
    return object ? scan_key_and_colon(scan, at) : at;
}

/* A scalar, or the opening of a container. */
static inline const char *
scan_item(struct scan *scan, const char *at, enum place *place)
{
    at = json_skip_space(at, scan->end);
    *place = VALUE_ENDED;
    switch (at < scan->end ? *at : '\0') {
    case '"':
        return scan_string(scan, at);
    case '{':
    case '[':
        return open_container(scan, at, place);
    case 't':
        return scan_literal(scan, at, "true", 4);
    case 'f':
        return scan_literal(scan, at, "false", 5);
    case 'n':
        return scan_literal(scan, at, "null", 4);
    default:
        if (at < scan->end && (*at == '-' || is_digit(*at))) {
            return scan_number(scan, at);
        }
        return fail_expected(scan, at, "expected a value");
    }
}

/* Behind a value: closes what ends there down to `base` containers, or goes on to the next value. */
static inline const char *
scan_behind(struct scan *scan, const char *at, unsigned base, enum place *place)
{
    while (scan->depth > base) {
        at = json_skip_space(at, scan->end);
        bool object = in_object(scan);
        char c = at < scan->end ? *at : '\0';
        if (c == ',') {
            *place = VALUE_BEGINS;
            return object ? scan_key_and_colon(scan, at + 1) : at + 1;
        }
        if (c != (object ? '}' : ']')) {
            return fail_expected(scan, at, object ? "expected ',' or '}'" : "expected ',' or ']'");
        }
        scan->depth--;
        at++;
    }
    return at;
}

/* One value with all that is in it. */
static const char *
scan_value(struct scan *scan, const char *at, struct json_value *value)
{
    unsigned base = scan->depth;
    const char *begin = json_skip_space(at, scan->end);
    enum place place;
    at = begin;
    do {
        at = scan_item(scan, at, &place);
        if (at != NULL && place == VALUE_ENDED) {
            at = scan_behind(scan, at, base, &place);
        }
    } while (at != NULL && place == VALUE_BEGINS);
    if (at != NULL) {
        value->type = json_type_of_byte(*begin);
        value->raw = dyn_slice(begin, (size_t)(at - begin));
    }
    return at;
}

static void
scan_init(struct scan *scan, struct dyn_slice text, unsigned max_depth, struct json_error *error)
{
    memset(scan, 0, sizeof *scan);
    scan->begin = text.len > 0 ? text.data : "";
    scan->end = scan->begin + text.len;
    scan->max_depth = max_depth < JSON_DEPTH_MAX ? max_depth : JSON_DEPTH_MAX;
    scan->error = error;
}

static int
scan_end(struct scan *scan, const char *at)
{
    at = json_skip_space(at, scan->end);
    if (at != scan->end) {
        (void)fail(scan, at, "data after the value");
        return -1;
    }
    return 0;
}

bool
json_scan_string(struct dyn_slice text)
{
    struct json_error ignored;
    struct scan scan = {.begin = text.data, .end = text.data + text.len, .error = &ignored};
    return text.len >= 2 && text.data[0] == '"' && scan_string(&scan, text.data) == scan.end;
}

int
json_scan(struct dyn_slice text, unsigned max_depth, struct json_value *value, struct json_error *error)
{
    struct json_error ignored_error;
    struct json_value found;
    struct scan scan;
    scan_init(&scan, text, max_depth, error ? error : &ignored_error);
    const char *at = scan_value(&scan, scan.begin, &found);
    if (at == NULL || scan_end(&scan, at) != 0) {
        return -1;
    }
    if (value != NULL) {
        *value = found;
    }
    return 0;
}

/* A walk with visitors. `keys` is those of the container at hand, or NULL. */
struct visit {
    struct scan scan;
    void *self;
    int result;                 /* what a visitor stopped the walk with */
    struct json_places *places; /* NULL: none are wanted */
};

void
json_places_fini(struct json_places *places)
{
    dyn_piece_free(places->items, places->room * sizeof *places->items);
    *places = (struct json_places){.items = NULL};
}

static void
grow_places(struct json_places *places)
{
    enum { ROOM_FIRST = 16 };
    size_t room = places->room > 0 ? 2 * places->room : ROOM_FIRST;
    struct json_place *items = dyn_piece_alloc(room * sizeof *items);
    if (places->n > 0) {
        memcpy(items, places->items, places->n * sizeof *items);
    }
    dyn_piece_free(places->items, places->room * sizeof *items);
    places->items = items;
    places->room = room;
}

/* The number of the place that begins. */
static inline size_t
begin_place(struct json_places *places)
{
    if (places == NULL || places->n < places->room) {
        return places != NULL ? places->n++ : 0;
    }
    places->is_full = places->is_full || places->n == JSON_PLACES_MAX;
    if (places->is_full) {
        return 0;
    }
    grow_places(places);
    return places->n++;
}

static inline void
end_place(struct json_places *places, size_t number, const struct json_member *member)
{
    if (places != NULL && !places->is_full) {
        places->items[number] = (struct json_place){*member, places->n - number - 1};
    }
}

static const char *visit_items(struct visit *visit, const char *at, const struct json_visitor *visitor);

static const char *
visit_value(struct visit *visit, const char *at, const struct json_visitor *visitor,
            struct json_member *member)
{
    struct scan *scan = &visit->scan;
    const char *begin = json_skip_space(at, scan->end);
    bool is_container = begin < scan->end && (*begin == '{' || *begin == '[');
    const struct json_visitor *inner = NULL;
    if (is_container && visitor->enter != NULL) {
        member->value = (struct json_value){json_type_of_byte(*begin), {begin, 0}};
        inner = visitor->enter(visit->self, member);
    }
    if (inner == NULL) {
        return scan_value(scan, begin, &member->value);
    }
    at = visit_items(visit, begin, inner);
    if (at != NULL) {
        member->value.raw.len = (size_t)(at - begin);
    }
    return at;
}

static const char *
visit_key(struct visit *visit, const char *at, struct json_keys *keys, struct json_member *member)
{
    struct scan *scan = &visit->scan;
    const char *key = json_skip_space(at, scan->end);
    at = scan_key(scan, key);
    if (at == NULL) {
        return NULL;
    }
    member->key = dyn_slice(key + 1, (size_t)(at - key) - 2);
    member->key_is_escaped = scan->saw_escape;
    if (keys != NULL && keys->n_used == JSON_MEMBERS_MAX) {
        return fail(scan, key, "too many members");
    }
    if (keys != NULL && !json_keys_add(keys, member->key, member->key_is_escaped)) {
        return fail(scan, key, JSON_DUPLICATE_KEY);
    }
    return scan_colon(scan, at);
}

/* Behind the opening bracket, to behind the closing one. */
static const char *
visit_items_until(struct visit *visit, const char *at, const struct json_visitor *visitor, char closing,
                  struct json_keys *keys)
{
    struct scan *scan = &visit->scan;
    at = json_skip_space(at, scan->end);
    if (at < scan->end && *at == closing) {
        return at + 1;
    }
    for (;;) {
        struct json_member member = {.key_is_escaped = false};
        size_t place = begin_place(visit->places);
        at = closing == '}' ? visit_key(visit, at, keys, &member) : at;
        at = at != NULL ? visit_value(visit, at, visitor, &member) : NULL;
        if (at == NULL) {
            return NULL;
        }
        end_place(visit->places, place, &member);
        visit->result = visitor->visit(visit->self, &member);
        if (visit->result != 0) {
            return NULL;
        }
        at = json_skip_space(at, scan->end);
        if (at == scan->end || (*at != ',' && *at != closing)) {
            return fail_expected(scan, at, closing == '}' ? "expected ',' or '}'" : "expected ',' or ']'");
        }
        if (*at++ == closing) {
            return at;
        }
    }
}

static const char *
visit_unique_items(struct visit *visit, const char *at, const struct json_visitor *visitor)
{
    struct json_keys keys;
    json_keys_init(&keys);
    at = visit_items_until(visit, at, visitor, '}', &keys);
    json_keys_fini(&keys);
    return at;
}

/* One container from its opening bracket on. */
static const char *
visit_items(struct visit *visit, const char *at, const struct json_visitor *visitor)
{
    struct scan *scan = &visit->scan;
    char closing = *at == '{' ? '}' : ']';
    if (scan->depth == scan->max_depth) {
        return fail(scan, at, "nested too deeply");
    }
    scan->depth++;
    if (closing == '}' && visitor->unique_keys) {
        at = visit_unique_items(visit, at + 1, visitor);
    } else {
        at = visit_items_until(visit, at + 1, visitor, closing, NULL);
    }
    scan->depth--;
    return at;
}

int
json_scan_places(struct dyn_slice text, unsigned max_depth, const struct json_visitor *object, void *self,
                 struct json_places *places, struct json_error *error)
{
    struct json_error ignored_error;
    struct visit visit = {.self = self, .places = places};
    if (places != NULL) {
        places->n = 0;
        places->is_full = false;
    }
    scan_init(&visit.scan, text, max_depth, error ? error : &ignored_error);
    const char *at = json_skip_space(visit.scan.begin, visit.scan.end);
    if (at == visit.scan.end || *at != '{') {
        (void)fail_expected(&visit.scan, at, "expected an object");
        return -1;
    }
    at = visit_items(&visit, at, object);
    if (visit.result != 0) {
        return visit.result;
    }
    return at != NULL ? scan_end(&visit.scan, at) : -1;
}

int
json_scan_visit(struct dyn_slice text, unsigned max_depth, const struct json_visitor *object, void *self,
                struct json_error *error)
{
    return json_scan_places(text, max_depth, object, self, NULL, error);
}

int
json_scan_object(struct dyn_slice text, unsigned max_depth, json_member_fn fn, void *self,
                 struct json_error *error)
{
    const struct json_visitor members = {.visit = fn, .unique_keys = true};
    return json_scan_visit(text, max_depth, &members, self, error);
}
