/* The bodies of ASK and VOTE come back as they were written, and what is no such body is refused. */
#include "core/rand.h"
#include "proto/plugin_ready.h"
#include "proto/vote_here.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void
texts_come_back(void **state)
{
    (void)state;
    static const struct vote_text written[] = {
        {DYN_SLICE_INIT("user"), VOTE_TEXT, DYN_SLICE_INIT("/messages/0/content"), 0, DYN_SLICE_INIT("hi")},
        {DYN_SLICE_INIT("assistant"), VOTE_TEXT_TOOL_ARGUMENTS,
         DYN_SLICE_INIT("/choices/1/message/tool_calls/0/function/arguments"), 1,
         DYN_SLICE_INIT("{\"a\":\"\xc3\xa4\"}")},
        {{NULL, 0}, VOTE_TEXT_IMAGE_URL, DYN_SLICE_INIT("/x"), 0, DYN_SLICE_INIT("")},
    };
    struct dyn_buf out = DYN_BUF_INIT;
    struct vote_texts_writer writer;
    struct vote_texts texts;
    struct vote_text text;
    vote_texts_begin(&writer, &out);
    for (size_t i = 0; i < DYN_ARRAY_LEN(written); i++) {
        vote_texts_add(&writer, &written[i]);
    }
    writer.uninspectable = true;
    vote_texts_end(&writer);
    assert_int_equal(vote_texts_open(&texts, dyn_buf_slice(&out), NULL), 0);
    assert_true(texts.uninspectable);
    for (size_t i = 0; i < DYN_ARRAY_LEN(written); i++) {
        assert_true(vote_texts_next(&texts, &text));
        assert_true(dyn_slice_eq(text.role, written[i].role));
        assert_int_equal(text.kind, written[i].kind);
        assert_true(dyn_slice_eq(text.at, written[i].at));
        assert_int_equal(text.choice, written[i].choice);
        assert_true(dyn_slice_eq(text.text, written[i].text));
    }
    assert_false(vote_texts_next(&texts, &text));
    dyn_buf_fini(&out);
}

static void
a_list_of_texts_has_a_bound(void **state)
{
    (void)state;
    struct vote_text_list list;
    struct vote_texts texts;
    struct vote_text text = {.role = DYN_SLICE("user"), .at = DYN_SLICE("/a"), .text = DYN_SLICE("hi")};
    struct dyn_err err;
    size_t n = 0;
    vote_text_list_init(&list, NULL, 0);
    for (size_t i = 0; i < VOTE_TEXTS_MAX; i++) {
        vote_text_list_add(&list, &text);
    }
    assert_int_equal(vote_texts_of(&texts, &list, &err), 0);
    while (vote_texts_next(&texts, &text)) {
        n += dyn_slice_is(text.at, "/a") && dyn_slice_is(text.text, "hi");
    }
    assert_int_equal(n, VOTE_TEXTS_MAX);
    vote_text_list_add(&list, &text);
    assert_int_equal(vote_texts_of(&texts, &list, &err), -1);
    vote_text_list_fini(&list);
    vote_text_list_init(&list, NULL, 0);
    assert_int_equal(vote_texts_of(&texts, &list, &err), 0);
    assert_false(vote_texts_next(&texts, &text));
    vote_text_list_fini(&list);
}

static void
edits_come_back(void **state)
{
    (void)state;
    static const struct vote_edit written[] = {
        {VOTE_EDIT_REPLACE, DYN_SLICE_INIT("/a"), DYN_SLICE_INIT("1")},
        {VOTE_EDIT_REMOVE, DYN_SLICE_INIT("/b"), {NULL, 0}},
        {VOTE_EDIT_ADD, DYN_SLICE_INIT("/c"), DYN_SLICE_INIT("{\"x\":[]}")},
    };
    struct dyn_buf out = DYN_BUF_INIT;
    struct arena arena;
    struct vote_edit *edits;
    size_t n;
    arena_init(&arena, NULL, 0);
    vote_edits_encode(written, DYN_ARRAY_LEN(written), &out);
    assert_int_equal(vote_edits_decode(dyn_buf_slice(&out), &arena, &edits, &n, NULL), 0);
    assert_int_equal(n, DYN_ARRAY_LEN(written));
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(edits[i].op, written[i].op);
        assert_true(dyn_slice_eq(edits[i].at, written[i].at));
        assert_true(dyn_slice_eq(edits[i].value, written[i].value));
    }
    arena_fini(&arena);
    dyn_buf_fini(&out);
}

