/* Reads one HTTP/1.1 answer as it arrives: head, then a body by length, by chunks, or until close. Only
 * what a load client needs; it trusts that the server is one we started. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LOAD_HEAD_MAX = 16 * 1024 };

enum load_answer_state {
    LOAD_ANSWER_HEAD,
    LOAD_ANSWER_LENGTH,     /* `left` bytes of body are missing */
    LOAD_ANSWER_CHUNK_SIZE, /* in the line that gives a chunk's size */
    LOAD_ANSWER_CHUNK,      /* `left` bytes of this chunk are missing */
    LOAD_ANSWER_CHUNK_END,  /* in the line end behind a chunk */
    LOAD_ANSWER_TRAILER,    /* behind the last chunk, up to an empty line */
    LOAD_ANSWER_CLOSE,      /* everything until the connection closes */
    LOAD_ANSWER_DONE,
    LOAD_ANSWER_BROKEN,
};

struct load_answer {
    enum load_answer_state state;
    unsigned status;
    bool keep_alive;
    uint64_t left;
    uint64_t line_len; /* of a size or trailer line so far */
    uint64_t body_bytes;
    size_t head_len;
    char head[LOAD_HEAD_MAX];
};

typedef void (*load_body_fn)(void *self, const char *data, size_t len);

void load_answer_reset(struct load_answer *answer);
/* Takes bytes and gives those of the body to `body`. Returns how many were used: fewer than `len` only
 * when the answer is done or broken. */
size_t load_answer_feed(struct load_answer *answer, const char *data, size_t len, load_body_fn body,
                        void *self);
/* The peer closed. true when the answer was complete, or ends this way. */
bool load_answer_closed(struct load_answer *answer);
