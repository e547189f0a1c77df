/* Votes during a stream: what voters have not cleared never leaves, however the stream comes in pieces and
 * however late they vote; what begins no match leaves at once; what is clear leaves as it came. */
#include "tests/unit/router/gate_scene.h"

/* ---- what is plain ---- */

static void
text_that_begins_no_match_leaves_at_once_as_it_came(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene, 1, "bomb", false);
    feed_str(&scene,
             "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n");
    assert_true(strlen(left(&scene)) > 0); /* no text, nobody to ask */
    feed_str(&scene, TEXT_EVENT(0, "h\\u0065llo") "da");
    assert_string_equal(left(&scene), "");
    vote_all(&scene);
    assert_string_equal(left(&scene), TEXT_EVENT(0, "h\\u0065llo"));
    assert_int_equal(stream_gate_partial(scene.gate), 2);
    feed_str(&scene, "ta: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\" you\"}}]}\n\n: wake up\n\n");
    vote_all(&scene);
    assert_string_equal(left(&scene), TEXT_EVENT(0, " you"));
    feed_str(&scene, FINISH_EVENT(0) "data: {\"choices\":[],\"usage\":{}}\n\n" DONE_EVENT);
    assert_string_equal(left(&scene), FINISH_EVENT(0) "data: {\"choices\":[],\"usage\":{}}\n\n" DONE_EVENT);
    assert_true(stream_gate_is_drained(scene.gate));
    scene_end(&scene);
}

static void
what_may_become_a_match_waits_and_others_overtake(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene, 1, "bomb", false);
    feed_str(&scene, TEXT_EVENT(0, "a bo") TEXT_EVENT(1, "other") FINISH_EVENT(1) FINISH_EVENT(0));
    vote_all(&scene);
    assert_string_equal(left(&scene), TEXT_EVENT(0, "a ") TEXT_EVENT(1, "other") FINISH_EVENT(1));
    assert_true(stream_gate_held(scene.gate) > 0);
    feed_str(&scene, DONE_EVENT);
    assert_string_equal(left(&scene), "");
    vote_all(&scene);
    assert_string_equal(left(&scene), "data: "
                                      "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"bo\"},\"finish_"
                                      "reason\":null}]}\n\n" FINISH_EVENT(0) DONE_EVENT);
    assert_true(stream_gate_is_drained(scene.gate));
    assert_int_equal(stream_gate_held(scene.gate), 0);
    scene_end(&scene);
}

/* Before anybody has voted: what holds no text of its own, and stands behind none. */
static void
what_has_no_text_needs_no_vote(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene, 1, "bomb", false);
    feed_str(&scene, TEXT_EVENT(0, "a") FINISH_EVENT(1) FINISH_EVENT(0));
    assert_string_equal(left(&scene), FINISH_EVENT(1));
    feed_str(&scene, TEXT_EVENT(2, "c"));
    assert_string_equal(left(&scene), "");
    feed_str(&scene, FINISH_EVENT(3));
    assert_string_equal(left(&scene), FINISH_EVENT(3));
    vote_all(&scene);
    assert_string_equal(left(&scene), TEXT_EVENT(0, "a") FINISH_EVENT(0) TEXT_EVENT(2, "c"));
    scene_end(&scene);
}

static void
a_cut_lets_nothing_more_leave(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene, 1, "bomb", false);
    feed_str(&scene, TEXT_EVENT(0, "a bo"));
    vote_all(&scene);
    feed_str(&scene, TEXT_EVENT(0, "mb!") TEXT_EVENT(1, "more"));
    vote_all(&scene);
    assert_string_equal(left(&scene), TEXT_EVENT(0, "a "));
    assert_int_equal(stream_gate_state(scene.gate), STREAM_GATE_CUT);
    assert_int_equal(stream_gate_who(scene.gate), 0);
    assert_true(stream_gate_close(scene.gate, DYN_SLICE("Sorry.")));
    collect(&scene);
    assert_string_equal(left(&scene), "data: "
                                      "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Sorry.\"},"
                                      "\"finish_reason\":\"content_filter\"}]}\n\n"
                                      "data: "
                                      "{\"choices\":[{\"index\":1,\"delta\":{\"content\":\"Sorry.\"},"
                                      "\"finish_reason\":\"content_filter\"}]}\n\n" DONE_EVENT);
    feed_str(&scene, TEXT_EVENT(0, "late"));
    assert_string_equal(left(&scene), "");
    assert_true(stream_gate_is_drained(scene.gate));
    scene_end(&scene);
}

