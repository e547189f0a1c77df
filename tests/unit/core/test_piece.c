/* Pieces of memory that come again. */
#include "core/piece.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { KEEPS = 0 };
#else
enum { KEEPS = 1 };
#endif

static void
a_freed_piece_is_given_again(void **state)
{
    (void)state;
    size_t before = dyn_pieces_kept();
    void *first = dyn_piece_alloc(1000);
    memset(first, 1, 1000);
    dyn_piece_free(first, 1000);
    assert_int_equal(dyn_pieces_kept() - before, KEEPS * 1024);
    void *second = dyn_piece_alloc(1024); /* rounded up they are the same */
    assert_true(!KEEPS || second == first);
    assert_int_equal(dyn_pieces_kept(), before);
    memset(second, 2, 1024);
    dyn_piece_free(second, 1024);
    dyn_piece_free(NULL, 5);
}

static void
no_more_than_the_limit_is_kept(void **state)
{
    (void)state;
    enum { N = 2 * DYN_PIECES_KEPT / 4096 };
    void *pieces[N];
    for (size_t i = 0; i < N; i++) {
        pieces[i] = dyn_piece_alloc(4096);
    }
    for (size_t i = 0; i < N; i++) {
        dyn_piece_free(pieces[i], 4096);
    }
    assert_true(dyn_pieces_kept() <= DYN_PIECES_KEPT);
    assert_true(!KEEPS || dyn_pieces_kept() > DYN_PIECES_KEPT - 4096);
    size_t before = dyn_pieces_kept();
    dyn_piece_free(dyn_piece_alloc(DYN_PIECE_MAX + 1), DYN_PIECE_MAX + 1);
    assert_int_equal(dyn_pieces_kept(), before);
}

/* From each size to each: the bytes are there. */
static void
a_piece_grows_and_shrinks(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 127, 128, 129, 4000, DYN_PIECE_MAX, DYN_PIECE_MAX + 1, 100000};
    for (size_t i = 0; i < DYN_ARRAY_LEN(sizes); i++) {
        for (size_t j = 0; j < DYN_ARRAY_LEN(sizes); j++) {
            unsigned char *piece = dyn_piece_alloc(sizes[i]);
            memset(piece, (int)(i + 1), sizes[i]);
            piece = dyn_piece_realloc(piece, sizes[i], sizes[j]);
            size_t common = sizes[i] < sizes[j] ? sizes[i] : sizes[j];
            assert_int_equal(piece[0], i + 1);
            assert_int_equal(piece[common - 1], i + 1);
            memset(piece, 0, sizes[j]);
            dyn_piece_free(piece, sizes[j]);
        }
    }
}

static void *
frees(void *piece)
{
    dyn_piece_free(piece, 512);
    return (void *)(uintptr_t)dyn_pieces_kept();
}

/* With another thread, which gives it back to everybody when it ends (a leak would be found by the
 * sanitizer). */
static void
a_piece_may_be_freed_by_another_thread(void **state)
{
    (void)state;
    pthread_t thread;
    void *kept = NULL;
    size_t before = dyn_pieces_kept();
    void *piece = dyn_piece_alloc(512);
    size_t after = dyn_pieces_kept();
    assert_int_equal(pthread_create(&thread, NULL, frees, piece), 0);
    assert_int_equal(pthread_join(thread, &kept), 0);
    assert_int_equal((uintptr_t)kept, KEEPS * 512);
    assert_true(after <= before && dyn_pieces_kept() == after);
}

static void
what_is_kept_goes_when_all_are_asked_to_shed(void **state)
{
    (void)state;
    dyn_piece_free(dyn_piece_alloc(512), 512);
    (void)dyn_pieces_look();
    assert_int_equal(dyn_pieces_kept() > 0, KEEPS);
    dyn_pieces_shed();
    assert_int_equal(dyn_pieces_kept() > 0, KEEPS); /* each thread frees its own */
    assert_true(dyn_pieces_look());
    assert_int_equal(dyn_pieces_kept(), 0);
    dyn_piece_free(dyn_piece_alloc(512), 512);
    assert_false(dyn_pieces_look()); /* once for each time that it is asked */
    assert_int_equal(dyn_pieces_kept(), KEEPS * 512);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_freed_piece_is_given_again),
        cmocka_unit_test(no_more_than_the_limit_is_kept),
        cmocka_unit_test(a_piece_grows_and_shrinks),
        cmocka_unit_test(a_piece_may_be_freed_by_another_thread),
        cmocka_unit_test(what_is_kept_goes_when_all_are_asked_to_shed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
