/* Slices, allocation, errors, assertions and lists. */
#include "core/base.h"
#include "core/err.h"
#include "core/list.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void
slices_tell_absent_from_empty(void **state)
{
    (void)state;
    assert_null(dyn_slice_str(NULL).data);
    assert_int_equal(dyn_slice_str(NULL).len, 0);
    assert_non_null(dyn_slice_str("").data);
    assert_non_null(DYN_SLICE("").data);
    assert_int_equal(DYN_SLICE("abc").len, 3);
    static const struct dyn_slice constant = DYN_SLICE_INIT("abcd");
    assert_int_equal(constant.len, 4);
}

/* Each byte with each, where eight are compared at once and where one is. */
static void
case_is_that_of_ascii_letters(void **state)
{
    (void)state;
    for (unsigned x = 0; x < 256; x++) {
        for (unsigned y = 0; y < 256; y++) {
            bool is_letter = (x | 0x20u) >= 'a' && (x | 0x20u) <= 'z';
            bool expected = x == y || (is_letter && (x ^ y) == 0x20u);
            char left[] = "aB\x80[@z{Zc";
            char right[] = "Ab\x80[@Z{zC";
            left[3] = left[8] = (char)x;
            right[3] = right[8] = (char)y;
            assert_int_equal(dyn_slice_ieq(dyn_slice(left, 9), dyn_slice(right, 9)), expected);
            assert_int_equal(dyn_slice_ieq(dyn_slice(left, 8), dyn_slice(right, 8)), expected);
            assert_int_equal(dyn_slice_ieq(dyn_slice(left + 8, 1), dyn_slice(right + 8, 1)), expected);
        }
    }
}

static void
slices_compare_bytes(void **state)
{
    (void)state;
    assert_true(dyn_slice_eq(DYN_SLICE("ab"), dyn_slice("abc", 2)));
    assert_false(dyn_slice_eq(DYN_SLICE("ab"), DYN_SLICE("abc")));
    assert_false(dyn_slice_eq(DYN_SLICE("ab"), DYN_SLICE("aB")));
    assert_true(dyn_slice_eq(DYN_SLICE(""), (struct dyn_slice){NULL, 0}));
    assert_true(dyn_slice_eq(dyn_slice("a\0b", 3), dyn_slice("a\0b", 3)));
    assert_false(dyn_slice_eq(dyn_slice("a\0b", 3), dyn_slice("a\0c", 3)));
    assert_true(dyn_slice_is(DYN_SLICE("model"), "model"));
    assert_false(dyn_slice_is(DYN_SLICE("model"), "mode"));
}

static void
case_is_ignored_for_ascii_letters_only(void **state)
{
    (void)state;
    assert_true(dyn_slice_ieq(DYN_SLICE("Content-TYPE"), DYN_SLICE("content-type")));
    assert_false(dyn_slice_ieq(DYN_SLICE("abc"), DYN_SLICE("abcd")));
    assert_false(dyn_slice_ieq(DYN_SLICE("[x"), DYN_SLICE("{x")));
    assert_false(dyn_slice_ieq(DYN_SLICE("@"), DYN_SLICE("`")));
    assert_false(dyn_slice_ieq(DYN_SLICE("\xc3\x84"), DYN_SLICE("\xc3\xa4")));
}

static void
blanks_at_the_ends_are_trimmed(void **state)
{
    (void)state;
    assert_true(dyn_slice_is(dyn_slice_trim(DYN_SLICE(" \t a b\t ")), "a b"));
    assert_true(dyn_slice_is(dyn_slice_trim(DYN_SLICE("\ra\n")), "\ra\n"));
    assert_int_equal(dyn_slice_trim(DYN_SLICE("\t \t")).len, 0);
    assert_null(dyn_slice_trim(dyn_slice(NULL, 0)).data);
}

static void
allocation_takes_any_size(void **state)
{
    (void)state;
    char *nothing = dyn_alloc(0);
    assert_non_null(nothing);
    nothing = dyn_realloc(nothing, 0);
    assert_non_null(nothing);
    free(nothing);
    unsigned char *zeroed = dyn_zalloc(64);
    for (size_t i = 0; i < 64; i++) {
        assert_int_equal(zeroed[i], 0);
    }
    free(zeroed);
    void *empty = dyn_zalloc(0);
    assert_non_null(empty);
    free(empty);
}

static void
copies_of_text_are_terminated(void **state)
{
    (void)state;
    char *copy = dyn_strdup("harbour");
    assert_string_equal(copy, "harbour");
    free(copy);
    copy = dyn_strndup("harbour", 4);
    assert_string_equal(copy, "harb");
    free(copy);
    copy = dyn_strndup(NULL, 0);
    assert_string_equal(copy, "");
    free(copy);
}

