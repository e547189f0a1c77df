/* A gate with voters that look for a word each and answer when they are told to, and what a client library
 * makes of what leaves. */
#pragma once

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

enum {
    MINUTE_US = 60 * 1000 * 1000,
    CHANNELS = 8,
    QUESTIONS = 64,
    HELD_MAX = 2000 /* little, so that much has to become its text */
};

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

static DYN_UNUSED void
voter_begin(struct voter *voter, const char *word, bool masks)
{
    struct dyn_slice words[] = {dyn_slice_str(word)};
    struct word_options options = {.whole_words = false};
    *voter = (struct voter){.masks = masks, .words = word_set_new(words, 1, &options, NULL, NULL)};
    assert_non_null(voter->words);
}

static DYN_UNUSED void
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

static DYN_UNUSED struct listener *
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

static DYN_UNUSED bool
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
static DYN_UNUSED struct vote_mark
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

static DYN_UNUSED void
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

static DYN_UNUSED void
drop_question(struct voter *voter)
{
    assert_true(voter->n_questions > 0);
    dyn_buf_fini(&voter->questions[0]);
    memmove(voter->questions, voter->questions + 1, --voter->n_questions * sizeof voter->questions[0]);
}

/* Answers the oldest question. */
static DYN_UNUSED void
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
    drop_question(voter);
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

static DYN_UNUSED void
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

static DYN_UNUSED void
scene_end(struct scene *scene)
{
    for (size_t i = 0; i < scene->n_voters; i++) {
        voter_end(&scene->voters[i]);
    }
    stream_gate_free(&scene->gate);
    dyn_buf_fini(&scene->out);
}

static DYN_UNUSED void
collect(struct scene *scene)
{
    for (dyn_block_t *block; (block = stream_gate_take(scene->gate, 1000)) != NULL;) {
        dyn_buf_add_slice(&scene->out, dyn_block_slice(block));
        dyn_block_unref(&block);
    }
}

static DYN_UNUSED void
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

static DYN_UNUSED void
feed(struct scene *scene, struct dyn_slice bytes)
{
    stream_gate_feed(scene->gate, bytes);
    ask_all(scene);
    collect(scene);
}

static DYN_UNUSED void
feed_str(struct scene *scene, const char *bytes)
{
    feed(scene, dyn_slice_str(bytes));
}

static DYN_UNUSED void
vote_one(struct scene *scene, size_t number)
{
    voter_votes(&scene->voters[number], scene->gate, number, scene->now_us);
    ask_all(scene);
    collect(scene);
}

static DYN_UNUSED void
vote_all(struct scene *scene)
{
    for (size_t i = 0; i < scene->n_voters;) {
        bool votes = scene->voters[i].n_questions > 0 && stream_gate_is_asked(scene->gate, i);
        if (votes) {
            vote_one(scene, i);
        }
        i = votes ? 0 : i + 1; /* a vote may bring the next question to all */
    }
}

static DYN_UNUSED const char *
left(struct scene *scene)
{
    static struct dyn_buf copy;
    dyn_buf_clear(&copy);
    dyn_buf_add_slice(&copy, dyn_buf_slice(&scene->out));
    dyn_buf_clear(&scene->out);
    return dyn_buf_cstr(&copy);
}

/* Puts the text of each channel together as a client library does. */
static DYN_UNUSED void
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
    dialect_texts_state_fini(&reading);
}

#define TEXT_EVENT(choice, text)                                                                             \
    "data: {\"choices\":[{\"index\":" #choice ",\"delta\":{\"content\":\"" text "\"}}]}\n\n"
#define FINISH_EVENT(choice)                                                                                 \
    "data: {\"choices\":[{\"index\":" #choice ",\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
#define DONE_EVENT "data: [DONE]\n\n"
