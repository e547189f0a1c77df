#include "router/stream_gate_impl.h"

#include <stdlib.h>

stream_gate_t *
stream_gate_new(const struct stream_gate_options *options)
{
    DYN_ASSERT(options->n_voters <= STREAM_GATE_VOTERS_MAX);
    struct stream_gate *gate = dyn_zalloc(sizeof *gate + options->n_voters * sizeof gate->voters[0]);
    gate->texts = options->texts;
    gate->n_voters = options->n_voters;
    gate->held_max = options->held_max;
    for (size_t i = 0; i < options->n_voters; i++) {
        gate->voters[i].row = options->voters[i];
        gate->live |= 1u << i;
    }
    gate->behind = &gate->first;
    sse_reader_init(&gate->reader, SSE_EVENT_MAX);
    return gate;
}

void
stream_gate_free(stream_gate_t **gate_p)
{
    struct stream_gate *gate = *gate_p;
    *gate_p = NULL;
    if (gate == NULL) {
        return;
    }
    for (struct gate_entry *entry; (entry = gate->first) != NULL;) {
        gate->first = entry->next;
        free(entry);
    }
    for (size_t i = 0; i < gate->n_channels; i++) {
        gate_channel_free(gate->channels[i]);
    }
    for (size_t i = 0; i < gate->n_choices; i++) {
        free(gate->choices[i]);
    }
    free(gate->channels);
    free(gate->choices);
    sse_reader_fini(&gate->reader);
    dialect_texts_state_fini(&gate->reading);
    dyn_buf_fini(&gate->out);
    free(gate);
}

void
stream_gate_stop(struct stream_gate *gate, enum stream_gate_state state, size_t who, const char *why)
{
    if (gate->state == STREAM_GATE_OPEN) {
        gate->state = state;
        gate->who = who;
        gate->why = why;
    }
}

/* ---- what comes in ---- */

/* Room for one more of those; the first one has it alone. */
static void *
with_room(void *rows, size_t n)
{
    bool is_full = (n & (n - 1)) == 0; /* room doubles: 1, 2, 4 */
    return is_full ? dyn_realloc(rows, (n > 0 ? 2 * n : 1) * sizeof(void *)) : rows;
}

/* NULL: there are too many. Streams have few; the last ones are the likeliest. */
static struct gate_channel *
channel_of(struct stream_gate *gate, struct vote_channel id)
{
    for (size_t i = gate->n_channels; i-- > 0;) {
        if (gate_channel_is(gate->channels[i], id)) {
            return gate->channels[i];
        }
    }
    if (gate->n_channels == STREAM_GATE_CHANNELS_MAX) {
        return NULL;
    }
    gate->channels = with_room(gate->channels, gate->n_channels);
    return gate->channels[gate->n_channels++] = gate_channel_new(id, gate->n_voters);
}

static struct gate_choice *
choice_of(struct stream_gate *gate, uint32_t id)
{
    for (size_t i = 0; i < gate->n_choices; i++) {
        if (gate->choices[i]->id == id) {
            return gate->choices[i];
        }
    }
    if (gate->n_choices == STREAM_GATE_CHANNELS_MAX) {
        return NULL;
    }
    struct gate_choice *choice = dyn_zalloc(sizeof *choice);
    choice->id = id;
    gate->choices = with_room(gate->choices, gate->n_choices);
    return gate->choices[gate->n_choices++] = choice;
}

static void
hang_in(struct stream_gate *gate, struct gate_entry *entry)
{
    *gate->behind = entry;
    gate->behind = &entry->next;
    gate->held += entry->held;
}

/* Nobody has cleared any of it, and it lets nothing pass that comes behind it in its channel. */
static bool
has_new_text(const struct gate_entry *entry)
{
    for (size_t i = 0; i < entry->n; i++) {
        if (entry->pieces[i].to > entry->pieces[i].from) {
            return true;
        }
    }
    return false;
}

/* -1: too many channels or choices. */
static int
take_pieces(struct stream_gate *gate, struct gate_entry *entry, const struct dialect_event_texts *seen)
{
    entry->scope = seen->scope;
    entry->is_only_text = seen->is_only_text;
    if (seen->scope != DIALECT_EVENT_ALL && (entry->choice = choice_of(gate, seen->choice)) == NULL) {
        return -1;
    }
    for (size_t i = 0; i < seen->n; i++) {
        struct gate_piece *piece = &entry->pieces[i];
        piece->channel = channel_of(gate, seen->pieces[i].channel);
        if (piece->channel == NULL) {
            return -1;
        }
        if (!gate_channel_add(piece->channel, seen->pieces[i].value, &piece->from, &piece->to)) {
            entry->is_plain = false;
        }
    }
    return 0;
}

