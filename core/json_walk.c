/* What can be asked of values that a scan has accepted. Nothing is checked again: escapes are trusted.
 * Walking stops at the end of the value whatever is in it, so that a value that was never scanned gives
 * nonsense, not an overrun. */
#include "core/buf.h"
#include "core/json_escape.h"
#include "core/json_scan.h"
#include "core/json_skip.h"

/* From an escape in a string to behind its closing quote. */
static __attribute__((noinline)) const char *
skip_string_on(const char *at, const char *end)
{
    while (at < end && *at != '"') {
        at = end - at > 2 ? json_skip_to_quote(at + 2, end) : end;
    }
    return at < end ? at + 1 : end;
}

/* From the opening quote to behind the closing one. */
static inline const char *
skip_string(const char *at, const char *end, bool *is_escaped)
{
    at = at < end ? json_skip_to_near_quote(at + 1, end) : end;
    *is_escaped = at < end && *at != '"';
    return DYN_LIKELY(at < end && *at == '"') ? at + 1 : skip_string_on(at, end);
}

/* Where a walk to the closing bracket stands. Since the text is valid, brackets outside strings need
 * only be counted. */
struct nesting {
    size_t open;        /* brackets not closed yet */
    uint64_t in_string; /* all bits set inside a string, none outside */
    uint64_t escaped;   /* 1: the next byte is escaped */
};

/* Byte by byte. Behind the closing bracket, or NULL when it is not there. */
static const char *
close_in_bytes(struct nesting *nesting, const char *at, const char *end)
{
    for (; at < end; at++) {
        if (nesting->escaped != 0) {
            nesting->escaped = 0;
        } else if (*at == '\\') {
            nesting->escaped = 1;
        } else if (*at == '"') {
            nesting->in_string = ~nesting->in_string;
        } else if (nesting->in_string == 0 && json_byte_is_bracket(*at)) {
            nesting->open += (*at | 0x20) == '{' ? 1 : (size_t)-1;
            if (nesting->open == 0) {
                return at + 1;
            }
        }
    }
    return NULL;
}

#if defined(__SSE2__)

/* The bytes of a block that are escaped. Backslashes stand in strings only, and are few. */
static inline uint64_t
find_escaped(struct nesting *nesting, uint64_t backslash)
{
    uint64_t escaped = nesting->escaped;
    nesting->escaped = 0;
    backslash &= ~escaped;
    while (backslash != 0) {
        uint64_t bit = backslash & (0 - backslash);
        escaped |= bit << 1;
        backslash &= ~(bit | bit << 1);
        nesting->escaped = bit >> 63;
    }
    return escaped;
}

/* Each bit becomes the parity of itself and those below: between two quotes all bits are set. */
static inline uint64_t
parity_below(uint64_t bits)
{
    for (unsigned shift = 1; shift < 64; shift *= 2) {
        bits ^= bits << shift;
    }
    return bits;
}

static inline size_t
count_bits(uint64_t bits)
{
    bits -= bits >> 1 & 0x5555555555555555u; /* the instruction for this is not in every x86-64 */
    bits = (bits & 0x3333333333333333u) + (bits >> 2 & 0x3333333333333333u);
    return (size_t)(((bits + (bits >> 4)) & 0x0F0F0F0F0F0F0F0Fu) * JSON_EACH_BYTE >> 56);
}

/* The bracket of a block that closes the container, or -1 after counting them. */
static inline int
close_in_block(struct nesting *nesting, uint64_t bracket, uint64_t open)
{
    size_t n_open = count_bits(open);
    size_t n_close = count_bits(bracket) - n_open;
    if (n_close < nesting->open) {
        nesting->open += n_open - n_close;
        return -1;
    }
    for (; bracket != 0; bracket &= bracket - 1) {
        int at = __builtin_ctzll(bracket);
        nesting->open += (open >> at & 1u) != 0 ? 1 : (size_t)-1;
        if (nesting->open == 0) {
            return at;
        }
    }
    return -1;
}

/* 64 bytes at a time while there are as many. *at_p moves; true: behind the closing bracket. Long strings go
 * faster by themselves. */
static bool
close_in_blocks(struct nesting *nesting, const char **at_p, const char *end)
{
    const char *at = *at_p;
    while (end - at >= 64) {
        struct json_block block = json_read_block(at);
        uint64_t escaped = 0;
        if ((block.backslash | nesting->escaped) != 0) {
            escaped = find_escaped(nesting, block.backslash);
        }
        uint64_t in_string = parity_below(block.quote & ~escaped) ^ nesting->in_string;
        uint64_t bracket = block.bracket & ~in_string;
        int closing = bracket ? close_in_block(nesting, bracket, bracket & json_opening_bits(at)) : -1;
        if (closing >= 0) {
            *at_p = at + closing + 1;
            return true;
        }
        at += 64;
        nesting->in_string = 0 - (in_string >> 63);
        if (nesting->in_string != 0 && nesting->escaped == 0) {
            at = json_skip_to_quote(at, end);
        }
    }
    *at_p = at;
    return false;
}

