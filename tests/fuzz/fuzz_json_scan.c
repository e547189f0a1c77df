/* Any bytes through the scanner. What it accepts is held to its promises: the walk covers exactly what
 * stands in the text, trees agree, splices that change nothing change nothing, members are the items. */
#include "core/buf.h"
#include "core/json_scan.h"
#include "core/json_tree.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(cond)                                                                                        \
    do {                                                                                                     \
        if (!(cond)) {                                                                                       \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

/* Everything between two places of a container that is neither item nor key. */
static void
require_only_separators(const char *from, const char *to)
{
    REQUIRE(from <= to);
    for (; from < to; from++) {
        REQUIRE(*from != '\0' && strchr(" \t\r\n,:", *from) != NULL);
    }
}

static void
check_string(struct json_value string)
{
    struct dyn_buf decoded = DYN_BUF_INIT;
    json_string_decode(string, &decoded);
    REQUIRE(decoded.len <= string.raw.len - 2);
    REQUIRE(json_string_is(string, dyn_buf_cstr(&decoded))); /* no NUL can be inside */
    struct dyn_slice plain = json_string_plain(string);
    REQUIRE(plain.data == NULL || dyn_slice_eq(plain, dyn_buf_slice(&decoded)));
    struct dyn_buf again = DYN_BUF_INIT;
    dyn_buf_add_json_string(&again, dyn_buf_slice(&decoded));
    struct json_value reread;
    REQUIRE(json_scan(dyn_buf_slice(&again), 0, &reread, NULL) == 0);
    REQUIRE(json_string_is(reread, dyn_buf_cstr(&decoded)));
    dyn_buf_fini(&again);
    dyn_buf_fini(&decoded);
}

static void
check_number(struct json_value number)
{
    double real;
    int64_t integer;
    bool finite = json_double(number, &real) == 0;
    if (json_int64(number, &integer) == 0) {
        REQUIRE(finite && !(real < (double)integer) && !(real > (double)integer));
    }
    char *text = dyn_strndup(number.raw.data, number.raw.len);
    double expected = strtod(text, NULL);
    free(text);
    REQUIRE(finite == (isfinite(expected) != 0));
    REQUIRE(!finite || (!(real < expected) && !(real > expected)));
}

/* Each value is a text of its own, of the type it says. */
static void
check_value(struct json_value value)
{
    struct json_value alone;
    REQUIRE(json_scan(value.raw, JSON_DEPTH_MAX, &alone, NULL) == 0);
    REQUIRE(alone.type == value.type && dyn_slice_eq(alone.raw, value.raw));
    if (value.type == JSON_STRING) {
        check_string(value);
    } else if (value.type == JSON_NUMBER) {
        check_number(value);
    }
}

static size_t check_items(struct json_value value, unsigned depth);

/* Returns the number of values, itself included. Rescanning every level of a deep text is quadratic, so
 * single values are checked near the top only. */
static size_t
check_tree(struct json_value value, unsigned depth)
{
    if (depth < 8) {
        check_value(value);
    }
    return 1 + check_items(value, depth);
}

/* The walk from front to back enters every other container, and finds what the iterators find. */
static void
check_walk(struct json_walk *walk, struct json_value value, bool enters)
{
    struct json_member member;
    struct json_member same;
    struct json_iter it = json_iter(value);
    while (json_iter_next(&it, &member)) {
        REQUIRE(json_walk_next(walk, &same));
        REQUIRE(same.key.data == member.key.data && same.key.len == member.key.len);
        REQUIRE(same.value.type == member.value.type && same.key_is_escaped == member.key_is_escaped);
        if (enters) {
            struct json_walk inside = json_walk_into(walk, &same);
            check_walk(&inside, member.value, !enters);
        } else {
            REQUIRE(dyn_slice_eq(json_walk_value(walk, &same).raw, member.value.raw));
        }
    }
    REQUIRE(!json_walk_next(walk, &same));
}

static size_t
check_items(struct json_value value, unsigned depth)
{
    if (value.type != JSON_ARRAY && value.type != JSON_OBJECT) {
        return 0;
    }
    size_t n = 0;
    const char *covered = value.raw.data + 1;
    struct json_member member;
    struct json_iter it = json_iter(value);
    while (json_iter_next(&it, &member)) {
        REQUIRE((member.key.data != NULL) == (value.type == JSON_OBJECT));
        if (member.key.data != NULL) {
            require_only_separators(covered, member.key.data - 1);
            covered = member.key.data + member.key.len + 1;
            REQUIRE(member.key.data[-1] == '"' && covered[-1] == '"');
            bool escaped = member.key.len > 0 && memchr(member.key.data, '\\', member.key.len) != NULL;
            REQUIRE(member.key_is_escaped == escaped);
        }
        require_only_separators(covered, member.value.raw.data);
        covered = member.value.raw.data + member.value.raw.len;
        n += check_tree(member.value, depth + 1);
    }
    require_only_separators(covered, value.raw.data + value.raw.len - 1);
    return n;
}

static size_t
count_nodes(const cJSON *tree)
{
    size_t n = 1;
    const cJSON *child;
    cJSON_ArrayForEach(child, tree)
    {
        n += count_nodes(child);
    }
    return n;
}

static void
check_against_cjson(struct dyn_slice text, size_t n_values)
{
    struct json_error error;
    struct cJSON *tree = json_tree_parse(text, JSON_DEPTH_DEFAULT, &error);
    if (tree == NULL) {
        REQUIRE(strcmp(error.what, "a number too long for a tree") == 0);
        return;
    }
    REQUIRE(count_nodes(tree) == n_values);
    json_tree_free(&tree);
}

/* Takes the first item out and puts it back; inserts nothing at the ends. */
static void
check_splice(struct dyn_slice text, struct json_value value)
{
    struct json_member member;
    struct json_iter it = json_iter(value);
    struct json_edit edits[3] = {{0, 0, {NULL, 0}}, {0, 0, {NULL, 0}}, {text.len, 0, {NULL, 0}}};
    if (json_iter_next(&it, &member)) {
        edits[1] = (struct json_edit){(size_t)(member.value.raw.data - text.data), member.value.raw.len,
                                      member.value.raw};
    }
    REQUIRE(json_splice_size(text, edits, 3) == text.len);
    char *out = dyn_alloc(text.len);
    json_splice(text, edits, 3, out);
    REQUIRE(memcmp(out, text.data, text.len) == 0);
    free(out);
}

struct walk {
    struct json_iter it;
    size_t n;
};

static int
check_member(void *self, const struct json_member *member)
{
    struct walk *walk = self;
    struct json_member expected;
    REQUIRE(json_iter_next(&walk->it, &expected));
    REQUIRE(dyn_slice_eq(expected.key, member->key) && expected.key_is_escaped == member->key_is_escaped);
    REQUIRE(expected.value.type == member->value.type);
    REQUIRE(expected.value.raw.data == member->value.raw.data &&
            expected.value.raw.len == member->value.raw.len);
    walk->n++;
    return 0;
}

static int
ignore_member(void *self, const struct json_member *member)
{
    (void)self;
    struct json_member item;
    for (struct json_iter it = json_iter(member->value); json_iter_next(&it, &item);) {
        REQUIRE(item.value.raw.len > 0); /* a member is valid even if what follows it is not */
    }
    return 0;
}

/* A walk over what was never accepted means nothing, but ends and stays inside. */
static void
walk_nonsense(struct dyn_slice text, enum json_type type)
{
    size_t n = 0;
    struct json_member member;
    struct json_iter it = json_iter((struct json_value){type, text});
    while (json_iter_next(&it, &member)) {
        REQUIRE(++n <= text.len);
        REQUIRE(member.value.raw.data >= text.data);
        REQUIRE(member.value.raw.data + member.value.raw.len <= text.data + text.len);
    }
    struct json_walk walk = json_walk((struct json_value){type, text});
    for (n = 0; json_walk_next(&walk, &member);) {
        struct json_walk inside = json_walk_into(&walk, &member);
        REQUIRE(++n <= text.len);
        REQUIRE(member.value.raw.data >= text.data);
        REQUIRE(member.value.raw.data + member.value.raw.len <= text.data + text.len);
        (void)json_walk_next(&inside, &member);
    }
}

static void
check_refused(struct dyn_slice text, const struct json_error *error)
{
    REQUIRE(error->what != NULL && error->offset <= text.len);
    REQUIRE(json_scan_object(text, JSON_DEPTH_DEFAULT, ignore_member, NULL, NULL) == -1);
    REQUIRE(json_tree_parse(text, JSON_DEPTH_DEFAULT, NULL) == NULL);
    walk_nonsense(text, JSON_ARRAY);
    walk_nonsense(text, JSON_OBJECT);
}

static void
check_members(struct dyn_slice text, struct json_value value)
{
    struct json_walk front = json_walk(value);
    check_walk(&front, value, true);
    struct walk walk = {json_iter(value), 0};
    struct json_error error = {NULL, 0};
    struct json_member left;
    if (json_scan_object(text, JSON_DEPTH_DEFAULT, check_member, &walk, &error) == 0) {
        REQUIRE(value.type == JSON_OBJECT && !json_iter_next(&walk.it, &left));
    } else if (value.type == JSON_OBJECT) {
        REQUIRE(strcmp(error.what, "duplicate key") == 0 || strcmp(error.what, "too many members") == 0);
    } else {
        REQUIRE(strcmp(error.what, "expected an object") == 0);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dyn_slice text = dyn_slice((const char *)data, size);
    struct json_value value;
    struct json_error error = {NULL, 0};
    if (json_scan(text, JSON_DEPTH_DEFAULT, &value, &error) != 0) {
        check_refused(text, &error);
        return 0;
    }
    check_against_cjson(text, check_tree(value, 0));
    check_splice(text, value);
    check_members(text, value);
    return 0;
}
