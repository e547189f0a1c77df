#include "router/key_rows.h"

#include "router/key_json.h"

#include <stdio.h>

#define US_PER_MS UINT64_C(1000)

/* ---- writing ---- */

static struct dyn_slice
kept(struct dyn_buf *text, struct arena *arena)
{
    struct dyn_slice copy = arena_copy(arena, dyn_buf_slice(text));
    dyn_buf_clear(text);
    return copy;
}

static struct dyn_slice
list_text(const struct key_list *list, struct dyn_buf *text, struct arena *arena)
{
    if (list->n == 0) {
        return dyn_slice(NULL, 0);
    }
    key_json_list(list, text);
    return kept(text, arena);
}

void
key_row_fill(const struct key_record *record, struct arena *arena, struct ledger_api_key *row)
{
    struct dyn_buf text = DYN_BUF_INIT;
    *row = (struct ledger_api_key){
        .id = record->id,
        .name = record->name,
        .salt = dyn_slice((const char *)record->salt, sizeof record->salt),
        .hash = dyn_slice((const char *)record->digest, sizeof record->digest),
        .metadata = record->metadata,
        .created_us = record->created_ms * US_PER_MS,
        .expires_us = record->expires_ms * US_PER_MS,
        .revoked_us = record->revoked_ms * US_PER_MS,
        .rotated_us = record->rotated_ms * US_PER_MS,
        .tail = dyn_slice_str(record->tail),
        .owner_group = record->group,
    };
    key_json_scopes(record->scopes, &text);
    row->scopes = kept(&text, arena);
    row->models = list_text(&record->models, &text, arena);
    row->targets = list_text(&record->targets, &text, arena);
    key_json_limits(&record->limits, &text);
    row->limits = kept(&text, arena);
    key_json_budget(&record->budget, &text);
    row->budget = kept(&text, arena);
    dyn_buf_fini(&text);
}

void
key_row_fill_deleted(struct dyn_slice id, uint64_t now_ms, struct ledger_api_key *row)
{
    *row = (struct ledger_api_key){.id = id, .deleted_us = now_ms * US_PER_MS};
}

/* ---- reading ---- */

static void
add_text(struct dyn_buf *line, const char *name, struct dyn_slice text)
{
    if (text.data != NULL) {
        dyn_buf_addf(line, ",\"%s\":", name);
        dyn_buf_add_json_string(line, text);
    }
}

static void
add_json(struct dyn_buf *line, const char *name, struct dyn_slice json)
{
    if (json.len > 0) {
        dyn_buf_addf(line, ",\"%s\":", name);
        dyn_buf_add_slice(line, json);
    }
}

static void
add_bytes(struct dyn_buf *line, const char *name, struct dyn_slice bytes, size_t wanted)
{
    if (bytes.len == wanted) {
        key_json_hex(name, (const uint8_t *)bytes.data, bytes.len, line);
    }
}

/* By way of a line as a file of keys has it: one reader checks both. */
int
key_row_read(const struct ledger_api_key *row, struct arena *arena, struct key_record *record,
             struct dyn_err *err)
{
    struct dyn_buf line = DYN_BUF_INIT;
    dyn_buf_add_str(&line, "{\"id\":");
    dyn_buf_add_json_string(&line, row->id);
    add_text(&line, "name", row->name);
    add_bytes(&line, "salt", row->salt, KEY_SALT_BYTES);
    add_bytes(&line, "digest", row->hash, KEY_DIGEST_BYTES);
    add_text(&line, "tail", row->tail);
    add_json(&line, "scopes", row->scopes);
    add_json(&line, "models", row->models);
    add_json(&line, "targets", row->targets);
    add_json(&line, "limits", row->limits);
    add_json(&line, "budget", row->budget);
    add_text(&line, "group", row->owner_group);
    add_json(&line, "metadata", row->metadata);
    key_json_time("created_at", row->created_us / US_PER_MS, &line);
    key_json_time("expires_at", row->expires_us / US_PER_MS, &line);
    key_json_time("rotated_at", row->rotated_us / US_PER_MS, &line);
    key_json_time("revoked_at", row->revoked_us / US_PER_MS, &line);
    dyn_buf_add_char(&line, '}');
    int rc = key_record_read(dyn_buf_slice(&line), arena, record, err);
    dyn_buf_fini(&line);
    if (rc == 0 && (row->salt.len != KEY_SALT_BYTES || row->hash.len != KEY_DIGEST_BYTES)) {
        return dyn_err_set(err, DYN_E_INVALID, "a key without salt and hash");
    }
    record->stored_uses = row->usage_count;
    record->stored_last_ms = row->last_used_us / US_PER_MS;
    return rc;
}