static void
an_error_is_one_sentence_cut_to_its_room(void **state)
{
    (void)state;
    struct dyn_err err = {.code = DYN_OK};
    assert_int_equal(dyn_err_set(&err, DYN_E_LIMIT, "body of %d bytes", 12), -1);
    assert_int_equal(err.code, DYN_E_LIMIT);
    assert_string_equal(err.text, "body of 12 bytes");
    assert_int_equal(dyn_err_set(NULL, DYN_E_LIMIT, "nobody asked"), -1);
    assert_int_equal(dyn_err_set(&err, DYN_E_INVALID, "%0600d", 1), -1);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
}

/* The child's standard error is read, and how it ended is returned. */
static int
run_child(void (*body)(void), char *output, size_t size)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    (void)fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)dup2(ends[1], STDERR_FILENO);
        (void)signal(SIGABRT, SIG_DFL);
        body();
        _exit(0);
    }
    (void)close(ends[1]);
    size_t len = 0;
    for (ssize_t got; (got = read(ends[0], output + len, size - 1 - len)) > 0;) {
        len += (size_t)got;
    }
    output[len] = '\0';
    (void)close(ends[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void
break_an_invariant(void)
{
    int one = 1;
    DYN_ASSERT(one == 2);
}

static void
a_failed_assertion_names_itself_and_ends_the_process(void **state)
{
    (void)state;
    char output[4096];
    int status = run_child(break_an_invariant, output, sizeof output);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_non_null(strstr(output, "assertion failed: one == 2"));
    assert_non_null(strstr(output, "break_an_invariant"));
    DYN_ASSERT(true);
}

struct item {
    int number;
    struct dyn_list node;
};

static int
number_of(struct dyn_list *node)
{
    return node != NULL ? DYN_CONTAINER_OF(node, struct item, node)->number : -1;
}

static void
lists_keep_their_order(void **state)
{
    (void)state;
    struct dyn_list head;
    dyn_list_init(&head);
    assert_true(dyn_list_is_empty(&head));
    assert_null(dyn_list_pop(&head));
    struct item items[4];
    for (int i = 0; i < 4; i++) {
        items[i].number = i;
        dyn_list_init(&items[i].node);
        assert_false(dyn_list_is_linked(&items[i].node));
        dyn_list_append(&head, &items[i].node);
        assert_true(dyn_list_is_linked(&items[i].node));
    }
    dyn_list_remove(&items[2].node);
    assert_false(dyn_list_is_linked(&items[2].node));
    dyn_list_remove(&items[2].node); /* harmless twice */
    static const int left[] = {0, 1, 3};
    for (size_t i = 0; i < DYN_ARRAY_LEN(left); i++) {
        struct dyn_list *node = dyn_list_pop(&head);
        assert_non_null(node);
        assert_int_equal(number_of(node), left[i]);
        assert_ptr_equal(DYN_CONTAINER_OF(node, struct item, node), &items[left[i]]);
    }
    assert_true(dyn_list_is_empty(&head));
}

static void
splicing_moves_all_behind(void **state)
{
    (void)state;
    struct dyn_list to, from;
    dyn_list_init(&to);
    dyn_list_init(&from);
    struct item items[4];
    for (int i = 0; i < 4; i++) {
        items[i].number = i;
        dyn_list_append(i < 2 ? &to : &from, &items[i].node);
    }
    dyn_list_splice(&to, &from);
    assert_true(dyn_list_is_empty(&from));
    dyn_list_splice(&to, &from);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(number_of(dyn_list_pop(&to)), i);
    }
    dyn_list_append(&from, &items[0].node);
    dyn_list_splice(&to, &from);
    assert_int_equal(number_of(dyn_list_pop(&to)), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_tell_absent_from_empty),
        cmocka_unit_test(slices_compare_bytes),
        cmocka_unit_test(case_is_that_of_ascii_letters),
        cmocka_unit_test(case_is_ignored_for_ascii_letters_only),
        cmocka_unit_test(blanks_at_the_ends_are_trimmed),
        cmocka_unit_test(allocation_takes_any_size),
        cmocka_unit_test(copies_of_text_are_terminated),
        cmocka_unit_test(an_error_is_one_sentence_cut_to_its_room),
        cmocka_unit_test(a_failed_assertion_names_itself_and_ends_the_process),
        cmocka_unit_test(lists_keep_their_order),
        cmocka_unit_test(splicing_moves_all_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
