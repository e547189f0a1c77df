/* Votes during a stream: what voters have not cleared never leaves, however the stream comes in pieces and
 * however late they vote; what begins no match leaves at once; what is clear leaves as it came. */
#include "router/stream_gate.h"

#include "core/rand.h"
#include "core/text.h"
#include "core/word_search.h"
#include "proto/dialects/dialect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MINUTE_US = 60 * 1000 * 1000, CHANNELS = 8, QUESTIONS = 64, HELD_MAX = 64 * 1024 };

/* ---- a voter: looks for one word, in each channel by itself ---- */

struct listener {
    struct vote_channel id;
    word_scan_t *scan;          /* NULL: the place is free */
    struct vote_mask masks[32]; /* not voted yet */
    size_t n_masks;
};

struct voter {
    word_set_t *words;
    bool masks;
    bool has_found;
    struct listener channels[CHANNELS];
    struct dyn_buf questions[QUESTIONS]; /* not answered yet */
    size_t n_questions;
    struct listener *hearing;
};

static void
voter_begin(struct voter *voter, const char *word, bool masks)
{
    struct dyn_slice words[] = {dyn_slice_str(word)};
    struct word_options options = {.whole_words = false};
    *voter = (struct voter){.masks = masks, .words = word_set_new(words, 1, &options, NULL, NULL)};
    assert_non_null(voter->words);
}

static void
voter_end(struct voter *voter)
{
    for (size_t i = 0; i < CHANNELS; i++) {
        free(voter->channels[i].scan);
    }
    for (size_t i = 0; i < voter->n_questions; i++) {
        dyn_buf_fini(&voter->questions[i]);
    }
    word_set_free(&voter->words);
}

static struct listener *
listener_of(struct voter *voter, struct vote_channel id)
{
    for (size_t i = 0; i < CHANNELS; i++) {
        struct listener *channel = &voter->channels[i];
        if (channel->scan == NULL) {
            channel->id = id;
            channel->scan = word_scan_begin(voter->words, malloc(word_scan_size(voter->words)));
        }
        if (channel->id.choice == id.choice && channel->id.kind == id.kind && channel->id.tool == id.tool) {
            return channel;
        }
    }
    assert_true(false); /* too many channels */
    return &voter->channels[0];
}

static bool
hear_match(void *self, const struct word_match *match)
{
    struct voter *voter = self;
    struct listener *channel = voter->hearing;
    voter->has_found = true;
    if (voter->masks) {
        assert_true(channel->n_masks < DYN_ARRAY_LEN(channel->masks));
        channel->masks[channel->n_masks++] = (struct vote_mask){match->begin, match->end, DYN_SLICE("***")};
    }
    return voter->masks;
}

/* What is clear, and the masks in it. A mask that reaches beyond it waits, and what it covers with it. */
static struct vote_mark
mark_of(struct voter *voter, struct listener *channel)
{
    uint64_t clear = word_scan_clear(voter->words, channel->scan);
    size_t n = 0;
    while (n < channel->n_masks && channel->masks[n].to <= clear) {
        n++;
    }
    if (n < channel->n_masks && channel->masks[n].from < clear) {
        clear = channel->masks[n].from;
    }
    return (struct vote_mark){channel->id, clear, channel->masks, n};
}

static void
read_question(struct voter *voter, const struct vote_delta *deltas, size_t n, bool is_last)
{
    for (size_t i = 0; i < n; i++) {
        voter->hearing = listener_of(voter, deltas[i].channel);
        (void)word_scan_feed(voter->words, voter->hearing->scan, deltas[i].text, hear_match, voter);
    }
    for (size_t i = 0; i < CHANNELS && voter->channels[i].scan != NULL && is_last; i++) {
        voter->hearing = &voter->channels[i];
        (void)word_scan_end(voter->words, voter->channels[i].scan, hear_match, voter);
    }
}

