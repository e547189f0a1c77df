/* The arena: aligned, never overlapping, reset in one go; poisoned memory is given back clean. */
#include "core/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void
assert_aligned(const void *ptr)
{
    assert_int_equal((uintptr_t)ptr % _Alignof(max_align_t), 0);
}

static void
pieces_are_aligned_and_apart(void **state)
{
    (void)state;
    char memory[301];
    struct arena arena;
    arena_init(&arena, memory + 1, sizeof memory - 1);
    unsigned char *pieces[200];
    size_t used = 0;
    for (size_t i = 0; i < 200; i++) {
        size_t size = i * 7 % 97;
        pieces[i] = arena_alloc(&arena, size);
        assert_aligned(pieces[i]);
        memset(pieces[i], (int)i, size);
        used += size;
    }
    assert_int_equal(arena.used, used);
    for (size_t i = 0; i < 200; i++) {
        for (size_t j = 0; j < i * 7 % 97; j++) {
            assert_int_equal(pieces[i][j], i);
        }
    }
    arena_fini(&arena);
    memset(memory, 1, sizeof memory); /* not poisoned any more */
}

static void
the_inline_piece_comes_first(void **state)
{
    (void)state;
    _Alignas(max_align_t) char memory[64];
    struct arena arena;
    arena_init(&arena, memory, sizeof memory);
    assert_ptr_equal(arena_alloc(&arena, 64), memory);
    assert_null(arena.chunks);
    char *beyond = arena_alloc(&arena, 1);
    assert_true(beyond < memory || beyond >= memory + sizeof memory);
    assert_non_null(arena.chunks);
    arena_fini(&arena);
}

static void
inline_memory_may_be_freed_after_fini(void **state)
{
    (void)state;
    for (size_t size = 1; size < 200; size += 13) {
        char *memory = dyn_alloc(size);
        struct arena arena;
        arena_init(&arena, memory, size);
        (void)arena_alloc(&arena, size / 2);
        arena_fini(&arena);
        memset(memory, 0, size);
        free(memory);
    }
}

/* One large allocation does not throw away what is left of the current piece. */
static void
large_pieces_stand_beside_the_current_one(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    char *first = arena_alloc(&arena, 16);
    char *large = arena_alloc(&arena, 100000);
    memset(large, 'x', 100000);
    char *second = arena_alloc(&arena, 16);
    assert_ptr_equal(second, first + 16);
    (void)arena_alloc(&arena, 0);
    arena_fini(&arena);
}

static void
zeroed_memory_is_zero(void **state)
{
    (void)state;
    struct arena arena;
    char memory[600];
    memset(memory, 0xFF, sizeof memory);
    arena_init(&arena, memory, sizeof memory);
    unsigned char *zeroed = arena_zalloc(&arena, 500);
    for (size_t i = 0; i < 500; i++) {
        assert_int_equal(zeroed[i], 0);
    }
    arena_fini(&arena);
}

static void
copies_are_terminated_and_absent_stays_absent(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct dyn_slice copy = arena_copy(&arena, dyn_slice("harbour", 4));
    assert_int_equal(copy.len, 4);
    assert_string_equal(copy.data, "harb");
    assert_null(arena_copy(&arena, (struct dyn_slice){NULL, 0}).data);
    struct dyn_slice empty = arena_copy(&arena, DYN_SLICE(""));
    assert_non_null(empty.data);
    assert_string_equal(empty.data, "");
    arena_fini(&arena);
}

static void
formatted_text_of_any_length(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    for (int len = 1; len < 6000; len = len * 3 + 1) {
        struct dyn_slice text = arena_printf(&arena, "%0*d", len, 7);
        assert_int_equal(text.len, len);
        assert_int_equal(text.data[len - 1], '7');
        assert_int_equal(text.data[len], '\0');
    }
    struct dyn_slice text = arena_printf(&arena, "%s", "");
    assert_int_equal(text.len, 0);
    assert_string_equal(text.data, "");
    arena_fini(&arena);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_aligned_and_apart),
        cmocka_unit_test(the_inline_piece_comes_first),
        cmocka_unit_test(inline_memory_may_be_freed_after_fini),
        cmocka_unit_test(large_pieces_stand_beside_the_current_one),
        cmocka_unit_test(zeroed_memory_is_zero),
        cmocka_unit_test(copies_are_terminated_and_absent_stays_absent),
        cmocka_unit_test(formatted_text_of_any_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
