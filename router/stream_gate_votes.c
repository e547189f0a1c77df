/* The voters of a stream gate: what they are asked, what they say, and what becomes of those that fail or let
 * too much wait. */
#include "router/stream_gate_impl.h"

#include <stdlib.h>

/* Events that wait become their text when they fill this part of what may wait. */
enum { CONDENSE_PARTS = 4 };

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
    stream_gate_flush(gate);
}

static void
fail(struct stream_gate *gate, size_t voter, const char *why)
{
    if (!gate->voters[voter].row.fails_open) {
        stream_gate_stop(gate, STREAM_GATE_FAILED, voter, why);
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

bool
stream_gate_is_idle(const struct stream_gate *gate)
{
    return !is_owed(gate) && !has_more_to_ask(gate);
}

/* All have answered, and more waits than there is room for. That is the failure of who lets much text wait;
 * where a little text does, it is the stream that says too much else behind it. */
void
stream_gate_bound(struct stream_gate *gate)
{
    if (gate->held > gate->held_max / CONDENSE_PARTS) {
        condense(gate);
    }
    if (gate->held <= gate->held_max || !stream_gate_is_idle(gate)) {
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
        stream_gate_stop(gate, STREAM_GATE_UNREADABLE, 0,
                         "the stream says too much behind text that is not decided");
    }
}

/* ---- questions ---- */

bool
stream_gate_take_deltas(stream_gate_t *gate, uint64_t now_us,
                        struct vote_delta items[STREAM_GATE_CHANNELS_MAX], struct vote_deltas *deltas)
{
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
            items[n++] =
                (struct vote_delta){channel->id, channel->asked, gate_channel_text(channel, channel->asked)};
            channel->asked = channel->seen;
        }
    }
    gate->is_last_asked = gate->is_last_asked || is_last;
    gate->has_asked = gate->has_asked || n > 0;
    if (n == 0 && !(is_last && gate->has_asked)) {
        return false;
    }
    *deltas = (struct vote_deltas){items, n, is_last};
    for (size_t i = 0; i < gate->n_voters; i++) {
        struct gate_voter *voter = &gate->voters[i];
        if ((gate->live >> i & 1u) != 0 && voter->asked++ == voter->answered) {
            voter->since_us = now_us;
        }
    }
    return true;
}

bool
stream_gate_take_ask(stream_gate_t *gate, uint64_t now_us, struct dyn_buf *body)
{
    struct vote_delta items[STREAM_GATE_CHANNELS_MAX];
    struct vote_deltas deltas;
    if (!stream_gate_take_deltas(gate, now_us, items, &deltas)) {
        return false;
    }
    vote_deltas_encode(deltas.items, deltas.n, deltas.is_last, body);
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
    stream_gate_flush(gate);
    if (cuts) {
        stream_gate_stop(gate, STREAM_GATE_CUT, voter, "it cut the stream");
        return 0;
    }
    stream_gate_bound(gate);
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