/* Answers the oldest question. */
static void
voter_votes(struct voter *voter, stream_gate_t *gate, size_t number, uint64_t now_us)
{
    struct arena arena;
    struct vote_delta *deltas;
    struct vote_mark marks[CHANNELS];
    size_t n;
    size_t n_marks = 0;
    bool is_last;
    struct dyn_err err;
    arena_init(&arena, NULL, 0);
    assert_true(voter->n_questions > 0);
    assert_int_equal(
        vote_deltas_decode(dyn_buf_slice(&voter->questions[0]), &arena, &deltas, &n, &is_last, &err), 0);
    read_question(voter, deltas, n, is_last);
    for (; n_marks < CHANNELS && voter->channels[n_marks].scan != NULL; n_marks++) {
        marks[n_marks] = mark_of(voter, &voter->channels[n_marks]);
    }
    bool cuts = voter->has_found && !voter->masks;
    if (stream_gate_vote(gate, number, marks, cuts ? 0 : n_marks, cuts, now_us, &err) != 0) {
        fail_msg("%s", err.text);
    }
    for (size_t i = 0; i < n_marks; i++) {
        struct listener *channel = &voter->channels[i];
        channel->n_masks -= marks[i].n_masks;
        memmove(channel->masks, channel->masks + marks[i].n_masks,
                channel->n_masks * sizeof channel->masks[0]);
    }
    arena_fini(&arena);
    dyn_buf_fini(&voter->questions[0]);
    memmove(voter->questions, voter->questions + 1, --voter->n_questions * sizeof voter->questions[0]);
}

/* ---- a gate with its voters, and what a reader makes of what leaves ---- */

struct reader_channel {
    bool is_used;
    struct vote_channel id;
    struct dyn_buf text;
};

struct scene {
    stream_gate_t *gate;
    struct voter voters[2];
    size_t n_voters;
    struct dyn_buf out;
    uint64_t now_us;
};

static void
scene_begin(struct scene *scene, size_t n_voters, const char *word, bool masks)
{
    struct stream_gate_voter rows[2] = {{MINUTE_US, false}, {MINUTE_US, false}};
    struct stream_gate_options options = {
        .texts = dialect_openai_chat.texts, .voters = rows, .n_voters = n_voters, .held_max = HELD_MAX};
    *scene = (struct scene){.n_voters = n_voters, .now_us = 1};
    scene->gate = stream_gate_new(&options);
    for (size_t i = 0; i < n_voters; i++) {
        voter_begin(&scene->voters[i], i == 0 ? word : "no such word", i == 0 ? masks : false);
    }
}

static void
scene_end(struct scene *scene)
{
    for (size_t i = 0; i < scene->n_voters; i++) {
        voter_end(&scene->voters[i]);
    }
    stream_gate_free(&scene->gate);
    dyn_buf_fini(&scene->out);
}

static void
collect(struct scene *scene)
{
    for (dyn_block_t *block; (block = stream_gate_take(scene->gate, 1000)) != NULL;) {
        dyn_buf_add_slice(&scene->out, dyn_block_slice(block));
        dyn_block_unref(&block);
    }
}

static void
ask_all(struct scene *scene)
{
    struct dyn_buf body = DYN_BUF_INIT;
    if (stream_gate_take_ask(scene->gate, scene->now_us, &body)) {
        for (size_t i = 0; i < scene->n_voters; i++) {
            struct voter *voter = &scene->voters[i];
            if (stream_gate_is_asked(scene->gate, i)) {
                assert_true(voter->n_questions < QUESTIONS);
                voter->questions[voter->n_questions] = (struct dyn_buf)DYN_BUF_INIT;
                dyn_buf_add_slice(&voter->questions[voter->n_questions++], dyn_buf_slice(&body));
            }
        }
    }
    dyn_buf_fini(&body);
}

static void
feed(struct scene *scene, struct dyn_slice bytes)
{
    stream_gate_feed(scene->gate, bytes);
    ask_all(scene);
    collect(scene);
}

static void
feed_str(struct scene *scene, const char *bytes)
{
    feed(scene, dyn_slice_str(bytes));
}

static void
vote_one(struct scene *scene, size_t number)
{
    voter_votes(&scene->voters[number], scene->gate, number, scene->now_us);
    collect(scene);
}

static void
vote_all(struct scene *scene)
{
    for (size_t i = 0; i < scene->n_voters; i++) {
        while (scene->voters[i].n_questions > 0 && stream_gate_is_asked(scene->gate, i)) {
            vote_one(scene, i);
        }
    }
}

static const char *
left(struct scene *scene)
{
    static struct dyn_buf copy;
    dyn_buf_clear(&copy);
    dyn_buf_add_slice(&copy, dyn_buf_slice(&scene->out));
    dyn_buf_clear(&scene->out);
    return dyn_buf_cstr(&copy);
}

