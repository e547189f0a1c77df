/* Records of keys that were written as JSON: by a store, which is believed, or by people, whose mistakes are
 * named. Writing is key_json.c. */
#include "core/json_scan.h"
#include "core/rand.h"
#include "router/key_json.h"

#include <math.h>
#include <stdio.h>
#include <time.h>

enum { JSON_DEPTH = 16 };
#define USD_MAX 1e6 /* of a budget: what fits into 64 bits with room to add up */

/* ---- times ---- */

static bool
two_digits(const char *at, int most, int *out)
{
    if (at[0] < '0' || at[0] > '9' || at[1] < '0' || at[1] > '9') {
        return false;
    }
    *out = (at[0] - '0') * 10 + (at[1] - '0');
    return *out <= most;
}

/* "Z", or "+02:00": seconds east of Greenwich. */
static bool
read_offset(struct dyn_slice text, int *seconds)
{
    int hours;
    int minutes;
    *seconds = 0;
    if (text.len == 1) {
        return text.data[0] == 'Z' || text.data[0] == 'z';
    }
    if (text.len != 6 || (text.data[0] != '+' && text.data[0] != '-') || text.data[3] != ':' ||
        !two_digits(text.data + 1, 23, &hours) || !two_digits(text.data + 4, 59, &minutes)) {
        return false;
    }
    *seconds = (hours * 60 + minutes) * (text.data[0] == '-' ? -60 : 60);
    return true;
}

/* RFC 3339, section 5.6. */
uint64_t
key_time_read(struct dyn_slice text)
{
    enum { FRACTION_AT = 19 };
    struct tm tm = {0};
    int century;
    int year;
    int offset;
    if (text.len <= FRACTION_AT || text.data[4] != '-' || text.data[7] != '-' ||
        (text.data[10] != 'T' && text.data[10] != 't' && text.data[10] != ' ') || text.data[13] != ':' ||
        text.data[16] != ':' || !two_digits(text.data, 99, &century) ||
        !two_digits(text.data + 2, 99, &year) || !two_digits(text.data + 5, 12, &tm.tm_mon) ||
        !two_digits(text.data + 8, 31, &tm.tm_mday) || !two_digits(text.data + 11, 23, &tm.tm_hour) ||
        !two_digits(text.data + 14, 59, &tm.tm_min) || !two_digits(text.data + 17, 60, &tm.tm_sec) ||
        tm.tm_mon == 0 || tm.tm_mday == 0) {
        return 0;
    }
    uint64_t ms = 0;
    size_t at = FRACTION_AT;
    if (text.data[at] == '.') {
        uint64_t unit = 100;
        for (at++; at < text.len && text.data[at] >= '0' && text.data[at] <= '9'; at++, unit /= 10) {
            ms += unit * (uint64_t)(text.data[at] - '0');
        }
    }
    if (!read_offset(dyn_slice(text.data + at, text.len - at), &offset)) {
        return 0;
    }
    int month = tm.tm_mon - 1;
    int day = tm.tm_mday;
    tm.tm_year = century * 100 + year - 1900;
    tm.tm_mon = month;
    time_t seconds = timegm(&tm);
    if (tm.tm_mon != month || tm.tm_mday != day) { /* the 31st of a shorter month */
        return 0;
    }
    return seconds > offset ? (uint64_t)(seconds - offset) * 1000 + ms : 0;
}

/* ---- records ---- */

struct taking {
    struct arena *arena;
    struct key_record *record;
    struct key_problem *problem;
    uint64_t now_ms; /* 0: a store is read, which is believed, and whose later members are skipped */
    bool clears_expiry;
    bool has_expiry;
};

static int
wrong(struct taking *taking, const char *param, const char *text)
{
    taking->problem->param = param;
    (void)snprintf(taking->problem->text, sizeof taking->problem->text, "'%s' %s", param, text);
    return 1;
}

static struct dyn_slice
decoded(struct taking *taking, struct json_value text)
{
    struct dyn_slice plain = json_string_plain(text);
    if (plain.data != NULL) {
        return arena_copy(taking->arena, plain);
    }
    struct dyn_buf buf = DYN_BUF_INIT;
    json_string_decode(text, &buf);
    struct dyn_slice copy = arena_copy(taking->arena, dyn_buf_slice(&buf));
    dyn_buf_fini(&buf);
    return copy;
}

