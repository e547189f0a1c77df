/* Votes during a stream: bytes of the stream go in as they come, text goes to the voters, and what all of
 * them have cleared comes out. Pure: it knows no envelope, no plugin and no clock but the one it is given.
 *
 * Hold-back is measured in text. What a voter has not cleared stays, and with it whatever must not overtake
 * it: events of other choices, and other channels of the same choice, may. An event of which a part is clear
 * goes with that part, the rest follows as an event of its own. What ends a choice waits for all text of it;
 * what is about the whole answer waits for everything before it.
 *
 * A channel's text is what a reader puts together: JSON escapes are decoded, halves of surrogate pairs that
 * came in two events are joined. An event leaves byte for byte as it came unless it was split or masked, or
 * held half a character.
 *
 * All voters are asked the same, at the same time; text leaves when the last of them has cleared it. Where
 * masks of two overlap they become one, with the text of the one that stands first in the configuration. */
#pragma once

#include "core/block.h"
#include "proto/dialects/texts.h"

typedef struct stream_gate stream_gate_t;

enum {
    STREAM_GATE_VOTERS_MAX = 32,
    STREAM_GATE_CHANNELS_MAX = 256, /* of one stream; more cannot be held apart within bounds */
    STREAM_GATE_MASKS_MAX = 4096,   /* of one channel that are still needed */
};

struct stream_gate_voter {
    uint64_t timeout_us; /* to answer one question */
    bool fails_open;     /* a voter that fails is asked no more; else it ends the stream */
};

struct stream_gate_options {
    const struct dialect_texts *texts; /* NULL, or without `event`: no event can be read */
    const struct stream_gate_voter *voters; /* in the order of the configuration */
    size_t n_voters;
    size_t held_max; /* bytes of the stream; a voter that lets more wait has failed */
};

enum stream_gate_state {
    STREAM_GATE_OPEN,
    STREAM_GATE_CUT,        /* a voter said so */
    STREAM_GATE_FAILED,     /* a voter failed that must not */
    STREAM_GATE_UNREADABLE, /* an event that nobody can look into */
};

stream_gate_t *stream_gate_new(const struct stream_gate_options *options);
void stream_gate_free(stream_gate_t **gate_p);

/* Bytes of the stream, in any pieces. Nothing any more once it is not open. */
void stream_gate_feed(stream_gate_t *gate, struct dyn_slice bytes);
/* The stream is over: the last question follows, if there is anything left to ask. */
void stream_gate_end(stream_gate_t *gate);
bool stream_gate_has_ended(const stream_gate_t *gate); /* so, or by its end marker */

/* Whether there is something to ask: the body of an ASK (vote.h), the same for all voters that are asked
 * still. Each of them owes one vote for it; the next question comes when all have voted or failed, with all
 * the text of the meantime. */
bool stream_gate_take_ask(stream_gate_t *gate, uint64_t now_us, struct dyn_buf *body);
/* The same before it is packed: the texts lie in the gate, until it is voted on or fed. */
bool stream_gate_take_deltas(stream_gate_t *gate, uint64_t now_us,
                             struct vote_delta items[STREAM_GATE_CHANNELS_MAX], struct vote_deltas *deltas);
bool stream_gate_is_asked(const stream_gate_t *gate, size_t voter);
/* Another one takes the place of the voter, which was asked before: the body of an ASK with all that is not
 * decided. It owes the vote for that, in the time that is left when one was owed already. */
void stream_gate_hand_over(stream_gate_t *gate, size_t voter, uint64_t now_us, struct dyn_buf *body);

/* A vote of the voter. -1 with a sentence when it makes no sense; nothing has changed then, and the voter has
 * to be failed. Pass and cut both come with marks. Who lets the last question pass has cleared all. */
DYN_MUST_CHECK int stream_gate_vote(stream_gate_t *gate, size_t voter, const struct vote_mark *marks,
                                    size_t n_marks, bool cuts, uint64_t now_us, struct dyn_err *err);
/* It is gone, silent, or says what makes no sense. */
void stream_gate_fail(stream_gate_t *gate, size_t voter);
/* It is gone and need not be there: it is asked no more. */
void stream_gate_leave_out(stream_gate_t *gate, size_t voter);
/* When the first of the voters that owe a vote will have failed; 0: none does. */
uint64_t stream_gate_due_us(const stream_gate_t *gate);
/* A voter that is due by now; STREAM_GATE_VOTERS_MAX: none. */
size_t stream_gate_overdue(const stream_gate_t *gate, uint64_t now_us);

enum stream_gate_state stream_gate_state(const stream_gate_t *gate);
size_t stream_gate_who(const stream_gate_t *gate); /* ended it: CUT, FAILED */
/* How the voter failed that ended it: "it let too much text wait" */
const char *stream_gate_why(const stream_gate_t *gate);

/* Bytes that may leave: at most so many, whole events or not; NULL: there are none. */
dyn_block_t *stream_gate_take(stream_gate_t *gate, size_t bytes_max);
size_t stream_gate_ready(const stream_gate_t *gate);   /* bytes that may leave */
size_t stream_gate_held(const stream_gate_t *gate);    /* bytes of whole events that may not */
size_t stream_gate_partial(const stream_gate_t *gate); /* bytes of an event that has not ended */
/* Nothing is in it any more, and nothing comes. */
bool stream_gate_is_drained(const stream_gate_t *gate);
/* Puts the end of a stream that was cut behind what may leave: `text` to the reader, and why it ended. false:
 * its language has no streams, so nothing was put there. */
bool stream_gate_close(stream_gate_t *gate, struct dyn_slice text);
