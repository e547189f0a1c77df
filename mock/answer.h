/* The bytes of one answer: an OpenAI chat completion, whole or as the events of a stream. It knows words,
 * tags and JSON; what is sent when, and what goes wrong on the way, is mock/call.c.
 *
 * Tokens of a request that has a number carry a tag, ~NUMBER.NONCE.SEQ.MICROSECONDS~: the number, the
 * nonce of this upstream call, the token's place from 0, and the monotonic time at which it was written. */
#pragma once

#include "core/arena.h"
#include "core/block.h"
#include "core/clock.h"
#include "mock/behaviour.h"
#include "mock/chat.h"

enum {
    MOCK_NONCE_DIGITS = 16,
    MOCK_CREATED = 1767225600, /* the same second in every answer, so that answers can be compared */
};

struct mock_answer {
    const struct mock_behaviour *behaviour;
    const struct mock_chat *chat;
    const struct dyn_clock *clock;
    struct dyn_slice text;          /* to be said instead of words; absent: words */
    const struct dyn_slice *events; /* data of a script's own events; NULL: chat completion chunks */
    uint32_t n_events;
    bool no_done; /* the script's events do not end with [DONE] */
    char nonce[MOCK_NONCE_DIGITS];

    /* The rest is made by mock_answer_prepare. */
    uint32_t tokens;   /* events that carry something */
    uint32_t think;    /* of which the first so many are reasoning */
    bool is_shortened; /* max_tokens was less than what there is to say */
    bool has_begun;    /* the event with the role is out */
    size_t text_at;    /* bytes of `text` that were said */
    struct dyn_slice line_end;
    struct dyn_slice data_field; /* "data: " */
    struct dyn_slice event_head; /* everything of an event before its delta */
    struct dyn_slice event_tail; /* and behind it, up to the end of the event */
    struct dyn_slice tag_head;   /* "~NUMBER.NONCE."; absent: no tags */
};

/* Uses memory that lives as long as the answer. */
void mock_answer_prepare(struct mock_answer *answer, struct arena *arena);
/* Place of what happens in the middle. */
uint32_t mock_answer_middle(const struct mock_answer *answer);

/* One event of a stream, places 0 .. tokens - 1 in order; behind the last one the end. They append. */
void mock_answer_add_event(struct mock_answer *answer, uint32_t place, dyn_block_t **out);
void mock_answer_add_end(struct mock_answer *answer, dyn_block_t **out);
void mock_answer_add_error_event(struct mock_answer *answer, dyn_block_t **out);
void mock_answer_add_garbage_event(struct mock_answer *answer, dyn_block_t **out);
/* The whole answer as one JSON text. */
void mock_answer_add_plain(struct mock_answer *answer, dyn_block_t **out);

/* ---- for both languages ---- */

static inline void
mock_put(dyn_block_t **out, struct dyn_slice bytes)
{
    dyn_block_append(out, bytes.data, bytes.len);
}

static inline void
mock_put_text(dyn_block_t **out, const char *text)
{
    dyn_block_append(out, text, strlen(text));
}

/* The comment in front of an event, when comments are asked for. */
void mock_answer_add_comment(const struct mock_answer *answer, dyn_block_t **out);
/* Why the answer ends; tools are MOCK_FINISH_STOP too. */
enum mock_finish mock_answer_finish(const struct mock_answer *answer);
/* The inside of a JSON string: what the tokens from that place up to another say. In order. */
void mock_answer_add_tokens(struct mock_answer *answer, uint32_t from, uint32_t to, dyn_block_t **out);
void mock_answer_add_token(struct mock_answer *answer, uint32_t place, dyn_block_t **out);
/* A tool call is opened, and its arguments come in two pieces. */
enum { MOCK_EVENTS_PER_TOOL = 3 };
extern const char *const mock_tool_arguments[MOCK_EVENTS_PER_TOOL - 1];

/* {"error":{..}} as the OpenAI API words it for that status. `param` may be NULL. */
void mock_add_error(dyn_block_t **out, unsigned status, const char *message, const char *param);
