/* What waits in a stream gate: an event with the pieces of text that it brought, or only text that is left of
 * one. Private to the stream gate. */
#pragma once

#include "router/gate_channel.h"

/* What must stay within a pass over all entries: marked with its number. */
struct gate_choice {
    uint32_t id;
    unsigned waits_in;   /* something of it stays */
    unsigned stopped_in; /* and nothing of it may overtake that */
};

/* A piece of an event: the text of its channel between two positions. */
struct gate_piece {
    struct gate_channel *channel;
    uint64_t from;
    uint64_t to;
    struct json_value value; /* where it stands in the event */
};

/* An event that has not left, or the rest of one. */
struct gate_entry {
    struct gate_entry *next;
    enum dialect_event_scope scope;
    struct gate_choice *choice;
    bool is_rest; /* only text: its event has left, or said nothing else */
    bool is_only_text;
    bool is_plain; /* can leave as it came */
    size_t held;   /* bytes that it counts for */
    struct dyn_slice raw;
    struct sse_event event;
    size_t n;
    struct gate_piece *pieces;
    size_t n_repeats;
    struct json_value *repeats;
    /* the memory of all these follows */
};

/* The event with all its bytes in memory of its own; its pieces have no channels yet. */
struct gate_entry *gate_entry_new(const struct sse_event *event, const struct dialect_event_texts *seen);
/* Its text alone. */
struct gate_entry *gate_entry_rest(const struct gate_entry *event);
/* Whether its text could be put behind that of one which stands before it (may be NULL), and was. */
bool gate_entry_joins(const struct gate_entry *entry, struct gate_entry *before);

bool gate_entry_is_masked(const struct gate_entry *entry);
/* Appends it as it may be read, with its text up to `until` of each piece. */
void gate_entry_write(const struct gate_entry *entry, const uint64_t *until,
                      const struct dialect_texts *dialect, const struct dialect_texts_state *reading,
                      struct dyn_buf *out);