/* Of a language that has no streams nobody can look into one, whoever sent it. */
static bool
knows_streams(const struct stream_gate *gate)
{
    return gate->texts != NULL && gate->texts->event != NULL;
}

static void
take_event(struct stream_gate *gate, const struct sse_event *event)
{
    struct dialect_event_texts seen;
    bool is_read = knows_streams(gate) && gate->texts->event(&gate->reading, event, &seen) == 0;
    if (is_read && seen.is_silent) {
        return; /* readers are kept awake by the edge */
    }
    if (!is_read && gate->live != 0) {
        stream_gate_stop(gate, STREAM_GATE_UNREADABLE, 0, "an event of the stream cannot be read");
        return;
    }
    if (!is_read) { /* nobody is left who looks */
        seen.scope = DIALECT_EVENT_ALL;
        seen.is_end = seen.is_only_text = false;
        seen.n = seen.n_repeats = 0;
    }
    struct gate_entry *entry = gate_entry_new(event, &seen);
    if (take_pieces(gate, entry, &seen) != 0) {
        free(entry);
        stream_gate_stop(gate, STREAM_GATE_UNREADABLE, 0, "the stream has too many tool calls");
        return;
    }
    hang_in(gate, entry);
    gate->may_leave = gate->may_leave || gate->live == 0 || !has_new_text(entry);
    gate->has_ended = gate->has_ended || seen.is_end;
}

/* ---- what goes out ---- */

static bool
is_clear(const struct stream_gate *gate, const struct gate_entry *entry)
{
    for (size_t i = 0; i < entry->n; i++) {
        if (gate_channel_clear(entry->pieces[i].channel, gate->live) < entry->pieces[i].to) {
            return false;
        }
    }
    return true;
}

/* Whether something before it must stay before it. */
static bool
is_stopped(const struct stream_gate *gate, const struct gate_entry *entry, bool is_first)
{
    if (entry->scope == DIALECT_EVENT_ALL) {
        return !is_first;
    }
    if (entry->choice->stopped_in == gate->pass) {
        return true;
    }
    if (entry->scope == DIALECT_EVENT_CHOICE) {
        return entry->choice->waits_in == gate->pass;
    }
    for (size_t i = 0; i < entry->n; i++) {
        if (entry->pieces[i].channel->stopped_in == gate->pass) {
            return true;
        }
    }
    return false;
}

static void
stop_others(struct stream_gate *gate, struct gate_entry *entry)
{
    for (size_t i = 0; i < entry->n; i++) {
        entry->pieces[i].channel->stopped_in = gate->pass;
    }
    if (entry->choice != NULL) {
        entry->choice->waits_in = gate->pass;
        if (entry->scope == DIALECT_EVENT_CHOICE) {
            entry->choice->stopped_in = gate->pass;
        }
    }
}

static void
pieces_left(struct gate_entry *entry, size_t n, const uint64_t *until)
{
    for (size_t i = 0; i < n; i++) {
        struct gate_piece *piece = &entry->pieces[i];
        piece->from = until[i];
        gate_channel_leave(piece->channel, until[i]);
    }
}

static void
let_go(struct stream_gate *gate, struct gate_entry *entry)
{
    uint64_t until[DIALECT_PIECES_MAX];
    const size_t n = entry->n;
    for (size_t i = 0; i < n; i++) {
        until[i] = entry->pieces[i].to;
    }
    if (entry->is_rest || !entry->is_plain || gate_entry_is_masked(entry)) {
        gate_entry_write(entry, until, gate->texts, &gate->reading, &gate->out);
    } else {
        dyn_buf_add_slice(&gate->out, entry->raw);
    }
    pieces_left(entry, n, until);
}