#else

static bool
close_in_blocks(struct nesting *nesting, const char **at_p, const char *end)
{
    (void)nesting, (void)at_p, (void)end;
    return false;
}

#endif

/* From the opening bracket to behind the one that closes it. */
static const char *
skip_container(const char *at, const char *end)
{
    struct nesting nesting = {0, 0, 0};
    if (close_in_blocks(&nesting, &at, end)) {
        return at;
    }
    const char *behind = close_in_bytes(&nesting, at, end);
    return behind ? behind : end;
}

static const char *
skip_scalar(const char *at, const char *end)
{
    while (at < end && *at != ',' && !json_byte_is_bracket(*at) && !json_byte_is_space(*at)) {
        at++;
    }
    return at;
}

static const char *
skip_value(const char *at, const char *end)
{
    bool is_escaped;
    switch (*at) {
    case '"':
        return skip_string(at, end, &is_escaped);
    case '{':
    case '[':
        return skip_container(at, end);
    default:
        return skip_scalar(at, end);
    }
}

struct json_iter
json_iter(struct json_value value)
{
    if ((value.type != JSON_OBJECT && value.type != JSON_ARRAY) || value.raw.len < 2) {
        return (struct json_iter){"", "", false};
    }
    const char *begin = value.raw.data + 1;
    const char *end = value.raw.data + value.raw.len - 1;
    /* The separators are skipped before an item; the first has none in front. */
    return (struct json_iter){json_skip_space(begin, end), end, value.type == JSON_OBJECT};
}

static inline const char *
read_key(const char *at, const char *end, struct json_member *member)
{
    const char *behind = skip_string(at, end, &member->key_is_escaped);
    if (behind - at < 2) {
        return end;
    }
    member->key = dyn_slice(at + 1, (size_t)(behind - at) - 2);
    at = json_skip_space(behind, end);
    return at < end ? json_skip_space(at + 1, end) : at; /* behind the colon */
}

bool
json_iter_next(struct json_iter *it, struct json_member *member)
{
    const char *at = it->next;
    *member = (struct json_member){.key = {NULL, 0}};
    if (it->is_object && at < it->end) {
        at = read_key(at, it->end, member);
    }
    if (at >= it->end) {
        it->next = it->end;
        return false;
    }
    const char *behind = skip_value(at, it->end);
    member->value.type = json_type_of_byte(*at);
    member->value.raw = dyn_slice(at, (size_t)(behind - at));
    at = json_skip_space(behind, it->end);
    it->next = at < it->end ? json_skip_space(at + 1, it->end) : at; /* behind the comma */
    return true;
}

/* Compares without writing the decoded text anywhere. */
static bool
decodes_to(struct dyn_slice raw, struct dyn_slice text)
{
    size_t matched = 0;
    for (size_t i = 0; i < raw.len;) {
        char piece[4];
        size_t len = 1;
        if (raw.data[i] == '\\') {
            i += json_escape_decode(raw.data + i, piece, &len);
        } else {
            piece[0] = raw.data[i++];
        }
        if (text.len - matched < len || memcmp(text.data + matched, piece, len) != 0) {
            return false;
        }
        matched += len;
    }
    return matched == text.len;
}

static bool
key_is(const struct json_member *member, struct dyn_slice key)
{
    if (member->key_is_escaped) {
        return decodes_to(member->key, key);
    }
    return member->key.data != NULL && dyn_slice_eq(member->key, key);
}

bool
json_key_decodes_to(const struct json_member *member, const char *key)
{
    return key_is(member, dyn_slice_str(key));
}

bool
json_find(struct json_value object, const char *key, struct json_value *found)
{
    if (object.type != JSON_OBJECT) {
        return false;
    }
    struct dyn_slice wanted = dyn_slice_str(key);
    struct json_member member;
    for (struct json_iter it = json_iter(object); json_iter_next(&it, &member);) {
        if (key_is(&member, wanted)) {
            *found = member.value;
            return true;
        }
    }
    return false;
}

/* Between the quotes; absent when the value is not a string. */
static struct dyn_slice
inside(struct json_value string)
{
    if (string.type != JSON_STRING || string.raw.len < 2) {
        return (struct dyn_slice){NULL, 0};
    }
    return dyn_slice(string.raw.data + 1, string.raw.len - 2);
}

void
json_string_decode(struct json_value string, struct dyn_buf *out)
{
    struct dyn_slice raw = inside(string);
    if (raw.len == 0) {
        return;
    }
    if (memchr(raw.data, '\\', raw.len) == NULL) {
        dyn_buf_add_slice(out, raw);
        return;
    }
    size_t size = json_unescape_size(raw); /* exact, since a limit of the buffer may be */
    char *room = dyn_buf_room(out, size);
    if (room != NULL) {
        out->len += json_unescape(raw, room);
    }
}