/* Puts the text of each channel together as a client library does. */
static void
read_all(struct dyn_slice bytes, struct reader_channel *channels)
{
    struct sse_reader reader;
    struct sse_event event;
    struct dialect_texts_state reading = {0};
    uint16_t halves[CHANNELS] = {0};
    sse_reader_init(&reader, SSE_EVENT_MAX);
    while (sse_reader_next(&reader, &bytes, &event) == 1) {
        struct dialect_event_texts seen;
        assert_int_equal(dialect_openai_chat.texts->event(&reading, &event, &seen), 0);
        for (size_t i = 0; i < seen.n; i++) {
            struct vote_channel id = seen.pieces[i].channel;
            size_t at = 0;
            while (at < CHANNELS && channels[at].is_used &&
                   (channels[at].id.choice != id.choice || channels[at].id.kind != id.kind ||
                    channels[at].id.tool != id.tool)) {
                at++;
            }
            assert_true(at < CHANNELS);
            channels[at].is_used = true;
            channels[at].id = id;
            (void)dialect_piece_decode(seen.pieces[i].value, &halves[at], &channels[at].text);
        }
    }
    assert_int_equal(sse_reader_rest(&reader).len, 0);
    sse_reader_fini(&reader);
    dyn_buf_fini(&reading.head);
}

/* ---- what is plain ---- */

#define TEXT_EVENT(choice, text)                                                                             \
    "data: {\"choices\":[{\"index\":" #choice ",\"delta\":{\"content\":\"" text "\"}}]}\n\n"
#define FINISH_EVENT(choice)                                                                                 \
    "data: {\"choices\":[{\"index\":" #choice ",\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
