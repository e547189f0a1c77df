#include "router/stream_gate.h"

#include "router/gate_channel.h"

#include <stdlib.h>

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
    bool is_rest;  /* only text: its event has left */
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

/* What must stay within a pass over all entries: marked with its number. */
struct gate_choice {
    uint32_t id;
    unsigned waits_in;   /* something of it stays */
    unsigned stopped_in; /* and nothing of it may overtake that */
};

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

static struct dyn_slice
put(char **at, struct dyn_slice bytes)
{
    struct dyn_slice copy = {*at, bytes.len};
    if (bytes.len > 0) {
        memcpy(*at, bytes.data, bytes.len);
    }
    *at += bytes.len;
    return copy;
}

/* The same place of the copied data. */
static struct json_value
moved(struct json_value value, struct dyn_slice from, struct dyn_slice to)
{
    value.raw.data = to.data + (value.raw.data - from.data);
    return value;
}

/* The event with all its bytes in our own memory. Data that lies in one piece of them is not copied twice. */
static struct gate_entry *
entry_new(const struct sse_event *event, const struct dialect_event_texts *seen)
{
    struct dyn_slice raw = event->raw;
    struct dyn_slice data = event->data;
    bool is_inside = data.data >= raw.data && data.data + data.len <= raw.data + raw.len;
    size_t size = sizeof(struct gate_entry) + seen->n * sizeof(struct gate_piece) +
                  seen->n_repeats * sizeof(struct json_value) + raw.len + data.len + event->type.len;
    struct gate_entry *entry = dyn_alloc(size);
    *entry =
        (struct gate_entry){.is_plain = true, .held = raw.len, .n = seen->n, .n_repeats = seen->n_repeats};
    entry->pieces = (struct gate_piece *)(void *)(entry + 1);
    entry->repeats = (struct json_value *)(void *)(entry->pieces + seen->n);
    char *at = (char *)(entry->repeats + seen->n_repeats);
    entry->raw = put(&at, raw);
    entry->event.raw = entry->raw;
    entry->event.data =
        is_inside ? dyn_slice(entry->raw.data + (data.data - raw.data), data.len) : put(&at, data);
    if (event->type.data != NULL) {
        entry->event.type = put(&at, event->type);
    }
    for (size_t i = 0; i < seen->n; i++) {
        entry->pieces[i] =
            (struct gate_piece){.value = moved(seen->pieces[i].value, data, entry->event.data)};
    }
    for (size_t i = 0; i < seen->n_repeats; i++) {
        entry->repeats[i] = moved(seen->repeats[i], data, entry->event.data);
    }
    return entry;
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

static void
take_event(struct stream_gate *gate, const struct sse_event *event)
{
    struct dialect_event_texts seen;
    bool is_read = gate->texts->event(&gate->reading, event, &seen) == 0;
    if (is_read && seen.is_silent) {
        return; /* readers are kept awake by the edge */
    }
    if (!is_read && gate->live != 0) {
        end(gate, STREAM_GATE_UNREADABLE, 0, "an event of the stream cannot be read");
        return;
    }
    if (!is_read) { /* nobody is left who looks */
        seen.scope = DIALECT_EVENT_ALL;
        seen.is_end = false;
        seen.n = seen.n_repeats = 0;
    }
    struct gate_entry *entry = entry_new(event, &seen);
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

static bool
is_masked(const struct gate_entry *entry)
{
    for (size_t i = 0; i < entry->n; i++) {
        if (gate_channel_is_masked(entry->pieces[i].channel, entry->pieces[i].from, entry->pieces[i].to)) {
            return true;
        }
    }
    return false;
}

static void
rewrite(struct stream_gate *gate, const struct gate_entry *entry, const struct dyn_slice *texts)
{
    struct dialect_event_texts seen;
    seen.n = entry->n;
    seen.n_repeats = entry->n_repeats;
    for (size_t i = 0; i < entry->n; i++) {
        seen.pieces[i] = (struct dialect_piece){entry->pieces[i].channel->id, entry->pieces[i].value};
    }
    for (size_t i = 0; i < entry->n_repeats; i++) {
        seen.repeats[i] = entry->repeats[i];
    }
    gate->texts->rewrite(&entry->event, &seen, texts, &gate->out);
}

/* Writes the entry with its text up to `until` of each piece; with a rest, what is masked of it goes along.
 */
static void
write_entry(struct stream_gate *gate, const struct gate_entry *entry, const uint64_t *until)
{
    struct dyn_slice texts[DIALECT_PIECES_MAX];
    size_t offsets[DIALECT_PIECES_MAX + 1];
    struct dyn_buf text = DYN_BUF_INIT;
    for (size_t i = 0; i < entry->n; i++) {
        offsets[i] = text.len;
        gate_channel_write(entry->pieces[i].channel, entry->pieces[i].from, until[i], &text);
    }
    offsets[entry->n] = text.len;
    for (size_t i = 0; i < entry->n; i++) {
        texts[i] = dyn_slice(text.len > 0 ? text.data + offsets[i] : "", offsets[i + 1] - offsets[i]);
        if (entry->is_rest && texts[i].len > 0) {
            gate->texts->write(&gate->reading, entry->pieces[i].channel->id, texts[i], &gate->out);
        }
    }
    if (!entry->is_rest) {
        rewrite(gate, entry, texts);
    }
    dyn_buf_fini(&text);
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
    if (entry->is_rest || !entry->is_plain || is_masked(entry)) {
        write_entry(gate, entry, until);
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
    write_entry(gate, entry, until);
    pieces_left(entry, until);
    gate->held -= entry->held;
    entry->held = rest < entry->held ? rest : entry->held;
    gate->held += entry->held;
    entry->is_rest = true;
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

static void
fail(struct stream_gate *gate, size_t voter, const char *why)
{
    if (!gate->voters[voter].row.fails_open) {
        end(gate, STREAM_GATE_FAILED, voter, why);
        return;
    }
    gate->live &= ~(1u << voter);
    flush(gate);
}

/* Whoever was asked all, has answered all and still holds back may wait for text that will never come, since
 * there is no room for it. */
static void
fail_holders(struct stream_gate *gate)
{
    bool is_over = gate->is_last_asked;
    for (size_t i = 0; i < gate->n_voters && gate->state == STREAM_GATE_OPEN; i++) {
        const struct gate_voter *voter = &gate->voters[i];
        if ((gate->live >> i & 1u) == 0 || voter->answered < voter->asked ||
            !(is_over || gate->held > gate->held_max)) {
            continue;
        }
        for (size_t j = 0; j < gate->n_channels; j++) {
            const struct gate_channel *channel = gate->channels[j];
            if (channel->clear[i] < channel->asked) {
                fail(gate, i, is_over ? "it held text back at the end" : "it let too much text wait");
                break;
            }
        }
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
        fail_holders(gate);
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
    if (gate->state != STREAM_GATE_OPEN || gate->live == 0) {
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
    flush(gate);
    if (cuts) {
        end(gate, STREAM_GATE_CUT, voter, "it cut the stream");
    } else {
        fail_holders(gate);
    }
    return 0;
}

void
stream_gate_fail(stream_gate_t *gate, size_t voter)
{
    if (stream_gate_is_asked(gate, voter)) {
        fail(gate, voter, "it did not vote");
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
void
stream_gate_close(stream_gate_t *gate, struct dyn_slice text)
{
    uint32_t ids[STREAM_GATE_CHANNELS_MAX] = {0};
    for (size_t i = 0; i < gate->n_choices; i++) {
        ids[i] = gate->choices[i]->id;
    }
    gate->texts->close(&gate->reading, ids, gate->n_choices > 0 ? gate->n_choices : 1, text, &gate->out);
}
