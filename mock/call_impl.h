/* The inside of a call: what its files share. call.c decides, call_stream.c paces a stream, call_send.c
 * puts bytes out. */
#pragma once

#include "mock/call.h"

enum {
    MOCK_REPLY_HEADROOM = 512,  /* the head of a plain answer is put in front of its body */
    MOCK_STREAM_HEADROOM = 512, /* that of a stream and chunk framing too, in front of the first events */
};

enum mock_finale { MOCK_FINALE_END, MOCK_FINALE_CUT, MOCK_FINALE_HANG };

struct mock_call {
    struct mock_core *core;
    http_exchange_t *exchange;
    struct mock_rule *rule; /* NULL: none */
    struct mock_behaviour behaviour;
    struct mock_chat chat;
    struct mock_answer answer;

    struct mock_wait wait;
    void (*next)(struct mock_call *call); /* when the wait is over */
    unsigned status;
    bool is_literal; /* the rule says what is answered */
    uint32_t pace_ms;
    uint32_t first_ms;

    struct mock_record *record; /* in the journal; NULL: none is kept */
    uint64_t record_call;

    uint32_t place;                         /* the event that comes next */
    uint32_t middle_at;                     /* where `middle` happens */
    bool (*middle)(struct mock_call *call); /* NULL: nothing does. false: nothing more comes */
    bool is_stream;                         /* counted as an open one */
    bool waits_for_room;
    bool ended_by_us; /* http_abort was called here */
    bool is_fault;    /* and was asked for */
    enum mock_finale finale;
    dyn_block_t *held; /* a dripping body, or what is left of it */
};

/* Then calls `next`, counting from when the last wait was due, so that a pace does not drift. */
void mock_call_wait(struct mock_call *call, uint32_t ms, void (*next)(struct mock_call *call));

/* Begins an answer in pieces: its head, as the behaviour and the rule want it. */
void mock_call_start_body(struct mock_call *call, struct dyn_slice content_type, uint64_t content_length);
/* A piece of the body: goes out now, or drips later. Takes *block_p. */
void mock_call_write(struct mock_call *call, dyn_block_t **block_p);
/* All pieces were written: ends the answer, cuts it, or leaves it hanging; a dripping one when all is out. */
void mock_call_finish(struct mock_call *call, enum mock_finale finale);
/* A whole body, in one write where nothing else is asked. Takes *body_p. */
void mock_call_send_plain(struct mock_call *call, struct dyn_slice content_type, dyn_block_t **body_p);
/* Closes the connection as asked, behind what was written. */
void mock_call_cut(struct mock_call *call);

/* Answers with a stream. */
void mock_call_stream(struct mock_call *call);
