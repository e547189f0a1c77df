/* Edits by JSON pointer: what is not named keeps its bytes, all of them are made or none. */
#include "core/rand.h"
#include "proto/edits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define REPLACE(pointer, json)                                                                               \
    {                                                                                                        \
        VOTE_EDIT_REPLACE, DYN_SLICE_INIT(pointer), DYN_SLICE_INIT(json)                                     \
    }
#define ADD(pointer, json)                                                                                   \
    {                                                                                                        \
        VOTE_EDIT_ADD, DYN_SLICE_INIT(pointer), DYN_SLICE_INIT(json)                                         \
    }
#define REMOVE(pointer)                                                                                      \
    {                                                                                                        \
        VOTE_EDIT_REMOVE, DYN_SLICE_INIT(pointer),                                                           \
        {                                                                                                    \
            NULL, 0                                                                                          \
        }                                                                                                    \
    }
enum { EDITS = 4 };

struct edits_case {
    const char *text;
    struct vote_edit edits[EDITS]; /* up to the first without a pointer */
    const char *expected;          /* NULL: refused */
};

static const struct edits_case cases[] = {
    /* replace */
    {"{\"a\":1}", {REPLACE("/a", "2")}, "{\"a\":2}"},
    {"{ \"a\" : 1 , \"b\":[ 1,2 ] }", {REPLACE("/b/1", "\"x\"")}, "{ \"a\" : 1 , \"b\":[ 1,\"x\" ] }"},
    {"{\"a\":{\"b\":{\"c\":1}}}", {REPLACE("/a/b/c", "[]")}, "{\"a\":{\"b\":{\"c\":[]}}}"},
    {"{\"a\":1,\"b\":2,\"c\":3}", {REPLACE("/c", "30"), REPLACE("/a", "10")}, "{\"a\":10,\"b\":2,\"c\":30}"},
    {"[1,2,3]", {REPLACE("/0", "0")}, "[0,2,3]"},
    {" {\"a\":1}\n", {REPLACE("/a", "2")}, " {\"a\":2}\n"},
    {"{\"a/b\":1,\"m~n\":2}", {REPLACE("/a~1b", "3"), REPLACE("/m~0n", "4")}, "{\"a/b\":3,\"m~n\":4}"},
    {"{\"\\u0061\":1}", {REPLACE("/a", "2")}, "{\"\\u0061\":2}"},
    {"{\"\":1}", {REPLACE("/", "2")}, "{\"\":2}"},
    {"{\"a\":\"x\\\"}y\",\"b\":1}", {REPLACE("/b", "2")}, "{\"a\":\"x\\\"}y\",\"b\":2}"},
    /* remove, and its commas */
    {"{\"a\":1}", {REMOVE("/a")}, "{}"},
    {"{\"a\":1,\"b\":2}", {REMOVE("/a")}, "{\"b\":2}"},
    {"{\"a\":1,\"b\":2}", {REMOVE("/b")}, "{\"a\":1}"},
    {"{\"a\":1,\"b\":2,\"c\":3}", {REMOVE("/b")}, "{\"a\":1,\"c\":3}"},
    {"{\"a\":1,\"b\":2,\"c\":3}", {REMOVE("/a"), REMOVE("/b")}, "{\"c\":3}"},
    {"{\"a\":1,\"b\":2,\"c\":3}", {REMOVE("/c"), REMOVE("/b")}, "{\"a\":1}"},
    {"{\"a\":1,\"b\":2,\"c\":3}", {REMOVE("/a"), REMOVE("/c")}, "{\"b\":2}"},
    {"[1,2]", {REMOVE("/1"), REMOVE("/0")}, "[]"},
    {"{\"a\":1, \"b\":2}", {REMOVE("/a"), REMOVE("/b")}, "{}"},
    /* add */
    {"{}", {ADD("/a", "1")}, "{\"a\":1}"},
    {"{\"a\":1}", {ADD("/b", "2")}, "{\"a\":1,\"b\":2}"},
    {"{}", {ADD("/a", "1"), ADD("/b", "2")}, "{\"a\":1,\"b\":2}"},
    {"[1,3]", {ADD("/1", "2")}, "[1,2,3]"},
    {"[1]", {ADD("/-", "2"), ADD("/-", "3")}, "[1,2,3]"},
    {"[1]", {ADD("/1", "2")}, "[1,2]"},
    {"[]", {ADD("/0", "1")}, "[1]"},
    {"{\"a\":1}", {REMOVE("/a"), ADD("/b", "2")}, "{\"b\":2}"},
    {"{\"a\":1,\"c\":3}", {ADD("/b", "2"), REMOVE("/c")}, "{\"a\":1,\"b\":2}"},
    {"{\"a\":[1]}", {ADD("/a/0", "0"), REPLACE("/a/0", "9")}, "{\"a\":[0,9]}"},
    {"{}", {ADD("/x~1\"y", "1")}, "{\"x/\\\"y\":1}"},
    /* refused whole */
    {"{\"a\":1}", {REPLACE("/b", "2")}, NULL},
    {"{\"a\":1}", {REPLACE("/a", "2"), REPLACE("/b", "2")}, NULL},
    {"{\"a\":1}", {REMOVE("/a/b")}, NULL},
    {"{\"a\":1}", {ADD("/a", "2")}, NULL},
    {"{\"a\":1}", {REPLACE("/a", "{")}, NULL},
    {"{\"a\":1}", {REPLACE("/a", "1 2")}, NULL},
    {"{\"a\":1}", {REPLACE("/a", "2"), REPLACE("/a", "3")}, NULL},
    {"{\"a\":{\"b\":1}}", {REPLACE("/a", "2"), REPLACE("/a/b", "3")}, NULL},
    {"{\"a\":{\"b\":1}}", {REMOVE("/a"), ADD("/a/c", "3")}, NULL},
    {"{\"a\":1}", {REMOVE("/a"), REMOVE("/a")}, NULL},
    {"{\"a\":1}", {REPLACE("a", "2")}, NULL},
    {"{\"a\":1}", {REPLACE("/a~", "2")}, NULL},
    {"{\"a\":1}", {REPLACE("/a~2", "2")}, NULL},
    {"[1,2]", {REPLACE("/2", "2")}, NULL},
    {"[1,2]", {REPLACE("/01", "2")}, NULL},
    {"[1,2]", {REPLACE("/-", "2")}, NULL},
    {"[1,2]", {ADD("/3", "2")}, NULL},
    {"[1,2]", {ADD("/x", "2")}, NULL},
    {"[1,2]", {REPLACE("/99999999999999999999", "2")}, NULL},
    {"\"text\"", {REPLACE("/0", "2")}, NULL},
    /* a name that stands there twice */
    {"{\"a\":1,\"a\":2}", {REPLACE("/a", "3")}, NULL},
    {"{\"a\":1,\"\\u0061\":2}", {REPLACE("/a", "3")}, NULL},
    {"{\"a\":1,\"a\":2}", {REMOVE("/a")}, NULL},
    {"{\"a\":[1],\"a\":[2]}", {REPLACE("/a/0", "3")}, NULL},
    {"{\"a\":1,\"a\":2,\"b\":3}", {REPLACE("/b", "4")}, "{\"a\":1,\"a\":2,\"b\":4}"},
    /* in any order */
    {"[[1,2],[3,4]]",
     {REPLACE("/1/1", "8"), REPLACE("/0/1", "6"), REPLACE("/1/0", "7"), REPLACE("/0/0", "5")},
     "[[5,6],[7,8]]"},
    {"{\"a\":[{\"b\":1},{\"b\":2}]}",
     {REPLACE("/a/0/b", "3"), REPLACE("/a/1/b", "4")},
     "{\"a\":[{\"b\":3},{\"b\":4}]}"},
};