static void
deltas_and_marks_come_back(void **state)
{
    (void)state;
    static const struct vote_delta said[] = {{{0, VOTE_TEXT, 0}, 12, DYN_SLICE_INIT("lo wor")},
                                             {{2, VOTE_TEXT_TOOL_ARGUMENTS, 3}, 0, DYN_SLICE_INIT("{")}};
    static const struct vote_mask masks[] = {{1, 3, DYN_SLICE_INIT("**")}, {5, 9, DYN_SLICE_INIT("")}};
    static const struct vote_mark marked[] = {{{0, VOTE_TEXT, 0}, 18, masks, 2},
                                              {{2, VOTE_TEXT_TOOL_ARGUMENTS, 3}, 0, NULL, 0}};
    struct dyn_buf out = DYN_BUF_INIT;
    struct arena arena;
    struct vote_delta *deltas;
    struct vote_mark *marks;
    size_t n;
    bool is_last = false;
    arena_init(&arena, NULL, 0);
    vote_deltas_encode(said, 2, true, &out);
    assert_int_equal(vote_deltas_decode(dyn_buf_slice(&out), &arena, &deltas, &n, &is_last, NULL), 0);
    assert_int_equal(n, 2);
    assert_true(is_last);
    assert_int_equal(deltas[0].from, 12);
    assert_true(dyn_slice_is(deltas[0].text, "lo wor"));
    assert_int_equal(deltas[1].channel.choice, 2);
    assert_int_equal(deltas[1].channel.kind, VOTE_TEXT_TOOL_ARGUMENTS);
    assert_int_equal(deltas[1].channel.tool, 3);
    assert_false(vote_deltas_resume(dyn_buf_slice(&out)));
    dyn_buf_clear(&out);
    vote_deltas_encode_rest(said, 2, false, &out);
    assert_int_equal(vote_deltas_decode(dyn_buf_slice(&out), &arena, &deltas, &n, &is_last, NULL), 0);
    assert_true(vote_deltas_resume(dyn_buf_slice(&out)));
    dyn_buf_clear(&out);
    vote_marks_encode(marked, 2, &out);
    assert_int_equal(vote_marks_decode(dyn_buf_slice(&out), &arena, &marks, &n, NULL), 0);
    assert_int_equal(n, 2);
    assert_int_equal(marks[0].clear, 18);
    assert_int_equal(marks[0].n_masks, 2);
    assert_int_equal(marks[0].masks[1].to, 9);
    assert_true(dyn_slice_is(marks[0].masks[0].text, "**"));
    assert_int_equal(marks[1].n_masks, 0);
    arena_fini(&arena);
    dyn_buf_fini(&out);
}

/* Masks that overlap, or reach beyond what is clear, would let out what was not looked at. */
static void
masks_follow_each_other(void **state)
{
    (void)state;
    static const struct vote_mask crossing[] = {{1, 5, DYN_SLICE_INIT("*")}, {4, 6, DYN_SLICE_INIT("*")}};
    static const struct vote_mask backwards[] = {{5, 1, DYN_SLICE_INIT("*")}};
    static const struct vote_mask beyond[] = {{1, 20, DYN_SLICE_INIT("*")}};
    static const struct vote_mark wrong[] = {{{0, VOTE_TEXT, 0}, 18, crossing, 2},
                                             {{0, VOTE_TEXT, 0}, 18, backwards, 1},
                                             {{0, VOTE_TEXT, 0}, 18, beyond, 1}};
    for (size_t i = 0; i < DYN_ARRAY_LEN(wrong); i++) {
        struct dyn_buf out = DYN_BUF_INIT;
        struct arena arena;
        struct vote_mark *marks;
        size_t n;
        struct dyn_err err;
        arena_init(&arena, NULL, 0);
        vote_marks_encode(&wrong[i], 1, &out);
        assert_int_equal(vote_marks_decode(dyn_buf_slice(&out), &arena, &marks, &n, &err), -1);
        arena_fini(&arena);
        dyn_buf_fini(&out);
    }
}

static void
what_is_no_body_is_refused(void **state)
{
    (void)state;
    static const struct dyn_slice wrong[] = {
        DYN_SLICE_INIT(""),
        DYN_SLICE_INIT("\xc0"),
        DYN_SLICE_INIT("\x90"),
        DYN_SLICE_INIT("\x81\x01\x01"),
        DYN_SLICE_INIT("\x81\xa5"
                       "edits"
                       "\x91\x80"), /* an edit without anything */
        DYN_SLICE_INIT("\x81\xa5"
                       "edits"
                       "\xdd\xff\xff\xff\xff"),
        DYN_SLICE_INIT("\x81\xa5"
                       "edits"
                       "\x91\x82\xa2"
                       "op"
                       "\xa6"
                       "remove"
                       "\xa2"
                       "at"
                       "\x01"),
        DYN_SLICE_INIT("\x81\xa5"
                       "edits"
                       "\x91\x82\xa2"
                       "op"
                       "\xa7"
                       "replace"
                       "\xa2"
                       "at"
                       "\xa2"
                       "/a"),
        DYN_SLICE_INIT("\x81\xa5"
                       "edits"
                       "\x91\x82\xa2"
                       "op"
                       "\xa3"
                       "mov"
                       "\xa2"
                       "at"
                       "\xa2"
                       "/a"),
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(wrong); i++) {
        struct arena arena;
        struct vote_edit *edits;
        size_t n;
        struct dyn_err err = {.text = ""};
        arena_init(&arena, NULL, 0);
        assert_int_equal(vote_edits_decode(wrong[i], &arena, &edits, &n, &err), -1);
        assert_true(err.text[0] != '\0');
        arena_fini(&arena);
    }
}

