#include "mock/call_impl.h"
#include "mock/mock_anthropic.h"

#include <stdio.h>

enum { BODY_PER_TOKEN = 96 }; /* bytes in a plain answer: word and tag */

static uint32_t
draw(struct dyn_rng *rng, struct mock_range range)
{
    if (range.from == range.to) {
        return range.from;
    }
    return range.from + (uint32_t)dyn_rng_below(rng, (uint64_t)range.to - range.from + 1);
}

/* Times of a numbered request do not depend on what else is asked meanwhile: a run with the same seed has
 * them again. Nonces always differ. */
static struct dyn_rng *
times_of(struct mock_call *call, struct dyn_rng *own)
{
    if (call->core->seed == 0 || call->chat.number.len == 0) {
        return &call->core->rng;
    }
    /* The second call of a number has other times than the first: bad luck is not for ever. */
    uint64_t n = mock_counts_add(&call->core->counts, DYN_SLICE("times"), call->chat.number);
    dyn_rng_seed(own, (call->core->seed ^ mock_counts_key(call->chat.model, call->chat.number)) + n);
    return own;
}

/* In the words of the API that was asked. */
static void
add_error(const struct mock_call *call, dyn_block_t **out, unsigned status, const char *message)
{
    if (call->chat.is_anthropic) {
        mock_anthropic_add_error(out, status, message);
    } else {
        mock_add_error(out, status, message, NULL);
    }
}

static void
answer_plain(struct mock_call *call)
{
    size_t room = 1024 + (size_t)call->answer.tokens * BODY_PER_TOKEN;
    dyn_block_t *body = dyn_block_new(MOCK_REPLY_HEADROOM, room);
    if (call->rule != NULL && call->rule->body.data != NULL) {
        dyn_block_append(&body, call->rule->body.data, call->rule->body.len);
    } else if (call->behaviour.error != MOCK_ERROR_NONE) {
        add_error(call, &body, 500, "the mock was asked to fail");
    } else {
        mock_answer_add_plain(&call->answer, &body);
    }
    mock_call_send_plain(call, DYN_SLICE("application/json"), &body);
}

/* ---- faults before the body ---- */

static void
raw_then_cut(struct mock_call *call, struct dyn_slice bytes)
{
    http_raw_write(call->exchange, bytes);
    mock_call_finish(call, MOCK_FINALE_CUT);
}

static void
answer_error(struct mock_call *call)
{
    dyn_block_t *body = dyn_block_new(MOCK_REPLY_HEADROOM, 256);
    char message[64];
    (void)snprintf(message, sizeof message, "the mock was asked for status %u", call->status);
    add_error(call, &body, call->status, message);
    mock_call_send_plain(call, DYN_SLICE("application/json"), &body);
}

static void
answer_garbage(struct mock_call *call)
{
    bool html = call->behaviour.garbage == MOCK_GARBAGE_HTML;
    struct dyn_slice text = html ? DYN_SLICE("<html><body><h1>Bad gateway</h1></body></html>\n")
                                 : DYN_SLICE("\x00\xff{]\x80 this is not JSON \xc3\x28\n");
    dyn_block_t *body = dyn_block_copy(MOCK_REPLY_HEADROOM, text);
    struct dyn_slice type =
        call->chat.stream ? DYN_SLICE("text/event-stream") : DYN_SLICE("application/json");
    mock_call_send_plain(call, html ? DYN_SLICE("text/html") : type, &body);
}

static void
answer_now(struct mock_call *call)
{
    const struct mock_behaviour *behaviour = &call->behaviour;
    if (behaviour->hang == MOCK_HANG_HEAD) {
        return;
    }
    if (behaviour->cut == MOCK_CUT_START) {
        mock_call_cut(call);
    } else if (behaviour->cut == MOCK_CUT_HEAD) {
        raw_then_cut(call, DYN_SLICE("HTTP/1.1 200 OK\r\ncontent-type: applica"));
    } else if (behaviour->garbage == MOCK_GARBAGE_HEAD) {
        raw_then_cut(call, DYN_SLICE("\x16\x03\x01 this is not HTTP\r\n\r\n"));
    } else if (call->status >= 300 && !call->is_literal) {
        answer_error(call);
    } else if (behaviour->garbage == MOCK_GARBAGE_BODY || behaviour->garbage == MOCK_GARBAGE_HTML) {
        answer_garbage(call);
    } else if (call->answer.events != NULL ||
               (call->chat.stream && !(call->rule != NULL && call->rule->body.data != NULL))) {
        mock_call_stream(call);
    } else {
        answer_plain(call);
    }
}

/* ---- the beginning and the end of a call ---- */

/* What was received, as JSON text. */
static struct dyn_slice
echo_text(const http_exchange_t *exchange, struct arena *arena)
{
    const struct http_request *request = http_exchange_request(exchange);
    struct dyn_buf text = DYN_BUF_INIT;
    dyn_buf_add_str(&text, "{\"method\":");
    dyn_buf_add_json_string(&text, request->method);
    dyn_buf_add_str(&text, ",\"target\":");
    dyn_buf_add_json_string(&text, request->target);
    dyn_buf_add_str(&text, ",\"headers\":[");
    for (size_t i = 0; i < request->n_headers; i++) {
        dyn_buf_add_str(&text, i > 0 ? ",[" : "[");
        dyn_buf_add_json_string(&text, request->headers[i].name);
        dyn_buf_add_char(&text, ',');
        dyn_buf_add_json_string(&text, request->headers[i].value);
        dyn_buf_add_char(&text, ']');
    }
    dyn_buf_add_str(&text, "],\"body\":");
    dyn_buf_add_json_string(&text, dyn_block_slice(request->body));
    dyn_buf_add_char(&text, '}');
    struct dyn_slice copy = arena_copy(arena, dyn_buf_slice(&text));
    dyn_buf_fini(&text);
    return copy;
}

