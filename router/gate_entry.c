#include "router/gate_entry.h"

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

/* Data that lies in one piece of the event's bytes is not copied twice. */
struct gate_entry *
gate_entry_new(const struct sse_event *event, const struct dialect_event_texts *seen)
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

struct gate_entry *
gate_entry_rest(const struct gate_entry *event)
{
    struct gate_entry *rest = dyn_zalloc(sizeof *rest + event->n * sizeof(struct gate_piece));
    rest->next = event->next;
    rest->scope = DIALECT_EVENT_PIECES;
    rest->choice = event->choice;
    rest->is_rest = rest->is_only_text = true;
    rest->n = event->n;
    rest->pieces = (struct gate_piece *)(void *)(rest + 1);
    rest->held = sizeof *rest + event->n * sizeof(struct gate_piece);
    for (size_t i = 0; i < event->n; i++) {
        rest->pieces[i] = event->pieces[i];
        rest->held += (size_t)(event->pieces[i].to - event->pieces[i].from);
    }
    return rest;
}

bool
gate_entry_joins(const struct gate_entry *entry, struct gate_entry *before)
{
    bool does = before != NULL && before->n == 1 && entry->n == 1 &&
                before->pieces[0].channel == entry->pieces[0].channel &&
                before->pieces[0].to == entry->pieces[0].from;
    if (does) {
        before->pieces[0].to = entry->pieces[0].to;
        before->held += (size_t)(entry->pieces[0].to - entry->pieces[0].from);
    }
    return does;
}

/* ---- what leaves ---- */

bool
gate_entry_is_masked(const struct gate_entry *entry)
{
    for (size_t i = 0; i < entry->n; i++) {
        if (gate_channel_is_masked(entry->pieces[i].channel, entry->pieces[i].from, entry->pieces[i].to)) {
            return true;
        }
    }
    return false;
}

static void
rewrite(const struct gate_entry *entry, const struct dyn_slice *texts, const struct dialect_texts *dialect,
        struct dyn_buf *out)
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
    dialect->rewrite(&entry->event, &seen, texts, out);
}

void
gate_entry_write(const struct gate_entry *entry, const uint64_t *until, const struct dialect_texts *dialect,
                 const struct dialect_texts_state *reading, struct dyn_buf *out)
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
            dialect->write(reading, entry->pieces[i].channel->id, texts[i], out);
        }
    }
    if (!entry->is_rest) {
        rewrite(entry, texts, dialect, out);
    }
    dyn_buf_fini(&text);
}