static bool
is_shown_text(struct dyn_slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if ((unsigned char)text.data[i] < ' ' || text.data[i] == 0x7f) {
            return false;
        }
    }
    return text.len > 0 && text.len <= KEY_NAME_MAX;
}

static int
take_text(struct taking *taking, const char *param, struct json_value value, struct dyn_slice *out)
{
    if (value.type == JSON_NULL) {
        *out = dyn_slice(NULL, 0);
        return 0;
    }
    struct dyn_slice text = value.type == JSON_STRING ? decoded(taking, value) : dyn_slice(NULL, 0);
    if (!is_shown_text(text)) {
        return wrong(taking, param, "must be a text of 1 to 256 bytes without control characters");
    }
    *out = text;
    return 0;
}

static int
take_list(struct taking *taking, const char *param, struct json_value value, struct key_list *out)
{
    struct json_member item;
    size_t n = 0;
    if (value.type == JSON_NULL) {
        *out = (struct key_list){NULL, 0};
        return 0;
    }
    for (struct json_iter it = json_iter(value); value.type == JSON_ARRAY && json_iter_next(&it, &item);) {
        n++;
    }
    if (value.type != JSON_ARRAY || n > KEY_LIST_MAX) {
        return wrong(taking, param, "must be a list of at most 256 names");
    }
    struct dyn_slice *items = arena_alloc(taking->arena, (n + 1) * sizeof *items);
    n = 0;
    for (struct json_iter it = json_iter(value); json_iter_next(&it, &item);) {
        if (item.value.type == JSON_NULL || take_text(taking, param, item.value, &items[n]) != 0) {
            return wrong(taking, param, "must be a list of names");
        }
        n++;
    }
    *out = (struct key_list){items, n};
    return 0;
}

/* None means the least that is of use: to send requests. */
static int
take_scopes(struct taking *taking, struct json_value value)
{
    struct key_list names = {NULL, 0};
    uint32_t scopes = 0;
    taking->problem->is_scope = true;
    if (take_list(taking, "scopes", value, &names) != 0) {
        return 1;
    }
    for (size_t i = 0; i < names.n; i++) {
        uint32_t scope = key_scope_by_name(names.items[i]);
        if (scope == 0) {
            return wrong(taking, "scopes", "may have inference, read_only and admin");
        }
        scopes |= scope;
    }
    taking->record->scopes = scopes != 0 ? scopes : KEY_SCOPE_INFERENCE;
    taking->problem->is_scope = false;
    return 0;
}

static int
take_time(struct taking *taking, const char *param, struct json_value value, uint64_t *out)
{
    uint64_t ms = value.type == JSON_STRING ? key_time_read(json_string_plain(value)) : 0;
    if (ms == 0 && value.type != JSON_NULL) {
        return wrong(taking, param, "must be a time as RFC 3339 has it: 2026-12-31T23:59:59Z");
    }
    *out = ms;
    return 0;
}

static int
take_expiry(struct taking *taking, struct json_value value)
{
    if (take_time(taking, "expires_at", value, &taking->record->expires_ms) != 0) {
        return 1;
    }
    taking->has_expiry = taking->record->expires_ms != 0;
    if (taking->now_ms != 0 && taking->has_expiry && taking->record->expires_ms <= taking->now_ms) {
        return wrong(taking, "expires_at", "lies in the past");
    }
    return 0;
}

static bool
read_count(struct json_value value, uint64_t *out)
{
    int64_t number;
    if (value.type != JSON_NUMBER || json_int64(value, &number) != 0 || number < 0) {
        return false;
    }
    *out = (uint64_t)number;
    return true;
}

static bool
read_usd(struct json_value value, uint64_t *out)
{
    double usd;
    if (value.type != JSON_NUMBER || json_double(value, &usd) != 0 || usd < 0 || usd > USD_MAX) {
        return false;
    }
    *out = (uint64_t)llround(usd * (double)KEY_PICO_PER_USD);
    return true;
}

