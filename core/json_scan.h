/* The JSON scanner (RFC 8259): validates a whole text and finds members without building a tree or
 * copying. It is what the request path uses; trees (core/json_tree.h) are for everything else.
 *
 * Strictness: UTF-8 checked (RFC 3629, no surrogates), no raw control characters, escapes checked,
 * \u0000 refused, numbers by the grammar, no trailing data, depth and size limited. Duplicate keys
 * are refused where a caller looks at members (json_scan_object), at that level only. */
#pragma once

#include "core/base.h"

struct arena;
struct dyn_buf;

enum json_type { JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

enum {
    JSON_DEPTH_DEFAULT = 128, /* what a chat request can sensibly nest; tool schemas reach ~30 */
    JSON_DEPTH_MAX = 1000,    /* larger limits count as this; cJSON gives up there too */
    JSON_MEMBERS_MAX = 8192,  /* of one json_scan_object: its key table then has 400 KB */
    JSON_PLACES_MAX = 1024,   /* 64 KiB of them */
};

#define JSON_DUPLICATE_KEY "duplicate key" /* `offset` is then the quote of the second one */

struct json_error {
    const char *what; /* static sentence fragment: "invalid UTF-8" */
    size_t offset;    /* byte where it was seen */
};

/* A value in place: raw bytes as they stand in the text, strings with their quotes. */
struct json_value {
    enum json_type type;
    struct dyn_slice raw;
};

struct json_member {
    struct dyn_slice key; /* between its quotes, escapes not decoded */
    bool key_is_escaped;
    struct json_value value;
};

/* Validates one JSON text and nothing else after it; fills *value with its outermost value. A scalar
 * has depth 0, [] has depth 1. `error` and `value` may be NULL. */
int json_scan(struct dyn_slice text, unsigned max_depth, struct json_value *value, struct json_error *error);
/* Whether the text is one string and nothing else, no space either. */
bool json_scan_string(struct dyn_slice text);

/* The same for a text that must be an object, and calls `fn` for each of its members in order, in
 * the same pass. The members seen so far are known valid; what follows may still turn out not to be.
 * `fn` returns 0 to go on; anything else, by habit a positive number, stops and is returned. -1 for
 * an error of the text. Keys are equal when they decode to the same bytes. Allocates nothing up to 16
 * members; more than JSON_MEMBERS_MAX are refused. */
typedef int (*json_member_fn)(void *self, const struct json_member *member);
int json_scan_object(struct dyn_slice text, unsigned max_depth, json_member_fn fn, void *self,
                     struct json_error *error);

/* The same for who looks deeper: the one pass goes into those containers that `enter` names, and every
 * other value is scanned as a whole. A walk afterwards would pass over long strings once more for each
 * level. Duplicate keys are refused where `unique_keys` is set. */
struct json_visitor {
    /* A member or item is complete, with all that was visited in it. Returns as json_member_fn does. */
    json_member_fn visit;
    /* A container begins: its key and type are known, of its bytes only where they begin. Returns who
     * visits what is in it, or NULL. May be NULL. A visitor may enter as deep as texts may nest. */
    const struct json_visitor *(*enter)(void *self, const struct json_member *container);
    bool unique_keys;
};
int json_scan_visit(struct dyn_slice text, unsigned max_depth, const struct json_visitor *object, void *self,
                    struct json_error *error);

/* Where a scan has seen members and items, each in front of those that are in it: a walk over places looks at
 * no bytes. All zero before the first scan; the next one notes anew in the same memory, a piece of the
 * calling thread. Good while the text is. Of a text with more than JSON_PLACES_MAX none are noted. */
struct json_place {
    struct json_member member;
    size_t n_inside; /* of those behind it; 0 also where the scan did not go in */
};
struct json_places {
    struct json_place *items;
    size_t n;
    size_t room;
    bool is_full;
};
void json_places_fini(struct json_places *places); /* gives the memory back; there are none then */
/* json_scan_visit() that notes what is visited. `places` may be NULL. */
int json_scan_places(struct dyn_slice text, unsigned max_depth, const struct json_visitor *object,
                     void *self, struct json_places *places, struct json_error *error);

/* Walks the items of a value that a scan has already validated (no checks are made twice).
 *   struct json_iter it = json_iter(value);  while (json_iter_next(&it, &member)) ...
 * Arrays leave the key absent. A value of another type has no items. */
struct json_iter {
    const char *next;
    const char *end;
    bool is_object;
};
struct json_iter json_iter(struct json_value value);
bool json_iter_next(struct json_iter *it, struct json_member *member);
/* The member of a validated object with that key (decoded comparison), or false. First one wins. */
bool json_find(struct json_value object, const char *key, struct json_value *found);

/* A walk from front to back that looks at no byte twice: a container's end is found by walking to it. Of an
 * item that is a container, raw is only where it begins, until json_walk_value() finds its end; or it is
 * entered, and what follows it comes when it was walked to its end. One that is neither is passed over.
 *   struct json_walk walk = json_walk(value);
 *   while (json_walk_next(&walk, &member)) { struct json_walk items = json_walk_into(&walk, &member); .. }
 * While a walk within it goes on, nothing is asked of the outer one. */
struct json_walk {
    const char *next;
    const char *end;
    struct json_walk *outer;
    const struct json_place *place; /* the next one, of a walk over places; NULL: it is one over bytes */
    const struct json_place *places_end;
    const struct json_place *last;
    bool is_object;
    bool is_at_container; /* the last item, neither entered nor passed over yet */
};
struct json_walk json_walk(struct json_value value);
/* Of the outermost object of a text: over its places when there are any (or NULL) else over `object`. */
struct json_walk json_walk_places(const struct json_places *places, struct json_value object);
bool json_walk_next(struct json_walk *walk, struct json_member *member);
/* The items of the item that came last; of one that is no container there are none. */
struct json_walk json_walk_into(struct json_walk *walk, const struct json_member *member);
/* The whole of the item that came last. */
struct json_value json_walk_value(struct json_walk *walk, struct json_member *member);
/* The value of a member that is still to come, scalar or string; the walk stays where it is. */
bool json_walk_peek(const struct json_walk *walk, const char *key, struct json_value *found);

bool json_key_decodes_to(const struct json_member *member, const char *key);
/* Most keys are another one by their length; of a literal it is known when this is compiled. */
static inline bool
json_key_is(const struct json_member *member, const char *key)
{
    if (DYN_UNLIKELY(member->key_is_escaped)) {
        return json_key_decodes_to(member, key);
    }
    size_t len = strlen(key);
    return member->key.len == len && member->key.data != NULL && memcmp(member->key.data, key, len) == 0;
}
/* Appends the decoded bytes of a validated string value. */
void json_string_decode(struct json_value string, struct dyn_buf *out);
/* The bytes between the quotes when nothing is escaped, absent otherwise: the cheap common case. */
struct dyn_slice json_string_plain(struct json_value string);
bool json_string_is(struct json_value string, const char *text);
/* -1 when the number is not an integer in the range of the type. */
int json_int64(struct json_value number, int64_t *out);
/* Correctly rounded; -1 when not a number or not finite as a double. */
int json_double(struct json_value number, double *out);

/* One replacement in a text: `remove` bytes at `offset` give way to `insert`. */
struct json_edit {
    size_t offset;
    size_t remove;
    struct dyn_slice insert;
};
size_t json_splice_size(struct dyn_slice text, const struct json_edit *edits, size_t n_edits);
/* Writes the text with the edits (ascending, not overlapping) made; `out` has json_splice_size(). */
void json_splice(struct dyn_slice text, const struct json_edit *edits, size_t n_edits, char *out);