/* The clear part of an event's text goes with the event; the rest is text alone from then on. */
static void
split(struct stream_gate *gate, struct gate_entry *entry)
{
    uint64_t until[DIALECT_PIECES_MAX];
    const size_t n = entry->n;
    bool has_any = false;
    size_t rest = 0;
    for (size_t i = 0; i < n; i++) {
        const struct gate_piece *piece = &entry->pieces[i];
        uint64_t clear = gate_channel_clear(piece->channel, gate->live);
        until[i] = clear < piece->from ? piece->from : clear < piece->to ? clear : piece->to;
        has_any = has_any || until[i] > piece->from;
        rest += (size_t)(piece->to - until[i]);
    }
    if (!has_any) {
        return;
    }
    gate_entry_write(entry, until, gate->texts, &gate->reading, &gate->out);
    pieces_left(entry, n, until);
    gate->held -= entry->held;
    entry->held = rest < entry->held ? rest : entry->held;
    gate->held += entry->held;
    entry->is_rest = entry->is_only_text = true;
}

void
stream_gate_flush(struct stream_gate *gate)
{
    struct gate_entry **at = &gate->first;
    gate->pass++;
    gate->may_leave = false;
    while (*at != NULL) {
        struct gate_entry *entry = *at;
        bool stopped = is_stopped(gate, entry, entry == gate->first);
        if (!stopped && is_clear(gate, entry)) {
            let_go(gate, entry);
            gate->held -= entry->held;
            *at = entry->next;
            free(entry);
            continue;
        }
        if (!stopped && entry->scope == DIALECT_EVENT_PIECES) {
            split(gate, entry);
        }
        if (entry->scope == DIALECT_EVENT_ALL) {
            return;
        }
        stop_others(gate, entry);
        at = &entry->next;
    }
    gate->behind = at;
}

void
stream_gate_feed(stream_gate_t *gate, struct dyn_slice bytes)
{
    struct sse_event event;
    int found = 0;
    while (gate->state == STREAM_GATE_OPEN && !gate->has_ended &&
           (found = sse_reader_next(&gate->reader, &bytes, &event)) == 1) {
        take_event(gate, &event);
    }
    if (found < 0) {
        stream_gate_stop(gate, STREAM_GATE_UNREADABLE, 0, "an event of the stream is too long");
    }
    if (gate->state == STREAM_GATE_OPEN) {
        if (gate->may_leave) {
            stream_gate_flush(gate);
        }
        if (stream_gate_is_idle(gate)) { /* else the votes come first */
            stream_gate_bound(gate);
        }
    }
}

void
stream_gate_end(stream_gate_t *gate)
{
    gate->has_ended = true;
}

bool
stream_gate_has_ended(const stream_gate_t *gate)
{
    return gate->has_ended;
}

/* ---- how it stands ---- */

enum stream_gate_state
stream_gate_state(const stream_gate_t *gate)
{
    return gate->state;
}

size_t
stream_gate_who(const stream_gate_t *gate)
{
    return gate->who;
}

const char *
stream_gate_why(const stream_gate_t *gate)
{
    return gate->why != NULL ? gate->why : "";
}

size_t
stream_gate_ready(const stream_gate_t *gate)
{
    return gate->out.len - gate->out_taken;
}

size_t
stream_gate_held(const stream_gate_t *gate)
{
    return gate->held;
}

size_t
stream_gate_partial(const stream_gate_t *gate)
{
    return sse_reader_rest(&gate->reader).len;
}

bool
stream_gate_is_drained(const stream_gate_t *gate)
{
    bool is_done = gate->state != STREAM_GATE_OPEN || (gate->has_ended && gate->first == NULL);
    return is_done && stream_gate_ready(gate) == 0;
}

dyn_block_t *
stream_gate_take(stream_gate_t *gate, size_t bytes_max)
{
    size_t ready = stream_gate_ready(gate);
    size_t len = ready < bytes_max ? ready : bytes_max;
    if (len == 0) {
        return NULL;
    }
    dyn_block_t *block = dyn_block_copy(0, dyn_slice(gate->out.data + gate->out_taken, len));
    gate->out_taken += len;
    if (gate->out_taken == gate->out.len) {
        dyn_buf_clear(&gate->out);
        gate->out_taken = 0;
    }
    return block;
}

/* The reader has seen choices of which something came; an answer of which nothing came has one. */
bool
stream_gate_close(stream_gate_t *gate, struct dyn_slice text)
{
    uint32_t ids[STREAM_GATE_CHANNELS_MAX] = {0};
    if (!knows_streams(gate)) {
        return false;
    }
    for (size_t i = 0; i < gate->n_choices; i++) {
        ids[i] = gate->choices[i]->id;
    }
    gate->texts->close(&gate->reading, ids, gate->n_choices > 0 ? gate->n_choices : 1, text, &gate->out);
    return true;
}
