#include "router/stream_gate.h"

#include "router/gate_entry.h"

#include <stdlib.h>

/* Events that wait become their text when they fill this part of what may wait. */
enum { CONDENSE_PARTS = 4 };

struct gate_voter {
    struct stream_gate_voter row;
    uint64_t asked;
    uint64_t answered;
    uint64_t since_us; /* of the question that it is to answer next */
};

struct stream_gate {
    const struct dialect_texts *texts;
    struct gate_voter voters[STREAM_GATE_VOTERS_MAX];
    size_t n_voters;
    uint32_t live; /* bits of those that are asked still */
    size_t held_max;
    enum stream_gate_state state;
    size_t who;
    const char *why;
    bool has_ended; /* no more text comes */
    bool has_asked;
    bool is_last_asked;
    struct sse_reader reader;
    struct dialect_texts_state reading;
    struct gate_channel *channels[STREAM_GATE_CHANNELS_MAX];
    size_t n_channels;
    struct gate_choice *choices[STREAM_GATE_CHANNELS_MAX];
    size_t n_choices;
    struct gate_entry *first;
    struct gate_entry **behind; /* where the next one is hung in */
    size_t held;
    unsigned pass;
    struct dyn_buf out;
    size_t out_taken;
};

stream_gate_t *
stream_gate_new(const struct stream_gate_options *options)
{
    struct stream_gate *gate = dyn_zalloc(sizeof *gate);
    DYN_ASSERT(options->n_voters <= STREAM_GATE_VOTERS_MAX);
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
    sse_reader_fini(&gate->reader);
    dyn_buf_fini(&gate->reading.head);
    dyn_buf_fini(&gate->out);
    free(gate);
}

static void
end(struct stream_gate *gate, enum stream_gate_state state, size_t who, const char *why)
{
    if (gate->state == STREAM_GATE_OPEN) {
        gate->state = state;
        gate->who = who;
        gate->why = why;
    }
}

/* ---- what comes in ---- */

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
    return gate->channels[gate->n_channels++] = gate_channel_new(id);
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
    return gate->choices[gate->n_choices++] = choice;
}