static void
a_mask_covers_events_that_it_lies_across(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene, 1, "bomb", true);
    feed_str(&scene, TEXT_EVENT(0, "a bo") TEXT_EVENT(0, "mb and"));
    vote_all(&scene);
    assert_string_equal(left(&scene), TEXT_EVENT(0, "a ***") TEXT_EVENT(0, " and"));
    scene_end(&scene);
}

/* The event's other members go with its first part, and what repeats the text in other forms goes nowhere. */
static void
log_probabilities_do_not_tell_what_is_held(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene, 1, "bomb", false);
    feed_str(&scene, "data: {\"id\":\"c1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x "
                     "bom\"},\"logprobs\":{\"content\":"
                     "[{\"token\":\"x bom\"}]}}]}\n\n");
    vote_all(&scene);
    assert_string_equal(left(&scene),
                        "data: {\"id\":\"c1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x "
                        "\"},\"logprobs\":null}]}\n\n");
    feed_str(&scene, DONE_EVENT);
    vote_all(&scene);
    assert_string_equal(left(&scene), "data: "
                                      "{\"id\":\"c1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":"
                                      "\"bom\"},\"finish_reason\":null}]}\n\n" DONE_EVENT);
    scene_end(&scene);
}

static void
text_leaves_when_all_have_cleared_it(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene, 2, "bomb", false);
    feed_str(&scene, TEXT_EVENT(0, "fine"));
    vote_one(&scene, 0);
    assert_string_equal(left(&scene), "");
    vote_one(&scene, 1);
    assert_string_equal(left(&scene), TEXT_EVENT(0, "fine"));
    scene_end(&scene);
}

/* ---- voters that do not do as they should ---- */

static struct scene
scene_of_policy(bool fails_open)
{
    struct stream_gate_voter rows[2] = {{500000, fails_open}, {MINUTE_US, false}};
    struct stream_gate_options options = {
        .texts = dialect_openai_chat.texts, .voters = rows, .n_voters = 2, .held_max = 2000};
    struct scene scene = {.n_voters = 2, .now_us = 1000};
    scene.gate = stream_gate_new(&options);
    voter_begin(&scene.voters[0], "bomb", false);
    voter_begin(&scene.voters[1], "zzz", false);
    return scene;
}

static void
a_silent_voter_fails_as_its_policy_says(void **state)
{
    (void)state;
    struct scene scene = scene_of_policy(true);
    feed_str(&scene, TEXT_EVENT(0, "a bo"));
    assert_int_equal(stream_gate_due_us(scene.gate), 501000);
    vote_one(&scene, 1);
    assert_int_equal(stream_gate_overdue(scene.gate, 500999), STREAM_GATE_VOTERS_MAX);
    assert_int_equal(stream_gate_overdue(scene.gate, 501000), 0);
    stream_gate_fail(scene.gate, 0);
    collect(&scene);
    assert_string_equal(left(&scene), TEXT_EVENT(0, "a bo"));
    assert_int_equal(stream_gate_due_us(scene.gate), 0);
    assert_false(stream_gate_is_asked(scene.gate, 0));
    feed_str(&scene, TEXT_EVENT(0, "mb") DONE_EVENT); /* the other one still votes */
    assert_string_equal(left(&scene), "");
    vote_all(&scene);
    assert_string_equal(left(&scene), TEXT_EVENT(0, "mb") DONE_EVENT);
    scene_end(&scene);

    scene = scene_of_policy(false);
    feed_str(&scene, TEXT_EVENT(0, "a bo"));
    stream_gate_fail(scene.gate, 0);
    collect(&scene);
    assert_string_equal(left(&scene), "");
    assert_int_equal(stream_gate_state(scene.gate), STREAM_GATE_FAILED);
    assert_true(stream_gate_is_drained(scene.gate));
    scene_end(&scene);
}