struct dyn_slice
json_string_plain(struct json_value string)
{
    struct dyn_slice raw = inside(string);
    if (raw.len > 0 && memchr(raw.data, '\\', raw.len) != NULL) {
        return (struct dyn_slice){NULL, 0};
    }
    return raw;
}

bool
json_string_is(struct json_value string, const char *text)
{
    struct dyn_slice raw = inside(string);
    return raw.data != NULL && decodes_to(raw, dyn_slice_str(text));
}

/* ---- front to back ---- */

/* Behind what follows a value: the next item, or the closing bracket. */
static inline const char *
skip_separator(const char *at, const char *end)
{
    at = json_skip_space(at, end);
    return at < end && *at == ',' ? json_skip_space(at + 1, end) : at;
}

static inline bool
is_container(enum json_type type)
{
    return type == JSON_OBJECT || type == JSON_ARRAY;
}

struct json_walk
json_walk(struct json_value value)
{
    if (!is_container(value.type) || value.raw.len < 2) {
        return (struct json_walk){.next = "", .end = ""};
    }
    const char *end = value.raw.data + value.raw.len;
    return (struct json_walk){
        .next = json_skip_space(value.raw.data + 1, end), .end = end, .is_object = value.type == JSON_OBJECT};
}

struct json_walk
json_walk_places(const struct json_places *places, struct json_value object)
{
    if (places == NULL || places->n == 0 || places->is_full) {
        return json_walk(object);
    }
    return (struct json_walk){.place = places->items, .places_end = places->items + places->n};
}

static bool
next_place(struct json_walk *walk, struct json_member *member)
{
    if (walk->place == walk->places_end) {
        return false;
    }
    walk->last = walk->place;
    walk->place += 1 + walk->last->n_inside;
    *member = walk->last->member;
    return true;
}

/* What the scan has not gone into is walked over as bytes. */
static struct json_walk
places_inside(const struct json_place *place)
{
    if (place->n_inside == 0) {
        return json_walk(place->member.value);
    }
    return (struct json_walk){.place = place + 1, .places_end = place + 1 + place->n_inside};
}

/* Behind the closing bracket the outer walk goes on. */
static bool
leave(struct json_walk *walk, const char *at)
{
    if (walk->outer != NULL) {
        walk->outer->next = at < walk->end ? skip_separator(at + 1, walk->end) : walk->end;
        walk->outer->is_at_container = false;
        walk->outer = NULL;
    }
    walk->next = walk->end;
    return false;
}

bool
json_walk_next(struct json_walk *walk, struct json_member *member)
{
    const char *end = walk->end;
    if (walk->place != NULL) {
        return next_place(walk, member);
    }
    if (walk->is_at_container) {
        walk->next = skip_separator(skip_container(walk->next, end), end);
        walk->is_at_container = false;
    }
    const char *at = walk->next;
    *member = (struct json_member){.key = {NULL, 0}};
    if (at >= end || *at == ']' || *at == '}') {
        return leave(walk, at);
    }
    if (walk->is_object && (at = read_key(at, end, member)) >= end) {
        return leave(walk, at);
    }
    bool is_escaped;
    const char *behind;
    member->value.type = json_type_of_byte(*at);
    if (member->value.type == JSON_STRING) {
        behind = skip_string(at, end, &is_escaped);
    } else if (!is_container(member->value.type)) {
        behind = skip_scalar(at, end);
    } else {
        member->value.raw = dyn_slice(at, 1);
        walk->next = at;
        walk->is_at_container = true;
        return true;
    }
    member->value.raw = dyn_slice(at, (size_t)(behind - at));
    walk->next = skip_separator(behind, end);
    return true;
}

struct json_walk
json_walk_into(struct json_walk *walk, const struct json_member *member)
{
    if (walk->place != NULL) {
        return places_inside(walk->last);
    }
    if (!walk->is_at_container) {
        return (struct json_walk){.next = "", .end = ""};
    }
    return (struct json_walk){.next = json_skip_space(walk->next + 1, walk->end),
                              .end = walk->end,
                              .outer = walk,
                              .is_object = member->value.type == JSON_OBJECT};
}

struct json_value
json_walk_value(struct json_walk *walk, struct json_member *member)
{
    if (walk->is_at_container) {
        const char *behind = skip_container(walk->next, walk->end);
        member->value.raw = dyn_slice(walk->next, (size_t)(behind - walk->next));
        walk->next = skip_separator(behind, walk->end);
        walk->is_at_container = false;
    }
    return member->value;
}

bool
json_walk_peek(const struct json_walk *walk, const char *key, struct json_value *found)
{
    struct json_walk ahead = *walk;
    struct dyn_slice wanted = dyn_slice_str(key);
    ahead.outer = NULL;
    for (struct json_member member; json_walk_next(&ahead, &member);) {
        if (key_is(&member, wanted)) {
            *found = member.value;
            return true;
        }
    }
    return false;
}
