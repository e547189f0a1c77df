/* Records of keys as JSON: a line of a store, and what people may see. Reading is key_read.c. */
#include "router/key_json.h"

#include "core/clock.h"
#include "core/rand.h"

#include <stdio.h>

static void
add_text(struct dyn_buf *out, const char *name, struct dyn_slice text)
{
    if (text.data != NULL) {
        dyn_buf_addf(out, ",\"%s\":", name);
        dyn_buf_add_json_string(out, text);
    }
}

void
key_json_hex(const char *name, const uint8_t *bytes, size_t len, struct dyn_buf *out)
{
    char hex[2 * KEY_DIGEST_BYTES];
    dyn_hex_encode(hex, bytes, len);
    dyn_buf_addf(out, ",\"%s\":\"%.*s\"", name, (int)(2 * len), hex);
}

static void
add_time(struct dyn_buf *out, const char *name, uint64_t ms, bool shows_null)
{
    char text[DYN_TIMESTAMP_SIZE];
    if (ms != 0) {
        dyn_timestamp(ms * 1000, text);
        dyn_buf_addf(out, ",\"%s\":\"%s\"", name, text);
    } else if (shows_null) {
        dyn_buf_addf(out, ",\"%s\":null", name);
    }
}

void
key_json_time(const char *name, uint64_t ms, struct dyn_buf *out)
{
    add_time(out, name, ms, false);
}

void
key_json_scopes(uint32_t scopes, struct dyn_buf *out)
{
    const char *comma = "";
    dyn_buf_add_char(out, '[');
    for (uint32_t scope = 1; scope <= KEY_SCOPES_ALL; scope <<= 1) {
        if ((scopes & scope) != 0) {
            dyn_buf_addf(out, "%s\"%s\"", comma, key_scope_name(scope));
            comma = ",";
        }
    }
    dyn_buf_add_char(out, ']');
}

void
key_json_list(const struct key_list *list, struct dyn_buf *out)
{
    dyn_buf_add_char(out, '[');
    for (size_t i = 0; i < list->n; i++) {
        dyn_buf_add_str(out, i > 0 ? "," : "");
        dyn_buf_add_json_string(out, list->items[i]);
    }
    dyn_buf_add_char(out, ']');
}

static void
add_list(struct dyn_buf *out, const char *name, const struct key_list *list, bool shows_empty)
{
    if (list->n > 0 || shows_empty) {
        dyn_buf_addf(out, ",\"%s\":", name);
        key_json_list(list, out);
    }
}

const struct key_number_field key_limit_fields[KEY_LIMIT_FIELDS] = {
    {"requests_per_minute", offsetof(struct key_limits, requests_per_minute)},
    {"requests_per_day", offsetof(struct key_limits, requests_per_day)},
    {"tokens_per_minute", offsetof(struct key_limits, tokens_per_minute)},
    {"tokens_per_day", offsetof(struct key_limits, tokens_per_day)},
};

const struct key_number_field key_budget_fields[KEY_BUDGET_FIELDS] = {
    {"day_usd", offsetof(struct key_budget, day)},
    {"week_usd", offsetof(struct key_budget, week)},
    {"month_usd", offsetof(struct key_budget, month)},
};

static uint64_t
number_at(const void *base, const struct key_number_field *field)
{
    uint64_t number;
    memcpy(&number, (const char *)base + field->offset, sizeof number);
    return number;
}

void
key_json_limits(const struct key_limits *limits, struct dyn_buf *out)
{
    const char *comma = "";
    dyn_buf_add_char(out, '{');
    for (size_t i = 0; i < KEY_LIMIT_FIELDS; i++) {
        uint64_t number = number_at(limits, &key_limit_fields[i]);
        if (number != 0) {
            dyn_buf_addf(out, "%s\"%s\":%llu", comma, key_limit_fields[i].name, (unsigned long long)number);
            comma = ",";
        }
    }
    dyn_buf_add_char(out, '}');
}