/* A voter that has answered is not silent, however long it holds back: pauses do not count. */
static void
pauses_between_pieces_are_not_silence(void **state)
{
    (void)state;
    struct scene scene = scene_of_policy(false);
    feed_str(&scene, TEXT_EVENT(0, "a bo"));
    vote_all(&scene);
    assert_int_equal(stream_gate_due_us(scene.gate), 0);
    scene.now_us += 10 * (uint64_t)MINUTE_US;
    feed_str(&scene, TEXT_EVENT(0, "mb"));
    vote_all(&scene);
    assert_string_equal(left(&scene), TEXT_EVENT(0, "a "));
    assert_int_equal(stream_gate_state(scene.gate), STREAM_GATE_CUT);
    scene_end(&scene);
}

static void
a_voter_that_holds_too_much_has_failed(void **state)
{
    (void)state;
    struct dyn_err err;
    struct scene scene = scene_of_policy(false);
    for (unsigned i = 0; i < 200 && stream_gate_state(scene.gate) == STREAM_GATE_OPEN; i++) {
        feed_str(&scene, TEXT_EVENT(0, "words and words"));
        vote_one(&scene, 1);
        assert_int_equal(stream_gate_vote(scene.gate, 0, NULL, 0, false, scene.now_us, &err), 0);
        drop_question(&scene.voters[0]);
        assert_true(stream_gate_held(scene.gate) <= 2000 + 200);
    }
    assert_int_equal(stream_gate_state(scene.gate), STREAM_GATE_FAILED);
    assert_int_equal(stream_gate_who(scene.gate), 0);
    assert_string_equal(stream_gate_why(scene.gate), "it let too much text wait");
    assert_string_equal(left(&scene), "");
    scene_end(&scene);
}

/* Text is what counts: a voter that waits for much of it sees it in events of hundreds of bytes. */
static void
many_small_events_that_wait_become_their_text(void **state)
{
    (void)state;
    struct dyn_err err;
    struct vote_channel content = {0, VOTE_TEXT, 0};
    struct scene scene = scene_of_policy(false);
    struct reader_channel channels[CHANNELS] = {0};
    feed_str(
        &scene,
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"abcd\"}}]}\n\n");
    for (unsigned i = 0; i < 300; i++) {
        feed_str(&scene, TEXT_EVENT(0, "abcd"));
        assert_int_equal(stream_gate_vote(scene.gate, 0, NULL, 0, false, 1, &err), 0);
        drop_question(&scene.voters[0]);
        vote_one(&scene, 1);
        assert_true(stream_gate_held(scene.gate) < 2000);
    }
    feed_str(&scene, FINISH_EVENT(0) DONE_EVENT);
    struct vote_mark all = {content, 301 * 4, NULL, 0};
    assert_int_equal(stream_gate_vote(scene.gate, 0, &all, 1, false, 1, &err), 0);
    vote_one(&scene, 1);
    collect(&scene);
    read_all(dyn_buf_slice(&scene.out), channels);
    assert_int_equal(channels[0].text.len, 301 * 4);
    assert_memory_equal(channels[0].text.data, "abcdabcd", 8);
    assert_true(stream_gate_is_drained(scene.gate));
    assert_non_null(strstr(dyn_buf_cstr(&scene.out), "\"role\":\"assistant\""));
    dyn_buf_fini(&channels[0].text);
    scene_end(&scene);
}

