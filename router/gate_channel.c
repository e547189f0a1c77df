#include "router/gate_channel.h"

#include <stdlib.h>

/* Text that has left is thrown away when there is more of it than of what is still there. */
enum { GATE_TRIM_BYTES = 512 };

struct gate_channel *
gate_channel_new(struct vote_channel id, size_t n_voters)
{
    struct gate_channel *channel = dyn_zalloc(sizeof *channel + n_voters * sizeof channel->clear[0]);
    channel->id = id;
    return channel;
}

void
gate_channel_free(struct gate_channel *channel)
{
    for (size_t i = 0; i < channel->n_masks; i++) {
        free(channel->masks[i].text);
    }
    free(channel->masks);
    dyn_buf_fini(&channel->text);
    free(channel);
}

bool
gate_channel_is(const struct gate_channel *channel, struct vote_channel id)
{
    return channel->id.choice == id.choice && channel->id.kind == id.kind && channel->id.tool == id.tool;
}

bool
gate_channel_add(struct gate_channel *channel, struct json_value piece, uint64_t *from, uint64_t *to)
{
    *from = channel->seen;
    bool is_alone = dialect_piece_decode(piece, &channel->half, &channel->text);
    channel->seen = channel->base + channel->text.len;
    *to = channel->seen;
    return is_alone;
}

void
gate_channel_end(struct gate_channel *channel)
{
    channel->half = 0; /* its first half was never shown: nothing is missing */
}

struct dyn_slice
gate_channel_text(const struct gate_channel *channel, uint64_t from)
{
    size_t offset = (size_t)(from - channel->base);
    return dyn_slice(channel->text.len > 0 ? channel->text.data + offset : "", channel->text.len - offset);
}

/* ---- votes ---- */

static bool
is_boundary(const struct gate_channel *channel, uint64_t position)
{
    if (position < channel->base || position >= channel->base + channel->text.len) {
        return true;
    }
    return ((unsigned char)channel->text.data[position - channel->base] & 0xC0) != 0x80;
}

struct dyn_slice
gate_channel_rest(const struct gate_channel *channel, size_t voter, uint64_t *from)
{
    uint64_t begins = channel->clear[voter] > channel->base ? channel->clear[voter] : channel->base;
    while (begins > channel->base && !is_boundary(channel, begins)) {
        begins--;
    }
    *from = begins;
    struct dyn_slice text = gate_channel_text(channel, begins);
    return dyn_slice(text.data, (size_t)(channel->asked - begins));
}

const char *
gate_channel_check(const struct gate_channel *channel, size_t voter, const struct vote_mark *mark)
{
    uint64_t behind = channel->clear[voter];
    if (mark->clear > channel->asked) {
        return "it cleared text that it had not been asked about";
    }
    if (channel->n_masks + mark->n_masks > STREAM_GATE_MASKS_MAX) {
        return "it masked too many places at once";
    }
    for (size_t i = 0; i < mark->n_masks; i++) {
        const struct vote_mask *mask = &mark->masks[i];
        if (mask->from < behind || mask->to <= mask->from || mask->to > mark->clear) {
            return "its masks lie outside of what it cleared, or overlap";
        }
        if (!is_boundary(channel, mask->from) || !is_boundary(channel, mask->to)) {
            return "a mask of it cuts a character";
        }
        behind = mask->to;
    }
    return NULL;
}

static void
remove_masks(struct gate_channel *channel, size_t first, size_t n)
{
    for (size_t i = first; i < first + n; i++) {
        free(channel->masks[i].text);
    }
    channel->n_masks -= n;
    if (channel->n_masks > first) {
        memmove(channel->masks + first, channel->masks + first + n,
                (channel->n_masks - first) * sizeof *channel->masks);
    }
}

static void
insert_mask(struct gate_channel *channel, size_t at, struct gate_mask mask)
{
    if (channel->n_masks == channel->masks_cap) {
        channel->masks_cap = channel->masks_cap > 0 ? channel->masks_cap * 2 : 4;
        channel->masks = dyn_realloc(channel->masks, channel->masks_cap * sizeof *channel->masks);
    }
    if (channel->n_masks > at) {
        memmove(channel->masks + at + 1, channel->masks + at,
                (channel->n_masks - at) * sizeof *channel->masks);
    }
    channel->masks[at] = mask;
    channel->n_masks++;
}