/* `times` and `every`: takes the faults out when this call is to go well. */
static void
heal_by_count(struct mock_call *call)
{
    struct mock_behaviour *behaviour = &call->behaviour;
    if (behaviour->times == 0 && behaviour->every == 0) {
        return;
    }
    struct dyn_slice number = behaviour->times > 0 ? call->chat.number : (struct dyn_slice){NULL, 0};
    uint64_t n = mock_counts_add(&call->core->counts, call->chat.model, number);
    bool fails = behaviour->times > 0 ? n <= behaviour->times : n % behaviour->every == 0;
    if (!fails) {
        mock_behaviour_heal(behaviour);
    }
}

static void
choose_status(struct mock_call *call)
{
    const struct mock_rule *rule = call->rule;
    call->status = call->behaviour.status != 0 ? call->behaviour.status : 200;
    if (rule != NULL) {
        call->status = rule->status != 0 ? rule->status : call->status;
        call->is_literal = rule->body.data != NULL || rule->text.data != NULL || rule->events != NULL;
    }
}

static void
make_nonce(struct mock_core *core, char nonce[MOCK_NONCE_DIGITS])
{
    uint64_t drawn = dyn_rng_next(&core->rng);
    dyn_hex_encode(nonce, (const uint8_t *)&drawn, sizeof drawn);
}

static void
fill_answer(struct mock_call *call, struct arena *arena)
{
    struct mock_answer *answer = &call->answer;
    answer->behaviour = &call->behaviour;
    answer->chat = &call->chat;
    answer->clock = bus_loop_clock(call->core->loop);
    if (call->behaviour.echo) {
        answer->text = echo_text(call->exchange, arena);
    }
    if (call->rule != NULL) {
        answer->text = call->rule->text.data != NULL ? call->rule->text : answer->text;
        answer->events = call->rule->events;
        answer->n_events = call->rule->n_events;
        answer->no_done = call->rule->no_done;
    }
    mock_answer_prepare(answer, arena);
}

static void
note_begin(struct mock_call *call)
{
    struct dyn_slice path = http_exchange_request(call->exchange)->path;
    call->record = mock_journal_begin(&call->core->journal, &call->chat, path, call->answer.nonce);
    if (call->record != NULL) {
        call->record_call = call->record->call;
        call->record->began_us = dyn_mono_us(bus_loop_clock(call->core->loop));
    }
}

void
mock_call_begin(struct mock_core *core, http_exchange_t *exchange, const struct mock_chat *chat,
                struct mock_rule *rule)
{
    struct arena *arena = http_exchange_arena(exchange);
    struct mock_call *call = arena_zalloc(arena, sizeof *call);
    call->core = core;
    call->exchange = exchange;
    call->rule = rule;
    call->chat = *chat;
    struct dyn_err err;
    if (rule != NULL) {
        call->behaviour = *mock_rule_next(rule);
    } else if (mock_behaviour_of_model(&call->behaviour, chat->model, &err) != 0) {
        mock_reply_error(exchange, 404, err.text, "model");
        return;
    }
    heal_by_count(call);
    choose_status(call);
    make_nonce(core, call->answer.nonce);
    struct dyn_rng own;
    struct dyn_rng *rng = times_of(call, &own);
    call->pace_ms = draw(rng, call->behaviour.pace_ms);
    call->first_ms = draw(rng, call->behaviour.first_ms);
    fill_answer(call, arena);

    dyn_list_init(&call->wait.link);
    call->wait.due_ms = mock_pacer_now_ms(&core->pacer);
    http_exchange_set_user(exchange, call);
    mock_tally_add(&core->tally.calls, 1);
    mock_tally_add(&core->tally.open, 1);
    note_begin(call);
    uint32_t delay_ms = draw(rng, call->behaviour.delay_ms);
    if (delay_ms > 0) {
        mock_call_wait(call, delay_ms, answer_now);
    } else {
        answer_now(call);
    }
}

void
mock_call_done(struct mock_call *call, bool complete)
{
    struct mock_tally *tally = &call->core->tally;
    mock_pacer_cancel(&call->core->pacer, &call->wait);
    dyn_block_unref(&call->held);
    mock_tally_add(&tally->open, -1);
    mock_tally_add(&tally->open_streams, call->is_stream ? -1 : 0);
    enum mock_call_end end = MOCK_CALL_CANCELLED;
    if (call->is_fault) {
        end = MOCK_CALL_FAULT;
    } else if (complete || call->ended_by_us) {
        end = MOCK_CALL_ANSWERED;
    }
    mock_tally_add(end == MOCK_CALL_FAULT      ? &tally->faults
                   : end == MOCK_CALL_ANSWERED ? &tally->answered
                                               : &tally->cancels,
                   1);
    mock_journal_end(call->record, call->record_call, end, call->place,
                     dyn_mono_us(bus_loop_clock(call->core->loop)));
}

void
mock_reply_error(http_exchange_t *exchange, unsigned status, const char *message, const char *param)
{
    dyn_block_t *body = dyn_block_new(MOCK_REPLY_HEADROOM, 256);
    mock_add_error(&body, status, message, param);
    struct http_answer answer = {.status = status, .content_type = DYN_SLICE("application/json")};
    http_reply(exchange, &answer, &body);
}
