/* The structured log: one event a line, one write(2) a line, on standard error. It is the only global
 * of the library. Text on a terminal, JSON otherwise, LOG_FORMAT=json|text decides; LOG_LEVEL is
 * debug, info, warn (warning) or error. A write that would block drops the line and counts it.
 *
 * An event has a name ("edge.listen") that does not change, a sentence for people, and fields. Every
 * event name is limited to DYN_LOG_PER_SECOND lines a second (the access log excepted); what was
 * left out is said once a second. Values that look like secrets never get here: fields marked
 * DYN_LOG_SECRET print as "***". A line has at most 4096 bytes; what does not fit is cut and marked.
 * Event names and keys are literals. Thread-safe. Whoever owns the process ignores SIGPIPE. */
#pragma once

#include "core/base.h"

enum dyn_log_level { DYN_LOG_DEBUG, DYN_LOG_INFO, DYN_LOG_WARN, DYN_LOG_ERROR };
enum dyn_log_format { DYN_LOG_FORMAT_TEXT, DYN_LOG_FORMAT_JSON };
enum { DYN_LOG_PER_SECOND = 20 };

enum dyn_log_type {
    DYN_LOG_TYPE_STR, /* absent prints as null */
    DYN_LOG_TYPE_INT,
    DYN_LOG_TYPE_UINT,
    DYN_LOG_TYPE_REAL, /* three decimals */
    DYN_LOG_TYPE_BOOL,
    DYN_LOG_TYPE_SECRET,
};

struct dyn_log_field {
    const char *key;
    enum dyn_log_type type;
    union {
        struct dyn_slice str;
        int64_t i;
        uint64_t u;
        double real;
        bool b;
    } value;
};

/* clang-format off */
#define DYN_LOG_STR(k, text)    {.key = (k), .type = DYN_LOG_TYPE_STR, .value.str = dyn_slice_str(text)}
#define DYN_LOG_SLICE(k, slice) {.key = (k), .type = DYN_LOG_TYPE_STR, .value.str = (slice)}
#define DYN_LOG_INT(k, n)       {.key = (k), .type = DYN_LOG_TYPE_INT, .value.i = (n)}
#define DYN_LOG_UINT(k, n)      {.key = (k), .type = DYN_LOG_TYPE_UINT, .value.u = (n)}
#define DYN_LOG_REAL(k, x)      {.key = (k), .type = DYN_LOG_TYPE_REAL, .value.real = (x)}
#define DYN_LOG_BOOL(k, x)      {.key = (k), .type = DYN_LOG_TYPE_BOOL, .value.b = (x)}
#define DYN_LOG_SECRET(k)       {.key = (k), .type = DYN_LOG_TYPE_SECRET}
/* clang-format on */

/* Reads LOG_LEVEL and LOG_FORMAT; -1 with a sentence when one has a value that is not known. Without
 * this call the log is JSON from level info on. */
struct dyn_err;
int dyn_log_init_from_env(struct dyn_err *err);
/* fd is borrowed. Tests point it at a pipe. Not while another thread logs. */
void dyn_log_configure(int fd, enum dyn_log_level level, enum dyn_log_format format);
/* Tests move the time themselves; NULL is the system's clock. Borrowed. */
struct dyn_clock;
void dyn_log_set_clock(const struct dyn_clock *clock);
bool dyn_log_enabled(enum dyn_log_level level);

void dyn_log_write(enum dyn_log_level level, const char *event, const char *message,
                   const struct dyn_log_field *fields, size_t n_fields);

/* dyn_log(DYN_LOG_INFO, "edge.listen", "listening", DYN_LOG_STR("address", text));
 * Fields may be absent. */
#define dyn_log(level, event, ...)                                                                           \
    do {                                                                                                     \
        if (dyn_log_enabled(level)) {                                                                        \
            DYN_LOG_WRITE_(level, event, __VA_ARGS__, {.key = NULL});                                        \
        }                                                                                                    \
    } while (0)
/* The last field is a filler that keeps an empty list legal C; it is not counted. */
#define DYN_LOG_WRITE_(level, event, message, ...)                                                           \
    const struct dyn_log_field dyn_log_fields_[] = {__VA_ARGS__};                                            \
    dyn_log_write((level), (event), (message), dyn_log_fields_, DYN_ARRAY_LEN(dyn_log_fields_) - 1)

/* As dyn_log_write, but never rate-limited: for what the operator wants to see of each request. */
void dyn_log_each(enum dyn_log_level level, const char *event, const char *message,
                  const struct dyn_log_field *fields, size_t n_fields);

/* The access log: same line format, level info, event "access", never rate-limited. */
void dyn_log_access(const struct dyn_log_field *fields, size_t n_fields);
/* Says now what was left out in seconds that are over. Any line does so too; a timer of a second
 * calls this so that a log that fell silent tells, and whoever ends the process calls it last. */
void dyn_log_flush(void);
uint64_t dyn_log_dropped(void); /* lines lost because the descriptor would have blocked */