#define DONE_EVENT "data: [DONE]\n\n"

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
    stream_gate_close(scene.gate, DYN_SLICE("Sorry."));
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
    for (unsigned i = 0; i < 40 && stream_gate_state(scene.gate) == STREAM_GATE_OPEN; i++) {
        feed_str(&scene, TEXT_EVENT(0, "words and words"));
        assert_int_equal(stream_gate_vote(scene.gate, 0, NULL, 0, false, scene.now_us, &err), 0);
        if (stream_gate_state(scene.gate) == STREAM_GATE_OPEN) {
            vote_one(&scene, 1);
        }
        assert_true(stream_gate_held(scene.gate) <= 2000 + 200);
    }
    assert_int_equal(stream_gate_state(scene.gate), STREAM_GATE_FAILED);
    assert_int_equal(stream_gate_who(scene.gate), 0);
    assert_string_equal(stream_gate_why(scene.gate), "it let too much text wait");
    assert_string_equal(left(&scene), "");
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
a_voter_that_holds_at_the_end_has_failed(void **state)
{
    (void)state;
    struct dyn_err err;
    struct scene scene = scene_of_policy(true);
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

/* ---- any split ---- */

enum { SAID = 6, UNITS = 400 };

/* What one channel says, and where the forbidden phrase begins in it; -1: it is not there. */
struct said {
    struct vote_channel id;
    struct dyn_buf text;
    struct dyn_buf masked;
    ptrdiff_t forbidden;
    size_t at; /* bytes told so far, and whether the second half of a pair is next */
    bool is_half;
};

static const char phrase[] = "Bad\xF0\x9F\x98\x80 w\xC3\xB6rd";

static void
say(struct dyn_rng *rng, struct said *said, bool with_phrase)
{
    static const char *const pieces[] = {
        "b",  "ba", "bad", "BAD\xF0\x9F\x98\x80", "\xF0\x9F\x98\x80", " ", "w", "\xC3\xB6", "hello ", "\"",
        "\\", "\n", "x",   "\xE6\x9D\xB1"};
    size_t n = dyn_rng_below(rng, 12);
    size_t where = dyn_rng_below(rng, n + 1);
    said->forbidden = -1;
    for (size_t i = 0; i <= n; i++) {
        if (i == where && with_phrase) {
            said->forbidden = (ptrdiff_t)said->text.len;
            dyn_buf_add_str(&said->text, phrase);
            dyn_buf_add_str(&said->masked, "***");
        }
        const char *piece = pieces[dyn_rng_below(rng, DYN_ARRAY_LEN(pieces))];
        dyn_buf_add_str(&said->text, piece);
        dyn_buf_add_str(&said->masked, piece);
    }
}

static void
put_unit(struct dyn_buf *out, unsigned unit)
{
    dyn_buf_addf(out, unit & 1 ? "\\u%04x" : "\\u%04X", unit);
}

/* One more UTF-16 unit of it as JSON, escaped or not: false when all was told. */
static bool
tell_unit(struct dyn_rng *rng, struct said *said, struct dyn_buf *out)
{
    const char *at = said->text.data + said->at;
    const char *end = said->text.data + said->text.len;
    if (at == end) {
        return false;
    }
    size_t len = dyn_utf8_len(at, end);
    uint32_t scalar = dyn_utf8_scalar(at, len);
    if (said->is_half) {
        put_unit(out, 0xDC00 + ((scalar - 0x10000) & 0x3FF));
        said->is_half = false;
    } else if (scalar >= 0x10000 && dyn_rng_below(rng, 2) == 0) {
        put_unit(out, 0xD800 + ((scalar - 0x10000) >> 10));
        said->is_half = true;
        return true;
    } else if (scalar < 0x10000 && dyn_rng_below(rng, 3) == 0) {
        put_unit(out, scalar);
    } else if (scalar == '"' || scalar == '\\') {
        dyn_buf_addf(out, "\\%c", (char)scalar);
    } else if (scalar == '\n') {
        dyn_buf_add_str(out, "\\n");
    } else {
        dyn_buf_add(out, at, len);
    }
    said->at += len;
    return true;
}

static bool
write_piece(struct dyn_rng *rng, struct said *said, struct dyn_buf *out)
{
    struct dyn_buf text = DYN_BUF_INIT;
    size_t units = 1 + dyn_rng_below(rng, 6);
    bool has_any = false;
    for (size_t i = 0; i < units && tell_unit(rng, said, &text); i++) {
        has_any = true;
    }
    dyn_buf_addf(out, "data: {\"id\":\"c\",\"choices\":[{\"index\":%u,\"delta\":{", said->id.choice);
    if (said->id.kind == VOTE_TEXT_TOOL_ARGUMENTS) {
        dyn_buf_addf(out, "\"tool_calls\":[{\"index\":%u,\"function\":{\"arguments\":\"%s\"}}]",
                     said->id.tool, dyn_buf_cstr(&text));
    } else {
        dyn_buf_addf(out, "\"%s\":\"%s\"", said->id.kind == VOTE_TEXT ? "content" : "reasoning_content",
                     dyn_buf_cstr(&text));
    }
    dyn_buf_add_str(out, "}}]}\n\n");
    dyn_buf_fini(&text);
    return has_any;
}

static void
write_stream(struct dyn_rng *rng, struct said *said, size_t n, struct dyn_buf *out)
{
    for (size_t quiet = 0; quiet < n;) {
        size_t who = dyn_rng_below(rng, n);
        if (!write_piece(rng, &said[who], out)) {
            quiet = 0;
            for (size_t i = 0; i < n; i++) {
                quiet += said[i].at == said[i].text.len;
            }
        }
    }
    for (size_t i = 0; i < n; i++) {
        dyn_buf_addf(out, "data: {\"choices\":[{\"index\":%u,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
                     said[i].id.choice);
    }
    dyn_buf_add_str(out, DONE_EVENT);
}

static void
play(struct dyn_rng *rng, struct scene *scene, struct dyn_slice stream)
{
    while (stream.len > 0) {
        size_t len = 1 + dyn_rng_below(rng, dyn_rng_below(rng, 2) == 0 ? 8 : 300);
        len = len < stream.len ? len : stream.len;
        feed(scene, dyn_slice(stream.data, len));
        stream.data += len;
        stream.len -= len;
        scene->now_us += dyn_rng_below(rng, 2000000);
        for (size_t i = 0; i < scene->n_voters; i++) {
            bool is_late = dyn_rng_below(rng, 3) != 0 && scene->voters[i].n_questions < QUESTIONS - 2;
            while (!is_late && scene->voters[i].n_questions > 0 && stream_gate_is_asked(scene->gate, i)) {
                vote_one(scene, i);
                is_late = dyn_rng_below(rng, 4) == 0;
            }
        }
    }
    vote_all(scene);
}

static void
check_channel(const struct said *said, const struct reader_channel *channels, bool masks, bool is_cut)
{
    struct dyn_slice text = {"", 0};
    for (size_t i = 0; i < CHANNELS && channels[i].is_used; i++) {
        if (channels[i].id.choice == said->id.choice && channels[i].id.kind == said->id.kind &&
            channels[i].id.tool == said->id.tool) {
            text = dyn_buf_slice(&channels[i].text);
        }
    }
    if (masks) {
        assert_true(dyn_slice_eq(text, dyn_buf_slice(&said->masked)));
        return;
    }
    size_t most = said->forbidden >= 0 ? (size_t)said->forbidden : said->text.len;
    assert_true(text.len <= most); /* not one byte of the phrase */
    assert_true(is_cut || text.len == said->text.len);
    assert_memory_equal(text.data, said->text.data != NULL ? said->text.data : "", text.len);
}

/* Three choices, their thoughts and the arguments of two calls, told in any order, in pieces cut between the
 * halves of characters, in chunks cut at every byte; two voters that answer late. */
static void
a_forbidden_phrase_never_leaves_in_any_split(void **state)
{
    (void)state;
    enum { ROUNDS = 5000 };
    static const struct vote_channel ids[SAID] = {
        {0, VOTE_TEXT, 0}, {0, VOTE_TEXT_TOOL_ARGUMENTS, 0}, {0, VOTE_TEXT_TOOL_ARGUMENTS, 1},
        {1, VOTE_TEXT, 0}, {1, VOTE_TEXT_REASONING, 0},      {2, VOTE_TEXT, 0}};
    struct dyn_rng rng;
    unsigned cut = 0;
    dyn_rng_seed(&rng, 20261123);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct said said[SAID] = {0};
        struct reader_channel channels[CHANNELS] = {0};
        struct dyn_buf stream = DYN_BUF_INIT;
        struct scene scene;
        bool masks = round % 4 == 1;
        size_t n = 1 + dyn_rng_below(&rng, SAID);
        size_t forbidden = dyn_rng_below(&rng, 3) == 0 ? SAID : dyn_rng_below(&rng, n);
        for (size_t i = 0; i < n; i++) {
            said[i].id = ids[i];
            say(&rng, &said[i], i == forbidden);
        }
        write_stream(&rng, said, n, &stream);
        scene_begin(&scene, 1 + round % 2, phrase, masks);
        play(&rng, &scene, dyn_buf_slice(&stream));
        bool is_cut = stream_gate_state(scene.gate) == STREAM_GATE_CUT;
        assert_int_equal(is_cut, forbidden < n && !masks);
        assert_true(is_cut || stream_gate_state(scene.gate) == STREAM_GATE_OPEN);
        assert_true(stream_gate_is_drained(scene.gate));
        read_all(dyn_buf_slice(&scene.out), channels);
        for (size_t i = 0; i < n; i++) {
            check_channel(&said[i], channels, masks, is_cut);
        }
        cut += is_cut;
        for (size_t i = 0; i < CHANNELS; i++) {
            dyn_buf_fini(&channels[i].text);
        }
        for (size_t i = 0; i < n; i++) {
            dyn_buf_fini(&said[i].text);
            dyn_buf_fini(&said[i].masked);
        }
        dyn_buf_fini(&stream);
        scene_end(&scene);
    }
    assert_true(cut > ROUNDS / 4);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_that_begins_no_match_leaves_at_once_as_it_came),
        cmocka_unit_test(what_may_become_a_match_waits_and_others_overtake),
        cmocka_unit_test(a_cut_lets_nothing_more_leave),
        cmocka_unit_test(a_mask_covers_events_that_it_lies_across),
        cmocka_unit_test(log_probabilities_do_not_tell_what_is_held),
        cmocka_unit_test(text_leaves_when_all_have_cleared_it),
        cmocka_unit_test(a_silent_voter_fails_as_its_policy_says),
        cmocka_unit_test(pauses_between_pieces_are_not_silence),
        cmocka_unit_test(a_voter_that_holds_too_much_has_failed),
        cmocka_unit_test(votes_that_make_no_sense_change_nothing),
        cmocka_unit_test(a_voter_that_holds_at_the_end_has_failed),
        cmocka_unit_test(masks_of_two_that_overlap_become_one),
        cmocka_unit_test(an_event_that_cannot_be_read_ends_the_stream),
        cmocka_unit_test(a_stream_without_its_end_marker_ends),
        cmocka_unit_test(a_forbidden_phrase_never_leaves_in_any_split),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