static void
votes_that_make_no_sense_change_nothing(void **state)
{
    (void)state;
    struct dyn_err err;
    struct vote_channel content = {0, VOTE_TEXT, 0};
    struct vote_mask masks[] = {{1, 3, DYN_SLICE("*")}, {2, 4, DYN_SLICE("*")}};
    struct vote_mask half = {4, 5, DYN_SLICE("*")};
    struct vote_mask empty = {2, 2, DYN_SLICE("*")};
    const struct vote_mark wrong[] = {
        {content, 8, NULL, 0},           /* there are 7 */
        {{1, VOTE_TEXT, 0}, 1, NULL, 0}, /* another choice */
        {content, 5, masks, 2},          /* overlapping */
        {content, 2, masks, 1},          /* beyond */
        {content, 7, &half, 1},          /* within a character */
        {content, 7, &empty, 1},
    };
    struct scene scene = scene_of_policy(false);
    assert_int_not_equal(stream_gate_vote(scene.gate, 0, NULL, 0, false, 1, &err), 0);
    feed_str(&scene, TEXT_EVENT(0, "abcd\xC3\xA9"
                                   "f"));
    vote_one(&scene, 1);
    for (size_t i = 0; i < DYN_ARRAY_LEN(wrong); i++) {
        assert_int_not_equal(stream_gate_vote(scene.gate, 0, &wrong[i], 1, false, 1, &err), 0);
    }
    struct vote_mark twice[] = {{content, 1, NULL, 0}, {content, 2, NULL, 0}};
    assert_int_not_equal(stream_gate_vote(scene.gate, 0, twice, 2, false, 1, &err), 0);
    collect(&scene);
    assert_string_equal(left(&scene), "");
    struct vote_mark half_clear = {content, 5, NULL, 0}; /* goes back to where the character begins */
    assert_int_equal(stream_gate_vote(scene.gate, 0, &half_clear, 1, false, 1, &err), 0);
    collect(&scene);
    assert_string_equal(left(&scene), TEXT_EVENT(0, "abcd"));
    scene_end(&scene);
}

static void
what_is_not_cleared_at_the_end_counts_as_clear(void **state)
{
    (void)state;
    struct dyn_err err;
    struct scene scene = scene_of_policy(false);
    feed_str(&scene, TEXT_EVENT(0, "ab") DONE_EVENT);
    vote_one(&scene, 1);
    assert_int_equal(stream_gate_vote(scene.gate, 0, NULL, 0, false, 1, &err), 0);
    collect(&scene);
    assert_string_equal(left(&scene), TEXT_EVENT(0, "ab") DONE_EVENT);
    scene_end(&scene);
}

static void
masks_of_two_that_overlap_become_one(void **state)
{
    (void)state;
    for (size_t first = 0; first < 2; first++) {
        struct dyn_err err;
        struct vote_channel content = {0, VOTE_TEXT, 0};
        struct vote_mask a = {2, 5, DYN_SLICE("[a]")};
        struct vote_mask b = {4, 7, DYN_SLICE("[b]")};
        struct vote_mark marks[] = {{content, 9, &a, 1}, {content, 9, &b, 1}};
        struct scene scene = scene_of_policy(false);
        feed_str(&scene, TEXT_EVENT(0, "012345678"));
        assert_int_equal(stream_gate_vote(scene.gate, first, &marks[first], 1, false, 1, &err), 0);
        assert_int_equal(stream_gate_vote(scene.gate, 1 - first, &marks[1 - first], 1, false, 1, &err), 0);
        collect(&scene);
        assert_string_equal(left(&scene), TEXT_EVENT(0, "01[a]78"));
        scene_end(&scene);
    }
}

static void
an_event_that_cannot_be_read_ends_the_stream(void **state)
{
    (void)state;
    struct scene scene = scene_of_policy(false);
    feed_str(&scene, TEXT_EVENT(0, "ab") "data: {\"choices\":[{\"delta\":{\"content\":\"bomb\"\n\n");
    assert_int_equal(stream_gate_state(scene.gate), STREAM_GATE_UNREADABLE);
    collect(&scene);
    assert_string_equal(left(&scene), "");
    scene_end(&scene);
}

/* 4 bytes are held, and behind them comes what has no text: the voter is not to blame, and nothing stands
 * still. */
static void
events_behind_a_little_text_are_bounded(void **state)
{
    static const char silent[] =
        "data: {\"choices\":[],\"padding\":\"0123456789012345678901234567890123456789\"}\n\n";
    (void)state;
    for (unsigned is_open = 0; is_open < 2; is_open++) {
        struct scene scene = scene_of_policy(is_open);
        feed_str(&scene, TEXT_EVENT(0, "xbom"));
        vote_all(&scene);
        for (unsigned i = 0; i < 100 && stream_gate_state(scene.gate) == STREAM_GATE_OPEN; i++) {
            feed_str(&scene, silent);
            vote_all(&scene);
            assert_true(stream_gate_held(scene.gate) <= 2000 + sizeof silent);
        }
        assert_int_equal(stream_gate_state(scene.gate), is_open ? STREAM_GATE_OPEN : STREAM_GATE_UNREADABLE);
        scene_end(&scene);
    }
}

