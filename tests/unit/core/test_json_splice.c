/* Splices against a naive model. */
#include "core/buf.h"
#include "core/json_scan.h"
#include "core/rand.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void
assert_spliced(struct dyn_slice text, const struct json_edit *edits, size_t n_edits,
               struct dyn_slice expected)
{
    size_t size = json_splice_size(text, edits, n_edits);
    assert_int_equal(size, expected.len);
    char *out = dyn_alloc(size); /* exact, so that a byte too many is seen */
    json_splice(text, edits, n_edits, out);
    assert_true(dyn_slice_eq(dyn_slice(out, size), expected));
    free(out);
}

static void
edits_replace_insert_and_remove(void **state)
{
    (void)state;
    struct dyn_slice text = DYN_SLICE("{\"model\":\"a\",\"n\":1}");
    assert_spliced(text, NULL, 0, text);
    const struct json_edit edits[] = {
        {1, 0, DYN_SLICE("\"first\":0,")},
        {9, 3, DYN_SLICE("\"bb\"")},
        {12, 6, {NULL, 0}},
    };
    assert_spliced(text, edits, 1, DYN_SLICE("{\"first\":0,\"model\":\"a\",\"n\":1}"));
    assert_spliced(text, edits + 1, 1, DYN_SLICE("{\"model\":\"bb\",\"n\":1}"));
    assert_spliced(text, edits + 2, 1, DYN_SLICE("{\"model\":\"a\"}"));
    assert_spliced(text, edits, 3, DYN_SLICE("{\"first\":0,\"model\":\"bb\"}"));
    const struct json_edit everything = {0, text.len, DYN_SLICE("null")};
    assert_spliced(text, &everything, 1, DYN_SLICE("null"));
    const struct json_edit nothing = {0, text.len, {NULL, 0}};
    assert_spliced(text, &nothing, 1, DYN_SLICE(""));
    const struct json_edit ends[] = {
        {0, 0, DYN_SLICE("<")}, {0, 0, DYN_SLICE("<")}, {text.len, 0, DYN_SLICE(">")}};
    assert_spliced(text, ends, 3, DYN_SLICE("<<{\"model\":\"a\",\"n\":1}>"));
    assert_spliced((struct dyn_slice){NULL, 0}, ends, 2, DYN_SLICE("<<"));
}

static void
random_edits_agree_with_a_model(void **state)
{
    (void)state;
    struct dyn_rng rng;
    dyn_rng_seed(&rng, 3);
    for (int round = 0; round < 5000; round++) {
        char text[64];
        char inserts[64];
        size_t len = dyn_rng_below(&rng, sizeof text);
        for (size_t i = 0; i < sizeof text; i++) {
            text[i] = (char)('a' + i % 26);
            inserts[i] = (char)('A' + i % 26);
        }
        struct json_edit edits[8];
        struct dyn_buf expected = DYN_BUF_INIT;
        size_t n_edits = dyn_rng_below(&rng, DYN_ARRAY_LEN(edits) + 1);
        size_t at = 0;
        for (size_t i = 0; i < n_edits; i++) {
            size_t offset = at + dyn_rng_below(&rng, len - at + 1);
            size_t remove = dyn_rng_below(&rng, len - offset + 1) / 2;
            edits[i] = (struct json_edit){offset, remove, dyn_slice(inserts, dyn_rng_below(&rng, 20))};
            dyn_buf_add(&expected, text + at, offset - at);
            dyn_buf_add_slice(&expected, edits[i].insert);
            at = offset + remove;
        }
        dyn_buf_add(&expected, text + at, len - at);
        assert_spliced(dyn_slice(text, len), edits, n_edits, dyn_buf_slice(&expected));
        dyn_buf_fini(&expected);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edits_replace_insert_and_remove),
        cmocka_unit_test(random_edits_agree_with_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