static void
each_case(void **state)
{
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(cases); i++) {
        const struct edits_case *one = &cases[i];
        dyn_block_t *out = NULL;
        struct dyn_err err = {.text = ""};
        size_t n = 0;
        while (n < EDITS && one->edits[n].at.data != NULL) {
            n++;
        }
        int rc = edits_apply(dyn_slice_str(one->text), one->edits, n, 16, &out, &err);
        if (one->expected == NULL) {
            if (rc == 0) {
                print_error("%zu: %s was edited\n", i, one->text);
            }
            assert_int_equal(rc, -1);
            assert_true(err.text[0] != '\0');
            assert_null(out);
            continue;
        }
        if (rc != 0 || !dyn_slice_is(dyn_block_slice(out), one->expected)) {
            print_error("%zu: %s became %.*s (%s)\n", i, one->text, (int)(out ? out->len : 0),
                        out ? dyn_block_data(out) : "", err.text);
        }
        assert_int_equal(rc, 0);
        assert_true(dyn_slice_is(dyn_block_slice(out), one->expected));
        assert_true(dyn_block_headroom(out) >= 16);
        dyn_block_unref(&out);
    }
}

static void
none_and_too_many_are_refused(void **state)
{
    (void)state;
    static struct vote_edit many[VOTE_EDITS_MAX + 1];
    dyn_block_t *out = NULL;
    for (size_t i = 0; i < DYN_ARRAY_LEN(many); i++) {
        many[i] = (struct vote_edit)REPLACE("/a", "1");
    }
    assert_int_equal(edits_apply(DYN_SLICE("{\"a\":1}"), many, 0, 0, &out, NULL), -1);
    assert_int_equal(edits_apply(DYN_SLICE("{\"a\":1}"), many, DYN_ARRAY_LEN(many), 0, &out, NULL), -1);
}