/* Takes in those that it overlaps. */
static void
add_mask(struct gate_channel *channel, size_t voter, const struct vote_mask *asked)
{
    struct gate_mask mask = {.from = asked->from, .to = asked->to, .voter = voter};
    struct dyn_slice text = asked->text;
    size_t first = 0;
    while (first < channel->n_masks && channel->masks[first].to <= mask.from) {
        first++;
    }
    size_t n = 0;
    for (; first + n < channel->n_masks && channel->masks[first + n].from < mask.to; n++) {
        const struct gate_mask *other = &channel->masks[first + n];
        mask.from = other->from < mask.from ? other->from : mask.from;
        mask.to = other->to > mask.to ? other->to : mask.to;
        if (other->voter <= mask.voter) {
            mask.voter = other->voter;
            text = dyn_slice(other->text, other->text_len);
        }
    }
    mask.text = dyn_strndup(text.len > 0 ? text.data : "", text.len);
    mask.text_len = text.len;
    remove_masks(channel, first, n);
    insert_mask(channel, first, mask);
}

void
gate_channel_mark(struct gate_channel *channel, size_t voter, const struct vote_mark *mark)
{
    for (size_t i = 0; i < mark->n_masks; i++) {
        add_mask(channel, voter, &mark->masks[i]);
    }
    if (mark->clear > channel->clear[voter]) {
        channel->clear[voter] = mark->clear;
    }
}

uint64_t
gate_channel_clear(const struct gate_channel *channel, uint32_t voters)
{
    uint64_t clear = channel->seen;
    for (size_t i = 0; voters >> i != 0; i++) {
        if ((voters >> i & 1u) != 0 && channel->clear[i] < clear) {
            clear = channel->clear[i];
        }
    }
    while (clear > channel->left && !is_boundary(channel, clear)) {
        clear--;
    }
    return clear;
}

/* ---- what leaves ---- */

bool
gate_channel_is_masked(const struct gate_channel *channel, uint64_t from, uint64_t to)
{
    for (size_t i = 0; i < channel->n_masks; i++) {
        if (channel->masks[i].from < to && channel->masks[i].to > from) {
            return true;
        }
    }
    return false;
}

/* The text of a mask stands where it begins. */
void
gate_channel_write(const struct gate_channel *channel, uint64_t from, uint64_t to, struct dyn_buf *out)
{
    for (size_t i = 0; i < channel->n_masks && from < to; i++) {
        const struct gate_mask *mask = &channel->masks[i];
        if (mask->to <= from || mask->from >= to) {
            continue;
        }
        if (mask->from >= from) {
            dyn_buf_add(out, channel->text.data + (from - channel->base), (size_t)(mask->from - from));
            dyn_buf_add(out, mask->text, mask->text_len);
        }
        from = mask->to < to ? mask->to : to;
    }
    if (from < to) {
        dyn_buf_add(out, channel->text.data + (from - channel->base), (size_t)(to - from));
    }
}

void
gate_channel_leave(struct gate_channel *channel, uint64_t to)
{
    size_t n = 0;
    channel->left = to > channel->left ? to : channel->left;
    while (n < channel->n_masks && channel->masks[n].to <= channel->left) {
        n++;
    }
    if (n > 0) {
        remove_masks(channel, 0, n);
    }
    if (channel->left > channel->asked) { /* nobody is asked any more */
        channel->asked = channel->left;
    }
    size_t gone = (size_t)(channel->left - channel->base);
    size_t rest = channel->text.len - gone;
    if (gone > 0 && (rest == 0 || (gone > GATE_TRIM_BYTES && gone > rest))) {
        memmove(channel->text.data, channel->text.data + gone, rest);
        channel->text.len = rest;
        channel->base = channel->left;
    }
}
