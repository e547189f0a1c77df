/* The gate of one request between the files that keep it: votes_stream.c, votes_stream_ask.c,
 * votes_stream_pass.c. Not for others. */
#pragma once

#include "router/stream_gate.h"
#include "router/votes_impl.h"
#include "router/votes_stream.h"

struct gate_plugin {
    const struct route_plugin *plugin;
    bus_addr_t addr; /* 0: nobody (any more) */
    uint64_t asked;  /* questions */
    uint64_t answered;
    uint64_t since_us; /* of the first that is not answered */
    unsigned handed_over; /* from process to process, since the last vote */
    bool is_admitted;  /* by the breaker, which is to be told how it went */
};

struct route_gated {
    stream_gate_t *gate;
    struct vote_facts *facts;
    size_t n_plugins;
    uint32_t first_epoch; /* of the first question; each has one for every plugin */
    bool is_last_asked;
    struct env *head; /* the first CHUNK without its bytes: goes with what leaves first */
    uint32_t next_sequence;
    uint64_t left;       /* bytes that went to the owner */
    struct env *end;     /* what the provider ended with */
    bool is_ended;       /* by a vote: nothing of the provider is wanted any more */
    enum err_code error; /* why */
    bool is_closing;     /* with last words to the reader */
    struct gate_plugin plugins[]; /* n_plugins */
};

/* Who is asked about all of the stream: what it saw of it is with it. 0: nobody is there, or has room. */
bus_addr_t route_gated_pick(struct route_request *rq, const struct route_plugin *plugin);
/* That plugin has failed; its policy decides. Nothing for one that has failed already. `has_voted`: with a
 * vote of no use, which is nothing for its breaker (votes_impl.h). */
void route_gated_fail(struct route_request *rq, size_t i, const char *why, bool has_voted);
/* For the event. */
void route_gated_note(struct route_request *rq, size_t i, unsigned verdict, struct dyn_slice reason);
/* A question to one that is not asked by a call; it may fail. */
void route_gated_send(struct route_request *rq, size_t i, uint32_t epoch, dyn_block_t *body);
void route_gated_count(struct route_request *rq, struct gate_plugin *one); /* one that it has got */
/* A vote of one that is asked still. Whether it cut the stream. */
bool route_gated_take(struct route_request *rq, size_t i, const struct env *vote);
/* It has voted; `wrong`: in vain, NULL: not so. */
void route_gated_settle(struct route_request *rq, size_t i, const char *wrong);
/* All who are asked still, when there is something to ask. The vote of one of this loop that cut the stream,
 * the caller's; NULL: none did. */
struct env *route_gated_ask(struct route_request *rq);

/* What is cleared leaves. false: the owner takes nothing any more. */
bool route_gated_pass(struct route_request *rq, struct dyn_err *err);
/* Whatever has changed. `reason` and `closing` are those of the vote that ends it, if it is one. PARKED, or
 * what comes next; never frees the request while something is in flight. */
enum route_step route_gated_go_on(struct route_request *rq, struct dyn_slice reason,
                                  struct dyn_slice closing);
/* The same from outside of the steps. The request may be gone afterwards. */
void route_gated_resume(struct route_request *rq, struct dyn_slice reason, struct dyn_slice closing);
