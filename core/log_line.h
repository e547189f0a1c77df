/* One line of the log, built in place without malloc or stdio. Private to the log.
 *
 * A line that does not fit is still a well-formed line: texts are cut between characters, fields that
 * find no room are left out, and "truncated" says so. */
#pragma once

#include "core/log.h"

/* PIPE_BUF on Linux: a pipe takes a write of that size whole or not at all, so lines of several
 * threads and processes do not mix. */
enum { LOG_LINE_BYTES = 4096 };

struct log_line {
    enum dyn_log_format format;
    bool truncated;
    size_t len;
    char text[LOG_LINE_BYTES];
};

void log_line_begin(struct log_line *line, enum dyn_log_format format, uint64_t wall_us,
                    enum dyn_log_level level, const char *event, const char *message);
void log_line_add(struct log_line *line, const struct dyn_log_field *fields, size_t n_fields);
void log_line_end(struct log_line *line); /* ends in a newline */
