/* A call's stream: its events in their pace, and what happens in the middle of it. See call_impl.h. */
#include "mock/call_impl.h"

enum {
    STREAM_TAILROOM = 8,    /* the end of a chunk behind the events */
    BATCH = 16 * 1024,      /* bytes of events sent together when nothing paces them */
    QUEUE_MAX = 128 * 1024, /* bytes waiting for a slow client before the mock waits too */
    QUEUE_LOW = 32 * 1024,  /* and when it goes on */
    TOKEN_ROOM = 192,       /* an event beyond its head and tail: word and tag */
};

static dyn_block_t *
new_events(const struct mock_call *call)
{
    size_t event =
        call->answer.event_head.len + call->answer.event_tail.len + TOKEN_ROOM + call->behaviour.word_bytes;
    size_t room = call->pace_ms > 0 ? event : BATCH + event;
    return dyn_block_new(MOCK_STREAM_HEADROOM, room * (call->answer.has_begun ? 1 : 2) + STREAM_TAILROOM);
}

static bool
middle_cut(struct mock_call *call)
{
    if (call->behaviour.cut == MOCK_CUT_EVENT && call->place < call->answer.tokens) {
        dyn_block_t *event = new_events(call);
        mock_answer_add_event(&call->answer, call->place, &event);
        event->len /= 2;
        mock_call_write(call, &event);
    }
    mock_call_finish(call, MOCK_FINALE_CUT);
    return false;
}

static bool
middle_hang(struct mock_call *call)
{
    mock_call_finish(call, MOCK_FINALE_HANG);
    return false;
}

static bool
middle_error(struct mock_call *call)
{
    dyn_block_t *event = new_events(call);
    mock_answer_add_error_event(&call->answer, &event);
    mock_call_write(call, &event);
    mock_call_finish(call, MOCK_FINALE_END);
    return false;
}

static bool
middle_garbage(struct mock_call *call)
{
    dyn_block_t *event = new_events(call);
    mock_answer_add_garbage_event(&call->answer, &event);
    mock_call_write(call, &event);
    call->middle = NULL;
    return true;
}

static void
plan_middle(struct mock_call *call)
{
    const struct mock_behaviour *behaviour = &call->behaviour;
    call->middle_at = mock_answer_middle(&call->answer);
    if (behaviour->cut == MOCK_CUT_BODY || behaviour->cut == MOCK_CUT_EVENT) {
        call->middle = middle_cut;
    } else if (behaviour->hang == MOCK_HANG_BODY) {
        call->middle = middle_hang;
    } else if (behaviour->error != MOCK_ERROR_NONE) {
        call->middle = middle_error;
        call->middle_at = behaviour->error == MOCK_ERROR_FIRST ? 0 : call->middle_at;
    } else if (behaviour->garbage == MOCK_GARBAGE_EVENT) {
        call->middle = middle_garbage;
    }
}

/* Sends the next events in one write: one when they are paced, else as many as make a batch. Returns
 * whether more come. */
static bool
send_events(struct mock_call *call)
{
    struct mock_answer *answer = &call->answer;
    uint32_t stop = call->middle != NULL ? call->middle_at : answer->tokens;
    uint32_t from = call->place;
    dyn_block_t *events = new_events(call);
    while (call->place < stop && events->len < BATCH && (call->place == from || call->pace_ms == 0)) {
        mock_answer_add_event(answer, call->place++, &events);
    }
    mock_tally_add(&call->core->tally.tokens, call->place - from);
    bool is_last = call->middle == NULL && call->place == answer->tokens;
    if (is_last) {
        mock_answer_add_end(answer, &events);
    }
    mock_call_write(call, &events);
    return !is_last;
}

static void
stream_turn(struct mock_call *call)
{
    for (;;) {
        if (http_stream_queued(call->exchange) > QUEUE_MAX) {
            call->waits_for_room = true;
            return;
        }
        if (call->middle != NULL && call->place == call->middle_at && !call->middle(call)) {
            return;
        }
        if (!send_events(call)) {
            mock_call_finish(call, MOCK_FINALE_END);
            return;
        }
        if (call->pace_ms > 0) {
            mock_call_wait(call, call->pace_ms, stream_turn);
            return;
        }
    }
}

void
mock_call_stream(struct mock_call *call)
{
    if (call->behaviour.drip_ms > 0) {
        call->pace_ms = 0; /* the drip is the pace */
    }
    plan_middle(call);
    call->is_stream = true;
    mock_tally_add(&call->core->tally.open_streams, 1);
    mock_call_start_body(call, DYN_SLICE("text/event-stream; charset=utf-8"), UINT64_MAX);
    if (call->first_ms > 0) {
        if (!call->behaviour.close) {
            http_stream_flush(call->exchange);
        }
        mock_call_wait(call, call->first_ms, stream_turn);
    } else {
        stream_turn(call);
    }
}

void
mock_call_written(struct mock_call *call)
{
    if (call->waits_for_room && http_stream_queued(call->exchange) < QUEUE_LOW) {
        call->waits_for_room = false;
        call->wait.due_ms = mock_pacer_now_ms(&call->core->pacer); /* a pace begins anew */
        stream_turn(call);
    }
}
