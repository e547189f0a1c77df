/* The stream gate between its files: stream_gate.c, stream_gate_votes.c. Not for others. */
#pragma once

#include "router/gate_entry.h"
#include "router/stream_gate.h"

struct gate_voter {
    struct stream_gate_voter row;
    uint64_t asked;
    uint64_t answered;
    uint64_t since_us; /* of the question that it is to answer next */
};

struct stream_gate {
    const struct dialect_texts *texts;
    size_t n_voters;
    uint32_t live; /* bits of those that are asked still */
    size_t held_max;
    enum stream_gate_state state;
    size_t who;
    const char *why;
    bool has_ended; /* no more text comes */
    bool has_asked;
    bool is_last_asked;
    bool may_leave; /* something of what has come since the last look may leave without a vote */
    struct sse_reader reader;
    struct dialect_texts_state reading;
    struct gate_channel **channels; /* most streams have one, and one choice */
    size_t n_channels;
    struct gate_choice **choices;
    size_t n_choices;
    struct gate_entry *first;
    struct gate_entry **behind; /* where the next one is hung in */
    size_t held;
    unsigned pass;
    struct dyn_buf out;
    size_t out_taken;
    struct gate_voter voters[]; /* n_voters */
};

/* Its first end counts. */
void stream_gate_stop(struct stream_gate *gate, enum stream_gate_state state, size_t who, const char *why);
/* Lets go what may leave. */
void stream_gate_flush(struct stream_gate *gate);
/* What waits is within its bound afterwards, or the gate has ended; not before all votes are in. */
void stream_gate_bound(struct stream_gate *gate);
/* Nobody owes a vote, and there is nothing to ask. */
bool stream_gate_is_idle(const struct stream_gate *gate);
