/* Where the texts of a dialect are: in a request, in a plain answer, in an event of a stream; and how an
 * event is written again when only a part of its text may go, or other text in its place. For those who look
 * at what is said. Members that a dialect does not know are passed over and stay as they are.
 *
 * What stands twice under the same key is told twice: nobody knows which of the two a reader takes. */
#pragma once

#include "core/buf.h"
#include "core/json_scan.h"
#include "proto/sse.h"
#include "proto/vote.h"

struct dialect_text {
    struct dyn_slice role; /* plain bytes; of an answer: "assistant" */
    enum vote_text_kind kind;
    uint32_t choice;         /* of an answer */
    struct dyn_slice at;     /* JSON pointer; for the call only */
    struct json_value value; /* the string with its quotes; for the call only */
};
typedef void (*dialect_text_fn)(void *self, const struct dialect_text *text);

/* The text of a string value: in place when nothing is escaped, else appended to `room`. Good until `room` is
 * written to again. */
struct dyn_slice dialect_text_decode(struct json_value value, struct dyn_buf *room);

/* ---- streams ---- */

/* Of one event; it cannot be read when it has more. */
enum { DIALECT_PIECES_MAX = 64, DIALECT_REPEATS_MAX = 16 };

/* A piece of the text of a channel. */
struct dialect_piece {
    struct vote_channel channel;
    /* The string with its quotes, or an object where the text of one was meant. Points into the event's data;
     * escapes of it may be halves of surrogate pairs, whose other halves come in the next piece. */
    struct json_value value;
};

enum dialect_event_scope {
    DIALECT_EVENT_PIECES, /* only adds text to channels of one choice, or says who speaks */
    DIALECT_EVENT_CHOICE, /* something else about one choice: behind all text of it that came before */
    DIALECT_EVENT_ALL,    /* about the answer or several choices: behind everything that came before */
};

struct dialect_event_texts {
    enum dialect_event_scope scope;
    uint32_t choice;  /* unless scope is ALL */
    bool is_end;      /* the stream's end marker: no text follows */
    bool is_error;    /* the provider's */
    bool is_silent;   /* says nothing to a reader: a comment */
    bool is_only_text; /* what else it holds is said elsewhere as well */
    size_t n;
    struct dialect_piece pieces[DIALECT_PIECES_MAX]; /* in the order of the data */
    size_t n_repeats;
    struct json_value repeats[DIALECT_REPEATS_MAX]; /* the same text in other forms */
};

/* What a reader of a stream remembers. All zero at the beginning. */
struct dialect_texts_state {
    uint32_t n_tools;      /* numbers of calls that have none of their own */
    uint64_t with_role;    /* bits of the first choices of which was said who speaks */
    const char *reasoning; /* the key of thoughts; NULL: none came */
    struct dyn_buf head;   /* what every event of this stream begins with */
    /* An event that added one text and said nothing else: what stands before that text and behind it. One
     * with the same bytes there means the same, and is not read again. */
    struct dyn_buf shape;
    size_t shape_before;
    struct vote_channel shape_channel;
};
void dialect_texts_state_fini(struct dialect_texts_state *state);

/* Decodes a piece behind `out`. *half is 0, or half of a surrogate pair that came at the end of the channel's
 * last piece and may become whole now; it is what is left over at the end of this one. Returns whether the
 * piece alone says the same: nothing was taken from another, and nothing left over. */
bool dialect_piece_decode(struct json_value value, uint16_t *half, struct dyn_buf *out);

struct dialect_texts {
    /* Calls `fn` for each text of a body that the dialect's read_request has accepted. Returns whether it
     * holds anything that cannot be read as text (images, audio, files). `places`: of the body; may
     * be NULL. */
    bool (*request)(struct dyn_slice body, const struct json_places *places, dialect_text_fn fn,
                    void *self);
    /* The same for a plain answer: 0 or 1; -1: it is none. NULL: answers have no text. `is_scanned`: the
     * dialect's read_answer has said 0 to it. */
    int (*answer)(struct dyn_slice body, bool is_scanned, dialect_text_fn fn, void *self);

    /* NULL, like all below: there are no streams. -1: it cannot be read. */
    int (*event)(struct dialect_texts_state *state, const struct sse_event *event,
                 struct dialect_event_texts *seen);
    /* The event with other texts in its pieces (UTF-8, one for each), whole, as bytes of the stream. What
     * repeats the text in other forms is left out (logprobs). */
    void (*rewrite)(const struct sse_event *event, const struct dialect_event_texts *seen,
                    const struct dyn_slice *texts, struct dyn_buf *out);
    /* An event of this text alone. */
    void (*write)(const struct dialect_texts_state *state, struct vote_channel channel,
                  struct dyn_slice text, struct dyn_buf *out);
    /* The end of a stream that was cut: `text` (may be empty) and a finish that says so for each of the
     * choices, and the end marker. */
    void (*close)(const struct dialect_texts_state *state, const uint32_t *choices, size_t n,
                  struct dyn_slice text, struct dyn_buf *out);
};