/* An object of numbers takes the place of the one before; what it does not name has no limit. */
static int
take_numbers(struct taking *taking, const char *param, struct json_value value,
             const struct key_number_field *fields, size_t n_fields, bool is_money, void *out)
{
    struct json_member member;
    for (size_t i = 0; i < n_fields; i++) {
        memset((char *)out + fields[i].offset, 0, sizeof(uint64_t));
    }
    if (value.type == JSON_NULL) {
        return 0;
    }
    if (value.type != JSON_OBJECT) {
        return wrong(taking, param, "must be an object");
    }
    for (struct json_iter it = json_iter(value); json_iter_next(&it, &member);) {
        uint64_t number = 0;
        size_t i = 0;
        while (i < n_fields && !json_key_is(&member, fields[i].name)) {
            i++;
        }
        bool is_good = i < n_fields && (is_money ? read_usd : read_count)(member.value, &number);
        if (!is_good && taking->now_ms != 0) {
            return wrong(taking, param,
                         is_money ? "has day_usd, week_usd and month_usd, amounts from 0 to 1000000"
                                  : "has requests_per_minute, requests_per_day, tokens_per_minute and "
                                    "tokens_per_day, whole numbers");
        }
        if (is_good) {
            memcpy((char *)out + fields[i].offset, &number, sizeof number);
        }
    }
    return 0;
}

static int
take_metadata(struct taking *taking, struct json_value value)
{
    bool is_empty = value.type == JSON_NULL || value.raw.len <= 2;
    if (value.type != JSON_NULL && value.type != JSON_OBJECT) {
        return wrong(taking, "metadata", "must be an object");
    }
    taking->record->metadata = is_empty ? dyn_slice(NULL, 0) : arena_copy(taking->arena, value.raw);
    for (size_t i = 0; i < taking->record->metadata.len; i++) { /* it is to fit a line */
        char *byte = (char *)(uintptr_t)taking->record->metadata.data + i;
        *byte = *byte == '\n' || *byte == '\r' ? ' ' : *byte;
    }
    return 0;
}

static bool
take_hex(struct json_value value, uint8_t *out, size_t len)
{
    return value.type == JSON_STRING && dyn_hex_decode(out, len, json_string_plain(value)) == 0;
}

/* What only a store says. -1: it is none of these. */
static int
take_stored(struct taking *taking, const struct json_member *member)
{
    struct key_record *record = taking->record;
    struct json_value value = member->value;
    struct dyn_slice plain = value.type == JSON_STRING ? json_string_plain(value) : dyn_slice(NULL, 0);
    if (json_key_is(member, "id")) {
        uint8_t bytes[KEY_ID_LEN / 2];
        record->id = arena_copy(taking->arena, plain);
        return take_hex(value, bytes, sizeof bytes) ? 0 : wrong(taking, "id", "must be 16 hex digits");
    }
    if (json_key_is(member, "salt")) {
        return take_hex(value, record->salt, sizeof record->salt) ? 0 : wrong(taking, "salt", "must be hex");
    }
    if (json_key_is(member, "digest")) {
        return take_hex(value, record->digest, sizeof record->digest)
                   ? 0
                   : wrong(taking, "digest", "must be hex");
    }
    if (json_key_is(member, "tail")) {
        (void)snprintf(record->tail, sizeof record->tail, "%.*s", (int)plain.len,
                       plain.data ? plain.data : "");
        return 0;
    }
    if (json_key_is(member, "created_at")) {
        return take_time(taking, "created_at", value, &record->created_ms);
    }
    if (json_key_is(member, "rotated_at")) {
        return take_time(taking, "rotated_at", value, &record->rotated_ms);
    }
    if (json_key_is(member, "revoked_at")) {
        return take_time(taking, "revoked_at", value, &record->revoked_ms);
    }
    if (json_key_is(member, "usage_count")) {
        int64_t count = 0;
        record->stored_uses = json_int64(value, &count) == 0 && count > 0 ? (uint64_t)count : 0;
        return 0;
    }
    if (json_key_is(member, "last_used_at")) {
        return take_time(taking, "last_used_at", value, &record->stored_last_ms);
    }
    return 0; /* a later version's */
}

