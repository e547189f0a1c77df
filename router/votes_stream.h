/* Votes during a stream, of one request: puts the gate (stream_gate.h) between what the provider sends and
 * what the owner gets, asks the plugins and takes their votes. It exists only while a stream is voted on:
 * without plugins at that stage a CHUNK never comes near it. Private to router/.
 *
 * Two windows: the provider may have sent what the gate has room for, ROUTE_GATE_WINDOW together with what is
 * held; the owner gets what is cleared as far as it granted. */
#pragma once

#include "router/request.h"

enum {
    ROUTE_GATE_WINDOW = ENV_WINDOW_FIRST,
    ROUTE_GATE_HELD = ROUTE_GATE_WINDOW / 2, /* a voter that lets more wait has failed */
};

/* Whether the answer that begins or goes on so has to be voted on. */
bool route_gate_is_wanted(struct route_request *rq, const struct env *answer);
/* A CHUNK of it. */
enum route_step route_gate_chunk(struct route_request *rq, struct env **chunk_p);
/* rq->inbound is its good END: it waits until all has left. */
enum route_step route_gate_end(struct route_request *rq);
/* The request fails. A stream that was cut with last words to the reader ends well after all: true, and what
 * comes next. */
bool route_gate_fails(struct route_request *rq, enum route_step *next);
/* Whether the VOTE was an answer to a question about the stream. */
bool route_gate_take_vote(struct route_request *rq, struct env **vote_p);
/* Whether it was a plugin of it that is late. */
bool route_gate_is_late(struct route_request *rq);
/* A process that voted is gone. */
void route_gates_lost(struct router *router, bus_addr_t addr);
/* The owner granted more. */
void route_gate_credit(struct route_request *rq);
void route_gate_fini(struct route_request *rq);
