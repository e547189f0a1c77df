#include "core/log_line.h"

#include "core/clock.h"
#include "core/text.h"

#include <math.h>
#include <stdio.h>

/* Kept free until the end: ,"truncated":true}\n and the quotes of the event and of a text cut before. */
#define TAIL_BYTES 24u

static const char *const level_names[] = {"debug", "info", "warn", "error"};

static size_t
room(const struct log_line *line)
{
    size_t usable = sizeof line->text - TAIL_BYTES;
    return line->len < usable ? usable - line->len : 0;
}

static bool
put(struct log_line *line, const char *data, size_t len)
{
    if (room(line) < len) {
        line->truncated = true;
        return false;
    }
    memcpy(line->text + line->len, data, len);
    line->len += len;
    return true;
}

static bool
put_str(struct log_line *line, const char *text)
{
    return put(line, text, strlen(text));
}

static void
put_escaped(struct log_line *line, struct dyn_slice text)
{
    struct dyn_escaped done = dyn_json_escape(text, line->text + line->len, room(line));
    line->len += done.written;
    if (done.read < text.len) {
        line->truncated = true;
    }
}

/* Once opened it is closed: the closing quote may use the tail. */
static void
put_quoted(struct log_line *line, struct dyn_slice text)
{
    if (put(line, "\"", 1)) {
        put_escaped(line, text);
        line->text[line->len++] = '"';
    }
}

static bool
reads_as_one_word(struct dyn_slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        if (byte <= ' ' || byte == '"' || byte == '=' || byte == '\\' || byte >= 0x7F) {
            return false;
        }
    }
    return text.len > 0;
}

static void
put_text(struct log_line *line, struct dyn_slice text)
{
    if (line->format == DYN_LOG_FORMAT_TEXT && reads_as_one_word(text)) {
        put_escaped(line, text);
    } else {
        put_quoted(line, text);
    }
}

/* Writing the date costs more than the rest of a short line; most lines share their second with the
 * line before. */
static void
put_timestamp(struct log_line *line, uint64_t wall_us)
{
    static _Thread_local uint64_t cached_second = UINT64_MAX;
    static _Thread_local char cached[DYN_TIMESTAMP_SIZE];
    uint64_t second = wall_us / 1000000;
    if (second != cached_second) {
        dyn_timestamp(wall_us, cached);
        cached_second = second;
    }
    unsigned ms = (unsigned)(wall_us % 1000000 / 1000);
    cached[20] = (char)('0' + ms / 100);
    cached[21] = (char)('0' + ms / 10 % 10);
    cached[22] = (char)('0' + ms % 10);
    (void)put(line, cached, DYN_TIMESTAMP_SIZE - 1);
}

static size_t
format_int(char out[DYN_UINT_TEXT_MAX + 1], int64_t value)
{
    if (value >= 0) {
        return dyn_uint_text(out, (uint64_t)value);
    }
    out[0] = '-';
    return 1 + dyn_uint_text(out + 1, 0 - (uint64_t)value);
}

enum { REAL_TEXT_MAX = 40 };

/* Three decimals, which is what milliseconds and ratios need. Numbers too large for that (nothing we
 * log) take the slow road; what is not finite is null. */
static size_t
format_real(char out[REAL_TEXT_MAX], double value)
{
    if (!isfinite(value)) {
        memcpy(out, "null", 4);
        return 4;
    }
    if (fabs(value) >= 1e15) {
        int len = snprintf(out, REAL_TEXT_MAX, "%.0e", value); /* no decimal point: locales differ there */
        return (size_t)len;
    }
    uint64_t thousandths = (uint64_t)llrint(fabs(value) * 1000.0);
    size_t len = 0;
    if (value < 0 && thousandths > 0) {
        out[len++] = '-';
    }
    len += dyn_uint_text(out + len, thousandths / 1000);
    unsigned rest = (unsigned)(thousandths % 1000);
    if (rest > 0) {
        out[len++] = '.';
        for (unsigned digit = 100; rest > 0; digit /= 10) {
            out[len++] = (char)('0' + rest / digit);
            rest %= digit;
        }
    }
    return len;
}