/* Nothing is no piece, however often it comes. */
static void
events_of_no_text_are_bounded(void **state)
{
    (void)state;
    struct scene scene = scene_of_policy(false);
    feed_str(&scene, TEXT_EVENT(0, "bom"));
    feed_str(&scene, TEXT_EVENT(1, "bom"));
    vote_all(&scene);
    for (unsigned i = 0; i < 2000; i++) {
        feed_str(&scene, i % 2 == 0 ? TEXT_EVENT(0, "") : TEXT_EVENT(1, ""));
        assert_true(stream_gate_held(scene.gate) < 2000);
    }
    assert_int_equal(stream_gate_state(scene.gate), STREAM_GATE_OPEN);
    feed_str(&scene, TEXT_EVENT(0, "e") TEXT_EVENT(1, "e") DONE_EVENT);
    vote_all(&scene);
    assert_non_null(strstr(left(&scene), DONE_EVENT));
    scene_end(&scene);
}

/* Of a language without streams: who has to look is not passed by, who need not look is not in the way. */
static void
a_stream_in_a_language_without_streams_cannot_be_read(void **state)
{
    const struct dialect_texts *languages[] = {NULL, dialect_anthropic_messages.texts,
                                               dialect_openai_embeddings.texts};
    (void)state;
    for (size_t i = 0; i < 2 * DYN_ARRAY_LEN(languages); i++) {
        bool is_left_out = i % 2 == 1;
        struct stream_gate_voter row = {MINUTE_US, false};
        struct stream_gate_options options = {
            .texts = languages[i / 2], .voters = &row, .n_voters = 1, .held_max = 2000};
        stream_gate_t *gate = stream_gate_new(&options);
        if (is_left_out) {
            stream_gate_leave_out(gate, 0);
        }
        stream_gate_feed(gate, DYN_SLICE(TEXT_EVENT(0, "ab")));
        assert_int_equal(stream_gate_state(gate), is_left_out ? STREAM_GATE_OPEN : STREAM_GATE_UNREADABLE);
        assert_int_equal(stream_gate_ready(gate), is_left_out ? strlen(TEXT_EVENT(0, "ab")) : 0);
        assert_false(stream_gate_close(gate, DYN_SLICE("Sorry.")));
        stream_gate_free(&gate);
    }
}

static void
a_stream_without_its_end_marker_ends(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene, 1, "bomb", false);
    feed_str(&scene, TEXT_EVENT(0, "a bo"));
    vote_all(&scene);
    stream_gate_end(scene.gate);
    ask_all(&scene);
    assert_false(stream_gate_is_drained(scene.gate));
    vote_all(&scene);
    assert_true(stream_gate_is_drained(scene.gate));
    scene_end(&scene);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_that_begins_no_match_leaves_at_once_as_it_came),
        cmocka_unit_test(what_may_become_a_match_waits_and_others_overtake),
        cmocka_unit_test(what_has_no_text_needs_no_vote),
        cmocka_unit_test(a_cut_lets_nothing_more_leave),
        cmocka_unit_test(a_mask_covers_events_that_it_lies_across),
        cmocka_unit_test(log_probabilities_do_not_tell_what_is_held),
        cmocka_unit_test(text_leaves_when_all_have_cleared_it),
        cmocka_unit_test(a_silent_voter_fails_as_its_policy_says),
        cmocka_unit_test(pauses_between_pieces_are_not_silence),
        cmocka_unit_test(a_voter_that_holds_too_much_has_failed),
        cmocka_unit_test(many_small_events_that_wait_become_their_text),
        cmocka_unit_test(votes_that_make_no_sense_change_nothing),
        cmocka_unit_test(what_is_not_cleared_at_the_end_counts_as_clear),
        cmocka_unit_test(masks_of_two_that_overlap_become_one),
        cmocka_unit_test(an_event_that_cannot_be_read_ends_the_stream),
        cmocka_unit_test(events_behind_a_little_text_are_bounded),
        cmocka_unit_test(events_of_no_text_are_bounded),
        cmocka_unit_test(a_stream_in_a_language_without_streams_cannot_be_read),
        cmocka_unit_test(a_stream_without_its_end_marker_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
