/* The log's global state, its rate limit, and the write. The line itself is core/log_line.c. */
#include "core/log.h"

#include "core/clock.h"
#include "core/err.h"
#include "core/log_line.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* How a line is kept from blocking, by what the descriptor is. */
enum sink { SINK_PLAIN, SINK_SOCKET, SINK_POLLED };

static atomic_int log_fd = STDERR_FILENO;
static atomic_int log_level = DYN_LOG_INFO;
static atomic_int log_format = DYN_LOG_FORMAT_JSON;
static atomic_int log_sink = SINK_POLLED;
static _Atomic(const struct dyn_clock *) log_clock = NULL;
static atomic_uint_fast64_t dropped_lines;

/* Names beyond the table share one row, so that the table cannot be the hole in the limit. */
enum { LIMIT_ROWS = 256 };

struct limit_row {
    const char *event; /* NULL: free */
    uint64_t second;
    unsigned written;  /* in that second */
    uint64_t left_out; /* since it was last said */
};

static pthread_mutex_t limit_lock = PTHREAD_MUTEX_INITIALIZER;
static struct limit_row limit_rows[LIMIT_ROWS + 1];       /* the last is the shared one */
static atomic_uint_fast64_t oldest_left_out = UINT64_MAX; /* second; nothing to say before it is over */

static uint64_t
now_us(void)
{
    const struct dyn_clock *clock = atomic_load_explicit(&log_clock, memory_order_relaxed);
    return dyn_wall_us(clock ? clock : &dyn_clock_system);
}

static bool
wait_would_block(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};
    return poll(&poll_fd, 1, 0) != 1 || (poll_fd.revents & POLLOUT) == 0;
}

static ssize_t
write_some(int fd, const char *data, size_t len)
{
    switch (atomic_load_explicit(&log_sink, memory_order_relaxed)) {
    case SINK_SOCKET:
        return send(fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    case SINK_POLLED:
        if (wait_would_block(fd)) {
            errno = EAGAIN;
            return -1;
        }
        return write(fd, data, len);
    default:
        return write(fd, data, len);
    }
}

static void
write_line(const struct log_line *line)
{
    int fd = atomic_load_explicit(&log_fd, memory_order_relaxed);
    for (size_t done = 0; done < line->len;) {
        ssize_t written = write_some(fd, line->text + done, line->len - done);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            (void)atomic_fetch_add_explicit(&dropped_lines, 1, memory_order_relaxed);
            return;
        }
        done += (size_t)written; /* a terminal may take part of a line; a pipe takes all or nothing */
    }
}

static void
emit(uint64_t wall_us, enum dyn_log_level level, const char *event, const char *message,
     const struct dyn_log_field *fields, size_t n_fields)
{
    struct log_line line;
    int format = atomic_load_explicit(&log_format, memory_order_relaxed);
    log_line_begin(&line, (enum dyn_log_format)format, wall_us, level, event, message);
    log_line_add(&line, fields, n_fields);
    log_line_end(&line);
    write_line(&line);
}

static struct limit_row *
find_row(const char *event)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (const char *c = event; *c != '\0'; c++) {
        hash = (hash ^ (unsigned char)*c) * 16777619u;
    }
    for (size_t i = 0; i < LIMIT_ROWS; i++) {
        struct limit_row *row = &limit_rows[(hash + i) % LIMIT_ROWS];
        if (row->event == NULL) {
            row->event = event;
        }
        if (row->event == event || strcmp(row->event, event) == 0) {
            return row;
        }
    }
    limit_rows[LIMIT_ROWS].event = "other";
    return &limit_rows[LIMIT_ROWS];
}

static bool
limit_admits(const char *event, uint64_t second)
{
    (void)pthread_mutex_lock(&limit_lock);
    struct limit_row *row = find_row(event);
    if (row->second != second) {
        row->second = second;
        row->written = 0;
    }
    bool admits = row->written < DYN_LOG_PER_SECOND;
    if (admits) {
        row->written++;
    } else {
        row->left_out++;
        if (second < atomic_load_explicit(&oldest_left_out, memory_order_relaxed)) {
            atomic_store_explicit(&oldest_left_out, second, memory_order_relaxed);
        }
    }
    (void)pthread_mutex_unlock(&limit_lock);
    return admits;
}

/* Takes one row that has something to say about a second that is over. */
static bool
take_left_out(uint64_t second, const char **event, uint64_t *count)
{
    bool found = false;
    uint64_t oldest = UINT64_MAX;
    (void)pthread_mutex_lock(&limit_lock);
    for (size_t i = 0; i < DYN_ARRAY_LEN(limit_rows); i++) {
        struct limit_row *row = &limit_rows[i];
        if (row->left_out == 0) {
            continue;
        }
        if (!found && row->second != second) {
            *event = row->event;
            *count = row->left_out;
            row->left_out = 0;
            found = true;
        } else if (row->second < oldest) {
            oldest = row->second;
        }
    }
    atomic_store_explicit(&oldest_left_out, oldest, memory_order_relaxed);
    (void)pthread_mutex_unlock(&limit_lock);
    return found;
}

static void
say_left_out(uint64_t wall_us)
{
    uint64_t second = wall_us / 1000000;
    const char *event;
    uint64_t count;
    while (atomic_load_explicit(&oldest_left_out, memory_order_relaxed) < second &&
           take_left_out(second, &event, &count)) {
        const struct dyn_log_field fields[] = {DYN_LOG_STR("of", event), DYN_LOG_UINT("lines", count)};
        emit(wall_us, DYN_LOG_WARN, "log.left_out", "too many lines of one event in a second", fields,
             DYN_ARRAY_LEN(fields));
    }
}