static int
take_member(void *self, const struct json_member *member)
{
    struct taking *taking = self;
    struct key_record *record = taking->record;
    struct json_value value = member->value;
    if (json_key_is(member, "name")) {
        return take_text(taking, "name", value, &record->name);
    }
    if (json_key_is(member, "scopes")) {
        return take_scopes(taking, value);
    }
    if (json_key_is(member, "models")) {
        return take_list(taking, "models", value, &record->models);
    }
    if (json_key_is(member, "targets")) {
        return take_list(taking, "targets", value, &record->targets);
    }
    if (json_key_is(member, "expires_at")) {
        return take_expiry(taking, value);
    }
    if (json_key_is(member, "limits")) {
        return take_numbers(taking, "limits", value, key_limit_fields, KEY_LIMIT_FIELDS, false,
                            &record->limits);
    }
    if (json_key_is(member, "budget")) {
        return take_numbers(taking, "budget", value, key_budget_fields, KEY_BUDGET_FIELDS, true,
                            &record->budget);
    }
    if (json_key_is(member, "group")) {
        return take_text(taking, "group", value, &record->group);
    }
    if (json_key_is(member, "metadata")) {
        return take_metadata(taking, value);
    }
    if (taking->now_ms == 0) {
        return take_stored(taking, member);
    }
    if (json_key_is(member, "clear_expiration") && (value.type == JSON_TRUE || value.type == JSON_FALSE)) {
        taking->clears_expiry = value.type == JSON_TRUE;
        return 0;
    }
    taking->problem->param = "";
    (void)snprintf(taking->problem->text, sizeof taking->problem->text,
                   "a key has no '%.*s'; it has name, scopes, models, targets, expires_at, limits, budget, "
                   "group and metadata",
                   member->key.len < 64 ? (int)member->key.len : 64, member->key.data);
    return 1;
}

int
key_record_take(struct dyn_slice object, struct arena *arena, uint64_t now_ms, struct key_record *record,
                struct key_problem *problem)
{
    struct taking taking = {.arena = arena, .record = record, .problem = problem, .now_ms = now_ms};
    struct json_error error;
    *problem = (struct key_problem){.param = ""};
    if (object.len > KEY_JSON_MAX) {
        (void)snprintf(problem->text, sizeof problem->text, "a key has at most %d bytes", KEY_JSON_MAX);
        return -1;
    }
    int rc = json_scan_object(object, JSON_DEPTH, take_member, &taking, &error);
    if (rc < 0) {
        (void)snprintf(problem->text, sizeof problem->text, "the body is not a JSON object: %s at byte %zu",
                       error.what, error.offset);
        return -1;
    }
    if (rc == 0 && taking.clears_expiry && taking.has_expiry) {
        rc = wrong(&taking, "clear_expiration", "and 'expires_at' contradict each other");
    }
    if (rc == 0 && record->name.len == 0) {
        rc = wrong(&taking, "name", "is needed");
    }
    if (rc == 0 && taking.clears_expiry) {
        record->expires_ms = 0;
    }
    return rc == 0 ? 0 : -1;
}

int
key_record_read(struct dyn_slice line, struct arena *arena, struct key_record *record, struct dyn_err *err)
{
    struct key_problem problem = {.param = ""};
    struct taking taking = {.arena = arena, .record = record, .problem = &problem};
    struct json_error error;
    *record = (struct key_record){.scopes = 0};
    int rc =
        line.len <= 2 * KEY_JSON_MAX ? json_scan_object(line, JSON_DEPTH, take_member, &taking, &error) : -2;
    if (rc == -2) {
        return dyn_err_set(err, DYN_E_LIMIT, "a record of %zu bytes", line.len);
    }
    if (rc != 0) {
        return dyn_err_set(err, DYN_E_INVALID, "%s", rc < 0 ? error.what : problem.text);
    }
    if (record->id.len != KEY_ID_LEN || record->scopes == 0) {
        return dyn_err_set(err, DYN_E_INVALID, "a record without id or scopes");
    }
    return 0;
}
