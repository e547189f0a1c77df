/* Blocks: bytes with room in front, counted references, freed by whoever is last. */
#include "core/block.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void
assert_holds(const dyn_block_t *block, const char *text)
{
    assert_true(dyn_slice_is(dyn_block_slice(block), text));
}

static void
bytes_go_in_front_and_behind(void **state)
{
    (void)state;
    dyn_block_t *block = dyn_block_new(8, 4);
    assert_int_equal(dyn_block_headroom(block), 8);
    assert_int_equal(dyn_block_tailroom(block), 4);
    assert_int_equal(dyn_block_slice(block).len, 0);
    assert_non_null(dyn_block_slice(block).data);
    dyn_block_append(&block, "body", 4);
    assert_int_equal(dyn_block_tailroom(block), 0);
    dyn_block_prepend(block, "head:", 5);
    assert_holds(block, "head:body");
    assert_int_equal(dyn_block_headroom(block), 3);
    dyn_block_skip(block, 2);
    assert_holds(block, "ad:body");
    dyn_block_prepend(block, "HE", 2);
    assert_holds(block, "HEad:body");
    dyn_block_skip(block, 9);
    assert_holds(block, "");
    dyn_block_unref(&block);
    assert_null(block);
    dyn_block_unref(&block);
    assert_int_equal(dyn_block_slice(NULL).len, 0);
    assert_null(dyn_block_slice(NULL).data);
}

static void
appending_grows_and_keeps_the_headroom(void **state)
{
    (void)state;
    dyn_block_t *block = dyn_block_copy(16, DYN_SLICE("start"));
    dyn_block_append(&block, NULL, 0);
    char expected[5 + 26 * 100];
    memcpy(expected, "start", 5);
    for (size_t i = 0; i < 100; i++) {
        dyn_block_append(&block, "abcdefghijklmnopqrstuvwxyz", 26);
        memcpy(expected + 5 + 26 * i, "abcdefghijklmnopqrstuvwxyz", 26);
        assert_int_equal(dyn_block_headroom(block), 16);
    }
    assert_int_equal(dyn_block_slice(block).len, sizeof expected);
    assert_memory_equal(dyn_block_data(block), expected, sizeof expected);
    assert_true(block->cap < 3 * sizeof expected);
    dyn_block_unref(&block);
    block = dyn_block_copy(0, (struct dyn_slice){NULL, 0});
    assert_int_equal(dyn_block_slice(block).len, 0);
    dyn_block_unref(&block);
}

static void
a_reference_keeps_the_bytes(void **state)
{
    (void)state;
    dyn_block_t *block = dyn_block_copy(0, DYN_SLICE("kept"));
    assert_false(dyn_block_is_shared(block));
    dyn_block_t *other = dyn_block_ref(block);
    assert_ptr_equal(other, block);
    assert_true(dyn_block_is_shared(block));
    dyn_block_unref(&block);
    assert_false(dyn_block_is_shared(other));
    assert_holds(other, "kept");
    dyn_block_unref(&other);
}

static void *
take_and_drop(void *shared)
{
    for (int i = 0; i < 20000; i++) {
        dyn_block_t *mine = dyn_block_ref(shared);
        dyn_block_unref(&mine);
    }
    dyn_block_t *given = shared;
    dyn_block_unref(&given);
    return NULL;
}

static void
references_are_counted_across_threads(void **state)
{
    (void)state;
    dyn_block_t *block = dyn_block_copy(0, DYN_SLICE("shared"));
    pthread_t threads[4];
    for (size_t i = 0; i < DYN_ARRAY_LEN(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, take_and_drop, dyn_block_ref(block)), 0);
    }
    for (size_t i = 0; i < DYN_ARRAY_LEN(threads); i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_false(dyn_block_is_shared(block));
    dyn_block_unref(&block);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_go_in_front_and_behind),
        cmocka_unit_test(appending_grows_and_keeps_the_headroom),
        cmocka_unit_test(a_reference_keeps_the_bytes),
        cmocka_unit_test(references_are_counted_across_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