bool
dyn_log_enabled(enum dyn_log_level level)
{
    return (int)level >= atomic_load_explicit(&log_level, memory_order_relaxed);
}

void
dyn_log_write(enum dyn_log_level level, const char *event, const char *message,
              const struct dyn_log_field *fields, size_t n_fields)
{
    if (!dyn_log_enabled(level)) {
        return;
    }
    uint64_t wall_us = now_us();
    say_left_out(wall_us);
    if (limit_admits(event, wall_us / 1000000)) {
        emit(wall_us, level, event, message, fields, n_fields);
    }
}

void
dyn_log_each(enum dyn_log_level level, const char *event, const char *message,
             const struct dyn_log_field *fields, size_t n_fields)
{
    if (!dyn_log_enabled(level)) {
        return;
    }
    uint64_t wall_us = now_us();
    say_left_out(wall_us);
    emit(wall_us, level, event, message, fields, n_fields);
}

void
dyn_log_access(const struct dyn_log_field *fields, size_t n_fields)
{
    dyn_log_each(DYN_LOG_INFO, "access", NULL, fields, n_fields);
}

void
dyn_log_flush(void)
{
    say_left_out(now_us());
}

uint64_t
dyn_log_dropped(void)
{
    return atomic_load_explicit(&dropped_lines, memory_order_relaxed);
}

void
dyn_log_set_clock(const struct dyn_clock *clock)
{
    atomic_store(&log_clock, clock);
}

static enum sink
sink_of(int fd)
{
    struct stat status;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fstat(fd, &status) != 0) {
        return SINK_PLAIN; /* every write fails and is counted */
    }
    if (S_ISSOCK(status.st_mode)) {
        return SINK_SOCKET;
    }
    return (flags & O_NONBLOCK) != 0 || S_ISREG(status.st_mode) ? SINK_PLAIN : SINK_POLLED;
}

void
dyn_log_configure(int fd, enum dyn_log_level level, enum dyn_log_format format)
{
    (void)pthread_mutex_lock(&limit_lock);
    memset(limit_rows, 0, sizeof limit_rows);
    (void)pthread_mutex_unlock(&limit_lock);
    atomic_store(&oldest_left_out, UINT64_MAX);
    atomic_store(&dropped_lines, 0);
    atomic_store(&log_sink, sink_of(fd));
    atomic_store(&log_fd, fd);
    atomic_store(&log_level, level);
    atomic_store(&log_format, format);
}

/* Standard error as a description of our own that does not block. Setting O_NONBLOCK on descriptor 2
 * itself would change it for the shell and for every other process that shares it. Where it cannot be
 * opened again (sockets, foreign pipes) descriptor 2 is asked with poll before each line. */
static int
own_stderr(void)
{
    static int own = -1; /* the number is kept for the life of the process: another thread may be writing */
    if (sink_of(STDERR_FILENO) != SINK_POLLED) {
        return STDERR_FILENO;
    }
    int opened = open("/proc/self/fd/2", O_WRONLY | O_APPEND | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (opened < 0) {
        return STDERR_FILENO;
    }
    if (own < 0) {
        own = opened;
    } else {
        (void)dup3(opened, own, O_CLOEXEC);
        (void)close(opened);
    }
    return own;
}

static int
level_from_env(enum dyn_log_level *level, struct dyn_err *err)
{
    static const struct {
        const char *name;
        enum dyn_log_level level;
    } names[] = {{"debug", DYN_LOG_DEBUG},
                 {"info", DYN_LOG_INFO},
                 {"warn", DYN_LOG_WARN},
                 {"warning", DYN_LOG_WARN},
                 {"error", DYN_LOG_ERROR}};
    *level = DYN_LOG_INFO;
    const char *value = getenv("LOG_LEVEL");
    if (value == NULL || *value == '\0') {
        return 0;
    }
    for (size_t i = 0; i < DYN_ARRAY_LEN(names); i++) {
        if (strcasecmp(value, names[i].name) == 0) {
            *level = names[i].level;
            return 0;
        }
    }
    return dyn_err_set(err, DYN_E_CONFIG, "LOG_LEVEL is \"%.40s\"; it must be debug, info, warn or error",
                       value);
}

static int
format_from_env(enum dyn_log_format *format, struct dyn_err *err)
{
    *format = isatty(STDERR_FILENO) ? DYN_LOG_FORMAT_TEXT : DYN_LOG_FORMAT_JSON;
    const char *value = getenv("LOG_FORMAT");
    if (value == NULL || *value == '\0') {
        return 0;
    }
    if (strcasecmp(value, "json") == 0) {
        *format = DYN_LOG_FORMAT_JSON;
        return 0;
    }
    if (strcasecmp(value, "text") == 0) {
        *format = DYN_LOG_FORMAT_TEXT;
        return 0;
    }
    return dyn_err_set(err, DYN_E_CONFIG, "LOG_FORMAT is \"%.40s\"; it must be json or text", value);
}

int
dyn_log_init_from_env(struct dyn_err *err)
{
    enum dyn_log_level level;
    enum dyn_log_format format;
    if (level_from_env(&level, err) != 0 || format_from_env(&format, err) != 0) {
        return -1;
    }
    dyn_log_configure(own_stderr(), level, format);
    return 0;
}
