/* One answer in its two forms: a plain answer becomes a stream, and a stream becomes a plain answer while it
 * passes. For answers that were kept: who gets one may want the other form. Both stay in the language of the
 * client (bridges do languages); everything that the source says is in the result, but for the cuts between
 * the pieces of a stream. Pure: no clock, no I/O. */
#pragma once

#include "core/block.h"
#include "proto/dialects/dialect.h"

enum {
    REPLAY_CHOICES_MAX = 128,   /* an answer with more is not replayed; no API gives as many */
    REPLAY_HEAD_TEXT_MAX = 1024, /* bytes of what stands in each chunk; longer ones stand in the first */
};

/* What a dialect does for it. NULL in dialect_ops: by way of the record of chat.h. */
struct dialect_replay {
    /* Whether the text is a whole good answer: then, and only then, unroll() takes it. -1: it is none. */
    int (*check)(struct dyn_slice answer);
    /* All events of the stream, the end marker too. -1: it is no whole answer; `out` has anything then. */
    int (*unroll)(struct dyn_slice answer, bool wants_usage, struct dyn_buf *out);
    void *(*gather_new)(size_t max_bytes);
    /* An event that is no end marker. -1: garbage, or more than max_bytes: nothing will come of it. */
    int (*gather)(void *gathered, const struct sse_event *event);
    /* `usage` is written when the stream had none and it is known. -1: the answer is not whole. */
    int (*gather_end)(void *gathered, const struct env_usage *usage, struct dyn_buf *out);
    void (*gather_free)(void *gathered);
};

/* Whether the text is an answer that can be kept: whole, without an error, all of its choices finished. */
bool replay_is_whole(const struct dialect_ops *dialect, struct dyn_slice answer);
/* The same answer as a stream, with `headroom` bytes free in front; usage only where the client asked for it.
 * NULL: it is no whole answer. */
dyn_block_t *replay_stream(const struct dialect_ops *dialect, struct dyn_slice answer, bool wants_usage,
                           size_t headroom);

typedef struct replay replay_t;

/* Takes a stream as it comes and holds the plain answer, in at most about `max_bytes`. NULL: the dialect has
 * no plain answers. */
replay_t *replay_new(const struct dialect_ops *dialect, size_t max_bytes);
void replay_free(replay_t **replay_p); /* NULL is accepted */
/* Bytes of the stream, cut anywhere. After what cannot be kept it takes no more and costs nothing. */
void replay_feed(replay_t *replay, struct dyn_slice bytes);
/* The stream is over. NULL: it was not whole, had an error, or was longer than allowed. */
dyn_block_t *replay_answer(replay_t *replay, const struct env_usage *usage, size_t headroom);