/* Twelve digits behind the point at most, those that are zero left out. */
static void
add_usd(struct dyn_buf *out, uint64_t pico)
{
    char digits[32];
    int len = snprintf(digits, sizeof digits, "%llu.%012llu", (unsigned long long)(pico / KEY_PICO_PER_USD),
                       (unsigned long long)(pico % KEY_PICO_PER_USD));
    while (len > 0 && digits[len - 1] == '0') {
        len--;
    }
    len -= len > 0 && digits[len - 1] == '.';
    dyn_buf_add(out, digits, (size_t)len);
}

void
key_json_budget(const struct key_budget *budget, struct dyn_buf *out)
{
    const char *comma = "";
    dyn_buf_add_char(out, '{');
    for (size_t i = 0; i < KEY_BUDGET_FIELDS; i++) {
        uint64_t pico = number_at(budget, &key_budget_fields[i]);
        if (pico != 0) {
            dyn_buf_addf(out, "%s\"%s\":", comma, key_budget_fields[i].name);
            add_usd(out, pico);
            comma = ",";
        }
    }
    dyn_buf_add_char(out, '}');
}

/* What a store keeps and what people see have these in common. */
static void
add_common(struct dyn_buf *out, const struct key_record *record, bool is_shown)
{
    add_text(out, "name", record->name);
    dyn_buf_add_str(out, ",\"scopes\":");
    key_json_scopes(record->scopes, out);
    add_list(out, "models", &record->models, is_shown);
    add_list(out, "targets", &record->targets, is_shown);
    dyn_buf_add_str(out, ",\"limits\":");
    key_json_limits(&record->limits, out);
    dyn_buf_add_str(out, ",\"budget\":");
    key_json_budget(&record->budget, out);
    if (is_shown && record->group.data == NULL) {
        dyn_buf_add_str(out, ",\"group\":null");
    }
    add_text(out, "group", record->group);
    dyn_buf_add_str(out, record->metadata.len > 0 || is_shown ? ",\"metadata\":" : "");
    dyn_buf_add_slice(out, record->metadata.len > 0 ? record->metadata
                           : is_shown               ? DYN_SLICE("{}")
                                                    : dyn_slice("", 0));
    add_time(out, "created_at", record->created_ms, is_shown);
    add_time(out, "expires_at", record->expires_ms, is_shown);
    add_time(out, "rotated_at", record->rotated_ms, is_shown);
    add_time(out, "revoked_at", record->revoked_ms, is_shown);
}

void
key_record_write(const struct key_record *record, struct dyn_buf *out)
{
    dyn_buf_addf(out, "{\"id\":\"%.*s\"", KEY_ID_LEN, record->id.data);
    key_json_hex("salt", record->salt, sizeof record->salt, out);
    key_json_hex("digest", record->digest, sizeof record->digest, out);
    add_text(out, "tail", dyn_slice_str(record->tail));
    add_common(out, record, false);
    if (record->uses != NULL && atomic_load(&record->uses->count) > 0) {
        dyn_buf_addf(out, ",\"usage_count\":%llu", (unsigned long long)atomic_load(&record->uses->count));
        add_time(out, "last_used_at", atomic_load(&record->uses->last_ms), false);
    }
    dyn_buf_add_char(out, '}');
}

void
key_record_show(const struct key_record *record, const char *secret, uint64_t now_ms, struct dyn_buf *out)
{
    char display[KEY_DISPLAY_SIZE];
    uint64_t count = record->uses != NULL ? atomic_load(&record->uses->count) : 0;
    uint64_t last_ms = record->uses != NULL ? atomic_load(&record->uses->last_ms) : 0;
    key_display(record, display);
    dyn_buf_addf(out, "{\"id\":\"%.*s\",\"key\":\"%s\"", KEY_ID_LEN, record->id.data,
                 secret != NULL ? secret : display);
    add_common(out, record, true);
    dyn_buf_addf(out, ",\"active\":%s,\"usage_count\":%llu", key_is_usable(record, now_ms) ? "true" : "false",
                 (unsigned long long)count);
    add_time(out, "last_used_at", last_ms, true);
    dyn_buf_add_char(out, '}');
}