static void
hang_in(struct stream_gate *gate, struct gate_entry *entry)
{
    *gate->behind = entry;
    gate->behind = &entry->next;
    gate->held += entry->held;
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
    for (size_t i = 0; i < entry->n; i++) {
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
        end(gate, STREAM_GATE_UNREADABLE, 0, "an event of the stream cannot be read");
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
        end(gate, STREAM_GATE_UNREADABLE, 0, "the stream has too many tool calls");
        return;
    }
    hang_in(gate, entry);
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
pieces_left(struct gate_entry *entry, const uint64_t *until)
{
    for (size_t i = 0; i < entry->n; i++) {
        struct gate_piece *piece = &entry->pieces[i];
        piece->from = until[i];
        gate_channel_leave(piece->channel, until[i]);
    }
}

static void
let_go(struct stream_gate *gate, struct gate_entry *entry)
{
    uint64_t until[DIALECT_PIECES_MAX];
    for (size_t i = 0; i < entry->n; i++) {
        until[i] = entry->pieces[i].to;
    }
    if (entry->is_rest || !entry->is_plain || gate_entry_is_masked(entry)) {
        gate_entry_write(entry, until, gate->texts, &gate->reading, &gate->out);
    } else {
        dyn_buf_add_slice(&gate->out, entry->raw);
    }
    pieces_left(entry, until);
}

/* The clear part of an event's text goes with the event; the rest is text alone from then on. */
static void
split(struct stream_gate *gate, struct gate_entry *entry)
{
    uint64_t until[DIALECT_PIECES_MAX];
    bool has_any = false;
    size_t rest = 0;
    for (size_t i = 0; i < entry->n; i++) {
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
    pieces_left(entry, until);
    gate->held -= entry->held;
    entry->held = rest < entry->held ? rest : entry->held;
    gate->held += entry->held;
    entry->is_rest = entry->is_only_text = true;
}

static void
flush(struct stream_gate *gate)
{
    struct gate_entry **at = &gate->first;
    gate->pass++;
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

/* ---- much that waits ---- */

static bool
has_text(const struct gate_entry *entry)
{
    for (size_t i = 0; i < entry->n; i++) {
        if (entry->pieces[i].to > entry->pieces[i].from) {
            return true;
        }
    }
    return false;
}

/* Events of a few bytes of text have hundreds of their own. When many of them wait, those that say nothing
 * else become their text, and texts that follow each other one. */
static void
condense(struct stream_gate *gate)
{
    struct gate_entry *before = NULL;
    struct gate_entry **at = &gate->first;
    gate->held = 0;
    for (struct gate_entry *entry; (entry = *at) != NULL;) {
        if (!entry->is_only_text) {
            before = NULL;
        } else if (gate_entry_joins(entry, before)) {
            gate->held += (size_t)(entry->pieces[0].to - entry->pieces[0].from);
            *at = entry->next;
            free(entry);
            continue;
        } else if (!has_text(entry)) { /* nothing of it would be written */
            *at = entry->next;
            free(entry);
            continue;
        } else {
            *at = before = gate_entry_rest(entry);
            free(entry);
            entry = before;
        }
        gate->held += entry->held;
        at = &entry->next;
    }
    gate->behind = at;
}

/* ---- voters that fail ---- */

static void
leave_out(struct stream_gate *gate, size_t voter)
{
    gate->live &= ~(1u << voter);
    flush(gate);
}

static void
fail(struct stream_gate *gate, size_t voter, const char *why)
{
    if (!gate->voters[voter].row.fails_open) {
        end(gate, STREAM_GATE_FAILED, voter, why);
        return;
    }
    leave_out(gate, voter);
}

/* Text that the voter was asked about and has not cleared. */
static uint64_t
held_by(const struct stream_gate *gate, size_t voter)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < gate->n_channels; i++) {
        const struct gate_channel *channel = gate->channels[i];
        bytes += channel->asked > channel->clear[voter] ? channel->asked - channel->clear[voter] : 0;
    }
    return bytes;
}

static bool
owes(const struct stream_gate *gate, size_t voter)
{
    const struct gate_voter *one = &gate->voters[voter];
    return (gate->live >> voter & 1u) != 0 && one->answered < one->asked;
}

/* Whether a question is open. */
static bool
is_owed(const struct stream_gate *gate)
{
    for (size_t i = 0; i < gate->n_voters; i++) {
        if (owes(gate, i)) {
            return true;
        }
    }
    return false;
}

/* Of all the voters: who holds most. STREAM_GATE_VOTERS_MAX: nobody holds anything. */
static size_t
greatest_holder(const struct stream_gate *gate)
{
    size_t who = STREAM_GATE_VOTERS_MAX;
    uint64_t most = 0;
    for (size_t i = 0; i < gate->n_voters; i++) {
        uint64_t bytes = (gate->live >> i & 1u) != 0 ? held_by(gate, i) : 0;
        if (bytes > most) {
            who = i;
            most = bytes;
        }
    }
    return who;
}

static bool
has_more_to_ask(const struct stream_gate *gate)
{
    for (size_t i = 0; i < gate->n_channels; i++) {
        if (gate->channels[i]->seen > gate->channels[i]->asked) {
            return true;
        }
    }
    return false;
}

/* All have answered, and more waits than there is room for. That is the failure of who lets much text wait;
 * where a little text does, it is the stream that says too much else behind it. */
static void
bound_held(struct stream_gate *gate)
{
    if (gate->held > gate->held_max / CONDENSE_PARTS) {
        condense(gate);
    }
    if (gate->held <= gate->held_max || is_owed(gate) || has_more_to_ask(gate)) {
        return;
    }
    size_t who = greatest_holder(gate);
    if (who == STREAM_GATE_VOTERS_MAX) {
        return;
    }
    bool is_much = held_by(gate, who) >= gate->held_max / CONDENSE_PARTS;
    if (is_much || gate->voters[who].row.fails_open) {
        fail(gate, who, "it let too much text wait");
    } else {
        end(gate, STREAM_GATE_UNREADABLE, 0, "the stream says too much behind text that is not decided");
    }
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
        end(gate, STREAM_GATE_UNREADABLE, 0, "an event of the stream is too long");
    }
    if (gate->state == STREAM_GATE_OPEN) {
        flush(gate);
        if (!is_owed(gate) && !has_more_to_ask(gate)) { /* else the votes come first */
            bound_held(gate);
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

/* ---- questions ---- */

bool
stream_gate_take_ask(stream_gate_t *gate, uint64_t now_us, struct dyn_buf *body)
{
    struct vote_delta deltas[STREAM_GATE_CHANNELS_MAX];
    size_t n = 0;
    bool is_last = gate->has_ended && !gate->is_last_asked;
    if (gate->state != STREAM_GATE_OPEN || gate->live == 0 || is_owed(gate)) {
        return false;
    }
    for (size_t i = 0; i < gate->n_channels; i++) {
        struct gate_channel *channel = gate->channels[i];
        if (gate->has_ended) {
            gate_channel_end(channel);
        }
        if (channel->seen > channel->asked) {
            deltas[n++] =
                (struct vote_delta){channel->id, channel->asked, gate_channel_text(channel, channel->asked)};
            channel->asked = channel->seen;
        }
    }
    gate->is_last_asked = gate->is_last_asked || is_last;
    gate->has_asked = gate->has_asked || n > 0;
    if (n == 0 && !(is_last && gate->has_asked)) {
        return false;
    }
    vote_deltas_encode(deltas, n, is_last, body);
    for (size_t i = 0; i < gate->n_voters; i++) {
        struct gate_voter *voter = &gate->voters[i];
        if ((gate->live >> i & 1u) != 0 && voter->asked++ == voter->answered) {
            voter->since_us = now_us;
        }
    }
    return true;
}

bool
stream_gate_is_asked(const stream_gate_t *gate, size_t voter)
{
    return gate->state == STREAM_GATE_OPEN && (gate->live >> voter & 1u) != 0;
}

void
stream_gate_hand_over(stream_gate_t *gate, size_t voter, uint64_t now_us, struct dyn_buf *body)
{
    struct vote_delta deltas[STREAM_GATE_CHANNELS_MAX];
    struct gate_voter *one = &gate->voters[voter];
    DYN_ASSERT(one->asked > 0);
    for (size_t i = 0; i < gate->n_channels; i++) {
        struct vote_delta *delta = &deltas[i];
        delta->channel = gate->channels[i]->id;
        delta->text = gate_channel_rest(gate->channels[i], voter, &delta->from);
    }
    if (!owes(gate, voter)) {
        one->since_us = now_us;
        one->answered = one->asked - 1;
    }
    vote_deltas_encode_rest(deltas, gate->n_channels, gate->is_last_asked, body);
}

static struct gate_channel *
find_channel(const struct stream_gate *gate, struct vote_channel id)
{
    for (size_t i = 0; i < gate->n_channels; i++) {
        if (gate_channel_is(gate->channels[i], id)) {
            return gate->channels[i];
        }
    }
    return NULL;
}

static int
check_vote(const struct stream_gate *gate, size_t voter, const struct vote_mark *marks, size_t n_marks,
           struct dyn_err *err)
{
    if (gate->voters[voter].answered == gate->voters[voter].asked) {
        return dyn_err_set(err, DYN_E_INVALID, "it voted without a question");
    }
    for (size_t i = 0; i < n_marks; i++) {
        const struct gate_channel *channel = find_channel(gate, marks[i].channel);
        const char *wrong = channel == NULL ? "it voted on text that there is not"
                                            : gate_channel_check(channel, voter, &marks[i]);
        for (size_t j = 0; j < i && wrong == NULL; j++) {
            bool is_same = find_channel(gate, marks[j].channel) == channel;
            wrong = is_same ? "it voted on a channel twice at once" : NULL;
        }
        if (wrong != NULL) {
            return dyn_err_set(err, DYN_E_INVALID, "%s", wrong);
        }
    }
    return 0;
}

int
stream_gate_vote(stream_gate_t *gate, size_t voter, const struct vote_mark *marks, size_t n_marks, bool cuts,
                 uint64_t now_us, struct dyn_err *err)
{
    if (!stream_gate_is_asked(gate, voter)) {
        return 0;
    }
    if (n_marks > STREAM_GATE_CHANNELS_MAX) {
        return dyn_err_set(err, DYN_E_INVALID, "it voted on a channel twice at once");
    }
    if (check_vote(gate, voter, marks, n_marks, err) != 0) {
        return -1;
    }
    gate->voters[voter].answered++;
    gate->voters[voter].since_us = now_us;
    for (size_t i = 0; i < n_marks; i++) {
        gate_channel_mark(find_channel(gate, marks[i].channel), voter, &marks[i]);
    }
    for (size_t i = 0; i < gate->n_channels && gate->is_last_asked && !cuts;
         i++) { /* nothing follows to wait for */
        gate->channels[i]->clear[voter] = gate->channels[i]->asked;
    }
    flush(gate);
    if (cuts) {
        end(gate, STREAM_GATE_CUT, voter, "it cut the stream");
        return 0;
    }
    bound_held(gate);
    return 0;
}

void
stream_gate_fail(stream_gate_t *gate, size_t voter)
{
    if (stream_gate_is_asked(gate, voter)) {
        fail(gate, voter, "it did not vote");
    }
}

void
stream_gate_leave_out(stream_gate_t *gate, size_t voter)
{
    if (stream_gate_is_asked(gate, voter)) {
        leave_out(gate, voter);
    }
}

static uint64_t
due_us(const struct stream_gate *gate, size_t voter)
{
    const struct gate_voter *one = &gate->voters[voter];
    bool owes = stream_gate_is_asked(gate, voter) && one->answered < one->asked;
    return owes ? one->since_us + one->row.timeout_us : 0;
}

uint64_t
stream_gate_due_us(const stream_gate_t *gate)
{
    uint64_t first = 0;
    for (size_t i = 0; i < gate->n_voters; i++) {
        uint64_t due = due_us(gate, i);
        first = due != 0 && (first == 0 || due < first) ? due : first;
    }
    return first;
}

size_t
stream_gate_overdue(const stream_gate_t *gate, uint64_t now_us)
{
    for (size_t i = 0; i < gate->n_voters; i++) {
        uint64_t due = due_us(gate, i);
        if (due != 0 && due <= now_us) {
            return i;
        }
    }
    return STREAM_GATE_VOTERS_MAX;
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