/* ---- READY ---- */

static void
what_plugins_say_comes_back(void **state)
{
    (void)state;
    static const struct plugin_said written[] = {
        {DYN_SLICE_INIT("words"), VOTE_STAGE_BIT(VOTE_BEFORE_REQUEST) | VOTE_STAGE_BIT(VOTE_AFTER_REQUEST),
         VOTE_NEEDS_TEXT, false, true, false, false},
        {DYN_SLICE_INIT("money"), VOTE_STAGE_BIT(VOTE_BEFORE_REQUEST), VOTE_NEEDS_COUNTS | VOTE_NEEDS_PRICE,
         true, false, false, false},
        {DYN_SLICE_INIT("eyes"), VOTE_STAGE_BIT(VOTE_ON_ERROR), 0, false, false, true, true},
    };
    struct plugin_said said[PLUGIN_SAID_MAX];
    struct dyn_buf out = DYN_BUF_INIT;
    plugin_ready_encode(written, DYN_ARRAY_LEN(written), &out);
    assert_int_equal(plugin_ready_decode(dyn_buf_slice(&out), said, NULL), DYN_ARRAY_LEN(written));
    for (size_t i = 0; i < DYN_ARRAY_LEN(written); i++) {
        assert_true(dyn_slice_eq(said[i].name, written[i].name));
        assert_int_equal(said[i].stages, written[i].stages);
        assert_int_equal(said[i].needs, written[i].needs);
        assert_int_equal(said[i].charges, written[i].charges);
        assert_int_equal(said[i].amends, written[i].amends);
        assert_int_equal(said[i].answers, written[i].answers);
        assert_int_equal(said[i].watches, written[i].watches);
    }
    dyn_buf_fini(&out);
}

static void
plugins_that_say_nonsense_are_refused(void **state)
{
    (void)state;
    static const struct plugin_said wrong[][2] = {
        {{DYN_SLICE_INIT("a"), 2, 0, false, false, false, false},
         {DYN_SLICE_INIT("a"), 2, 0, false, false, false, false}},
        {{DYN_SLICE_INIT("a"), 0, 0, false, false, false, false},
         {DYN_SLICE_INIT("b"), 2, 0, false, false, false, false}},
        {{DYN_SLICE_INIT(""), 2, 0, false, false, false, false},
         {DYN_SLICE_INIT("b"), 2, 0, false, false, false, false}},
        {{DYN_SLICE_INIT("a\n"), 2, 0, false, false, false, false},
         {DYN_SLICE_INIT("b"), 2, 0, false, false, false, false}},
        {{DYN_SLICE_INIT("a"), 2, VOTE_NEEDS_TEXT | VOTE_NEEDS_BODY, false, false, false, false},
         {DYN_SLICE_INIT("b"), 2, 0, false, false, false, false}},
    };
    struct plugin_said said[PLUGIN_SAID_MAX];
    struct dyn_err err;
    for (size_t i = 0; i < DYN_ARRAY_LEN(wrong); i++) {
        struct dyn_buf out = DYN_BUF_INIT;
        plugin_ready_encode(wrong[i], 2, &out);
        assert_int_equal(plugin_ready_decode(dyn_buf_slice(&out), said, &err), -1);
        dyn_buf_fini(&out);
    }
    assert_int_equal(plugin_ready_decode(DYN_SLICE("\x80"), said, &err), -1);
    assert_int_equal(plugin_ready_decode(dyn_slice(NULL, 0), said, &err), -1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_come_back),
        cmocka_unit_test(a_list_of_texts_has_a_bound),
        cmocka_unit_test(edits_come_back),
        cmocka_unit_test(deltas_and_marks_come_back),
        cmocka_unit_test(masks_follow_each_other),
        cmocka_unit_test(what_is_no_body_is_refused),
        cmocka_unit_test(what_plugins_say_comes_back),
        cmocka_unit_test(plugins_that_say_nonsense_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