/* Random removals of an object's members: what stays is what was not named, in its order and spelling. */
static void
removals_leave_the_rest(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 2000; seed++) {
        struct dyn_rng rng;
        dyn_rng_seed(&rng, seed);
        size_t n = 1 + dyn_rng_below(&rng, 8);
        struct dyn_buf text = DYN_BUF_INIT;
        struct dyn_buf expected = DYN_BUF_INIT;
        char pointers[8][32];
        struct vote_edit edits[8];
        size_t n_edits = 0;
        for (size_t i = 0; i < n; i++) {
            dyn_buf_addf(&text, "%c\"k%zu\": %zu", i > 0 ? ',' : '{', i, i);
            if (dyn_rng_below(&rng, 2) == 0) {
                (void)snprintf(pointers[n_edits], sizeof pointers[0], "/k%zu", i);
                edits[n_edits] =
                    (struct vote_edit){VOTE_EDIT_REMOVE, dyn_slice_str(pointers[n_edits]), {NULL, 0}};
                n_edits++;
            } else {
                dyn_buf_addf(&expected, "%c\"k%zu\": %zu", expected.len > 0 ? ',' : '{', i, i);
            }
        }
        dyn_buf_add_char(&text, '}');
        dyn_buf_add_str(&expected, expected.len > 0 ? "}" : "{}");
        dyn_block_t *out = NULL;
        if (n_edits > 0) {
            assert_int_equal(edits_apply(dyn_buf_slice(&text), edits, n_edits, 0, &out, NULL), 0);
            assert_true(dyn_slice_eq(dyn_block_slice(out), dyn_buf_slice(&expected)));
        }
        dyn_block_unref(&out);
        dyn_buf_fini(&text);
        dyn_buf_fini(&expected);
    }
}

/* As many as there may be, in a body as long as one may be: a walk over it, not one for each. */
static void
many_edits_of_a_long_text_are_made(void **state)
{
    (void)state;
    enum { ITEMS = 100 * 1024, LEN = 88 };
    struct dyn_buf text = DYN_BUF_INIT;
    static char pointers[VOTE_EDITS_MAX][32];
    static struct vote_edit edits[VOTE_EDITS_MAX];
    dyn_block_t *out = NULL;
    struct dyn_err err = {.text = ""};
    dyn_buf_add_str(&text, "{\"m\":[");
    for (size_t i = 0; i < ITEMS; i++) {
        dyn_buf_addf(&text, "%s{\"c\":\"%0*zu\"}", i > 0 ? "," : "", LEN, i);
    }
    dyn_buf_add_str(&text, "]}");
    for (size_t i = 0; i < VOTE_EDITS_MAX; i++) {
        (void)snprintf(pointers[i], sizeof pointers[i], "/m/%zu/c", i * (ITEMS / VOTE_EDITS_MAX));
        edits[i] = (struct vote_edit){VOTE_EDIT_REPLACE, dyn_slice_str(pointers[i]), DYN_SLICE("\"\"")};
    }
    assert_int_equal(edits_apply(dyn_buf_slice(&text), edits, VOTE_EDITS_MAX, 0, &out, &err), 0);
    assert_int_equal(out->len, text.len - (size_t)VOTE_EDITS_MAX * LEN);
    dyn_block_unref(&out);
    for (size_t i = 0; i < VOTE_EDITS_MAX / 2; i++) { /* from the end: each has to be looked for anew */
        struct vote_edit former = edits[i];
        edits[i] = edits[VOTE_EDITS_MAX - 1 - i];
        edits[VOTE_EDITS_MAX - 1 - i] = former;
    }
    assert_int_equal(edits_apply(dyn_buf_slice(&text), edits, VOTE_EDITS_MAX, 0, &out, &err), -1);
    assert_null(out);
    dyn_buf_fini(&text);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_case),
        cmocka_unit_test(none_and_too_many_are_refused),
        cmocka_unit_test(removals_leave_the_rest),
        cmocka_unit_test(many_edits_of_a_long_text_are_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