static void
put_value(struct log_line *line, const struct dyn_log_field *field)
{
    char number[REAL_TEXT_MAX];
    switch (field->type) {
    case DYN_LOG_TYPE_STR:
        if (field->value.str.data != NULL) {
            put_text(line, field->value.str);
        } else {
            (void)put(line, "null", 4);
        }
        break;
    case DYN_LOG_TYPE_INT:
        (void)put(line, number, format_int(number, field->value.i));
        break;
    case DYN_LOG_TYPE_UINT:
        (void)put(line, number, dyn_uint_text(number, field->value.u));
        break;
    case DYN_LOG_TYPE_REAL:
        (void)put(line, number, format_real(number, field->value.real));
        break;
    case DYN_LOG_TYPE_BOOL:
        (void)put_str(line, field->value.b ? "true" : "false");
        break;
    case DYN_LOG_TYPE_SECRET:
        put_text(line, DYN_SLICE("***"));
        break;
    }
}

/* The name of a field and what separates it from the one before. False when it and a number behind it
 * do not fit. */
static bool
put_key(struct log_line *line, const char *key)
{
    enum { SEPARATORS_BYTES = 4 };
    size_t len = strlen(key);
    if (room(line) < len + SEPARATORS_BYTES + REAL_TEXT_MAX) {
        line->truncated = true;
        return false;
    }
    bool json = line->format == DYN_LOG_FORMAT_JSON;
    char *at = line->text + line->len;
    memcpy(at, json ? ",\"" : " ", 2);
    at += json ? 2 : 1;
    memcpy(at, key, len);
    memcpy(at + len, json ? "\":" : "=", 2);
    line->len += len + (json ? 4 : 2);
    return true;
}

static void
begin_json(struct log_line *line, uint64_t wall_us, const char *level, const char *event, const char *message)
{
    (void)put(line, "{\"time\":\"", 9);
    put_timestamp(line, wall_us);
    (void)put(line, "\",\"level\":\"", 11);
    (void)put_str(line, level);
    (void)put(line, "\",\"event\":", 10);
    put_quoted(line, dyn_slice_str(event));
    if (message != NULL && put_key(line, "msg")) {
        put_quoted(line, dyn_slice_str(message));
    }
}

static void
begin_text(struct log_line *line, uint64_t wall_us, const char *level, const char *event, const char *message)
{
    put_timestamp(line, wall_us);
    (void)put(line, " ", 1);
    (void)put_str(line, level);
    (void)put(line, "  ", 6 - strlen(level)); /* names line up: the longest has five letters */
    put_escaped(line, dyn_slice_str(event));
    if (message != NULL) {
        (void)put(line, ": ", 2);
        put_escaped(line, dyn_slice_str(message));
    }
}

void
log_line_begin(struct log_line *line, enum dyn_log_format format, uint64_t wall_us, enum dyn_log_level level,
               const char *event, const char *message)
{
    line->format = format;
    line->truncated = false;
    line->len = 0;
    if (format == DYN_LOG_FORMAT_JSON) {
        begin_json(line, wall_us, level_names[level], event, message);
    } else {
        begin_text(line, wall_us, level_names[level], event, message);
    }
}

void
log_line_add(struct log_line *line, const struct dyn_log_field *fields, size_t n_fields)
{
    for (size_t i = 0; i < n_fields; i++) {
        if (put_key(line, fields[i].key)) {
            put_value(line, &fields[i]);
        }
    }
}

void
log_line_end(struct log_line *line)
{
    bool json = line->format == DYN_LOG_FORMAT_JSON;
    const char *tail = json ? (line->truncated ? ",\"truncated\":true}\n" : "}\n")
                            : (line->truncated ? " truncated=true\n" : "\n");
    size_t len = strlen(tail);
    DYN_ASSERT(sizeof line->text - line->len >= len);
    memcpy(line->text + line->len, tail, len);
    line->len += len;
}
