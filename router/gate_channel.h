/* A channel of a stream that is voted on: its text that has not left, how far each voter has cleared it, and
 * what goes in other words. Private to the stream gate. */
#pragma once

#include "core/buf.h"
#include "router/stream_gate.h"

struct gate_mask {
    uint64_t from;
    uint64_t to;
    size_t voter; /* whose text it is: the first of those that masked here */
    char *text;
    size_t text_len;
};

struct gate_channel {
    struct vote_channel id;
    uint64_t seen;  /* positions: all that came; what voters were asked about; what has left */
    uint64_t asked;
    uint64_t left;
    uint16_t half;       /* of a surrogate pair, from the end of the last piece */
    unsigned stopped_in; /* the pass in which something of it had to stay */
    struct dyn_buf text; /* from `base` on */
    uint64_t base;
    struct gate_mask *masks; /* ascending, not overlapping */
    size_t n_masks;
    size_t masks_cap;
    uint64_t clear[]; /* of each voter */
};

struct gate_channel *gate_channel_new(struct vote_channel id, size_t n_voters);
void gate_channel_free(struct gate_channel *channel);
bool gate_channel_is(const struct gate_channel *channel, struct vote_channel id);

/* More text. *from and *to are where the piece lies; returns whether it can leave as it came. */
bool gate_channel_add(struct gate_channel *channel, struct json_value piece, uint64_t *from, uint64_t *to);
/* Half a character at the end will not become a whole one. */
void gate_channel_end(struct gate_channel *channel);
/* From there on: what voters have not been asked about. */
struct dyn_slice gate_channel_text(const struct gate_channel *channel, uint64_t from);
/* What that voter was asked about and has not cleared, whole characters; *from is where it begins. */
struct dyn_slice gate_channel_rest(const struct gate_channel *channel, size_t voter, uint64_t *from);

/* Checks all of it before anything changes. NULL, or what is wrong. */
const char *gate_channel_check(const struct gate_channel *channel, size_t voter,
                               const struct vote_mark *mark);
void gate_channel_mark(struct gate_channel *channel, size_t voter, const struct vote_mark *mark);
/* What all of these voters (bits) have cleared, at the beginning of a character. */
uint64_t gate_channel_clear(const struct gate_channel *channel, uint32_t voters);

bool gate_channel_is_masked(const struct gate_channel *channel, uint64_t from, uint64_t to);
/* Appends the text between two positions as it may be read. */
void gate_channel_write(const struct gate_channel *channel, uint64_t from, uint64_t to, struct dyn_buf *out);
/* All before it has left. */
void gate_channel_leave(struct gate_channel *channel, uint64_t to);
